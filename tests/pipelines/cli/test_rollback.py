"""`tandem rollback`, and what `up` and `status` say of a promotion that was cut off."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.cli import status, up
from pipelines.cli.main import main
from pipelines.config import Config
from pipelines.release.history import read_history
from pipelines.settings import load_config
from pipelines.steps import check_features
from tests.support.promoting import Desk, Killed, open_desk


@pytest.fixture
def desk(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Two releases, of which the second is champion, and the platform's configuration pointing there."""
    services = {"retrieval_v1": {}, "ranking_v1": {}, "serving_user_v1": {}}
    monkeypatch.setattr(check_features, "declared_services", lambda: services)
    monkeypatch.setattr("pipelines.cli.options.confine", lambda config: None)
    monkeypatch.setattr(status, "_require_mlflow", lambda config: None)
    with open_desk(tmp_path) as desk:
        monkeypatch.setattr("pipelines.entrypoints.releasing.open_registry", lambda config: desk.registry)
        monkeypatch.setenv("TANDEM_SERVICES__SERVING_URL", str(desk.client.base_url))
        desk.lock_file = home / "run" / "promotion.lock"
        desk.promote_all("1", "2")
        yield desk


@pytest.fixture
def config(desk: Desk) -> Config:
    return load_config(None)


def test_says_what_is_champion_now(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollback"]) == 0
    assert capsys.readouterr().out == "release 1 is champion, and serving answers from it; release 2 was, before\n"
    assert main(["rollback", "--to", "2", "--reason", "it was fine", "--json"]) == 0
    move = json.loads(capsys.readouterr().out)
    assert (move["version"], move["previous"], move["reason"]) == ("2", "1", "it was fine")
    assert move["by"]
    assert main(["rollback", "--to", "2"]) == 2
    assert "tandem rollback: release 2 is champion" in capsys.readouterr().err


def cut_off(desk: Desk) -> None:
    desk.registry.dies_after = desk.registry.num_writes + 2
    with pytest.raises(Killed):
        desk.roll_back()


def test_up_settles_what_was_cut_off_and_status_only_says_it(desk: Desk, config: Config) -> None:
    assert up._settle_promotion(config) is None
    assert "last, a promotion of release 2 by ada, 2025-06-01 12:30 UTC: compared" in said(config)
    cut_off(desk)
    before = "a rollback of release 1 by bob, begun 2025-06-01 12:30 UTC, was cut off; `tandem up`"
    assert said(config).startswith(before)
    assert said(config).startswith(before), "looking changes nothing"
    note = up._settle_promotion(config)
    assert note == "a rollback of release 1 was cut off; serving answers from it, so it is finished"
    assert read_history(desk.registry).pending is None
    assert "last, a rollback of release 1 by bob" in said(config)


def test_a_move_under_way_is_not_cut_off(desk: Desk, config: Config) -> None:
    import fcntl

    cut_off(desk)
    with desk.lock_file.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert said(config).endswith("is under way")
        assert up._settle_promotion(config) is None, "whoever is at it goes on"


def test_what_cannot_be_settled_stops_nothing(desk: Desk, config: Config) -> None:
    desk.registry.down = True
    assert "could not be settled" in (up._settle_promotion(config) or "")
    assert "refused" in said(config)


def said(config: Config) -> str:
    return status._promotion_line(status._part(lambda: status._promotion(config))) or ""
