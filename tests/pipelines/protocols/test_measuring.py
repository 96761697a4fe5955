"""What a model is asked: full rankings, ties worst case, seen removed where the protocol says so."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.popularity import Popularity
from pipelines.models.sequences import Sequences
from pipelines.protocols.measuring import as_validation, measure_ranking
from pipelines.protocols.splits import RankingTask


def sequences(*rows: list[int]) -> Sequences:
    users = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    items = np.array([item for row in rows for item in row], dtype=np.int64)
    return Sequences.of(users, items, num_users=len(rows), num_items=6)


def popular(train: Sequences) -> Popularity:
    """Scores items by their counts."""
    model = Popularity()
    model.fit(train, options=RunOptions(seed=0))
    return model


# Counts: item 0 three, item 1 two, item 2 one, the others none.
TRAIN = sequences([0, 1], [0, 1, 2], [0])
TASK = RankingTask(TRAIN, sequences([0], [0, 1]), sequences([1, 2], [3]))


def test_metrics_are_means_over_queries_of_full_rankings_without_what_was_seen():
    found = measure_ranking(popular(TRAIN), TASK, (1, 3, 4))
    # The first query ranks 1, 2, then those never used; the second 2, then 3, 4, 5 in a tie that 3 comes last of.
    assert found["hit_rate_at_1"] == 0.5
    assert found["recall_at_3"] == 0.5
    assert found["recall_at_4"] == 1
    assert found["ndcg_at_4"] == pytest.approx((1 + 1 / np.log2(5)) / 2)
    assert found["hits_at_3"] == pytest.approx(2 / 3)  # of all relevant items, not the mean over queries


def test_seen_items_stand_in_the_way_where_they_are_kept():
    found = measure_ranking(popular(TRAIN), replace(TASK, remove_seen=False), (1, 3))
    assert found["hit_rate_at_1"] == 0
    assert found["recall_at_3"] == 0.5


def test_validation_rows_have_one_target_each_and_at_most_as_many_as_asked_for():
    rows = as_validation(TASK, limit=10, seed=0)
    assert rows.targets.tolist() == [1, 2, 3]
    assert rows.queries.lengths.tolist() == [1, 1, 2]
    assert len(as_validation(TASK, limit=2, seed=0).targets) == 2


def test_queries_of_one_user_count_as_one_user():
    two = measure_ranking(popular(TRAIN), TASK, (1, 3))
    one = measure_ranking(popular(TRAIN), replace(TASK, askers=np.array([4, 4])), (1, 3))
    assert dict(one) == dict(two)
    assert two.per_user["hit_rate_at_1"].totals.tolist() == [1, 0]
    assert one.per_user["hit_rate_at_1"].totals.tolist() == [1]
    assert one.per_user["hit_rate_at_1"].counts.tolist() == [2]
    assert one.per_user["hits_at_3"].counts.tolist() == [3]  # relevant items
