from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.config import SyntheticConfig
from pipelines.errors import ConfigError
from pipelines.sources.synthetic import SyntheticSource

SMALL = SyntheticConfig(num_events=6_000, num_users=300, num_items=200, num_days=12)
FIRST_DAY = date(2025, 6, 18)


def events(config: SyntheticConfig, seed: int, partition: str = "all") -> pa.Table:
    return SyntheticSource(config, seed=seed).read(partition).events.read_all()


@pytest.fixture(scope="module")
def whole() -> pa.Table:
    return events(SMALL, 7)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    num_events=st.integers(100, 3_000),
    num_users=st.integers(10, 200),
    num_items=st.integers(10, 300),
    cuts=st.sets(st.integers(1, 5), max_size=3),
)
def test_equal_settings_give_equal_rows_and_slices_add_up_to_all(
    seed: int, num_events: int, num_users: int, num_items: int, cuts: set[int]
) -> None:
    config = SyntheticConfig(num_events=num_events, num_users=num_users, num_items=num_items, num_days=6)
    everything = events(config, seed)
    assert everything.equals(events(config, seed))
    days = [date(2025, 6, 24) + timedelta(days=cut) for cut in (0, *sorted(cuts), 6)]
    slices = [events(config, seed, f"{low}/{high}") for low, high in pairwise(days)]
    assert pa.concat_tables(slices).combine_chunks().equals(everything.combine_chunks())


def test_chunks_shorter_than_a_day_add_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.sources.synthetic._EVENTS_PER_CHUNK", 30)
    source = SyntheticSource(SMALL, seed=3)
    everything = source.read("all").events.read_all()
    cut = "2025-06-23T05:30:00"
    halves = [source.read(part).events.read_all() for part in (f"2025-06-18/{cut}", f"{cut}/2025-06-30")]
    assert pa.concat_tables(halves).combine_chunks().equals(everything.combine_chunks())
    assert max(len(batch) for batch in source.read("all").events) < 400


def test_another_seed_gives_other_rows(whole: pa.Table) -> None:
    assert not events(SMALL, 8).equals(whole)


def test_it_has_what_real_data_has(whole: pa.Table) -> None:
    unique = len(whole["event_id"].unique())
    assert unique == SMALL.num_events
    assert 0 < whole.num_rows - unique < 0.02 * unique, "exact duplicates"
    lag = pc.subtract(whole["ingested_at"].cast("int64"), whole["event_timestamp"].cast("int64")).to_numpy()
    assert lag.min() >= 0
    assert 0.005 < np.mean(lag > 3600e6) < 0.03, "late rows"
    assert lag.max() <= 3 * 86_400e6
    assert whole["value"].null_count > 0
    assert set(whole["device"].unique().to_pylist()) == {"mobile", "desktop", "tv"}
    sessions = whole.group_by("session_id").aggregate([("user_id", "count_distinct"), ("event_id", "count")])
    assert pc.max(sessions["user_id_count_distinct"]).as_py() == 1
    assert 2.5 < pc.mean(sessions["event_id_count"]).as_py() < 5.5
    end = datetime(2025, 6, 30, tzinfo=UTC)
    assert pc.max(whole["ingested_at"]).as_py() < end
    counts = np.sort(whole["item_id"].value_counts().field("counts").to_numpy())[::-1]
    assert counts[:20].sum() > 0.2 * counts.sum(), "few items get much of the attention"


def test_nobody_acts_before_joining_and_nothing_is_chosen_before_it_appears(whole: pa.Table) -> None:
    tables = SyntheticSource(SMALL, seed=7).read("all")
    for key, stream in (("item_id", tables.items), ("user_id", tables.users)):
        first = stream.read_all().group_by(key).aggregate([("updated_at", "min")])
        joined = whole.join(first, key)
        assert joined["updated_at_min"].null_count == 0
        assert pc.all(pc.greater_equal(joined["event_timestamp"], joined["updated_at_min"])).as_py()


def test_catalogue_and_users_grow_and_texts_are_revised() -> None:
    source = SyntheticSource(SMALL, seed=7)
    early, late = source.read("2025-06-18/2025-06-19"), source.read("2025-06-29/2025-06-30")
    early_items, late_items = early.items.read_all(), late.items.read_all()
    assert 0.5 * SMALL.num_items < early_items.num_rows < SMALL.num_items
    assert len(late_items["item_id"].unique()) == SMALL.num_items
    assert late_items.num_rows > SMALL.num_items, "revised items have two rows"
    assert early.users.read_all().num_rows < late.users.read_all().num_rows == SMALL.num_users


