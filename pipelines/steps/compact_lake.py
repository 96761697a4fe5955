"""Write the lake's small files together and remove what no training set can ask for."""

from pipelines.contracts import RAW_TABLES
from pipelines.data.lake import Lake
from pipelines.data.ledger import training_sets
from pipelines.features.schemas import FEATURE_TABLES


def compact_lake(*, lake: Lake) -> dict[str, int]:
    """Compact raw tables, and vacuum all: the newest version and every one that a training set names stay readable.

    No other step may be running on the lake meanwhile: versions that are named nowhere yet are removed.

    Returns:
        Lake table -> files removed.
    """
    entries = training_sets(lake)
    removed = {}
    for table in (*RAW_TABLES, *(feature.lake_table for feature in FEATURE_TABLES.values())):
        if lake.version(table) is None:
            continue
        if table in RAW_TABLES:
            lake.compact(table)
        kept = [entry.versions[table] for entry in entries if table in entry.versions]
        removed[table] = len(lake.vacuum(table, keep=kept))
    return removed
