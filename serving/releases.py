"""Which release answers: watch the alias, fetch, verify, warm up, and swap by one assignment."""

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from pipelines.contracts import RECOMMENDER, ModelVersion
from pipelines.errors import RegistryError, TandemError
from pipelines.stores.base import ModelRegistry
from serving.bundle import Bundle, load_bundle
from serving.metrics import Metrics
from serving.recommender import Query, Recommender, Stages
from serving.users import UserReader

_logger = logging.getLogger(__name__)
LAST_FILE = "last.json"
WARM_UP_REQUESTS = 5
KEPT_RELEASES = 3


class ReleaseSource(Protocol):
    """Where releases come from."""

    def champion(self) -> ModelVersion | None:
        """Return the version to serve; RegistryError when nobody can say."""

    def fetch(self, model: ModelVersion) -> Path:
        """Return a local folder with exactly the registered bytes."""

    def forget_old(self, live: ModelVersion) -> None:
        """Remove releases from the cache that will hardly be needed again; never the live one."""


class RegistrySource:
    """Releases behind an alias in MLflow."""

    def __init__(self, uri: str, alias: str, cache: Path) -> None:
        """Connect with the first call: MLflow may be down when serving starts."""
        self._uri, self._alias, self._cache = uri, alias, cache
        self._registry: ModelRegistry | None = None

    def champion(self) -> ModelVersion | None:
        """Return the version behind the alias."""
        return self._connected().by_alias(RECOMMENDER, self._alias)

    def fetch(self, model: ModelVersion) -> Path:
        """Return the version's folder from the cache, else from MLflow; the digest is checked either way."""
        return self._connected().download(model)

    def forget_old(self, live: ModelVersion) -> None:
        """Keep the newest releases, so that going back needs no download, and remove the rest."""
        folders = [p for p in (self._cache / RECOMMENDER).glob("[!.]*") if not live.digest.startswith(p.name)]
        for folder in sorted(folders, key=lambda p: p.stat().st_mtime, reverse=True)[KEPT_RELEASES - 1 :]:
            shutil.rmtree(folder, ignore_errors=True)

    def _connected(self) -> ModelRegistry:
        if self._registry is None:
            from pipelines.stores.registry import MlflowRegistry

            self._registry = MlflowRegistry(self._uri, self._cache)
        return self._registry


@dataclass(frozen=True)
class Live:
    """The release that answers now, with the user reader of its dataset."""

    recommender: Recommender
    users: UserReader
    loaded_at: datetime

    @property
    def bundle(self) -> Bundle:
        """The release itself."""
        return self.recommender.bundle


@dataclass(frozen=True)
class Status:
    """What the last look at the registry said.

    Attributes:
        registry_error: why the registry could not be asked; None when it could.
        absent: True when no version has the alias.
        refused: version -> why it was not loaded.
    """

    registry_error: str | None = None
    absent: bool = False
    refused: dict[str, str] = field(default_factory=dict)


class ReleaseWatcher:
    """Keeps `live` at the champion. A release that cannot be verified, loaded and warmed up is never live."""

    def __init__(
        self,
        source: ReleaseSource,
        cache: Path,
        *,
        open_users: Callable[[Bundle], UserReader],
        metrics: Metrics,
        retry_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch `source`; the last good release is remembered in `cache`."""
        self._source = source
        self._last = cache / LAST_FILE
        self._open_users = open_users
        self._metrics = metrics
        self._retry_seconds = retry_seconds
        self._monotonic = monotonic
        self._retry_at: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.live: Live | None = None
        self.status = Status()

    def start(self, poll_seconds: float) -> None:
        """Poll in a thread of its own until `stop`."""

        def run() -> None:
            while not self._stop.is_set():
                try:
                    self.poll()
                except Exception:  # a thread that ended would never swap again, and nobody would notice
                    _logger.exception("looking for a release failed; trying again")
                self._stop.wait(poll_seconds)

        self._thread = threading.Thread(target=run, name="release-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop polling; a load in progress is abandoned with the process."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def poll(self) -> None:
        """Look once, and swap if there is another champion. Whatever is wrong with it, `live` keeps answering."""
        try:
            champion = self._source.champion()
        except Exception as error:  # the registry's client may raise anything; serving goes on
            if self.status.registry_error is None:
                _logger.warning("the model registry cannot be asked: %s", error)
            self.status = replace(self.status, registry_error=str(error))
            self._metrics.registry_up.set(0)
            if self.live is None and (last := self._remembered()) is not None:
                self._try(last)
            return
        self._metrics.registry_up.set(1)
        self.status = replace(self.status, registry_error=None, absent=champion is None)
        if champion is not None and not self._is_live(champion):
            self._try(champion)

    def _is_live(self, model: ModelVersion) -> bool:
        if self.live is None:
            return False
        now = self.live.bundle.model
        return (now.version, now.digest) == (model.version, model.digest)

    def _try(self, model: ModelVersion) -> None:
        """Load a version and let it answer; if it is refused, the one before keeps answering."""
        if self._monotonic() < self._retry_at.get(model.version, 0.0):
            return
        _logger.info("loading release %s (%s)", model.version, model.digest[:12])
        try:
            live = self._load(model)
        except RegistryError as error:
            self.status = replace(self.status, registry_error=str(error))
            _logger.warning("release %s cannot be fetched: %s", model.version, error)
            return
        except Exception as error:  # a bad release must not take serving down, whatever it is that is bad
            self._refuse(model, error)
            return
        self.live = live
        self._retry_at.clear()
        self.status = replace(self.status, refused={})
        manifest = live.bundle.manifest
        self._metrics.went_live(model.version, manifest.dataset, model.digest, manifest.snapshot.as_of)
        self._remember(model)
        self._source.forget_old(model)
        _logger.info("release %s answers now", model.version)

    def _load(self, model: ModelVersion) -> Live:
        bundle = load_bundle(self._source.fetch(model), model)
        live = Live(Recommender(bundle), self._open_users(bundle), datetime.now(UTC))
        warm_up(live)
        return live

    def _refuse(self, model: ModelVersion, error: Exception) -> None:
        kind = type(error).__name__
        _logger.error(
            "release %s is refused: %s: %s", model.version, kind, error, exc_info=not isinstance(error, TandemError)
        )
        self._metrics.refused.labels(kind).inc()
        self._retry_at[model.version] = self._monotonic() + self._retry_seconds
        self.status = replace(self.status, refused={**self.status.refused, model.version: f"{kind}: {error}"})

    def _remember(self, model: ModelVersion) -> None:
        """Note the last good release, atomically, for a restart while the registry is down."""
        scratch = self._last.with_suffix(f".{os.getpid()}")
        try:
            self._last.parent.mkdir(parents=True, exist_ok=True)
            scratch.write_text(model.model_dump_json())
            os.replace(scratch, self._last)
        except OSError as error:
            _logger.warning("the last release cannot be noted in %s: %s", self._last, error)

    def _remembered(self) -> ModelVersion | None:
        try:
            return ModelVersion.model_validate_json(self._last.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            _logger.warning("%s cannot be read: %s", self._last, error)
            return None


def warm_up(live: Live) -> None:
    """Answer a few requests nobody asked: the first real one finds everything loaded, and nobody sees a failure.

    The online store is opened here too; a store that is down is no reason to refuse a release.
    """
    query = Query(user_id="warm-up", count=10)
    for _ in range(WARM_UP_REQUESTS):
        user = live.users.read(query.user_id)
        live.recommender.recommend(query, user, Stages(), now=datetime.now(UTC))
