"""Begin a search for a model's best settings, or find the one that was begun."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.config import RetrievalConfig, SearchConfig
from pipelines.contracts import Search, TrainingSet
from pipelines.errors import ConfigError
from pipelines.models.retrievers.catalogue import model_class
from pipelines.search.space import Space, default_space
from pipelines.search.storage import alone
from pipelines.search.study import SearchStudy, checked_name, define
from pipelines.steps.search_settings import check_space
from pipelines.steps.train_retrieval import FEATURE_SERVICE, lineage
from pipelines.stores.artifacts import content_key
from pipelines.stores.base import RunRecord


def plan_search(
    training_set: TrainingSet,
    *,
    config: RetrievalConfig,
    limits: SearchConfig,
    storage: Any,
    folder: Path,
    runs: Any,
    seed: int,
    num_trials: int,
    study: str | None = None,
    space: Mapping[str, Any] | None = None,
) -> Search:
    """Write down what is searched, and open its run in MLflow; equal arguments find the search that is there.

    A search of the name goes on with the training set it was begun with, and may be given more trials.

    Args:
        training_set: all trials are trained on it, and measured on its validation window.
        config: the model, and its settings that are not searched.
        limits: how many trials may be asked for, and when one is ended early.
        storage: of `search.storage.open_storage`.
        folder: of all searches, shared by all who work on them.
        runs: `stores.runs.MlflowRuns`.
        seed: decides what is tried, and of each trial everything random.
        num_trials: at most; a space with fewer points has as many trials.
        study: name; None names it after data set, model and what is searched.
        space: dotted key -> list or range; None takes the model's own.

    Raises:
        ConfigError: name, number or space is not legal, or the search of this name is another or lost its training set.
    """
    if not 1 <= num_trials <= limits.max_trials:
        raise ConfigError(
            f"{num_trials} trials were asked for; expected 1 to {limits.max_trials}, which search.max_trials sets"
        )
    definition = _definition(training_set, config, limits, seed, space or default_space(config.model))
    name = study or _name(definition, training_set)
    with alone(folder / checked_name(name) / ".plan.lock"):
        pinned = {"training_set": training_set.model_dump(mode="json")}
        define(storage, name, definition, pinned=pinned, num_trials=num_trials)
        found = SearchStudy(storage, folder, name)
        kept = _existing(TrainingSet(**found.pinned["training_set"]), name)
        record = _record(name, definition, kept)
        run_id = runs.begin(found.identity, dataset=definition["dataset"], record=record)
    about = {key: definition[key] for key in ("dataset", "model", "metric")}
    return Search(study=name, num_trials=found.num_trials, training_set=kept, run_id=run_id, **about)


def _definition(
    training_set: TrainingSet, config: RetrievalConfig, limits: SearchConfig, seed: int, space: Mapping[str, Any]
) -> dict[str, Any]:
    if not space:
        raise ConfigError(
            f"model {config.model!r} has no settings that are searched by default; name some, such as "
            "--space 'retrieval.settings.decay=0.5..1.0'. See `tandem models --json`"
        )
    check_space(Space.of(space), config)
    pruning = limits.model_dump(include={"num_unpruned", "prune_from_epoch"}) if limits.prune else None
    return {
        "dataset": training_set.features.snapshot.dataset,
        "model": config.model,
        "metric": model_class(config.model).objective,
        "space": dict(space),
        "seed": seed,
        "settings": config.model_dump(mode="json"),
        "pruning": pruning,
    }


def _existing(training_set: TrainingSet, name: str) -> TrainingSet:
    """Return the training set that a search was begun with, unless forgetting a user or a clean-up has removed it."""
    if not Path(training_set.uri).exists():
        raise ConfigError(
            f"search {name!r} was begun on training set {training_set.uri}, which is gone; expected it there for the "
            "trials to compare. Begin another search, by another name of the study"
        )
    return training_set


def _name(definition: Mapping[str, Any], training_set: TrainingSet) -> str:
    key = content_key(definition=definition, training_set=training_set.fingerprint)
    return f"{definition['dataset']}-{definition['model']}-{key[:8]}"


def _record(name: str, definition: Mapping[str, Any], training_set: TrainingSet) -> RunRecord:
    """Return what the run of the search shows from the beginning."""
    return RunRecord(
        name=f"search {name}",
        params={
            "model": definition["model"],
            "metric": definition["metric"],
            "seed": definition["seed"],
            "snapshot": training_set.features.snapshot.snapshot_id,
            "training_set": training_set.fingerprint,
            **{f"space.{key}": spec for key, spec in definition["space"].items()},
        },
        tags=lineage(training_set, FEATURE_SERVICE) | {"tandem.search": name},
    )
