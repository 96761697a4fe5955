"""Freshness over real online stores: what SQLite and Redis hold is used, replaced or refused by the view's policy."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from pipelines.config import REPOSITORY
from pipelines.stores.feature_store import FeatureStore
from pipelines.stores.freshness import ExpiredFeaturesError, ViewFreshness
from serving.freshness import Freshness, FreshStore
from serving.metrics import Metrics
from serving.overlay import Overlay
from serving.users import UserReader
from tests.support.feature_data import AS_OF, DATASET, Workspace, random_tables
from tests.support.servers import no_redis, redis_server

USER = "u1"
HOUR = 3_600.0
AUDITED = "tandem_view_audited_timestamp_seconds"
SUM = "tandem_feature_age_seconds_sum"
ACTIVITY = ("user_num_events", "user_num_events_7d", "user_num_events_30d", "user_mean_value", "last_known_at")


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """An online store with the features of a small lake, as serving opens it: without the lake."""
    folder = tmp_path_factory.mktemp(request.param)
    workspace = Workspace(folder)
    features = workspace.compute(workspace.fill(random_tables(seed=8)))
    if request.param == "sqlite":
        workspace.store.apply()  # which also makes the tables
        workspace.store.materialize(features)
        yield FeatureStore(home=folder, dataset=DATASET)
        return
    if reason := no_redis():
        pytest.skip(f"freshness over Redis is not tested: {reason}")
    with pytest.MonkeyPatch.context() as patch, redis_server(folder) as port:
        # The registry of the services profile takes any address that SQLAlchemy does.
        patch.setenv("FEAST_REGISTRY_URL", f"sqlite:///{folder}/feast/registry.db")
        patch.setenv("FEAST_REDIS", f"127.0.0.1:{port}")
        workspace.declare()
        services = REPOSITORY / "feature_repo" / "feature_store.services.yaml"
        lake = str(folder / "lake" / DATASET)
        FeatureStore(home=folder, dataset=DATASET, yaml_file=services, lake_uri=lake).materialize(features)
        yield FeatureStore(home=folder, dataset=DATASET, yaml_file=services)


@dataclass
class Opened:
    """A store with policies over it, asked at a moment."""

    fresh: FreshStore
    freshness: Freshness
    metrics: Metrics

    def reader(self) -> UserReader:
        overlay = Overlay(max_users=1, max_events=1)
        return UserReader(lambda: self.fresh, overlay, dataset=DATASET, history_length=4, retry_seconds=5)

    def text(self) -> str:
        return generate_latest(self.metrics.registry).decode()


def opened(store: FeatureStore, age: float, **policies: Any) -> Opened:
    """Enforce policies when the user's activity is `age` seconds old."""
    metrics = Metrics()
    freshness = Freshness({name: ViewFreshness(**policy) for name, policy in policies.items()}, metrics)
    at = stamped(store)["user_activity"].timestamp() + age
    return Opened(freshness.over(store, lambda: at), freshness, metrics)


def stamped(store: FeatureStore, user: str = USER) -> dict[str, Any]:
    """Event time of each of the user's rows, as the store holds it."""
    return {view: at for view, (at, _) in store.online_user_views(user).items()}


def test_feasts_own_read_returns_what_has_expired(store: FeatureStore) -> None:
    """Which is why serving enforces it: the view's row is months old, whatever its time to live."""
    read = store._open({}).get_online_features(["user_activity:user_num_events"], [{"user_id": USER}]).to_dict()
    assert read["user_num_events"][0] > 0


@pytest.mark.parametrize(("age", "used"), [(HOUR - 1, True), (HOUR + 1, False)])
def test_null_reads_an_expired_row_as_unknown_and_leaves_other_views_alone(
    store: FeatureStore, age: float, used: bool
) -> None:
    case = opened(store, age, user_activity={"ttl_seconds": HOUR})
    read, held = case.fresh.online_user(USER), store.online_user(USER)
    assert {name: read[name] for name in ACTIVITY} == ({name: held[name] for name in ACTIVITY} if used else
                                                       dict.fromkeys(ACTIVITY))  # fmt: skip
    assert read["recent_items"] == held["recent_items"] != []
    assert ('tandem_features_expired_total{policy="null",view="user_activity"} 1.0' in case.text()) is not used
    assert case.reader().read(USER).degraded == ()


