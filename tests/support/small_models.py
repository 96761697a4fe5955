"""Settings that make a model small and quick enough for a test of the whole chain; others take their defaults."""

from typing import Any

SMALL: dict[str, dict[str, Any]] = {
    "youtube": {"dim": 16, "length": 20, "epochs": 3, "xla": False},
}


def small(name: str) -> dict[str, Any]:
    """Return the settings of a model's test."""
    return SMALL.get(name, {})
