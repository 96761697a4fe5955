"""Feast's pages show what is declared, and change nothing."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelines.platform.feast_pages import application
from pipelines.stores.feature_store import FeatureStore


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home: Path = tmp_path_factory.mktemp("home")
    FeatureStore(home=home, dataset="synthetic").apply()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TANDEM_HOME", str(home))
        return application()


def ask(pages: Any, method: str, path: str) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(pages), base_url="http://feast") as client:
            return await client.request(method, path, params={"project": "synthetic"})

    return asyncio.run(send())


def test_every_feature_view_is_shown(pages: Any) -> None:
    projects = ask(pages, "GET", "/projects-list.json").json()["projects"]
    assert [project["id"] for project in projects] == ["synthetic"]
    shown = ask(pages, "GET", "/api/v1/feature_views").json()["featureViews"]
    assert {"user_history", "item_popularity", "taste_match"} <= {view["spec"]["name"] for view in shown}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_changed(pages: Any, method: str) -> None:
    answer = ask(pages, method, "/api/v1/feature_views/user_history")
    assert answer.status_code == 405
    assert "feature_repo" in answer.text
