"""Blends that were measured: which parts, with which settings and weights."""

from collections.abc import Mapping
from typing import Any

from pipelines.models.retrievers.als import Als
from pipelines.models.retrievers.ease import Ease
from pipelines.models.retrievers.hstu import HSTU
from pipelines.models.retrievers.linear_transitions import LinearTransitions

# Weights are of scores that are brought to one deviation a query: a few sharp peaks count as much as a deep model's
# whole range, so they are small beside it.
BESIDE_HSTU = (0.04, 0.08, 0.04)


def linear_parts(*weights: float, transitions: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return linear transitions, EASE and transitions as parts of a blend, weighed in this order.

    Args:
        weights: one a part.
        transitions: settings of linear transitions; None for those of its preset `quality`.
    """
    linear = LinearTransitions.presets["quality"] if transitions is None else transitions
    kinds: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("linear_transitions", linear),
        ("ease", Ease.presets["next_item"]),
        ("transitions", {}),
    )
    return [
        {"model": model, "settings": dict(settings), "weight": weight}
        for (model, settings), weight in zip(kinds, weights, strict=True)
    ]


def hstu_part(preset: str = "quality", **own: Any) -> dict[str, Any]:
    """Return HSTU as a part; by default it is not told times, since serving knows none of a history."""
    return {"model": "hstu", "settings": HSTU.presets[preset] | {"use_times": False} | own}


PRESETS: dict[str, dict[str, Any]] = {
    "quality": {"parts": [hstu_part(), *linear_parts(*BESIDE_HSTU)]},
    "small": {"parts": [hstu_part("small"), *linear_parts(*BESIDE_HSTU)]},
    "medium": {"parts": [hstu_part("medium"), *linear_parts(*BESIDE_HSTU)]},
    "linear": {"parts": linear_parts(1.0, 1.0, 0.3)},
    "ease_als": {
        "parts": [
            {"model": "ease", "settings": Ease.presets["quality"]},
            {"model": "als", "settings": Als.presets["quality"], "weight": 2.0},
        ]
    },
}
