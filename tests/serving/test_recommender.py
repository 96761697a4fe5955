from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from pipelines.config import RulesConfig
from pipelines.inputs.ranking_encoder import RankingEncoder
from serving.bundle import load_bundle
from serving.recommender import Query, Recommender, Stages, query_features
from serving.users import User
from tests.support.tiny_release import AS_OF, model_version, write_tiny_release

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def open_recommender(tmp_path_factory):
    def make(**values):
        release = write_tiny_release(tmp_path_factory.mktemp("release"), **values)
        return Recommender(load_bundle(release, model_version("recommender", release)))

    return make


@pytest.fixture(scope="module")
def recommender(open_recommender):
    return open_recommender()


def user(*seen, **features):
    return User("u1", {"recent_items": list(seen[-5:]), **features}, tuple(seen), bool(seen))


def recommend(recommender, who=None, **query):
    query = Query("u1", **{"count": 10, **query})
    chosen, _ = recommender.recommend(query, who or user(), Stages(), now=NOW)
    return chosen


def ids(recommender, chosen):
    return [recommender.bundle.catalogue.ids[choice.row] for choice in chosen]


def test_the_best_come_first_and_each_once(recommender):
    chosen = recommend(recommender, user("001", "002"))
    assert len(chosen) == len({choice.row for choice in chosen}) == 10
    probabilities = [choice.probability for choice in chosen]
    assert probabilities == sorted(probabilities, reverse=True)
    assert {choice.origin for choice in chosen} == {"retrieval"}


def test_candidates_are_those_nearest_to_the_query(recommender):
    who, query = user("001"), Query("u1", 20)
    encoded = recommender.encode(query, who, now=NOW)
    table = recommender.bundle.index.vectors(np.arange(60, dtype=np.int32))
    order = [row for row in np.argsort(-(table @ encoded.vector[0])) if row != 1][:20]
    assert sorted(choice.row for choice in recommend(recommender, who, count=20)) == sorted(order)


def test_seen_items_are_left_out_however_many(recommender):
    seen = [f"{row:03}" for row in range(50)]
    shown = ids(recommender, recommend(recommender, user(*seen), count=20))
    assert sorted(shown) == [f"{row:03}" for row in range(50, 60)]


def test_seen_items_may_be_shown_when_the_rule_is_off(open_recommender):
    recommender = open_recommender(rules=RulesConfig(exclude_seen=False))
    assert "001" in ids(recommender, recommend(recommender, user("001")))


def test_excluded_and_blocked_items_are_left_out(open_recommender):
    recommender = open_recommender(rules=RulesConfig(blocked_items=("003", "not-an-item")))
    shown = ids(recommender, recommend(recommender, user(), count=60, exclude=("004", "unknown")))
    assert len(shown) == 58
    assert not {"003", "004"} & set(shown)


def test_popular_items_fill_up_what_retrieval_lacks(recommender):
    chosen = recommend(recommender, user("059"), count=30)
    assert len(chosen) == 30
    assert [choice.origin for choice in chosen] == ["retrieval"] * 20 + ["popular"] * 10
    retrieved = {choice.row for choice in chosen[:20]}
    popular = [row for row in range(60) if row not in retrieved and row != 59][:10]
    assert sorted(choice.row for choice in chosen[20:]) == popular


def test_an_answer_is_short_only_when_there_is_no_more(recommender):
    assert len(recommend(recommender, user("001"), count=100)) == 59


def test_an_approximate_index_serves_alike(open_recommender):
    exact = open_recommender(num_items=400)
    approximate = open_recommender(num_items=400, brute_force_below=100)
    assert (exact.bundle.index.kind, approximate.bundle.index.kind) == ("brute_force", "scann")
    seen = [f"{row:03}" for row in range(100)]
    shown = [set(ids(each, recommend(each, user(*seen), count=20))) for each in (exact, approximate)]
    assert len(shown[0] & shown[1]) >= 15
    assert not shown[1] & set(seen)
    assert len(recommend(approximate, user(*seen), count=300)) == 300


