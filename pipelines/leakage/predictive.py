"""Does a single feature predict the label so well that it must have seen it?

All labels are positive, so there are two questions. Does a feature tell a label's high value from a low one? And does
it tell the item that was used from another one, drawn by how often items had been used before that moment, with
features as of that moment? Drawn that way an honest popularity says little, and a feature that counts the label itself
says almost all. Numbers, text, lists of text and the context are tried; a moment counts as seconds before the label's.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.contracts import LeakageCheck, LeakageFinding
from pipelines.inputs.text import tokenize
from pipelines.leakage.alone import Floats, Labels, histogram_auc, most_telling, values_auc
from pipelines.leakage.evidence import Evidence, outcome
from pipelines.leakage.recompute import feature_columns

NAME = "no_feature_gives_the_label_away"
NUM_OTHERS = 3
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
NUMBERS = (*_INTEGERS, "FLOAT", "DOUBLE", "DECIMAL", "BOOLEAN")
MOMENTS = ("TIMESTAMP", "DATE")
VALUES = ("VARCHAR", "VARCHAR[]")
WORDS = ("title", "text")
"""Text that models read word by word, not as one value."""
CONTEXT = ("device",)
"""Columns of the label itself that models read."""


class Probe(NamedTuple):
    """One feature, and what it might tell: `column` and bool `labels`, both `[num_rows]`."""

    feature: str
    target: str
    column: pa.ChunkedArray
    labels: Labels

    @property
    def is_text(self) -> bool:
        """Whether it is text, or lists of text."""
        return bool(pa.types.is_string(self.column.type) or pa.types.is_list(self.column.type))

    def area(self) -> float:
        """Return how well the feature alone tells the labels."""
        if self.is_text:
            return values_auc(self._values(), self.labels)
        return histogram_auc(_floats(self.column), self.labels)

    def told_by(self) -> str | None:
        """Return the value that tells most; of numbers, none."""
        return most_telling(self._values(), self.labels) if self.is_text else None

    def _values(self) -> pa.ChunkedArray:
        """The values of each row; those of a title are its words."""
        if self.feature not in WORDS:
            return self.column
        coded = self.column.combine_chunks().dictionary_encode()  # a title is in many rows
        return pa.chunked_array([tokenize(coded.dictionary).take(coded.indices)])


def no_feature_gives_the_label_away(evidence: Evidence) -> LeakageCheck:
    """Measure how well each feature alone predicts the value, and the item; above `max_auc` it is suspect."""
    num_rows = evidence.sample("probed", evidence.config.num_probed)
    figures, findings = {}, []
    for probe in (*_against_value(evidence), *_against_items(evidence)):
        area = probe.area()
        figures[f"{probe.feature}, {probe.target}"] = round(area, 4)
        if area > evidence.config.max_auc:
            findings.append(_finding(evidence, probe, area))
    untried = sorted(set(feature_columns(evidence)) - set(_tried(evidence)))
    note = f"not tried alone, being lists of numbers or nested: {', '.join(untried)}" if untried else ""
    question = f"Does each feature alone tell the label with an AUC of at most {evidence.config.max_auc}?"
    return outcome(NAME, question, num_rows, findings, figures=figures, note=note)


def _against_value(evidence: Evidence) -> Iterator[Probe]:
    """Each feature, and whether the label's value is above the middle one."""
    tried = _tried(evidence)
    columns = ", ".join(f'{sql.format(side="p")} AS "{name}"' for name, sql in tried.items())
    table = evidence.connection.sql(
        f"SELECT value AS target_value, {columns} FROM probed p WHERE value IS NOT NULL ORDER BY row"
    ).to_arrow_table()
    value = _floats(table["target_value"])
    if not len(value) or value.min() == value.max():
        return
    middle = np.median(value)
    high = value > middle if (value > middle).any() else value >= middle
    for name in tried:
        yield Probe(name, "value", table[name], high)


def _against_items(evidence: Evidence) -> Iterator[Probe]:
    """Each feature of the item, or of user and item, for items that were used and items that were not."""
    _draw_others(evidence)
    there = {name for (name,) in evidence.rows("SELECT column_name FROM (DESCRIBE others)")}
    selected = {
        **{name: sql for name, sql in _tried(evidence).items() if name in there},
        **{
            f"{name} has the item": f'list_contains(p."{name}", {{side}}.item_id)::INT'
            for name in _item_lists(evidence)
        },
    }
    for sides in (("p", "true"), ("o", "false")):
        columns = ", ".join(f'{sql.format(side=sides[0])} AS "{name}"' for name, sql in selected.items())
        part = f"SELECT {columns}, {sides[1]} AS used FROM probed p JOIN others o ON o.row = p.row"
        evidence.connection.execute(f"CREATE OR REPLACE TEMP VIEW side_{sides[0]} AS {part}")
    table = evidence.connection.sql("FROM side_p UNION ALL BY NAME FROM side_o").to_arrow_table()
    used = np.asarray(table["used"])
    for name in selected:
        yield Probe(name, "item used", table[name], used)


