"""The feature catalogue as one HTML page that needs nothing else: no other file, no network."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from itertools import groupby
from pathlib import Path

from pipelines.catalogue.definitions import Reader
from pipelines.catalogue.distributions import Distribution
from pipelines.catalogue.entries import Entry
from pipelines.contracts import Snapshot
from pipelines.stores.freshness import ViewFreshness

STYLE = """
:root{color-scheme:light dark;--ink:#1d2129;--faint:#636b78;--line:#dde1e7;--paper:#fff;--band:#f5f6f8;--bar:#3b76c4;
--good:#17692b;--badge:#e6f2e9}
@media (prefers-color-scheme:dark){:root{--ink:#e4e7ec;--faint:#98a1b0;--line:#343a44;--paper:#16181d;--band:#1f232a;
--bar:#6ea3e8;--good:#7fcf94;--badge:#1e3326}}
*{box-sizing:border-box}body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;max-width:96rem;padding:1.5rem;
color:var(--ink);background:var(--paper)}
h1{font-size:1.5rem;margin:0 0 .2rem}p{margin:.2rem 0}.note{color:var(--faint)}small{color:var(--faint);display:block}
.search{display:flex;gap:1rem;align-items:baseline;margin:1rem 0 .6rem}
input{font:inherit;padding:.4rem .7rem;width:min(26rem,100%);border:1px solid var(--line);border-radius:.4rem;
background:var(--band);color:inherit}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;min-width:70rem}
th,td{padding:.6rem .7rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
thead th{background:var(--band);white-space:nowrap}
th button{font:inherit;font-weight:600;color:inherit;background:none;border:0;padding:0;cursor:pointer}
th[aria-sort=ascending] button::after{content:" \\25b2"}th[aria-sort=descending] button::after{content:" \\25bc"}
tbody tr:hover{background:var(--band)}td code{font-size:.92em}
td:first-child{min-width:15rem}td:last-child{min-width:18rem}
td:nth-child(odd) code,td:nth-child(6) small{white-space:nowrap}
svg{display:block;fill:var(--bar)}.badge{background:var(--badge);color:var(--good);border-radius:.3rem;padding:0 .4rem}
.figures{display:grid;grid-template-columns:auto auto;gap:0 .8rem;width:max-content;font-size:.9em}
.figures b{font-weight:400;color:var(--faint)}details{font-size:.95em}summary{cursor:pointer;color:var(--faint)}
.top{overflow-wrap:anywhere;max-width:18rem}
"""
# Search hides rows; a click on a heading sorts by the text of its column, or by `data-sort` where a cell has one.
SCRIPT = """
const rows = [...document.querySelectorAll("tbody tr")], count = document.querySelector("output");
document.querySelector("input").addEventListener("input", ({target}) => {
  const words = target.value.toLowerCase().split(/\\s+/);
  for (const row of rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
  count.textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length}`;
});
document.querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
  const down = head.getAttribute("aria-sort") === "ascending", sign = down ? -1 : 1;
  document.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = row => row.cells[column].dataset.sort ?? row.cells[column].textContent;
  rows.sort((a, b) => sign * key(a).localeCompare(key(b), "en", {numeric: true}));
  document.querySelector("tbody").append(...rows);
}));
"""
HEADINGS = ("Feature", "Type", "View", "Owner", "Freshness", "Values", "Distribution", "Read by")
WIDTH, HEIGHT = 160, 44


def write_page(file: Path, entries: Sequence[Entry], snapshot: Snapshot) -> None:
    """Write the page.

    Args:
        file: HTML file to write.
        entries: every feature.
        snapshot: at which the values were looked at.
    """
    head = "".join(f'<th scope="col"><button type="button">{heading}</button></th>' for heading in HEADINGS)
    body = [
        f"<h1>Features of {escape(snapshot.dataset)}</h1>",
        f'<p class="note">{len(entries)} features as they are declared. Values are those of the newest row '
        f"of each entity at snapshot <code>{escape(snapshot.snapshot_id)}</code>, "
        f"{_moment(snapshot.as_of.timestamp())} UTC.</p>",
        '<p class="search"><input type="search" placeholder="Search name, meaning, view, owner, model" '
        f'aria-label="Search"><output class="note">{len(entries)} of {len(entries)}</output></p>',
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(map(_row, entries))}</tbody></table>'
        "</div>",
    ]
    file.write_text(
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>Features of {escape(snapshot.dataset)}</title><style>{STYLE}</style>{''.join(body)}"
        f"<script>{SCRIPT}</script></html>"
    )


def _row(entry: Entry) -> str:
    about, values = entry.definition, entry.distribution
    cells = (
        (f"<code>{escape(about.name)}</code><small>{_prose(about.meaning)}</small>", about.name),
        (f"<code>{escape(about.kind)}</code>", None),
        (f"<code>{escape(about.view)}</code><small>of {escape(about.entity)}</small>", None),
        (escape(about.owner), None),
        (_freshness(entry), str(entry.freshness.objective_seconds if entry.freshness else "")),
        (_counts(values), str(values.num_rows if values else -1)),
        (
            _distribution(values)
            if values
            else '<span class="note">computed for each request; no training set yet</span>',
            "",
        ),
        (_readers(about.services, entry.readers), f"{sum(r.champion for r in entry.readers)}"),
    )
    return f"<tr>{''.join(_cell(text, sort) for text, sort in cells)}</tr>"


def _cell(text: str, sort: str | None) -> str:
    return f"<td>{text}</td>" if sort is None else f'<td data-sort="{escape(sort)}">{text}</td>'


def _freshness(entry: Entry) -> str:
    policy = entry.freshness or ViewFreshness()
    if not entry.definition.from_table:
        return "<small>of the request</small>"
    objective = f"within {_duration(policy.objective_seconds)}" if policy.objective_seconds else "no objective"
    expires = f"expires after {_duration(policy.ttl_seconds)}: {policy.when_expired}" if policy.ttl_seconds else ""
    return f"{objective}<small>{expires or 'never expires'}</small>"


def _counts(values: Distribution | None) -> str:
    if values is None:
        return ""
    of = "" if values.of == "entities" else f"<small>{escape(values.of)}</small>"
    share = f"{values.num_nulls / values.num_rows:.1%}" if values.num_rows else "-"
    nulls = f"<small>{share} null</small>" if values.num_nulls else "<small>none null</small>"
    distinct = "" if values.num_distinct is None else f"<small>{values.num_distinct:,} different</small>"
    return f"{values.num_rows:,}{of}{nulls}{distinct}"


def _distribution(values: Distribution) -> str:
    parts = []
    if values.numbers:
        parts.append(_histogram(values))
        shown = {name: _number(value, values.measured) for name, value in values.numbers.items()}
        figures = "".join(f"<b>{name}</b><span>{text}</span>" for name, text in shown.items())
        spread = f"{shown['q05']} to {shown['q95']}, median {shown['median']}"
        of_length = "length " if values.measured == "length" else ""
        parts.append(f'<details><summary>{of_length}{spread}</summary><div class="figures">{figures}</div></details>')
    if values.top and values.top[0][1] > 1:
        listed = "".join(f"<b>{num:,}</b><span>{escape(text)}</span>" for text, num in values.top)
        parts.append(f'<details><summary>most frequent</summary><div class="figures top">{listed}</div></details>')
    return "".join(parts) or '<span class="note">no value is repeated</span>'


def _histogram(values: Distribution) -> str:
    highest, width = max(values.bars), WIDTH / len(values.bars)
    bars = "".join(
        f'<rect x="{bar * width:.1f}" y="{HEIGHT - height:.1f}" width="{width - 1:.1f}" height="{height:.1f}"/>'
        for bar, num in enumerate(values.bars)
        if (height := max(HEIGHT * num / highest, 1.0 if num else 0.0))
    )
    ends = f"{_number(values.low, values.measured)} to {_number(values.high, values.measured)}"
    scale = ", logarithmic" if values.logarithmic else ""
    title = f"{values.of} by {values.measured}, {ends}{scale}; what is beyond is in the outer bars"
    return (
        f'<svg role="img" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f"<title>{escape(title)}</title>{bars}</svg>"
    )


def _readers(services: Sequence[str], readers: Sequence[Reader]) -> str:
    champion = _versions([reader for reader in readers if reader.champion])
    others = _versions([reader for reader in readers if not reader.champion])
    listed = ", ".join(f"<code>{escape(service)}</code>" for service in services)
    return (
        (f'<p><span class="badge">champion</span> {champion}</p>' if champion else "")
        + (f"<p>{others}</p>" if others else "")
        + f"<small>{listed or 'no feature service'}</small>"
    )


def _versions(readers: Sequence[Reader]) -> str:
    grouped = groupby(readers, key=lambda reader: reader.model)
    return "; ".join(escape(f"{model} {', '.join(r.version for r in group)}") for model, group in grouped)


def _prose(text: str) -> str:
    """Return text as HTML; what is in backticks is code."""
    return re.sub(r"`(.+?)`", r"<code>\1</code>", escape(text))


def _number(value: float, measured: str) -> str:
    if measured == "moment":
        return _moment(value)
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 10_000 else f"{value:.4g}"


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds / 3_600:g} hours" if seconds >= 3_600 else f"{seconds:g} seconds"
