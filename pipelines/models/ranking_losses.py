"""Losses that compare the candidates of a query.

keras-rs has some of these. Its lists cannot say that a sampled negative stands for many, and its ListMLE takes the
order in which ties happen to be stored for the order that users want: with labels of 0 and 1, nearly all are ties.
"""

from abc import ABC, abstractmethod
from typing import Any

import keras
from keras import ops

NOTHING = -1e9  # log weight of padding


class ListLoss(keras.losses.Loss, ABC):
    """Compares the candidates of each list of a batch; the rows of the model's output are lists laid end to end.

    Args:
        list_length: rows of a list, padding included.

    Call: targets `[num_lists * list_length, 2]` and logits `[num_lists * list_length, 1]` -> the loss of each row, zero
    but for positives, `[num_lists * list_length]`. A target holds relevance (-1 is padding, 0 not used, above 0 used; a
    greater one was valued more) and weight (how many candidates of the query the row stands for).
    """

    def __init__(self, list_length: int, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.list_length = list_length

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row."""
        if len(y_true.shape) != 2 or y_true.shape[1] != 2:
            raise ValueError(
                f"targets have shape {tuple(y_true.shape)}; expected [num_lists * list_length, 2]: relevance, weight"
            )
        scores, relevance, weight = (
            ops.reshape(values, (-1, self.list_length)) for values in (y_pred, y_true[:, 0], y_true[:, 1])
        )
        log_weight = ops.where(relevance >= 0, ops.log(ops.maximum(weight, 1e-9)), NOTHING)
        return ops.reshape(ops.where(relevance > 0, self.of_lists(scores, relevance, log_weight), 0.0), (-1,))

    @abstractmethod
    def of_lists(self, scores: Any, relevance: Any, log_weight: Any) -> Any:
        """Return the loss of each candidate as if it were positive.

        Args:
            scores: `[num_lists, list_length]`.
            relevance: the same shape.
            log_weight: the same shape, a large negative number for padding.
        """

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "list_length": self.list_length}


@keras.saving.register_keras_serializable("tandem")
class SoftmaxLoss(ListLoss):
    """Cross-entropy of a softmax over the list, once for each positive (Cao and others 2007, ListNet's top one).

    A negative of weight `w` counts `w` times in the denominator, which is thus that of the whole list.
    """

    def of_lists(self, scores: Any, relevance: Any, log_weight: Any) -> Any:
        """Return -log softmax."""
        return ops.logsumexp(scores + log_weight, axis=1, keepdims=True) - scores


class PairwiseLoss(ListLoss):
    """Mean over a positive's pairs with negatives of a cost of the difference of their scores."""

    @abstractmethod
    def cost(self, difference: Any) -> Any:
        """Return the cost of score of positive minus score of negative, any shape."""

    def of_lists(self, scores: Any, relevance: Any, log_weight: Any) -> Any:
        """Return the mean cost over the negatives, each counted as often as its weight says."""
        share = ops.where(relevance == 0, ops.exp(log_weight), 0.0)
        share = share / ops.maximum(ops.sum(share, axis=1, keepdims=True), 1e-9)
        difference = ops.expand_dims(scores, 2) - ops.expand_dims(scores, 1)
        return ops.sum(self.cost(difference) * ops.expand_dims(share, 1), axis=2)


@keras.saving.register_keras_serializable("tandem")
class PairwiseLogisticLoss(PairwiseLoss):
    """The logistic loss of each pair (Burges and others 2005, RankNet)."""

    def cost(self, difference: Any) -> Any:
        """Return log(1 + exp(-difference))."""
        return ops.softplus(-difference)


@keras.saving.register_keras_serializable("tandem")
class PairwiseHingeLoss(PairwiseLoss):
    """The hinge loss of each pair (Joachims 2002), with a margin of 1."""

    def cost(self, difference: Any) -> Any:
        """Return max(0, 1 - difference)."""
        return ops.relu(1.0 - difference)


@keras.saving.register_keras_serializable("tandem")
class ListMLELoss(ListLoss):
    """Likelihood that the positives are drawn first, in order of relevance (Xia and others 2008, ListMLE).

    Candidates are drawn one after the other by a softmax over those that are left. How negatives follow each other
    says nothing and is left out: the top-k variant. Equal relevance is drawn in order of the rows; batches shuffle it.
    """

    def of_lists(self, scores: Any, relevance: Any, log_weight: Any) -> Any:
        """Return -log of the probability that a candidate is drawn when its turn comes."""
        own, other = ops.expand_dims(relevance, 2), ops.expand_dims(relevance, 1)
        place = ops.arange(self.list_length)
        after = ops.expand_dims(place, 0) >= ops.expand_dims(place, 1)
        left = (other < own) | ((other == own) & after)
        drawn_from = ops.where(left, ops.expand_dims(scores + log_weight, 1), NOTHING)
        return ops.logsumexp(drawn_from, axis=2) - scores
