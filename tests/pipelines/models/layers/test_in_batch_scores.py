from typing import Any

import numpy as np
import pytest

from tests.contracts.keras_layer import KerasLayerContract

QUERIES = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], dtype=np.float32)
ITEMS = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=np.float32)
ITEM_IDS = np.array([7, 8, 7], dtype=np.int32)
LOG_Q = np.array([-1.0, -2.0, -1.0], dtype=np.float32)


class TestInBatchScores(KerasLayerContract):
    def layer(self) -> Any:
        from pipelines.models.layers.in_batch_scores import InBatchScores

        return InBatchScores(0.5)

    def inputs(self) -> Any:
        return [QUERIES, ITEMS, ITEM_IDS, LOG_Q]

    def expected(self) -> Any:
        # dot product / temperature - log_q; rows 0 and 2 are about item 7, no negatives of each other
        return [[3.0, 2.0, -1e9], [1.0, 4.0, 1.0], [-1e9, 3.6, 2.2]]

    def wrong(self) -> Any:
        return [QUERIES, ITEMS, ITEM_IDS[None], LOG_Q]


def test_further_items_are_negatives_of_all_but_their_own_and_the_users():
    from pipelines.models.layers.in_batch_scores import InBatchScores

    more = [QUERIES[:2], ITEMS, np.array([7, 8, 7], np.int32), LOG_Q]
    scores = np.asarray(InBatchScores(0.5)(more))
    np.testing.assert_allclose(scores, [[3.0, 2.0, -1e9], [1.0, 4.0, 1.0]])
    own = np.array([[True, True, False], [True, True, False]])
    scores = np.asarray(InBatchScores(0.5)([*more, own]))
    np.testing.assert_allclose(scores, [[3.0, -1e9, -1e9], [-1e9, 4.0, 1.0]])  # the wanted item is the user's, too


def test_a_temperature_that_divides_by_zero_is_refused():
    from pipelines.models.layers.in_batch_scores import InBatchScores

    with pytest.raises(ValueError, match="temperature=0; expected above 0"):
        InBatchScores(0)
