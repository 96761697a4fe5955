from typing import Any

import numpy as np
import pytest

from tests.contracts.keras_layer import KerasLayerContract

IDS = np.arange(1_000, 2_000, dtype=np.int32)


def dropout(rate: float = 0.3) -> Any:
    from pipelines.models.layers.id_dropout import IdDropout

    return IdDropout(rate, num_oov_buckets=4, seed=5)


class TestIdDropout(KerasLayerContract):
    def layer(self) -> Any:
        return dropout()

    def inputs(self) -> Any:
        return IDS

    def expected(self) -> Any:
        return IDS  # outside training it does nothing

    def wrong(self) -> Any:
        return IDS[None]


def test_in_training_the_share_is_replaced_by_none_and_every_bucket():
    replaced = np.asarray(dropout()(IDS, training=True))
    changed = replaced != IDS
    assert 0.2 < changed.mean() < 0.4
    assert set(replaced[changed].tolist()) == {0, 1, 2, 3, 4}


def test_equal_seeds_replace_the_same_ids():
    first, second = (np.asarray(dropout()(IDS, training=True)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_rate_of_zero_changes_nothing_in_training():
    np.testing.assert_array_equal(np.asarray(dropout(0.0)(IDS, training=True)), IDS)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match="expected 0 <= rate < 1"):
        dropout(rate)
