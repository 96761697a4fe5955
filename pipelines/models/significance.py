"""What a figure over users is worth: intervals, and whether two systems differ on the same users.

A user is drawn or swapped as a whole, with all of their queries: those of one user are not independent. Sources:
percentile intervals by resampling, Efron and Tibshirani, An introduction to the bootstrap, 1993, chapter 13; the
randomization test that swaps two systems on a user, Smucker, Allan and Carterette, CIKM 2007; a p-value that counts
what was observed as one of the draws, Phipson and Smyth, 2010; Holm's correction, 1979.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]
LEVEL = 0.95
NUM_RESAMPLES = 2_000
NUM_SWAPS = 10_000
MAX_P_VALUE = 1 - LEVEL
CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class PerUser:
    """A metric as sums a user: its value is the sum of `totals` over the sum of `counts`.

    Attributes:
        totals: such as gains, hits or squared errors, `[num_users]`.
        counts: what they are a mean over: queries, relevant items or ratings, `[num_users]`.
        root: whether the metric is the root of that mean, as RMSE is.
    """

    totals: Floats
    counts: Floats
    root: bool = False

    @classmethod
    def of(cls, values: Floats) -> "PerUser":
        """Return a metric of one value a user, `[num_users]`."""
        return cls(np.asarray(values, dtype=np.float64), np.ones(len(values)))

    @classmethod
    def grouped(cls, users: NDArray[Any] | None, totals: Floats, counts: Floats, *, root: bool = False) -> "PerUser":
        """Add up rows, each of one user's, to users in order of their code.

        Args:
            users: code of each row's user, `[num_rows]`; None where each row is another user's.
            totals: see the attributes, `[num_rows]`.
            counts: the same.
            root: the same.
        """
        if users is None:
            return cls(np.asarray(totals, dtype=np.float64), np.asarray(counts, dtype=np.float64), root)
        _, rows = np.unique(users, return_inverse=True)
        return cls(np.bincount(rows, weights=totals), np.bincount(rows, weights=counts), root)

    @classmethod
    def mean(cls, runs: Sequence["PerUser"]) -> "PerUser":
        """Return every user's mean over runs on the same users, such as those of several seeds."""
        totals, counts = (np.mean([getattr(run, name) for run in runs], axis=0) for name in ("totals", "counts"))
        return cls(totals, counts, runs[0].root)

    @property
    def value(self) -> float:
        """The metric over all users; 0 without any."""
        return float(self.over(self.totals.sum(), self.counts.sum()))

    def over(self, totals: Any, counts: Any) -> Any:
        """Return the metric of sums over some users."""
        means = np.divide(totals, counts, out=np.zeros(np.shape(totals)), where=np.asarray(counts) > 0)
        return np.sqrt(means) if self.root else means


@dataclass(frozen=True)
class Difference:
    """By how much one system is above another on the same users.

    Attributes:
        difference: of the metric, over all users.
        low: where its 95 % interval begins.
        high: where that ends.
        p_value: how often swapping the two systems on random users gives a difference as large, either way.
        num_users: users that both were measured on.
    """

    difference: float
    low: float
    high: float
    p_value: float
    num_users: int


def bootstrap_interval(
    values: PerUser | Floats, *, seed: int, num_resamples: int = NUM_RESAMPLES
) -> tuple[float, float]:
    """Return the 95 % interval of a metric, by resampling users; (0, 0) without users.

    Args:
        values: one a user, `[num_users]`, or sums a user.
        seed: decides the draws; equal seeds draw the same users of equally many.
        num_resamples: draws.
    """
    sample = values if isinstance(values, PerUser) else PerUser.of(values)
    return _interval(_resampled([sample], seed, num_resamples)[0]) if len(sample.totals) else (0.0, 0.0)


