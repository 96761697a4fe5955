"""The evaluation of a pair of models as JSON and as a page, with words on who won."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.config import EvaluationConfig
from pipelines.contracts import RECOMMENDER
from pipelines.models import exposure, plots
from pipelines.models.holdout import Holdout, Measured, decile_shares
from pipelines.models.paired_table import HOW_PAIRED, paired_table
from pipelines.models.per_user import PER_USER, holdout_digest, write_per_user
from pipelines.models.report import write_report
from pipelines.models.significance import PerUser, compare_with, is_shown

REPORT = "report.json"
RETRIEVAL, ORACLE = "retrieval", "oracle"


def write_evaluation(
    folder: Path,
    report: Mapping[str, Any],
    measured: Mapping[str, Measured],
    holdout: Holdout,
    config: EvaluationConfig,
    *,
    seed: int,
) -> None:
    """Write report.json, per_user.parquet, the plots and report.html into `folder`.

    Args:
        folder: gets the files.
        report: the figures; the paired differences and the holdout's digest are added.
        measured: system -> what its lists are worth.
        holdout: what they were measured on.
        config: which metrics the page shows.
        seed: decides the draws of users.
    """
    report = {**report, "holdout": holdout_digest(holdout), "differences": _differences(measured, report, seed)}
    (folder / REPORT).write_text(json.dumps(report, indent=2))
    write_per_user(folder / PER_USER, measured)
    files = [folder / f"{name}.png" for name in ("recall_against_k", "ndcg_against_k", "popularity_bias")]
    for file, metric in zip(files, ("recall", "ndcg"), strict=False):
        plots.metric_against_k(file, report["metrics"], metric, config.ks)
    chosen = decile_shares(np.nonzero(holdout.relevant)[1], holdout.popularity)
    shares = {name: result.deciles for name, result in measured.items()}
    plots.popularity_bias(files[2], {**shares, "what users chose": chosen})
    files.append(folder / "trade_off.png")
    points = {
        name: [values[metric] for metric in (config.metric, *exposure.TRADED)]
        for name, values in report["metrics"].items()
    }
    plots.trade_off(files[-1], points, list(exposure.TRADED.values()), config.metric.replace("_at_", " @ "))
    shown = [config.metric, *(f"{name}_at_{k}" for k in config.ks for name in ("recall", "ndcg"))]
    tables: dict[str, Any] = {
        "All users": _columns(report["metrics"], shown),
        f"The recommender beside each, {config.metric.replace('_at_', ' @ ')}": paired_table(
            RECOMMENDER,
            {name: figures[config.metric] for name, figures in report["metrics"].items()},
            report["intervals"],
            report["differences"][RECOMMENDER],
        ),
        "Beyond accuracy": _columns(report["metrics"], list(_beyond(report["metrics"]))),
        **{f"Slice: {name}": _columns(rows, ["num_users", *shown]) for name, rows in report["slices"].items()},
    }
    facts = {name: report[name] for name in ("dataset", "snapshot", "cut", "num_users", "num_items", "num_candidates")}
    write_report(
        folder / "report.html",
        title=f"Evaluation on {report['dataset']}",
        facts=facts,
        tables=tables,
        notes=[*_notes(report, config.metric), HOW_PAIRED],
        plots=files,
    )


def _differences(
    measured: Mapping[str, Measured], report: Mapping[str, Any], seed: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Return how far the recommender is above every system that is none of the law's, and retrieval above baselines."""
    samples = {name: PerUser.of(result.per_user[report["interval_metric"]]) for name, result in measured.items()}
    beside = {
        RECOMMENDER: [name for name in samples if name != ORACLE],
        RETRIEVAL: [RETRIEVAL, *report["baselines"]],
    }
    return {
        reference: compare_with(reference, {name: samples[name] for name in names}, seed=seed)
        for reference, names in beside.items()
    }


def _columns(rows: Mapping[str, Mapping[str, float]], names: list[str]) -> dict[str, dict[str, float]]:
    wanted = dict.fromkeys(names)
    return {system: {name: values[name] for name in wanted if name in values} for system, values in rows.items()}


def _beyond(rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    first = next(iter(rows.values()))
    return [name for name in first if name.startswith(exposure.NAMES)]


def _notes(report: Mapping[str, Any], metric: str) -> list[str]:
    """Say in words who won, and how to read the figures."""
    values = {name: figures[metric] for name, figures in report["metrics"].items()}
    lines = [
        "Full ranking over the corpus as known at the cut, seen items removed, ties counted worst case, one query "
        "a user.",
        f"Popularity counts events of the window {report['popularity_window']!r}, chosen on the validation window.",
    ]
    differences = report["differences"]
    lines += [
        _verdict(other, metric, values, difference, report["num_users"])
        for other, difference in differences[RECOMMENDER].items()
    ]
    lines.append(_retrieval_note(report["retrieval_model"], values, differences[RETRIEVAL], report["num_users"]))
    lines += _left_out_note(report)
    lines += [*report["cold_start_notes"], exposure.HOW_TO_READ]
    if ORACLE in values:
        share = values[RECOMMENDER] / max(values[ORACLE], 1e-9)
        lines.append(f"The oracle knows the law of the data; the recommender reaches {share:.0%} of it.")
    return lines


def _left_out_note(report: Mapping[str, Any]) -> list[str]:
    """Say which baselines were not measured, and why."""
    names = report.get("baselines_left_out")  # reports of earlier releases do not say
    if not names:
        return []
    return [
        f"Not measured: {', '.join(names)}, which would fill a matrix of {report['num_items']:,} items by as many; "
        f"`evaluation.baseline_max_items` is {report['baseline_max_items']:,}. Raise it where the memory is there."
    ]


def _verdict(
    other: str, metric: str, values: Mapping[str, float], difference: Mapping[str, float], num_users: int
) -> str:
    """Say whether the recommender beats another system, and by how much."""
    figures = (
        f"{values[RECOMMENDER]:.4f} against {values[other]:.4f} (difference {difference['difference']:.4f}, "
        f"95 % {difference['low']:.4f} to {difference['high']:.4f})"
    )
    if not is_shown(difference):
        return f"The recommender and {other} on {metric}: {figures}: no difference that {num_users} users can show."
    verb = "beats" if difference["difference"] > 0 else "loses to"
    return f"The recommender {verb} {other} on {metric}: {figures}."


def _retrieval_note(
    model: str, values: Mapping[str, float], differences: Mapping[str, Mapping[str, float]], num_users: int
) -> str:
    """Say whether a simpler model would retrieve better than the one that was trained, or as well."""
    level = [name for name, difference in differences.items() if not is_shown(difference)]
    lost = [name for name, difference in differences.items() if name not in level and difference["difference"] < 0]
    own = f"Retrieval by {model} reaches {values[RETRIEVAL]:.4f}"
    if not lost and not level:
        return f"{own}, above {_every(list(differences))}."
    sentences = [f"{own} and loses to {_ranked(lost, values)}: tune it, or train the simpler model."] if lost else []
    if level:
        told = f"no difference from {_ranked(level, values)} that {num_users} users can show."
        sentences.append(f"There is {told}" if lost else f"{own}, with {told}")
    return " ".join(sentences)


def _every(names: list[str]) -> str:
    return f"{names[0]}, the one baseline measured" if len(names) == 1 else f"all {len(names)} baselines measured"


def _ranked(names: list[str], values: Mapping[str, float]) -> str:
    """Name systems with their values, the best first."""
    return ", ".join(f"{name} ({values[name]:.4f})" for name in sorted(names, key=lambda name: -values[name]))
