"""Great Expectations suites, built in code from the rules, run in an ephemeral context, rendered as Data Docs.

The suites are evidence for a person; which row is quarantined is decided by the same rules as SQL (see
`pipelines.data.rules`). Results are BASIC: full lists of unexpected rows are in the quarantine file, and
rendering them here would take minutes. Nothing is written outside the folder given.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.data.rules import RowRule, TableRule

if TYPE_CHECKING:
    import pyarrow as pa

_TYPES = {"string": "str", "double": "float64", "timestamp[us, tz=UTC]": "datetime64[us, UTC]"}


class Report:
    """Data Docs of one partition: a page a table, a page for the partition as a whole, and an index."""

    def __init__(self, folder: Path, *, partition: str, as_of: datetime, max_report_rows: int) -> None:
        # Before the import, which says hundreds of times what it need not register twice.
        logging.getLogger("great_expectations").setLevel(logging.ERROR)
        with _quiet():
            import great_expectations as gx
            from great_expectations.core import RunIdentifier

        self._folder, self._gx = folder, gx
        self._run = RunIdentifier(run_name=partition.replace("/", " to "), run_time=as_of)
        self._format = {"result_format": "BASIC", "partial_unexpected_count": max_report_rows}
        self._context = gx.get_context(mode="ephemeral")
        self._context.variables.progress_bars = {"globally": False}
        for site in list(self._context.get_site_names()):
            self._context.delete_data_docs_site(site)
        self._context.add_data_docs_site("report", _site(folder))
        self._source = self._context.data_sources.add_pandas(name="partition")

    def table(self, name: str, rows: "pa.Table", schema: "pa.Schema", rules: Sequence[RowRule]) -> dict[str, int]:
        """Validate rows of a raw table and return rule -> rows that break it, as Great Expectations counts them.

        Args:
            name: `events`, `items` or `users`.
            rows: its prepared rows; without rules, only which columns there are is checked.
            schema: the table's required columns and types.
            rules: row rules to check.
        """
        expectations = [*_columns_of(schema), *(_expectation(rule) for rule in rules)]
        results = self._run_suite(name, _frame(rows), expectations)
        counts = {
            result["expectation_config"]["meta"]["rule"]: int(result["result"].get("unexpected_count", 0))
            for result in results
            if "rule" in (result["expectation_config"].get("meta") or {})
        }
        return {rule.name: counts[rule.name] for rule in rules}

    def partition(self, rules: Sequence[TableRule]) -> None:
        """Validate the numbers about the whole partition."""
        import pandas as pd
        from great_expectations import expectations as gxe

        frame = pd.DataFrame({rule.column: [rule.observed] for rule in rules})
        bounds = [
            gxe.ExpectColumnValuesToBeBetween(
                column=rule.column,
                min_value=rule.at_least,
                max_value=rule.at_most,
                description=_sentence(rule),
                meta={"rule": rule.name},
            )
            for rule in rules
        ]
        self._run_suite("partition", frame, bounds)

    def build(self) -> Path:
        """Render the pages and return the path of the index."""
        with _quiet():
            self._context.build_data_docs()
        _drop_unused(self._folder)
        return self._folder / "index.html"

    def _run_suite(self, name: str, frame: Any, expectations: list[Any]) -> list[dict[str, Any]]:
        gx, context = self._gx, self._context
        batch = self._source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("rows")
        suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
        definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(name=name, validation_definitions=[definition], actions=[], result_format=self._format)
        )
        with _quiet():
            outcome = checkpoint.run(batch_parameters={"dataframe": frame}, run_id=self._run)
        (result,) = outcome.run_results.values()
        found: list[dict[str, Any]] = result.to_json_dict()["results"]
        return found


def _drop_unused(folder: Path) -> None:
    """Delete fonts and pictures that no page and no style names: 4 MB beside every report."""
    named = "".join(file.read_text() for kind in ("html", "css") for file in folder.rglob(f"*.{kind}"))
    for file in (folder / "static").rglob("*.*"):
        if file.is_file() and file.name not in named:
            file.unlink()


def _site(folder: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
    }


def _columns_of(schema: "pa.Schema") -> Iterator[Any]:
    from great_expectations import expectations as gxe

    for field in schema:
        if not field.nullable:
            yield gxe.ExpectColumnToExist(column=field.name)


def _expectation(rule: RowRule) -> Any:
    from great_expectations import expectations as gxe

    kind = getattr(gxe, rule.expectation)
    return kind(**rule.arguments, description=_sentence(rule), meta={"rule": rule.name})


def _sentence(rule: RowRule | TableRule) -> str:
    """What a page says of a rule; its name is the one in the quarantine."""
    return f"{rule.name}: {rule.meaning}{rule.bounds if isinstance(rule, TableRule) else ''}"


def _frame(rows: "pa.Table") -> Any:
    """Pandas with Arrow-backed text: a tenth of the memory of Python strings, and as quick to check."""
    import pandas as pd
    import pyarrow as pa

    return rows.to_pandas(types_mapper={pa.string(): pd.StringDtype("pyarrow")}.get)


@contextmanager
def _quiet() -> Iterator[None]:
    """Great Expectations' own deprecation warnings, on import and about pandas, say nothing to an operator."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
