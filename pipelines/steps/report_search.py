"""Say what a search has found: the best settings, as a file to train with, and how it got there."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from pipelines.config import Config, RetrievalConfig
from pipelines.contracts import Search, SearchResult
from pipelines.errors import TrainingError
from pipelines.models.plots import importances, search_history
from pipelines.search.study import SearchStudy, Tried
from pipelines.steps.search_settings import with_settings
from pipelines.stores.artifacts import content_key
from pipelines.stores.base import ArtifactStore, RunRecord
from pipelines.stores.revision import code_digest

BEST_FILE = "best.yaml"
TRIALS_FILE = "trials.json"


def report_search(
    search: Search, *, config: Config, storage: Any, folder: Path, artifacts: ArtifactStore, runs: Any
) -> SearchResult:
    """Publish what the trials that are done say, and finish the search's run in MLflow; again after more trials.

    The folder has `trials.json`, `best.yaml` (a configuration that trains with the best settings), `history.png` and,
    from two values on, `importances.png`.

    Args:
        search: of `plan_search`.
        config: all of the configuration, for `best.yaml`.
        storage: of `search.storage.open_storage`.
        folder: of all searches.
        artifacts: where to publish.
        runs: `stores.runs.MlflowRuns`.

    Raises:
        TrainingError: no trial is complete.
        ConfigError: there is no such search.
    """
    study = SearchStudy(storage, folder, search.study)
    tried, best = study.tried(), study.best()
    if best is None or best.outcome.value is None:
        raise TrainingError(_why_none(search, tried))
    told, chosen = [_told(one) for one in tried], _chosen(config, study, best)
    key = content_key(
        trials=told,
        config=chosen,
        code=code_digest("models/drawing.py", "models/plots.py", "search", "steps/report_search.py"),
    )
    uri = artifacts.publish(
        f"{search.dataset}/search/{search.study}/report/{key}",
        lambda target: _write(target, told, chosen, study, search.metric),
    )
    where = artifacts.local(uri)
    ended = Counter(one.outcome.state for one in tried)
    result = SearchResult(
        **search.model_dump(include={"study", "dataset", "model", "metric", "num_trials", "run_id"}),
        value=best.outcome.value,
        settings=best.settings,
        num_ended=dict(sorted(ended.items())),
        uri=uri,
        config=str(where / BEST_FILE),
    )
    runs.finish(search.run_id, _record(where, result, best, tried))
    return result


def _told(one: Tried) -> dict[str, Any]:
    outcome = one.outcome
    ended = {"state": outcome.state, "value": outcome.value, "error": outcome.error}
    return {"trial": one.slot + 1, "settings": one.settings, **ended, "epochs": list(outcome.epochs), **outcome.facts}


def _chosen(config: Config, study: SearchStudy, best: Tried) -> dict[str, Any]:
    """Return what differs from the defaults in a configuration that trains with the best settings."""
    base = RetrievalConfig.model_validate(study.definition["settings"])
    whole = config.model_copy(
        update={"retrieval": with_settings(base, best.settings), "seed": study.definition["seed"]}
    )
    return whole.model_dump(mode="json", exclude_defaults=True)


def _write(folder: Path, told: list[dict[str, Any]], chosen: dict[str, Any], study: SearchStudy, metric: str) -> None:
    import yaml

    (folder / TRIALS_FILE).write_text(json.dumps(told, indent=2))
    (folder / BEST_FILE).write_text(
        f"# The best trial of search {study.name}.\n{yaml.safe_dump(chosen, sort_keys=False)}"
    )
    pruned = [one["state"] == "pruned" for one in told]
    search_history(folder / "history.png", [one["value"] for one in told], pruned, metric)
    shares = study.importances()
    if shares:
        importances(folder / "importances.png", shares)


def _record(where: Path, result: SearchResult, best: Tried, tried: list[Tried]) -> RunRecord:
    counts = {f"num_{state}": float(count) for state, count in result.num_ended.items()}
    reached = [one.outcome.value for one in tried if one.outcome.state == "complete"]
    so_far = [max(value for value in reached[: place + 1] if value is not None) for place in range(len(reached))]
    return RunRecord(
        name=f"search {result.study}",
        metrics={"best_value": result.value, **counts},
        curves={"best_so_far": so_far},
        # Parameters of a run never change; the best of a search does when it gets more trials.
        tags={"best.trial": str(best.slot + 1), **{f"best.{key}": value for key, value in best.settings.items()}},
        artifacts={where: "search"},
    )


def _why_none(search: Search, tried: list[Tried]) -> str:
    reasons = {one.outcome.error for one in tried if one.outcome.error}
    first = f"; the first failed with: {sorted(reasons)[0]}" if reasons else ""
    return (
        f"0 of {search.num_trials} trials of search {search.study!r} are complete, {len(tried)} ended{first}. Expected "
        "at least 1: run the search again, or choose a space whose settings can be trained"
    )
