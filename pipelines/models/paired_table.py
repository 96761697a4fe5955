"""Systems beside one of them, as rows of text: value, interval, difference, and whether it could be chance."""

from collections.abc import Mapping, Sequence

from pipelines.models.significance import is_shown

HOW_PAIRED = (
    "Intervals are of 95 %, by drawing users with replacement. A difference is measured on the same users; its p says "
    "how often swapping the two systems on random users gives as large a one, corrected (Holm) for the number of "
    "systems. A difference is shown where p is at most .05."
)


def paired_table(
    reference: str,
    values: Mapping[str, float],
    intervals: Mapping[str, Sequence[float]],
    differences: Mapping[str, Mapping[str, float]],
) -> list[list[str]]:
    """Return a row a system, the names of columns first.

    Args:
        reference: what the others stand beside.
        values: system -> value.
        intervals: system -> its 95 % interval.
        differences: system -> how far the reference is above it, see `significance.compare_with`.
    """
    rows = [["system", "value", "95 %", f"{reference} above it by", "95 %", "p", "verdict"]]
    for name, value in values.items():
        own = [name, f"{value:.4f}", span(*intervals[name])]
        rows.append([*own, *_beside(differences[name], reference)] if name in differences else [*own, "", "", "", ""])
    return rows


def span(low: float, high: float) -> str:
    """Return an interval in words."""
    return f"{low:.4f} to {high:.4f}"


def _beside(difference: Mapping[str, float], reference: str) -> list[str]:
    winner = f"{reference} better" if difference["difference"] > 0 else f"{reference} worse"
    verdict = winner if is_shown(difference) else "no difference shown"
    p_value = "< .001" if difference["p_holm"] < 0.001 else f"{difference['p_holm']:.3f}"
    return [f"{difference['difference']:+.4f}", span(difference["low"], difference["high"]), p_value, verdict]