def _draw_others(evidence: Evidence) -> None:
    """Create `others`: for each probed label items of earlier events, with their features as of its moment."""
    run, rng = evidence.connection.execute, np.random.default_rng(evidence.seed)
    ((num_probed,),) = evidence.rows("SELECT count(*) FROM probed")
    draws = pa.table(
        {
            "row": np.repeat(np.arange(num_probed), NUM_OTHERS),
            "draw": np.tile(np.arange(NUM_OTHERS), num_probed),
            "share": rng.random(num_probed * NUM_OTHERS),
        }
    )
    evidence.connection.register("draws", draws)
    run("""
        CREATE OR REPLACE TEMP TABLE ordered AS
        SELECT row_number() OVER (ORDER BY event_timestamp, event_id) - 1 AS place,
            epoch_us(event_timestamp) AS moment, item_id FROM events
    """)
    run("""
        CREATE OR REPLACE TEMP TABLE others AS
        WITH upto AS (SELECT moment, min(place) AS earlier FROM ordered GROUP BY moment)
        SELECT p.row, o.item_id, p.moment FROM draws d JOIN probed p ON p.row = d.row JOIN upto u ON u.moment = p.moment
        JOIN ordered o ON o.place = floor(d.share * u.earlier)::BIGINT WHERE o.item_id <> p.item_id
    """)
    for name in _item_tables(evidence):
        evidence.connection.register("item_rows", _feature_table(evidence, name))
        run("""
            CREATE OR REPLACE TEMP TABLE others AS
            SELECT o.*, f.* EXCLUDE (item_id, stamp) FROM others o ASOF LEFT JOIN (
                SELECT * EXCLUDE (event_timestamp, created_timestamp), epoch_us(event_timestamp) AS stamp FROM item_rows
            ) f ON f.item_id = o.item_id AND o.moment >= f.stamp
        """)
    run("""
        CREATE OR REPLACE TEMP TABLE others AS SELECT o.*, coalesce((
            SELECT sum(t.weight)
            FROM (SELECT unnest(p.taste_categories) AS category, unnest(p.taste_weights) AS weight) t
            WHERE list_contains(o.categories, t.category)
        ), 0) AS taste_match FROM others o JOIN probed p ON p.row = o.row
    """)


def _item_tables(evidence: Evidence) -> list[str]:
    from pipelines.contracts import ITEM_ID
    from pipelines.features.schemas import FEATURE_TABLES

    versions = evidence.training_set.features.versions
    return [name for name, table in FEATURE_TABLES.items() if table.entity == ITEM_ID and name in versions]


def _feature_table(evidence: Evidence, name: str) -> object:
    from pipelines.features.schemas import FEATURE_TABLES

    version = evidence.training_set.features.versions[name]
    return evidence.lake.dataset(FEATURE_TABLES[name].lake_table, version=version)


def _tried(evidence: Evidence) -> dict[str, str]:
    """Feature, or column of the context -> SQL of what is tried of it, with a place for the `side` it is read from."""
    kinds = evidence.columns()
    sql = {name: _sql(name, kinds[name]) for name in (*feature_columns(evidence), *CONTEXT) if name in kinds}
    return {name: tried for name, tried in sql.items() if tried}


def _sql(name: str, kind: str) -> str | None:
    column = f'{{side}}."{name}"'
    if kind.startswith(MOMENTS) and "[" not in kind:
        return f"({{side}}.moment - epoch_us({column})) / 1e6"
    return column if kind in VALUES or (kind.startswith(NUMBERS) and "[" not in kind) else None


def _item_lists(evidence: Evidence) -> list[str]:
    """List features of the user that may hold items."""
    kinds = evidence.columns()
    return [name for name in feature_columns(evidence) if kinds[name] == "VARCHAR[]" and name.endswith("_items")]


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _finding(evidence: Evidence, probe: Probe, area: float) -> LeakageFinding:
    told = "whether the value is high" if probe.target == "value" else "the item used from another one"
    ((event, user, item),) = evidence.rows("SELECT event_id, user_id, item_id FROM probed WHERE row = 0")
    value = probe.told_by()
    return LeakageFinding(
        feature=probe.feature,
        problem=f"alone tells {told} with an AUC of {area:.3f}; at most {evidence.config.max_auc} is plausible",
        example=f"event {event} of user {user} and item {item}" + (f"; most by {value!r}" if value else ""),
    )
