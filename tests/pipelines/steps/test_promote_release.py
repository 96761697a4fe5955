import fcntl

import pytest

from pipelines.config import PromotionConfig
from pipelines.contracts import CHAMPION, RECOMMENDER, Comparison, IndexManifest, Release
from pipelines.errors import PromotionError, RegistryError
from pipelines.steps.promote_release import promote_release
from pipelines.stores.base import RunRecord
from serving.app import create_app
from serving.settings import Settings
from tests.support.memory_registry import MemoryRegistry
from tests.support.serving import FakeStore, served, wait_until
from tests.support.tiny_release import snapshot, write_tiny_release


class AliasSource:
    """Serving's view of a MemoryRegistry; `blind` to a version, serving never sees it."""

    def __init__(self, registry):
        self.registry, self.blind = registry, set()

    def champion(self):
        model = self.registry.by_alias(RECOMMENDER, CHAMPION)
        return None if model is None or model.version in self.blind else model

    def fetch(self, model):
        return self.registry.root / model.name / model.version

    def forget_old(self, live):
        pass


@pytest.fixture
def registry(tmp_path):
    registry = MemoryRegistry(tmp_path / "registry")
    for version in "12":
        folder = write_tiny_release(tmp_path / version, prefix=version)
        registry.register(RECOMMENDER, folder, key=version, dataset="tiny", record=RunRecord(version))
    return registry


@pytest.fixture
def source(registry):
    return AliasSource(registry)


@pytest.fixture
def promote(registry, source, tmp_path):
    settings = Settings(home=tmp_path / "home", poll_seconds=0.05)
    with served(create_app(settings, source=source, open_store=lambda *_: FakeStore())) as client:

        def run(version, *, champion=None, accepted=True, timeout=10.0, url=None):
            comparison = compared(registry, version, champion, accepted)
            return promote_release(
                comparison,
                config=PromotionConfig(serving_timeout_seconds=timeout),
                registry=registry,
                serving_url=url or str(client.base_url),
                lock_file=tmp_path / "run" / "promotion.lock",
            )

        run.client, run.lock_file = client, tmp_path / "run" / "promotion.lock"
        yield run


def compared(registry, version, champion, accepted):
    model = registry.versions[RECOMMENDER, version]
    index = IndexManifest(retrieval=model, kind="scann", uri="u", digest="d", num_items=1, embedding_dim=1, recall={})
    release = Release(model=model, retrieval=model, ranking=model, index=index, snapshot=snapshot(), metrics={})
    return Comparison(release=release, champion_version=champion, accepted=accepted, reason="compared")


def alias(registry):
    return registry.aliases.get((RECOMMENDER, CHAMPION))


def test_the_release_is_served_before_it_counts_as_promoted(promote, registry):
    promotion = promote("1")
    assert promotion.promoted
    assert (promotion.serving_version, promotion.previous_version) == ("1", None)
    assert "serving answers from it" in promotion.reason
    assert alias(registry) == "1"
    assert promote("2", champion="1").previous_version == "1"
    assert promote.client.get("/v1/release").json()["version"] == "2"


def test_a_refused_comparison_changes_nothing(promote, registry):
    promotion = promote("1", accepted=False)
    assert (promotion.promoted, promotion.reason, alias(registry)) == (False, "compared", None)
    assert registry.moves == []


def test_again_it_gives_the_same(promote, registry):
    assert promote("1") == promote("1")
    assert alias(registry) == "1"


def test_a_release_that_serving_refuses_is_taken_back(promote, registry):
    promote("1")
    (registry.root / RECOMMENDER / "2" / "ranker.onnx").write_bytes(b"cut")
    with pytest.raises(PromotionError, match=r"release 2 was not promoted: serving refused it: .*1 is champion again"):
        promote("2", champion="1")
    assert registry.moves == ["1", "2", "1"]
    assert promote.client.get("/v1/release").json()["version"] == "1"


def test_without_a_previous_champion_there_is_none_afterwards(promote, registry):
    (registry.root / RECOMMENDER / "1" / "ranker.onnx").write_bytes(b"cut")
    with pytest.raises(PromotionError, match="There is no champion now, as before"):
        promote("1")
    assert alias(registry) is None


def test_serving_that_never_takes_the_release_runs_out_of_time(promote, registry, source):
    promote("1")
    source.blind.add("2")
    with pytest.raises(PromotionError, match=r"did not report it within 1 s: it answers from version 1"):
        promote("2", champion="1", timeout=1)
    assert alias(registry) == "1"


def test_serving_that_is_not_there_is_named(promote, registry):
    with pytest.raises(PromotionError, match=r"127\.0\.0\.1:9 .*tandem up"):
        promote("1", timeout=0.5, url="http://127.0.0.1:9")
    assert alias(registry) is None


def test_an_empty_answer_fails_the_smoke_test(promote, registry, monkeypatch):
    promote("1")
    monkeypatch.setattr("serving.recommender.Recommender._allowed", lambda *_: iter(()))
    with pytest.raises(PromotionError, match=r"recommendations for user 'u1' are \[\]; expected at least one item"):
        promote("2", champion="1")
    assert alias(registry) == "1"


def test_a_champion_that_moved_since_the_comparison_stops_it(promote, registry):
    promote("1")
    with pytest.raises(PromotionError, match="was version None when release 2 was compared and is 1 now"):
        promote("2")
    assert alias(registry) == "1"


def test_another_writer_is_left_in_place(promote, registry, monkeypatch):
    promote("1")

    def moved(client, version):
        registry.aliases[RECOMMENDER, CHAMPION] = "1"
        return ""

    monkeypatch.setattr("pipelines.steps.promote_release._smoke_test", moved)
    with pytest.raises(PromotionError, match=r"points at version 1; another writer moved it.*left at version 1"):
        promote("2", champion="1")


def test_an_alias_that_cannot_be_put_back_is_said(promote, registry, monkeypatch):
    promote("1")

    def lost(client, version):
        registry.down = True
        raise RegistryError("gone")

    monkeypatch.setattr("pipelines.steps.promote_release._smoke_test", lost)
    with pytest.raises(PromotionError, match="could not be put back to version 1"):
        promote("2", champion="1")


def test_two_promotions_do_not_overlap(promote):
    promote.lock_file.parent.mkdir()
    with promote.lock_file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(PromotionError, match="another promotion has held"):
            promote("1", timeout=0.5)
    wait_until(lambda: promote("1").promoted)
