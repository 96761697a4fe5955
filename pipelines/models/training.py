"""Fitting Keras models: measured every epoch, the best epoch kept, resumed where it was killed."""

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import TrainingError
from pipelines.models.batches import Batch
from pipelines.models.checkpoints import read_checkpoint, write_checkpoint
from pipelines.models.devices import choose_backend, num_replicas
from pipelines.models.encoded_rows import Arrays
from pipelines.models.step_loops import Resident, Step, StepLoop, step_loop

EpochBatches = Callable[[int, int], tuple[int, Iterator[Step]]]
AfterEpoch = Callable[["Fit"], None]


@dataclass(frozen=True)
class Fit:
    """How training went.

    Attributes:
        curves: metric -> value an epoch.
        best_epoch: epoch whose weights the model has, from 1.
        best: the watched metric there.
    """

    curves: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0
    best: float = -np.inf

    def at_best(self) -> dict[str, float]:
        """Return the value of each curve at the best epoch."""
        return {name: values[self.best_epoch - 1] for name, values in self.curves.items()}


def prepare_keras(seed: int) -> None:
    """Choose the backend, quiet it, and seed Python, numpy and the backend."""
    choose_backend()
    import keras

    keras.utils.set_random_seed(seed)


@dataclass
class Progress:
    """Where a training stands; `fit` and the numbers are kept in checkpoints.

    Attributes:
        fit: curves and best epoch so far.
        epoch: number of the current epoch, from 1.
        batch: batches of it that are done.
        loss_sum: sum of their losses.
        best_weights: variables of the best epoch, empty before the first.
    """

    fit: Fit = field(default_factory=Fit)
    epoch: int = 1
    batch: int = 0
    loss_sum: float = 0.0
    best_weights: list[NDArray[Any]] = field(default_factory=list)


def fit_epochs(
    model: Any,
    batches: EpochBatches,
    *,
    epochs: int,
    patience: int,
    validate: Callable[[], dict[str, float]] | None,
    watch: str,
    of: str,
    checkpoints: Path | None,
    checkpoint_batches: int,
    state: Arrays | None = None,
    resident: Resident | None = None,
    after_epoch: AfterEpoch | None = None,
) -> Fit:
    """Train a compiled and built model until `watch` stops growing, and leave it with the weights of the best epoch.

    Killed anywhere and called again with equal arguments, it ends with the same weights and curves: a checkpoint holds
    the model's variables (the states of dropout are among them), the optimizer's, the position in the data, what the
    batches remember, and the best epoch.

    Args:
        model: compiled Keras model.
        batches: epoch and first batch -> number of the epoch's batches, and those from the first on. They must be a
            function of the epoch and of `state`.
        epochs: at most this many passes.
        patience: epochs without improvement after which to stop.
        validate: measures the model as it is: metric -> value, higher is better for `watch`; None keeps the last epoch.
        watch: the metric that decides.
        of: what this run is; a checkpoint of another is refused.
        checkpoints: folder for checkpoints; None keeps none.
        checkpoint_batches: batches between two checkpoints; one also follows each epoch.
        state: what drawing batches remembers from one to the next: arrays that it changes in place.
        resident: data that stays on the device, where batches only name its rows.
        after_epoch: told how training went so far, before the epoch's checkpoint; what it raises ends the training.

    Raises:
        TrainingError: the loss or the watched metric is not finite, or the checkpoint is of another run.
    """
    model.optimizer.build(model.trainable_variables)
    remembered = list((state or {}).values())
    progress = (checkpoints and _restore(model, remembered, checkpoints, of)) or Progress()
    loop = step_loop(model, resident)
    while progress.epoch <= epochs and progress.epoch - 1 - progress.fit.best_epoch < max(patience, 1):
        count, rest = batches(progress.epoch, progress.batch)
        while progress.batch < count:
            # Also without checkpoints: a mean of losses is rounded in the same places.
            chunk = min(checkpoint_batches, count - progress.batch)
            progress.loss_sum += chunk * _run(loop, rest, chunk)
            progress.batch += chunk
            if checkpoints and progress.batch < count:
                _keep(model, progress, remembered, checkpoints, of)
        _finish_epoch(model, progress, validate, watch)
        if after_epoch:
            after_epoch(progress.fit)
        if checkpoints:
            _keep(model, progress, remembered, checkpoints, of)
    if progress.best_weights:
        _assign(model.variables, progress.best_weights)
    return progress.fit


def drawn_batches(draw: Callable[[np.random.Generator], Iterator[Batch]], *, count: int, seed: int) -> EpochBatches:
    """Return the batches of any epoch, for `fit_epochs`.

    Args:
        draw: one epoch of batches, given a random generator of the epoch's own.
        count: batches of an epoch.
        seed: with the epoch's number, decides its generator.
    """

    def of(epoch: int, start: int) -> tuple[int, Iterator[Step]]:
        # Batches before `start` are drawn and dropped: a generator gives the same ones only in the same order.
        rest = islice(draw(np.random.default_rng([seed, epoch])), start, None)
        return count, (step_of(batch) for batch in rest)

    return of


