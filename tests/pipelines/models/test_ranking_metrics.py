import numpy as np
import pytest

from pipelines.models.pairs import PairData
from pipelines.models.ranking_metrics import list_auc, list_ndcg, value_gain


def pairs(label: list[float], query: list[int], value: list[float] | None = None) -> PairData:
    nothing = np.zeros((len(label), 1), np.float32)
    values = np.array(value if value is not None else [np.nan] * len(label), np.float32)
    rows = np.arange(len(label))
    return PairData({}, {}, nothing, np.array(query), rows, np.array(label, np.float32), nothing[:, 0] + 1, values)


def test_ndcg_counts_ties_worst_case_and_skips_queries_without_positives():
    data = pairs([1, 0, 0, 0], [0, 0, 1, 1])
    assert list_ndcg(np.array([1.0, 0.0, 1.0, 1.0]), data).tolist() == [1.0]
    assert list_ndcg(np.array([1.0, 1.0, 1.0, 1.0]), data) == pytest.approx([1 / np.log2(3)])


def test_ndcg_of_gains_weighs_what_was_valued():
    data = pairs([1, 0, 1], [0, 0, 0], [1.0, np.nan, 3.0])
    gain = value_gain(data)
    found = list_ndcg(np.array([3.0, 2.0, 1.0]), data, gain=gain)
    assert found == pytest.approx([(1 + 3 / np.log2(4)) / (3 + 1 / np.log2(3))])
    assert list_ndcg(np.array([1.0, 0.0, 3.0]), data, gain=gain).tolist() == [1.0]


def test_the_cut_off_ends_both_gain_and_ideal():
    data = pairs([0, 1, 1], [0, 0, 0])
    assert list_ndcg(np.array([3.0, 2.0, 1.0]), data, 1).tolist() == [0.0]
    assert list_ndcg(np.array([1.0, 2.0, 3.0]), data, 1).tolist() == [1.0]


def test_a_missing_value_gains_the_mean_and_negative_ones_cannot_be_gained():
    np.testing.assert_allclose(value_gain(pairs([1, 1, 0], [0, 0, 0], [4, np.nan, np.nan])), [4, 4, 0])
    assert value_gain(pairs([1, 0], [0, 0])) is None
    assert value_gain(pairs([1, 0], [0, 0], [-1, np.nan])) is None


def test_auc_is_the_share_of_pairs_in_order_a_query_and_ties_are_wrong():
    data = pairs([1, 0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 1, 2, 2])
    scores = np.array([4.0, 3.0, 2.0, 1.0, 0.0, 1.0, 1.0])
    assert list_auc(scores, data).tolist() == [0.75, 0.0]
