"""Encoded (query, candidate) pairs, what is to be learnt of each, and batches of pairs or of whole lists."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import TrainingError
from pipelines.inputs.item_encoder import POPULARITY
from pipelines.models.batches import Batch
from pipelines.models.checkpoints import arrays_digest
from pipelines.models.encoded_rows import Arrays

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class PairData:
    """Encoded pairs of a split: each side once, and which rows make a pair.

    Attributes:
        queries: query inputs, `[num_queries, ...]`.
        items: item inputs, `[num_item_rows, ...]`.
        pair_numbers: `[num_pairs, num_pair_numbers]`.
        query_rows: row in `queries` of each pair, `[num_pairs]`.
        item_rows: row in `items` of each pair, `[num_pairs]`.
        label: 1 where the user went on to use the item, float32 `[num_pairs]`.
        weight: how many pairs a sampled one stands for, float32 `[num_pairs]`.
        value: the event's value, NaN where there is none, float32 `[num_pairs]`.
    """

    queries: Arrays
    items: Arrays
    pair_numbers: Floats
    query_rows: Rows
    item_rows: Rows
    label: Floats
    weight: Floats
    value: Floats

    @property
    def retrieval_score(self) -> Floats:
        """Retrieval's score of each pair, standardized, `[num_pairs]`."""
        return self.pair_numbers[:, 0]

    @property
    def popularity(self) -> Floats:
        """How often each pair's item was used in each window, log, standardized, `[num_pairs, num_windows]`."""
        return np.asarray(self.items["item_numbers"][self.item_rows, : len(POPULARITY)])

    @property
    def valued(self) -> NDArray[np.bool_]:
        """Which pairs are positive and have a value, `[num_pairs]`."""
        return (self.label > 0) & np.isfinite(self.value)

    def inputs(self, rows: Any) -> Arrays:
        """Return the model inputs of some pairs."""
        gathered = {name: values[self.query_rows[rows]] for name, values in self.queries.items()}
        gathered |= {name: values[self.item_rows[rows]] for name, values in self.items.items()}
        return {**gathered, "pair_numbers": self.pair_numbers[rows]}

    def digest(self) -> str:
        """Return a digest of all of it."""
        sides = [side[name] for side in (self.queries, self.items) for name in sorted(side)]
        pairs: list[NDArray[Any]] = [self.pair_numbers, self.query_rows, self.item_rows]
        return arrays_digest([*sides, *pairs, self.label, self.weight, self.value])


@dataclass(frozen=True)
class Targets:
    """What the network is told of each pair, all float32 `[num_pairs]`.

    Attributes:
        label: 1 where the user went on to use the item.
        weight: of the label; 1 on average.
        value: standardized value, 0 where there is none.
        value_weight: 1 where there is a value to learn.
        center: mean of the values, in their unit.
        spread: their deviation.
    """

    label: Floats
    weight: Floats
    value: Floats
    value_weight: Floats
    center: float
    spread: float

    @classmethod
    def of(cls, data: PairData, *, by_value: bool) -> "Targets":
        """Prepare the targets of pairs; `by_value` makes a positive weigh as much as its value.

        Raises:
            TrainingError: positives shall weigh as much as their values, and there are none, or negative ones.
        """
        values = data.value[data.valued]
        center = float(values.mean()) if len(values) else 0.0
        spread = max(float(values.std()), 1e-3) if len(values) else 1.0
        weight = data.weight * (_value_weights(data, center) if by_value else 1.0)
        standard = np.where(data.valued, (data.value - center) / spread, 0.0).astype(np.float32)
        return cls(data.label, weight / weight.mean(), standard, data.valued.astype(np.float32), center, spread)

    @property
    def relevance(self) -> Floats:
        """0 where an item was not used, else between 1 and 2 and greater with the value, `[num_pairs]`."""
        relevance: Floats = self.label * (1.5 + np.arctan(self.value) / np.pi).astype(np.float32)
        return relevance

    @property
    def rate(self) -> float:
        """Weighted share of positives."""
        return float(np.average(self.label, weights=self.weight))


