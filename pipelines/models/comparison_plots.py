"""Plots of several models beside each other, drawn without a display."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.models.drawing import finish, new_figure, save

ROW_INCHES = 0.32


def differences(file: Path, reference: str, found: Mapping[str, Mapping[str, float]], metric: str) -> None:
    """Draw how far a reference is above each other system, with intervals; what crosses the line is not shown.

    Args:
        file: PNG to write.
        reference: what the others stand beside.
        found: system -> its difference, see `significance.compare_with`.
        metric: label of the axis.
    """
    figure, (axis,) = new_figure(1, width=6.6, height=1.4 + ROW_INCHES * len(found))
    names = list(found)[::-1]
    middle = [found[name]["difference"] for name in names]
    below = [found[name]["difference"] - found[name]["low"] for name in names]
    above = [found[name]["high"] - found[name]["difference"] for name in names]
    axis.errorbar(middle, range(len(names)), xerr=[below, above], fmt="o", color="#1b6ca8", capsize=3)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(-0.6, len(names) - 0.4)
    finish(axis, f"{reference} above each by, with 95 % intervals", metric, legend=False)
    save(figure, file)


def learning_curves(file: Path, curves: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Draw the loss of each system over the epochs, and beside it each figure of the validation window.

    Args:
        file: PNG to write.
        curves: system -> metric -> a value an epoch.
    """
    measured = list(dict.fromkeys(name for of_one in curves.values() for name in of_one))
    titles = sorted(measured, key=lambda name: (name != "loss", measured.index(name)))[:3]
    figure, axes = new_figure(len(titles), width=5.2, height=3.8)
    colors = _colors(curves)
    for axis, title in zip(axes, titles, strict=True):
        for system, of_one in curves.items():
            values = of_one.get(title, [])
            axis.plot(range(1, len(values) + 1), values, marker="o", markersize=3, label=system, color=colors[system])
        finish(axis, title.replace("_", " "), "epoch", legend=False)
    _legend(figure, axes[-1])
    save(figure, file)


def _colors(systems: Iterable[str]) -> dict[str, Any]:
    """Return a colour a system."""
    from matplotlib import colormaps

    palette = colormaps["tab20"]
    return {name: palette((2 * number + number // 10) % palette.N) for number, name in enumerate(systems)}


def _legend(figure: Any, axis: Any) -> None:
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", frameon=False, fontsize=8)
