"""Each step is killed with signal 9 in the middle, and run again: the result is as if nothing had happened."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli.steps import STEPS
from tests.support.platform import RunningPlatform, registered_versions
from tests.support.warm_steps import WarmSteps

pytestmark = [pytest.mark.platform, pytest.mark.slow, pytest.mark.timeout(1500)]

PUBLISH = "pipelines.stores.artifacts:_rename_into_place"
VERSION = "mlflow:MlflowClient.create_model_version"
# step -> (function, before or after its call number ..., references of earlier steps)
MIDDLE: dict[str, tuple[str, str, int, dict[str, str]]] = {
    "read_partition": (PUBLISH, "before", 1, {}),
    "validate_partition": (PUBLISH, "before", 1, {"raw": "read_partition"}),
    "append_partition": ("pipelines.data.lake:Lake.append_once", "after", 2, {"validated": "validate_partition"}),
    "take_snapshot": ("pipelines.data.lake:Lake.versions", "after", 1, {}),
    "compute_features": ("pipelines.data.lake:Lake.overwrite", "after", 3, {"snapshot": "take_snapshot"}),
    "materialize_online": ("feast:FeatureStore.materialize", "after", 1, {"features": "compute_features"}),
    "export_features": (PUBLISH, "before", 1, {"features": "compute_features"}),
    "build_training_set": (PUBLISH, "before", 1, {"features": "materialize_online"}),
    "train_retrieval": (VERSION, "before", 1, {"training_set": "build_training_set"}),
    "build_ranking_set": (PUBLISH, "before", 1, {"training_set": "build_training_set", "retrieval": "train_retrieval"}),
    "train_ranking": (VERSION, "after", 1, {"ranking_set": "build_ranking_set"}),
    "evaluate_models": (
        PUBLISH, "before", 1,
        {"training_set": "build_training_set", "retrieval": "train_retrieval", "ranking": "train_ranking"},
    ),
    "build_index": (PUBLISH, "before", 1, {"evaluation": "evaluate_models"}),
    "assemble_release": (VERSION, "after", 1, {"evaluation": "evaluate_models", "index": "build_index"}),
    "compare_release": (
        "pipelines.stores.registry:MlflowRegistry.by_alias", "after", 1, {"release": "assemble_release"}
    ),
    "promote_release": (
        "pipelines.stores.registry:MlflowRegistry.set_alias", "after", 1, {"comparison": "compare_release"}
    ),
}  # fmt: skip
OTHER_OPTIONS = {"export_features": ("--start", "2025-06-10T00:00:00Z", "--end", "2025-06-20T00:00:00Z")}
DATASET = "killed"
# The rows are those of the first run; the models must be others, else its versions are found and nothing is trained.
OTHER_MODELS = ("--set", "retrieval.learning_rate=0.0031")


class Chain:
    """Steps run one after the other on the command line, their references kept as files."""

    def __init__(self, platform: RunningPlatform, folder: Path, warm: WarmSteps) -> None:
        self.platform, self.folder, self.warm = platform, folder, warm

    def result(self, step: str) -> Any:
        return json.loads((self.folder / f"{step}.json").read_text())

    def arguments(self, step: str) -> list[str]:
        references = MIDDLE[step][3]
        named = [
            text for name, of in references.items()
            for text in (f"--{name.replace('_', '-')}", str(self.folder / f"{of}.json"))
        ]  # fmt: skip
        return [
            step.replace("_", "-"),
            "--config",
            str(self.platform.config),
            "--dataset",
            DATASET,
            *OTHER_MODELS,
            *named,
            *OTHER_OPTIONS.get(step, ()),
        ]

    def kill(self, step: str) -> None:
        target, when, number, _ = MIDDLE[step]
        died = self.warm.run(*self.arguments(step), kill=(target, when, number))
        assert died.returncode == -signal.SIGKILL, f"{step} was not killed: {died.stderr[-2000:]}"

    def run(self, step: str) -> None:
        done = self.warm.run(*self.arguments(step))
        assert done.returncode == 0, done.stderr[-2000:]
        (self.folder / f"{step}.json").write_text(done.stdout)


@pytest.fixture(scope="module")
def chain(platform: RunningPlatform, first_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    folder = tmp_path_factory.mktemp("references")
    warm = WarmSteps(platform.env, folder)
    made = Chain(platform, folder, warm)
    warm.run(*made.arguments("take_snapshot"))  # there is no lake yet; now the configuration is resolved
    yield made
    warm.close()


def test_every_step_is_killed_here() -> None:
    drain = {"seal_events", "finish_drain"}  # killed in tests/pipelines/steps/test_drain.py
    assert {*MIDDLE, *drain} == set(STEPS)


@pytest.mark.parametrize("step", MIDDLE)
def test_a_killed_step_runs_again(chain: Chain, step: str) -> None:
    chain.kill(step)
    if step == "promote_release":
        assert "was cut off; `tandem up`" in chain.platform.tandem("status").stdout
    chain.run(step)


def test_the_lake_is_the_same(chain: Chain, first_run: Any) -> None:
    """As in the run that nobody killed, which read the same source into another dataset."""
    assert lake_rows(chain.platform, DATASET) == lake_rows(chain.platform, "synthetic")


def lake_rows(platform: RunningPlatform, dataset: str) -> dict[str, list[Any]]:
    from pipelines.data.lake import Lake

    lake = Lake(str(platform.home / "lake" / dataset))
    keys = {"events": ["event_id"], "items": ["item_id", "updated_at"], "users": ["user_id", "updated_at"]}
    rows = {}
    for table, columns in keys.items():
        found = lake.read(table, version=lake.versions()[table], columns=columns)
        rows[table] = found.sort_by([(column, "ascending") for column in columns]).to_pylist()
    return rows


def test_the_training_set_has_the_same_fingerprint(chain: Chain, first_run: Any) -> None:
    reference = json.loads((chain.platform.home / "runs" / "synthetic" / "published" / "models.json").read_text())
    expected = reference["references"]["evaluation"]["training_set"]["fingerprint"]
    assert chain.result("build_training_set")["fingerprint"] == expected


def test_there_is_one_version_of_each_model(chain: Chain) -> None:
    assert {name: len(versions) for name, versions in registered_versions(chain.platform, DATASET).items()} == {
        "retrieval": 1,
        "ranking": 1,
        "recommender": 1,
    }


def test_the_index_is_whole(chain: Chain) -> None:
    from pipelines.stores.artifacts import check_folder

    index = chain.result("build_index")
    check_folder(Path(index["uri"]), index["digest"])


def test_the_release_is_served(chain: Chain) -> None:
    promotion = chain.result("promote_release")
    assert promotion["promoted"] is True
    assert chain.platform.json("status")["serving"]["version"] == promotion["release"]["model"]["version"]
