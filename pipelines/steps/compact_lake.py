"""Write the lake's small files together and remove what no training set can ask for."""

from pipelines.contracts import RAW_TABLES, FeatureSet
from pipelines.data.lake import Lake
from pipelines.data.ledger import training_sets, versions_of
from pipelines.features.schemas import FEATURE_TABLES


def compact_lake(*, lake: Lake, published: FeatureSet | None, keep_hours: int) -> dict[str, int]:
    """Compact raw tables, and vacuum all: the newest version and every one that a training set names stay readable.

    Other steps may be running on the lake meanwhile, if what they read was the newest version at most `keep_hours`
    ago; versions older than that which are named nowhere are removed.

    Args:
        lake: to be compacted.
        published: features that the next training goes on from; None without.
        keep_hours: how long files that were replaced stay.

    Returns:
        Lake table -> files removed.
    """
    named = [entry.versions for entry in training_sets(lake)]
    if published is not None:
        named.append(versions_of(published))
    removed = {}
    for table in (*RAW_TABLES, *(feature.lake_table for feature in FEATURE_TABLES.values())):
        if lake.version(table) is None:
            continue
        if table in RAW_TABLES:
            lake.compact(table)
        kept = [versions[table] for versions in named if table in versions]
        removed[table] = len(lake.vacuum(table, keep=kept, keep_hours=keep_hours))
    return removed
