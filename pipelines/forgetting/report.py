"""What was removed of a user, as one HTML page that needs nothing else and names nobody."""

from collections.abc import Iterable
from html import escape
from pathlib import Path

from pipelines.contracts import Forgetting

MARK = 16
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.05rem}table{border-collapse:collapse;margin:.5rem 0}
th,td{padding:.2rem .8rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}.note{color:#666}
"""


def write_page(file: Path, report: Forgetting) -> None:
    """Write the page.

    Args:
        file: HTML file to write.
        report: what was removed, and what remains.
    """
    removed = [(removed.place, f"{removed.num:,} {removed.unit}") for removed in report.removed]
    remains = [(remainder.place, f"{remainder.num:,}", remainder.remedy) for remainder in report.remains]
    after = (
        "<h2>What only people can remove</h2>" + _table(("place", "how often", "what to do"), remains)
        if remains
        else "<p>Nothing of the user is left in any place that was searched.</p>"
    )
    file.write_text(
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>A user forgotten</title><style>{_STYLE}</style>"
        f"<h1>A user of {escape(report.dataset)} was forgotten</h1>"
        f'<p class="note">Keyed digest of the id: <code>{report.user[:MARK]}</code>. Events of this user that come '
        "again are not kept.</p><h2>What was removed</h2>"
        f"{_table(('place', 'removed'), removed)}{after}"
        '<p class="note">Figures made of many users (popularity, weights of models, metrics) are made anew without the '
        "user by the next features and the next training. Source files and backups are not Tandem's: see to them.</p>"
        "</html>"
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    def line(cells: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"
