"""A registry with three tiny releases, and a serving component that follows its champion."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.config import PromotionConfig
from pipelines.contracts import CHAMPION, RECOMMENDER, Comparison, IndexManifest, ModelVersion, Promotion, Release
from pipelines.release.history import Move
from pipelines.steps.promote_release import promote_release
from pipelines.steps.rollback_release import rollback_release
from pipelines.stores.base import RunRecord
from serving.app import create_app
from serving.settings import Settings
from tests.support.memory_registry import MemoryRegistry
from tests.support.serving import FakeStore, served
from tests.support.tiny_release import snapshot, write_tiny_release

NOW = datetime(2025, 6, 1, 12, 30, tzinfo=UTC)


class Killed(BaseException):
    """As with signal 9, nothing catches it and no lock outlives it."""


class MortalRegistry(MemoryRegistry):
    """Dies after its write number `dies_after`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.num_writes, self.dies_after = 0, 0

    def set_alias(self, name: str, alias: str, version: str) -> None:
        self._write(lambda: super(MortalRegistry, self).set_alias(name, alias, version))

    def set_tag(self, name: str, tag: str, value: str | None) -> None:
        self._write(lambda: super(MortalRegistry, self).set_tag(name, tag, value))

    def _write(self, write: Any) -> None:
        self.num_writes += 1
        write()
        if self.num_writes == self.dies_after:
            raise Killed


class AliasSource:
    """Serving's view of a MemoryRegistry; `blind` to a version, serving never sees it."""

    def __init__(self, registry: MemoryRegistry) -> None:
        self.registry = registry
        self.blind: set[str] = set()

    def champion(self) -> ModelVersion | None:
        model = self.registry.by_alias(RECOMMENDER, CHAMPION)
        return None if model is None or model.version in self.blind else model

    def fetch(self, model: ModelVersion) -> Path:
        return self.registry.root / model.name / model.version

    def forget_old(self, live: ModelVersion) -> None:
        pass


class Desk:
    """Promotes and goes back, as the steps do, in front of one serving component."""

    def __init__(self, registry: MortalRegistry, source: AliasSource, folder: Path, client: Any) -> None:
        self.registry, self.source, self.client = registry, source, client
        self.lock_file = folder / "run" / "promotion.lock"

    @property
    def alias(self) -> str | None:
        return self.registry.aliases.get((RECOMMENDER, CHAMPION))

    @property
    def served(self) -> str | None:
        return str(self.client.get("/v1/release").json()["version"])

    def promote(
        self, version: str, *, champion: str | None = None, accepted: bool = True, run: str = "p", **where: Any
    ) -> Promotion:
        return promote_release(
            compared(self.registry, version, champion, accepted), by="ada", run=run, at=NOW, **self._where(**where)
        )

    def promote_all(self, *versions: str) -> None:
        for version, champion in zip(versions, (None, *versions), strict=False):
            self.promote(version, champion=champion)

    def roll_back(self, to: str | None = None, *, reason: str = "bad", run: str = "r", **where: Any) -> Move:
        return rollback_release(to, reason=reason, by="bob", run=run, at=NOW, **self._where(**where))

    def _where(self, *, timeout: float = 10.0, url: str | None = None) -> dict[str, Any]:
        return {
            "config": PromotionConfig(serving_timeout_seconds=timeout),
            "registry": self.registry,
            "serving_url": url or str(self.client.base_url),
            "lock_file": self.lock_file,
        }


@contextmanager
def open_desk(folder: Path, num_releases: int = 2) -> Iterator[Desk]:
    registry = MortalRegistry(folder / "registry")
    for version in map(str, range(1, 1 + num_releases)):
        release = write_tiny_release(folder / version, prefix=version)
        registry.register(RECOMMENDER, release, key=version, dataset="tiny", record=RunRecord(version))
    source, settings = AliasSource(registry), Settings(home=folder / "home", poll_seconds=0.05)
    with served(create_app(settings, source=source, open_store=lambda *_: FakeStore())) as client:
        yield Desk(registry, source, folder, client)


def compared(registry: MemoryRegistry, version: str, champion: str | None, accepted: bool) -> Comparison:
    model = registry.versions[RECOMMENDER, version]
    index = IndexManifest(retrieval=model, kind="scann", uri="u", digest="d", num_items=1, embedding_dim=1, recall={})
    release = Release(model=model, retrieval=model, ranking=model, index=index, snapshot=snapshot(), metrics={})
    return Comparison(release=release, champion_version=champion, accepted=accepted, reason="compared")
