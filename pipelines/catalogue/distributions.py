"""How the values of each feature are distributed: over entities, each with its newest row at the snapshot.

That is what a model would be given now. Over all rows, a user with many events would count many times. Features that
are computed for each request have no table; theirs are of the rows that models learn from, labels taken as requests.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config import FeatureConfig
from pipelines.contracts import EVENT_ID, EVENT_TIMESTAMP, FeatureSet, TrainingSet
from pipelines.data.lake import Lake
from pipelines.data.ledger import MARK
from pipelines.features.compute import connect
from pipelines.features.labels import SPLITS
from pipelines.features.schemas import CREATED_TIMESTAMP, FEATURE_TABLES, FeatureTable

QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}
NUM_BARS = 20
NUM_TOP = 5
SAMPLE_ROWS = 100_000
SKEW = 20.0
"""A range this many times the median is drawn on a logarithmic scale."""


@dataclass(frozen=True)
class Distribution:
    """How the values of one feature are distributed.

    Attributes:
        num_rows: entities that have a row, or rows that were looked at.
        num_nulls: of them without a value; NaN and infinite count as none.
        measured: what the numbers are of: `value`, `length` of a list, or `moment` in seconds since 1970.
        numbers: `min`, `q05`, `q25`, `median`, `q75`, `q95`, `max`, `mean`; empty without values, or of texts.
        bars: number of entities in bars of equal width between `low` and `high`; what is beyond is in the outer ones.
        low: where the first bar begins.
        high: where the last bar ends.
        logarithmic: whether the bars are of equal width in `log(1 + value)`.
        num_distinct: different texts, or different members of lists of texts; None of numbers.
        top: the most frequent texts or members and how many entities have them.
        of: what is counted.
    """

    num_rows: int
    num_nulls: int
    measured: str = "value"
    numbers: Mapping[str, float] = field(default_factory=dict)
    bars: tuple[int, ...] = ()
    low: float = 0.0
    high: float = 0.0
    logarithmic: bool = False
    num_distinct: int | None = None
    top: tuple[tuple[str, int], ...] = ()
    of: str = "entities"


def distributions(
    features: FeatureSet, *, lake: Lake, config: FeatureConfig, scratch: Path
) -> dict[str, dict[str, Distribution]]:
    """Return feature view -> feature -> distribution, of the feature tables at their versions.

    Args:
        features: the tables' versions.
        lake: has them.
        config: DuckDB's memory and threads.
        scratch: folder to which DuckDB spills.

    Raises:
        LakeError: a version is gone.
    """
    connection = connect(config, scratch)
    found = {}
    for name, table in FEATURE_TABLES.items():
        _newest_rows(connection, lake, table, features.versions[name])
        found[name] = {feature: _distribution(connection, feature, kind) for feature, kind in table.features.items()}
    return found


def request_distributions(
    training_set: TrainingSet, wanted: Iterable[str], *, config: FeatureConfig, scratch: Path
) -> dict[str, Distribution]:
    """Return feature -> distribution over a training set's labels, of features that are computed for each request.

    Some `SAMPLE_ROWS` labels stand for all, chosen by a digest of their event: the same ones every time.

    Args:
        training_set: whose three files are there.
        wanted: features; those that the set does not have are left out.
        config: DuckDB's memory and threads.
        scratch: folder to which DuckDB spills.
    """
    connection = connect(config, scratch)
    files = [str(Path(training_set.uri) / f"{split}.parquet") for split in SPLITS]
    num_rows = sum(training_set.num_rows.values())
    every = max(1, round(num_rows / SAMPLE_ROWS))
    schema = pq.read_schema(files[0])
    features = {name: schema.field(name).type for name in wanted if name in schema.names}
    columns = ", ".join(f'"{name}"' for name in [EVENT_ID, *features])
    connection.read_parquet(files).create_view("labels")
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE described AS SELECT {columns} FROM labels WHERE hash({EVENT_ID}) % {every} = 0"
    )
    of = f"labels of training set {training_set.fingerprint[:MARK]}"
    return {name: replace(_distribution(connection, name, kind), of=of) for name, kind in features.items()}


def _newest_rows(connection: Any, lake: Lake, table: FeatureTable, version: int) -> None:
    """Create table `described`: of each entity the row that holds at the snapshot."""
    rows = f"{table.name}_rows"
    files = lake.files(table.lake_table, version) if "://" not in lake.root else []
    if files:
        connection.read_parquet(files).create_view(rows)
    else:  # DuckDB opens files of an object store through Arrow; an empty table has no files
        connection.register(rows, lake.dataset(table.lake_table, version=version))
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE described AS
        SELECT {", ".join(f'"{name}"' for name in table.features)} FROM {rows}
        QUALIFY row_number() OVER (
            PARTITION BY {table.entity} ORDER BY {EVENT_TIMESTAMP} DESC, {CREATED_TIMESTAMP} DESC
        ) = 1
    """)


