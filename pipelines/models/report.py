"""The evaluation as one HTML page that needs nothing else."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from pipelines.models.exposure import LOWER_IS_BETTER

Texts = Sequence[Sequence[str]]

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;margin:.5rem 0}
th,td{padding:.3rem .8rem;text-align:right;border-bottom:1px solid #ddd}th:first-child,td:first-child{text-align:left}
.best{font-weight:600}dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dt{color:#666}dd{margin:0}
td{white-space:nowrap}img{max-width:100%}.note{color:#666}
"""


def write_report(
    file: Path,
    *,
    title: str,
    facts: Mapping[str, Any],
    tables: Mapping[str, Mapping[str, Mapping[str, float]] | Texts],
    notes: Sequence[str],
    plots: Sequence[Path],
) -> None:
    """Write the page.

    Args:
        file: HTML file to write.
        title: headline.
        facts: what was measured on what: name -> value.
        tables: heading -> system -> metric -> value, or rows of text, of which the first names the columns.
        notes: sentences on how to read it.
        plots: PNG files, put into the page.
    """
    body = [f"<h1>{escape(title)}</h1>", _facts(facts)]
    for heading, rows in tables.items():
        body.append(f"<h2>{escape(heading)}</h2>{_table(rows) if isinstance(rows, Mapping) else _texts(rows)}")
    body += [f'<p class="note">{escape(note)}</p>' for note in notes]
    body += [_image(plot) for plot in plots]
    page = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title><style>{_STYLE}</style>"
    file.write_text(page + "".join(body) + "</html>")


def _facts(facts: Mapping[str, Any]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items()) + "</dl>"


def _table(rows: Mapping[str, Mapping[str, float]]) -> str:
    columns = list(dict.fromkeys(name for values in rows.values() for name in values))
    best = {c: _best(c, [v.get(c, 0.0) for system, v in rows.items() if system != "oracle"]) for c in columns}
    head = "".join(f"<th>{escape(name.replace('_at_', ' @ ').replace('_', ' '))}</th>" for name in columns)
    lines = [f"<tr><th>system</th>{head}</tr>"]
    for system, values in rows.items():
        cells = "".join(_cell(values.get(name), best[name]) for name in columns)
        lines.append(f"<tr><td>{escape(system)}</td>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _texts(rows: Texts) -> str:
    head, *lines = rows
    body = "".join(f"<tr>{_tagged(line, 'td')}</tr>" for line in lines)
    return f"<table><tr>{_tagged(head, 'th')}</tr>{body}</table>"


def _tagged(row: Sequence[str], tag: str) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in row)


def _best(column: str, values: Sequence[float]) -> float:
    if column.startswith("popularity_lift"):
        return min(values, key=abs)  # either way is a bias
    return min(values) if column.startswith(LOWER_IS_BETTER) else max(values)


def _cell(value: float | None, best: float) -> str:
    if value is None:
        return "<td>-</td>"
    text = f"{value:,.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:.4f}"
    return f'<td class="best">{text}</td>' if value == best and value else f"<td>{text}</td>"


def _image(plot: Path) -> str:
    data = base64.b64encode(plot.read_bytes()).decode()
    return f'<p><img alt="{escape(plot.stem.replace("_", " "))}" src="data:image/png;base64,{data}"></p>'
