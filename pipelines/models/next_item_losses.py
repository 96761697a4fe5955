"""Losses of predicting one item among all, from states and an item table; all in float32."""

from typing import Any

from keras import ops

COLLISION = -1e9


def full_softmax(states: Any, items: Any, targets: Any) -> Any:
    """Return cross-entropy over all items.

    Args:
        states: `[num_states, dim]`.
        items: item embeddings `[num_items, dim]`.
        targets: item codes `[num_states]`.

    Returns:
        `[num_states]`.
    """
    logits = ops.matmul(states, ops.transpose(items))
    # The target's logit is worked out again: picking it from the logits has a gradient of the logits' size.
    return ops.logsumexp(logits, axis=1) - _of_targets(states, items, targets)


def sampled_softmax(states: Any, items: Any, targets: Any, negatives: Any, log_q: Any) -> Any:
    """Return cross-entropy over the target and shared negatives, corrected for how often each is drawn.

    Args:
        states: `[num_states, dim]`.
        items: item embeddings `[num_items, dim]`.
        targets: item codes `[num_states]`.
        negatives: item codes `[num_negatives]`, drawn once for all states.
        log_q: log of the expected number of draws of each item, `[num_items]`.

    Returns:
        `[num_states]`.
    """
    positive = ops.expand_dims(_of_targets(states, items, targets), 1)
    logits = ops.matmul(states, ops.transpose(ops.take(items, negatives, axis=0))) - ops.take(log_q, negatives)
    logits = ops.where(_collide(targets, negatives), COLLISION, logits)
    return ops.logsumexp(ops.concatenate([positive, logits], axis=1), axis=1) - positive[:, 0]


def generalized_bce(states: Any, items: Any, targets: Any, negatives: Any, *, calibration: float) -> Any:
    """Return gBCE of gSASRec (Petrov and Macdonald 2023): the positive's probability raised to `beta`.

    Negative sampling alone makes a model overconfident; `beta` undoes it, fully at `calibration` 1.

    Args:
        states: `[num_states, dim]`.
        items: item embeddings `[num_items, dim]`.
        targets: item codes `[num_states]`.
        negatives: item codes `[num_negatives]`, drawn uniformly once for all states.
        calibration: `t` of the paper, 0 (plain binary cross-entropy) to 1.

    Returns:
        `[num_states]`.
    """
    positive = _of_targets(states, items, targets)
    logits = ops.matmul(states, ops.transpose(ops.take(items, negatives, axis=0)))
    logits = ops.where(_collide(targets, negatives), COLLISION, logits)
    sampled = ops.cast(ops.shape(negatives)[0], "float32") / (items.shape[0] - 1)
    beta = sampled * (calibration * (1 - 1 / sampled) + 1 / sampled)
    return beta * ops.softplus(-positive) + ops.sum(ops.softplus(logits), axis=1)


def _of_targets(states: Any, items: Any, targets: Any) -> Any:
    return ops.sum(states * ops.take(items, targets, axis=0), axis=1)


def _collide(targets: Any, negatives: Any) -> Any:
    """Return where a negative is the target itself, `[num_states, num_negatives]`."""
    return ops.expand_dims(targets, 1) == ops.expand_dims(negatives, 0)
