"""Releases small enough to build in a test, with real encoders and hand-made ONNX graphs.

The towers average embeddings: a query is near the items of its history. The ranker's probability grows with the
retrieval score. Item ids carry a prefix, so that an answer shows which release it came from.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

from pipelines.config import IndexConfig, RulesConfig
from pipelines.contracts import Evaluation, FeatureSet, ModelVersion, Snapshot, TrainingSet
from pipelines.index.loading import build_index
from pipelines.inputs.item_encoder import ItemEncoder
from pipelines.inputs.query_encoder import QueryEncoder
from pipelines.inputs.ranking_encoder import RankingEncoder
from pipelines.models.vectors import embed_items
from pipelines.release import manifest as layout
from pipelines.release.assembly import write_release
from pipelines.stores.artifacts import folder_digest

AS_OF = datetime(2025, 1, 1, tzinfo=UTC)
HISTORY = 5
CATEGORIES = ["comedy", "drama", "action"]


def items_table(num_items: int, prefix: str = "") -> pa.Table:
    """`item_id` and `item_v1` features; item 0 is the most popular, categories go round."""
    rows = np.arange(num_items)
    ids = [f"{prefix}{row:03}" for row in rows]
    return pa.table(
        {
            "item_id": ids,
            "title": [f"Title {i}" for i in ids],
            "text": pa.nulls(num_items, pa.string()),
            "categories": [[CATEGORIES[row % 3]] for row in rows],
            "item_num_events_1d": num_items - rows,
            "item_num_events_7d": num_items - rows,
            "item_num_events_30d": num_items - rows,
            "item_num_events": num_items - rows,
            "item_mean_value": np.full(num_items, 3.5, np.float32),
            "item_num_values": num_items - rows,
            "item_value_std": np.ones(num_items, np.float32),
        }
    )


def labels_table(num_rows: int, items: pa.Table) -> pa.Table:
    """Rows as in a training set: user `u<i>` has seen the items from `i` on."""
    ids, rows = items["item_id"].to_pylist(), np.arange(num_rows)
    return pa.table(
        {
            "event_id": [f"e{r}" for r in rows],
            "user_id": [f"u{r}" for r in rows],
            "item_id": [ids[r % len(ids)] for r in rows],
            "event_timestamp": pa.array([AS_OF] * num_rows, pa.timestamp("us", tz="UTC")),
            "device": [["web", "mobile"][r % 2] for r in rows],
            "recent_items": [[ids[(r + k) % len(ids)] for k in range(HISTORY)] for r in rows],
            "attributes": [["age=25"] for _ in rows],
            "taste_categories": [[CATEGORIES[r % 3]] for r in rows],
            "taste_weights": pa.array([[1.0]] * num_rows, pa.list_(pa.float32())),
            "user_num_events": rows + 1,
            "user_num_events_7d": rows + 1,
            "user_num_events_30d": rows + 1,
            "user_mean_value": np.full(num_rows, 3.5, np.float32),
            "days_since_last_event": np.full(num_rows, 1, np.float32),
            "hour": rows % 24,
            "weekday": rows % 7,
        }
    )


def write_models(folder: Path, items: pa.Table, *, dim: int = 8, seed: int = 0) -> tuple[Path, Path]:
    """Write a retrieval and a ranking bundle; returns their folders."""
    labels = labels_table(40, items)
    item = ItemEncoder.fit(items, num_oov_buckets=2, max_text_tokens=2)
    query = QueryEncoder.fit(
        labels,
        item_vocabulary=item.vocabularies["item"],
        category_vocabulary=item.vocabularies["category"],
        num_oov_buckets=2,
    )
    retrieval = folder / "retrieval"
    retrieval.mkdir(parents=True)
    table = np.random.default_rng(seed).normal(size=(item.vocabularies["item"].size, dim)).astype(np.float32)
    onnx.save(_tower(query.shapes, "history", table), retrieval / "query_tower.onnx")
    onnx.save(_tower(item.shapes, "item", table), retrieval / "item_tower.onnx")
    query.save(retrieval / "query_inputs")
    item.save(retrieval / "item_inputs")
    (retrieval / "bundle.json").write_text(
        json.dumps(
            {
                "kind": "retrieval",
                "feature_service": "retrieval_v1",
                "embedding_dim": dim,
                "history_length": HISTORY,
            }
        )
    )
    return retrieval, write_ranking(folder / "ranking", items, query)


def write_ranking(folder: Path, items: pa.Table, query: QueryEncoder, *, largest_score: float = 1.0) -> Path:
    """Write a ranking bundle that keeps the order of retrieval's scores, up to a size; returns its folder."""
    folder.mkdir(parents=True)
    scores = pa.array(np.linspace(-largest_score, largest_score, items.num_rows))
    columns = [name for name in items.column_names if name != "taste_match"]  # rows of labels may have one
    pairs = items.select(columns).append_column("retrieval_score", scores)
    pairs = pairs.append_column("taste_match", pa.array(np.linspace(0, 1, items.num_rows)))
    encoder = RankingEncoder.fit(pairs, query=query, items=items, num_oov_buckets=2, max_text_tokens=2)
    encoder.save(folder / "ranking_inputs")
    onnx.save(_ranker(encoder.shapes), folder / "ranker.onnx")
    (folder / "bundle.json").write_text('{"kind": "ranking", "feature_service": "ranking_v1"}')
    return folder


