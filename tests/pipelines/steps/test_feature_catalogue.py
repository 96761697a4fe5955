"""One page of every feature, from the definitions, the tables and the registry; replaced as a whole."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.catalogue.definitions import definitions
from pipelines.config import REPOSITORY, SplitConfig
from pipelines.contracts import CHAMPION, RECOMMENDER, FeatureCatalogue, FeatureSet, ModelVersion, TrainingSet
from pipelines.data.ledger import record_training_set
from pipelines.errors import LakeError, RegistryError
from pipelines.features.labels import SPLITS
from pipelines.release.manifest import IndexPart, ReleaseManifest, write_manifest
from pipelines.steps.feature_catalogue import feature_catalogue
from pipelines.stores.base import RunRecord
from tests.support.feature_data import DATASET, Workspace, item, random_tables
from tests.support.memory_registry import MemoryRegistry
from tests.support.tiny_release import items_table, write_training_set

Entries = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("catalogue"))


@pytest.fixture(scope="module")
def features(workspace: Workspace) -> FeatureSet:
    tables = random_tables(seed=5)
    odd = "<script>alert(1)</script>"
    tables["items"] += [item(f"odd{number}", [odd], title=odd) for number in range(3)]
    return workspace.compute(workspace.fill(tables))


@pytest.fixture
def registry(tmp_path: Path) -> MemoryRegistry:
    return MemoryRegistry(tmp_path / "registry")


def model(registry: MemoryRegistry, name: str, features: tuple[str, ...], dataset: str = DATASET) -> ModelVersion:
    number = len(registry.versions)
    folder = registry.root.parent / f"bundle-{number}"
    folder.mkdir()
    (folder / "bundle.json").write_text(json.dumps({"features": dict.fromkeys(features, "int64")}))
    return registry.register(name, folder, key=str(number), dataset=dataset, record=RunRecord(name="r"))


def crown(registry: MemoryRegistry, features: FeatureSet, retrieval: ModelVersion, ranking: ModelVersion) -> None:
    """Make a release of the two champion."""
    folder = registry.root.parent / "release"
    folder.mkdir()
    manifest = ReleaseManifest(
        dataset=DATASET,
        feast_project=DATASET,
        feature_services={"retrieval": "retrieval_v1", "ranking": "ranking_v1", "user": "serving_user_v1"},
        snapshot=features.snapshot,
        as_of=features.snapshot.as_of,
        history_length=5,
        num_candidates=10,
        retrieval=retrieval,
        ranking=ranking,
        index=IndexPart(
            retrieval_version=retrieval.version,
            retrieval_digest=retrieval.digest,
            kind="brute_force",
            num_items=1,
            embedding_dim=8,
            recall={},
        ),
        metrics={},
        sample_users=(),
        files={},
    )
    write_manifest(folder, manifest)
    release = registry.register(RECOMMENDER, folder, key="release", dataset=DATASET, record=RunRecord(name="r"))
    registry.set_alias(RECOMMENDER, CHAMPION, release.version)


def written(workspace: Workspace, features: FeatureSet, registry: MemoryRegistry) -> FeatureCatalogue:
    return feature_catalogue(
        features,
        config=workspace.config,
        lake=workspace.lake,
        registry=registry,
        artifacts=workspace.artifacts,
        scratch=workspace.home / "scratch",
    )


def entries(catalogue: FeatureCatalogue) -> Entries:
    found = json.loads((Path(catalogue.uri) / "catalogue.json").read_text())
    return {entry["name"]: entry for entry in found}


def test_every_declared_feature_has_meaning_owner_freshness_and_distribution(
    workspace: Workspace, features: FeatureSet, registry: MemoryRegistry
) -> None:
    catalogue = written(workspace, features, registry)
    found = entries(catalogue)
    assert list(found) == [definition.name for definition in definitions()]
    assert catalogue.num_features == len(found)
    assert found["user_num_events"]["freshness"]["objective_seconds"] == 108_000
    assert found["user_num_events"]["distribution"]["num_rows"] == 6
    assert found["item_mean_value"]["services"] == ["ranking_v1", "item_v1"]
    assert found["seen_items"]["entity"] == "user_id"
    assert found["hour"]["distribution"] is None
    page = Path(catalogue.page).read_text()
    for entry in found.values():
        assert f"<code>{entry['name']}</code><small>" in page
    assert page.count("<svg") == sum(bool((e["distribution"] or {}).get("bars")) for e in found.values())
    assert not re.search(r"""(?:src|href)=|@import|url\(""", page), "it must be whole on a closed network"


def test_says_which_models_and_which_champion_read_a_feature(
    workspace: Workspace, features: FeatureSet, registry: MemoryRegistry
) -> None:
    towers = model(registry, "retrieval", ("hour", "user_num_events"))
    ranker = model(registry, "ranking", ("user_num_events",))
    model(registry, "retrieval", ("hour",))
    model(registry, "ranking", ("weekday",), dataset="another")
    crown(registry, features, towers, ranker)
    found = entries(written(workspace, features, registry))
    assert found["user_num_events"]["models"] == [
        {"model": "retrieval", "version": "1", "champion": True},
        {"model": "ranking", "version": "1", "champion": True},
    ]
    assert [(m["version"], m["champion"]) for m in found["hour"]["models"]] == [("2", False), ("1", True)]
    assert found["weekday"]["models"] == []


def test_a_champion_older_than_the_versions_shown_is_shown_too(
    workspace: Workspace, features: FeatureSet, registry: MemoryRegistry
) -> None:
    towers, ranker = model(registry, "retrieval", ("hour",)), model(registry, "ranking", ("hour",))
    crown(registry, features, towers, ranker)
    for _ in range(11):
        model(registry, "retrieval", ("hour",))
    versions = [m["version"] for m in entries(written(workspace, features, registry))["hour"]["models"]]
    assert versions == [*map(str, range(12, 2, -1)), "1", "1"]


def test_raw_text_is_shown_as_text(workspace: Workspace, features: FeatureSet, registry: MemoryRegistry) -> None:
    page = Path(written(workspace, features, registry).page).read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page


def test_the_page_at_the_lasting_address_is_the_newest(
    workspace: Workspace, features: FeatureSet, registry: MemoryRegistry
) -> None:
    first = written(workspace, features, registry)
    assert written(workspace, features, registry) == first
    model(registry, "retrieval", ("weekday",))
    second = written(workspace, features, registry)
    assert second.uri != first.uri
    assert second.page == first.page
    assert Path(second.page).read_bytes() == (Path(second.uri) / "report.html").read_bytes()
    assert Path(second.page).read_bytes() != (Path(first.uri) / "report.html").read_bytes()
    assert [file.name for file in Path(first.page).parent.glob("*.tmp")] == []


KILLED = """
import os, signal, sys
from pathlib import Path
from pipelines.contracts import FeatureSet
from pipelines.steps import feature_catalogue as module
from tests.pipelines.steps.test_feature_catalogue import model, written
from tests.support.feature_data import Workspace
from tests.support.memory_registry import MemoryRegistry
home, folder, features, point = sys.argv[1:]
def half_a_page(file, *others):
    file.write_text("<!doctype html><title>Feat")
    os.kill(os.getpid(), signal.SIGKILL)
def half_a_copy(page, lasting):
    half_a_page(lasting.with_suffix(f".{page.parent.name}.tmp"))
setattr(module, point, {"write_page": half_a_page, "_replace": half_a_copy}[point])
registry = MemoryRegistry(Path(folder) / "registry")
model(registry, "ranking", ("hour", point))
written(Workspace(Path(home)), FeatureSet.model_validate_json(features), registry)
"""


@pytest.mark.slow
@pytest.mark.parametrize("point", ["write_page", "_replace"])
def test_killed_while_it_is_written_the_old_page_stays_and_the_next_run_writes_it_whole(
    workspace: Workspace, features: FeatureSet, registry: MemoryRegistry, tmp_path: Path, point: str
) -> None:
    old = written(workspace, features, registry)
    before = Path(old.page).read_bytes()
    other = tmp_path / "killed"
    other.mkdir()
    arguments = [str(workspace.home), str(other), features.model_dump_json(), point]
    command = [sys.executable, "-W", "ignore", "-c", KILLED, *arguments]
    killed = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert Path(old.page).read_bytes() == before
    model(registry, "ranking", ("hour", point))
    again = written(workspace, features, registry)
    page = Path(again.page)
    assert page.read_text().endswith("</html>")
    assert page.read_bytes() == (Path(again.uri) / "report.html").read_bytes() != before
    assert list(page.parent.glob("*.tmp")) == []


def test_what_it_needs_is_named_when_it_is_gone(
    workspace: Workspace, features: FeatureSet, registry: MemoryRegistry
) -> None:
    gone = features.model_copy(update={"versions": features.versions | {"user_taste": 99}})
    with pytest.raises(LakeError, match="features/user_taste"):
        written(workspace, gone, registry)
    registry.down = True
    with pytest.raises(RegistryError):
        written(workspace, features, registry)


def labels(workspace: Workspace, features: FeatureSet, folder: Path, hour: int) -> TrainingSet:
    """Enter a training set of which every label asks at one hour."""
    folder.mkdir()
    rows = {"event_id": ["a", "b"], "hour": [hour] * 2, "weekday": [0, 1], "taste_match": [0.5, 0.0]}
    training_set = write_training_set(folder, items_table(3)).model_copy(
        update={"features": features, "fingerprint": f"{hour:064}", "num_rows": dict.fromkeys(SPLITS, 2)}
    )
    for split in SPLITS:
        pq.write_table(
            pa.table({**rows, "days_since_last_event": pa.nulls(2, pa.float32())}), folder / f"{split}.parquet"
        )
    record_training_set(workspace.lake, training_set, split=SplitConfig(), delay_seconds=0.0)
    return training_set


def test_features_of_a_request_are_described_by_the_newest_labels_that_are_there(
    workspace: Workspace, features: FeatureSet, registry: MemoryRegistry, tmp_path: Path
) -> None:
    """The last of this file: training sets stay in the ledger."""
    assert entries(written(workspace, features, registry))["hour"]["distribution"] is None
    labels(workspace, features, tmp_path / "older", hour=7)
    newest = labels(workspace, features, tmp_path / "newer", hour=8)
    catalogue = written(workspace, features, registry)
    found = {name: entry["distribution"] for name, entry in entries(catalogue).items()}
    for name, num_nulls in (("hour", 0), ("weekday", 0), ("taste_match", 0), ("days_since_last_event", 6)):
        assert (found[name]["num_rows"], found[name]["num_nulls"]) == (6, num_nulls)
        assert found[name]["of"] == f"labels of training set {newest.fingerprint[:12]}"
    assert found["hour"]["numbers"]["median"] == 8
    assert found["user_num_events"]["of"] == "entities"
    assert found["hour"]["of"] in Path(catalogue.page).read_text()
    shutil.rmtree(newest.uri)
    assert entries(written(workspace, features, registry))["hour"]["distribution"]["numbers"]["median"] == 7
