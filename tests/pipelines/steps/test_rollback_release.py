import pytest

from pipelines.config import PromotionConfig
from pipelines.contracts import CHAMPION, RECOMMENDER
from pipelines.errors import ConfigError, IntegrityError, PromotionError
from pipelines.release.history import read_history
from pipelines.steps import check_features
from pipelines.steps.compare_release import compare_release
from tests.support.promoting import NOW, Killed, compared, open_desk

SERVICES = {"retrieval_v1": {}, "ranking_v1": {}, "serving_user_v1": {}}


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setattr(check_features, "declared_services", lambda: SERVICES)
    with open_desk(tmp_path, num_releases=3) as desk:
        yield desk


def test_the_release_before_is_served_again_and_it_is_kept_who_asked_and_why(desk):
    desk.promote_all("1", "2")
    move = desk.roll_back(reason="worse lists")
    assert (desk.alias, desk.served) == ("1", "1")
    assert (move.kind, move.version, move.previous) == ("rollback", "1", "2")
    assert (move.by, move.at, move.reason) == ("bob", NOW, "worse lists")
    assert read_history(desk.registry).moves[-1] == move


def test_twice_goes_back_twice_and_a_named_one_is_taken(desk):
    desk.promote_all("1", "2", "3")
    assert [desk.roll_back(run=run).version for run in "ab"] == ["2", "1"]
    assert desk.roll_back("3", run="c").previous == "1"
    assert desk.served == "3"


def test_the_same_run_again_moves_nothing(desk):
    desk.promote_all("1", "2", "3")
    assert desk.roll_back() == desk.roll_back()
    assert desk.alias == "2"


@pytest.mark.parametrize(
    ("promoted", "to", "message"),
    [
        (["1"], None, "release 1 is champion and no release is known to have been before it; .*--to VERSION"),
        ([], None, "there is no champion and no release is known"),
        (["1"], "1", "release 1 is champion; expected another"),
        (["1"], "7", "release 7 is not in the registry"),
    ],
)
def test_what_there_is_not_is_refused(desk, promoted, to, message):
    desk.promote_all(*promoted)
    with pytest.raises(PromotionError, match=message):
        desk.roll_back(to)
    assert desk.alias == (promoted or [None])[-1]


def test_a_champion_that_people_took_away_comes_back(desk):
    desk.promote("1")
    desk.registry.clear_alias(RECOMMENDER, CHAMPION)
    assert desk.roll_back().previous is None
    assert desk.served == "1"


def test_changed_bytes_are_refused_before_anything_moves(desk):
    desk.promote_all("1", "2")
    (desk.registry.root / RECOMMENDER / "1" / "index" / "extra").write_bytes(b"cut")
    with pytest.raises(IntegrityError):
        desk.roll_back()
    assert desk.registry.moves == ["1", "2"]


def test_a_feature_service_that_is_gone_is_named_before_anything_moves(desk, monkeypatch):
    desk.promote_all("1", "2")
    monkeypatch.setattr(check_features, "declared_services", lambda: SERVICES | {"ranking_v1": None})
    with pytest.raises(PromotionError, match="service ranking_v1 is not declared; the ranking model of release 1"):
        desk.roll_back()
    assert desk.registry.moves == ["1", "2"]


def test_what_serving_does_not_take_is_taken_back(desk):
    desk.promote_all("1", "2")
    desk.source.blind.add("1")
    with pytest.raises(PromotionError, match=r"release 1 was not restored: .*Version 2 is champion again"):
        desk.roll_back(timeout=0.3)
    known = read_history(desk.registry)
    assert (desk.alias, len(known.moves), known.pending) == ("2", 2, None)


@pytest.mark.parametrize("write", [1, 2, 3, 4])
def test_killed_at_any_write_and_run_again_it_goes_back_once(desk, write):
    desk.promote_all("1", "2", "3")
    desk.registry.dies_after = desk.registry.num_writes + write
    with pytest.raises(Killed):
        desk.roll_back()
    assert desk.roll_back().version == "2"
    known = read_history(desk.registry)
    assert (desk.alias, desk.served, len(known.moves), known.pending) == ("2", "2", 4, None)


def test_a_release_that_was_left_is_not_promoted_again_by_itself(desk):
    desk.promote_all("1", "2")
    desk.roll_back(reason="worse lists")
    release = compared(desk.registry, "2", None, True).release
    release = release.model_copy(update={"metrics": {"ndcg_at_10": 0.3, "popularity_ndcg_at_10": 0.1}})

    def compare():
        return compare_release(release, config=PromotionConfig(), registry=desk.registry)

    refused = compare()
    assert not refused.accepted
    assert "but bob went back from it to release 1 at 2025-06-01 12:30 UTC (worse lists): refused" in refused.reason
    assert desk.promote("2", accepted=refused.accepted).promoted is False
    desk.roll_back("2", run="again")
    assert compare().accepted


def test_a_reason_too_long_to_keep_is_refused(desk):
    with pytest.raises(ConfigError, match="2,001 characters; expected at most 2,000"):
        desk.roll_back(reason="x" * 2001)
