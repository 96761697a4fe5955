"""How the trained two-tower model and ranker behave, served end to end: a checklist (Ribeiro and others, ACL 2020).

Invariance: what does not matter changes nothing. Direction: a liked item moves similar items up. Robustness: extreme
values are answered, finite. The models are those of the other steps' tests.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import EvaluationConfig, IndexConfig, RulesConfig, SourceConfig
from pipelines.models import systems
from pipelines.models.holdout import Holdout
from pipelines.models.vectors import embed_items, embed_queries
from pipelines.release.manifest import ITEMS
from pipelines.steps.assemble_release import assemble_release
from pipelines.steps.build_index import build_index
from pipelines.steps.evaluate_models import evaluate_models
from serving.app import create_app
from serving.recommender import Query, query_features
from serving.settings import Settings
from serving.users import User
from tests.support.model_refs import RowFeatureStore
from tests.support.rows import GROUPS
from tests.support.serving import FakeSource, FakeStore, served, wait_until
from tests.support.trained_models import SEED, World

NUM_ITEMS = 40
STAMP = datetime(2025, 2, 1, tzinfo=UTC)


def features(history: list[str], **changes: Any) -> dict[str, Any]:
    """Return online features of a user of this history, oldest first; the taste is the newest item's."""
    count = len(history)
    return {
        "user_num_events": count, "user_num_events_7d": count, "user_num_events_30d": count, "user_mean_value": 4.0,
        "recent_items": history, "seen_items": history, "attributes": ["country=nl"], "last_known_at": STAMP,
        "taste_categories": [GROUPS[int(history[-1][1:]) % len(GROUPS)]], "taste_weights": [1.0], **changes,
    }  # fmt: skip


USUAL = features(["i1", "i5", "i9"])
EXTREMES: dict[str, Mapping[str, Any]] = {
    "huge": {"user_num_events": 2**62, "user_num_events_7d": 2**62, "user_mean_value": 3e38},
    "negative": {"user_num_events": -(2**62), "user_num_events_30d": -1, "user_mean_value": -3e38},
    "not a number": {"user_mean_value": math.nan, "taste_weights": [math.nan]},
    "infinite": {"user_mean_value": math.inf, "taste_weights": [math.inf]},
    "huge taste": {"taste_weights": [3e38]},
    "null": dict.fromkeys(USUAL),
    "nothing": {"recent_items": [], "taste_categories": [], "taste_weights": [], "attributes": [], "seen_items": []},
    "null elements": {"recent_items": [None, "i1"], "attributes": [None], "taste_categories": [None]},
    "unheard of": {"recent_items": ["?"] * 500, "attributes": ["a=b"] * 500, "taste_categories": ["?"]},
    "far past": {"last_known_at": datetime(1, 1, 1, tzinfo=UTC)},
    "far future": {"last_known_at": datetime(9999, 12, 31, tzinfo=UTC)},
}
# Items of two groups each: item `i<n>` is of group `n % 4`.
PAIRS = [(a, a + step) for a in range(0, NUM_ITEMS, 3) for step in (1, 2, 3, 5, 6) if a + step < NUM_ITEMS]
USERS = {
    "usual": USUAL,
    "twin": USUAL,
    "more": USUAL | {"a_feature_of_tomorrow": "x", "another": [1.0]},
    "turned": dict(reversed(USUAL.items())),
    **{name: USUAL | dict(changes) for name, changes in EXTREMES.items()},
    **{f"{a} without {b}": features([f"i{a}"]) for a, b in PAIRS},
    **{f"{a} then {b}": features([f"i{a}", f"i{b}"]) for a, b in PAIRS},
}


