import numpy as np
import pytest

from pipelines.errors import TrainingError
from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.item_neighbours import ItemNeighbours, ItemNeighbourSettings
from pipelines.models.sequences import Sequences
from tests.contracts.retriever import RetrieverContract, rated_walks

# Users by items; 0 is not rated.
RATED = np.array([[5.0, 4, 0], [1, 2, 3], [0, 5, 1], [4, 4, 5]])


class TestItemNeighbours(RetrieverContract):
    name = "item_neighbours"
    learns = 0.3  # it knows the circle and not the order in it


class TestItemNeighboursByPearson(RetrieverContract):
    name = "item_neighbours"
    settings = {"similarity": "pearson"}
    learns = 0.3

    def train(self) -> Sequences:
        return rated_walks()


class TestItemNeighboursByAdjustedCosine(TestItemNeighboursByPearson):
    settings = {"similarity": "adjusted_cosine"}


def rated() -> Sequences:
    users, items = RATED.nonzero()
    return Sequences.of(users, items, num_users=4, num_items=3, values=RATED[users, items])


def weights(**settings: object) -> np.ndarray:
    model = ItemNeighbours(ItemNeighbourSettings(**settings))
    model.fit(rated(), options=RunOptions(seed=1))
    return np.asarray(model.weights.toarray())


def cosines(columns: np.ndarray) -> np.ndarray:
    unit = columns / np.linalg.norm(columns, axis=0)
    similar = np.maximum(unit.T @ unit, 0)
    np.fill_diagonal(similar, 0)
    return similar


@pytest.mark.parametrize(
    ("similarity", "compared"),
    [
        ("cosine", RATED > 0),
        ("pearson", np.where(RATED > 0, RATED - RATED.sum(0) / (RATED > 0).sum(0), 0)),
        ("adjusted_cosine", np.where(RATED > 0, RATED - (RATED.sum(1) / (RATED > 0).sum(1))[:, None], 0)),
    ],
)
def test_similarities_are_those_of_the_definition(similarity, compared):
    np.testing.assert_allclose(weights(similarity=similarity, shrinkage=0), cosines(compared.astype(float)), atol=1e-6)


def test_few_users_in_common_shrink_a_similarity_and_only_the_nearest_are_kept():
    plain, shrunk = weights(shrinkage=0), weights(shrinkage=2)
    common = (RATED > 0).T.astype(float) @ (RATED > 0)
    np.testing.assert_allclose(shrunk, plain * common / (common + 2), atol=1e-6)
    # A column holds the neighbours of a candidate.
    assert (weights(num_neighbours=1) > 0).sum(axis=0).tolist() == [1, 1, 1]


def test_values_are_asked_for_where_they_are_compared():
    bare = Sequences.of(np.array([0, 0]), np.array([0, 1]), num_users=1, num_items=3)
    with pytest.raises(TrainingError, match="compares values"):
        ItemNeighbours(ItemNeighbourSettings(similarity="pearson")).fit(bare, options=RunOptions(seed=1))
