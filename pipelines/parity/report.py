"""The parity report as one HTML page that needs nothing else."""

from html import escape
from pathlib import Path

from pipelines.contracts import ParityReport

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.5rem}table{border-collapse:collapse;margin:.5rem 0}
th,td{padding:.2rem .8rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}.note{color:#666}
"""


def write_page(file: Path, report: ParityReport) -> None:
    """Write the page.

    Args:
        file: HTML file to write.
        report: what was compared and found.
    """
    head = "".join(f"<th>{name}</th>" for name in ("feature", "requests that differ", "share", "expired", "example"))
    ordered = sorted(report.features, key=lambda feature: -feature.num_different)
    rows = "".join(
        f"<tr><td>{escape(feature.name)}</td><td>{feature.num_different:,}</td>"
        f"<td>{report.share(feature):.2%}</td><td>{feature.num_expired:,}</td><td>{escape(feature.example)}</td></tr>"
        for feature in ordered
    )
    file.write_text(
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Parity</title><style>{_STYLE}</style>"
        f"<h1>Features served against features offline: {escape(report.dataset)}</h1>"
        f"<p>{report.num_compared:,} requests compared, each as of its own moment.</p>"
        f'<p class="note">{report.num_waiting:,} newer ones wait until their events are in the lake.</p>'
        f'<p class="note">{report.num_ambiguous:,} had several events within the lag, so features of events are not '
        "compared for them.</p>"
        '<p class="note">Expired: the rows were too old when serving read them, so the policy of the view decided what '
        "was used, and the feature is not compared for these requests.</p>"
        f"<table><tr>{head}</tr>{rows}</table></html>"
    )
