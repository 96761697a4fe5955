"""Work on a search until each of its trials is done or being worked on by others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.config import DEFAULT_TRAINING, RetrievalConfig, TrainingConfig
from pipelines.contracts import Search
from pipelines.errors import ConfigError, TrainingError
from pipelines.models.retrievers.base import RunOptions
from pipelines.models.training import Fit, forget_models
from pipelines.search.study import Outcome, SearchStudy, Trial
from pipelines.steps.search_settings import with_settings
from pipelines.steps.train_retrieval import train_into, write_run
from pipelines.steps.training_run import RUN_FILE, publish_training
from pipelines.stores.artifacts import content_key
from pipelines.stores.base import ArtifactStore, RunRecord
from pipelines.stores.revision import code_digest

TRIAL_FILE = "trial.json"


class Pruned(Exception):
    """The study has seen enough of a trial."""

    def __init__(self, fit: Fit) -> None:
        super().__init__()
        self.fit = fit


def run_trials(
    search: Search,
    *,
    storage: Any,
    folder: Path,
    artifacts: ArtifactStore,
    runs: Any,
    checkpoints: Path | None = None,
    run: TrainingConfig = DEFAULT_TRAINING,
    told: Callable[[int, Outcome], None] | None = None,
) -> int:
    """Train, measure and record trials; returns how many this call did.

    Several calls may run at once and be killed anywhere: a trial is published, then recorded in MLflow, then ended in
    the study, each of which happens once. A trial that a killed call worked on is tried again, from its checkpoint.

    Args:
        search: of `plan_search`.
        storage: of `search.storage.open_storage`.
        folder: of all searches.
        artifacts: where trials are published.
        runs: `stores.runs.MlflowRuns`: gets a run a trial, below that of the search.
        checkpoints: see `train_retrieval`.
        run: devices and precision, see `train_retrieval`.
        told: called with slot and outcome after each trial.

    Raises:
        ConfigError: there is no such search.
    """
    study, num_done = SearchStudy(storage, folder, search.study), 0
    with study.working():
        while (trial := study.claim()) is not None:
            where = _publish(trial, study, search, run, artifacts=artifacts, checkpoints=checkpoints)
            outcome = _outcome(where, search.metric)
            _record(where, trial, outcome, search, runs, key=content_key(search=study.identity, slot=trial.slot))
            trial.end(outcome)
            forget_models()
            num_done += 1
            if told:
                told(trial.slot, outcome)
    return num_done


def _publish(
    trial: Trial,
    study: SearchStudy,
    search: Search,
    run: TrainingConfig,
    *,
    artifacts: ArtifactStore,
    checkpoints: Path | None,
) -> Path:
    """Return the folder of a trial; train first if it is not there."""
    key = content_key(
        search=study.identity,
        settings=trial.settings,
        code=code_digest(
            "inputs", "models", "steps/train_retrieval.py", "steps/retrieval_labels.py", "steps/run_trials.py"
        ),
    )
    return publish_training(
        f"{search.dataset}/search/{search.study}/{trial.slot:04d}",
        lambda folder, kept: _try(folder, kept, trial, study, search, run),
        key=key,
        artifacts=artifacts,
        checkpoints=checkpoints,
    )


def _try(
    folder: Path, kept: Path | None, trial: Trial, study: SearchStudy, search: Search, run: TrainingConfig
) -> None:
    """Train with the trial's settings; write `run.json`, `plots/` and `trial.json`, which says how it ended."""

    def after_epoch(fit: Fit) -> None:
        if trial.report(fit.curves.get(search.metric, [])):
            raise Pruned(fit)

    options = RunOptions(
        study.definition["seed"], run.device, run.num_devices, run.precision, kept, after_epoch=after_epoch
    )
    ended = {"state": "complete", "error": ""}
    try:
        config = with_settings(RetrievalConfig.model_validate(study.definition["settings"]), trial.settings)
        train_into(folder, search.training_set, config, options, run=run, served=False)
    except Pruned as pruned:
        write_run(folder, pruned.fit)
        ended["state"] = "pruned"
    except (ConfigError, TrainingError) as error:
        write_run(folder, Fit())
        ended |= {"state": "failed", "error": str(error)}
    (folder / TRIAL_FILE).write_text(json.dumps(ended))


def _outcome(folder: Path, metric: str) -> Outcome:
    ended, run = (json.loads((folder / file).read_text()) for file in (TRIAL_FILE, RUN_FILE))
    epochs, value = tuple(run["curves"].get(metric, ())), run["metrics"].get(metric)
    costs = {name: value for name, value in run["metrics"].items() if name.startswith("cost_")}
    if ended["state"] == "complete" and value is None:
        ended = {"state": "failed", "error": f"no row of the validation window gives {metric}"}
    value = {"complete": value, "pruned": epochs[-1] if epochs else None, "failed": None}[ended["state"]]
    return Outcome(ended["state"], value, epochs, ended["error"], costs)


def _record(where: Path, trial: Trial, outcome: Outcome, search: Search, runs: Any, *, key: str) -> None:
    """Write the trial's own run, below that of the search."""
    run = json.loads((where / RUN_FILE).read_text())
    ended = "" if outcome.state == "complete" else f" {outcome.state}"
    plots = {where / "plots": "plots"} if any((where / "plots").iterdir()) else {}
    record = RunRecord(
        name=f"trial {trial.slot + 1}{ended}",
        params=trial.settings,
        metrics=run["metrics"],
        curves=run["curves"],
        tags={
            "mlflow.parentRunId": search.run_id,
            "tandem.search": search.study,
            "tandem.trial": str(trial.slot + 1),
            "tandem.trial_state": outcome.state,
            **({"tandem.error": outcome.error} if outcome.error else {}),
        },
        artifacts=plots,
    )
    runs.record(key, dataset=search.dataset, record=record)
