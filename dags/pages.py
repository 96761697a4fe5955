"""Where a person finds what a task wrote."""

import re
from typing import Any

REPORT = re.compile(r"/\S+\.html\b")
PREFIX = "/tandem/reports"


def say_where(log: Any, text: str) -> None:
    """Log the address of each report whose file `text` names: a page of Airflow, or the file where it serves none."""
    from airflow.sdk.configuration import conf

    from pipelines import entrypoints

    runs, base = entrypoints.runs_folder(), conf.get("api", "base_url", fallback="").rstrip("/")
    for file in REPORT.findall(text):
        served = file.removeprefix(runs) if base and file.startswith(f"{runs}/") else None
        log.info("Report: %s", f"{base}{PREFIX}{served}" if served else file)
