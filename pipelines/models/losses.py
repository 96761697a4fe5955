"""Losses that Keras does not have."""

from typing import Any

import keras
from keras import ops

from pipelines.models.layers.in_batch_scores import EXCLUDED


@keras.saving.register_keras_serializable("tandem")
class DiagonalSoftmax(keras.losses.Loss):
    """Softmax cross-entropy whose correct class of row i is column i, as logsumexp minus diagonal.

    Nothing of the size of the logits is built besides them: several times faster than one-hot labels.

    Args:
        num_hard_negatives: keep only this many of each row's highest negatives; 0 keeps all.

    Call: labels are ignored; logits `[batch, num_items]` -> `[batch]`.
    """

    def __init__(self, num_hard_negatives: int = 0, name: str = "diagonal_softmax", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.num_hard_negatives = num_hard_negatives

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row."""
        del y_true
        if len(y_pred.shape) != 2 or (None not in y_pred.shape and y_pred.shape[0] > y_pred.shape[1]):
            raise ValueError(f"logits have shape {tuple(y_pred.shape)}; expected [batch, num_items], at least batch")
        positive = ops.diagonal(y_pred)
        if self.num_hard_negatives:
            rows, columns = (ops.arange(size) for size in ops.shape(y_pred))
            itself = ops.expand_dims(columns, 0) == ops.expand_dims(rows, 1)
            hardest, _ = ops.top_k(ops.where(itself, EXCLUDED, y_pred), self.num_hard_negatives)
            y_pred = ops.concatenate([ops.expand_dims(positive, 1), hardest], axis=1)
        return ops.logsumexp(y_pred, axis=1) - positive

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "num_hard_negatives": self.num_hard_negatives}
