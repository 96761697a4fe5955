"""Every family of the catalogue through training, index, evaluation and release to an answer of serving."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.config import EvaluationConfig, IndexConfig, RankingConfig, RetrievalConfig, RulesConfig, SourceConfig
from pipelines.contracts import Evaluation, ModelVersion, TrainingSet
from pipelines.errors import ConfigError, TrainingError
from pipelines.inputs.item_encoder import ItemEncoder
from pipelines.inputs.query_encoder import QueryEncoder
from pipelines.models.candidates import retrieve
from pipelines.models.export import load_onnx, run_onnx
from pipelines.models.retrievers.base import Retriever
from pipelines.models.retrievers.catalogue import TWO_TOWER, cards, retriever_class
from pipelines.models.retrievers.training_data import LabelReader
from pipelines.models.vectors import embed_items, embed_queries
from pipelines.steps.assemble_release import assemble_release
from pipelines.steps.build_index import build_index
from pipelines.steps.build_ranking_set import PAIRS_FILE, build_ranking_set
from pipelines.steps.evaluate_models import evaluate_models
from pipelines.steps.train_retrieval import train_retrieval
from pipelines.stores.artifacts import LocalArtifacts
from pipelines.stores.base import RunRecord
from serving.app import create_app
from serving.settings import Settings
from tests.support.memory_registry import MemoryRegistry
from tests.support.model_refs import RowFeatureStore, RowLake, training_set
from tests.support.rows import feature_rows
from tests.support.serving import FakeSource, FakeStore, served, wait_until
from tests.support.small_models import small
from tests.support.tiny_release import write_ranking

SEED = 1
SEEN = ["i1", "i5"]
ASKED_AT = datetime(2025, 3, 1, 20, 30, tzinfo=UTC)  # a Saturday
USERS: dict[str, dict[str, object]] = {"u1": {"user_num_events": 2, "recent_items": SEEN, "seen_items": SEEN}}
RANKING = RankingConfig(num_queries=60, num_candidates=10, num_retrieved=20)
# One model of each family that serving can load; the two-tower model has tests of its own.
FAMILIES = {card.family: card.name for card in reversed(cards()) if card.served and card.name != TWO_TOWER}


@dataclass(frozen=True)
class Platform:
    """Stores and a training set that all families share."""

    rows: pa.Table
    labels: TrainingSet
    registry: MemoryRegistry
    artifacts: LocalArtifacts

    def train(self, **config: object) -> ModelVersion:
        return train_retrieval(
            self.labels, config=RetrievalConfig(**config), registry=self.registry, artifacts=self.artifacts, seed=SEED
        )


def rated_by_group(rows: pa.Table) -> pa.Table:
    """Return the rows with values of 4 or 5 for items of the user's own group, 1 or 2 for others; nulls stay."""
    user, item = (pc.cast(pc.utf8_slice_codeunits(rows[name], 1), pa.int64()) for name in ("user_id", "item_id"))
    own = pa.array(user.to_numpy() % 4 == item.to_numpy() % 4)
    values = pc.add(pc.if_else(own, 4.0, 1.0), pc.cast(pc.greater(rows["value"], 3.0), pa.float64()))
    return rows.set_column(rows.column_names.index("value"), "value", values)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    root, rows = tmp_path_factory.mktemp("platform"), rated_by_group(feature_rows(1_000))
    return Platform(
        rows, training_set(root / "set", rows), MemoryRegistry(root / "registry"), LocalArtifacts(root / "runs")
    )


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def trained(request: pytest.FixtureRequest, platform: Platform) -> tuple[str, ModelVersion]:
    name = FAMILIES[request.param]
    return name, platform.train(model=name, settings=small(name))


@pytest.fixture(scope="module")
def evaluated(trained: tuple[str, ModelVersion], platform: Platform, tmp_path_factory: pytest.TempPathFactory):
    name, retrieval = trained
    return evaluate(platform, name, retrieval, tmp_path_factory.mktemp(name))


