"""Random ids replaced by an out-of-vocabulary id while training."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("tandem")
class IdDropout(keras.layers.Layer):
    """Replaces a share of ids by none or an unseen one while training, and does nothing otherwise.

    So the embeddings of "none" (0) and of the out-of-vocabulary buckets learn what to say of an id they never saw,
    the rest of the tower learns to do without the id, and an id embedding cannot memorize what a temporal split will
    punish.

    Args:
        rate: share of ids replaced.
        num_oov_buckets: replaced ids fall uniformly on `0..num_oov_buckets`.
        seed: seed of the draws.

    Call: integer ids `[batch]` -> the same shape and type.
    """

    def __init__(self, rate: float, num_oov_buckets: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate={rate}; expected 0 <= rate < 1")
        if num_oov_buckets < 1:
            raise ValueError(f"num_oov_buckets={num_oov_buckets}; expected at least 1")
        self.rate = rate
        self.num_oov_buckets = num_oov_buckets
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Check that the ids are one a row."""
        if len(input_shape) != 1:
            raise ValueError(f"ids have shape {input_shape}; expected [batch]")
        self.built = True

    def call(self, ids: Any, training: bool = False) -> Any:
        """Return `ids`, some of them replaced when `training`."""
        if not training or self.rate == 0:
            return ids
        draw = keras.random.uniform(ops.shape(ids), seed=self.seed_generator)
        # One draw decides both whether and where: below the rate it is uniform again.
        bucket = ops.cast(draw / self.rate * (self.num_oov_buckets + 1), ids.dtype)
        return ops.where(draw < self.rate, bucket, ids)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        own = {"rate": self.rate, "num_oov_buckets": self.num_oov_buckets, "seed": self.seed}
        return {**super().get_config(), **own}