def _distribution(connection: Any, feature: str, kind: pa.DataType) -> Distribution:
    column = f'"{feature}"'
    num_rows, num_values = connection.execute(f"SELECT count(*), count({column}) FROM described").fetchall()[0]
    if pa.types.is_string(kind):
        distinct, top = _texts(connection, f"SELECT {column} AS text FROM described")
        return Distribution(num_rows, num_rows - num_values, num_distinct=distinct, top=top)
    measured, measure = _measure(column, kind)
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW measure AS SELECT m FROM (SELECT {measure} AS m FROM described) WHERE isfinite(m)"
    )
    num_values = connection.execute("SELECT count(*) FROM measure").fetchall()[0][0]
    of_members: dict[str, Any] = {}
    if pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
        members = f"SELECT unnest(list_distinct({column})) AS text FROM described"
        of_members = dict(zip(("num_distinct", "top"), _texts(connection, members), strict=True))
    described = {"num_rows": num_rows, "num_nulls": num_rows - num_values, "measured": measured, **of_members}
    return Distribution(**described, **_numbers(connection)) if num_values else Distribution(**described)


def _measure(column: str, kind: pa.DataType) -> tuple[str, str]:
    """Return what is measured of a column, and the expression for it."""
    if pa.types.is_list(kind):
        return "length", f"len({column})::DOUBLE"
    if pa.types.is_timestamp(kind):
        return "moment", f"epoch_us({column}) / 1e6"
    return "value", f"{column}::DOUBLE"


def _numbers(connection: Any) -> dict[str, Any]:
    """Describe view `measure`, which has values."""
    quantiles = [0.01, *QUANTILES.values(), 0.99]
    smallest, largest, mean, (first, *middle, last) = connection.execute(
        "SELECT min(m), max(m), avg(m), quantile_cont(m, $quantiles) FROM measure", {"quantiles": quantiles}
    ).fetchall()[0]
    numbers = {"min": smallest, **dict(zip(QUANTILES, middle, strict=True)), "max": largest, "mean": mean}
    low, high = (first, last) if last > first else (smallest, largest)
    logarithmic = low >= 0 and high > SKEW * max(numbers["median"], 1.0) and high < 1e9  # no moments
    scaled, begin, end = ("ln(1 + m)", "ln(1 + $low)", "ln(1 + $high)") if logarithmic else ("m", "$low", "$high")
    counted = connection.execute(
        f"""
        SELECT CASE WHEN $high > $low
            THEN greatest(least(floor(($bars * ({scaled} - {begin}) / ({end} - {begin}))), $bars - 1), 0)
            ELSE 0 END::INTEGER AS bar, count(*)
        FROM measure GROUP BY bar
        """,
        {"low": low, "high": high, "bars": NUM_BARS},
    ).fetchall()
    bars = dict(counted)
    return {
        "numbers": numbers,
        "bars": tuple(bars.get(bar, 0) for bar in range(NUM_BARS)),
        "low": low,
        "high": high,
        "logarithmic": logarithmic,
    }


def _texts(connection: Any, query: str) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Return how many different texts a query gives, and the most frequent ones."""
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE texts AS SELECT text, count(*) AS num FROM ({query}) "
        "WHERE text IS NOT NULL GROUP BY text"
    )
    (num_distinct,) = connection.execute("SELECT count(*) FROM texts").fetchall()[0]
    top = connection.execute(f"SELECT text, num FROM texts ORDER BY num DESC, text LIMIT {NUM_TOP}").fetchall()
    return num_distinct, tuple(top)