def test_everything_seen_is_an_empty_answer(recommender):
    assert recommend(recommender, user(*(f"{row:03}" for row in range(60)))) == []


def test_a_category_has_no_more_than_its_share(open_recommender):
    recommender = open_recommender(rules=RulesConfig(max_per_category=3))
    chosen = recommend(recommender, user("001"), count=9)
    categories = [choice.row % 3 for choice in chosen]
    assert [categories.count(category) for category in range(3)] == [3, 3, 3]
    assert len(recommend(recommender, user("001"), count=20)) == 9, "the rule wins over the count"


def test_nobody_and_nothing_known_is_answered(recommender):
    who = User("never seen", {"recent_items": ["never seen"], "taste_categories": ["none"], "taste_weights": [0.5]})
    chosen, _ = recommender.recommend(Query("never seen", 10, device="toaster"), who, Stages(), now=NOW)
    assert len(chosen) == 10
    assert all(np.isfinite([c.probability, c.expected_value, c.retrieval_score]).all() for c in chosen)


def test_serving_ranks_with_what_training_would_have_encoded(recommender, monkeypatch):
    """The pairs that the ranker sees equal `RankingEncoder.encode` of one joined table."""
    bundle, seen = recommender.bundle, {}
    real = bundle.ranker.run
    monkeypatch.setattr(bundle.ranker, "run", lambda inputs: seen.update(inputs) or real(inputs))
    who = user("001", taste_categories=["comedy", "drama"], taste_weights=[0.5, 0.25], user_num_events=7)
    query = Query("u1", 10, device="web")
    encoded = recommender.encode(query, who, now=NOW)
    rows = np.array([0, 1, 2, 30], dtype=np.int32)
    scores = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)
    recommender.rank(encoded, rows, scores, "retrieval")
    pairs = query_features(query, who, AS_OF).take([0] * 4)
    for name in bundle.catalogue.features.column_names:
        pairs = pairs.append_column(name, bundle.catalogue.features[name].take(rows))
    pairs = pairs.append_column("retrieval_score", [scores.tolist()])
    pairs = pairs.append_column("taste_match", [[0.5, 0.25, 0.0, 0.5]])
    encoder: RankingEncoder = bundle.ranking_encoder
    for name, expected in encoder.encode(pairs).items():
        np.testing.assert_allclose(seen[name], expected, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("asked", "last", "moment"),
    [
        (None, None, AS_OF),
        (None, AS_OF - timedelta(days=3), AS_OF),
        (None, AS_OF + timedelta(days=3), AS_OF + timedelta(days=3)),
        (datetime(2024, 5, 5, tzinfo=UTC), AS_OF, datetime(2024, 5, 5, tzinfo=UTC)),
    ],
)
def test_when_a_request_happens(recommender, asked, last, moment):
    who = User("u1", {} if last is None else {"last_known_at": last})
    assert recommender.moment(Query("u1", 1, asked), who, now=NOW) == moment


def test_context_features_are_those_of_the_moment():
    who = User("u1", {"last_known_at": AS_OF})
    row = query_features(Query("u1", 1), who, datetime(2025, 1, 2, 18, 30, tzinfo=UTC)).to_pylist()[0]
    assert (row["hour"], row["weekday"]) == (18, 3)
    assert row["days_since_last_event"] == pytest.approx(1 + 18.5 / 24)
    assert row["attributes"] is None


def test_similar_items_are_near_and_not_the_item(open_recommender):
    recommender = open_recommender(rules=RulesConfig(blocked_items=("005",)))
    rows, scores = recommender.similar(7, 60)
    assert len(rows) == 58
    assert not {5, 7} & set(rows.tolist())
    assert (np.diff(scores) <= 0).all()


def test_stages_add_up(recommender):
    stages = Stages()
    recommender.recommend(Query("u1", 10), user(), stages, now=NOW)
    assert list(stages.seconds) == ["encode", "retrieve", "rank", "rules"]
    assert all(seconds > 0 for seconds in stages.seconds.values())
