"""What a retrieval model is trained on: the labels of a window, and what encodes them.

Labels are read a part at a time, as often as needed: only what a model keeps of them is in memory.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.config import RetrievalConfig
from pipelines.contracts import ITEM_ID, USER_ID, TrainingSet
from pipelines.errors import TrainingError
from pipelines.inputs.arrays import Rows, parts
from pipelines.inputs.item_encoder import ITEM_FEATURES, ItemEncoder
from pipelines.inputs.query_encoder import QUERY_FEATURES, QueryEncoder
from pipelines.inputs.row_file import RowFile
from pipelines.models.encoded_rows import EncodedRows, row_type
from pipelines.models.retrieval import RetrievalData
from pipelines.stores.declared import plain

NUM_VALIDATION = 4_000
ITEM_COLUMNS = ("item_id", "title", "text", "categories", "item_num_events_1d", "item_num_events_7d",
                "item_num_events_30d", "item_num_events")  # fmt: skip
ENCODED = (USER_ID, ITEM_ID, "device", *QUERY_FEATURES, *ITEM_FEATURES)


def fit_encoders(train: Rows, config: RetrievalConfig) -> tuple[ItemEncoder, QueryEncoder]:
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


def labels_of(training_set: TrainingSet, split: str, config: RetrievalConfig) -> RowFile:
    """Return the positive labels of a split, in order of time.

    Raises:
        TrainingError: there is none.
    """
    file = Path(training_set.uri) / f"{split}.parquet"
    labels = RowFile(file, config.min_positive_value)
    if labels.count_rows() == 0:
        raise TrainingError(
            f"{file} has 0 positive labels (retrieval.min_positive_value={config.min_positive_value}); expected at "
            "least 1. Lower it, or run `tandem build-training-set` on more data"
        )
    return labels


def encode(
    train: RowFile,
    validation: RowFile,
    items: ItemEncoder,
    queries: QueryEncoder,
    *,
    seed: int,
    resident_mb: int,
    scratch: Path,
) -> RetrievalData:
    """Encode training labels, a sample of validation labels, and the corpus those are looked for in.

    Args:
        train: labels of the training window, in order of time.
        validation: of the validation window.
        items: encoder of the items.
        queries: encoder of the queries.
        seed: decides the sample.
        resident_mb: encoded training labels above this size are put in a file.
        scratch: folder of that file, on a disk.

    Raises:
        TrainingError: the folder has no room for it.
    """
    num_rows = train.count_rows()
    size = num_rows * (row_type(queries.shapes).itemsize + row_type(items.shapes).itemsize)
    folder = scratch if size > resident_mb * 2**20 else None
    asked, wanted = (EncodedRows(encoder.shapes, num_rows, folder) for encoder in (queries, items))
    for part in parts(train, ENCODED):
        asked.append(queries.encode(part))
        wanted.append(items.encode(part))
    corpus = latest_items(train)
    known_items = corpus[ITEM_ID].combine_chunks()
    known = [pc.is_in(part.column(0), value_set=known_items) for part in parts(validation, (ITEM_ID,))]
    rows = np.flatnonzero(pa.chunked_array(known, pa.bool_()).to_numpy())
    chosen = rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:NUM_VALIDATION])]
    # A window of new items alone has no label to look for: the newest training label stands in.
    source, chosen = (validation, chosen) if len(chosen) else (train, np.array([num_rows - 1]))
    sample = source.take(chosen)
    return RetrievalData(
        queries=asked.arrays,
        items=wanted.arrays,
        validation_queries=queries.encode(sample),
        validation_rows=np.asarray(pc.index_in(sample[ITEM_ID], value_set=known_items), dtype=np.int64),
        corpus=items.encode(corpus),
    )


def latest_items(labels: RowFile) -> pa.Table:
    """Return the item columns of each item's newest label, in order of `item_id`."""
    newest = pa.table({ITEM_ID: pa.array([], labels.schema.field(ITEM_ID).type), "row": pa.array([], pa.int64())})
    start = 0
    for part in parts(labels, (ITEM_ID,)):
        rows = pa.table({ITEM_ID: part.column(0), "row": np.arange(start, start + part.num_rows)})
        newest = pa.concat_tables([newest, rows]).group_by(ITEM_ID).aggregate([("row", "max")])
        newest = newest.rename_columns([ITEM_ID, "row"])
        start += part.num_rows
    columns = [name for name in ITEM_COLUMNS if name in labels.schema.names]
    return labels.take(newest.sort_by(ITEM_ID)["row"].to_numpy(), columns)


def feature_types(training_set: TrainingSet, features: Iterable[str]) -> dict[str, str]:
    """Return feature -> Arrow type of those that a training set has: what a model was trained with."""
    schema = pq.read_schema(Path(training_set.uri) / "train.parquet")
    return {name: plain(schema.field(name).type) for name in features if name in schema.names}
