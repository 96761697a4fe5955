"""From the labels of a training set to what a retriever learns from, is chosen by, and is exported for."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.contracts import EVENT_TIMESTAMP, ITEM_ID, USER_ID
from pipelines.inputs.arrays import column, elements, list_lengths, numbers
from pipelines.inputs.query_encoder import QueryEncoder
from pipelines.inputs.vocabulary import Vocabulary
from pipelines.models.contexts import Contexts
from pipelines.models.retrievers.base import Validation
from pipelines.models.retrievers.layout import Layout
from pipelines.models.sequences import Codes, Ints, Sequences

MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class LabelReader:
    """Turns label rows into sequences, in the codes of vocabularies that were fitted on the training window.

    Attributes:
        items: items the model knows; a model's code is the vocabulary's id less the first known one.
        users: users the model knows, likewise.
        attributes: attributes of users, `name=value`.
        segment: the attribute whose values are segments; None for no segments.
        history_length: recent items that serving keeps.
        devices: devices the model knows.
    """

    items: Vocabulary
    users: Vocabulary
    attributes: Vocabulary
    segment: str | None
    history_length: int
    devices: Vocabulary = field(default_factory=lambda: Vocabulary(pa.array([], pa.string()), 1))

    @classmethod
    def of(cls, queries: QueryEncoder, segment: str | None) -> "LabelReader":
        """Read labels as a query encoder does."""
        known = queries.vocabularies
        widths = queries.widths["history"]
        return cls(known["item"], known["user"], known["attribute"], segment, widths, known["device"])

    @property
    def layout(self) -> Layout:
        """How serving numbers what a model knows."""
        return Layout(
            history_length=self.history_length,
            first_item=self.items.first_known,
            num_items=len(self.items.values),
            first_user=self.users.first_known,
            num_users=len(self.users.values),
            segments=tuple(int(number) for number in self._segment_numbers),
            first_device=self.devices.first_known,
            num_devices=len(self.devices.values),
        )

    def training(self, labels: pa.Table) -> Sequences:
        """Return one row a user of the training window: its labels in order of time, with times and values.

        A missing value is the mean of the others; where all are missing there are no values.
        """
        users = self.users.lookup(labels[USER_ID]) - self.users.first_known
        values = numbers(labels, "value")
        present = ~np.isnan(values)
        train = Sequences.of(
            users,
            self.items.lookup(labels[ITEM_ID]) - self.items.first_known,
            num_users=len(self.users.values),
            num_items=len(self.items.values),
            times=seconds(labels),
            values=np.where(present, values, values[present].mean()) if present.any() else None,
            contexts=self._contexts(labels),
        )
        if self.segment is None:
            return train
        segments = np.full(len(train), -1, dtype=np.int32)
        segments[users] = self._segments(labels)  # labels are in order of time: the newest is assigned last
        return Sequences(**{**vars(train), "segments": segments})

    def queries(self, rows: pa.Table) -> Sequences:
        """Return what serving knows of each row: user, recent items, context; without what the model does not know."""
        lists = column(rows, "recent_items")
        if lists is None or pa.types.is_null(lists.type):
            lists = pa.array([[]] * rows.num_rows, pa.list_(pa.string()))
        lengths = list_lengths(lists)
        codes = self.items.lookup(elements(lists)) - self.items.first_known
        users = self.users.lookup(rows[USER_ID]) - self.users.first_known
        everything = Sequences(
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            items=codes.astype(np.int32),
            users=np.maximum(users, -1).astype(np.int32),
            num_items=len(self.items.values),
            segments=None if self.segment is None else self._segments(rows),
            asked_in=self._contexts(rows),
        )
        return everything.keep(everything.items >= 0)

    def validation(self, labels: pa.Table, *, num_rows: int, seed: int) -> Validation:
        """Return a sample of labels whose item the model knows and the user's recent items do not hold.

        Where a window has none, the validation is empty.
        """
        targets = self.items.lookup(labels[ITEM_ID]) - self.items.first_known
        queries = self.queries(labels)
        repeated = np.zeros(len(queries), dtype=bool)
        repeated[queries.rows[queries.items == targets[queries.rows]]] = True
        usable = np.flatnonzero((targets >= 0) & ~repeated)
        chosen = np.sort(np.random.default_rng(seed).permutation(usable)[:num_rows])
        return Validation(queries.take(chosen), targets[chosen].astype(np.int32))

    def _contexts(self, rows: pa.Table) -> Contexts:
        """Return the conditions of rows, as the features of a query say them."""
        devices = column(rows, "device")
        codes = np.zeros(rows.num_rows, np.int64) if devices is None else self.devices.lookup(devices)
        known = np.maximum(codes - self.devices.first_known, -1).astype(np.int64)
        return Contexts.of(numbers(rows, "hour"), numbers(rows, "weekday"), known, len(self.devices.values))

    @property
    def _segment_numbers(self) -> NDArray[np.int64]:
        """Numbers of the attributes that are segments, in order of the vocabulary."""
        if self.segment is None:
            return np.zeros(0, dtype=np.int64)
        of_segment = pc.starts_with(self.attributes.values, pattern=f"{self.segment}=")
        return np.flatnonzero(of_segment.to_numpy(zero_copy_only=False)) + self.attributes.first_known

    def _segments(self, rows: pa.Table) -> Codes:
        """Return the segment of each row by its attributes, -1 where none is known, `[num_rows]`."""
        lists = column(rows, "attributes")
        found = np.full(rows.num_rows, -1, dtype=np.int32)
        if lists is None or pa.types.is_null(lists.type):
            return found
        ids = self.attributes.lookup(elements(lists))
        place = np.full(self.attributes.size, -1, dtype=np.int32)
        place[self._segment_numbers] = np.arange(len(self._segment_numbers))
        owner = np.repeat(np.arange(rows.num_rows), list_lengths(lists))
        known = place[ids] >= 0
        found[owner[known]] = place[ids][known]
        return found


def seconds(labels: pa.Table) -> Ints:
    """Return the moment of each label, seconds since 1970."""
    return np.asarray(labels[EVENT_TIMESTAMP].cast(pa.int64()), dtype=np.int64) // MICROSECONDS
