from tests.contracts.ranker import RankerContract


class TestDeep(RankerContract):
    model = "deep"
    loss = "softmax"