def paired_difference(
    first: PerUser, second: PerUser, *, seed: int, num_resamples: int = NUM_RESAMPLES, num_swaps: int = NUM_SWAPS
) -> Difference:
    """Return how far `first` is above `second` on the same users, in the same order, and whether that could be chance.

    Raises:
        ValueError: the two have different numbers of users.
    """
    if first.totals.shape != second.totals.shape:
        raise ValueError(
            f"{len(first.totals)} users against {len(second.totals)}; expected the same users in the same order"
        )
    observed = first.value - second.value
    if not len(first.totals):
        return Difference(0.0, 0.0, 0.0, 1.0, 0)
    ours, theirs = _resampled([first, second], seed, num_resamples)
    low, high = _interval(ours - theirs)
    return Difference(observed, low, high, _p_value(first, second, observed, seed, num_swaps), len(first.totals))


def compare_with(reference: str, systems: Mapping[str, PerUser], *, seed: int) -> dict[str, dict[str, float]]:
    """Return system -> how far `reference` is above it: the fields of `Difference`, and `p_holm`.

    `p_holm` is the p-value corrected for the number of systems that the reference is compared with.
    """
    others = [name for name in systems if name != reference]
    found = [paired_difference(systems[reference], systems[name], seed=seed) for name in others]
    corrected = holm([one.p_value for one in found])
    return {name: {**vars(one), "p_holm": p_holm} for name, one, p_holm in zip(others, found, corrected, strict=True)}


def holm(p_values: list[float]) -> list[float]:
    """Return p-values corrected for their number: the chance of one false difference among all stays at the level."""
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values, dtype=np.float64)[order] * (len(order) - np.arange(len(order)))
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in corrected]


def is_shown(difference: Mapping[str, float]) -> bool:
    """Return whether the users are enough to tell a difference of `compare_with` from chance."""
    return difference["p_holm"] <= MAX_P_VALUE


def _resampled(samples: list[PerUser], seed: int, num_samples: int) -> list[Floats]:
    """Return each metric on the same draws of as many users, with replacement, `[num_samples]` each."""
    num_users = len(samples[0].totals)
    rng = np.random.default_rng(seed)

    def draw(num_rows: int) -> list[Floats]:
        rows = rng.integers(0, num_users, (num_rows, num_users))
        return [s.over(s.totals[rows].sum(axis=1), s.counts[rows].sum(axis=1)) for s in samples]

    return _in_parts(draw, num_samples, num_users)


def _p_value(first: PerUser, second: PerUser, observed: float, seed: int, num_swaps: int) -> float:
    """Return the share of random swaps of the two systems a user whose difference is as large, either way."""
    totals, counts = first.totals - second.totals, first.counts - second.counts
    differ = (totals != 0) | (counts != 0)  # a swap where both are equal changes nothing
    if not differ.any():
        return 1.0
    rng = np.random.default_rng(seed)
    changes = np.stack([totals[differ], counts[differ]], axis=1)
    sums = [(sample.totals.sum(), sample.counts.sum()) for sample in (first, second)]

    def draw(num_rows: int) -> list[Floats]:
        swapped = np.unpackbits(rng.integers(0, 256, (num_rows, -(-len(changes) // 8)), dtype=np.uint8), axis=1)
        moved = swapped[:, : len(changes)].astype(np.float64) @ changes
        ours = first.over(sums[0][0] - moved[:, 0], sums[0][1] - moved[:, 1])
        return [ours - second.over(sums[1][0] + moved[:, 0], sums[1][1] + moved[:, 1])]

    differences = _in_parts(draw, num_swaps, len(changes))[0]
    as_large = np.abs(differences) >= abs(observed) * (1 - 1e-9)  # sums in another order differ in their last bits
    return float((as_large.sum() + 1) / (num_swaps + 1))


def _in_parts(draw: Callable[[int], list[Floats]], num_samples: int, num_users: int) -> list[Floats]:
    """Draw so many samples at a time that memory stays bounded whatever the number of users."""
    parts = [draw(num_rows) for num_rows in _parts(num_samples, max(1, CELLS_AT_ONCE // num_users))]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def _parts(total: int, at_once: int) -> Iterator[int]:
    for start in range(0, total, at_once):
        yield min(at_once, total - start)


def _interval(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return (float(low), float(high))
