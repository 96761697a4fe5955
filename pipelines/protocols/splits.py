"""The published splits. Each returns what is learned from, what each query knows, and what it should find."""

import hashlib
import os
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines.models.sequences import PADDING, Sequences
from pipelines.protocols.files import Events

Order = NDArray[np.int64]
TENSORFLOW_UNSEEDED = 87_654_321  # what TensorFlow takes where no global seed was set


@dataclass(frozen=True)
class RankingTask:
    """A question to a model that ranks items.

    Attributes:
        train: one row a user: all that may be learned from.
        queries: what is known of each query.
        relevant: the items that each query should find, a row a query; only its items count.
        remove_seen: whether items of the query are left out of the ranking.
        askers: code of the user behind each query, `[num_queries]`; None where each is another user's.
    """

    train: Sequences
    queries: Sequences
    relevant: Sequences
    remove_seen: bool = True
    askers: NDArray[np.int64] | None = None


def leave_one_out(rows: Sequences) -> RankingTask:
    """Ask for the last item of each user, knowing all before; shorter histories than two items ask nothing."""
    shorter, targets = rows.without_last()
    asked = shorter.lengths > 0
    return RankingTask(shorter, shorter.take(np.flatnonzero(asked)), _single(targets[asked], rows.num_items))


def global_time(rows: Sequences, quantile: float, *, successive: bool = False) -> RankingTask:
    """Learn from all before a moment, and ask for the last item of each user after it, knowing all before the item.

    Args:
        rows: histories with times.
        quantile: of all times, the moment of the cut; interactions at that moment are after it.
        successive: ask for each item after the cut in turn, not only for the last.
    """
    times = np.asarray(rows.times)
    after = times >= np.quantile(times, quantile)
    train = rows.keep(~after)
    asked = np.flatnonzero(after & ((rows.ages == 0) | successive))
    queries = _before(rows, asked, known=train.lengths > 0)
    return RankingTask(train, queries, _single(rows.items[asked], rows.num_items), askers=rows.rows[asked])


def five_core_items(events: Events) -> Events:
    """Return the interactions with items that occur five times or more, with new item codes in the same order."""
    counts = np.bincount(events.items, minlength=events.num_items)
    kept = counts >= 5
    codes = np.cumsum(kept) - 1
    chosen = events.take(kept[events.items])
    return replace(chosen, items=codes[chosen.items], num_items=int(kept.sum()))


def held_out(events: Events, test: NDArray[np.bool_], *, remove_seen: bool) -> RankingTask:
    """Ask each user with held-out interactions for all of them, knowing the others."""
    train = events.take(~test).sequences()
    relevant = replace(events.take(test).sequences(), times=None, values=None)
    asked = np.flatnonzero(relevant.lengths > 0)
    return RankingTask(train, train.take(asked), relevant.take(asked), remove_seen)


def stratified(events: Events, share: float, seed: int) -> NDArray[np.bool_]:
    """Return which interactions Microsoft Recommenders' random stratified split holds out, `[num_events]`.

    Interactions get a random number each in the order of the file; a user's are in training up to the given share of
    their ranks.
    """
    keys = np.random.RandomState(seed).rand(len(events))
    order = np.lexsort([keys, events.users])
    counts = np.bincount(events.users, minlength=events.num_users)
    starts = np.cumsum(counts) - counts
    ranks = np.empty(len(events), dtype=np.float64)
    ranks[order] = np.arange(len(events)) - starts[events.users[order]] + 1
    return ranks / counts[events.users] > share


def tfds_order(num_rows: int) -> Order:
    """Return the order in which TensorFlow Datasets stores the rows of a file with one split, `[num_rows]`.

    It sorts by the MD5 of the split's name, `train`, followed by the number of the row.
    """
    salted = hashlib.md5(b"train", usedforsecurity=False)

    def digest(row: int) -> bytes:
        keyed = salted.copy()
        keyed.update(str(row).encode())
        return keyed.digest()

    return np.array(sorted(range(num_rows), key=digest), dtype=np.int64)


def tensorflow_shuffled(num_rows: int, *, global_seed: int = TENSORFLOW_UNSEEDED) -> Order:
    """Return rows in the order of TensorFlow Datasets after TensorFlow's `shuffle(num_rows, seed=42)`, `[num_rows]`.

    Args:
        num_rows: rows of the file; the shuffle's buffer holds them all.
        global_seed: what `tf.random.set_seed` was called with; it is set in this process, too.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.random.set_seed(global_seed)
    positions = tf.data.Dataset.range(num_rows).shuffle(num_rows, seed=42, reshuffle_each_iteration=False)
    order: Order = next(positions.batch(num_rows).as_numpy_iterator())
    return tfds_order(num_rows)[order]


def _single(targets: NDArray[np.int32], num_items: int) -> Sequences:
    """Return rows of one item each."""
    rows = np.arange(len(targets))
    return Sequences.of(rows, targets, num_users=len(targets), num_items=num_items)


def _before(rows: Sequences, asked: Order, *, known: NDArray[np.bool_]) -> Sequences:
    """Return what came before each of some interactions in its row; a user with nothing to learn from is unknown."""
    of = rows.rows[asked]
    whole = rows.take(of)
    earlier = asked - rows.offsets[of]
    position = np.arange(len(whole.items)) - whole.offsets[whole.rows]
    before = whole.keep(position < earlier[whole.rows])
    users = np.where(known[of], rows.users[of], PADDING).astype(np.int32)
    return replace(
        before,
        users=users,
        moments=None if rows.times is None else rows.times[asked],
        asked_in=None if rows.contexts is None else rows.contexts.take(asked),
    )
