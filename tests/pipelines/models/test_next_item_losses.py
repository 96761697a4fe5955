from typing import Any

import numpy as np
import pytest

RNG = np.random.default_rng(0)
STATES, ITEMS = RNG.normal(size=(4, 3)).astype(np.float32), RNG.normal(size=(6, 3)).astype(np.float32)
TARGETS = np.array([0, 5, 2, 2], dtype=np.int32)
NEGATIVES = np.array([1, 2, 3], dtype=np.int32)
LOGITS = STATES.astype(np.float64) @ ITEMS.T
OWN = LOGITS[np.arange(4), TARGETS]


def computed(name: str, *args: Any, **kwargs: Any) -> Any:
    from keras import ops

    from pipelines.models import next_item_losses

    tensors = [ops.convert_to_tensor(value) for value in (STATES, ITEMS, TARGETS, *args)]
    return ops.convert_to_numpy(getattr(next_item_losses, name)(*tensors, **kwargs))


def test_full_softmax_is_cross_entropy_over_all_items():
    expected = np.log(np.exp(LOGITS).sum(axis=1)) - OWN
    np.testing.assert_allclose(computed("full_softmax"), expected, rtol=1e-5)


def test_sampled_softmax_corrects_for_the_draws_and_leaves_out_the_target():
    log_q = np.log(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], dtype=np.float32))
    corrected = np.exp(LOGITS - log_q)[:, NEGATIVES]
    corrected[2:, 1] = 0  # item 2 is the target of the last two
    expected = np.log(np.exp(OWN) + corrected.sum(axis=1)) - OWN
    np.testing.assert_allclose(computed("sampled_softmax", NEGATIVES, log_q), expected, rtol=1e-5)


@pytest.mark.parametrize(("calibration", "beta"), [(0.0, 1.0), (1.0, 3 / 5), (0.5, 0.8)])
def test_gbce_raises_the_positive_to_beta(calibration: float, beta: float):
    negative = np.log1p(np.exp(LOGITS[:, NEGATIVES]))
    negative[2:, 1] = 0
    expected = beta * np.log1p(np.exp(-OWN)) + negative.sum(axis=1)
    np.testing.assert_allclose(computed("generalized_bce", NEGATIVES, calibration=calibration), expected, rtol=1e-5)
