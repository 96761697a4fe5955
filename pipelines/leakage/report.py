"""The leakage report as one HTML page that needs nothing else."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from pipelines.contracts import LeakageCheck, LeakageReport

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.05rem;margin:1.6rem 0 .2rem}p{margin:.2rem 0}.clean{color:#17692b}.leak{color:#a11}
table{border-collapse:collapse;margin:.5rem 0}th,td{padding:.2rem .8rem;border-bottom:1px solid #ddd;text-align:left;
vertical-align:top}.note{color:#666}code{font-size:.9em}
"""
NUM_FIGURES = 12


def write_page(file: Path, report: LeakageReport) -> None:
    """Write the page.

    Args:
        file: HTML file to write.
        report: what was checked and found.
    """
    verdict = (
        '<b class="clean">Clean</b>: nothing saw its future.'
        if not report.num_findings
        else f'<b class="leak">{report.num_findings} leaks found.</b>'
    )
    versions = {"retrieval": report.retrieval_version, "ranking": report.ranking_version}
    model = "".join(f", {name} version {escape(version)}" for name, version in versions.items() if version)
    body = [
        f"<h1>Leakage check of {escape(report.dataset)}</h1><p>{verdict}</p>",
        f'<p class="note">Training set <code>{escape(report.training_set[:16])}</code>, snapshot '
        f"<code>{escape(report.snapshot_id)}</code>{model}.</p>",
        *map(_check, report.checks),
    ]
    page = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Leakage check</title><style>{_STYLE}</style>"
    file.write_text(page + "".join(body) + "</html>")


def _check(check: LeakageCheck) -> str:
    verdict = '<span class="leak">leak</span>' if check.findings else '<span class="clean">clean</span>'
    parts = [f"<h2>{escape(check.name.replace('_', ' '))}: {verdict}</h2>"]
    parts.append(f"<p>{escape(check.question)} <span class='note'>{check.num_checked:,} checked.</span></p>")
    if check.note:
        parts.append(f'<p class="note">{escape(check.note)}</p>')
    if check.findings:
        rows = [(f.feature, f.problem, f.example) for f in check.findings]
        parts.append(_table(("what", "problem", "example"), rows))
    if check.figures:
        largest = sorted(check.figures.items(), key=lambda pair: -pair[1])[:NUM_FIGURES]
        parts.append(_table(("feature, target", "AUC alone"), [(name, f"{value:.3f}") for name, value in largest]))
    return "".join(parts)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    def line(cells: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"
