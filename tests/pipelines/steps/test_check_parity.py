"""Serving's own code makes features, the check recomputes them: equal when all is well, each planted skew is seen."""

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.config import ParityConfig
from pipelines.contracts import ParityReport
from pipelines.data.schemas import LAKE_SCHEMAS
from pipelines.errors import ParityError
from pipelines.features.compute import connect, raw_table, run
from pipelines.features.transforms import RawTables, feature_tables
from pipelines.parity.items import ITEM_FEATURES
from pipelines.steps.check_parity import check_parity, require_parity
from pipelines.stores.feature_store import FeatureStore
from pipelines.stores.freshness import ViewFreshness as Policy
from pipelines.stores.served import stamp_nothing
from pipelines.stores.served_files import ServedFiles
from serving.feature_log import feature_record
from serving.freshness import Freshness
from serving.metrics import Metrics
from serving.overlay import Overlay, recent_event
from serving.recent import stored_until
from serving.recommender import Query, Recommender, query_features
from serving.users import UserReader
from tests.support.feature_data import AS_OF, DATASET, SHORT, START, Workspace, event, random_tables

DELAY = 3_600.0
LAST = AS_OF + timedelta(days=3)
CONFIG = ParityConfig(min_requests=5, max_days=30)
USERS = [f"u{n}" for n in range(6)] + ["new"]
NO_POLICIES: dict[str, Policy] = {}
Skew = Callable[[dict[str, Any]], None]


