"""Fill a release folder from its parts."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.config import RulesConfig
from pipelines.contracts import ITEM_ID
from pipelines.errors import IntegrityError
from pipelines.release import manifest as layout
from pipelines.stores.artifacts import folder_files

MAX_POPULAR = 5_000
_POPULARITY = ("item_num_events_30d", "item_num_events_7d", "item_num_events")


def write_release(
    folder: Path,
    *,
    retrieval: Path,
    ranking: Path,
    corpus: Path,
    rules: RulesConfig,
    manifest: layout.ReleaseManifest,
) -> layout.ReleaseManifest:
    """Write a release into the empty `folder` and return its manifest, file digests filled in.

    Args:
        folder: where to.
        retrieval: retrieval bundle.
        ranking: ranking bundle.
        corpus: what `build_index` published: `index/` and `items.parquet`.
        rules: business rules.
        manifest: everything but `files`.

    Raises:
        IntegrityError: index and query tower are of different retrieval versions, or rows of the index and
            items differ in number.
    """
    layout.check_pair(manifest)
    items = pq.read_table(corpus / layout.ITEMS)
    if items.num_rows != manifest.index.num_items:
        raise IntegrityError(
            f"the index has {manifest.index.num_items} rows and items.parquet {items.num_rows}; "
            "run `tandem build-index` again"
        )
    shutil.copy2(retrieval / layout.QUERY_TOWER, folder / layout.QUERY_TOWER)
    shutil.copytree(retrieval / layout.QUERY_INPUTS, folder / layout.QUERY_INPUTS)
    shutil.copy2(ranking / layout.RANKER, folder / layout.RANKER)
    shutil.copytree(ranking / layout.RANKING_INPUTS, folder / layout.RANKING_INPUTS)
    shutil.copytree(corpus / layout.INDEX, folder / layout.INDEX)
    shutil.copy2(corpus / layout.ITEMS, folder / layout.ITEMS)
    pq.write_table(popular_items(items), folder / layout.POPULAR)
    (folder / layout.RULES).write_text(rules.model_dump_json(indent=2))
    complete = manifest.model_copy(update={"files": folder_files(folder)})
    layout.write_manifest(folder, complete)
    return complete


def popular_items(items: pa.Table) -> pa.Table:
    """Return the most popular items, best first, ties by recent weeks, then all time, then id.

    Args:
        items: `item_id` and item features; a missing popularity column counts as 0.
    """
    counts = [pc.fill_null(items[name], 0) if name in items.column_names else _zeros(items) for name in _POPULARITY]
    table = pa.table([items[ITEM_ID], *counts], names=[ITEM_ID, *_POPULARITY])
    order = [(name, "descending") for name in _POPULARITY] + [(ITEM_ID, "ascending")]
    return table.sort_by(order).slice(0, MAX_POPULAR).select([ITEM_ID, _POPULARITY[0]])


def _zeros(items: pa.Table) -> pa.Array:
    return pa.array(np.zeros(items.num_rows, dtype=np.int64))
