"""The first page of a validation's report: what was decided and why, and where Great Expectations says more.

Great Expectations' own index is drawn by scripts from the internet, so it is blank on a closed network; its pages, one
a table, can be read without. This page needs nothing else.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.data.validation import Verdict

NAME = "report.html"
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse}.good{color:#17692b}.bad{color:#a11}
th,td{padding:.3rem .8rem;text-align:right;border-bottom:1px solid #ddd}th:first-child,td:first-child{text-align:left}
"""


def write_front_page(folder: Path, verdict: "Verdict", *, partition: str) -> None:
    """Write `report.html` into the folder of the Data Docs, linking to their page of each table.

    Args:
        folder: where the Data Docs were built.
        verdict: what validation found.
        partition: name of the partition.
    """
    quarantined = sum(verdict.num_quarantined.values())
    decided = '<b class="bad">Refused.</b>' if verdict.problems else '<b class="good">Accepted.</b>'
    pages = {page.stem.removeprefix("partition-"): page for page in sorted((folder / "validations").rglob("*.html"))}
    body = [
        f"<h1>Validation of partition {escape(partition)}</h1>",
        f"<p>{decided} {quarantined:,} rows are in quarantine, each with its rule and as it came.</p>",
        "".join(f"<p>{escape(problem)}.</p>" for problem in verdict.problems),
        f"<p>{escape(verdict.advice)}.</p>" if verdict.advice else "",
        "<h2>Rows</h2>",
        _table(
            ("table", "came", "accepted"),
            [(t, f"{n:,}", f"{verdict.num_accepted.get(t, 0):,}") for t, n in verdict.num_rows.items()],
        ),
        "<h2>Quarantined</h2>",
        _table(("rule", "rows"), [(rule, f"{rows:,}") for rule, rows in verdict.num_quarantined.items()])
        if quarantined
        else "<p>No row broke a rule.</p>",
        "<h2>Every rule</h2><p>Great Expectations' pages: ",
        ", ".join(
            f'<a href="{escape(page.relative_to(folder).as_posix())}">{escape(name)}</a>'
            for name, page in pages.items()
        ),
        "</p>",
    ]
    head = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Validation</title><style>{_STYLE}</style>"
    (folder / NAME).write_text(head + "".join(body) + "</html>")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"
