"""From evidence to probabilities, and whether they hold."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


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


def fit_logistic(evidence: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any]) -> tuple[Doubles, float]:
    """Return weights `[num_evidence]` and shift that make their sum the log odds, by weighted maximum likelihood.

    Newton's method with a little weight decay, which also settles the case of a single class. Evidence is not let
    speak against itself: a weight is at least 0.
    """
    x = np.concatenate([evidence.astype(np.float64), np.ones((len(labels), 1))], axis=1)
    parameters, decay = np.zeros(x.shape[1]), 1e-3
    free = np.ones(len(parameters), dtype=bool)
    for _ in range(50):
        probability = 1 / (1 + np.exp(-np.clip(x @ parameters, -30, 30)))
        gradient = x.T @ (weights * (probability - labels)) + decay * parameters
        curvature = (x * (weights * probability * (1 - probability))[:, None]).T @ x + decay * np.eye(len(parameters))
        step = np.zeros_like(parameters)
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], gradient[free])
        parameters = parameters - np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:
            negative = np.append(parameters[:-1] < 0, False)
            if not negative.any():
                break
            parameters[negative], free[negative] = 0.0, False
    return np.maximum(parameters[:-1], 0.0), float(parameters[-1])
