"""Fitting Keras models: batches from memory, measured every epoch, the best epoch kept."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from pipelines.errors import ConfigError, TrainingError
from pipelines.models.batches import Arrays, Batch


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
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    keras.utils.set_random_seed(seed)


def on_device(device: Literal["auto", "cpu", "gpu"]) -> AbstractContextManager[Any]:
    """Return a context in which Keras computes on a device; `auto` leaves the choice to the backend.

    Raises:
        ConfigError: the backend sees no such device.
    """
    if device == "auto":
        return nullcontext()
    import keras

    try:
        found = keras.distribution.list_devices(device)
    except RuntimeError:  # how JAX says that there is none
        found = []
    if not found:
        raise ConfigError(
            f"device {device!r} was asked for; the backend {keras.backend.backend()} sees none. Ask for `auto`"
        )
    scope: AbstractContextManager[Any] = keras.device(f"{device}:0")
    return scope


def fit_epochs(
    model: Any,
    batches: Callable[[np.random.Generator], Iterator[Batch]],
    *,
    epochs: int,
    patience: int,
    seed: int,
    validate: Callable[[], dict[str, float]],
    watch: str,
) -> Fit:
    """Train a compiled model until `watch` stops growing, and leave it with the weights of the best epoch.

    Args:
        model: compiled Keras model.
        batches: one epoch of batches, given a random generator of the epoch's own.
        epochs: at most this many passes.
        patience: epochs without improvement after which to stop.
        seed: with the epoch's number, decides its generator.
        validate: measures the model as it is: metric -> value, higher is better for `watch`.
        watch: the metric that decides.

    Raises:
        TrainingError: the loss or the watched metric is not finite.
    """
    fit, best_weights = Fit(), None
    for epoch in range(1, epochs + 1):
        loss = _run_epoch(model, batches(np.random.default_rng([seed, epoch])))
        measured = {"loss": loss, **validate()}
        for name in ("loss", watch):
            if not np.isfinite(measured[name]):
                raise TrainingError(
                    f"{name} is {measured[name]} after epoch {epoch}; expected a finite value. Lower learning_rate"
                )
        curves = {name: [*fit.curves.get(name, []), value] for name, value in measured.items()}
        if measured[watch] > fit.best:
            best_weights = model.get_weights()
            fit = Fit(curves, epoch, measured[watch])
        else:
            fit = Fit(curves, fit.best_epoch, fit.best)
        if epoch - fit.best_epoch >= patience:
            break
    model.set_weights(best_weights)
    return fit


def predict(model: Any, inputs: Arrays, *, batch_size: int = 8_192) -> Any:
    """Return the outputs of `model` for all rows, as numpy; a dict of outputs gives a dict of arrays."""
    num_rows = len(next(iter(inputs.values())))
    parts = [
        model.predict_on_batch({name: values[start : start + batch_size] for name, values in inputs.items()})
        for start in range(0, max(num_rows, 1), batch_size)
    ]
    if isinstance(parts[0], dict):
        return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}
    return np.concatenate([np.asarray(part) for part in parts])


def _run_epoch(model: Any, batches: Iterator[Batch]) -> float:
    """Run one epoch; returns the mean loss."""
    loss = np.nan
    model.reset_metrics()
    for batch in batches:
        # Keras returns the means since reset_metrics, the loss first.
        answer = model.train_on_batch(batch.inputs, batch.targets, sample_weight=batch.weights)
        loss = answer[0] if isinstance(answer, list | tuple) else answer
    return float(np.asarray(loss))
