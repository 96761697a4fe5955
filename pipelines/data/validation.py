"""Validate one staged partition: accepted rows, quarantined rows, a report, and a verdict, all in one folder.

    <folder>/{events,items,users}.parquet   accepted rows, in the source's order
    <folder>/quarantine.parquet             rejected rows with their rule and the raw row as JSON
    <folder>/docs/report.html               what was decided and why; links to Great Expectations' Data Docs beside it
    <folder>/verdict.json                   counts, and the table-level rules that are broken

The verdict is data, not an exception: everything is on disk before anyone stops the run over it.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.config import ValidationConfig
from pipelines.contracts import EVENTS, ITEMS, RAW_TABLES, USERS
from pipelines.data.drift import RETYPED, Drift, drift_flags, drift_rules, drift_sentences, find_drift
from pipelines.data.lake import Lake
from pipelines.data.prepare import connect, prepare, quote, read_schema, register_lake, schema_problems
from pipelines.data.rules import RowRule, TableRule, row_rules
from pipelines.data.schemas import QUARANTINE_SCHEMA, RAW_SCHEMAS
from pipelines.data.table_rules import table_rules

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_REPORTED_ROWS = 2_000_000
_ORDER = (ITEMS, USERS, EVENTS)  # events refer to the accepted rows of the other two


@dataclass
class Verdict:
    """What validation found.

    Attributes:
        num_rows: table -> rows that came.
        num_accepted: table -> rows that break no row rule.
        num_quarantined: rule -> rows quarantined under it.
        num_broken: `table.rule` -> rows that break the rule, whether or not an earlier rule took them.
        problems: one sentence a broken table-level rule; empty when the partition may be ingested.
        advice: what to do about the first problem.
        drift: columns unlike the contract's that were accepted or converted, one sentence each.
        raw_key: name of the staged folder, which depends only on the raw rows.
        lake_versions: lake table -> version that validation looked at.
    """

    num_rows: dict[str, int] = field(default_factory=dict)
    num_accepted: dict[str, int] = field(default_factory=dict)
    num_quarantined: dict[str, int] = field(default_factory=dict)
    num_broken: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    advice: str = ""
    drift: list[str] = field(default_factory=list)
    raw_key: str = ""
    lake_versions: dict[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "Verdict":
        """Return the verdict in a validated folder."""
        return cls(**json.loads((folder / "verdict.json").read_text()))


def validate(
    raw: Path, folder: Path, *, partition: str, lake: Lake, config: ValidationConfig, as_of: datetime
) -> Verdict:
    """Validate the staged files in `raw` into `folder` and return the verdict that was written there.

    Args:
        raw: folder with `events.parquet`, `items.parquet`, `users.parquet`.
        folder: empty folder to fill.
        partition: name of the partition; its own rows in the lake do not count as known before.
        lake: what earlier partitions brought.
        config: bounds.
        as_of: the ingestion's clock, UTC.
    """
    from pipelines.data.expectations import Report
    from pipelines.data.front_page import write_front_page

    verdict = Verdict(raw_key=raw.name)
    report = Report(folder / "docs", partition=partition, as_of=as_of, max_report_rows=config.max_report_rows)
    with connect(folder / "spill") as connection:
        check = _Check(connection, raw, folder, report, verdict, config, as_of, partition)
        if check.schemas():
            verdict.lake_versions = register_lake(connection, lake, partition)
            for table in _ORDER:
                check.rows(table)
            check.partition()
        check.write_quarantine()
    report.build()
    write_front_page(folder / "docs", verdict, partition=partition)
    (folder / "verdict.json").write_text(json.dumps(asdict(verdict), indent=1))
    return verdict


@dataclass
class _Check:
    connection: "duckdb.DuckDBPyConnection"
    raw: Path
    folder: Path
    report: Any
    verdict: Verdict
    config: ValidationConfig
    as_of: datetime
    partition_name: str

    def schemas(self) -> bool:
        """Return whether every table has its columns with convertible types; else report which do not."""
        for table in RAW_TABLES:
            actual, wanted = read_schema(self.raw / f"{table}.parquet"), RAW_SCHEMAS[table]
            drift = find_drift(actual, wanted)
            found = [f"{table}: {problem}" for problem in schema_problems(actual, wanted, aside=self._aside(drift))]
            found += drift_sentences(table, drift, "stop", self.config)
            self.verdict.problems += found
            for policy in ("accept", "coerce"):
                self.verdict.drift += drift_sentences(table, drift, policy, self.config)
            if found:
                self.report.table(table, actual.empty_table(), wanted, [])
        if self.verdict.problems:
            self.verdict.advice = (
                "Correct the file or the mapping and read the partition again; validation.new_columns, "
                "validation.missing_columns and validation.retyped_columns say which changes are taken"
            )
        return not self.verdict.problems

    def _aside(self, drift: Drift) -> Collection[str]:
        """Columns whose rows are set aside, so that they need not be convertible."""
        return drift.under("quarantine", self.config).get(RETYPED, {})

    def rows(self, table: str) -> None:
        """Apply a table's row rules, write the accepted rows and make the table's page."""
        staged = self.raw / f"{table}.parquet"
        drift = find_drift(read_schema(staged), RAW_SCHEMAS[table])
        rules = [*drift_rules(drift, self.config), *row_rules(table, config=self.config, as_of=self.as_of)]
        flags = drift_flags(drift, self.config)
        prepare(self.connection, table, staged, RAW_SCHEMAS[table], flags=flags, aside=self._aside(drift))
        first = " ".join(f"WHEN {rule.broken} THEN '{rule.name}'" for rule in rules)
        self.connection.execute(
            f"CREATE TEMP TABLE checked_{table} AS SELECT *, CASE {first} END AS broken_rule FROM prepared_{table}"
        )
        self.connection.execute(f"DROP TABLE prepared_{table}")
        self._count(table, rules)
        self._write_accepted(table)
        if table != EVENTS:
            key = "item_id" if table == ITEMS else "user_id"
            self.connection.execute(
                f"INSERT INTO known_{table} SELECT {key} FROM checked_{table} WHERE broken_rule IS NULL"
            )
        self.report.table(table, self._reported(table, rules), RAW_SCHEMAS[table], rules)

    def _count(self, table: str, rules: Sequence[RowRule]) -> None:
        broken = ", ".join(f"count(*) FILTER (WHERE {rule.broken})" for rule in rules)
        counts = self._one(
            f"SELECT count(*), count(*) FILTER (WHERE broken_rule IS NULL), {broken} FROM checked_{table}"
        )
        self.verdict.num_rows[table], self.verdict.num_accepted[table] = counts[:2]
        self.verdict.num_broken |= {
            f"{table}.{rule.name}": count for rule, count in zip(rules, counts[2:], strict=True) if count
        }
        taken = self.connection.execute(
            f"SELECT broken_rule, count(*) FROM checked_{table} WHERE broken_rule IS NOT NULL GROUP BY 1 ORDER BY 1"
        ).fetchall()
        for rule, count in taken:
            self.verdict.num_quarantined[rule] = self.verdict.num_quarantined.get(rule, 0) + count

    def _write_accepted(self, table: str) -> None:
        columns = ", ".join(RAW_SCHEMAS[table].names)
        self.connection.execute(
            f"COPY (SELECT {columns} FROM checked_{table} WHERE broken_rule IS NULL ORDER BY row) "
            f"TO {quote(self.folder / f'{table}.parquet')} (FORMAT parquet)"
        )

    def _reported(self, table: str, rules: Sequence[RowRule]) -> "pa.Table":
        """The columns the rules speak of; of a very large partition every row that breaks a rule and a sample."""
        names = {value for rule in rules for name, value in rule.arguments.items() if name.startswith("column")}
        where = "true"
        if self.verdict.num_rows[table] > _REPORTED_ROWS:
            share = int(_REPORTED_ROWS / self.verdict.num_rows[table] * 2**16)
            where = f"broken_rule IS NOT NULL OR hash(row) % 65536 < {share}"
        required = [f.name for f in RAW_SCHEMAS[table] if not f.nullable]
        columns = ", ".join(sorted(names | set(required)))
        return self.connection.sql(f"SELECT {columns} FROM checked_{table} WHERE {where}").to_arrow_table()

    def partition(self) -> None:
        """Check the numbers about the whole partition."""
        rules = table_rules(self.connection, self.verdict, self.config, self.partition_name)
        self.report.partition(rules)
        for rule in rules:
            if rule.broken:
                self.verdict.problems.append(self._sentence(rule))
                self.verdict.advice = self.verdict.advice or rule.advice

    def _sentence(self, rule: TableRule) -> str:
        text = f"{rule.name}: {rule.meaning}{rule.bounds}"
        worst = max(self.verdict.num_broken.items(), key=lambda pair: pair[1], default=None)
        if rule.name.startswith("too_many_quarantined") and worst:
            text += f" (most broken: {worst[0]}, {worst[1]:,} rows{self._example(worst[0])})"
        return text

    def _example(self, broken: str) -> str:
        table, rule = broken.split(".")
        found = self.connection.execute(
            f"SELECT c.row, {self._raw_row(table)} FROM {self._raw_joined(table)} AND c.row = "
            f"(SELECT min(row) FROM checked_{table} WHERE broken_rule = '{rule}')"
        ).fetchall()
        return f", such as row {found[0][0] + 1}: {found[0][1]}" if found else ""

    def write_quarantine(self) -> None:
        """Write every rejected row as it came, with its rule."""
        import pyarrow.parquet as pq

        target = self.folder / "quarantine.parquet"
        moment = f"TIMESTAMPTZ '{self.as_of.isoformat()}'"
        parts = [
            f"SELECT '{table}' AS \"table\", c.broken_rule AS rule, {self._raw_row(table)} AS raw_row, "
            f"{quote(self.partition_name)} AS partition, {moment} AS quarantined_at, c.row "
            f"FROM {self._raw_joined(table)}"
            for table in _ORDER
            if table in self.verdict.num_rows
        ]
        if not parts:
            pq.write_table(QUARANTINE_SCHEMA.empty_table(), target)
            return
        rows = f'SELECT * EXCLUDE (row) FROM ({" UNION ALL ".join(parts)}) ORDER BY "table", row'
        self.connection.execute(f"COPY ({rows}) TO {quote(target)} (FORMAT parquet)")

    def _raw_row(self, table: str) -> str:
        names = read_schema(self.raw / f"{table}.parquet").names
        fields = ", ".join(f'"{name}" := raw."{name}"' for name in names)
        return f"to_json(struct_pack({fields}))::VARCHAR"

    def _raw_joined(self, table: str) -> str:
        """Rejected rows of a table beside their raw form; JSON is made of these only."""
        source = f"read_parquet({quote(self.raw / f'{table}.parquet')}, file_row_number = true)"
        return f"{source} raw JOIN checked_{table} c ON c.row = raw.file_row_number WHERE c.broken_rule IS NOT NULL"

    def _one(self, sql: str) -> tuple[Any, ...]:
        (row,) = self.connection.execute(sql).fetchall()
        return tuple(row)
