"""Expired rows are not used, by policy; ages and up-to-dateness are metrics and alerts; serving never falls over."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from prometheus_client import generate_latest

from pipelines.cli.status import _features_line, _part
from pipelines.config import REPOSITORY
from pipelines.errors import ConfigError, FeatureStoreError
from pipelines.stores.feature_store import SERVING_SERVICE
from pipelines.stores.freshness import ViewFreshness, read_policies
from pipelines.stores.served import FEATURE_LOG, open_served
from pipelines.stores.serving_client import ServingClient
from serving.freshness import Freshness
from serving.metrics import Metrics
from serving.overlay import Overlay
from serving.users import UserReader
from tests.support.serving_app import ask, make_parts, ready
from tests.support.tiny_release import AS_OF

NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Store:
    """Ten minutes old activity, ten days old taste."""

    def __init__(self, ttls=None):
        self.down, self.declared = False, ttls or {}

    def online_user_views(self, user_id):
        if self.down:
            raise ConnectionError("no route")
        return {
            "activity": (NOW - timedelta(minutes=10), {"num": 3}),
            "taste": (NOW - timedelta(days=10), {"tastes": ["war"]}),
            "seen": (None, {"seen_items": None}),
        }

    def audited_at(self):
        if self.down:
            raise ConnectionError("no route")
        return {"activity": NOW - HOUR, "taste": NOW - 40 * HOUR, "seen": None}

    def ttls(self):
        return self.declared


def opened(ttls=None, **policies):
    metrics, store = Metrics(), Store(ttls)
    freshness = Freshness({name: ViewFreshness(**policy) for name, policy in policies.items()}, metrics)
    fresh = freshness.over(store, lambda: NOW.timestamp())
    overlay = Overlay(max_users=1, max_events=1)
    reader = UserReader(lambda: fresh, overlay, dataset="d", history_length=3, retry_seconds=5)
    return SimpleNamespace(
        reader=reader, store=store, freshness=freshness, text=lambda: generate_latest(metrics.registry).decode()
    )


@pytest.mark.parametrize(
    ("policy", "features"),
    [
        ({}, {"num": 3, "tastes": ["war"]}),
        ({"ttl_seconds": 11 * 86_400}, {"num": 3, "tastes": ["war"]}),
        ({"ttl_seconds": 3_600}, {"num": 3}),
        (
            {"ttl_seconds": 3_600, "when_expired": "default", "defaults": {"tastes": ["any"]}},
            {"num": 3, "tastes": ["any"]},
        ),
    ],
)
def test_an_expired_view_is_read_as_its_policy_says(policy, features):
    user = opened(taste=policy).reader.read("u")
    assert (user.features, user.degraded) == (features, ())


@pytest.mark.parametrize(
    ("policy", "tastes", "said"),
    [
        ({}, None, None),
        ({"when_expired": "default", "defaults": {"tastes": ["any"]}}, ["any"], None),
        ({"ttl_seconds": 864_000 - 1}, None, None),
        ({"ttl_seconds": 11 * 86_400}, None, "ttl_seconds is 950,400 s and the view's ttl 863,999 s"),
        ({"ttl_seconds": 60}, None, "ttl_seconds is 60 s and the view's ttl 863,999 s"),
    ],
)
def test_the_time_to_live_that_feast_declares_is_enforced_online_too(policy, tastes, said, caplog):
    declared = {"taste": timedelta(days=10) - timedelta(seconds=1)}
    user = opened(declared, taste=policy).reader.read("u")
    assert (user.features.get("tastes"), user.features["num"], user.expired) == (tastes, 3, ("taste",))
    assert [said in message for message in caplog.messages] == ([] if said is None else [True])


def test_a_row_is_valid_to_the_end_of_the_declared_time_as_in_joins():
    assert opened({"taste": timedelta(days=10)}).reader.read("u").expired == ()


def test_a_time_to_live_in_serving_alone_is_said(caplog):
    opened(taste={"ttl_seconds": 60}).reader.read("u")
    assert "'taste': ttl_seconds is 60 s and the view's ttl none" in caplog.text


def test_fail_degrades_as_a_store_that_is_down_does_but_only_this_request():
    case = opened(taste={"ttl_seconds": 3_600, "when_expired": "fail"})
    for _ in range(2):
        user = case.reader.read("u")
        assert (user.features, user.degraded) == ({}, ("user_features",))
    assert case.reader.failure is None
    assert 'tandem_features_expired_total{policy="fail",view="taste"} 2.0' in case.text()


def test_ages_and_states_are_metrics_also_while_the_store_is_down():
    case = opened(taste={"objective_seconds": 3_600}, seen={"objective_seconds": 60})
    case.reader.read("u")
    text = case.text()
    assert 'tandem_feature_age_seconds_sum{view="taste"} 864000.0' in text
    assert 'tandem_feature_age_seconds_count{view="seen"}' not in text
    assert 'tandem_view_audited_timestamp_seconds{view="activity"} 1.735729' in text
    assert 'tandem_view_audited_timestamp_seconds{view="seen"} 0.0' in text
    assert 'tandem_view_objective_seconds{view="taste"} 3600.0' in text
    case.store.down = True
    assert "tandem_view_objective_seconds" in case.text()
    assert case.reader.read("u").degraded == ("user_features",)


def test_a_store_that_is_down_leaves_objectives_without_a_time_which_is_an_alert():
    case = opened(taste={"objective_seconds": 3_600}, elsewhere={"objective_seconds": 60})
    assert 'tandem_view_objective_seconds{view="elsewhere"}' not in case.text(), "the release does not read it"
    case.store.down = True
    text = case.text()
    assert 'tandem_view_objective_seconds{view="taste"} 3600.0' in text
    assert "tandem_view_audited_timestamp_seconds{" not in text
    with pytest.raises(FeatureStoreError, match=r"cannot be read: ConnectionError: no route.*online store"):
        case.freshness.report(NOW)


class Served(Store):
    def online_user_views(self, user_id):
        return {"user_profile": (NOW, {"attributes": ["country=nl"]}), "user_activity": (None, {})}


def test_status_tells_a_store_that_cannot_be_read_from_one_with_nothing_in_it(tmp_path):
    """And a request that is kept says which views had expired: `NOW` is longer ago than their time to live."""
    file = tmp_path / "freshness.yaml"
    file.write_text("user_profile: {ttl_seconds: 3600}")
    settings, source, _ = make_parts(tmp_path)
    changed = {"freshness_file": file, "feature_log_share": 1, "release_objective_seconds": 60}
    store = Served()
    with ready((settings.model_copy(update=changed), source, store)) as client:
        ask(client)
        asked = ServingClient(str(client.base_url))
        assert _features_line(_part(asked.freshness)) == "3 views up to date"
        text = client.get("/metrics").text
        store.down = True
        said = _features_line(_part(asked.freshness))
    assert "answered 503 to /v1/freshness: when features were brought online cannot be read" in said
    (as_of,) = [line for line in text.splitlines() if line.startswith("tandem_release_as_of_timestamp_seconds ")]
    assert float(as_of.split()[-1]) == AS_OF.timestamp()
    assert "tandem_release_objective_seconds 60.0" in text
    (record,) = open_served("files", FEATURE_LOG, home=settings.home).newest("tiny", 9)
    assert (record["expired"], record["features"]["attributes"]) == (["user_profile"], None)


def test_views_that_miss_their_objective_are_stale():
    case = opened(
        taste={"objective_seconds": 3_600}, seen={"objective_seconds": 60}, activity={"objective_seconds": 7_200}
    )
    report = case.freshness.report(NOW)
    assert {view: state["stale"] for view, state in report.items()} == {"activity": False, "taste": True, "seen": True}
    assert not any(state["stale"] for state in opened().freshness.report(NOW).values())


def test_every_view_that_serving_reads_has_an_objective():
    from feature_repo.repository import declarations

    (service,) = [found for found in declarations() if found.name == SERVING_SERVICE]
    served = {projection.name for projection in service.feature_view_projections}
    assert {view for view, policy in read_policies().items() if policy.objective_seconds} == served


def test_policies_that_are_wrong_are_named(tmp_path: Path):
    file = tmp_path / "freshness.yaml"
    file.write_text("user_taste: {when_expired: maybe}")
    with pytest.raises(ConfigError, match=r"user_taste\.when_expired"):
        read_policies(file)
    with pytest.raises(ConfigError, match="do not exist"):
        read_policies(tmp_path / "nothing.yaml")


def test_alerts_ask_for_metrics_that_exist():
    case = opened(taste={"ttl_seconds": 3_600, "objective_seconds": 1})
    case.reader.read("u")
    rules = yaml.safe_load((REPOSITORY / "configs" / "alerts.yaml").read_text())["groups"][0]["rules"]
    names = {
        word.strip("()[]10m") for rule in rules for word in rule["expr"].replace("(", " ").split() if "tandem_" in word
    }
    assert len(names) == 5
    assert all(name in case.text() for name in names)
