"""Training steps that run one after the other without coming back to Python, on one device or on several."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Protocol

import numpy as np

from pipelines.models.devices import num_replicas, own_part

Step = tuple[Any, ...]  # as Keras takes it: (inputs,), (inputs, targets) or (inputs, targets, weights)


class Resident(Protocol):
    """Training data that stays on the device: a step then names rows, and its arrays are gathered there."""

    @property
    def arrays(self) -> dict[str, Any]:
        """What is kept, `[num_rows, ...]` each, by name."""

    def inputs(self, arrays: dict[str, Any], named: dict[str, Any], take: Any) -> dict[str, Any]:
        """Return a model's inputs, from `arrays` on the device and what a step says; `take(values, rows)` gathers."""


class StepLoop(Protocol):
    """Runs steps of one compiled and built model."""

    def run(self, steps: Iterator[Step], count: int) -> float:
        """Train on the next `count` steps; returns their mean loss."""


def step_loop(model: Any, resident: Resident | None = None) -> StepLoop:
    """Return the loop of the current backend: `model.steps_per_execution` steps at a time.

    Keras' own `fit` gives the same weights. It asks a Python generator for every batch and compiles each step alone (on
    JAX), or not at all without XLA; here steps of one shape are stacked and run by one `while` (TensorFlow) or `scan`
    (JAX), while the next ones are gathered in another thread.

    Args:
        model: compiled Keras model; its attribute `shared_inputs` names the inputs that belong to the whole batch and
            not to its rows, such as negatives drawn once.
        resident: data on the device that the steps' inputs are gathered from; None: steps hold their inputs.
    """
    import keras

    return (_JaxLoop if keras.backend.backend() == "jax" else _TensorFlowLoop)(model, resident)


