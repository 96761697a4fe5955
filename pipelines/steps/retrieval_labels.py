"""What a retrieval model is trained on: the labels of a window, and what encodes them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.config import RetrievalConfig
from pipelines.contracts import ITEM_ID, TrainingSet
from pipelines.errors import TrainingError
from pipelines.inputs.item_encoder import ItemEncoder
from pipelines.inputs.query_encoder import QueryEncoder
from pipelines.models.retrieval import RetrievalData
from pipelines.stores.declared import plain

NUM_VALIDATION = 4_000
ITEM_COLUMNS = ("item_id", "title", "text", "categories", "item_num_events_1d", "item_num_events_7d",
                "item_num_events_30d", "item_num_events")  # fmt: skip


def fit_encoders(train: pa.Table, config: RetrievalConfig) -> tuple[ItemEncoder, QueryEncoder]:
    """Fit both encoders on training-window labels; history and taste share the items' vocabularies."""
    items = ItemEncoder.fit(
        train,
        num_oov_buckets=config.num_oov_buckets,
        max_text_tokens=config.max_text_tokens,
        num_bins=config.num_bins,
    )
    queries = QueryEncoder.fit(
        train,
        item_vocabulary=items.vocabularies["item"],
        category_vocabulary=items.vocabularies["category"],
        num_oov_buckets=config.num_oov_buckets,
        num_bins=config.num_bins,
    )
    return items, queries


def labels_of(training_set: TrainingSet, split: str, config: RetrievalConfig) -> pa.Table:
    """Return the positive labels of a split, in order of time.

    Raises:
        TrainingError: there is none.
    """
    file = Path(training_set.uri) / f"{split}.parquet"
    labels = pq.read_table(file)
    if config.min_positive_value is not None:
        labels = labels.filter(pc.fill_null(pc.greater_equal(labels["value"], config.min_positive_value), False))
    if labels.num_rows == 0:
        raise TrainingError(
            f"{file} has 0 positive labels (retrieval.min_positive_value={config.min_positive_value}); expected at "
            "least 1. Lower it, or run `tandem build-training-set` on more data"
        )
    return labels


def encode(
    train: pa.Table, validation: pa.Table, items: ItemEncoder, queries: QueryEncoder, *, seed: int
) -> RetrievalData:
    """Encode training labels, a sample of validation labels, and the corpus those are looked for in."""
    corpus = latest_items(train)
    known = pc.is_in(validation[ITEM_ID], value_set=corpus[ITEM_ID].combine_chunks())
    sample = validation.filter(known)
    chosen = np.random.default_rng(seed).permutation(sample.num_rows)[:NUM_VALIDATION]
    # A window of new items alone has no label to look for: the newest training label stands in.
    sample = sample.take(np.sort(chosen)) if len(chosen) else train.slice(train.num_rows - 1)
    rows = pc.index_in(sample[ITEM_ID], value_set=corpus[ITEM_ID].combine_chunks())
    return RetrievalData(
        queries=queries.encode(train),
        items=items.encode(train),
        validation_queries=queries.encode(sample),
        validation_rows=np.asarray(rows, dtype=np.int64),
        corpus=items.encode(corpus),
    )


def latest_items(labels: pa.Table) -> pa.Table:
    """Return the item columns of each item's newest label, in order of `item_id`."""
    row = pa.table({ITEM_ID: labels[ITEM_ID], "row": np.arange(labels.num_rows)})
    newest = row.group_by(ITEM_ID).aggregate([("row", "max")]).sort_by(ITEM_ID)
    columns = [name for name in ITEM_COLUMNS if name in labels.column_names]
    return labels.select(columns).take(newest["row_max"])


def feature_types(training_set: TrainingSet, features: Iterable[str]) -> dict[str, str]:
    """Return feature -> Arrow type of those that a training set has: what a model was trained with."""
    schema = pq.read_schema(Path(training_set.uri) / "train.parquet")
    return {name: plain(schema.field(name).type) for name in features if name in schema.names}