def test_attributes_and_values_go_with_taste() -> None:
    config = SyntheticConfig(num_events=20_000, num_users=400, num_items=300, num_days=10)
    source = SyntheticSource(config, seed=1)
    tables = source.read("all")
    users = {row["user_id"]: row["attributes"] for row in tables.users.read_all().to_pylist()}
    genres = {row["item_id"]: row["categories"][0] for row in tables.items.read_all().to_pylist()}
    rows = tables.events.read_all().to_pylist()
    by_country: dict[str, dict[str, int]] = {}
    for row in rows:
        counts = by_country.setdefault(users[row["user_id"]][0], {})
        counts[genres[row["item_id"]]] = counts.get(genres[row["item_id"]], 0) + 1
    favourites = {max(counts, key=lambda genre: counts[genre]) for counts in by_country.values()}
    assert len(favourites) > 2, "countries differ in what they like"
    likely = source.choice_probabilities(
        [r["user_id"] for r in rows[:4000]], [r["event_timestamp"] for r in rows[:4000]]
    )
    index = {name: number for number, name in enumerate(source.item_ids)}
    chosen = np.array([likely[number, index[row["item_id"]]] for number, row in enumerate(rows[:4000])])
    values = np.array([np.nan if row["value"] is None else row["value"] for row in rows[:4000]])
    high, low = np.nanmean(values[chosen > np.median(chosen)]), np.nanmean(values[chosen <= np.median(chosen)])
    assert high > low + 0.1


def test_probabilities_are_those_the_events_were_drawn_from() -> None:
    """Of many queries, the share that chose their k likeliest items is the sum of those items' probabilities."""
    config = SyntheticConfig(num_events=12_000, num_users=300, num_items=150, num_days=6)
    source = SyntheticSource(config, seed=5)
    rows = source.read("all").events.read_all().slice(0, 4_000).to_pylist()
    # Later events of a session avoid its earlier items; only first ones follow the law as it stands.
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        known = first.setdefault(row["session_id"], row)
        if row["event_timestamp"] < known["event_timestamp"]:
            first[row["session_id"]] = row
    queries = list(first.values())
    moments, users = [q["event_timestamp"] for q in queries], [q["user_id"] for q in queries]
    exact = source.choice_probabilities(users, moments, devices=[q["device"] for q in queries])
    np.testing.assert_allclose(exact.sum(axis=1), 1.0)
    names = np.array(source.item_ids)
    order = np.argsort(-exact, axis=1)[:, :10]
    expected = np.take_along_axis(exact, order, axis=1).sum(axis=1).mean()
    observed = np.mean([q["item_id"] in names[row] for q, row in zip(queries, order, strict=True)])
    assert abs(observed - expected) < 4 * np.sqrt(expected * (1 - expected) / len(queries)) + 0.01


def test_the_oracle_beats_popularity_by_far_and_respects_exclusions() -> None:
    source = SyntheticSource(SMALL, seed=7)
    rows = source.read("all").events.read_all().to_pylist()[-1500:]
    users, moments = [row["user_id"] for row in rows], [row["event_timestamp"] for row in rows]
    best = source.best_items(users, moments, 10, devices=[row["device"] for row in rows])
    popular = {entry["values"] for entry in sorted(
        events(SMALL, 7)["item_id"].value_counts().to_pylist(), key=lambda entry: -entry["counts"])[:10]}  # fmt: skip
    oracle = np.mean([row["item_id"] in found for row, found in zip(rows, best, strict=True)])
    assert oracle > 2 * np.mean([row["item_id"] in popular for row in rows])
    excluded = source.best_items(users[:20], moments[:20], 10, exclude=[set(found[:3]) for found in best[:20]])
    assert all(len(found) == 10 for found in excluded)
    assert not any(set(found) & set(before[:3]) for found, before in zip(excluded, best, strict=False))


def test_for_a_window_the_oracle_of_the_window_beats_that_of_its_first_moment() -> None:
    config = SyntheticConfig(num_events=30_000, num_users=300, num_items=200, num_days=20)
    source = SyntheticSource(config, seed=7)
    cut, end = datetime(2025, 6, 20, tzinfo=UTC), datetime(2025, 6, 30, tzinfo=UTC)
    rows = source.read("all").events.read_all()
    rows = rows.filter(pc.greater_equal(rows["event_timestamp"], cut)).to_pylist()
    chosen: dict[str, set[str]] = {}
    for row in rows:
        chosen.setdefault(row["user_id"], set()).add(row["item_id"])
    users = sorted(chosen)

    def recall(lists: list[list[str]]) -> float:
        found = [len(chosen[user] & set(row)) / len(chosen[user]) for user, row in zip(users, lists, strict=True)]
        return float(np.mean(found))

    of_window = source.best_items(users, cut, 10, until=end)
    assert recall(of_window) > 1.05 * recall(source.best_items(users, cut, 10))
    np.testing.assert_array_less(source.window_probabilities(users, cut, end).sum(axis=1), 1.0 + 1e-9)
    late = {name for name, day in zip(source.item_ids, source.law.item_appears, strict=True) if day > 10}
    assert late
    assert not late & {item for row in of_window for item in row}


@pytest.mark.parametrize("partition", ["yesterday", "2025-06-20", "2025-06-21/2025-06-20", "2025-06-20/2025-06-20"])
def test_a_malformed_partition_is_named(partition: str) -> None:
    with pytest.raises(ConfigError, match=partition):
        SyntheticSource(SMALL, seed=7).read(partition)


def test_a_malformed_end_is_named() -> None:
    with pytest.raises(ConfigError, match=r"source.synthetic.end='soon' is not a time"):
        SyntheticSource(SMALL.model_copy(update={"end": "soon"}), seed=7)
