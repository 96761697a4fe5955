"""An operator's way: log in, open the trigger form, set a parameter, trigger, see it succeed."""

import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.platform import secrets
from tests.support.airflow_pages import CHROMIUM, airflow_page, fill_trigger_form, open_trigger_form, submit
from tests.support.platform import RunningPlatform

pytestmark = [pytest.mark.platform, pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(autouse=True)
def _browser() -> None:
    if not Path(CHROMIUM).exists():
        pytest.skip("there is no chromium here; on Debian: apt-get install chromium")


def test_trigger_the_pipeline_with_a_parameter_and_see_it_succeed(platform: RunningPlatform, first_run: Any) -> None:
    from playwright.sync_api import expect

    password = secrets.password(platform.home / "airflow")
    with airflow_page(platform.url("airflow"), secrets.USER, password) as page:
        dialog = open_trigger_form(page, platform.url("airflow"), "recommender_pipeline")
        for text in ("Where raw rows come from", "Decides the synthetic rows", "Only what was known before"):
            expect(dialog).to_contain_text(text)
        fill_trigger_form(dialog, config=str(platform.config), seed=7)
        run_id = submit(page, dialog)
        page.goto(f"{platform.url('airflow')}/dags/recommender_pipeline/runs/{run_id}")
        badge = page.locator("div:has(> h2) > [data-testid=state-badge]")
        expect(badge).to_have_text(re.compile("success|failed", re.I), timeout=600_000)
        expect(badge).to_have_text(re.compile("success", re.I))
    run = platform.json("status")["dags"]["recommender_pipeline"]
    assert (run["last_run"], run["state"]) == (run_id, "success")
    conf = run_conf(platform, run_id)
    assert conf["seed"] == 7
    assert conf["source"] is None


def run_conf(platform: RunningPlatform, run_id: str) -> dict[str, Any]:
    from pipelines.platform.airflow_client import AirflowClient

    airflow = AirflowClient(platform.url("airflow"), secrets.USER, secrets.password(platform.home / "airflow"))
    run = airflow.latest_run("recommender_pipeline")
    assert run is not None
    assert run["dag_run_id"] == run_id
    return dict(run["conf"])


def test_a_dags_page_tells_what_to_do_when_it_fails(platform: RunningPlatform, first_run: Any) -> None:
    from playwright.sync_api import expect

    password = secrets.password(platform.home / "airflow")
    with airflow_page(platform.url("airflow"), secrets.USER, password) as page:
        page.goto(f"{platform.url('airflow')}/dags/ingest_events")
        page.get_by_role("button", name="Dag Docs").click()
        expect(page.get_by_role("dialog")).to_contain_text("When it fails")


def test_an_operator_opens_the_data_docs_from_the_run(platform: RunningPlatform, first_run: Any) -> None:
    from playwright.sync_api import expect

    url, password = platform.url("airflow"), secrets.password(platform.home / "airflow")
    run_id = platform.json("status")["dags"]["recommender_pipeline"]["last_run"]
    with airflow_page(url, secrets.USER, password) as page:
        page.goto(f"{url}/dags/recommender_pipeline/runs/{run_id}/tasks/validate_partition")
        link = page.get_by_role("link", name=re.compile(r"tandem.reports.*report\.html"))
        report = str(link.first.get_attribute("href"))
        answer = page.goto(report)
        assert answer.status == 200
        assert "sandbox" in answer.headers["content-security-policy"]
        expect(page.locator("body")).to_contain_text("Accepted")
        page.get_by_role("link", name="events").click()
        # Its styles come from the internet; without one, the browser gives them up only after a while.
        expect(page.locator("body")).to_contain_text("Evaluated Expectations", timeout=120_000)
        page.context.clear_cookies()
        page.goto(report)
        assert "/auth/login" in page.url, "a stranger is asked to log in"
