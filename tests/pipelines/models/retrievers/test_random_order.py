import numpy as np

from tests.contracts.retriever import RetrieverContract, walks


class TestRandomOrder(RetrieverContract):
    name = "random"
    learns = 0.0

    def test_it_learns_nothing(self, fitted):
        queries, targets = walks().without_last()
        scores = fitted.score(queries)
        rank = (scores >= scores[np.arange(len(queries)), targets][:, None]).sum(axis=1)
        assert 10 < rank.mean() < 23

    def test_another_seed_is_another_order(self, fitted, queries):
        another = self.fitted_on(self.train(), self.seed + 1)
        assert (fitted.score(queries).argmax(axis=1) != another.score(queries).argmax(axis=1)).any()

    def test_users_have_orders_of_their_own(self, fitted, queries):
        orders = fitted.score(queries).argsort(axis=1)
        assert (orders[0] != orders[1]).any()
        assert (orders[4] == orders[5]).all()  # two strangers
