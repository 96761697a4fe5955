"""Bodies of next-item models: embeddings of a packed row in, states in the items' space out."""

from typing import Any

import keras
from keras import ops

from pipelines.models.layers.causal_attention import CausalAttention
from pipelines.models.layers.history_mean import HistoryMean
from pipelines.models.layers.pointwise_attention import PointwiseAttention
from pipelines.models.layers.relative_bias import RelativeBias
from pipelines.models.layers.resetting_gru import ResettingGRU


class SelfAttentionBody(keras.layers.Layer):
    """SASRec (Kang and McAuley 2018) with normalization before each part, as in later work, and `silu`.

    Args:
        dim: length of embeddings and states.
        length: positions of a row.
        num_blocks: attention and feed-forward pairs.
        num_heads: heads of the attention.
        hidden_ratio: hidden units of the feed-forward part, in multiples of `dim`.
        dropout: share dropped while training.
        seed: seed of the draws.

    Call: embeddings `[batch, length, dim]` and the packed arrays -> states `[batch, length, dim]`.
    """

    def __init__(
        self, *, dim: int, length: int, num_blocks: int, num_heads: int, hidden_ratio: int, dropout: float, seed: int,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.length = length
        self.norms = [_norm(policy) for _ in range(2 * num_blocks + 1)]
        self.attentions = [
            CausalAttention(num_heads, dropout, seed + block, dtype=policy) for block in range(num_blocks)
        ]
        self.drops = [keras.layers.Dropout(dropout, seed=seed + 50 + i, dtype=policy) for i in range(2 * num_blocks)]
        self.outputs = [keras.layers.Dense(dim, dtype=policy) for _ in range(num_blocks)]
        self.hiddens = [
            keras.layers.Dense(hidden_ratio * dim, activation="silu", dtype=policy) for _ in range(num_blocks)
        ]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create position embeddings and blocks."""
        small = keras.initializers.RandomNormal(stddev=0.02)
        self.places = self.add_weight(name="places", shape=(self.length, input_shape[-1]), initializer=small)
        for norm in self.norms:
            norm.build(input_shape)
        for attention in self.attentions:
            attention.build([input_shape, input_shape[:2]])
        for hidden, output in zip(self.hiddens, self.outputs, strict=True):
            hidden.build(input_shape)
            output.build((*input_shape[:2], hidden.units))
        self.built = True

    def call(self, embeddings: Any, arrays: dict[str, Any], training: bool = False) -> Any:
        """Return the states."""
        states = embeddings + ops.take(ops.cast(self.places, self.compute_dtype), arrays["positions"], axis=0)
        for block, attention in enumerate(self.attentions):
            attended = attention([self.norms[2 * block](states), arrays["windows"]], training=training)
            states = states + self.drops[2 * block](attended, training=training)
            forward = self.outputs[block](self.hiddens[block](self.norms[2 * block + 1](states)))
            states = states + self.drops[2 * block + 1](forward, training=training)
        return self.norms[-1](states)


class PointwiseAttentionBody(keras.layers.Layer):
    """HSTU (Zhai et al. 2024): stacked pointwise attention, aware of elapsed time where times are known.

    With times, a position knows when its next item is asked for, as a request does; without, only the order counts.

    Args:
        num_blocks: units.
        num_heads: heads of each.
        dropout: share dropped while training.
        timed: whether to learn from times.
        seed: seed of the draws.

    Call: embeddings `[batch, length, dim]` and the packed arrays -> states `[batch, length, dim]`.
    """

    def __init__(
        self, *, num_blocks: int, num_heads: int, dropout: float, timed: bool, seed: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.norms = [_norm(policy) for _ in range(num_blocks + 1)]
        self.units = [PointwiseAttention(num_heads, dropout, seed + block, dtype=policy) for block in range(num_blocks)]
        self.biases = [RelativeBias(num_heads, dtype=policy) for _ in range(num_blocks)] if timed else []
        self.num_heads = num_heads

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the units."""
        batch, length, _ = input_shape
        for norm in self.norms:
            norm.build(input_shape)
        for unit in self.units:
            unit.build([input_shape, (batch, length), (batch, self.num_heads, length, length)])
        for bias in self.biases:
            bias.build([(batch, length), (batch, length)])
        self.built = True

    def call(self, embeddings: Any, arrays: dict[str, Any], training: bool = False) -> Any:
        """Return the states."""
        states = embeddings
        bias = ops.zeros((1, 1, 1, 1), dtype=self.compute_dtype)
        for block, unit in enumerate(self.units):
            if self.biases:
                bias = self.biases[block]([arrays["target_times"], arrays["input_times"]])
            states = states + unit([self.norms[block](states), arrays["windows"], bias], training=training)
        return self.norms[-1](states)


class RecurrentBody(keras.layers.Layer):
    """GRU4Rec's network (Hidasi et al. 2016): stacked gated recurrent units.

    Args:
        num_blocks: layers.
        dropout: share dropped between layers while training.
        seed: seed of the draws.

    Call: embeddings `[batch, length, dim]` and the packed arrays -> states `[batch, length, dim]`.
    """

    def __init__(self, *, num_blocks: int, dropout: float, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.recurrences = [ResettingGRU(dtype=policy) for _ in range(num_blocks)]
        self.drops = [keras.layers.Dropout(dropout, seed=seed + i, dtype=policy) for i in range(num_blocks)]
        self.norm = _norm(policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the layers."""
        for recurrence in self.recurrences:
            recurrence.build([input_shape, input_shape[:2]])
        self.norm.build(input_shape)
        self.built = True

    def call(self, embeddings: Any, arrays: dict[str, Any], training: bool = False) -> Any:
        """Return the states."""
        states = embeddings
        for recurrence, drop in zip(self.recurrences, self.drops, strict=True):
            states = states + drop(recurrence([states, arrays["positions"]]), training=training)
        return self.norm(states)


class AveragedBody(keras.layers.Layer):
    """YouTube's candidate generation (Covington et al. 2016): dense layers over the mean of a history's embeddings.

    Args:
        hidden_units: units of the hidden layers, the first one first.
        dropout: share of hidden units dropped while training.
        seed: seed of the draws.

    Call: embeddings `[batch, length, dim]` and the packed arrays -> states `[batch, length, dim]`.
    """

    def __init__(self, *, hidden_units: tuple[int, ...], dropout: float, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.mean = HistoryMean(dtype=policy)
        self.norms = [_norm(policy) for _ in hidden_units]
        self.hiddens = [keras.layers.Dense(units, activation="relu", dtype=policy) for units in hidden_units]
        self.drops = [keras.layers.Dropout(dropout, seed=seed + i, dtype=policy) for i in range(len(hidden_units))]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the layers."""
        self.mean.build([input_shape, input_shape[:2], input_shape[:2]])
        shape = input_shape
        for norm, hidden in zip(self.norms, self.hiddens, strict=True):
            norm.build(shape)
            hidden.build(shape)
            shape = (*input_shape[:2], hidden.units)
        self.output_layer = keras.layers.Dense(input_shape[-1], dtype=self.dtype_policy)
        self.output_layer.build(shape)
        self.built = True

    def call(self, embeddings: Any, arrays: dict[str, Any], training: bool = False) -> Any:
        """Return the states."""
        states = self.mean([embeddings, arrays["inputs"], arrays["windows"]])
        for norm, hidden, drop in zip(self.norms, self.hiddens, self.drops, strict=True):
            states = drop(hidden(norm(states)), training=training)
        return self.output_layer(states)


def _norm(policy: Any) -> Any:
    return keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy)
