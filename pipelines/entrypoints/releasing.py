"""From models to a release that is served."""

import os
from datetime import UTC, datetime
from getpass import getuser

from pipelines.config import Config
from pipelines.contracts import Comparison, Evaluation, IndexManifest, Release
from pipelines.entrypoints.adapters import Json, as_json, open_feature_store, open_model_stores, open_registry
from pipelines.entrypoints.configuring import read_config

PROMOTION_LOCK = "promotion.lock"


def build_index(config: str, evaluation: Json) -> Json:
    """Embed the item corpus, index it, measure the index's recall; returns an IndexManifest."""
    from pipelines.steps.build_index import build_index as step

    c = read_config(config)
    stores = {"feature_store": open_feature_store(c), **open_model_stores(c)}
    return as_json(step(Evaluation(**evaluation), config=c.index, seed=c.seed, **stores))


def assemble_release(config: str, evaluation: Json, index: Json) -> Json:
    """Bind towers, ranker, index and item features into one registered Release."""
    from pipelines.steps.assemble_release import assemble_release as step

    c = read_config(config)
    refs = (Evaluation(**evaluation), IndexManifest(**index))
    stores = open_model_stores(c)
    return as_json(step(*refs, config=c.rules, num_candidates=c.evaluation.num_candidates, **stores))


def compare_release(config: str, release: Json) -> Json:
    """Hold a release against the champion and popularity; returns a Comparison."""
    from pipelines.steps.compare_release import compare_release as step

    c = read_config(config)
    return as_json(step(Release(**release), config=c.promotion, registry=open_registry(c)))


def promote_release(config: str, comparison: Json, by: str = "", run: str = "") -> Json:
    """Move the alias `champion`, wait until serving answers from it, smoke-test it; returns a Promotion."""
    from pipelines.steps.promote_release import promote_release as step

    c = read_config(config)
    return as_json(step(Comparison(**comparison), **_asked(by, run), **_moving(c)))


def rollback_release(config: str, to: str = "", reason: str = "", by: str = "", run: str = "") -> Json:
    """Make the release before champion again, or the one named, and see it served; returns a Move."""
    from pipelines.steps.rollback_release import rollback_release as step

    c = read_config(config)
    return as_json(step(to or None, reason=reason, **_asked(by, run), **_moving(c)))


def settle_promotion(c: Config) -> str | None:
    """Finish or undo the move of `champion` that a killed process began; returns what became of it, None without.

    One that a living process is at is left to it.
    """
    from pipelines.release.history import read_history
    from pipelines.release.moving import is_moving, only_mover, settle
    from pipelines.stores.serving_client import ServingClient

    m = _moving(c)
    if read_history(m["registry"]).pending is None or is_moving(m["lock_file"]):
        return None
    timeout = c.promotion.serving_timeout_seconds
    with only_mover(m["lock_file"], timeout):
        settled = settle(m["registry"], ServingClient(c.serving_url), timeout)
    return settled.note if settled else None


def promotion_state(c: Config) -> Json:
    """Return the last move of `champion` and the one begun, each a Move or None, and whether somebody is at it."""
    from pipelines.release.history import read_history
    from pipelines.release.moving import is_moving

    known = read_history(open_registry(c))
    moves = {"last": known.moves[-1] if known.moves else None, "begun": known.pending}
    found: Json = {name: as_json(move) if move else None for name, move in moves.items()}
    return {**found, "under_way": is_moving(c.home / "run" / PROMOTION_LOCK)}


def _asked(by: str, run: str) -> Json:
    """Return who asked for a move and when; a command that no name was given to is a person's at this machine."""
    now = datetime.now(UTC)
    return {"by": by or _person(), "run": run or f"command-{now.isoformat()}", "at": now}


def _person() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        return f"user {os.getuid()}"


def _moving(c: Config) -> Json:
    lock = c.home / "run" / PROMOTION_LOCK
    return {"config": c.promotion, "registry": open_registry(c), "serving_url": c.serving_url, "lock_file": lock}
