import numpy as np

from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.bpr import Bpr, BprSettings
from tests.contracts.retriever import RetrieverContract, walks


class TestBpr(RetrieverContract):
    name = "bpr"
    settings = {"num_factors": 8, "learning_rate": 0.1}
    learns = 0.3  # it knows the circle and not the order in it


def test_used_items_stand_above_the_others_for_users_folded_in():
    train = walks()
    model = Bpr(BprSettings(num_factors=8, learning_rate=0.1))
    model.fit(train, options=RunOptions(seed=1))
    scores, used = model.score(train), train.seen()
    assert np.mean(scores[used]) > np.mean(scores[~used]) + 0.3
    # A query without a history is ranked by the items' biases.
    nothing = train.keep(np.zeros(len(train.items), dtype=bool))
    np.testing.assert_allclose(model.score(nothing)[0], model.items[:, -1], atol=1e-4)