class World:
    """A lake with served events after `AS_OF`, and requests that serving answered meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace(folder, delay_seconds=DELAY)
        rng = random.Random(5)
        tables = random_tables(seed=5)
        self.served = []
        for number in range(60):
            at = AS_OF + timedelta(seconds=rng.randint(1, 2 * 86_400), microseconds=number)
            who, what = rng.choice(USERS), f"i{rng.randint(0, 9)}"
            partition = "served:x:tiny:1"
            happened = at - timedelta(hours=rng.choice([0, 0, 50]))
            row = event(500 + number, who, what, happened, ingested_at=at, source_partition=partition)
            self.served.append(row)
        # Raw rows that come to be known later would be skew: no store has them yet.
        latest = AS_OF - timedelta(seconds=DELAY)
        known = [e for e in tables["events"] if e["ingested_at"] < latest]  # type: ignore[operator]  # a moment
        self.lake_events = [*known, *self.served]
        self.workspace.fill(tables | {"events": self.lake_events})
        self.stored = self._stored(AS_OF)
        self.release = self.workspace.snapshot(AS_OF)
        self.recommender = self.released(self.workspace.declare())
        self.requests = ServedFiles(folder / "serving" / "requests", stamp=stamp_nothing, durable=False)
        self.events = ServedFiles(folder / "serving" / "events")

    def released(self, store: FeatureStore) -> Recommender:
        items = store.items_at(AS_OF, features=self.workspace.compute(self.release))
        catalogue = SimpleNamespace(features=items, categories=items["categories"].combine_chunks())
        return Recommender(SimpleNamespace(catalogue=catalogue))  # type: ignore[arg-type]  # all it reads

    def _stored(self, as_of: datetime) -> dict[str, dict[str, Any]]:
        """What an online store holds after features as of a moment were materialized: user -> view -> row."""
        connection = connect(SHORT, self.workspace.home / "spill")
        snapshot = self.workspace.snapshot(as_of)
        raw = {
            name: raw_table(connection, self.workspace.lake, snapshot, name) for name in ("events", "items", "users")
        }
        tables = feature_tables(RawTables(**raw), config=SHORT, as_of=as_of, delay_seconds=DELAY)
        found: dict[str, dict[str, Any]] = {user: {} for user in USERS}
        for name, table in tables.items():
            if name.startswith("user_"):
                for row in run(connection, table.order_by("event_timestamp")).to_arrow_table().to_pylist():
                    values = {k: v for k, v in row.items() if not k.endswith("_timestamp")}
                    found[row["user_id"]][name] = (row["event_timestamp"], values)
        return found

    def online_user_views(self, user_id: str) -> dict[str, tuple[datetime | None, dict[str, Any]]]:
        return self.stored[user_id]

    def audited_at(self) -> dict[str, datetime | None]:
        return {}

    def ttls(self) -> dict[str, timedelta]:
        return {}

    def answer(
        self, user_id: str, at: datetime, *, blind_seconds: float = 0.0, policies: Mapping[str, Policy] = NO_POLICIES
    ) -> dict[str, Any]:
        """Log what serving would for a request, if events of the last `blind_seconds` had not reached it."""
        overlay = Overlay(max_users=99, max_events=999)
        for row in self.served:
            if row["ingested_at"] < at - timedelta(seconds=blind_seconds):  # type: ignore[operator]  # a moment
                times = {name: str(row[name]) for name in ("event_timestamp", "ingested_at")}
                overlay.add([recent_event(DATASET, row | times)])
        store = Freshness(policies, Metrics()).over(self, at.timestamp)
        reader = UserReader(lambda: store, overlay, dataset=DATASET, history_length=3, retry_seconds=0)
        user, moment = reader.read(user_id), at + timedelta(hours=2)
        features = query_features(Query(user_id, 10), user, moment)
        return feature_record(
            features,
            self.recommender.item_features(features, np.array([at.microsecond % 10, 3], np.int32)),
            read_at=at,
            moment=moment,
            stored_until=stored_until(user.features),
            release="1",
            snapshot=self.release.model_dump(mode="json"),
            history_length=3,
            expired=user.expired,
        )

    def check(self, records: list[dict[str, Any]], **config: Any) -> ParityReport:
        import shutil

        shutil.rmtree(self.requests._folder, ignore_errors=True)
        if records:
            self.requests.append(DATASET, records)
        return check_parity(
            DATASET,
            config=CONFIG.model_copy(update=config),
            features=SHORT,
            delay_seconds=DELAY,
            requests=self.requests,
            events=self.events,
            lake=self.workspace.lake,
            registry=None,
            artifacts=self.workspace.artifacts,
            scratch=self.workspace.home / "spill",
            seed=1,
            as_of=LAST,
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("parity"))
    yield world
    world.requests.close()
    world.events.close()


@pytest.fixture(scope="module")
def clean(world: World) -> list[dict[str, Any]]:
    rng = random.Random(8)
    moments = [AS_OF + timedelta(seconds=rng.randint(1, 2 * 86_400)) for _ in range(40)]
    # Right after an event, and at the very moment of one.
    arrived: list[Any] = [row["ingested_at"] for row in world.served[:20]]
    moments += [at + timedelta(microseconds=n) for n, at in enumerate(arrived)]
    return [world.answer(USERS[n % len(USERS)], at) for n, at in enumerate(moments)]


def different(report: ParityReport) -> dict[str, int]:
    return {feature.name: feature.num_different for feature in report.features if feature.num_different}


def test_what_serving_used_is_what_training_would_have_seen(world: World, clean: list[dict[str, Any]]) -> None:
    report = world.check(clean)
    assert different(report) == {}
    assert (report.num_compared, report.num_waiting) == (len(clean), 0)
    assert len(report.features) == 12 + 11, "of user and context, and of items"
    assert require_parity(report, CONFIG) == report
    page = (Path(report.uri) / "report.html").read_text()
    assert "60 requests compared" in page


def _set(name: str, change: Callable[[Any], Any]) -> Skew:
    def skew(features: dict[str, Any]) -> None:
        features[name] = change(features[name])

    return skew


SKEWS: dict[str, Skew] = {
    "user_num_events": _set("user_num_events", lambda value: (value or 0) + 1),
    "user_num_events_7d": _set("user_num_events_7d", lambda value: (value or 0) + 1),
    "user_mean_value": _set("user_mean_value", lambda value: (value or 1.0) * 1.00001),
    "last_known_at": _set("last_known_at", lambda _: AS_OF),
    "recent_items": _set("recent_items", lambda items: [*(items or ["i1", "i2"])[::-1], "i0"]),
    "taste_weights": _set("taste_weights", lambda weights: [1 - w for w in weights or [0.5]]),
    "attributes": _set("attributes", lambda _: ["age=99"]),
    "hour": _set("hour", lambda hour: (hour + 1) % 24),
    "days_since_last_event": _set("days_since_last_event", lambda days: (days or 0.0) + 1 / 24),
}


@pytest.mark.parametrize("name", SKEWS)
def test_a_planted_skew_fails_and_is_named(world: World, clean: list[dict[str, Any]], name: str) -> None:
    records = copy.deepcopy(clean)
    for record in records[::10]:
        SKEWS[name](record["features"])
    report = world.check(records)
    of_taste = {"taste_match"} if name == "taste_weights" else set()  # which follows from it
    assert {feature: num for feature, num in different(report).items() if feature not in of_taste} == {name: 6}
    with pytest.raises(ParityError, match=rf"{name} of serving differs from offline for 6 of 60 requests \(10\.0%"):
        require_parity(report, CONFIG)
    assert require_parity(report, CONFIG.model_copy(update={"max_mismatch_share": 0.1})) == report
    assert require_parity(report, CONFIG.model_copy(update={"min_requests": 61})) == report


ITEM_SKEWS: dict[str, Callable[[Any], Any]] = {
    "item_num_events": lambda value: (value or 0) + 1,
    "item_num_events_7d": lambda _: None,
    "item_mean_value": lambda value: (value or 1.0) * 1.00001,
    "item_value_std": lambda value: (value or 0.0) + 0.5,
    "title": lambda _: "Another",
    "categories": lambda categories: [*(categories or []), "new"],
    "taste_match": lambda match: match + 0.25,
}


@pytest.mark.parametrize("name", ITEM_SKEWS)
def test_a_planted_skew_of_an_item_fails_and_is_named(world: World, clean: list[dict[str, Any]], name: str) -> None:
    records = copy.deepcopy(clean)
    for record in records[::10]:
        shown = record["items"][-1]
        shown[name] = ITEM_SKEWS[name](shown[name])
    report = world.check(records)
    assert different(report) == {name: 6}
    (found,) = [feature for feature in report.features if feature.num_different]
    assert found.example.startswith(f"request {records[0]['request_id']}, item i3: used ")
    with pytest.raises(ParityError, match=f"{name} of serving differs from offline for 6 of 60"):
        require_parity(report, CONFIG)


def test_items_of_each_release_are_compared_at_its_own_snapshot(world: World, clean: list[dict[str, Any]]) -> None:
    """The same values under a snapshot of an earlier moment are wrong where something happened in between."""
    records = copy.deepcopy(clean)
    earlier = world.release.model_copy(update={"as_of": START + timedelta(days=5)})
    for record in records[:10]:
        record["snapshot"] = earlier.model_dump(mode="json")
    report = world.check(records)
    assert different(report)["item_num_events"] == 10
    assert set(different(report)) <= {*ITEM_FEATURES, "taste_match"}, "nothing of the users"


def test_item_features_that_joins_take_for_expired_are_equal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release is built by joins, which honour the view's time to live."""
    from feature_repo.feature_views import item_quality

    monkeypatch.setattr(item_quality, "ttl", timedelta(days=39))
    world.workspace.store.apply()
    monkeypatch.setattr(world, "recommender", world.released(world.workspace.store))
    records = [world.answer("u1", AS_OF + timedelta(hours=1, microseconds=n)) for n in range(10)]
    shown = {item["item_id"]: item["item_mean_value"] for record in records for item in record["items"]}
    assert None in shown.values(), "some have expired"
    assert set(shown.values()) != {None}
    assert different(world.check(records)) == {}


