from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from pipelines.inputs.vocabulary import Vocabulary
from pipelines.models import baselines
from pipelines.models.baselines import baseline_orders, histories, left_out
from pipelines.models.holdout import Holdout
from pipelines.models.retrievers.training_data import LabelReader

START = datetime(2025, 1, 1, tzinfo=UTC)


def events(*rows: tuple[str, str, int]) -> pa.Table:
    """Rows of user, item and day."""
    users, items, days = zip(*rows, strict=True)
    moments = pa.array([START + timedelta(days=day) for day in days], pa.timestamp("us", tz="UTC"))
    value = pa.nulls(len(rows), pa.float64())
    return pa.table({"user_id": users, "item_id": items, "event_timestamp": moments, "value": value})


def holdout(before: pa.Table, window: pa.Table, users: list[str], items: list[str]) -> Holdout:
    corpus = pa.table({"item_id": items, "categories": [["c"]] * len(items)})
    return Holdout.of(before, window, corpus, pa.array(users))


def test_a_history_is_all_that_was_known_in_order_of_time():
    before = events(("u2", "b", 3), ("u1", "a", 2), ("u1", "new", 1), ("u1", "b", 0), ("other", "a", 0))
    reader = LabelReader(
        items=Vocabulary(pa.array(["a", "b"]), 1),
        users=Vocabulary(pa.array(["u1"]), 1),
        attributes=Vocabulary(pa.array([], pa.string()), 1),
        segment=None,
        history_length=1,
    )
    rows = histories(reader, before, pa.array(["u2", "u1"]))
    assert rows.items.tolist() == [1, 1, 0]
    assert rows.lengths.tolist() == [1, 2]
    assert rows.users.tolist() == [-1, 0]


def test_a_baseline_ranks_the_corpus_of_the_holdout_without_what_was_seen():
    train = events(("u1", "a", 0), ("u2", "a", 0), ("u3", "b", 0), ("u1", "b", 1), ("u2", "c", 1), ("u4", "a", 1))
    before = pa.concat_tables([train, events(("u3", "new", 2))])
    asked = holdout(before, events(("u4", "b", 5), ("u3", "a", 5)), ["u3", "u4"], ["new", "c", "b", "a"])
    orders = baseline_orders(("recent_history",), train, before, asked, 4, seed=1)
    # By popularity: a (3), b (2), c (1), and what is new since the training window last.
    names = np.array(["new", "c", "b", "a", "none"])
    assert names[orders["recent_history"]].tolist() == [["a", "c", "none", "none"], ["b", "c", "new", "none"]]


def test_only_what_squares_the_items_is_left_out_of_a_large_corpus():
    names = ["random", "ease", "recent_history", "linear_transitions", "transitions", "item_neighbours", "blend"]
    assert left_out(names, 10_001, max_items=10_000) == ["ease", "linear_transitions", "blend"]
    assert left_out(names, 10_000, max_items=10_000) == []


def test_lists_are_the_same_however_few_users_are_scored_at_once(monkeypatch):
    train = events(("u1", "a", 0), ("u2", "a", 0), ("u3", "b", 0), ("u1", "b", 1), ("u2", "c", 1))
    asked = holdout(train, events(("u1", "c", 5), ("u3", "a", 5), ("u2", "b", 5)), ["u1", "u2", "u3"], ["c", "b", "a"])
    arguments = (("recent_history", "random"), train, train, asked, 2)
    together = baseline_orders(*arguments, seed=1)
    monkeypatch.setattr(baselines, "SCORES_AT_ONCE", 1)
    for name, alone in baseline_orders(*arguments, seed=1).items():
        np.testing.assert_array_equal(alone, together[name])
