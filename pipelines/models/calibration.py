"""From evidence to probabilities, and whether they hold."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
DECAY = 1e-3


@dataclass(frozen=True)
class Reliability:
    """Predicted against observed, in bins of equally many pairs, by rising probability.

    Attributes:
        predicted: mean probability of each bin, `[num_bins]`.
        observed: share of positives of each bin, `[num_bins]`.
        share: share of the weight that a bin has, `[num_bins]`.
    """

    predicted: Doubles
    observed: Doubles
    share: Doubles

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of observed from predicted (Naeini and others 2015)."""
        return float(np.sum(self.share * np.abs(self.observed - self.predicted)))

    @classmethod
    def of(
        cls, probability: NDArray[Any], label: NDArray[Any], weight: NDArray[Any], num_bins: int = 10
    ) -> "Reliability":
        """Sort pairs into bins; all arrays are `[num_pairs]`."""
        order = np.argsort(probability, kind="stable")
        starts = np.unique(np.linspace(0, len(order), num_bins, endpoint=False).astype(np.int64))
        weights = weight[order].astype(np.float64)
        mass, predicted, observed = (
            np.add.reduceat(values, starts)
            for values in (weights, weights * probability[order], weights * label[order])
        )
        return cls(predicted / mass, observed / mass, mass / mass.sum())


def fit_order(evidence: NDArray[Any], labels: NDArray[Any], queries: NDArray[Any]) -> Doubles:
    """Return weights of at least 0, `[num_evidence]`, whose sum of evidence puts the used candidates of a list first.

    Maximum likelihood of a used candidate among all of its list (conditional logit, McFadden 1974), each list counting
    as much. What differs between lists alone, such as how active a user is, says nothing of an order: a fit over all
    pairs at once would weigh evidence by it. A little weight decay settles what the lists leave open.

    Args:
        evidence: `[num_pairs, num_evidence]`.
        labels: 1 where the candidate was used, `[num_pairs]`.
        queries: number of each pair's list, `[num_pairs]`; without a list that has both used and unused candidates
            every weight is 0.
    """
    from scipy.optimize import minimize

    order = np.argsort(queries, kind="stable")
    starts = np.flatnonzero(np.diff(queries[order], prepend=-1))
    lengths = np.diff(np.r_[starts, len(order)])
    used = np.add.reduceat(labels[order].astype(np.float64), starts)
    told = (used > 0) & (used < lengths)
    if not told.any():
        return np.zeros(evidence.shape[1])
    kept = order[np.repeat(told, lengths)]
    starts, lengths = np.r_[0, np.cumsum(lengths[told])[:-1]], lengths[told]
    target = labels[kept] / np.repeat(used[told], lengths)  # a list's used candidates share what it counts
    spread = evidence[kept].std(axis=0, dtype=np.float64)
    spread = np.where(spread > 0, spread, 1.0)
    x = (evidence[kept] - evidence[kept].mean(axis=0, dtype=np.float64)) / spread

    def loss(weights: Doubles) -> tuple[float, Doubles]:
        scores = x @ weights
        scores -= np.repeat(np.maximum.reduceat(scores, starts), lengths)
        masses = np.add.reduceat(np.exp(scores), starts)
        log_share = scores - np.repeat(np.log(masses), lengths)
        gradient = x.T @ (np.exp(log_share) - target) / len(starts) + DECAY * weights
        return float(-(target @ log_share) / len(starts) + DECAY / 2 * weights @ weights), gradient

    found = minimize(loss, np.zeros(x.shape[1]), jac=True, bounds=[(0, None)] * x.shape[1], method="L-BFGS-B")
    return np.asarray(found.x / spread)


def fit_logistic(evidence: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any]) -> tuple[Doubles, float]:
    """Return weights `[num_evidence]` and shift that make their sum the log odds, by weighted maximum likelihood.

    Newton's method on standardized evidence, each step shortened until the likelihood grows: losses differ by orders of
    magnitude in the scale of what they make a network say. A little weight decay also settles the case of a single
    class. Evidence is not let speak against itself: a weight is at least 0.
    """
    center, spread = evidence.mean(axis=0, dtype=np.float64), evidence.std(axis=0, dtype=np.float64)
    spread = np.where(spread > 0, spread, 1.0)
    x = np.concatenate([(evidence - center) / spread, np.ones((len(labels), 1))], axis=1)
    parameters, free = np.zeros(x.shape[1]), np.ones(x.shape[1], dtype=bool)
    for _ in range(100):
        moved = _newton_step(x, labels, weights, parameters, free)
        done = np.abs(moved - parameters).max() < 1e-8
        parameters = moved
        if done:
            negative = np.append(parameters[:-1] < 0, False)
            if not negative.any():
                break
            parameters[negative], free[negative] = 0.0, False
    scales = np.maximum(parameters[:-1], 0.0) / spread
    return scales, float(parameters[-1] - center @ scales)


def _newton_step(
    x: Doubles, labels: NDArray[Any], weights: NDArray[Any], parameters: Doubles, free: NDArray[np.bool_]
) -> Doubles:
    """Return better parameters `[num_parameters]`, or the same where there are none; only `free` ones change."""
    probability = 1 / (1 + np.exp(-np.clip(x @ parameters, -30, 30)))
    gradient = x.T @ (weights * (probability - labels)) + DECAY * parameters
    curvature = (x * (weights * probability * (1 - probability))[:, None]).T @ x + DECAY * np.eye(len(parameters))
    step = np.zeros_like(parameters)
    step[free] = np.linalg.solve(curvature[np.ix_(free, free)], gradient[free])

    def loss(tried: Doubles) -> float:
        logits = x @ tried
        return float(weights @ (np.logaddexp(0, logits) - labels * logits) + DECAY / 2 * tried @ tried)

    before = loss(parameters)
    for halvings in range(30):
        tried: Doubles = parameters - step / 2.0**halvings
        if loss(tried) < before:
            return tried
    return parameters
