"""A comparison of models as one HTML page with its plots, and as JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.models import comparison_plots as plots
from pipelines.models import exposure
from pipelines.models.comparison import shown_metrics
from pipelines.models.paired_table import HOW_PAIRED, paired_table, span
from pipelines.models.plots import trade_off
from pipelines.models.report import Texts, write_report

REPORT, PAGE = "report.json", "report.html"


def write_comparison(folder: Path, report: Mapping[str, Any]) -> None:
    """Write report.json, the plots and report.html into `folder`.

    Args:
        folder: gets the files.
        report: of `comparison.compare`, with what the holdout was: `dataset`, `snapshot`, `cut`, `num_users`,
            `num_items`, and `notes`.
    """
    (folder / REPORT).write_text(json.dumps(report, indent=2))
    metric, reference = report["metric"], report["reference"]
    own = {name: intervals[metric] for name, intervals in report["intervals"].items()}
    tables: dict[str, Any] = {
        f"Beside {reference}, {readable(metric)}": paired_table(
            reference, report["values"], own, report["differences"]
        ),
        "Accuracy over all users, with 95 % intervals": _with_intervals(report),
        "Beyond accuracy": _beyond(report["metrics"]),
        **{
            f"Slice: {name}": {system: _of_slice(values, metric) for system, values in rows.items()}
            for name, rows in report["slices"].items()
        },
        "What training cost": _costs(report["costs"]),
    }
    facts = {name: report[name] for name in ("dataset", "snapshot", "cut", "num_users", "num_items")}
    write_report(
        folder / PAGE,
        title=f"Comparison of models on {report['dataset']}",
        facts=facts,
        tables={heading: rows for heading, rows in tables.items() if rows},
        notes=[*report["notes"], HOW_PAIRED],
        plots=_plots(folder, report),
    )


def readable(metric: str) -> str:
    """Return a metric as a person writes it."""
    return metric.replace("_at_", " @ ").replace("_", " ")


def _with_intervals(report: Mapping[str, Any]) -> Texts:
    shown = shown_metrics(report["metric"], next(iter(report["intervals"].values())))
    rows = [
        [name, *(f"{report['metrics'][name][metric]:.4f} ({span(*intervals[metric])})" for metric in shown)]
        for name, intervals in report["intervals"].items()
    ]
    return [["system", *map(readable, shown)], *rows]


def _beyond(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return what every system was measured by and is no accuracy."""
    accuracy = ("recall_at", "ndcg_at", "mrr_at", "hit_rate_at")
    every = [name for name in next(iter(metrics.values())) if not name.startswith(accuracy)]
    shared = [name for name in every if all(name in values for values in metrics.values())]
    return {system: {name: values[name] for name in shared} for system, values in metrics.items()} if shared else {}


def _of_slice(values: Mapping[str, float], metric: str) -> dict[str, float]:
    return {name: values[name] for name in ("num_users", *shown_metrics(metric, values)) if name in values}


def _costs(costs: Mapping[str, Mapping[str, float]]) -> Texts:
    names = list(dict.fromkeys(name for values in costs.values() for name in values))
    head = ["system", *(name.removeprefix("cost_").replace("_", " ") for name in names)]
    rows = [
        [system, *(f"{values[name]:,.1f}" if name in values else "-" for name in names)]
        for system, values in costs.items()
    ]
    return [head, *rows] if rows else []


def _plots(folder: Path, report: Mapping[str, Any]) -> list[Path]:
    metric, metrics = report["metric"], report["metrics"]
    files = [folder / "differences.png"]
    plots.differences(files[0], report["reference"], report["differences"], readable(metric))
    axes = {
        name: label for name, label in exposure.TRADED.items() if all(name in values for values in metrics.values())
    }
    if axes:
        files.append(folder / "trade_off.png")
        points = {system: [values[name] for name in (metric, *axes)] for system, values in metrics.items()}
        trade_off(files[-1], points, list(axes.values()), readable(metric))
    if report["curves"]:
        files.append(folder / "learning_curves.png")
        plots.learning_curves(files[-1], report["curves"])
    return files
