"""Do vectors that somebody else made of items know anything but what the model may know?

Nothing in a vector shows when it was made, so only what its file declares can be held against the training window: what
declares nothing proves nothing, and is a finding. What is declared is read from the bundle, where training put it.
"""

from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather

from pipelines.contracts import ITEM_ID, LeakageCheck, LeakageFinding
from pipelines.inputs.item_encoder import ItemEncoder
from pipelines.inputs.supplied_vectors import AS_OF, MOMENTS_FILE
from pipelines.leakage.evidence import Evidence, microseconds, outcome

NAME = "supplied_vectors_are_of_the_past"
FEATURE = "retrieval.item_vectors"


def has_supplied_vectors(bundle: Path) -> bool:
    """Return whether the model of a bundle learnt from supplied vectors."""
    return (bundle / "item_inputs" / ItemEncoder.VECTOR_IDS).exists()


def supplied_vectors_are_of_the_past(evidence: Evidence, bundle: Path) -> LeakageCheck:
    """Hold the declared moment of each supplied vector against what the model may know.

    Vectors of items of the training window were learnt from, and must be of a moment before the window's end; those of
    other items are asked for by what was retrieved later, and must be of a moment before the snapshot's `as_of`.

    Args:
        evidence: the training set.
        bundle: folder of the model version; `has_supplied_vectors` must hold.
    """
    evidence.connection.register("vectors", _declared(bundle))
    evidence.connection.execute("CREATE OR REPLACE TEMP VIEW trained AS SELECT * FROM labels WHERE split = 'train'")
    reference = evidence.training_set
    findings = [
        *_undeclared(evidence),
        *_late(evidence, "SEMI", reference.validation_start, "of items of the training window, which ends at"),
        *_late(evidence, "ANTI", reference.features.snapshot.as_of, "of other items, for a snapshot as of"),
    ]
    question = "Is every supplied vector declared to be of a moment that the model may know of?"
    return outcome(NAME, question, evidence.rows("SELECT count(*) FROM vectors")[0][0], findings)


def _declared(bundle: Path) -> pa.Table:
    """Return items and moments; of a bundle from before moments were kept, no moment is known."""
    file = bundle / MOMENTS_FILE
    if file.exists():
        return feather.read_table(file, memory_map=False)
    ids = feather.read_table(bundle / "item_inputs" / ItemEncoder.VECTOR_IDS, memory_map=False)
    return ids.append_column(AS_OF, pa.nulls(ids.num_rows, pa.timestamp("us", tz="UTC")))


def _undeclared(evidence: Evidence) -> list[LeakageFinding]:
    sql = f"SELECT count(*), min({ITEM_ID}) FROM vectors WHERE {AS_OF} IS NULL"
    ((num, example),) = evidence.rows(sql)
    if not num:
        return []
    problem = (
        f"{num} vectors say nothing of when they are of; declare it in a column `{AS_OF}` of the file, or for all of "
        f"them under `{AS_OF}` of its Parquet metadata"
    )
    return [LeakageFinding(feature=FEATURE, problem=problem, example=f"item {example!r}")]


def _late(evidence: Evidence, join: str, limit: datetime, whose: str) -> list[LeakageFinding]:
    ((num, example, moment),) = evidence.rows(
        f"SELECT count(*), arg_max({ITEM_ID}, {AS_OF}), max(epoch_us({AS_OF})) "
        f"FROM (FROM vectors {join} JOIN trained USING ({ITEM_ID})) WHERE epoch_us({AS_OF}) >= {microseconds(limit)}"
    )
    if not num:
        return []
    problem = f"{num} vectors {whose} {limit.isoformat()}, are of that moment or later"
    example = f"item {example!r}, as of {np.datetime64(moment, 'us')}"
    return [LeakageFinding(feature=FEATURE, problem=problem, example=example)]
