"""The SQL of an Ibis expression in Spark's dialect, with the few operations that Ibis' own compiler lacks there."""

from typing import Any

import ibis.expr.types as ir
import sqlglot.expressions as sge
from ibis import pyspark as _options  # noqa: F401 - registers the options that the compiler reads
from ibis.backends.sql.compilers.pyspark import PySparkCompiler
from ibis.backends.sql.dialects import PySpark

from pipelines.errors import FeatureStoreError

KEY, VALUE = "key", "value"


def spark_sql(expression: ir.Table) -> str:
    """Return an expression over unbound tables as a Spark query.

    Raises:
        FeatureStoreError: a list is collected in an order by more than one expression.
    """
    query: str = _Compiler().to_sqlglot(expression).sql(dialect=PySpark)
    return query


class _Compiler(PySparkCompiler):  # type: ignore[misc]  # ibis is not typed
    """What the transformations use and Spark's SQL spells another way."""

    def visit_ArrayCollect(self, op: Any, *, arg: Any, where: Any, order_by: Any, **options: Any) -> Any:
        """A list in order: Spark's aggregate knows none, so pairs are collected, sorted and opened."""
        if not order_by:
            return super().visit_ArrayCollect(op, arg=arg, where=where, order_by=order_by, **options)
        if len(order_by) != 1:
            raise FeatureStoreError(f"a list is collected in order of {len(order_by)} expressions; expected one")
        (order,) = order_by
        kept = self.f.anon.isnotnull(arg)
        pair = self.f.anon.named_struct(sge.convert(KEY), order.this, sge.convert(VALUE), arg)
        pairs = self.f.anon.collect_list(self.if_(kept if where is None else sge.and_(kept, where), pair, sge.null()))
        ascending = sge.convert(not order.args.get("desc"))
        return sge.Dot(this=self.f.anon.sort_array(pairs, ascending), expression=sge.to_identifier(VALUE))

    def visit_ExtractMicrosecond(self, op: Any, *, arg: Any) -> Any:
        """Microseconds within the second."""
        return self.cast(self.f.anon.unix_micros(self._instant(arg)) % 1_000_000, op.dtype)

    def visit_TimestampFromUNIX(self, op: Any, *, arg: Any, unit: Any) -> Any:
        """Without a detour through text."""
        if unit.short != "s":
            return super().visit_TimestampFromUNIX(op, arg=arg, unit=unit)
        return self.cast(self.f.anon.timestamp_seconds(arg), op.dtype)

    def visit_TimestampTruncate(self, op: Any, *, arg: Any, unit: Any) -> Any:
        """Spark's truncation returns an instant; of a timestamp without a zone it must have none."""
        return self.cast(super().visit_TimestampTruncate(op, arg=arg, unit=unit), op.dtype)

    def _instant(self, arg: Any) -> Any:
        return sge.cast(arg, to=sge.DataType.Type.TIMESTAMPLTZ)