def evaluate(platform: Platform, name: str, retrieval: ModelVersion, folder: Path) -> Evaluation:
    """Evaluate the model beside a ranker that keeps its order: training one of Keras adds nothing here."""
    query = QueryEncoder.load(platform.registry.download(retrieval) / "query_inputs")
    bundle = write_ranking(folder / "ranking", platform.rows, query, largest_score=5.0)  # ratings are scores, too
    ranking = platform.registry.register("ranking", bundle, key=name, dataset="tiny", record=RunRecord("run"))
    return evaluate_models(
        platform.labels,
        retrieval,
        ranking,
        config=EvaluationConfig(ks=(5, 10), num_candidates=20),
        source=SourceConfig(kind="csv"),
        feature_store=RowFeatureStore(platform.rows),
        lake=RowLake(platform.rows),
        registry=platform.registry,
        artifacts=platform.artifacts,
        seed=SEED,
    )


@contextmanager
def serving(
    evaluated: Evaluation, platform: Platform, home: Path, *, users: dict[str, dict[str, object]] = USERS
) -> Iterator[tuple[httpx.Client, list[str]]]:
    """Serve the release of an evaluation; yields a client and the ids in order of the index."""
    stores = {"registry": platform.registry, "artifacts": platform.artifacts}
    items = RowFeatureStore(platform.rows)
    index = build_index(evaluated, config=IndexConfig(recall_k=10), feature_store=items, seed=SEED, **stores)
    release = assemble_release(evaluated, index, config=RulesConfig(), num_candidates=20, **stores)
    source, folder = FakeSource(), platform.registry.download(release.model)
    source.point(source.put("1", folder))
    store = FakeStore(users)
    settings = Settings(home=home, poll_seconds=0.05, store_retry_seconds=0)
    with served(create_app(settings, source=source, open_store=lambda *_: store)) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        yield client, pq.read_table(folder / "items.parquet")["item_id"].to_pylist()


def test_the_bundle_scores_as_the_model_that_is_kept_in_it(trained, platform):
    name, retrieval = trained
    bundle = platform.registry.download(retrieval)
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert manifest["model"] == name
    assert manifest["history_length"] == 5
    model: Retriever = retriever_class(name).load(bundle / "model")
    reader = LabelReader.of(QueryEncoder.load(bundle / "query_inputs"), None)
    rows = platform.rows.slice(700, 80)
    expected = model.score(reader.queries(rows))
    corpus = pa.table({"item_id": reader.items.values})
    none = np.zeros((80, len(corpus)), dtype=bool)
    _, scores = retrieve(embed_queries(bundle, rows), embed_items(bundle, corpus), 10, excluded=none)
    np.testing.assert_allclose(scores, np.sort(expected, axis=1)[:, ::-1][:, :10], rtol=1e-3, atol=1e-4)


def test_the_run_has_the_models_own_settings_and_its_validation(trained, platform):
    name, retrieval = trained
    record = platform.registry.records[retrieval.name, retrieval.version]
    settings = retriever_class(name).Settings(**small(name))
    assert {key for key in record.params if key.startswith("retrieval.settings.")} == {
        f"retrieval.settings.{key}" for key in type(settings).model_fields
    }
    assert record.params["retrieval.model"] == record.tags["tandem.model"] == name
    assert "retrieval.hidden_units" not in record.params
    assert 0 <= record.metrics["validation_unseen_recall_at_50"] <= 1


def test_candidates_are_scored_by_the_model(trained, platform):
    _, retrieval = trained
    pairs = build_ranking_set(
        platform.labels,
        retrieval,
        config=RANKING,
        feature_store=RowFeatureStore(platform.rows),
        registry=platform.registry,
        artifacts=platform.artifacts,
        seed=SEED,
    )
    scores = pq.read_table(Path(pairs.uri) / PAIRS_FILE.format(split="train"))["retrieval_score"].to_numpy()
    assert np.isfinite(scores).all()


