"""Airflow's pages in headless Chromium, as a person uses them."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@contextmanager
def airflow_page(url: str, user: str, password: str) -> Iterator[Any]:
    """Open a browser and log in."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(30_000)
        page.goto(url)
        page.get_by_label("Username").fill(user)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name=re.compile("sign in", re.I)).click()
        page.wait_for_url(re.compile(rf"^{re.escape(url)}/?$"))
        yield page
        browser.close()


def open_trigger_form(page: Any, url: str, dag_id: str) -> Any:
    """Open the form of a DAG; returns the dialog."""
    page.goto(f"{url}/dags/{dag_id}")
    page.get_by_role("button", name=re.compile("trigger", re.I)).first.click()
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    return dialog


def fill_trigger_form(dialog: Any, *, config: str, seed: int) -> None:
    """Choose a configuration file and a seed."""
    dialog.locator("[name=element_config]").fill(config)
    dialog.get_by_role("spinbutton").fill(str(seed))
    dialog.get_by_role("spinbutton").press("Tab")


def submit(page: Any, dialog: Any) -> str:
    """Press the form's button; returns the id of the run it started."""
    with page.expect_response(lambda answer: answer.request.method == "POST" and "dagRuns" in answer.url) as answered:
        dialog.get_by_test_id("trigger-dag-submit").click()
    return str(answered.value.json()["dag_run_id"])
