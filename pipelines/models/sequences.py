"""Interactions in columns, grouped by user and in order of time: what a retriever learns from and is asked about."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.contexts import Contexts

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
Floats = NDArray[np.float32]
PADDING = -1


@dataclass(frozen=True)
class Sequences:
    """Ragged rows of items, oldest first: the histories of users, or what is known of each query.

    Attributes:
        offsets: row `i` holds `offsets[i]:offsets[i + 1]` of the columns, `[num_rows + 1]`.
        items: item codes from 0, `[num_interactions]`.
        users: code of each row's user, -1 where the model has not seen the user, `[num_rows]`.
        num_items: items of the corpus, whether or not they occur here.
        times: seconds since 1970 of each interaction, `[num_interactions]`; None where only the order is known.
        values: value of each interaction, such as a rating, `[num_interactions]`; None where there is none.
        moments: seconds since 1970 at which each row asks, `[num_rows]`; None where times are not known.
        segments: segment of each row's user from 0, such as a country, -1 where it is not known, `[num_rows]`; None
            where there are no segments.
        contexts: the conditions of each interaction, `num_interactions` rows; None where nothing is known of them.
        asked_in: the conditions under which each row asks, `num_rows` rows; None likewise.
    """

    offsets: Ints
    items: Codes
    users: Codes
    num_items: int
    times: Ints | None = None
    values: Floats | None = None
    moments: Ints | None = None
    segments: Codes | None = None
    contexts: Contexts | None = None
    asked_in: Contexts | None = None

    @classmethod
    def of(
        cls, users: NDArray[Any], items: NDArray[Any], *, num_users: int, num_items: int,
        times: NDArray[Any] | None = None, values: NDArray[Any] | None = None, contexts: Contexts | None = None,
    ) -> "Sequences":  # fmt: skip
        """Group interactions given in order of time; the order within a user is kept (a stable sort).

        Args:
            users: user codes from 0, `[num_interactions]`.
            items: item codes from 0, same shape.
            num_users: rows of the result; users without an interaction get an empty row.
            num_items: items of the corpus.
            times: seconds since 1970, same shape.
            values: values, same shape.
            contexts: the conditions of each.
        """
        order = np.argsort(users, kind="stable")
        counts = np.bincount(users, minlength=num_users)
        return cls(
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            items=items[order].astype(np.int32),
            users=np.arange(num_users, dtype=np.int32),
            num_items=num_items,
            times=None if times is None else times[order].astype(np.int64),
            values=None if values is None else values[order].astype(np.float32),
            contexts=None if contexts is None else contexts.take(order),
        )

    def __len__(self) -> int:
        """Rows."""
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> Ints:
        """Interactions of each row, `[num_rows]`."""
        return np.diff(self.offsets)

    @cached_property
    def rows(self) -> Ints:
        """Row of each interaction, `[num_interactions]`."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @cached_property
    def ages(self) -> Ints:
        """How many interactions of the same row came later than each, 0 for the newest, `[num_interactions]`."""
        return self.offsets[1:][self.rows] - 1 - np.arange(len(self.items))

    def take(self, rows: NDArray[Any]) -> "Sequences":
        """Return some rows, in the order asked for."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        chosen = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - self.offsets[:-1][rows], lengths)
        return replace(
            self._columns(chosen),
            offsets=offsets,
            users=self.users[rows],
            moments=None if self.moments is None else self.moments[rows],
            segments=None if self.segments is None else self.segments[rows],
            asked_in=None if self.asked_in is None else self.asked_in.take(rows),
        )

    def keep(self, mask: NDArray[np.bool_]) -> "Sequences":
        """Return the same rows with only some interactions; `mask` is `[num_interactions]`."""
        counts = np.bincount(self.rows[mask], minlength=len(self))
        return replace(self._columns(mask), offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))

    def without_last(self) -> tuple["Sequences", Codes]:
        """Return all rows without their newest interaction, and its item: -1 for an empty row, `[num_rows]`.

        Where times are known the shorter rows ask at the moment of what was taken away, and likewise under its
        conditions.
        """
        has_one = self.lengths > 0
        newest = np.maximum(self.offsets[1:] - 1, 0)
        targets = np.full(len(self), PADDING, dtype=np.int32)
        targets[has_one] = self.items[newest[has_one]]
        shorter = self.keep(self.ages > 0)
        if self.times is not None:
            moments = np.zeros(len(self), dtype=np.int64)
            moments[has_one] = self.times[newest[has_one]]
            shorter = replace(shorter, moments=moments)
        if self.contexts is not None and len(self.contexts):
            codes = np.where(has_one[:, None], self.contexts.codes[newest], -1)
            shorter = replace(shorter, asked_in=replace(self.contexts, codes=codes))
        return shorter, targets

    def padded(self, length: int, column: NDArray[Any] | None = None, *, fill: Any = PADDING) -> NDArray[Any]:
        """Return the newest `length` of a column a row, right-aligned: `[num_rows, length]`.

        Args:
            length: columns of the result.
            column: `[num_interactions]`; None takes the items.
            fill: stands to the left of shorter rows.
        """
        values = self.items if column is None else column
        matrix = np.full((len(self), length), fill, dtype=values.dtype)
        kept = self.ages < length
        matrix[self.rows[kept], length - 1 - self.ages[kept]] = values[kept]
        return matrix

    def matrix(self, weights: NDArray[Any] | None = None) -> Any:
        """Return rows by items as a scipy CSR matrix, float32 `[num_rows, num_items]`; repeats count once.

        Args:
            weights: of each interaction; the newest of a repeated item counts. None is 1.
        """
        import scipy.sparse as sp

        cells = self.rows * self.num_items + self.items
        # The first of the reversed cells is the newest.
        cell, newest = np.unique(cells[::-1], return_index=True)
        data = np.ones(len(cell)) if weights is None else weights[::-1][newest]
        rows, columns = np.divmod(cell, self.num_items)
        shape = (len(self), self.num_items)
        return sp.csr_matrix((data.astype(np.float32), (rows, columns)), shape=shape)

    def seen(self) -> NDArray[np.bool_]:
        """Return which items each row holds, `[num_rows, num_items]`; take few rows at a time."""
        mask = np.zeros((len(self), self.num_items), dtype=bool)
        mask[self.rows, self.items] = True
        return mask

    def _columns(self, chosen: NDArray[Any]) -> "Sequences":
        return replace(
            self,
            items=self.items[chosen],
            times=None if self.times is None else self.times[chosen],
            values=None if self.values is None else self.values[chosen],
            contexts=None if self.contexts is None else self.contexts.take(chosen),
        )
