"""What all plots share: figures without a display, plain axes, files that are equal when the figures are."""

from pathlib import Path
from typing import Any


def new_figure(num_axes: int, *, width: float = 5.5, height: float = 3.6) -> tuple[Any, Any]:
    """Return a figure and its axes side by side, each `width` by `height` inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * num_axes, height), dpi=110, layout="constrained")
    return figure, figure.subplots(1, num_axes, squeeze=False)[0]


def finish(axis: Any, title: str, label: str, *, legend: bool = True) -> None:
    """Give an axis its title, its horizontal label and, when it has lines, a legend."""
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(label)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    if legend and axis.get_lines():
        axis.legend(frameon=False, fontsize=8)


def save(figure: Any, file: Path) -> None:
    """Write a figure; no version stands in the file, so that equal figures are equal bytes."""
    figure.savefig(file, metadata={"Software": None})