class _StackedLoop(ABC):
    """What both backends share: steps of equal shapes are stacked, and stacked while others run."""

    even = False  # whether only full stacks and single steps are wanted, because each number is compiled anew

    def __init__(self, model: Any, resident: Resident | None) -> None:
        self.model, self.resident = model, resident
        self.at_once = max(1, int(model.steps_per_execution))
        self.shared = frozenset(getattr(model, "shared_inputs", ()))
        self.ready = False

    def run(self, steps: Iterator[Step], count: int) -> float:
        """See `StepLoop`."""
        stacks = _stacks(self._built(islice(steps, count)), self.at_once, even=self.even)
        losses = [np.asarray(self._losses(stack), dtype=np.float64) for stack in _ahead(stacks)]
        return float(np.concatenate(losses).mean())

    def _built(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Yield the steps; before the first, have Keras make what compiled losses and metrics keep."""
        first = next(steps)
        if not self.ready and self.model.loss is not None:
            arrays = self.resident.arrays if self.resident else {}
            self.model.test_on_batch(*self._filled(arrays, first, lambda values, rows: values[rows]))
        self.ready = True
        yield first
        yield from steps

    @abstractmethod
    def _losses(self, stack: Step) -> Any:
        """Train on stacked steps; returns their losses, `[num_steps]`."""

    def _filled(self, arrays: dict[str, Any], step: Step, take: Any) -> Step:
        return step if self.resident is None else (self.resident.inputs(arrays, step[0], take), *step[1:])


class _TensorFlowLoop(_StackedLoop):
    def __init__(self, model: Any, resident: Resident | None) -> None:
        super().__init__(model, resident)
        import tensorflow as tf

        self._arrays = {name: tf.constant(values) for name, values in (resident.arrays if resident else {}).items()}
        self._strategy = tf.distribute.get_strategy()
        compiled = bool(model.jit_compile) and num_replicas() == 1  # XLA cannot reach over replicas
        one = tf.function(self._replica_step, autograph=False, reduce_retracing=True, jit_compile=compiled)
        self._step = one if compiled else self._replica_step
        self._many = tf.function(self._loop, autograph=False, reduce_retracing=True)

    def _losses(self, stack: Step) -> Any:
        return self._many(stack)

    def _loop(self, stack: Step) -> Any:
        import tensorflow as tf

        count = tf.shape(tf.nest.flatten(stack)[0])[0]

        def body(index: Any, losses: Any) -> tuple[Any, Any]:
            step = tf.nest.map_structure(lambda values: values[index], stack)
            shares = self._strategy.run(self._step, args=(step,))
            return index + 1, losses.write(index, self._strategy.reduce("SUM", shares, axis=None))

        _, losses = tf.while_loop(
            lambda index, _: index < count, body, (0, tf.TensorArray(tf.float32, count)), parallel_iterations=1
        )
        return losses.stack()

    def _replica_step(self, step: Step) -> Any:
        import keras
        import tensorflow as tf

        model = self.model
        x, y, weights = keras.utils.unpack_x_y_sample_weight(
            self._filled(self._arrays, own_part(step, self.shared), tf.gather)
        )
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            loss = model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=weights, training=True)
            scaled = model.optimizer.scale_loss(loss)
        variables = model.trainable_variables
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        model.optimizer.apply(self._clipped(gradients), variables)
        return loss

    def _clipped(self, gradients: list[Any]) -> list[Any]:
        """Return gradients whose sum over the replicas is clipped: the optimizer would clip each replica's own."""
        import tensorflow as tf

        context, norm = tf.distribute.get_replica_context(), self.model.optimizer.global_clipnorm
        if context.num_replicas_in_sync == 1 or norm is None:
            return gradients
        summed = context.all_reduce("SUM", [tf.convert_to_tensor(gradient) for gradient in gradients])
        clipped, _ = tf.clip_by_global_norm(summed, norm)
        return [gradient / context.num_replicas_in_sync for gradient in clipped]  # the optimizer sums over replicas


class _JaxLoop(_StackedLoop):
    even = True

    def __init__(self, model: Any, resident: Resident | None) -> None:
        super().__init__(model, resident)
        import jax

        self._many = jax.jit(self._scan, donate_argnums=0)
        self._arrays = {
            name: self._placed(values, None) for name, values in (resident.arrays if resident else {}).items()
        }

    def _losses(self, stack: Step) -> Any:
        model = self.model
        groups = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
        state = [[variable.value for variable in group] for group in groups]
        state, losses = self._many(state, self._arrays, self._laid_out(stack))
        for group, values in zip(groups, state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)
        return losses

    def _scan(self, state: Any, arrays: dict[str, Any], stack: Step) -> Any:
        import jax
        import keras

        model = self.model
        metrics = [variable.value for variable in model.metrics_variables]

        def one(state: Any, step: Step) -> tuple[Any, Any]:
            trainable, fixed, slots = state
            x, y, weights = keras.utils.unpack_x_y_sample_weight(self._filled(arrays, step, _take))
            (_, (loss, _, fixed, _)), gradients = jax.value_and_grad(model.compute_loss_and_updates, has_aux=True)(
                trainable, fixed, metrics, x, y, weights, training=True, optimizer_variables=slots
            )
            trainable, slots = model.optimizer.stateless_apply(slots, gradients, trainable)
            return [trainable, fixed, slots], loss

        return jax.lax.scan(one, state, stack)

    def _laid_out(self, stack: Step) -> Step:
        """Return stacked steps whose rows are divided among the devices."""
        import jax

        inputs = {name: self._placed(values, None if name in self.shared else 1) for name, values in stack[0].items()}
        return (inputs, *jax.tree.map(lambda values: self._placed(values, 1), stack[1:]))

    def _placed(self, values: Any, axis: int | None) -> Any:
        """Return an array with one axis over the devices of the current distribution, or with a copy on each."""
        import jax
        import keras

        distribution = keras.distribution.distribution()
        if distribution is None:
            return jax.numpy.asarray(values)
        parts = [distribution.batch_dim_name if place == axis else None for place in range(np.ndim(values))]
        layout = keras.distribution.TensorLayout(parts, distribution.device_mesh)
        return keras.distribution.distribute_tensor(jax.numpy.asarray(values), layout)


def _take(values: Any, rows: Any) -> Any:
    return values[rows]


def _stacks(steps: Iterable[Step], at_once: int, *, even: bool) -> Iterator[Step]:
    """Yield consecutive steps of equal shapes stacked, `[num_steps, ...]` each array, at most `at_once` together."""
    group: list[Step] = []
    for step in steps:
        if group and _shapes(step) != _shapes(group[0]):
            yield from _stacked(group, at_once, even=even)
            group = []
        group.append(step)
        if len(group) == at_once:
            yield from _stacked(group, at_once, even=even)
            group = []
    yield from _stacked(group, at_once, even=even)


def _stacked(group: list[Step], at_once: int, *, even: bool) -> Iterator[Step]:
    parts = [group] if len(group) == at_once or not even else [[step] for step in group]
    for part in parts:
        if part:
            yield _map(lambda *values: np.stack(values), *part)


def _shapes(step: Any) -> Any:
    return _map(np.shape, step)


def _map(function: Any, *trees: Any) -> Any:
    """Apply a function to the arrays of tuples and dicts of equal structure."""
    first = trees[0]
    if isinstance(first, dict):
        return {name: _map(function, *(tree[name] for tree in trees)) for name in first}
    if isinstance(first, tuple):
        return tuple(_map(function, *parts) for parts in zip(*trees, strict=True))
    return function(*trees)


def _ahead(items: Iterator[Step]) -> Iterator[Step]:
    """Yield items, each made by another thread while the one before is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
