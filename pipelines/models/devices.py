"""The devices of a run: one of a kind, or several that each take a part of every batch."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

from pipelines.errors import ConfigError

Device = Literal["auto", "cpu", "gpu"]


@contextmanager
def on_devices(device: Device, num_devices: int = 1) -> Iterator[None]:
    """Compute on one device, or data-parallel on several; a model must be built inside, and stays there.

    Several devices hold a copy of the weights each and take equal parts of every batch. By JAX they are
    `keras.distribution.DataParallel`, by TensorFlow `tf.distribute.MirroredStrategy`. The losses of the two-tower and
    the next-item models look at the whole batch either way, so the number of devices changes nothing but rounding.

    Args:
        device: `auto` leaves the choice to the backend: accelerators where it sees any.
        num_devices: how many of them; the batch size must be a multiple.

    Raises:
        ConfigError: the backend sees fewer.
    """
    if device == "auto" and num_devices == 1:
        yield
        return
    found = devices(device, num_devices)
    import keras

    with keras.device(found[0]) if num_devices == 1 else _parallel(found):
        yield


def devices(device: Device, num_devices: int) -> list[str]:
    """Return the names of the first devices of a kind.

    Raises:
        ConfigError: the backend sees fewer.
    """
    choose_backend()
    import keras

    found = _found(device)
    if len(found) < num_devices:
        raise ConfigError(
            f"{num_devices} device(s) of kind {device!r} were asked for; the backend {keras.backend.backend()} sees "
            f"{', '.join(found) or 'none'}. Ask for at most as many as there are, or for the device `auto`"
        )
    return found[:num_devices]


def choose_backend() -> None:
    """Choose Keras' backend and quiet it, where nobody has; before Keras is imported."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def require_even(batch_size: int, num_devices: int) -> None:
    """Raise ConfigError unless a batch divides evenly among the devices."""
    if batch_size % num_devices:
        raise ConfigError(
            f"batch_size={batch_size} does not divide among {num_devices} devices; expected a multiple of {num_devices}"
        )


def num_replicas() -> int:
    """Return among how many devices a batch is divided here, which is 1 outside `on_devices`."""
    import keras

    if keras.backend.backend() == "jax":
        distribution = keras.distribution.distribution()
        return 1 if distribution is None else int(distribution.num_model_replicas)
    import tensorflow as tf

    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def own_part(step: tuple[Any, ...], shared: Iterable[str]) -> tuple[Any, ...]:
    """Return the rows of a TensorFlow step that the current replica takes; inputs in `shared` stay whole."""
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return step
    inputs = {name: values if name in shared else _own_rows(values, context) for name, values in step[0].items()}
    return (inputs, *tf.nest.map_structure(lambda values: _own_rows(values, context), step[1:]))


def whole_batch(values: Any) -> Any:
    """Return the rows of all devices, `[batch, ...]`, from those of this one; gradients flow back to theirs.

    By JAX a batch is one array whatever the number of devices, and is returned as it is.
    """
    context = _replicas()
    if context is None:
        return values
    import tensorflow as tf

    # TensorFlow's own gradient of a gather does not take that of some of its rows.
    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def gathered(part: Any) -> Any:
        def gradient(upstream: Any) -> Any:
            return _own_rows(context.all_reduce("SUM", tf.convert_to_tensor(upstream)), context)

        return context.all_gather(part, axis=0), gradient

    return gathered(values)


def total(value: Any) -> Any:
    """Return the sum of a number over all devices; no gradient flows through it."""
    context = _replicas()
    return value if context is None else context.all_reduce("SUM", value)


def share_of_batch() -> float:
    """Return the part of a batch that a loss sees: 1 over the replicas by TensorFlow, 1 by JAX."""
    context = _replicas()
    return 1.0 if context is None else 1 / context.num_replicas_in_sync


def _replicas() -> Any:
    """Return the context of the current TensorFlow replica among several, else None."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def _own_rows(values: Any, context: Any) -> Any:
    import tensorflow as tf

    rows = tf.shape(values)[0] // context.num_replicas_in_sync
    return values[context.replica_id_in_sync_group * rows :][:rows]


def _found(device: Device) -> list[str]:
    import keras

    try:
        return list(keras.distribution.list_devices(None if device == "auto" else device))
    except RuntimeError:  # how JAX says that there is none
        return []


def _parallel(devices: list[str]) -> Any:
    """Return the scope in which a model is built with a copy on each device."""
    import keras

    if keras.backend.backend() == "jax":
        return keras.distribution.DataParallel(devices=devices).scope()
    return _mirrored(tuple(name.upper() for name in devices)).scope()


@cache  # a second one in a process would number its messages anew, and be answered with those of the first
def _mirrored(devices: tuple[str, ...]) -> Any:
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(devices)
