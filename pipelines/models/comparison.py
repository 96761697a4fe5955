"""Models that were evaluated on one holdout, side by side: figures, paired differences, curves and costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ConfigError
from pipelines.models.significance import PerUser, bootstrap_interval, compare_with, is_shown

Figures = Mapping[str, float]
SHOWN = ("recall", "ndcg", "mrr")


@dataclass(frozen=True)
class Contestant:
    """One model of a comparison.

    Attributes:
        name: line of the tables.
        figures: metric -> value over all users.
        slices: slice -> metric -> value, `num_users` among them.
        per_user: accuracy metric -> `[num_users]`, users in the order of the holdout.
        curves: metric -> a value an epoch; empty for what does not learn in epochs.
        costs: what training cost, such as `cost_cpu_seconds`; empty where it was not measured.
    """

    name: str
    figures: Figures
    slices: Mapping[str, Figures]
    per_user: Mapping[str, NDArray[np.float64]]
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    costs: Figures = field(default_factory=dict)


def compare(contestants: Sequence[Contestant], *, metric: str, reference: str | None, seed: int) -> dict[str, Any]:
    """Return the comparison as JSON, the best first: values, intervals, how far the reference is above each other.

    Args:
        contestants: measured on the same users.
        metric: decides, such as `ndcg_at_10`.
        reference: name of a contestant; None takes the best.
        seed: decides the draws of users.

    Raises:
        ConfigError: no contestant has the reference's name, or one was not measured by the metric.
    """
    for one in contestants:
        if metric not in one.per_user:
            raise ConfigError(
                f"{one.name} was not measured by {metric!r}; measured are {', '.join(one.per_user)}. Choose one of "
                "them with --metric"
            )
    contestants = sorted(contestants, key=lambda one: -one.figures[metric])
    values = {one.name: one.figures[metric] for one in contestants}
    reference = reference or max(values, key=values.__getitem__)
    if reference not in values:
        raise ConfigError(f"reference {reference!r} is none of the models compared: {', '.join(values)}")
    samples = {one.name: PerUser.of(one.per_user[metric]) for one in contestants}
    return {
        "metric": metric,
        "reference": reference,
        "values": values,
        "intervals": {
            name: {
                shown: bootstrap_interval(one.per_user[shown], seed=seed)
                for shown in shown_metrics(metric, one.per_user)
            }
            for name, one in zip(values, contestants, strict=True)
        },
        "differences": compare_with(reference, samples, seed=seed),
        "metrics": {one.name: dict(one.figures) for one in contestants},
        "slices": {
            name: {one.name: dict(one.slices[name]) for one in contestants if name in one.slices}
            for name in contestants[0].slices
        },
        "curves": {one.name: dict(one.curves) for one in contestants if one.curves},
        "costs": {one.name: dict(one.costs) for one in contestants if one.costs},
    }


def beside_simpler(
    contestants: Sequence[Contestant], deep: Sequence[str], simple: Sequence[str], *, metric: str, seed: int
) -> list[str]:
    """Say of each deep model whether it is worth its cost: how it stands to the best of the simpler ones.

    Args:
        contestants: measured on the same users.
        deep: names of those that are networks.
        simple: names of those that are counted or solved in closed form; with none there is nothing to say.
        metric: decides.
        seed: decides the random swaps.
    """
    if not simple:
        return []
    values = {one.name: one.figures[metric] for one in contestants}
    best = max(simple, key=values.__getitem__)
    samples = {one.name: PerUser.of(one.per_user[metric]) for one in contestants if one.name in {best, *deep}}
    found = compare_with(best, samples, seed=seed)
    return [_stands(name, best, values, found[name]) for name in sorted(found, key=lambda name: -values[name])]


def _stands(name: str, best: str, values: Figures, above: Figures) -> str:
    """Put into words how far the best simpler model is above a deep one."""
    own, other = f"{name} ({values[name]:.4f})", f"{best} ({values[best]:.4f}), the best of the simpler models here"
    if not is_shown(above):
        return f"{own} and {other}: no difference that {above['num_users']} users can show."
    if above["difference"] > 0:
        return f"{own} loses to {other}: tune it, or train the simpler model."
    return f"{own} beats {other}."


def shown_metrics(metric: str, measured: Mapping[str, Any]) -> list[str]:
    """Return the deciding metric and the others of its k, as far as they were measured."""
    _, _, k = metric.rpartition("_at_")
    return list(dict.fromkeys([metric, *(name for kind in SHOWN if (name := f"{kind}_at_{k}") in measured)]))
