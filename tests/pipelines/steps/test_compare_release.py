import pytest

from pipelines.config import PromotionConfig
from pipelines.contracts import CHAMPION, RECOMMENDER, IndexManifest, ModelVersion, Release
from pipelines.errors import PromotionError
from pipelines.steps.compare_release import compare_release
from tests.support.memory_registry import MemoryRegistry
from tests.support.tiny_release import snapshot

CONFIG = PromotionConfig(max_regression=0.1, min_lift_over_popularity=0.5)


def version(number, ndcg=0.2, dataset="tiny", name=RECOMMENDER):
    metrics = {"ndcg_at_10": ndcg, "popularity_ndcg_at_10": 0.1}
    return ModelVersion(name=name, version=number, run_id="r", dataset=dataset, digest="d", metrics=metrics)


def release(ndcg=0.2, number="2", dataset="tiny"):
    model = version(number, ndcg, dataset)
    index = IndexManifest(retrieval=model, kind="scann", uri="u", digest="d", num_items=1, embedding_dim=1, recall={})
    return Release(
        model=model, retrieval=model, ranking=model, index=index, snapshot=snapshot(dataset), metrics=model.metrics
    )


@pytest.fixture
def registry(tmp_path):
    return MemoryRegistry(tmp_path)


def champion(registry, **values):
    model = version("1", **values)
    registry.versions[RECOMMENDER, "1"] = model
    registry.aliases[RECOMMENDER, CHAMPION] = "1"


def test_the_first_release_has_popularity_to_beat(registry):
    result = compare_release(release(0.16), config=CONFIG, registry=registry)
    assert result.accepted
    assert result.champion_version is None
    assert "no champion yet" in result.reason
    assert result.figures == {"recommender": 0.16, "popularity": 0.1}


def test_too_little_above_popularity_is_refused(registry):
    result = compare_release(release(0.149), config=CONFIG, registry=registry)
    assert not result.accepted
    assert "0.1490 against popularity's 0.1000 (at least 0.1500 needed)" in result.reason


@pytest.mark.parametrize(("ndcg", "accepted"), [(0.3, True), (0.181, True), (0.179, False)])
def test_a_small_loss_against_the_champion_is_allowed(registry, ndcg, accepted):
    champion(registry, ndcg=0.2)
    result = compare_release(release(ndcg), config=CONFIG, registry=registry)
    assert result.accepted is accepted
    assert result.champion_version == "1"
    assert result.figures["champion"] == 0.2
    assert "at least 0.1800 needed" in result.reason


def test_the_champions_figure_on_the_same_holdout_counts_more_than_on_its_own(registry):
    champion(registry, ndcg=0.2)
    candidate = release(0.3)
    metrics = {**candidate.metrics, "champion_ndcg_at_10": 0.4}
    result = compare_release(candidate.model_copy(update={"metrics": metrics}), config=CONFIG, registry=registry)
    assert not result.accepted
    assert result.figures["champion"] == 0.4


@pytest.mark.parametrize(("p_holm", "told"), [(0.6, "is not told from chance"), (0.01, "is told from chance")])
def test_where_both_were_measured_on_the_same_users_the_reason_says_whether_it_could_be_chance(registry, p_holm, told):
    champion(registry, ndcg=0.2)
    found = {"difference": -0.001, "low": -0.004, "high": 0.002, "p_value": p_holm, "p_holm": p_holm, "num_users": 166}
    candidate = release(0.199).model_copy(update={"differences": {"ndcg_at_10": {"champion": found}}})
    result = compare_release(candidate, config=CONFIG, registry=registry)
    assert result.accepted  # the margin decides, as without it
    assert "on the same 166 users the difference is -0.0010 (95 % -0.0040 to +0.0020)" in result.reason
    assert result.reason.endswith(told)


def test_a_champion_of_another_data_set_is_not_compared_and_that_is_said(registry):
    champion(registry, ndcg=0.9, dataset="other")
    result = compare_release(release(0.2), config=CONFIG, registry=registry)
    assert result.accepted
    assert "'other'" in result.reason
    assert "champion" not in result.figures


def test_the_champion_itself_is_accepted(registry):
    champion(registry)
    assert compare_release(release(0.2, number="1"), config=CONFIG, registry=registry).accepted


def test_an_unmeasured_metric_names_those_there_are(registry):
    with pytest.raises(PromotionError, match=r"no metric 'auc'; measured are ndcg_at_10, popularity_ndcg_at_10"):
        compare_release(release(), config=PromotionConfig(metric="auc"), registry=registry)