def test_it_is_evaluated_beside_the_others(evaluated: Evaluation):
    assert {"popularity", "retrieval", "recommender"} <= set(evaluated.metrics)
    # The ranker keeps the order of retrieval, but for scores so far apart that their probabilities round to the same.
    assert 0 < evaluated.metrics["recommender"]["ndcg_at_10"] <= evaluated.metrics["retrieval"]["ndcg_at_10"]


def test_it_is_released_and_serving_answers_by_it(trained, evaluated, platform, tmp_path):
    with serving(evaluated, platform, tmp_path) as (client, ids):
        body = {"user_id": "u1", "count": 10, "context": {"timestamp": ASKED_AT.isoformat(), "device": "tv"}}
        known = client.post("/v1/recommendations", json=body).json()
        stranger = client.post("/v1/recommendations", json={**body, "user_id": "nobody"}).json()
        similar = client.get("/v1/items/i5/similar", params={"count": 3})
    for answer in (known, stranger):
        assert len({item["item_id"] for item in answer["items"]}) == 10
        assert answer["degraded"] == []
    assert not set(SEEN) & {item["item_id"] for item in known["items"]}
    assert {item["item_id"] for item in known["items"]} <= set(ids)
    assert similar.status_code == 200

    bundle = platform.registry.download(evaluated.retrieval)
    row = pa.table({"user_id": ["u1"], "recent_items": [SEEN], "device": ["tv"], "hour": [20], "weekday": [5]})
    corpus = pa.table({"item_id": ids})
    hidden = np.isin(ids, SEEN)[None]
    _, (scores,) = retrieve(embed_queries(bundle, row), embed_items(bundle, corpus), 10, excluded=hidden)
    shown = [item["retrieval_score"] for item in known["items"]]
    np.testing.assert_allclose(shown, scores, rtol=1e-3, atol=1e-4)


def test_segments_come_from_users_attributes_and_reach_serving(platform):
    model = platform.train(model="popularity", segment="segment")
    bundle = platform.registry.download(model)
    reader = LabelReader.of(QueryEncoder.load(bundle / "query_inputs"), "segment")
    assert len(reader.layout.segments) == 4
    rows = pa.table({"user_id": ["nobody"] * 2, "attributes": [["country=nl", "segment=2"], ["country=nl"]]})
    of_segment, of_everybody = retriever_class("popularity").load(bundle / "model").score(reader.queries(rows))
    assert (of_segment != of_everybody).any()
    corpus = pa.table({"item_id": reader.items.values})
    found = embed_queries(bundle, rows) @ embed_items(bundle, corpus).T
    np.testing.assert_allclose(found, [of_segment, of_everybody], rtol=1e-4, atol=1e-6)


def test_an_unseen_item_is_retrieved_without_error(platform):
    for name in ("popularity", "recent_history", "random"):
        bundle = platform.registry.download(platform.train(model=name))
        vectors = embed_items(bundle, pa.table({"item_id": ["nothing"]}))
        assert len(vectors) == 1


def test_equal_arguments_give_the_version_that_is_there(platform):
    assert platform.train(model="popularity") == platform.train(model="popularity")
    assert platform.train(model="popularity", settings={"window_days": 3}) != platform.train(model="popularity")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model": "popularity", "settings": {"windov": 3}},
            "do not fit model 'popularity': windov",
        ),
        ({"model": "popularity", "preset": "quality"}, "no preset 'quality'; expected one of: none"),
        ({"model": "unheard"}, "'unheard' is unknown; expected one of two_tower"),
        ({"settings": {"epochs": 3}}, "retrieval.settings and retrieval.preset are of models other than two_tower"),
    ],
)
def test_what_no_model_has_is_refused_before_training(platform, config, message):
    with pytest.raises(ConfigError, match=message):
        platform.train(**config)


