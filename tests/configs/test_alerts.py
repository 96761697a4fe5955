"""The alerts, evaluated by Prometheus itself over time: they fire when they should, and only then."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import REPOSITORY

PROMTOOL = shutil.which("promtool")
ALERTS = REPOSITORY / "configs" / "alerts.yaml"
HOUR = 60  # samples: one a minute
Series = dict[str, str]


@pytest.fixture(autouse=True)
def _promtool() -> None:
    if PROMTOOL is None:
        pytest.skip("alerts are not evaluated: there is no promtool here; on Debian it is in the package prometheus")


def evaluate(folder: Path, series: Series, expected: list[dict[str, Any]]) -> None:
    """Let promtool run the alerts over a series a metric; fail unless they fire as expected, minute by minute."""
    test = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": expected,
            }
        ],
    }
    file = folder / "alerts.test.json"  # promtool reads YAML, of which JSON is a part
    file.write_text(json.dumps(test))
    done = subprocess.run([str(PROMTOOL), "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def fires(
    alert: str, minute: int, *labels: dict[str, str], summary: str = "", see: str = "a-feature-view-is-stale"
) -> dict[str, Any]:
    """What must fire at a minute: one alert for each set of labels."""
    runbook = f"docs/operations.md#{see}"
    return {
        "eval_time": f"{minute}m",
        "alertname": alert,
        "exp_alerts": [
            {
                "exp_labels": {"severity": "warning", **own},
                "exp_annotations": {"summary": summary, "runbook": runbook},
            }
            for own in labels
        ],
    }


def view(name: str, value: str = "", instance: str = "a:8000") -> Series:
    """When a view was up to date, if ever, and its objective of an hour."""
    labels = f'{{view="{name}",instance="{instance}"}}'
    return {
        f"tandem_view_audited_timestamp_seconds{labels}": value,
        f"tandem_view_objective_seconds{labels}": f"{HOUR * 60}x{3 * HOUR}",
    }


STALE, EXPIRED = "TandemFeatureViewStale", "TandemFeaturesExpired"
UNKNOWN, OLD = "TandemFeatureViewUnknown", "TandemReleaseStale"


def test_the_rules_are_legal() -> None:
    done = subprocess.run([str(PROMTOOL), "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_view_that_misses_its_objective_raises_an_alert_after_ten_minutes(tmp_path: Path) -> None:
    """Brought up to date once, at minute 0; a view that is brought up to date every minute stays silent."""
    series = view("user_taste", f"0x{3 * HOUR}") | view("user_history", f"0+60x{3 * HOUR}")
    late = {"view": "user_taste", "instance": "a:8000"}
    summary = "Feature view user_taste was last brought up to date 1h 12m 0s ago"
    evaluate(
        tmp_path,
        series,
        [fires(STALE, HOUR), fires(STALE, HOUR + 10), fires(STALE, HOUR + 12, late, summary=summary)],
    )


def test_the_alert_ends_when_the_view_is_up_to_date_again(tmp_path: Path) -> None:
    series = view("user_taste", f"0x{2 * HOUR} {2 * HOUR * 60}x{HOUR}")
    late = {"view": "user_taste", "instance": "a:8000"}
    summary = "Feature view user_taste was last brought up to date 1h 59m 0s ago"
    evaluate(tmp_path, series, [fires(STALE, 2 * HOUR - 1, late, summary=summary), fires(STALE, 2 * HOUR + 2)])


def test_each_serving_process_is_compared_with_its_own_objective(tmp_path: Path) -> None:
    """Several processes say the same of a view: the rule must not take them for an ambiguity and fall silent."""
    instances = ("a:8000", "b:8000")
    series = {k: v for name in instances for k, v in view("user_taste", f"0x{3 * HOUR}", name).items()}
    late = [{"view": "user_taste", "instance": name} for name in instances]
    summary = "Feature view user_taste was last brought up to date 2h 0m 0s ago"
    evaluate(tmp_path, series, [fires(STALE, 2 * HOUR, *late, summary=summary)])


def test_a_view_without_objective_never_raises_one(tmp_path: Path) -> None:
    series = {name: value for name, value in view("user_seen", f"0x{3 * HOUR}").items() if "objective" not in name}
    evaluate(tmp_path, series, [fires(STALE, 3 * HOUR)])


def test_a_store_that_cannot_be_read_raises_an_alert_and_not_silence(tmp_path: Path) -> None:
    """The store is down from minute 30 to minute 60; another process reads it all the time."""
    down, reads = "a:8000", "b:8000"
    series = view("user_taste", f"0x30 _x30 {HOUR * 60}x{HOUR}", down) | view("user_taste", f"0+60x{3 * HOUR}", reads)
    unknown = {"view": "user_taste", "instance": down}
    summary = "When feature view user_taste was last brought up to date cannot be read"
    # Prometheus takes a series that ended without a word for alive for five minutes more.
    moments = [fires(UNKNOWN, 30), fires(UNKNOWN, 40), fires(UNKNOWN, 50, unknown, summary=summary), fires(UNKNOWN, 62)]
    evaluate(tmp_path, series, moments)


def test_a_view_that_was_read_never_counts_as_unknown_however_stale(tmp_path: Path) -> None:
    evaluate(tmp_path, view("user_taste", f"0x{3 * HOUR}"), [fires(UNKNOWN, 3 * HOUR)])


def test_a_release_that_knows_items_as_of_long_ago_raises_an_alert_where_that_has_an_objective(tmp_path: Path) -> None:
    as_of, objective = "tandem_release_as_of_timestamp_seconds", "tandem_release_objective_seconds"
    series = {f'{as_of}{{instance="{name}"}}': f"0x{2 * HOUR} {2 * HOUR * 60}x{HOUR}" for name in ("a:1", "history:1")}
    series[f'{objective}{{instance="a:1"}}'] = f"{HOUR * 60}x{3 * HOUR}"
    summary, see = "The release's item features are as of 1h 12m 0s ago", "a-release-is-stale"
    fired = fires(OLD, HOUR + 12, {"instance": "a:1"}, summary=summary, see=see)
    evaluate(tmp_path, series, [fires(OLD, HOUR + 10), fired, fires(OLD, 2 * HOUR + 2)])


def test_rows_that_are_read_although_expired_raise_an_alert(tmp_path: Path) -> None:
    """One policy is broken all the time; of another view a single row was too old, which wakes nobody."""
    often = {"view": "user_taste", "policy": "fail", "instance": "a:8000"}
    once = {"view": "user_seen", "policy": "null", "instance": "a:8000"}

    def series(labels: dict[str, str]) -> str:
        return "tandem_features_expired_total{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}"

    values = {series(often): f"0x5 1+1x{HOUR}", series(once): f"0x5 1x{HOUR}"}
    summary = "Rows of user_taste that are read are too old; policy fail"
    evaluate(
        tmp_path,
        values,
        [fires(EXPIRED, 5), fires(EXPIRED, 20, often, summary=summary), fires(EXPIRED, 40, often, summary=summary)],
    )
