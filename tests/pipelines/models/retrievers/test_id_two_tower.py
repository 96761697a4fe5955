from typing import Any, ClassVar

import numpy as np
import pytest

from pipelines.models.retrievers.id_two_tower import IdTwoTower, IdTwoTowerSettings
from pipelines.models.sequences import Sequences
from tests.contracts.retriever import RetrieverContract


class TestIdTwoTower(RetrieverContract):
    name = "id_two_tower"
    settings: ClassVar[dict[str, Any]] = {
        "embedding_dim": 16, "history_length": 5, "batch_size": 48, "epochs": 8, "patience": 8, "learning_rate": 0.03,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ("earlier", [[-1, -1], [-1, 4], [4, 5], [5, 6], [-1, -1]]),
        ("others", [[6, 7], [6, 7], [-1, 7], [6, -1], [-1, -1]]),
    ],
)
def test_an_item_is_never_told_from_itself(history: str, expected: list[list[int]]):
    rows = Sequences.of(np.array([0, 0, 0, 0, 1]), np.array([4, 5, 6, 7, 4]), num_users=2, num_items=8)
    model = IdTwoTower(IdTwoTowerSettings(history=history, history_length=2))
    assert model._histories(rows).tolist() == expected
