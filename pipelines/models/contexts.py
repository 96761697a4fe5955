"""Under which conditions something was done, or is asked for: part of the day, weekend, device."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import TrainingError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

HOURS, WEEKDAYS = 24, 7
# What a condition of the clock is: a row an hour, and a row a weekday, of which Monday is the first.
DAYPARTS = np.repeat(np.arange(4), 6)  # night, morning, afternoon, evening; UTC
WEEKEND = (np.arange(WEEKDAYS) >= 5).astype(np.int64)


@dataclass(frozen=True)
class Contexts:
    """Rows under conditions: each context, such as the device, is in one of its conditions, or not known.

    Attributes:
        codes: condition from 0 of each context, -1 where it is not known, `[num_rows, num_contexts]`.
        sizes: conditions of each context, `num_contexts` of them.
    """

    codes: Ints
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, hours: NDArray[Any], weekdays: NDArray[Any], devices: Ints, num_devices: int) -> "Contexts":
        """Return the conditions of rows: part of the day, weekend, device.

        Args:
            hours: of the day, 0 to 23, NaN where not known, `[num_rows]`.
            weekdays: Monday is 0, NaN where not known, same shape.
            devices: codes from 0, -1 where not known, same shape.
            num_devices: devices there are codes for.
        """
        columns = [_grouped(hours, DAYPARTS), _grouped(weekdays, WEEKEND), devices]
        return cls(np.stack(columns, axis=1).astype(np.int64), (int(DAYPARTS.max()) + 1, 2, num_devices))

    @classmethod
    def at(cls, seconds: Ints) -> "Contexts":
        """Return the conditions of moments by the clock alone, UTC; `seconds` are since 1970."""
        hours, weekdays = seconds // 3_600 % HOURS, (seconds // 86_400 + 3) % WEEKDAYS
        return cls.of(hours, weekdays, np.full(len(seconds), -1), 0)

    def __len__(self) -> int:
        """Rows."""
        return len(self.codes)

    def take(self, chosen: NDArray[Any]) -> "Contexts":
        """Return some rows, by position or mask."""
        return replace(self, codes=self.codes[chosen])

    @property
    def num_conditions(self) -> int:
        """Conditions of all contexts together."""
        return sum(self.sizes)

    @cached_property
    def conditions(self) -> Ints:
        """Each code as a number among the conditions of all contexts, -1 where it is not known, same shape as codes."""
        first = np.cumsum((0, *self.sizes))[:-1]
        return np.where(self.codes >= 0, self.codes + first, -1)

    @cached_property
    def same_context(self) -> Floats:
        """1 where two conditions are of one context, `[num_conditions, num_conditions]`."""
        context = np.repeat(np.arange(len(self.sizes)), self.sizes)
        return np.asarray(context[:, None] == context, dtype=np.float64)

    def indicators(self) -> Any:
        """Return 1 where a row is under a condition, as a scipy CSR matrix `[num_rows, num_conditions]`."""
        import scipy.sparse as sp

        rows, contexts = np.nonzero(self.conditions >= 0)
        cells: Any = (np.ones(len(rows)), (rows, self.conditions[rows, contexts]))
        return sp.csr_matrix(cells, shape=(len(self), self.num_conditions))

    def sums(self, table: Floats, rows: Ints) -> Floats:
        """Return for each row the sum of its conditions' values in its row of a table, `[num_rows]`.

        Args:
            table: a value of each condition, `[num_groups, num_conditions]`.
            rows: of the table, `[num_rows]`.
        """
        padded = np.pad(table, ((0, 0), (0, 1)))  # -1, which is not known, finds the zero behind the last
        return np.asarray(padded[rows[:, None], self.conditions].sum(axis=1))

    def totals(self, groups: Ints, num_groups: int, values: Floats) -> Floats:
        """Return the sum of values by group and condition, `[num_groups, num_conditions]`.

        Args:
            groups: of each row, from 0, `[num_rows]`.
            num_groups: there are codes for.
            values: summed, `[num_rows]`.
        """
        size = self.num_conditions
        total = np.zeros(num_groups * size)
        for column in self.conditions.T:
            known = column >= 0
            total += np.bincount(groups[known] * size + column[known], values[known], len(total))
        return total.reshape(num_groups, size)


def require_contexts(contexts: Contexts | None, of: str) -> Contexts:
    """Return contexts; raises TrainingError when none is known `of` what is learned from."""
    if contexts is None or (contexts.codes < 0).all():
        raise TrainingError(
            f"none of {of} has a known context; expected times or devices. Train a model that needs none: "
            "`tandem models` says what each needs"
        )
    return contexts


def _grouped(values: NDArray[Any], groups: Ints) -> Ints:
    known = ~np.isnan(values)
    return np.where(known, groups[np.where(known, values, 0).astype(np.int64) % len(groups)], -1)
