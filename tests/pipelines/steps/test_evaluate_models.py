import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pyarrow as pa
import pytest

from pipelines.config import EvaluationConfig, SourceConfig
from pipelines.contracts import Evaluation
from pipelines.errors import TrainingError
from pipelines.models import exposure
from pipelines.models.per_user import read_per_user
from pipelines.steps import evaluate_models as module
from pipelines.steps.evaluate_models import evaluate_models
from tests.support.model_refs import RowFeatureStore, RowLake, training_set
from tests.support.trained_models import SEED, World

CONFIG = EvaluationConfig(ks=(5, 10), num_candidates=20)


def evaluate(world: World, config: EvaluationConfig = CONFIG, **changes) -> Evaluation:
    arguments = {
        "source": SourceConfig(kind="csv"), "feature_store": world.feature_store, "lake": world.lake,
        "registry": world.registry, "artifacts": world.artifacts, "seed": SEED, **changes,
    }  # fmt: skip
    labels = arguments.pop("training_set", world.training_set)
    return evaluate_models(labels, world.retrieval, world.ranking, config=config, **arguments)


@pytest.fixture(scope="module")
def evaluation(world) -> Evaluation:
    return evaluate(world)


def report(evaluation: Evaluation) -> dict:
    return json.loads((Path(evaluation.uri) / "report.json").read_text())


def test_every_system_has_every_metric_at_every_k(evaluation):
    assert set(evaluation.metrics) == {"popularity", *CONFIG.baselines, "retrieval", "recommender"}
    for values in evaluation.metrics.values():
        accuracy = {f"{metric}_at_{k}" for metric in ("recall", "ndcg", "mrr", "hit_rate") for k in (5, 10)}
        beyond = {f"{metric}_at_10" for metric in exposure.NAMES}
        assert accuracy | beyond == set(values)


def test_the_models_beat_popularity_on_rows_with_a_pattern(evaluation):
    assert evaluation.metrics["retrieval"]["ndcg_at_10"] > evaluation.metrics["popularity"]["ndcg_at_10"]


def test_the_page_names_the_model_and_every_baseline(evaluation):
    page = (Path(evaluation.uri) / "report.html").read_text()
    assert "Retrieval by two_tower reaches" in page
    assert report(evaluation)["baselines"] == ["popularity", *CONFIG.baselines]
    for name in CONFIG.baselines:
        assert any(f"The recommender {verb} {name} on" in page for verb in ("beats", "loses to", "and"))


def test_slices_cover_users_and_items(evaluation):
    slices = report(evaluation)["slices"]
    users = {"new users", "sparse users", "existing users"}
    assert set(slices) == users | {"new items", "head items", "tail items"}
    counts = {name: rows["recommender"]["num_users"] for name, rows in slices.items()}
    assert counts["new users"] + counts["existing users"] == report(evaluation)["num_users"]


def test_the_page_needs_nothing_else_and_says_who_won(evaluation):
    page = (Path(evaluation.uri) / "report.html").read_text()
    assert "The recommender" in page
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page.split("<body")[0].replace("data:", "")


def test_each_cold_start_slice_says_whether_its_goal_is_met(evaluation):
    page = (Path(evaluation.uri) / "report.html").read_text()
    goals = report(evaluation)["cold_start"]
    assert set(goals) == {"new users", "sparse users", "new items"}
    for name, goal in goals.items():
        assert f"{name.capitalize()} (" in page
        if goal["num_users"]:
            assert goal["value"] == report(evaluation)["slices"][name]["recommender"]["ndcg_at_10"]
    assert "goal met" in page or "goal not met" in page or "goal is not measured" in page


def test_planted_newcomers_are_asked_for_and_a_planted_new_item_is_a_candidate(world, tmp_path):
    """A user of the test window alone, and an item first used after the training window that the models never saw."""
    rows = planted(world.rows)
    labels = training_set(tmp_path / "set", rows, dataset="planted")
    config = CONFIG.model_copy(update={"ks": (5, 10, 50), "num_candidates": 50, "baselines": ()})
    found = evaluate(
        world, config, training_set=labels, feature_store=RowFeatureStore(rows), lake=RowLake(rows),
        artifacts=type(world.artifacts)(tmp_path), registry=world.registry.copy(tmp_path / "registry"),
    )  # fmt: skip
    slices = report(found)["slices"]
    assert slices["new users"]["recommender"]["num_users"] == 1
    assert slices["new items"]["recommender"]["num_users"] == 1
    # The list is as long as the corpus: what is a candidate is found, what is not never is.
    for system in ("retrieval", "recommender", "popularity"):
        assert slices["new items"][system]["recall_at_50"] == 1.0
        assert slices["new users"][system]["recall_at_50"] == 1.0


def planted(rows: pa.Table) -> pa.Table:
    """Change three labels: item `new` is first used in the validation window, then by `newcomer` in the test window."""
    users, items = rows["user_id"].to_pylist(), rows["item_id"].to_pylist()
    items[800] = items[900] = "new"
    users[900] = "newcomer"
    for name, values in (("user_id", users), ("item_id", items)):
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values))
    return rows


def test_metrics_and_report_reach_the_models_pages(world, evaluation):
    logged = world.registry.logged[world.ranking.name, world.ranking.version]
    assert logged["test_ndcg_at_10"] == evaluation.metrics["recommender"]["ndcg_at_10"]


def test_equal_arguments_give_the_report_that_is_there(world, evaluation, monkeypatch):
    monkeypatch.setattr(module, "_Evaluator", None)
    assert evaluate(world) == evaluation


def test_the_interval_holds_the_figure(evaluation):
    for system, (low, high) in report(evaluation)["intervals"].items():
        assert low <= evaluation.metrics[system]["ndcg_at_10"] <= high


