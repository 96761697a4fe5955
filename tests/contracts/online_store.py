"""What every online store must keep to, whatever holds its rows: run on SQLite, PostgreSQL and Redis."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Float32, Int64, String, UnixTimestamp

from pipelines.stores.online_encoding import values
from pipelines.stores.online_rows import NOTHING, ColumnStore, OnlineRows, encoded, from_feast, microseconds

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)
USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
SOURCE = FileSource(
    name="source", path="nowhere.parquet", timestamp_field="event_timestamp", created_timestamp_column="created"
)
FEATURES = {"num": Int64, "mean": Float32, "name": String, "items": Array(String), "last": UnixTimestamp}


def view(name: str = "activity", features: dict[str, Any] | None = None) -> FeatureView:
    schema = [Field(name="user_id", dtype=String)]
    schema += [Field(name=feature, dtype=dtype) for feature, dtype in (features or FEATURES).items()]
    return FeatureView(name=name, entities=[USER], schema=schema, source=SOURCE, ttl=timedelta(0))


def batch(rows: list[tuple[str, int | None, datetime]]) -> pa.RecordBatch:
    """Rows of (user, number, event time); the other features follow from the number."""
    users, numbers, moments = zip(*rows, strict=True)
    known = [number is not None for number in numbers]
    return pa.record_batch(
        {
            "user_id": pa.array(users),
            "num": pa.array(numbers, pa.int64()),
            "mean": pa.array([n / 2 if k else None for n, k in zip(numbers, known, strict=True)], pa.float32()),
            "name": pa.array([f"é{n}" if k else None for n, k in zip(numbers, known, strict=True)]),
            "items": pa.array([["a", ""] * (n % 3) if k else None for n, k in zip(numbers, known, strict=True)]),
            "last": pa.array(moments, pa.timestamp("us", "UTC")),
            "event_timestamp": pa.array(moments, pa.timestamp("us", "UTC")),
            "created": pa.array([at + TICK for at in moments], pa.timestamp("us", "UTC")),
        }
    )


def entity(user: str) -> EntityKey:
    return EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=user)])


@dataclass
class OpenStore:
    """A store with one view applied."""

    feast: FeatureStore
    view: FeatureView

    @property
    def config(self) -> RepoConfig:
        return self.feast.config

    @property
    def online(self) -> Any:
        return self.feast.provider.online_store

    def write(self, *rows: tuple[str, int | None, datetime]) -> None:
        self.online.write_columns(self.config, self.view, encoded(self.config, self.view, batch(list(rows))))

    def read(self, *users: str) -> OnlineRows:
        keys = [(entity(u), {}, NOON, None) for u in users]
        return self.online.read_columns(self.config, self.view, from_feast(self.config, keys).keys)

    def numbers(self, *users: str) -> list[int | None]:
        read = self.feast.get_online_features(["activity:num"], [{"user_id": user} for user in users])
        return read.to_dict()["num"]


def opened(folder: Path, online_store: dict[str, Any], project: str = "contract") -> FeatureStore:
    return FeatureStore(
        config=RepoConfig(
            project=project,
            provider="local",
            registry=str(folder / "registry.db"),
            online_store=online_store,
            entity_key_serialization_version=3,
        )
    )


class OnlineStoreContract:
    """Subclasses give `settings`: the store's part of the Feast yaml, naming an empty store."""

    feasts_own: str

    @pytest.fixture
    def store(self, settings: dict[str, Any], tmp_path: Path) -> OpenStore:
        feast = opened(tmp_path, settings)
        feast.apply([USER, view()])
        return OpenStore(feast, feast.get_feature_view("activity"))

    def test_feast_reads_what_was_written(self, store: OpenStore) -> None:
        store.write(("u1", 3, NOON), ("u2", None, NOON), ("u3", 0, NOON))
        names = [f"activity:{name}" for name in FEATURES]
        rows = [{"user_id": user} for user in ("u1", "u2", "u3", "nobody")]
        read = store.feast.get_online_features(names, rows).to_dict()
        assert read["num"] == [3, None, 0, None]
        assert read["mean"] == [1.5, None, 0.0, None]
        assert read["name"] == ["é3", None, "é0", None]
        assert [list(items) if items is not None else None for items in read["items"]] == [[], None, [], None]
        assert read["last"] == [NOON, NOON, NOON, None]

    def test_the_bytes_are_those_of_feasts_own_rows(self, store: OpenStore) -> None:
        """Written through Feast's row interface, the same values give the same bytes."""
        store.write(("u1", 5, NOON))
        in_columns = store.read("u1")
        key = entity("u1")
        expected = {"num": Value(int64_val=5), "mean": Value(float_val=2.5), "name": Value(string_val="é5")}
        (_, found), *_ = store.online.online_read(store.config, store.view, [key], list(FEATURES))
        assert {name: found[name] for name in expected} == expected
        store.online.online_write_batch(store.config, store.view, [(key, found, NOON, NOON + TICK)], None)
        assert store.read("u1").values == in_columns.values

    def test_an_entity_is_erased_from_every_view(self, store: OpenStore) -> None:
        other = view("other", {"num": Int64})
        store.feast.apply([USER, view(), other])
        views = [store.view, store.feast.get_feature_view("other")]
        for each in views:
            store.online.write_columns(store.config, each, encoded(store.config, each, batch([("u1", 3, NOON)])))
        store.write(("u2", 4, NOON))
        views.append(view("declared elsewhere, and not brought here"))
        key = from_feast(store.config, [(entity("u1"), {}, NOON, None)]).keys[0].as_py()
        assert store.online.count_entity(store.config, views, key) > len(FEATURES)
        for _ in range(2):
            store.online.erase_entity(store.config, views, key)
        assert store.online.count_entity(store.config, views, key) == 0
        assert store.numbers("u1", "u2") == [None, 4]
        assert store.feast.get_online_features(["other:num"], [{"user_id": "u1"}]).to_dict()["num"] == [None]

    def test_an_older_row_never_replaces_a_newer_one(self, store: OpenStore) -> None:
        store.write(("u1", 2, NOON))
        store.write(("u1", 1, NOON - TICK), ("u2", 1, NOON - TICK))
        assert store.numbers("u1", "u2") == [2, 1]
        store.write(("u1", 3, NOON + TICK))
        assert store.numbers("u1") == [3]
        assert store.read("u1").event_us.tolist() == microseconds(pa.array([NOON + TICK])).tolist()

    def test_of_many_rows_the_older_ones_alone_are_left_out(self, store: OpenStore) -> None:
        users = [f"u{n}" for n in range(1_101)]
        store.write(*((user, 1, NOON) for user in users))
        store.write(*((user, 2, NOON + TICK * (n % 3 - 1)) for n, user in enumerate(users)))
        assert store.numbers(*users) == [2 if n % 3 else 1 for n in range(len(users))]

    def test_a_correction_at_the_same_moment_is_taken(self, store: OpenStore) -> None:
        store.write(("u1", 2, NOON))
        store.write(("u1", 1, NOON))
        assert store.numbers("u1") == [1]

    @pytest.mark.parametrize("moment", [datetime(1950, 5, 5, 1, 2, 3, 4, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)])
    def test_moments_before_1970_are_ordered_too(self, store: OpenStore, moment: datetime) -> None:
        for number, at in ((1, moment), (2, moment - TICK), (3, moment - timedelta(days=9))):
            store.write(("u1", number, at))
            assert store.numbers("u1") == [1]
        store.write(("u1", 4, moment + TICK))
        assert store.numbers("u1") == [4]

    def test_rows_of_one_batch_are_ordered_too(self, store: OpenStore) -> None:
        key = entity("u1")
        moments = [NOON, NOON + TICK, NOON - TICK]
        rows = [(key, {"num": Value(int64_val=n)}, at, None) for n, at in enumerate(moments)]
        store.online.online_write_batch(store.config, store.view, rows, None)
        assert store.numbers("u1") == [1]

    def test_columns_come_back_as_they_went(self, store: OpenStore) -> None:
        rows = [(f"u{n}", n if n % 7 else None, NOON + n * TICK) for n in range(1_200)]
        written = encoded(store.config, store.view, batch(rows))
        store.online.write_columns(store.config, store.view, written)
        read = store.online.read_columns(store.config, store.view, written.keys)
        assert read.keys.equals(written.keys)
        assert read.event_us.tolist() == written.event_us.tolist()
        assert all(read.values[name].equals(column) for name, column in written.values.items())

    def test_a_missing_entity_and_a_missing_feature_are_nothing(self, store: OpenStore) -> None:
        store.write(("u1", 1, NOON))
        assert store.read("nobody").event_us.tolist() == [NOTHING]
        key = entity("part")
        store.online.online_write_batch(
            store.config, store.view, [(key, {"num": Value(int64_val=1)}, NOON, None)], None
        )
        assert store.read("part", "u1").event_us.tolist()[0] == NOTHING
        assert store.read("part", "u1").event_us.tolist()[1] != NOTHING

    def test_a_view_gets_a_feature_and_loses_one(self, store: OpenStore) -> None:
        """Rows without the new feature are missing until they are written again; the old release reads its own."""
        store.write(("u1", 1, NOON), ("u2", 1, NOON))
        old, kept = store.view, {name: kind for name, kind in FEATURES.items() if name != "mean"}
        store.feast.apply([USER, view(features=kept | {"more": Int64})])
        store.view = store.feast.get_feature_view("activity")
        assert store.read("u1").event_us.tolist() == [NOTHING]
        row = batch([("u1", 2, NOON)])
        row = row.append_column("more", row.column("num"))
        store.online.write_columns(store.config, store.view, encoded(store.config, store.view, row))
        assert store.read("u1").event_us.tolist() == microseconds(pa.array([NOON])).tolist()
        read = store.feast.get_online_features(["activity:more"], [{"user_id": "u1"}, {"user_id": "u2"}]).to_dict()
        assert read["more"] == [2, None]
        (_, found), *_ = store.online.online_read(store.config, old, [entity("u2")], list(FEATURES))
        assert (found["num"].int64_val, found["mean"].float_val) == (1, 0.5)
        store.feast.apply([USER, old])
        assert store.feast.get_online_features(["activity:mean"], [{"user_id": "u1"}]).to_dict()["mean"] == [0.5]

    def test_values_of_any_length_come_back(self, store: OpenStore) -> None:
        lengths = [0, 1, 15, 29, 30, 31, 127, 255, 256, 70_000]
        rows = encoded(store.config, store.view, batch([(f"u{n}", 1, NOON) for n in range(len(lengths))]))
        rows.values["name"] = values(pa.array(["x" * length for length in lengths]))
        store.online.write_columns(store.config, store.view, rows)
        assert store.read(*(f"u{n}" for n in range(len(lengths)))).values == rows.values
        read = store.feast.get_online_features(["activity:name"], [{"user_id": f"u{n}"} for n in range(len(lengths))])
        assert [len(name) for name in read.to_dict()["name"]] == lengths

    def test_new_and_known_and_incomplete_entities_come_in_one_batch(self, store: OpenStore) -> None:
        part = [(entity("part"), {"num": Value(int64_val=1)}, NOON, None)]
        store.online.online_write_batch(store.config, store.view, part, None)
        store.write(("known", 1, NOON), ("newer", 9, NOON + 2 * TICK))
        store.write(*((user, 2, NOON + TICK) for user in ("new", "known", "part", "newer", "other")))
        assert store.numbers("new", "known", "part", "newer", "other") == [2, 2, 2, 9, 2]
        assert (store.read("new", "known", "part", "newer", "other").event_us != NOTHING).all()

    def test_event_times_are_read_alone(self, store: OpenStore) -> None:
        store.write(("u2", None, NOON), ("u1", 1, NOON + TICK))
        keys = store.read("u1", "nobody", "u2").keys
        expected = [*microseconds(pa.array([NOON + TICK])).tolist(), NOTHING, *microseconds(pa.array([NOON])).tolist()]
        assert store.online.event_times(store.config, store.view, keys).tolist() == expected
        assert store.online.event_times(store.config, store.view, keys.slice(0, 0)).tolist() == []

    def test_views_and_projects_do_not_meet(self, store: OpenStore, settings: dict[str, Any], tmp_path: Path) -> None:
        other = view("profile")
        store.feast.apply([USER, other])
        store.write(("u1", 1, NOON))
        rows = encoded(store.config, other, batch([("u1", 2, NOON - timedelta(days=1))]))
        store.online.write_columns(store.config, other, rows)
        read = store.feast.get_online_features(["activity:num", "profile:num"], [{"user_id": "u1"}], True).to_dict()
        assert (read["activity__num"], read["profile__num"]) == ([1], [2])
        elsewhere = opened(tmp_path / "elsewhere", settings, "another")
        elsewhere.apply([USER, view()])
        assert elsewhere.get_online_features(["activity:num"], [{"user_id": "u1"}]).to_dict()["num"] == [None]

    def test_a_removed_view_goes_alone(self, store: OpenStore, settings: dict[str, Any], tmp_path: Path) -> None:
        other = view("profile")
        store.feast.apply([USER, other])
        store.write(("u1", 1, NOON), ("u2", 2, NOON))
        store.online.write_columns(store.config, other, encoded(store.config, other, batch([("u1", 3, NOON)])))
        store.online.remember(store.config, store.view, "first")
        elsewhere = opened(tmp_path / "elsewhere", settings, "longer_contract")  # ends in this project's name
        elsewhere.apply([USER, view()])
        beside = OpenStore(elsewhere, elsewhere.get_feature_view("activity"))
        beside.write(("u1", 4, NOON))
        store.feast.apply([USER, other], objects_to_delete=[store.view], partial=False)
        store.feast.apply([USER, other, view()])
        assert store.numbers("u1", "u2") == [None, None]
        assert store.online.remembered(store.config, store.view) is None
        read = store.feast.get_online_features(["profile:num"], [{"user_id": "u1"}]).to_dict()
        assert (read["num"], beside.numbers("u1")) == ([3], [4])

    def test_notes_stay_with_their_view(self, store: OpenStore) -> None:
        online, config = store.online, store.config
        assert online.remembered(config, store.view) is None
        online.remember(config, store.view, "first")
        online.remember(config, store.view, "second")
        assert online.remembered(config, store.view) == "second"
        assert online.remembered(config, view("profile")) is None

    def test_it_is_a_column_store(self, store: OpenStore) -> None:
        assert isinstance(store.online, ColumnStore)

    def test_no_rows_are_no_error(self, store: OpenStore) -> None:
        nothing = encoded(store.config, store.view, batch([("u1", 1, NOON)]).slice(0, 0))
        store.online.write_columns(store.config, store.view, nothing)
        assert len(store.online.read_columns(store.config, store.view, nothing.keys)) == 0
        assert np.array_equal(nothing.event_us, np.array([], np.int64))

    def test_feasts_own_store_reads_the_same(self, store: OpenStore, settings: dict[str, Any], tmp_path: Path) -> None:
        store.write(("u1", 4, NOON))
        feasts = self.feasts_settings(settings)
        feast = opened(tmp_path, feasts)
        read = feast.get_online_features(["activity:num", "activity:name"], [{"user_id": "u1"}]).to_dict()
        assert (read["num"], read["name"]) == ([4], ["é4"])
        self.close(feast)

    def close(self, feast: FeatureStore) -> None:
        """Close what Feast's own store leaves open."""

    def feasts_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The same place, as Feast's own store is told of it."""
        return settings | {"type": self.feasts_own}
