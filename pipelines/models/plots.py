"""Plots of training and evaluation, figure without a display."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.models.calibration import Reliability
from pipelines.models.drawing import finish, new_figure, save

COLORS = {
    "recommender": "#1b6ca8",
    "retrieval": "#5fa8d3",
    "popularity": "#b0b0b0",
    "champion": "#d1495b",
    "oracle": "#66a182",
}
CHOSEN = "what users chose"


def learning_curve(file: Path, curves: Mapping[str, Sequence[float]]) -> None:
    """Draw each curve over the epochs, the loss on an axis of its own."""
    figure, (left, right) = new_figure(2)
    for name, values in curves.items():
        axis = left if "loss" in name else right
        axis.plot(range(1, len(values) + 1), values, marker="o", label=name.replace("_", " "))
    for axis, title in ((left, "loss"), (right, "validation")):
        finish(axis, title, "epoch")
    save(figure, file)


def metric_against_k(file: Path, systems: Mapping[str, Mapping[str, float]], metric: str, ks: Sequence[int]) -> None:
    """Draw a metric such as `recall` against k, one line a system."""
    figure, (axis,) = new_figure(1)
    for system, values in systems.items():
        points = [values[f"{metric}_at_{k}"] for k in ks]
        axis.plot(ks, points, marker="o", label=system, color=COLORS.get(system))
    finish(axis, f"{metric} against k", "k")
    axis.set_xticks(list(ks))
    save(figure, file)


def popularity_bias(file: Path, shares: Mapping[str, Sequence[float]]) -> None:
    """Draw how recommendations spread over items by popularity decile, beside how the future did.

    Args:
        file: PNG to write.
        shares: system (or `what users chose`) -> share a decile, most popular first, `[10]`.
    """
    figure, (axis,) = new_figure(1)
    colors = {**_distinct(shares), CHOSEN: "black"}
    for system, values in shares.items():
        style = "--" if system == CHOSEN else "-"
        axis.plot(range(1, len(values) + 1), values, style, marker="o", label=system, color=colors[system])
    finish(axis, "share of recommendations by popularity decile (1 = most popular)", "decile")
    save(figure, file)


def trade_off(file: Path, points: Mapping[str, Sequence[float]], labels: Sequence[str], accuracy: str) -> None:
    """Draw accuracy against what it may cost, one point a system, named beside the plot.

    Args:
        file: PNG to write.
        points: system -> its accuracy, then its value on each horizontal axis.
        labels: of the horizontal axes, one plot each.
        accuracy: label of the vertical axis.
    """
    figure, axes = new_figure(len(labels))
    colors = _distinct(points)
    for position, (axis, label) in enumerate(zip(axes, labels, strict=True), start=1):
        for system, values in points.items():
            axis.scatter(values[position], values[0], color=colors[system], s=36, zorder=3)
        finish(axis, "", label)
        axis.set_ylabel(accuracy)
    heights = _spread([values[0] for values in points.values()], axes[-1].get_ylim())
    for (system, values), height in zip(points.items(), heights, strict=True):
        axes[-1].annotate(
            system, (values[-1], values[0]), (1.04, height), textcoords=("axes fraction", "data"), va="center",
            fontsize=8, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colors[system], "lw": 0.5, "shrinkA": 0, "shrinkB": 2},
        )  # fmt: skip
    save(figure, file)


def reliability(file: Path, found: Reliability) -> None:
    """Draw the share of positives against the predicted probability, one point a bin, beside the diagonal."""
    figure, (axis,) = new_figure(1)
    highest = float(max(found.predicted.max(), found.observed.max()))
    axis.plot([0, highest], [0, highest], linestyle="--", color="black", label="perfectly calibrated")
    label = f"validation pairs; expected calibration error {found.error:.4f}"
    axis.plot(found.predicted, found.observed, marker="o", color=COLORS["recommender"], label=label)
    finish(axis, "share that was used against predicted probability", "predicted probability")
    save(figure, file)


def search_history(file: Path, values: Sequence[float | None], pruned: Sequence[bool], metric: str) -> None:
    """Draw what each trial of a search reached, and the best complete one so far.

    Args:
        file: PNG to write.
        values: of each trial, in order; None for one that failed.
        pruned: whether it was ended early, at the value that it had by then.
        metric: name of the values.
    """
    figure, (axis,) = new_figure(1)
    points = [(number, value, early) for number, (value, early) in enumerate(zip(values, pruned, strict=True), start=1)]
    for early, label, marker in ((False, "complete", "o"), (True, "pruned", "x")):
        shown = [(number, value) for number, value, was in points if was == early and value is not None]
        if shown:
            color = COLORS["popularity"] if early else COLORS["recommender"]
            axis.plot(*zip(*shown, strict=True), marker, color=color, label=label)
    complete = [(number, value) for number, value, early in points if not early and value is not None]
    best = [max(value for _, value in complete[: place + 1]) for place in range(len(complete))]
    axis.plot([number for number, _ in complete], best, drawstyle="steps-post", color="black", label="best so far")
    finish(axis, metric.replace("_", " "), "trial")
    save(figure, file)


def importances(file: Path, shares: Mapping[str, float]) -> None:
    """Draw a bar a setting: its share of what the settings explain."""
    figure, (axis,) = new_figure(1)
    names = list(shares)[::-1]
    axis.barh(names, [shares[name] for name in names], color=COLORS["recommender"])
    finish(axis, "what the differences between trials come from", "share")
    save(figure, file)


def _distinct(systems: Iterable[str]) -> dict[str, Any]:
    """Return a colour a system: its own, or one that no other has."""
    from matplotlib import colormaps

    names = list(systems)
    others = [name for name in names if name not in COLORS]
    palette = colormaps["tab20"]
    # The first two are blues, which are ours.
    return {name: COLORS.get(name) or palette(2 + others.index(name) % (palette.N - 2)) for name in names}


def _spread(heights: Sequence[float], limits: tuple[float, float]) -> list[float]:
    """Return the heights moved apart as little as makes labels readable, in the order given."""
    gap = max((limits[1] - limits[0]) / 14, 1e-9)
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    moved = [heights[place] for place in order]
    for _ in range(50):
        for low in range(len(moved) - 1):
            overlap = gap - (moved[low + 1] - moved[low])
            if overlap > 0:
                moved[low] -= overlap / 2
                moved[low + 1] += overlap / 2
    return [height for _, height in sorted(zip(order, moved, strict=True))]
