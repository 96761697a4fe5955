import numpy as np

from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.svd import Svd, SvdSettings
from tests.contracts.retriever import RetrieverContract, walks


class TestSvd(RetrieverContract):
    name = "svd"
    settings = {"num_factors": 4}
    learns = 0.3  # it knows the circle and not the order in it


def test_a_history_is_projected_onto_the_largest_directions():
    train = walks()
    model = Svd(SvdSettings(num_factors=4))
    model.fit(train, options=RunOptions(seed=1))
    rows = train.matrix().toarray()
    left, values, right = np.linalg.svd(rows)
    best = (left[:, :4] * values[:4]) @ right[:4]
    np.testing.assert_allclose(model.fold_in(train) @ model.items.T, best, atol=1e-4)