def test_requests_logged_without_items_are_compared_without_them(world: World, clean: list[dict[str, Any]]) -> None:
    records = [{k: v for k, v in record.items() if k not in ("items", "snapshot")} for record in clean]
    assert len(world.check(records).features) == 12


def test_an_event_may_be_as_late_as_the_goal_and_no_later(world: World) -> None:
    served: list[dict[str, Any]] = list(world.served)
    after = [(row["user_id"], row["ingested_at"] + timedelta(seconds=1)) for row in served]
    late = [world.answer(user, at, blind_seconds=1.5) for user, at in after]
    assert different(world.check(late)) == {}
    assert different(world.check(late, lag_seconds=0.5))["user_num_events"] > 50
    lost = [world.answer(user, at + timedelta(seconds=5), blind_seconds=7) for user, at in after]
    assert different(world.check(lost))["recent_items"] > 50


def test_several_events_on_their_way_cannot_be_told_apart(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process has its own newest event already, and not yet the one that another took in a moment before."""
    moments = [AS_OF + timedelta(days=2, hours=1, seconds=n) for n in range(2)]
    pair = [event(900 + n, "u1", f"i{n}", at, source_partition="served:x:tiny:2") for n, at in enumerate(moments)]
    read_at = moments[1] + timedelta(seconds=0.5)
    everything = [*world.lake_events, *pair]
    world.workspace.lake.overwrite("events", pa.Table.from_pylist(everything, LAKE_SCHEMAS["events"]))
    monkeypatch.setattr(world, "served", [*world.served, pair[1]])
    report = world.check([world.answer("u1", read_at)])
    assert (different(report), report.num_ambiguous) == ({}, 1)
    report = world.check([world.answer("u1", read_at + timedelta(seconds=2))])
    assert different(report)["user_num_events"] == 1, "two seconds later both must be there"


def test_requests_wait_until_their_events_are_drained(
    world: World, clean: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    middle = sorted(record["read_at"] for record in clean)[29]
    monkeypatch.setattr(world.events, "names", lambda: [DATASET])
    monkeypatch.setattr(world.events, "waiting", lambda name: True)
    assert world.check(clean).num_waiting == 60, "nothing was ever drained"
    monkeypatch.setattr(world.events, "complete_until", lambda name: datetime.fromisoformat(middle))
    report = world.check(clean)
    assert (report.num_compared, report.num_waiting) == (30, 30)


def test_many_requests_are_sampled_and_none_is_no_failure(world: World, clean: list[dict[str, Any]]) -> None:
    assert world.check(clean, max_requests=7).num_compared == 7
    nothing = world.check([])
    assert (nothing.num_compared, nothing.features, require_parity(nothing, CONFIG)) == (0, (), nothing)


DAY = 86_400.0


def _replaced(**defaults: Any) -> dict[str, Any]:
    return {"ttl_seconds": DAY, "when_expired": "default", "defaults": defaults}


EXPIRING = {
    "user_activity": ({"ttl_seconds": DAY}, "user_num_events"),
    "user_history": (_replaced(recent_items=["i9"]), "recent_items"),
    "user_taste": ({"ttl_seconds": DAY}, "taste_categories"),
    "user_profile": (_replaced(attributes=["x=y"]), "attributes"),
    "user_window": ({"ttl_seconds": DAY}, "user_num_events_7d"),
}


def asked(world: World, **policies: Any) -> list[dict[str, Any]]:
    """Requests of which many find rows that are a day old."""
    rng = random.Random(3)
    moments = [AS_OF + timedelta(seconds=rng.randint(1, 2 * 86_400)) for _ in range(60)]
    freshness = {view: Policy(**policy) for view, policy in policies.items()}
    return [world.answer(USERS[n % len(USERS)], at, policies=freshness) for n, at in enumerate(moments)]


@pytest.mark.parametrize("view", EXPIRING)
def test_what_a_policy_puts_in_place_of_expired_rows_is_no_difference(world: World, view: str) -> None:
    policy, feature = EXPIRING[view]
    records = asked(world, **{view: policy})
    expired = sum(record["expired"] == [view] for record in records)
    report = world.check(records)
    assert different(report) == {}
    assert {f.name: f.num_expired for f in report.features}[feature] == expired > 10
    assert require_parity(report, CONFIG) == report

    unsaid = [{k: v for k, v in record.items() if k != "expired"} for record in records]
    assert different(world.check(unsaid))[feature] > 2, "logged before it was said which had expired"


def test_a_skew_of_the_requests_that_are_left_is_seen_as_a_share_of_them(world: World) -> None:
    records = asked(world, **{view: policy for view, (policy, _) in EXPIRING.items()})
    told = [record for record in records if "user_profile" not in record["expired"]]
    assert CONFIG.min_requests < len(told) < len(records)
    told[0]["features"]["attributes"] = ["age=99"]
    report = world.check(records)
    assert different(report) == {"attributes": 1}
    with pytest.raises(ParityError, match=f"attributes of serving differs from offline for 1 of {len(told)} requests"):
        require_parity(report, CONFIG)
    assert f"<td>{len(records) - len(told)}</td>" in (Path(report.uri) / "report.html").read_text()
    enough = CONFIG.model_copy(update={"min_requests": len(told) + 1})
    assert require_parity(report, enough) == report, "too few are left to tell"
