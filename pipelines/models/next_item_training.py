"""Training a next-item model: packed batches, the best epoch kept, resumed where it was killed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import TrainingError
from pipelines.models.checkpoints import read_checkpoint, write_checkpoint
from pipelines.models.packing import UNKNOWN, Arrays, Packed, Steps, pack, training_windows
from pipelines.models.training import Fit

WATCHED = "ndcg_at_10"


@dataclass(frozen=True)
class Batches:
    """The batches of any epoch, a function of seed and epoch alone.

    Attributes:
        steps: what to learn from.
        length: positions of a row.
        batch_size: rows of a batch; the last is filled with padding.
        seed: with the epoch's number, decides windows, order and negatives.
        num_negatives: shared negatives of a batch; 0 gives none.
        cumulative: cumulative probability of each item as a negative, `[num_items]`; None draws them from the batch.
        timed: whether the model reads times.
        hidden_times: share of windows whose times the model does not get to see.
    """

    steps: Steps
    length: int
    batch_size: int
    seed: int
    num_negatives: int = 0
    cumulative: NDArray[np.float64] | None = None
    timed: bool = False
    hidden_times: float = 0.0

    def of(self, epoch: int, *, start: int = 0) -> tuple[int, Iterator[Arrays]]:
        """Return the number of batches of an epoch, and those from `start` on."""
        rng = np.random.default_rng([self.seed, epoch])
        packed = pack(*training_windows(self.steps, self.length, rng), self.length)
        order = rng.permutation(len(packed))
        count = -(-len(packed) // self.batch_size)
        return count, (self._batch(packed, order, epoch, index) for index in range(start, count))

    def _batch(self, packed: Packed, order: NDArray[np.int64], epoch: int, index: int) -> Arrays:
        rows = order[index * self.batch_size : (index + 1) * self.batch_size]
        arrays = self.steps.arrays(packed.rows(rows, size=self.batch_size), timed=self.timed)
        rng = np.random.default_rng([self.seed, epoch, index])
        if self.num_negatives:
            arrays["negatives"] = self._negatives(arrays, rng)
        if self.timed and self.hidden_times:
            hidden = rng.random(arrays["windows"].max() + 1)[arrays["windows"]] < self.hidden_times
            for name in ("input_times", "target_times"):
                arrays[name] = np.where(hidden, np.int32(UNKNOWN), arrays[name])
        return arrays

    def _negatives(self, arrays: Arrays, rng: np.random.Generator) -> NDArray[np.int32]:
        if self.cumulative is None:
            return np.asarray(rng.choice(arrays["targets"][arrays["windows"] > 0], self.num_negatives), np.int32)
        return np.searchsorted(self.cumulative[:-1], rng.random(self.num_negatives)).astype(np.int32)


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


def fit_next_items(
    model: Any,
    batches: Batches,
    *,
    epochs: int,
    patience: int,
    validate: Callable[[], dict[str, float]] | None,
    of: str,
    checkpoints: Path | None,
    checkpoint_batches: int,
) -> Fit:
    """Train a compiled and built model until validation stops improving; leave it with the weights of its best epoch.

    Killed anywhere and called again with equal arguments, it ends with the same weights and curves.

    Args:
        model: compiled Keras model whose loss comes from the packed arrays.
        batches: what to train on.
        epochs: at most this many passes.
        patience: epochs without a better `ndcg_at_10` after which to stop.
        validate: measures the model as it is; None keeps the last epoch.
        of: what this run is; a checkpoint of another is refused.
        checkpoints: folder for checkpoints; None keeps none.
        checkpoint_batches: batches between two checkpoints; one also follows each epoch.

    Raises:
        TrainingError: the loss is not finite, or the checkpoint is of another run.
    """
    progress = (checkpoints and _restore(model, checkpoints, of)) or Progress()
    while progress.epoch <= epochs and progress.epoch - 1 - progress.fit.best_epoch < max(patience, 1):
        count, rest = batches.of(progress.epoch, start=progress.batch)
        while progress.batch < count:
            # Also without checkpoints: a mean of losses is rounded in the same places.
            chunk = min(checkpoint_batches, count - progress.batch)
            progress.loss_sum += chunk * _run(model, rest, chunk)
            progress.batch += chunk
            if checkpoints and progress.batch < count:
                _keep(model, progress, checkpoints, of)
        _finish_epoch(model, progress, validate)
        if checkpoints:
            _keep(model, progress, checkpoints, of)
    if progress.best_weights:
        _assign(model.variables, progress.best_weights)
    return progress.fit


def _run(model: Any, batches: Iterator[Arrays], count: int) -> float:
    """Train on the next `count` batches; returns their mean loss."""
    history = model.fit(((next(batches),) for _ in range(count)), steps_per_epoch=count, verbose=0, shuffle=False)
    loss = float(history.history["loss"][-1])
    if not np.isfinite(loss):
        raise TrainingError(f"the loss is {loss}; expected a finite value. Lower learning_rate")
    return loss


def _finish_epoch(model: Any, progress: Progress, validate: Callable[[], dict[str, float]] | None) -> None:
    """Measure the epoch, keep its weights if they are the best, and go to the next."""
    measured = {"loss": progress.loss_sum / progress.batch, **(validate() if validate else {})}
    curves = {name: [*progress.fit.curves.get(name, []), value] for name, value in measured.items()}
    # Without validation the newest epoch is the best known.
    watched = measured.get(WATCHED, float(progress.epoch))
    if watched > progress.fit.best:
        progress.fit = Fit(curves, progress.epoch, watched)
        progress.best_weights = [np.array(variable) for variable in model.variables]
    else:
        progress.fit = Fit(curves, progress.fit.best_epoch, progress.fit.best)
    progress.epoch, progress.batch, progress.loss_sum = progress.epoch + 1, 0, 0.0


def _keep(model: Any, progress: Progress, folder: Path, of: str) -> None:
    # Seeds of dropout are variables of the model: they are the random state.
    groups = {"model": model.variables, "optimizer": model.optimizer.variables, "best": progress.best_weights}
    arrays = {f"{name}_{i}": np.asarray(value) for name, values in groups.items() for i, value in enumerate(values)}
    fit = progress.fit
    state = {
        "of": of, "epoch": progress.epoch, "batch": progress.batch, "loss_sum": progress.loss_sum,
        "curves": fit.curves, "best_epoch": fit.best_epoch, "best": fit.best,
    }  # fmt: skip
    write_checkpoint(folder, state, arrays)


def _restore(model: Any, folder: Path, of: str) -> Progress | None:
    found = read_checkpoint(folder, of=of)
    if found is None:
        return None
    state, arrays = found
    _assign(model.variables, _group(arrays, "model"))
    _assign(model.optimizer.variables, _group(arrays, "optimizer"))
    fit = Fit(state["curves"], state["best_epoch"], state["best"])
    return Progress(fit, state["epoch"], state["batch"], state["loss_sum"], _group(arrays, "best"))


def _group(arrays: Arrays, name: str) -> list[NDArray[Any]]:
    count = sum(key.startswith(f"{name}_") for key in arrays)
    return [arrays[f"{name}_{i}"] for i in range(count)]


def _assign(variables: list[Any], values: list[NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