def step_of(batch: Batch) -> Step:
    """Return a batch as Keras takes it."""
    step = (batch.inputs, batch.targets)
    return step if batch.weights is None else (*step, batch.weights)


def forget_models() -> None:
    """Give up what Keras keeps of the models built so far, if it was used: the next is built as in a new process."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session()
        # It warns of what is traced again, as each new model must be.
        logging.getLogger("tensorflow").setLevel(logging.ERROR)


def predict(model: Any, inputs: Arrays, *, batch_size: int = 8_192) -> Any:
    """Return the outputs of `model` for all rows, as numpy; a dict of outputs gives a dict of arrays."""
    num_rows = len(next(iter(inputs.values())))
    parts = [
        predict_batch(model, {name: values[start : start + batch_size] for name, values in inputs.items()})
        for start in range(0, max(num_rows, 1), batch_size)
    ]
    if isinstance(parts[0], dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return np.concatenate(parts)


def predict_batch(model: Any, inputs: Arrays) -> Any:
    """Return the outputs of `model` for rows that fit in one batch, as numpy, whatever the number of devices."""
    replicas, num_rows = num_replicas(), len(next(iter(inputs.values())))
    if replicas == 1:
        outputs = model.predict_on_batch(inputs)
    else:  # rows are divided among devices, or given to each: there must be a multiple, and there may be copies
        even = np.minimum(np.arange(-(-num_rows // replicas) * replicas), num_rows - 1)
        outputs = model.predict_on_batch({name: values[even] for name, values in inputs.items()})
    if isinstance(outputs, dict):
        return {name: np.asarray(values)[:num_rows] for name, values in outputs.items()}
    return np.asarray(outputs)[:num_rows]


def _run(loop: StepLoop, batches: Iterator[Step], count: int) -> float:
    """Train on the next `count` batches; returns their mean loss."""
    loss = loop.run(batches, count)
    if not np.isfinite(loss):
        raise TrainingError(f"the loss is {loss}; expected a finite value. Lower learning_rate")
    return loss


def _finish_epoch(model: Any, progress: Progress, validate: Callable[[], dict[str, float]] | None, watch: str) -> None:
    """Measure the epoch, keep its weights if they are the best, and go to the next."""
    measured = {"loss": progress.loss_sum / progress.batch, **(validate() if validate else {})}
    # Without validation the newest epoch is the best known.
    watched = measured.get(watch, float(progress.epoch))
    if not np.isfinite(watched):
        raise TrainingError(
            f"{watch} is {watched} after epoch {progress.epoch}; expected a finite value. Lower learning_rate"
        )
    curves = {name: [*progress.fit.curves.get(name, []), value] for name, value in measured.items()}
    if watched > progress.fit.best:
        progress.fit = Fit(curves, progress.epoch, watched)
        progress.best_weights = [np.array(variable) for variable in model.variables]
    else:
        progress.fit = Fit(curves, progress.fit.best_epoch, progress.fit.best)
    progress.epoch, progress.batch, progress.loss_sum = progress.epoch + 1, 0, 0.0


def _keep(model: Any, progress: Progress, remembered: list[NDArray[Any]], folder: Path, of: str) -> None:
    # Seeds of dropout are variables of the model: they are the random state.
    groups = {
        "model": model.variables, "optimizer": model.optimizer.variables, "best": progress.best_weights,
        "remembered": remembered,
    }  # fmt: skip
    arrays = {f"{name}_{i}": np.asarray(value) for name, values in groups.items() for i, value in enumerate(values)}
    fit = progress.fit
    state = {
        "of": of, "epoch": progress.epoch, "batch": progress.batch, "loss_sum": progress.loss_sum,
        "curves": fit.curves, "best_epoch": fit.best_epoch, "best": fit.best,
    }  # fmt: skip
    write_checkpoint(folder, state, arrays)


def _restore(model: Any, remembered: list[NDArray[Any]], folder: Path, of: str) -> Progress | None:
    found = read_checkpoint(folder, of=of)
    if found is None:
        return None
    state, arrays = found
    _assign(model.variables, _group(arrays, "model"))
    _assign(model.optimizer.variables, _group(arrays, "optimizer"))
    for values, kept in zip(remembered, _group(arrays, "remembered"), strict=True):
        np.copyto(values, kept)
    fit = Fit(state["curves"], state["best_epoch"], state["best"])
    return Progress(fit, state["epoch"], state["batch"], state["loss_sum"], _group(arrays, "best"))


def _group(arrays: Arrays, name: str) -> list[NDArray[Any]]:
    count = sum(key.startswith(f"{name}_") for key in arrays)
    return [arrays[f"{name}_{i}"] for i in range(count)]


def _assign(variables: list[Any], values: list[NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
