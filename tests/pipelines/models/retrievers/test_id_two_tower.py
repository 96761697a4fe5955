from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.id_two_tower import IdTwoTower, IdTwoTowerSettings
from pipelines.models.sequences import Sequences
from tests.contracts.retriever import RetrieverContract, served_scores, serving_layout, walks


class TestIdTwoTower(RetrieverContract):
    name = "id_two_tower"
    settings: ClassVar[dict[str, Any]] = {
        "embedding_dim": 16, "history_length": 5, "batch_size": 48, "epochs": 6, "patience": 6, "learning_rate": 0.03,
    }  # fmt: skip


def test_without_a_history_the_user_alone_is_asked(tmp_path: Path):
    model, train = IdTwoTower(IdTwoTowerSettings(history_length=0, epochs=1, embedding_dim=4)), walks()
    model.fit(train, options=RunOptions(seed=1))
    scores, layout = model.score(train), serving_layout(len(train))
    np.testing.assert_array_equal(model.score(train.keep(train.ages > 2)), scores)
    model.export(tmp_path, layout=layout)
    np.testing.assert_allclose(served_scores(tmp_path, train, layout)[:, layout.first_item :], scores, atol=1e-4)


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