def pair_batches(data: PairData, targets: Targets, *, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Yield one epoch of batches of pairs in random order; the last, partial batch is left out."""
    order = rng.permutation(len(data.label))
    size = min(batch_size, len(order))
    for start in range(0, len(order) - size + 1, size):
        rows = np.sort(order[start : start + size])
        wanted = {"logit": targets.label[rows, None], "expected_value": targets.value[rows, None]}
        weights = {"logit": targets.weight[rows], "expected_value": targets.value_weight[rows]}
        yield Batch(data.inputs(rows), wanted, weights)


def list_batches(
    data: PairData, targets: Targets, lists: Rows, *, batch_size: int, rng: np.random.Generator
) -> Iterator[Batch]:
    """Yield one epoch of batches of whole lists, lists and candidates in random order, laid end to end.

    The targets of `logit` are those of `ListLoss`. Each list weighs the same, whatever the number of its positives.

    Args:
        data: the pairs.
        targets: of the pairs.
        lists: rows of the pairs of each list, -1 where there are no more, `[num_lists, list_length]`.
        batch_size: rows of a batch, at most; at least one list.
        rng: decides the order.
    """
    lists = rng.permuted(rng.permutation(lists), axis=1)
    size = lists_a_batch(lists, batch_size)
    relevance = targets.relevance
    for start in range(0, len(lists) - size + 1, size):
        some = lists[start : start + size]
        present, rows = some.ravel() >= 0, np.maximum(some, 0).ravel()
        told = np.where(present, relevance[rows], -1.0)
        positive = np.maximum((told > 0).reshape(some.shape).sum(axis=1), 1)
        share = np.repeat(some.shape[1] / positive, some.shape[1]).astype(np.float32)
        wanted = {"logit": np.stack([told, data.weight[rows]], axis=1), "expected_value": targets.value[rows, None]}
        yield Batch(data.inputs(rows), wanted, {"logit": share, "expected_value": targets.value_weight[rows] * present})


def whole_lists(data: PairData) -> Rows:
    """Return the rows of each query's candidates, -1 where there are no more: `[num_lists, list_length]`.

    Queries whose candidates are all positive or all negative have no order to learn and are left out.

    Raises:
        TrainingError: no query has both.
    """
    order = np.argsort(data.query_rows, kind="stable")
    _, start, length = np.unique(data.query_rows[order], return_index=True, return_counts=True)
    positives = np.add.reduceat(data.label[order], start)
    mixed = (positives > 0) & (positives < length)
    if not mixed.any():
        raise TrainingError(
            f"0 of {len(length)} training queries have both a positive and a negative candidate; expected at least 1. "
            "Raise ranking.num_queries, or choose a pointwise ranking.loss such as logistic"
        )
    start, length = start[mixed], length[mixed]
    place = np.arange(length.max())
    rows = order[np.minimum(start[:, None] + place, len(order) - 1)]
    return np.where(place < length[:, None], rows, -1)


def lists_a_batch(lists: Rows, batch_size: int) -> int:
    """Return how many lists make a batch of at most `batch_size` rows; at least one."""
    return min(len(lists), max(1, batch_size // int(lists.shape[1])))


def _value_weights(data: PairData, mean: float) -> Floats:
    """Return the value of each positive, the mean value where it has none, and 1 for negatives."""
    values = data.value[data.valued]
    if not len(values) or values.min() < 0:
        found = f"the smallest is {values.min():g}" if len(values) else "no positive pair has one"
        raise TrainingError(
            f"ranking.loss weighted_logistic weighs positives by their values, and {found}; expected values of at "
            "least 0. Map a column such as seconds watched to `value`, or choose another ranking.loss"
        )
    return np.where(data.label > 0, np.where(data.valued, data.value, mean), 1.0).astype(np.float32)