@pytest.fixture(scope="module")
def release(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a release of the session's models, every item a candidate."""
    # A registry of its own: others' tests find only the versions and metrics of the session's models.
    registry = world.registry.copy(tmp_path_factory.mktemp("release") / "registry")
    stores = {"registry": registry, "artifacts": world.artifacts}
    config = EvaluationConfig(ks=(10,), max_users=5, num_candidates=NUM_ITEMS, baselines=())
    evaluation = evaluate_models(
        world.training_set, world.retrieval, world.ranking, config=config, source=SourceConfig(kind="csv"),
        feature_store=RowFeatureStore(world.rows), lake=world.lake, seed=SEED, **stores,
    )  # fmt: skip
    index = build_index(
        evaluation, config=IndexConfig(recall_k=10), feature_store=RowFeatureStore(world.rows), seed=SEED, **stores
    )
    release = assemble_release(evaluation, index, config=RulesConfig(), num_candidates=NUM_ITEMS, **stores)
    return registry.download(release.model)


@pytest.fixture(scope="module")
def client(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Serving with that release."""
    source = FakeSource()
    source.point(source.put("1", release))
    settings = Settings(home=tmp_path_factory.mktemp("serving"), poll_seconds=0.05, store_retry_seconds=0)
    with served(create_app(settings, source=source, open_store=lambda *_: FakeStore(USERS))) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        yield client


def answer(client: httpx.Client, user_id: str, **context: Any) -> list[dict[str, Any]]:
    body = {"user_id": user_id, "count": NUM_ITEMS, "context": context}
    response = client.post("/v1/recommendations", json=body)
    assert response.status_code == 200, response.text
    assert response.json()["degraded"] == []
    items: list[dict[str, Any]] = response.json()["items"]
    return items


def test_asked_twice_it_answers_the_same(client):
    assert answer(client, "usual") == answer(client, "usual")


def test_the_answer_is_the_list_that_evaluation_measures(world, release, client):
    items = pq.read_table(release / ITEMS)
    queries = query_features(Query("usual", NUM_ITEMS), User("usual", USUAL), moment_of(client, "usual"))
    seen = np.isin(items["item_id"].to_pylist(), USUAL["seen_items"])[None]
    nothing = np.zeros(len(items), dtype=bool)
    holdout = Holdout(pa.array(["usual"]), items, seen, nothing[None], nothing.astype(float), seen.sum(1), nothing, 5)
    retrieval, ranking = (world.registry.download(model) for model in (world.retrieval, world.ranking))
    embedded = systems.embed(retrieval, queries, items)
    (rows,) = systems.recommended_order(holdout, embedded, ranking, queries, num_candidates=NUM_ITEMS, top_k=10)
    assert items["item_id"].take(rows).to_pylist() == [item["item_id"] for item in answer(client, "usual")[:10]]


def moment_of(client: httpx.Client, user_id: str) -> datetime:
    """Return the moment that the context features of an answer are of."""
    response = client.post("/v1/recommendations", json={"user_id": user_id})
    return datetime.fromisoformat(response.json()["request_time"])


def test_features_it_does_not_know_and_their_order_change_nothing(client):
    assert answer(client, "usual") == answer(client, "more") == answer(client, "turned")


def test_two_users_with_equal_inputs_get_equal_answers(client):
    """Of users the models never saw, an id says nothing: not with a history, and not without."""
    assert answer(client, "usual") == answer(client, "twin")
    strangers = [answer(client, f"stranger {n}", device="tv") for n in range(5)]
    assert all(items == strangers[0] for items in strangers)
    assert strangers[0] != answer(client, "usual", device="tv")


def test_an_unknown_context_field_is_refused_by_name(client):
    body = {"user_id": "usual", "context": {"mood": "good"}}
    response = client.post("/v1/recommendations", json=body)
    assert response.status_code == 422
    assert "mood" in response.text


@pytest.mark.parametrize("name", sorted(EXTREMES))
def test_extreme_features_are_answered_with_finite_scores(client, name):
    items = answer(client, name)
    assert len(items) >= NUM_ITEMS - len(USUAL["seen_items"])
    scores = np.array([[item["score"], item["expected_value"], item["retrieval_score"]] for item in items], np.float64)
    assert np.isfinite(scores).all()
    assert ((scores[:, 0] >= 0) & (scores[:, 0] <= 1)).all()


@pytest.mark.parametrize(
    "context",
    [
        {"timestamp": "0001-01-01T00:00:00Z"},
        {"timestamp": "9999-12-31T23:59:59Z"},
        {"device": "x" * 256},
        {"device": "\N{PILE OF POO}"},
    ],
)
def test_an_extreme_context_is_answered_with_finite_scores(client, context):
    items = answer(client, "usual", **context)
    assert len(items) == NUM_ITEMS - len(USUAL["seen_items"])
    assert np.isfinite([[item["score"], item["retrieval_score"]] for item in items]).all()


def test_a_liked_item_moves_similar_items_up(client):
    """Once an item of another group is liked, the rest of that group ranks higher: on average, by many such pairs."""
    gains = []
    for a, b in PAIRS:
        before, after = (ranks_of(answer(client, f"{a} {word} {b}"), like=b) for word in ("without", "then"))
        gains.append(np.mean([before[item] - after[item] for item in set(before) & set(after)]))
    assert np.mean(gains) > 2 * np.std(gains) / np.sqrt(len(gains))


def ranks_of(items: list[dict[str, Any]], *, like: int) -> dict[str, int]:
    """Return item -> rank of those of the group that item `like` is of."""
    return {item["item_id"]: item["rank"] for item in items if (int(item["item_id"][1:]) - like) % len(GROUPS) == 0}


def test_order_of_columns_and_rows_and_columns_nobody_reads_change_no_vector(world):
    bundle, rows = world.registry.download(world.retrieval), world.rows.slice(700, 60)
    order = np.random.default_rng(SEED).permutation(rows.num_rows)
    shuffled = rows.select(sorted(rows.column_names)).append_column("mood", pa.array(["good"] * rows.num_rows))
    for embed in (embed_queries, embed_items):
        vectors = np.asarray(embed(bundle, rows))
        np.testing.assert_array_equal(embed(bundle, shuffled), vectors)
        np.testing.assert_allclose(embed(bundle, shuffled.take(order)), vectors[order], rtol=1e-5, atol=1e-6)


def test_extreme_items_have_finite_vectors(world):
    bundle = world.registry.download(world.retrieval)
    items = pa.table(
        {
            "item_id": ["new", None, "i1"],
            "title": [None, "x" * 100_000, "\x00"],
            "categories": [None, [None], ["?"] * 1_000],
            "item_num_events": pa.array([math.nan, math.inf, -math.inf]),
            "item_num_events_7d": [2**62, -(2**62), None],
        }
    )
    assert np.isfinite(embed_items(bundle, items)).all()
