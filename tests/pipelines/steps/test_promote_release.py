import fcntl

import pytest

from pipelines.contracts import CHAMPION, RECOMMENDER
from pipelines.errors import PromotionError, RegistryError
from pipelines.release.history import read_history
from tests.support.promoting import NOW, Killed, open_desk
from tests.support.serving import wait_until


@pytest.fixture
def desk(tmp_path):
    with open_desk(tmp_path) as desk:
        yield desk


def test_the_release_is_served_before_it_counts_as_promoted(desk):
    promotion = desk.promote("1")
    assert promotion.promoted
    assert (promotion.serving_version, promotion.previous_version) == ("1", None)
    assert "serving answers from it" in promotion.reason
    assert desk.alias == "1"
    assert desk.promote("2", champion="1").previous_version == "1"
    assert desk.served == "2"


def test_a_refused_comparison_changes_nothing(desk):
    promotion = desk.promote("1", accepted=False)
    assert (promotion.promoted, promotion.reason, desk.alias) == (False, "compared", None)
    assert desk.registry.moves == []


def test_again_it_gives_the_same(desk):
    assert desk.promote("1") == desk.promote("1")
    assert desk.alias == "1"


def test_a_release_that_serving_refuses_is_taken_back(desk):
    desk.promote("1")
    (desk.registry.root / RECOMMENDER / "2" / "ranker.onnx").write_bytes(b"cut")
    with pytest.raises(PromotionError, match=r"release 2 was not promoted: serving refused it: .*1 is champion again"):
        desk.promote("2", champion="1")
    assert desk.registry.moves == ["1", "2", "1"]
    assert desk.served == "1"


def test_without_a_previous_champion_there_is_none_afterwards(desk):
    (desk.registry.root / RECOMMENDER / "1" / "ranker.onnx").write_bytes(b"cut")
    with pytest.raises(PromotionError, match="There is no champion now, as before"):
        desk.promote("1")
    assert desk.alias is None


def test_serving_that_never_takes_the_release_runs_out_of_time(desk):
    desk.promote("1")
    desk.source.blind.add("2")
    with pytest.raises(PromotionError, match=r"did not report it within 1 s: it answers from version 1"):
        desk.promote("2", champion="1", timeout=1)
    assert desk.alias == "1"


def test_serving_that_is_not_there_is_named(desk):
    with pytest.raises(PromotionError, match=r"127\.0\.0\.1:9 .*tandem up"):
        desk.promote("1", timeout=0.5, url="http://127.0.0.1:9")
    assert desk.alias is None


def test_an_empty_answer_fails_the_smoke_test(desk, monkeypatch):
    desk.promote("1")
    monkeypatch.setattr("serving.recommender.Recommender._allowed", lambda *_: iter(()))
    with pytest.raises(PromotionError, match=r"recommendations for user 'u1' are \[\]; expected at least one item"):
        desk.promote("2", champion="1")
    assert desk.alias == "1"


def test_a_champion_that_moved_since_the_comparison_stops_it(desk):
    desk.promote("1")
    with pytest.raises(PromotionError, match="was version None when release 2 was compared and is 1 now"):
        desk.promote("2")
    assert desk.alias == "1"


def test_another_writer_is_left_in_place(desk, monkeypatch):
    desk.promote("1")

    def moved(client, version):
        desk.registry.aliases[RECOMMENDER, CHAMPION] = "1"
        return ""

    monkeypatch.setattr("pipelines.release.served._smoke_test", moved)
    with pytest.raises(PromotionError, match=r"points at version 1; another writer moved it.*left at version 1"):
        desk.promote("2", champion="1")


def test_an_alias_that_cannot_be_put_back_is_said(desk, monkeypatch):
    desk.promote("1")

    def lost(client, version):
        desk.registry.down = True
        raise RegistryError("gone")

    monkeypatch.setattr("pipelines.release.served._smoke_test", lost)
    with pytest.raises(PromotionError, match="could not be put back to version 1"):
        desk.promote("2", champion="1")


def test_two_promotions_do_not_overlap(desk):
    desk.lock_file.parent.mkdir()
    with desk.lock_file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(PromotionError, match="another promotion has held"):
            desk.promote("1", timeout=0.5)
    wait_until(lambda: desk.promote("1").promoted)


def test_who_promoted_what_when_and_why_is_kept(desk):
    desk.promote_all("1", "2")
    desk.promote("2", champion="2")
    first, second = read_history(desk.registry).moves
    assert (first.version, first.previous, second.version, second.previous) == ("1", None, "2", "1")
    assert (second.kind, second.by, second.at, second.reason, second.run) == ("promotion", "ada", NOW, "compared", "p")


def test_what_is_not_served_leaves_no_trace(desk):
    desk.promote("1")
    desk.source.blind.add("2")
    with pytest.raises(PromotionError):
        desk.promote("2", champion="1", timeout=0.3)
    known = read_history(desk.registry)
    assert ([move.version for move in known.moves], known.pending) == (["1"], None)


@pytest.mark.parametrize("write", [1, 2, 3, 4])
def test_killed_at_any_write_and_run_again_it_ends_the_same(desk, write):
    """The intention, the alias, the move kept, the intention dropped."""
    desk.promote("1")
    desk.registry.dies_after = desk.registry.num_writes + write
    with pytest.raises(Killed):
        desk.promote("2", champion="1")
    assert desk.promote("2", champion="1").promoted
    known = read_history(desk.registry)
    assert [(move.number, move.version, move.previous) for move in known.moves] == [(1, "1", None), (2, "2", "1")]
    assert (known.pending, desk.alias, desk.served) == (None, "2", "2")


def test_what_was_cut_off_is_undone_by_the_next_when_serving_does_not_take_it(desk):
    desk.promote("1")
    (desk.registry.root / RECOMMENDER / "2" / "ranker.onnx").write_bytes(b"cut")
    desk.registry.dies_after = desk.registry.num_writes + 2
    with pytest.raises(Killed):
        desk.promote("2", champion="1")
    assert desk.alias == "2", "killed between the alias and the proof"
    promotion = desk.promote("1", champion="1")
    assert "a promotion of release 2 was cut off, and is undone: serving refused it" in promotion.reason
    assert (desk.alias, desk.served, read_history(desk.registry).pending) == ("1", "1", None)


def test_an_alias_that_could_not_be_put_back_is_settled_by_the_next(desk, monkeypatch):
    desk.promote("1")

    def lost(client, version):
        desk.registry.down = True
        raise RegistryError("gone")

    with monkeypatch.context() as patched:
        patched.setattr("pipelines.release.served._smoke_test", lost)
        with pytest.raises(PromotionError, match=r"`tandem up`, .* tries again"):
            desk.promote("2", champion="1")
    desk.registry.down = False
    assert "so it is finished" in desk.promote("2", champion="1").reason
    assert [move.version for move in read_history(desk.registry).moves] == ["1", "2"]
