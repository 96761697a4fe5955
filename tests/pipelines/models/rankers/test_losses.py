import pytest

from pipelines.models.rankers.catalogue import LOSSES
from tests.contracts.ranker import SMALL
from tests.support.pairs import made_pairs

# The others train the models of the contract.
OTHERS = ("logistic", "pairwise_logistic", "pairwise_hinge")


@pytest.fixture(scope="module")
def pairs():
    return made_pairs(3_000)


@pytest.mark.parametrize("loss", OTHERS)
def test_a_network_learns_the_planted_pattern_by_it(loss, pairs):
    ranker = pairs.ranker(SMALL.model_copy(update={"model": "deep", "loss": loss}))
    assert ranker.metrics["validation_network_ndcg_at_10"] > 0.8
    assert ranker.use_for_ordering


def test_every_loss_trains_a_network_in_some_test():
    assert set(LOSSES) == {*OTHERS, "weighted_logistic", "softmax", "list_mle"}
