"""Runs of a real MLflow server over HTTP."""

from dataclasses import replace

import pytest

from pipelines.errors import RegistryError
from pipelines.stores.base import RunRecord
from pipelines.stores.runs import MlflowRuns
from tests.support.registering import RECORD, register


def test_a_runs_curves_are_read_step_by_step_without_the_final_values(registry, runs, bundle):
    curves = {"loss": [3.0, 2.0, 1.5], "validation_recall_at_50": [0.1, 0.3, 0.2]}
    final = {"validation_recall_at_50": 0.3, "cost_cpu_seconds": 12.5}
    model = register(registry, bundle, "curved", record=replace(RECORD, curves=curves, metrics=final))
    told = runs.read(model.run_id)
    assert told.curves == curves
    assert told.metrics["cost_cpu_seconds"] == 12.5
    assert runs.address(model.run_id).endswith(f"/runs/{model.run_id}")


def test_files_of_a_run_are_fetched_all_or_none(registry, runs, bundle, tmp_path):
    page, folder = tmp_path / "report.json", tmp_path / "fetched"
    page.write_text("{}")
    folder.mkdir()
    model = register(registry, bundle, "paged", record=replace(RECORD, artifacts={page: "evaluation"}))
    assert not runs.fetch_files(model.run_id, ["evaluation/report.json", "evaluation/per_user.parquet"], folder)
    assert list(folder.iterdir()) == []
    assert runs.fetch_files(model.run_id, ["evaluation/report.json"], folder)
    assert (folder / "report.json").read_text() == "{}"


def test_a_run_of_its_own_is_written_once_and_an_unfinished_one_replaced(registry, runs, tmp_path):
    page = tmp_path / "report.html"
    page.write_text("<p>")
    record = RunRecord("comparison", params={"metric": "ndcg_at_10"}, artifacts={page: "comparison"})
    client = registry._client
    killed = client.create_run(
        client.create_experiment("tandem/compared"), tags={"tandem.key": "c1"}, run_name="killed"
    ).info.run_id
    run_id = runs.record("c1", dataset="compared", record=record)
    assert run_id != killed
    assert client.get_run(killed).info.lifecycle_stage == "deleted"
    assert client.get_run(run_id).info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(run_id, "comparison")] == ["comparison/report.html"]
    assert runs.record("c1", dataset="compared", record=record) == run_id


def test_a_run_that_is_begun_is_found_open_and_ended_as_often_as_needed(runs, registry, tmp_path):
    client, page = registry._client, tmp_path / "best.yaml"
    page.write_text("seed: 7")
    record = RunRecord("search", params={"metric": "recall"}, tags={"tandem.search": "s"})
    run_id = runs.begin("s1", dataset="searched", record=record)
    assert client.get_run(run_id).info.status == "RUNNING"
    for best in (0.1, 0.2):
        assert runs.begin("s1", dataset="searched", record=record) == run_id
        ended = RunRecord("search", metrics={"best_value": best}, tags={"best.l2": best}, artifacts={page: "search"})
        runs.finish(run_id, ended)
        run = client.get_run(run_id)
        assert run.info.status == "FINISHED"
        assert run.data.metrics == {"best_value": best}
        assert run.data.tags["best.l2"] == str(best)
    assert run.data.params == {"metric": "recall"}
    assert [file.path for file in client.list_artifacts(run_id, "search")] == ["search/best.yaml"]


def test_a_search_is_a_run_with_its_trials_below(runs, registry, tmp_path):
    from tests.support.searches import Searching

    searching, client = Searching(tmp_path, runs=runs), registry._client
    search = searching.plan(2, study="s")
    searching.run(search)
    result = searching.report(search)
    experiment = client.get_experiment_by_name("tandem/tiny").experiment_id
    nested = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{search.run_id}'")
    assert sorted(run.info.run_name for run in nested) == ["trial 1", "trial 2"]
    assert max(run.data.metrics[search.metric] for run in nested) == result.value
    assert all(run.data.metrics["cost_cpu_seconds"] > 0 for run in nested)
    assert {key for run in nested for key in run.data.params} == result.settings.keys()
    parent = client.get_run(search.run_id)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["best_value"] == result.value
    drawn = {file.path for file in client.list_artifacts(search.run_id, "search")}
    assert {"search/best.yaml", "search/history.png", "search/importances.png"} <= drawn


def test_runs_of_a_server_that_is_gone_are_an_error_that_names_it():
    with pytest.raises(RegistryError, match=r"could not read run r1 at http://127\.0\.0\.1:9"):
        MlflowRuns("http://127.0.0.1:9").read("r1")