def test_what_feast_declares_expires_online_as_in_joins(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.ttls() == {}, "the default views are valid until their next row"
    (view,) = [view for view, _ in store._serving[2] if view.name == "user_activity"]
    monkeypatch.setattr(view, "ttl", timedelta(hours=1))
    assert opened(store, HOUR).fresh.online_user(USER)["user_num_events"] > 0
    read = opened(store, HOUR + 1).fresh.online_user(USER)
    assert {name: read[name] for name in ACTIVITY} == dict.fromkeys(ACTIVITY)
    assert read.expired == ("user_activity",)


def test_default_reads_the_values_declared(store: FeatureStore) -> None:
    policy = {"ttl_seconds": HOUR, "when_expired": "default", "defaults": {"user_num_events": 3}}
    read = opened(store, HOUR + 1, user_activity=policy).fresh.online_user(USER)
    assert (read["user_num_events"], read["user_mean_value"]) == (3, None)


def test_fail_refuses_the_user_and_the_request_is_answered_with_defaults(store: FeatureStore) -> None:
    case = opened(store, HOUR + 1, user_activity={"ttl_seconds": HOUR, "when_expired": "fail"})
    with pytest.raises(ExpiredFeaturesError, match="'user_activity' is 3,601 s old; expected 3,600 s at most"):
        case.fresh.online_user(USER)
    user = case.reader().read(USER)
    assert (user.features, user.degraded) == ({}, ("user_features",))


def test_who_has_no_row_has_none_that_expired(store: FeatureStore) -> None:
    case = opened(store, HOUR + 1, user_activity={"ttl_seconds": HOUR, "when_expired": "fail"})
    assert set(stamped(store, "nobody").values()) == {None}
    assert case.reader().read("nobody").degraded == ()
    assert "tandem_features_expired_total{" not in case.text()
    assert f"{SUM}{{" not in case.text()


def test_ages_and_when_views_were_up_to_date_are_metrics(store: FeatureStore) -> None:
    case = opened(store, 2 * HOUR, user_activity={"objective_seconds": HOUR})
    case.fresh.online_user(USER)
    ages = {view: 2 * HOUR + (stamped(store)["user_activity"] - at).total_seconds()
            for view, at in stamped(store).items() if at}  # fmt: skip
    for view, age in ages.items():
        (shown,) = [line for line in case.text().splitlines() if line.startswith(f'{SUM}{{view="{view}"}}')]
        assert float(shown.split()[-1]) == pytest.approx(max(age, 0), abs=1)
    (audited,) = [line for line in case.text().splitlines() if line.startswith(f'{AUDITED}{{view="user_activity"}}')]
    assert float(audited.split()[-1]) == AS_OF.timestamp()


def test_a_view_that_was_not_brought_up_to_date_within_its_objective_is_stale(store: FeatureStore) -> None:
    case = opened(store, 0, user_activity={"objective_seconds": HOUR}, user_taste={"objective_seconds": 3 * HOUR})
    states = case.freshness.report(AS_OF + timedelta(hours=2))
    assert {view for view, state in states.items() if state["stale"]} == {"user_activity"}
    assert states["user_activity"]["audited_at"] == AS_OF.isoformat()


def test_a_store_that_went_away_costs_the_features_and_nothing_else(tmp_path: Path) -> None:
    gone = FeatureStore(home=tmp_path, dataset=DATASET)
    metrics = Metrics()
    fresh = Freshness({"user_activity": ViewFreshness(ttl_seconds=1, objective_seconds=1)}, metrics).over(gone)
    assert Opened(fresh, fresh._freshness, metrics).reader().read(USER).degraded == ("user_features",)
    assert 'tandem_view_objective_seconds{view="user_activity"} 1.0' in generate_latest(metrics.registry).decode()
