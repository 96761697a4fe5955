"""The built-in source: deterministic, of any size, with the blemishes of real data and a known law.

`pipelines.sources.synthetic_law` says who chooses what. This module puts the choices on a time line: every
stretch of time (an hour to a day) has its own random generator, so a partition is generated alone and equals
that slice of `all`, and memory does not grow with the number of events. Around the choices it adds what real
data has: sessions, growth, weekends and evenings, late rows (2 %, up to three days), exact duplicate rows
(0.5 %), views without a value (15 %), catalogue texts that are revised.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.config import SyntheticConfig
from pipelines.errors import ConfigError
from pipelines.sources.base import RawTables, parse_partition
from pipelines.sources.synthetic_law import (
    DEVICES,
    EXPLORATION,
    MAIN_DEVICE_SHARE,
    NUM_DAYPARTS,
    Floats,
    Ints,
    SyntheticLaw,
)

if TYPE_CHECKING:
    import pyarrow as pa

DAY_US = 86_400_000_000
_HOUR_US = DAY_US // 24
_MAX_LATE_US = 3 * DAY_US
_EVENTS_PER_CHUNK = 50_000
_LATE_SHARE, _DUPLICATE_SHARE, _VIEW_SHARE = 0.02, 0.005, 0.15
_HOUR_WEIGHTS = np.array([2, 1, 1, 1, 1, 1, 2, 3, 4, 4, 4, 4, 5, 5, 4, 4, 4, 5, 6, 8, 9, 9, 7, 4], dtype=np.float64)
_MEAN_SESSION, _MAX_SESSION, _MEAN_GAP_US = 4, 24, 75e6
_PART_VALUE = np.array([0.7, 0.5, 0.3, 0.4, -0.1, -1.2])  # liking by part of the taste; last: exploration
_ORACLE_CELLS = 4_000_000  # queries times items scored at once


class SyntheticSource:
    """A stream of events drawn from a `SyntheticLaw`, and the law itself as an oracle."""

    def __init__(self, config: SyntheticConfig, *, seed: int) -> None:
        self._config, self._seed = config, seed
        self.law = SyntheticLaw(config, seed)
        self._end = _microseconds(_parse_end(config.end))
        self._start = self._end - config.num_days * DAY_US
        per_day = config.num_events / config.num_days
        self._chunks_per_day = next(
            n for n in (1, 2, 3, 4, 6, 8, 12, 24) if per_day / n <= _EVENTS_PER_CHUNK or n == 24
        )
        self._chunk_us = DAY_US // self._chunks_per_day
        self._chunk_hours = (self._start // _HOUR_US + np.arange(24)).reshape(self._chunks_per_day, -1) % 24
        self._chunk_events = self._plan()

    def fingerprint(self) -> Mapping[str, Any]:
        """Return what decides the rows: the configuration and the seed."""
        return {"kind": "synthetic", "law": 1, "seed": self._seed, **self._config.model_dump()}

    def read(self, partition: str) -> RawTables:
        """Stream the events that arrive in `partition`, in order of arrival, and the catalogue before its end."""
        import pyarrow as pa

        from pipelines.data.schemas import EVENTS_SCHEMA
        from pipelines.sources.synthetic_catalogue import item_rows, user_rows

        window = parse_partition(partition)
        start, end = (_microseconds(window[0]), _microseconds(window[1])) if window else (self._start, self._end)
        events = pa.RecordBatchReader.from_batches(EVENTS_SCHEMA, self._arrivals(start, end))
        items, users = item_rows(self.law, self._start, before=end), user_rows(self.law, self._start, before=end)
        return RawTables(events=events, items=items.to_reader(), users=users.to_reader())

    def _plan(self) -> Ints:
        """Events of each chunk; they add up to exactly `num_events`."""
        config = self._config
        growth = np.array([self.law.activity(day) for day in range(config.num_days)])
        weekday = (self._start // DAY_US + np.arange(config.num_days) + 3) % 7
        daily = growth * np.where(weekday >= 5, 1.3, 1.0)
        weights = (daily[:, None] * _HOUR_WEIGHTS[self._chunk_hours].sum(axis=1)).ravel()
        reached = np.floor(np.cumsum(weights) / weights.sum() * config.num_events + 1e-6).astype(np.int64)
        return np.asarray(np.diff(reached, prepend=0), dtype=np.int64)

    def _arrivals(self, start: int, end: int) -> "Iterator[pa.RecordBatch]":
        """Batches of the events with `start <= ingested_at < end`, ordered by (ingested_at, event_id)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        num_chunks = len(self._chunk_events)
        first = max(0, (start - _MAX_LATE_US - self._start) // self._chunk_us)
        last = min(num_chunks, -(-(end - self._start) // self._chunk_us))
        waiting: pa.Table | None = None
        for chunk in range(first, last):
            rows = self._chunk(chunk)
            rows = rows if waiting is None else pa.concat_tables([waiting, rows])
            arrived = rows["ingested_at"].cast(pa.int64())
            now = pc.less(arrived, self._start + (chunk + 1) * self._chunk_us)
            waiting = rows.filter(pc.invert(now))
            wanted = pc.and_(now, pc.and_(pc.greater_equal(arrived, start), pc.less(arrived, end)))
            ready = rows.filter(wanted).sort_by([("ingested_at", "ascending"), ("event_id", "ascending")])
            yield from ready.combine_chunks().to_batches()

    def _chunk(self, chunk: int) -> "pa.Table":
        """All events that happen in one chunk, duplicates beside their originals, in order of time."""
        rng = np.random.Generator(np.random.PCG64([self._seed % 2**63, chunk]))
        day = chunk // self._chunks_per_day
        begin = self._start + chunk * self._chunk_us
        session, offset = self._sessions(rng, chunk)
        num_sessions = int(session[-1]) + 1 if len(session) else 0
        user = self.law.sample_users(rng.random(num_sessions), day)
        device = self._devices(rng, user)
        happened = begin + offset
        hour = happened // _HOUR_US % 24
        choice = _Choices(self.law, rng, day, user[session], device[session], hour)
        item, part = choice.without_repeats(session)
        return self._table(rng, chunk, happened, session, user[session], item, device[session], part)

    def _sessions(self, rng: np.random.Generator, chunk: int) -> tuple[Ints, Ints]:
        """Session number and offset in the chunk, microseconds, of each event."""
        num_events = int(self._chunk_events[chunk])
        lengths = np.minimum(rng.geometric(1 / _MEAN_SESSION, num_events), _MAX_SESSION)
        session = np.repeat(np.arange(num_events), lengths)[:num_events].astype(np.int64)
        gap = rng.exponential(_MEAN_GAP_US, num_events) + 2e6
        opening = np.flatnonzero(np.diff(session, prepend=-1))
        gap[opening] = 0.0
        elapsed = np.cumsum(gap)
        elapsed -= elapsed[opening][session]
        duration = np.maximum.reduceat(elapsed, opening) if num_events else elapsed
        room = self._chunk_us - 1.0
        squeeze = np.minimum(1.0, room / np.maximum(duration, 1.0))
        begins = self._time_of_chunk(rng.random(len(opening)), chunk)
        begins = np.minimum(begins, room - duration * squeeze)
        return session, (begins[session] + elapsed * squeeze[session]).astype(np.int64)

    def _time_of_chunk(self, uniforms: Floats, chunk: int) -> Floats:
        """Offsets in the chunk, microseconds, more of them in the busy hours."""
        weights = _HOUR_WEIGHTS[self._chunk_hours[chunk % self._chunks_per_day]]
        edges = np.concatenate([[0.0], np.cumsum(weights) / weights.sum()])
        return np.asarray(np.interp(uniforms, edges, np.arange(len(edges)) * float(_HOUR_US)), dtype=np.float64)

    def _devices(self, rng: np.random.Generator, users: Ints) -> Ints:
        usual = rng.random(len(users)) < MAIN_DEVICE_SHARE
        return np.where(usual, self.law.main_device(users), rng.integers(len(DEVICES), size=len(users)))

    def _table(
        self,
        rng: np.random.Generator,
        chunk: int,
        happened: Ints,
        session: Ints,
        user: Ints,
        item: Ints,
        device: Ints,
        part: Ints,
    ) -> "pa.Table":
        import pyarrow as pa

        from pipelines.data.schemas import EVENTS_SCHEMA
        from pipelines.sources.synthetic_catalogue import item_names, names, user_names

        count = len(happened)
        liking = 3.3 + _PART_VALUE[part] + self.law.item_quality[item] + rng.normal(0.0, 0.7, count)
        viewed = rng.random(count) < _VIEW_SHARE
        arrived = self._arrival_times(rng, happened)
        order = np.argsort(happened, kind="stable")
        copies = np.sort(np.concatenate([np.arange(count), np.flatnonzero(rng.random(count) < _DUPLICATE_SHARE)]))
        rows = order[copies]
        columns = [
            names(f"e{chunk:06d}-", copies, 6),
            user_names(user[rows]),
            item_names(item[rows]),
            pa.array(["rating", "view"]).take(pa.array(viewed[rows].astype(np.int64))),
            pa.array(np.clip(np.round(liking[rows]), 1.0, 5.0), mask=viewed[rows]),
            pa.array(happened[rows]).cast(EVENTS_SCHEMA.field("event_timestamp").type),
            pa.array(arrived[rows]).cast(EVENTS_SCHEMA.field("ingested_at").type),
            names(f"s{chunk:06d}-", session[rows], 6),
            pa.array(DEVICES).take(pa.array(device[rows])),
        ]
        return pa.Table.from_arrays(columns, schema=EVENTS_SCHEMA)

    def _arrival_times(self, rng: np.random.Generator, happened: Ints) -> Ints:
        prompt = rng.uniform(0.5e6, 5e6, len(happened))
        late = np.minimum(3.6e9 + rng.exponential(6 * 3.6e9, len(happened)), _MAX_LATE_US)
        delay = np.where(rng.random(len(happened)) < _LATE_SHARE, late, prompt).astype(np.int64)
        return np.asarray(np.minimum(happened + delay, self._end - 1), dtype=np.int64)

    def choice_probabilities(
        self, user_ids: Sequence[str], at: "datetime | Sequence[datetime]", *, devices: Sequence[str] | None = None
    ) -> Floats:
        """Return the true probability of each item for each query, [num_queries, num_items].

        Columns follow `item_ids`. `at` is one moment or one a query; without `devices` the users' usual mix counts.
        """
        from pipelines.sources.synthetic_catalogue import numbers

        users = numbers(user_ids)
        moments = np.array(
            [_microseconds(m) for m in (at if isinstance(at, Sequence) else [at] * len(users))], dtype=np.int64
        )
        days = np.clip((moments - self._start) // DAY_US, 0, self._config.num_days - 1)
        hours = moments // _HOUR_US % 24
        device = None if devices is None else np.array([DEVICES.index(name) for name in devices], dtype=np.int64)
        found = np.empty((len(users), self._config.num_items))
        for day in np.unique(days):
            rows = np.flatnonzero(days == day)
            found[rows] = self.law.probabilities(
                users[rows], int(day), hours[rows], None if device is None else device[rows]
            )
        return found

    def window_probabilities(self, user_ids: Sequence[str], start: datetime, end: datetime) -> Floats:
        """Return how an event of each user in `[start, end)` falls on the items, [num_users, num_items].

        It is the mean of the true probabilities over the window's days and their parts, weighted by how many events
        those have. Items that appear only after `start` get none: nobody could have recommended them.
        """
        from pipelines.sources.synthetic_catalogue import numbers

        users, law = numbers(user_ids), self.law
        low, high = _microseconds(start) - self._start, _microseconds(end) - self._start
        begins = np.arange(self._config.num_days, dtype=np.int64) * DAY_US
        shares = np.clip(np.minimum(high, begins + DAY_US) - np.maximum(low, begins), 0, None) / DAY_US
        shares *= self._chunk_events.reshape(self._config.num_days, -1).sum(axis=1)
        dayparts = _HOUR_WEIGHTS.reshape(NUM_DAYPARTS, -1).sum(axis=1) / _HOUR_WEIGHTS.sum()
        found = np.zeros((len(users), self._config.num_items))
        for day in np.flatnonzero(shares):
            hours = [np.full(len(users), 6 * part) for part in range(NUM_DAYPARTS)]
            thetas = (law.niche_probabilities(users, int(day), hour, None) for hour in hours)
            theta = np.sum([share * theta for share, theta in zip(dayparts, thetas, strict=True)], axis=0)
            found += shares[day] / shares.sum() * law.item_probabilities(theta, int(day))
        return np.where(self.law.item_appears * DAY_US <= low, found, 0.0)

    @property
    def item_ids(self) -> "Sequence[str]":
        """All items that ever appear, in the order of the columns of `choice_probabilities`."""
        from pipelines.sources.synthetic_catalogue import item_names

        names: Sequence[str] = item_names(np.arange(self._config.num_items)).to_pylist()
        return names

    def best_items(
        self,
        user_ids: Sequence[str],
        at: "datetime | Sequence[datetime]",
        top_k: int,
        *,
        exclude: Sequence[Collection[str]] | None = None,
        devices: Sequence[str] | None = None,
        until: datetime | None = None,
    ) -> list[list[str]]:
        """Return the `top_k` items a query most likely chooses: no recommender has a higher expected recall.

        Args:
            user_ids: one a query.
            at: the moment of all queries, or one a query.
            top_k: items to return.
            exclude: items that may not be returned, such as those seen; one collection a query.
            devices: device of each query, when known.
            until: rank by what users choose in the whole of `[at, until)`, for a protocol that asks once at `at` and
                counts everything up to `until`. `at` is one moment then, and `devices` do not apply.
        """
        from pipelines.sources.synthetic_catalogue import numbers

        names, best = np.array(self.item_ids), []
        step = max(16, _ORACLE_CELLS // self._config.num_items)
        for low in range(0, len(user_ids), step):
            part = slice(low, low + step)
            moments = at[part] if isinstance(at, Sequence) else at
            if until is not None and isinstance(moments, datetime):
                scores = self.window_probabilities(user_ids[part], moments, until)
            else:
                scores = self.choice_probabilities(user_ids[part], moments, devices=devices and devices[part])
            for row, excluded in enumerate(exclude[part] if exclude is not None else ()):
                scores[row, numbers(sorted(excluded))] = -1.0
            best.append(np.argsort(-scores, axis=1, kind="stable")[:, :top_k])
        return [names[row].tolist() for row in np.concatenate(best)] if best else []


class _Choices:
    """What the events of one chunk are about."""

    def __init__(
        self, law: SyntheticLaw, rng: np.random.Generator, day: int, users: Ints, devices: Ints, hours: Ints
    ) -> None:
        self._law, self._rng, self._day = law, rng, day
        self._taste = law.taste(users, np.full(len(users), day))
        self._cumulative = np.cumsum(law.part_weights(self._taste, devices, hours), axis=1)

    def without_repeats(self, session: Ints) -> tuple[Ints, Ints]:
        """Item, and part of the taste, of each event; a session's repeats are drawn again, up to three times."""
        rows = np.arange(len(session))
        item, part = self._draw(rows)
        for _ in range(3):
            key = session * self._law.config.num_items + item
            order = np.argsort(key, kind="stable")
            rows = order[np.flatnonzero(np.diff(key[order], prepend=-1) == 0)]
            if not len(rows):
                break
            item[rows], part[rows] = self._draw(rows)
        return item, part

    def _draw(self, rows: Ints) -> tuple[Ints, Ints]:
        explore, which, pick = self._rng.random((3, len(rows)))
        last = self._cumulative.shape[1] - 1
        part = np.minimum((self._cumulative[rows] <= which[:, None]).sum(axis=1), last)
        niche = np.where(explore < EXPLORATION, self._law.num_niches, self._taste[rows, part])
        return self._law.sample_items(niche, pick, self._day), np.where(explore < EXPLORATION, last + 1, part)


def _microseconds(moment: datetime) -> int:
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def _parse_end(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"source.synthetic.end={text!r} is not a time; expected such as 2025-06-30T00:00:00Z"
        ) from error
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if moment.minute or moment.second or moment.microsecond:
        raise ConfigError(f"source.synthetic.end={text!r} is not a full hour; expected such as 2025-06-30T00:00:00Z")
    return moment