def test_each_system_has_its_paired_difference(evaluation):
    differences = report(evaluation)["differences"]
    assert evaluation.differences == {"ndcg_at_10": differences["recommender"]}
    assert set(differences["recommender"]) == set(evaluation.metrics) - {"recommender"}
    assert set(differences["retrieval"]) == {"popularity", *CONFIG.baselines}
    for system, one in differences["recommender"].items():
        lead = evaluation.metrics["recommender"]["ndcg_at_10"] - evaluation.metrics[system]["ndcg_at_10"]
        assert one["difference"] == pytest.approx(lead)
        assert one["low"] <= lead <= one["high"]
        assert 0 < one["p_value"] <= one["p_holm"] <= 1
    page = (Path(evaluation.uri) / "report.html").read_text()
    assert "recommender above it by" in page
    assert "users can show" in page


def test_the_values_of_every_user_are_kept_without_naming_any(world, evaluation):
    import pyarrow.parquet as pq

    file = Path(evaluation.uri) / "per_user.parquet"
    kept = read_per_user(file)
    assert set(kept) == set(evaluation.metrics)
    for system, metrics in kept.items():
        assert {len(values) for values in metrics.values()} == {report(evaluation)["num_users"]}
        for name, values in metrics.items():
            assert values.mean() == pytest.approx(evaluation.metrics[system][name])
    texts = [column for column in pq.read_table(file).columns if str(column.type).startswith("dictionary")]
    assert len(texts) == 1  # the names of systems
    assert set(texts[0].to_pylist()) == set(evaluation.metrics)


def test_one_question_has_one_digest_and_another_one_another(world, evaluation, tmp_path):
    again = evaluate(world, artifacts=type(world.artifacts)(tmp_path / "again"))
    fewer = evaluate(world, CONFIG.model_copy(update={"max_users": 30}))
    assert report(again)["holdout"] == report(evaluation)["holdout"]
    assert report(fewer)["holdout"] != report(evaluation)["holdout"]


def test_large_corpora_go_without_the_baselines_that_square_them_and_the_page_says_so(world):
    few = CONFIG.model_copy(update={"max_users": 30, "baseline_max_items": 5})
    found = evaluate(world, few)
    assert set(found.metrics) == {"popularity", *CONFIG.baselines, "retrieval", "recommender"} - {"ease"}
    assert report(found)["baselines_left_out"] == ["ease"]
    page = (Path(found.uri) / "report.html").read_text()
    assert "Not measured: ease, which would fill a matrix of" in page
    assert "baseline_max_items` is 5" in page


def test_nothing_is_said_to_be_left_out_where_nothing_is(evaluation):
    assert report(evaluation)["baselines_left_out"] == []
    assert "Not measured: ease" not in (Path(evaluation.uri) / "report.html").read_text()


def test_a_champion_fitted_before_the_cut_is_measured_beside(world, monkeypatch):
    monkeypatch.setattr(module, "_champion", lambda registry, labels, pair: (world.retrieval, world.ranking))
    metrics = evaluate(world, CONFIG.model_copy(update={"max_users": 30})).metrics
    assert metrics["champion"] == metrics["recommender"]


def test_the_champion_is_not_measured_against_itself(world, monkeypatch):
    champion = SimpleNamespace(retrieval=world.retrieval, ranking=world.ranking)
    registry = Mock(by_alias=Mock(return_value=world.retrieval), download=world.registry.download)
    monkeypatch.setattr(module, "read_manifest", lambda folder: champion)
    another = world.ranking.model_copy(update={"digest": "another"})
    assert module._champion(registry, world.training_set, (world.retrieval, world.ranking)) is None
    assert module._champion(registry, world.training_set, (world.retrieval, another)) == (
        world.retrieval,
        world.ranking,
    )


def test_nothing_of_the_test_window_changes_what_is_recommended(world, evaluation, tmp_path):
    """Another future gives other relevance, but the same lists: popularity of items and coverage stay."""
    import pyarrow.compute as pc

    cut = pa.scalar(world.training_set.test_start, pa.timestamp("us", tz="UTC"))
    past = world.rows.filter(pc.less(world.rows["event_timestamp"], cut))
    without_future = evaluate(
        world, feature_store=RowFeatureStore(past), lake=RowLake(past), artifacts=type(world.artifacts)(tmp_path)
    )
    assert without_future.metrics == evaluation.metrics


def test_a_window_without_anything_new_is_refused(world, tmp_path):
    import shutil

    shutil.copytree(world.training_set.uri, tmp_path / "set")
    shutil.copy(tmp_path / "set" / "train.parquet", tmp_path / "set" / "test.parquet")
    repeated = world.training_set.model_copy(update={"uri": str(tmp_path / "set"), "fingerprint": "repeated"})
    with pytest.raises(TrainingError, match="used an item they had not used before"):
        evaluate(world, training_set=repeated)


def test_what_an_evaluation_keeps_is_what_a_comparison_reads(world, evaluation, tmp_path):
    from pipelines.steps.compare_models import compare_models
    from tests.support.memory_runs import MemoryRuns

    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "evaluation").symlink_to(evaluation.uri)
    runs = MemoryRuns(dict.fromkeys((world.retrieval.run_id, world.ranking.run_id), kept))
    stores = {"registry": world.registry, "runs": runs, "artifacts": type(world.artifacts)(tmp_path / "runs")}
    found = compare_models([], dataset="tiny", metric="ndcg_at_10", reference=None, seed=SEED, **stores)
    assert found.values["retrieval/1 two_tower"] == evaluation.metrics["retrieval"]["ndcg_at_10"]
    assert found.values["ranking/1 on two_tower"] == evaluation.metrics["recommender"]["ndcg_at_10"]
    assert {"popularity", *CONFIG.baselines} < set(found.values)
