"""Against a real MLflow server over HTTP."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.config import REPOSITORY
from pipelines.errors import IntegrityError, RegistryError
from pipelines.stores.artifacts import folder_digest
from pipelines.stores.base import RunRecord
from pipelines.stores.registry import MlflowRegistry
from tests.support.registering import RECORD, register


def test_a_version_carries_what_it_was_made_from(registry, bundle, tmp_path):
    plot = tmp_path / "curve.png"
    plot.write_bytes(b"png")
    model = register(registry, bundle, "lineage", record=replace(RECORD, artifacts={plot: "plots"}))
    client = registry._client
    run = client.get_run(model.run_id)
    assert model.digest == folder_digest(bundle)
    assert run.data.params == {"retrieval.embedding_dim": "64", "seed": "7"}
    assert run.data.metrics == {"recall_at_50": 0.25, "loss": 1.5}
    assert [m.value for m in client.get_metric_history(model.run_id, "loss")] == [3.0, 2.0, 1.5]
    assert client.get_experiment(run.info.experiment_id).name == "tandem/tiny"
    assert [f.path for f in client.list_artifacts(model.run_id, "plots")] == ["plots/curve.png"]
    assert run.info.status == "FINISHED"
    tags = client.get_model_version("lineage", model.version).tags
    assert tags["tandem.snapshot"] == "snap"
    assert tags["tandem.key"] == "k1"
    assert tags["tandem.code_revision"]


def test_a_version_is_read_by_its_number(registry, bundle):
    assert registry.get("numbered", "1") is None
    model = register(registry, bundle, "numbered")
    assert registry.get("numbered", model.version) == model
    assert registry.get("numbered", "9") is None


def test_tags_of_a_model_itself_are_set_read_and_removed(registry, bundle):
    assert registry.tags("tagged") == {}
    register(registry, bundle, "tagged")
    value = '{"reason": "' + "ä" * 2_000 + '"}'
    registry.set_tag("tagged", "tandem.champion.000001", value)
    registry.set_tag("tagged", "tandem.champion-moving", "x")
    registry.set_tag("tagged", "tandem.champion-moving", None)
    registry.set_tag("tagged", "tandem.champion-moving", None)
    assert registry.tags("tagged") == {"tandem.champion.000001": value}


def test_a_version_has_signature_and_input_example(registry, bundle):
    import mlflow

    model = register(registry, bundle, "signed")
    location = registry._client.get_logged_model(registry._model_id(model)).artifact_location
    info = mlflow.models.Model.load(
        mlflow.artifacts.download_artifacts(f"{location}/MLmodel", tracking_uri=registry._uri)
    )
    assert info.signature.inputs.input_names() == ["numbers"]
    assert info.signature.outputs.input_names() == ["embedding"]
    assert info.saved_input_example_info is not None
    assert set(info.flavors) == {"onnx", "python_function"}


def test_downloading_gives_the_bytes_that_were_registered(registry, bundle):
    folder = registry.download(register(registry, bundle, "bytes"))
    assert folder_digest(folder) == folder_digest(bundle)


def test_all_that_is_kept_of_a_version_can_be_looked_through(registry, bundle, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("a report")
    where = {"key": "k9", "dataset": "listed"}
    other = registry.register("other", bundle, **where, record=RunRecord("r"))
    model = registry.register("retrieval", bundle, **where, record=RunRecord("r", artifacts={page: ""}))
    assert registry.list_versions("listed") == [other, model]
    assert registry.list_versions("nothing") == []
    registry.fetch(model, tmp_path / "all")
    registry.fetch(other, tmp_path / "bare")
    files = {path.name for path in bundle.rglob("*") if path.is_file()}
    assert files | {"page.html"} <= {path.name for path in (tmp_path / "all").rglob("*")}
    assert files <= {path.name for path in (tmp_path / "bare").rglob("*")}


def test_a_damaged_cache_is_fetched_again(registry, bundle):
    model = register(registry, bundle, "healing")
    folder = registry.download(model)
    (folder / "tower.onnx").write_bytes(b"broken")
    assert folder_digest(registry.download(model)) == model.digest


def test_bytes_that_are_not_those_registered_are_refused(registry, bundle):
    model = register(registry, bundle, "tampered")
    wrong = model.model_copy(update={"digest": "0" * 64})
    with pytest.raises(IntegrityError, match="expected 000000000000"):
        registry.download(wrong)
    assert not (registry._cache / "tampered" / ("0" * 16)).exists()


def test_one_file_is_read_without_the_rest(registry, bundle):
    model = register(registry, bundle, "single")
    assert registry.read_file(model, "inputs/user.json") == "{}"
    assert not registry._cached(model).exists()
    registry.download(model)
    assert registry.read_file(model, "inputs/user.json") == "{}"
    with pytest.raises(RegistryError, match="could not download 'single' version 1"):
        registry.read_file(model, "nothing.json")


def test_the_newest_versions_of_a_dataset_are_listed(registry, bundle):
    models = [register(registry, bundle, "listed", key=f"k{number}") for number in range(11)]
    registry.register("listed", bundle, key="other", dataset="other", record=RECORD)
    assert registry.newest("listed", dataset="tiny", num_versions=10) == models[:0:-1]
    assert registry.newest("nothing", dataset="tiny", num_versions=10) == []


def test_equal_keys_give_one_version(registry, bundle):
    first = register(registry, bundle, "once")
    assert register(registry, bundle, "once") == first
    assert registry.find("once", key="k1") == first
    assert registry.find("once", key="other") is None
    assert register(registry, bundle, "once", key="k2").version == "2"


KILLED = """
import os, signal, sys
from pathlib import Path
from pipelines.stores import registry as module
from tests.support.registering import register
registry = module.MlflowRegistry(sys.argv[1], Path(sys.argv[2]))
step = sys.argv[4]
target = registry._client
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(target, step, die)
register(registry, Path(sys.argv[3]), "killed-" + step.replace("_", "-"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", ["log_model_artifacts", "set_terminated", "create_model_version"])
def test_killed_in_the_middle_and_run_again_there_is_one_whole_version(registry, bundle, server, tmp_path, step):
    name = "killed-" + step.replace("_", "-")
    arguments = [sys.executable, "-W", "ignore", "-c", KILLED, server, str(tmp_path / "other"), str(bundle), step]
    killed = subprocess.run(arguments, capture_output=True, text=True, cwd=REPOSITORY)
    assert killed.returncode == -9, killed.stderr
    model = register(registry, bundle, name)
    assert model.version == "1"
    assert folder_digest(registry.download(model)) == folder_digest(bundle)
    assert len(registry._client.search_model_versions(f"name = '{name}'")) == 1
    experiment = registry._client.get_experiment_by_name("tandem/tiny").experiment_id
    assert len(registry._client.search_runs([experiment], f"tags.`tandem.model` = '{name}'")) == 1
    assert registry._client.get_run(model.run_id).info.status == "FINISHED"


def test_two_writers_at_once_leave_the_first_version(registry, bundle, monkeypatch):
    register(registry, bundle, "raced")
    monkeypatch.setattr(registry, "find", lambda name, key: None)  # the second did not see the first in time
    assert register(registry, bundle, "raced").version == "1"
    assert len(registry._client.search_model_versions("name = 'raced'")) == 1


def test_a_registered_model_without_a_graph_is_its_bundle(registry, bundle):
    model = registry.register("plain", bundle, key="k", dataset="tiny", record=RECORD)
    assert folder_digest(registry.download(model)) == model.digest


def test_aliases_move_and_are_cleared(registry, bundle):
    assert registry.by_alias("aliased", "champion") is None
    first, second = (register(registry, bundle, "aliased", key=key) for key in ("a", "b"))
    registry.set_alias("aliased", "champion", first.version)
    assert registry.by_alias("aliased", "champion") == first
    registry.set_alias("aliased", "champion", second.version)
    assert registry.by_alias("aliased", "champion") == second
    registry.clear_alias("aliased", "champion")
    registry.clear_alias("aliased", "champion")
    assert registry.by_alias("aliased", "champion") is None


def test_metrics_and_files_are_added_later(registry, bundle, tmp_path):
    model = register(registry, bundle, "measured")
    registry.log_metrics(model, {"test_ndcg_at_10": 0.5})
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text("{}")
    registry.log_artifacts(model, {tmp_path / "report": "evaluation"})
    assert registry.find("measured", key="k1").metrics["test_ndcg_at_10"] == 0.5
    assert [f.path for f in registry._client.list_artifacts(model.run_id, "evaluation")] == ["evaluation/report.json"]


def test_a_dead_server_is_a_registry_error_and_the_cache_still_serves(registry, bundle, tmp_path):
    model = register(registry, bundle, "cached")
    registry.download(model)
    dead = MlflowRegistry("http://127.0.0.1:9", registry._cache)
    assert folder_digest(dead.download(model)) == model.digest
    with pytest.raises(RegistryError, match=r"http://127\.0\.0\.1:9.*tandem status"):
        dead.by_alias("cached", "champion")


def test_a_foreign_version_is_named(registry):
    client = registry._client
    client.create_registered_model("foreign")
    model = client.create_logged_model("0", name="someone-elses")
    source = f"models:/{model.model_id}"
    client.create_model_version("foreign", source=source, model_id=model.model_id, await_creation_for=0)
    client.set_registered_model_alias("foreign", "champion", "1")
    with pytest.raises(RegistryError, match="has no tag"):
        registry.by_alias("foreign", "champion")


READ = """
import sys
from pathlib import Path
from pipelines.stores.registry import MlflowRegistry
from pipelines.stores.runs import MlflowRuns
registry = MlflowRegistry(sys.argv[1], Path(sys.argv[2]))
model = registry.by_alias("served", "champion")
print(registry.download(model))
assert not {"tensorflow", "sklearn", "onnx"} & set(sys.modules), "heavy import"
"""


def test_the_serving_environment_reads_with_mlflow_skinny_alone(registry, bundle, server, tmp_path):
    python = REPOSITORY / ".venv-serving" / "bin" / "python"
    if not python.exists():
        pytest.skip("no .venv-serving; run `make setup`")
    registry.set_alias("served", "champion", register(registry, bundle, "served").version)
    arguments = [str(python), "-c", READ, server, str(tmp_path / "serving")]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert folder_digest(Path(done.stdout.strip())) == folder_digest(bundle)
    shutil.rmtree(tmp_path / "serving")
