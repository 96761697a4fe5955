"""The evaluation of a pair of models as JSON and as a page, with words on who won."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.config import EvaluationConfig
from pipelines.contracts import RECOMMENDER
from pipelines.models import plots
from pipelines.models.holdout import Holdout, Measured, decile_shares
from pipelines.models.report import write_report

REPORT = "report.json"


def write_evaluation(
    folder: Path,
    report: Mapping[str, Any],
    measured: Mapping[str, Measured],
    holdout: Holdout,
    config: EvaluationConfig,
) -> None:
    """Write report.json, the plots and report.html into `folder`.

    Args:
        folder: gets the files.
        report: all figures, as they go into report.json.
        measured: system -> what its lists are worth.
        holdout: what they were measured on.
        config: which metrics the page shows.
    """
    (folder / REPORT).write_text(json.dumps(report, indent=2))
    files = [folder / f"{name}.png" for name in ("recall_against_k", "ndcg_against_k", "popularity_bias")]
    for file, metric in zip(files, ("recall", "ndcg"), strict=False):
        plots.metric_against_k(file, report["metrics"], metric, config.ks)
    chosen = decile_shares(np.nonzero(holdout.relevant)[1], holdout.popularity)
    shares = {name: result.deciles for name, result in measured.items()}
    plots.popularity_bias(files[2], {**shares, "what users chose": chosen})
    shown = [config.metric, *(f"{name}_at_{k}" for k in config.ks for name in ("recall", "ndcg"))]
    tables = {
        "All users": _columns(report["metrics"], shown),
        "Beyond accuracy": _columns(report["metrics"], list(_beyond(report["metrics"]))),
        **{f"Slice: {name}": _columns(rows, ["num_users", *shown]) for name, rows in report["slices"].items()},
    }
    facts = {name: report[name] for name in ("dataset", "snapshot", "cut", "num_users", "num_items", "num_candidates")}
    facts |= {
        f"95 % interval, {config.metric}, {name}": f"{low:.4f} to {high:.4f}"
        for name, (low, high) in report["intervals"].items()
    }
    write_report(
        folder / "report.html",
        title=f"Evaluation on {report['dataset']}",
        facts=facts,
        tables=tables,
        notes=_notes(report, config.metric),
        plots=files,
    )


def _columns(rows: Mapping[str, Mapping[str, float]], names: list[str]) -> dict[str, dict[str, float]]:
    wanted = dict.fromkeys(names)
    return {system: {name: values[name] for name in wanted if name in values} for system, values in rows.items()}


def _beyond(rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    first = next(iter(rows.values()))
    return [name for name in first if name.startswith(("coverage", "novelty", "diversity", "popularity_share"))]


def _notes(report: Mapping[str, Any], metric: str) -> list[str]:
    """Say in words who won, and how to read the figures."""
    values = {name: figures[metric] for name, figures in report["metrics"].items()}
    lines = [
        "Full ranking over the corpus as known at the cut, seen items removed, ties counted worst case, one query "
        "a user.",
        f"Popularity counts events of the window {report['popularity_window']!r}, chosen on the validation window.",
    ]
    for other in (*report["baselines"], "retrieval"):
        verb = "beats" if values[RECOMMENDER] > values[other] else "does not beat"
        lines.append(
            f"The recommender {verb} {other} on {metric}: {values[RECOMMENDER]:.4f} against {values[other]:.4f}."
        )
    lines.append(_retrieval_note(report["retrieval_model"], values, report["baselines"]))
    if "oracle" in values:
        share = values[RECOMMENDER] / max(values["oracle"], 1e-9)
        lines.append(f"The oracle knows the law of the data; the recommender reaches {share:.0%} of it.")
    return lines


def _retrieval_note(model: str, values: Mapping[str, float], baselines: list[str]) -> str:
    """Say whether a simpler model would retrieve better than the one that was trained."""
    better = {name: values[name] for name in baselines if values[name] >= values["retrieval"]}
    own = f"Retrieval by {model} reaches {values['retrieval']:.4f}"
    if not better:
        return f"{own}, above all {len(baselines)} baselines."
    beaten_by = ", ".join(f"{name} ({value:.4f})" for name, value in sorted(better.items(), key=lambda b: -b[1]))
    return f"{own} and loses to {beaten_by}: tune it, or train the simpler model."
