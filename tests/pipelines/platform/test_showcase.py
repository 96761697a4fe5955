from pathlib import Path
from typing import Any

import pytest

from pipelines.config import Config
from pipelines.errors import PlatformError
from pipelines.platform import showcase as module
from pipelines.platform.showcase import GONE, showcase

RELEASE = {
    "version": "3", "dataset": "shop", "sample_users": ["u1"], "snapshot": {"versions": {"events": 7, "items": 7}},
}  # fmt: skip


def served(release: dict[str, Any]) -> Any:
    class Client:
        def __init__(self, url: str) -> None:
            pass

        def release(self) -> dict[str, Any]:
            return release

        def recommend(self, user_id: str, *, count: int) -> dict[str, Any]:
            return {"items": [{"item_id": "a", "title": "A film"}, {"item_id": "b", "title": None}]}

    return Client


def test_a_first_release_that_was_refused_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ServingClient", served({"version": None, "reason": "no champion"}))
    with pytest.raises(PlatformError, match=r"nothing is served yet: ndcg .* not good enough\. .*retrieval\.model"):
        showcase(Config(home=tmp_path), "ndcg .3 against .4: not good enough")


def test_a_release_whose_snapshot_is_gone_is_shown_without_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ServingClient", served(RELEASE))
    shown = showcase(Config(home=tmp_path), "")
    assert shown.user_id == "u1"
    assert shown.history == [GONE]
    assert shown.recommendations == ["A film", "b"]
