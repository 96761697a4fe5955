"""Take the pictures in docs/images from the running platform: `make screenshot`, after `make run`."""

import sys

from pipelines.config import REPOSITORY
from pipelines.platform import secrets
from pipelines.platform.following import PIPELINE, client
from pipelines.settings import load_config
from tests.support.airflow_pages import airflow_page, open_trigger_form

FOLDER = REPOSITORY / "docs" / "images"
SETTLE = 2_500  # milliseconds that pages take to draw what they loaded


def main() -> int:
    config = load_config()
    airflow = client(config)
    run = airflow.latest_run(PIPELINE)
    if run is None or run["state"] != "success":
        sys.stderr.write("there is no successful run to show; run `make run` first\n")
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    with airflow_page(airflow.url, secrets.USER, secrets.password(config.home / "airflow")) as page:
        page.goto(f"{airflow.url}/dags?tags=tandem")
        page.wait_for_timeout(SETTLE)
        page.screenshot(path=FOLDER / "airflow-dags.png")
        open_trigger_form(page, airflow.url, PIPELINE)
        page.wait_for_timeout(SETTLE)
        page.screenshot(path=FOLDER / "airflow-trigger-form.png")
        page.goto(airflow.run_url(PIPELINE, run["dag_run_id"]))
        page.wait_for_timeout(SETTLE)
        page.screenshot(path=FOLDER / "airflow-run.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
