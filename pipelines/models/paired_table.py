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
    rows = [["system", "value (95 %)", f"{reference} above it by (95 %)", "p", f"{reference} is"]]
    for name, value in values.items():
        beside = _beside(differences[name]) if name in differences else ["", "", ""]
        rows.append([name, f"{value:.4f} ({span(*intervals[name])})", *beside])
    return rows


def span(low: float, high: float) -> str:
    """Return an interval in words."""
    return f"{low:.4f} to {high:.4f}"


def p_text(p_value: float) -> str:
    """Return a p-value as a person reads it."""
    return "< .001" if p_value < 0.001 else f"{p_value:.3f}"


def _beside(difference: Mapping[str, float]) -> list[str]:
    above = f"{difference['difference']:+.4f} ({span(difference['low'], difference['high'])})"
    verdict = ("better" if difference["difference"] > 0 else "worse") if is_shown(difference) else "not told apart"
    return [above, p_text(difference["p_holm"]), verdict]