def test_a_model_for_comparison_alone_is_refused(platform, monkeypatch):
    from dataclasses import replace

    from pipelines.models.retrievers.popularity import Popularity

    monkeypatch.setattr(Popularity, "card", replace(Popularity.card, served=False))
    with pytest.raises(TrainingError, match="for comparison alone"):
        platform.train(model="popularity")


def test_an_export_that_says_something_else_is_refused(platform, monkeypatch):
    from pipelines.models.retrievers.recent_history import RecentHistory

    score = RecentHistory.score
    monkeypatch.setattr(RecentHistory, "score", lambda self, queries: 2 * score(self, queries))
    with pytest.raises(TrainingError, match="scores differ from model 'recent_history'"):
        platform.train(model="recent_history", settings={"decay": 0.5})


def without_content(rows: pa.Table) -> pa.Table:
    """Return the rows with nothing that tells an item's group, and an item of group 0 that only the last row has."""
    num_rows = rows.num_rows
    nothing = {"title": pa.nulls(num_rows, pa.string()), "categories": pa.array([[]] * num_rows, pa.list_(pa.string()))}
    changed = nothing | {"item_id": pa.array([*rows["item_id"].to_pylist()[:-1], "cold"])}
    for name, values in changed.items():
        rows = rows.set_column(rows.column_names.index(name), name, values)
    return rows


def test_an_item_nobody_used_is_found_by_its_supplied_vector(tmp_path):
    rows = without_content(feature_rows(6_000))
    names = [*(f"i{number}" for number in range(40)), "cold"]
    groups = np.eye(4)[[*(number % 4 for number in range(40)), 0]]
    noisy = groups + np.random.default_rng(0).normal(0, 0.1, groups.shape)
    pq.write_table(pa.table({"item_id": names, "embedding": list(noisy)}), tmp_path / "vectors.parquet")
    stores = MemoryRegistry(tmp_path / "registry"), LocalArtifacts(tmp_path / "runs")
    platform = Platform(rows, training_set(tmp_path / "set", rows), *stores)
    small = {"embedding_dim": 8, "hidden_units": (16,), "feature_dim": 4, "batch_size": 16, "item_dropout": 0.3}
    given = {"item_vectors": tmp_path / "vectors.parquet", "vector_column": "embedding"}
    retrieval = platform.train(**small, **given, epochs=1, learning_rate=0.02)

    users = {
        f"u{number}": {"attributes": [f"segment={number % 4}", "country=nl"], "recent_items": [f"i{number}"]}
        for number in range(40)
    }
    asked = pa.Table.from_pylist([{"user_id": user, **features} for user, features in users.items()])
    bundle = platform.registry.download(retrieval)
    # One item nobody knows, with the vector of an item of each group in turn.
    unknown = ItemEncoder.load(bundle / "item_inputs").encode(pa.table({"item_id": ["cold"] * 4}))
    unknown["vector"] = np.arange(1, 5, dtype=np.int32)
    (looks_like,) = run_onnx(load_onnx(bundle / "item_tower.onnx"), unknown).values()
    preferred = (embed_queries(bundle, asked) @ looks_like.T).argmax(axis=1)
    assert (preferred == np.arange(40) % 4).mean() > 0.6

    evaluated = evaluate(platform, "two_tower", retrieval, tmp_path)
    with serving(evaluated, platform, tmp_path, users=users) as (client, ids):
        answer = client.post("/v1/recommendations", json={"user_id": "u0", "count": 15}).json()["items"]
    assert "cold" in ids
    assert "cold" in [item["item_id"] for item in answer]


def test_supplied_vectors_are_of_the_two_tower_alone(platform, tmp_path):
    with pytest.raises(ConfigError, match="item_vectors is of two_tower, and model 'popularity'"):
        platform.train(model="popularity", item_vectors=tmp_path / "any.parquet")
