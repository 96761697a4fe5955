"""Baselines of an evaluation: models of the catalogue, fitted on the training window and asked at the cut."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipelines.contracts import EVENT_TIMESTAMP, ITEM_ID, USER_ID
from pipelines.inputs.vocabulary import Vocabulary
from pipelines.models import metrics
from pipelines.models.candidates import Rows
from pipelines.models.holdout import Holdout
from pipelines.models.interactions import codes
from pipelines.models.retrievers.base import Retriever, RunOptions
from pipelines.models.retrievers.catalogue import retriever_class
from pipelines.models.retrievers.training_data import LabelReader, seconds
from pipelines.models.sequences import Floats, Sequences

SCORES_AT_ONCE = 16_000_000  # some 128 MB of sort keys, however large the corpus


def baseline_orders(
    names: Sequence[str], train: pa.Table, before: pa.Table, holdout: Holdout, top_k: int, *, seed: int
) -> dict[str, Rows]:
    """Return the unseen items of each user by each baseline, with its default settings: `[num_users, top_k]`.

    A baseline is told all that was known of a user before the cut, not the recent items alone. Items that are new
    since the training window stand last.

    Args:
        names: models of the catalogue that learn from sequences.
        train: labels of the training window, in order of time.
        before: user, item and time of all events known before the cut.
        holdout: whom to ask for, and the corpus.
        top_k: length of the lists.
        seed: of what is random in a model.
    """
    reader = LabelReader(
        items=Vocabulary.fit(train[ITEM_ID], num_oov_buckets=1),
        users=Vocabulary.fit(train[USER_ID], num_oov_buckets=1),
        attributes=Vocabulary(pa.array([], pa.string()), 1),
        segment=None,
        history_length=1,
    )
    sequences, queries = reader.training(train), histories(reader, before, holdout.users)
    corpus = (reader.items.lookup(holdout.items[ITEM_ID]) - reader.items.first_known).astype(np.int64)
    orders = {}
    for name in names:
        model = retriever_class(name)()
        model.fit(sequences, options=RunOptions(seed=seed))
        orders[name] = _order(model, queries, corpus, holdout, top_k)
    return orders


def left_out(names: Sequence[str], num_items: int, *, max_items: int) -> list[str]:
    """Return the baselines that would fill a matrix of items by items for a corpus of more than `max_items`."""
    return [name for name in names if num_items > max_items and retriever_class(name).card.items_squared]


def histories(reader: LabelReader, before: pa.Table, users: pa.Array) -> Sequences:
    """Return the known items of each user before the cut, oldest first, one row a user in the order given."""
    events = before.sort_by(EVENT_TIMESTAMP)
    owner = codes(events[USER_ID], users)
    items = reader.items.lookup(events[ITEM_ID]) - reader.items.first_known
    kept = (owner >= 0) & (items >= 0)
    rows = Sequences.of(
        owner[kept],
        items[kept],
        num_users=len(users),
        num_items=len(reader.items.values),
        times=seconds(events)[kept],
    )
    known = reader.users.lookup(users) - reader.users.first_known
    return replace(rows, users=np.maximum(known, -1).astype(np.int32))


def _order(model: Retriever, queries: Sequences, corpus: Rows, holdout: Holdout, top_k: int) -> Rows:
    parts = []
    at_once = max(1, min(metrics.QUERIES_AT_ONCE, SCORES_AT_ONCE // max(len(corpus), 1)))
    for start in range(0, len(queries), at_once):
        rows = np.arange(start, min(start + at_once, len(queries)))
        scores = _of_corpus(model.score(queries.take(rows)), corpus)
        parts.append(metrics.worst_case_top(scores, holdout.relevant[rows], top_k, excluded=holdout.seen[rows]))
    return np.concatenate(parts)


def _of_corpus(scores: Floats, corpus: Rows) -> Floats:
    """Return the scores of the corpus' items; one the model does not know scores below all others."""
    below = scores.min(axis=1, keepdims=True) - 1
    return np.asarray(np.where(corpus >= 0, scores[:, np.maximum(corpus, 0)], below), dtype=np.float32)
