"""Point-in-time joins on Spark: the rules of `asof_join`, as one sort of each view.

Spark has no `ASOF` join. Labels and feature rows of a key are put in one order of time; the greatest row so far, by
(feature time, arrival, content), is what a label sees. No label meets each row of its key: the work grows with their
number, not with its square, and what does not fit into memory spills.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pipelines.errors import FeatureStoreError
from pipelines.stores.asof_join import AT, ROW, VALID_FROM, JoinView

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

IS_LABEL, BEST = "__is_label", "__best"


def join_view(session: "SparkSession", labels: "DataFrame", view: JoinView) -> "DataFrame":
    """Return `__row` and the features of `view` for every label that could see a row at all, in no order.

    Args:
        session: Spark session.
        labels: `__row` (position), `__at` (microseconds since 1970) and the view's label keys.
        view: what is joined; its `relation` is a temporary view.

    Raises:
        FeatureStoreError: a key is text on one side and a number on the other.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as fn

    _check_keys(session, labels, view)
    keys = [f"__key_{number}" for number in range(len(view.join_keys))]
    features = _visible_rows(session, view, keys)
    asking = labels.select(
        *(column(label).alias(key) for key, label in zip(keys, view.join_keys.values(), strict=True)),
        fn.col(AT),
        fn.col(ROW),
        fn.lit(1).alias(IS_LABEL),
    )
    asking = asking.dropna(subset=[*keys, AT])
    # Rows of a label's own moment come before it.
    so_far = Window.partitionBy(*keys).orderBy(AT, IS_LABEL).rowsBetween(Window.unboundedPreceding, Window.currentRow)
    both = asking.unionByName(features, allowMissingColumns=True)
    seen = both.withColumn(BEST, fn.max(BEST).over(so_far)).filter(fn.col(IS_LABEL) == 1)
    return seen.select(ROW, *_result_columns(view))


def latest_rows(rows: "DataFrame", keys: Sequence[str], columns: Sequence[str], stamps: Sequence[str]) -> "DataFrame":
    """Return the newest row of each key; ties fall as in `join_view`.

    Args:
        rows: the candidates.
        keys: columns of the join key; nulls are a key.
        columns: columns of the result.
        stamps: the column that decides what is newest, then the one that breaks ties, where there is one.
    """
    from pyspark.sql import functions as fn

    order = [*map(column, stamps), *_comparable(rows, [name for name in columns if name not in stamps])]
    ranked = [value.alias(f"__order_{number}") for number, value in enumerate(order)]
    whole = [column(name).alias(name) for name in columns]
    grouped = rows.groupBy(*(column(name).alias(f"__key_{number}") for number, name in enumerate(keys)))
    best = grouped.agg(fn.max(fn.struct(fn.struct(*ranked), fn.struct(*whole))).alias(BEST))
    return best.select(*(fn.col(BEST)["col2"][name].alias(name) for name in columns))


def column(name: str) -> "Column":
    """Return a column of whatever name."""
    from pyspark.sql import functions as fn

    return fn.col("`" + name.replace("`", "``") + "`")


def microseconds(name: str) -> "Column":
    """Return a time as whole microseconds since 1970; one without a zone is UTC, as the session's is."""
    from pyspark.sql import functions as fn

    return fn.unix_micros(column(name).cast("timestamp"))


def _visible_rows(session: "SparkSession", view: JoinView, keys: list[str]) -> "DataFrame":
    """Feature rows with the moment from which labels see them, and all that decides which one is seen."""
    from pyspark.sql import functions as fn

    rows = session.table(view.relation)
    valid_from = microseconds(view.timestamp)
    arrived = microseconds(view.created) if view.created else fn.lit(None).cast("long")
    must_arrive = view.by_arrival and view.created is not None
    ties = _comparable(rows, view.tie_columns or list(view.features))
    best = fn.struct(
        valid_from.alias(VALID_FROM),
        arrived.alias("__arrived"),
        *(tie.alias(f"__tie_{number}") for number, tie in enumerate(ties)),
        *(column(name).alias(f"__feature_{number}") for number, name in enumerate(view.features)),
    )
    visible = rows.select(
        *(column(name).alias(key) for key, name in zip(keys, view.join_keys, strict=True)),
        (fn.greatest(valid_from, arrived) if must_arrive else valid_from).alias(AT),
        fn.lit(0).alias(IS_LABEL),
        best.alias(BEST),
    ).dropna(subset=[*keys, AT])
    complete = fn.col(BEST)[VALID_FROM].isNotNull()
    return visible.filter(complete & fn.col(BEST)["__arrived"].isNotNull() if must_arrive else complete)


def _result_columns(view: JoinView) -> list["Column"]:
    from pyspark.sql import functions as fn

    best = fn.col(BEST)
    values = [best[f"__feature_{number}"] for number in range(len(view.features))]
    if view.ttl:
        valid = fn.col(AT) - best[VALID_FROM] <= view.ttl // timedelta(microseconds=1)
        values = [fn.when(valid, value) for value in values]
    return [value.alias(name) for value, name in zip(values, view.features.values(), strict=True)]


def _comparable(rows: "DataFrame", names: Sequence[str]) -> list["Column"]:
    """Columns as DuckDB orders them: a null within a list comes after every value, in Spark it would come before."""
    from pyspark.sql import functions as fn
    from pyspark.sql.types import ArrayType

    def ordered(element: "Column") -> "Column":
        return fn.struct(element.isNull(), element)

    lists = {field.name for field in rows.schema if isinstance(field.dataType, ArrayType)}
    return [fn.transform(column(name), ordered) if name in lists else column(name) for name in names]


def _check_keys(session: "SparkSession", labels: "DataFrame", view: JoinView) -> None:
    """Spark would turn numbers into text, so that a label finds the rows of another key."""
    rows = session.table(view.relation)
    for key, label in view.join_keys.items():
        kinds: list[Any] = [rows.schema[key].dataType.typeName(), labels.schema[label].dataType.typeName()]
        if len({kind == "string" for kind in kinds}) > 1:
            raise FeatureStoreError(
                f"join key {key!r} is {kinds[0]} in the feature rows and {kinds[1]} in the entity rows; expected text "
                "in both, or numbers in both. Cast the entity rows' column"
            )
