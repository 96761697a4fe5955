"""Does a single feature predict the label so well that it must have seen it?

All labels are positive, so there are two questions. Does a feature tell a label's high value from a low one? And does
it tell the item that was used from another one, drawn by how often items had been used before that moment, with
features as of that moment? Drawn that way an honest popularity says little, and a feature that counts the label itself
says almost all. A feature is scored by histogram: the share of positives in each of its ranges, learnt on one half of
the rows and measured on the other, with a range of its own for *missing*. So any shape of dependence is found, the
pattern of nulls included, and chance is not.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.contracts import LeakageCheck, LeakageFinding
from pipelines.leakage.evidence import Evidence, outcome
from pipelines.leakage.recompute import feature_columns

NAME = "no_feature_gives_the_label_away"
NUM_RANGES = 32
NUM_OTHERS = 3
NUMBERS = ("BIGINT", "INTEGER", "FLOAT", "DOUBLE", "BOOLEAN")
Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]


def no_feature_gives_the_label_away(evidence: Evidence) -> LeakageCheck:
    """Measure how well each feature alone predicts the value, and the item; above `max_auc` it is suspect."""
    num_rows = evidence.sample("probed", evidence.config.num_probed)
    figures, findings = {}, []
    for feature, target, values, labels in (*_against_value(evidence), *_against_items(evidence)):
        area = histogram_auc(values, labels)
        figures[f"{feature}, {target}"] = round(area, 4)
        if area > evidence.config.max_auc:
            findings.append(_finding(evidence, feature, target, area))
    question = f"Does each feature alone tell the label with an AUC of at most {evidence.config.max_auc}?"
    return outcome(NAME, question, num_rows, findings, figures=figures)


def histogram_auc(values: Floats, labels: Labels) -> float:
    """Return how well `values` alone tells `labels`, 0.5 for not at all and 1 for perfectly.

    Args:
        values: `[num_rows]`, NaN where missing.
        labels: bool `[num_rows]`.

    Returns:
        Area under the curve of the share of positives in each range of values, cross-fitted over two halves.
    """
    if labels.all() or not labels.any():
        return 0.5
    known = values[~np.isnan(values)]
    # Ranges end below a value that many rows share, so that it has one of its own.
    edges = np.unique(np.quantile(known, np.linspace(0, 1, NUM_RANGES + 1))) if known.size else np.zeros(0)
    ranges = np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="right"))
    half = np.random.default_rng(0).permutation(len(values)) % 2
    scores = np.empty(len(values))
    for fold in (0, 1):
        learn, apply = half != fold, half == fold
        total = np.bincount(ranges[learn], minlength=len(edges) + 2)
        positive = np.bincount(ranges[learn & labels], minlength=len(edges) + 2)
        scores[apply] = ((positive + labels.mean()) / (total + 1))[ranges[apply]]
    return float(np.mean([_auc(scores[half == fold], labels[half == fold]) for fold in (0, 1)]))


def _auc(scores: Floats, labels: Labels) -> float:
    """Share of (positive, negative) pairs in the right order, ties half."""
    num_positive = int(labels.sum())
    if num_positive in (0, len(labels)):
        return 0.5
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    wins = ranks[labels].sum() - num_positive * (num_positive + 1) / 2
    return float(wins / (num_positive * (len(labels) - num_positive)))


def _against_value(evidence: Evidence) -> Iterator[tuple[str, str, Floats, Labels]]:
    """Each numeric feature, and whether the label's value is above the middle one."""
    table = evidence.connection.sql("SELECT * FROM probed WHERE value IS NOT NULL ORDER BY row").to_arrow_table()
    value = _floats(table["value"])
    if not len(value) or value.min() == value.max():
        return
    middle = np.median(value)
    high = value > middle if (value > middle).any() else value >= middle
    for name in _numeric(evidence):
        yield name, "value", _floats(table[name]), high


def _against_items(evidence: Evidence) -> Iterator[tuple[str, str, Floats, Labels]]:
    """Each feature of the item, or of user and item, for items that were used and items that were not."""
    _draw_others(evidence)
    names = _item_features(evidence)
    selected = {
        **{name: f'{{side}}."{name}"' for name in names},
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
        yield name, "item used", _floats(table[name]), used


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


def _numeric(evidence: Evidence) -> list[str]:
    kinds = evidence.columns()
    return [name for name in feature_columns(evidence) if kinds[name].startswith(NUMBERS) and "[" not in kinds[name]]


def _item_features(evidence: Evidence) -> list[str]:
    """Numeric features that depend on the item, so that another item has another value."""
    there = {name for (name,) in evidence.rows("SELECT column_name FROM (DESCRIBE others)")}
    return [name for name in _numeric(evidence) if name in there]


def _item_lists(evidence: Evidence) -> list[str]:
    """List features of the user that may hold items."""
    kinds = evidence.columns()
    return [name for name in feature_columns(evidence) if kinds[name] == "VARCHAR[]" and name.endswith("_items")]


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _finding(evidence: Evidence, feature: str, target: str, area: float) -> LeakageFinding:
    told = "whether the value is high" if target == "value" else "the item used from another one"
    ((event, user, item),) = evidence.rows("SELECT event_id, user_id, item_id FROM probed WHERE row = 0")
    return LeakageFinding(
        feature=feature,
        problem=f"alone tells {told} with an AUC of {area:.3f}; at most {evidence.config.max_auc} is plausible",
        example=f"event {event} of user {user} and item {item}",
    )
