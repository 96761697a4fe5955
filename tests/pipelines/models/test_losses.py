import numpy as np
import pytest

LOGITS = np.array([[2.0, 1.0, 0.0], [0.5, 0.5, 3.0], [0.0, 4.0, 1.0]], dtype=np.float32)


def loss(num_hard_negatives: int = 0) -> np.ndarray:
    from pipelines.models.losses import DiagonalSoftmax

    return np.asarray(DiagonalSoftmax(num_hard_negatives).call(np.zeros(3), LOGITS))


def test_it_is_cross_entropy_with_the_diagonal_as_the_class():
    shares = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(loss(), -np.log(np.diag(shares)), rtol=1e-5)


def test_hard_negatives_keep_the_highest_of_each_row():
    expected = [np.log(1 + np.exp(1.0 - 2.0)), np.log(1 + np.exp(3.0 - 0.5)), np.log(1 + np.exp(4.0 - 1.0))]
    np.testing.assert_allclose(loss(1), expected, rtol=1e-5)


def test_items_that_are_no_query_s_own_are_negatives():
    from pipelines.models.losses import DiagonalSoftmax

    every = np.asarray(DiagonalSoftmax().call(None, LOGITS[:2]))
    np.testing.assert_allclose(every, np.log(np.exp(LOGITS[:2]).sum(axis=1)) - [2.0, 0.5], rtol=1e-5)
    hardest = np.asarray(DiagonalSoftmax(1).call(None, LOGITS[:2]))
    np.testing.assert_allclose(hardest, loss(1)[:2], rtol=1e-5)


def test_wrong_shape_is_refused():
    from pipelines.models.losses import DiagonalSoftmax

    with pytest.raises(ValueError, match="expected"):
        DiagonalSoftmax().call(np.zeros(3), LOGITS[:, :2])


def test_it_survives_its_config():
    from pipelines.models.losses import DiagonalSoftmax

    config = DiagonalSoftmax(3).get_config()
    assert DiagonalSoftmax.from_config(config).get_config() == config
