"""What lists are worth beyond accuracy: to whom exposure goes, and whether a list fits its user's tastes. numpy only.

Shapes: `[num_users, top_k]` for lists of item rows (-1 where a list ends), `[num_items]` and `[num_users, num_items]`
for what is known of items and of histories.
"""

import numpy as np
from numpy.typing import NDArray

from pipelines.models import metrics
from pipelines.models.metrics import Floats, Mask, Rows

SMOOTHING = 0.01  # Steck's alpha: how much of the history's distribution is mixed into the list's
NAMES = ("coverage", "gini", "popularity_share", "popularity_lift", "novelty", "diversity", "miscalibration")
LOWER_IS_BETTER = ("gini", "popularity_share", "miscalibration")
TRADED = {
    "popularity_share_at_10": "share of the most popular items, which hold half of all events",
    "coverage_at_10": "share of the corpus that anyone is shown",
}
HOW_TO_READ = (
    "Beyond accuracy: Gini is 0 where all items are shown equally often; popularity lift is how much more popular the "
    "lists are than what their users had chosen, 0 being no bias of the system's own; miscalibration is how far the "
    "categories of a list are from those of the user's history (Kullback-Leibler divergence, in nats; Steck 2018)."
)


def beyond_accuracy(
    top: Rows, *, popularity: Floats, seen: Mask, content: Floats, shares: Floats, k: int
) -> dict[str, float]:
    """Return every metric of `NAMES` on the first `k` items of the lists, such as `gini_at_10`.

    Args:
        top: ranked lists.
        popularity: events of each item before the cut, `[num_items]`.
        seen: what each user had used before the cut, `[num_users, num_items]`.
        content: unit vectors of the items' categories, `[num_items, num_categories]`.
        shares: the same as shares that sum to 1, or to 0 for an item without a category.
        k: length of the lists that are looked at.
    """
    first, num_items = top[:, :k], len(popularity)
    values = (
        metrics.coverage(first, num_items),
        gini(first, num_items),
        metrics.popularity_share(first, metrics.head_items(popularity)),
        popularity_lift(first, popularity, seen),
        metrics.novelty(first, popularity),
        metrics.intra_list_diversity(first, content),
        mean_miscalibration(first, seen, shares),
    )
    return {f"{name}_at_{k}": value for name, value in zip(NAMES, values, strict=True)}


def gini(top: Rows, num_items: int) -> float:
    """Return the Gini coefficient of exposure: 0 where all items are shown equally often, near 1 where one has it all.

    Items that nobody is shown count, with none. Source: Adomavicius and Kwon, Improving aggregate recommendation
    diversity using ranking-based techniques, TKDE 2012.
    """
    shown = np.sort(np.bincount(top[top >= 0], minlength=num_items).astype(np.float64))
    rank = np.arange(1, num_items + 1)
    return float(((2 * rank - num_items - 1) * shown).sum() / max(num_items * shown.sum(), 1.0))


def popularity_lift(top: Rows, popularity: Floats, seen: Mask) -> float:
    """Return how much more popular the recommended items are than those that users had chosen, relative to these.

    The mean popularity of a user's list and of their history, each averaged over users; users without a history or
    with an empty list are left out. 0 is no bias of the system's own. Source: Abdollahpouri and others, The unfairness
    of popularity bias in recommendation, RMSE at RecSys 2019 (their change of group average popularity).
    """
    lengths, chosen = (top >= 0).sum(axis=1), seen.sum(axis=1)
    counted = (lengths > 0) & (chosen > 0)
    if not counted.any():
        return 0.0
    of_list = (popularity[np.maximum(top, 0)] * (top >= 0)).sum(axis=1)[counted] / lengths[counted]
    of_history = _in_chunks(seen, popularity[:, None].astype(np.float32))[counted, 0] / chosen[counted]
    return float(of_list.mean() / max(of_history.mean(), 1e-9) - 1)


def mean_miscalibration(top: Rows, seen: Mask, shares: Floats) -> float:
    """Return the mean of `miscalibration` over the users it is defined for; 0 where there are none."""
    values = miscalibration(top, seen, shares)
    return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else 0.0


def miscalibration(top: Rows, seen: Mask, shares: Floats) -> NDArray[np.float64]:
    """Return how far each list's categories are from those of the user's history, in nats, `[num_users]`.

    The Kullback-Leibler divergence of the list's distribution, of which `SMOOTHING` is the history's, from the
    history's. An item's categories share its weight equally. NaN for users whose history has no category, and for
    empty lists. Source: Steck, Calibrated recommendations, RecSys 2018, equations 2, 3 and 5.

    Args:
        top: ranked lists.
        seen: what each user had used, `[num_users, num_items]`.
        shares: share of each category in an item, `[num_items, num_categories]`.
    """
    wanted = _distribution(_in_chunks(seen, shares.astype(np.float32)))
    given = _distribution((shares[np.maximum(top, 0)] * (top >= 0)[..., None]).sum(axis=1))
    mixed = (1 - SMOOTHING) * given + SMOOTHING * wanted
    ratio = np.divide(wanted, mixed, out=np.ones_like(wanted), where=wanted > 0)
    defined = (wanted.sum(axis=1) > 0) & (top >= 0).any(axis=1)
    return np.where(defined, (wanted * np.log(ratio)).sum(axis=1), np.nan)


def _distribution(weights: Floats) -> NDArray[np.float64]:
    total = weights.sum(axis=1, keepdims=True, dtype=np.float64)
    return np.asarray(np.divide(weights, total, out=np.zeros(weights.shape), where=total > 0), dtype=np.float64)


def _in_chunks(seen: Mask, columns: Floats) -> Floats:
    """Return `seen @ columns`, `[num_users, num_columns]`, without a float copy of the whole mask."""
    parts = [
        seen[start : start + metrics.QUERIES_AT_ONCE].astype(np.float32) @ columns
        for start in range(0, len(seen), metrics.QUERIES_AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, columns.shape[1]), dtype=np.float32)