def write_tiny_release(
    folder: Path,
    *,
    prefix: str = "",
    num_items: int = 60,
    num_candidates: int = 20,
    rules: RulesConfig | None = None,
    dataset: str = "tiny",
    version: str = "1",
    seed: int = 0,
    dim: int = 8,
    brute_force_below: int = 5_000,
    metrics: dict[str, dict[str, float]] | None = None,
    user_service: str = "serving_user_v1",
) -> Path:
    """Write a whole release; returns its folder."""
    items = items_table(num_items, prefix)
    retrieval, ranking = write_models(folder / "models", items, dim=dim, seed=seed)
    corpus = folder / "corpus"
    corpus.mkdir()
    pq.write_table(items, corpus / "items.parquet")
    index = build_index(embed_items(retrieval, items), config=IndexConfig(brute_force_below=brute_force_below))
    index.save(corpus / "index")
    release = folder / "release"
    release.mkdir()
    towers = model_version("retrieval", retrieval, version=version, dataset=dataset)
    manifest = layout.ReleaseManifest(
        dataset=dataset,
        feast_project=dataset,
        feature_services={"retrieval": "retrieval_v1", "ranking": "ranking_v1", "user": user_service},
        snapshot=snapshot(dataset),
        as_of=AS_OF,
        history_length=HISTORY,
        num_candidates=num_candidates,
        retrieval=towers,
        ranking=model_version("ranking", ranking, version=version, dataset=dataset),
        index=layout.IndexPart(
            retrieval_version=towers.version,
            retrieval_digest=towers.digest,
            kind=index.kind,
            num_items=num_items,
            embedding_dim=index.embedding_dim,
            recall={"recall_at_20": 1.0},
        ),
        metrics=metrics or {"recommender": {"ndcg_at_10": 0.2}, "popularity": {"ndcg_at_10": 0.1}},
        sample_users=("u1", "u2"),
        files={},
    )
    arguments: dict[str, Any] = {"retrieval": retrieval, "ranking": ranking, "corpus": corpus}
    write_release(release, rules=rules or RulesConfig(), manifest=manifest, **arguments)
    return release


def snapshot(dataset: str = "tiny") -> Snapshot:
    return Snapshot(dataset=dataset, snapshot_id="s1", as_of=AS_OF, versions={"events": 1})


def model_version(name: str, bundle: Path, *, version: str = "1", dataset: str = "tiny") -> ModelVersion:
    return ModelVersion(name=name, version=version, run_id="run", dataset=dataset, digest=folder_digest(bundle))


def write_training_set(folder: Path, items: pa.Table, num_rows: int = 40, dataset: str = "tiny") -> TrainingSet:
    """Write the test split of a training set; returns its reference."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(labels_table(num_rows, items), folder / "test.parquet")
    return TrainingSet(
        features=FeatureSet(snapshot=snapshot(dataset), versions={"item_content": 1}, num_rows={}),
        uri=str(folder),
        fingerprint="f" * 64,
        feature_service="ranking_v1",
        validation_start=AS_OF,
        test_start=AS_OF,
        num_rows={"test": num_rows},
    )


def evaluation(
    training_set: TrainingSet, retrieval: ModelVersion, ranking: ModelVersion, ndcg: float = 0.2
) -> Evaluation:
    metrics = {
        "recommender": {"ndcg_at_10": ndcg},
        "popularity": {"ndcg_at_10": 0.1},
        "retrieval": {"ndcg_at_10": 0.15},
    }
    return Evaluation(training_set=training_set, retrieval=retrieval, ranking=ranking, uri="unused", metrics=metrics)


def _graph(
    nodes: list[Any], shapes: dict[str, Any], outputs: dict[str, list[Any]], constants: dict[str, np.ndarray]
) -> onnx.ModelProto:
    kinds = {"int32": TensorProto.INT32, "float32": TensorProto.FLOAT}
    inputs = [helper.make_tensor_value_info(n, kinds[kind], ["n", *shape]) for n, (shape, kind) in shapes.items()]
    results = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in outputs.items()]
    initial = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, results, initial)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _tower(shapes: dict[str, Any], source: str, table: np.ndarray) -> onnx.ModelProto:
    """L2-normalised mean of the embeddings of `source`, an id or padded ids; nothing becomes the mean item."""
    many = bool(shapes[source][0])
    table = table.copy()
    table[0] = table[1:].mean(axis=0) * 0.01  # padding hardly counts, and a query of padding alone is not zero
    nodes = [helper.make_node("Gather", ["table", source], ["picked"], axis=0)]
    nodes += [helper.make_node("ReduceMean", ["picked"], ["mean"], axes=[1], keepdims=0)] if many else []
    nodes += [helper.make_node("LpNormalization", ["mean" if many else "picked"], ["embedding"], axis=1, p=2)]
    return _graph(nodes, {source: shapes[source]}, {"embedding": ["n", table.shape[1]]}, {"table": table})


def _ranker(shapes: dict[str, Any]) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gather", ["pair_numbers", "zero"], ["score"], axis=1),
        helper.make_node("Sigmoid", ["score"], ["probability"]),
        helper.make_node("Add", ["probability", "three"], ["expected_value"]),
    ]
    constants = {"zero": np.array(0, np.int64), "three": np.array(3, np.float32)}
    wanted = {"pair_numbers": shapes["pair_numbers"]}
    return _graph(nodes, wanted, {"probability": ["n"], "expected_value": ["n"]}, constants)
