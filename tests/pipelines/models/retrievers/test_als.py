import numpy as np

from pipelines.models.retrievers.als import Als, AlsSettings
from pipelines.models.retrievers.base import RunOptions
from tests.contracts.retriever import RetrieverContract, walks


class TestAls(RetrieverContract):
    name = "als"
    settings = {"num_factors": 8, "l2": 0.1, "num_sweeps": 5}
    learns = 0.3  # it knows the circle and not the order in it


def test_folding_in_minimizes_the_weighted_squares_of_the_history():
    train = walks()
    model = Als(AlsSettings(num_factors=4, l2=0.5, alpha=7, num_sweeps=3))
    model.fit(train, options=RunOptions(seed=1))
    used = train.matrix().toarray()
    factors = model.fold_in(train)
    errors = factors @ model.items.T - used
    gradient = (np.where(used > 0, 7, 1) * errors) @ model.items + 0.5 * factors
    np.testing.assert_allclose(gradient, 0, atol=1e-3)
