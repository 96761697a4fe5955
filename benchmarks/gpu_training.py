"""How fast does training go on a GPU, and how much of the GPU does it use?

    python benchmarks/gpu_training.py --data FOLDER [--device cpu --batch 512 --steps 2 --epochs 1]

By the JAX backend, in this order: SASRec's states and gradients on the GPU against the CPU's (it stops where they
differ); ceilings of this device, measured: matrix products in float32 and bfloat16, and memory; a two-tower with ids
and two dense layers a tower, all steps on the device: examples a second and the share of the ceilings, written down
here for that alone, then by the platform's own training, which draws its batches on the host; SASRec on
MovieLens-1M leave-one-out (`FOLDER/ml-1m-sequences`): seconds and NDCG@10 of the test items after each epoch, until
that of the validation items stops growing. Without a GPU it says so and ends with 2; `--device cpu` tries it out.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

NUM_USERS, NUM_ITEMS, DIM = 6_040, 3_706, 64
GOAL = 0.182


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder that holds ml-1m-sequences; leaves out SASRec without it")
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu")
    parser.add_argument("--steps", type=int, default=1_000, help="two-tower steps that are timed")
    parser.add_argument("--batch", type=int, default=16_384, help="rows of a two-tower step")
    parser.add_argument("--epochs", type=int, default=40, help="at most this many of SASRec")
    arguments = parser.parse_args()
    import jax

    try:
        device = jax.devices(arguments.device)[0]
    except RuntimeError:
        print(f"no GPU found: JAX {jax.__version__} sees {jax.devices()}. Nothing was measured.")
        raise SystemExit(2) from None
    print(f"device: {device.device_kind}, JAX {jax.__version__}")
    with jax.default_device(device):
        check(jax.devices("cpu")[0], device)
        ceilings = measure_ceilings()
        measure_two_tower(arguments.steps, arguments.batch, ceilings)
        measure_platform(arguments.steps, arguments.batch)
        if arguments.data:
            measure_sasrec(arguments.data, arguments.epochs)


def check(cpu: Any, device: Any) -> None:
    """Stop unless states and gradients on the device are those of the CPU."""
    import jax

    results = []
    for place in (cpu, device):
        with jax.default_device(place), jax.default_matmul_precision("highest"):
            results.append(_states_and_gradients())
    for name, expected, found in zip(("states", "gradients"), *results, strict=True):
        difference = float(np.abs(expected - found).max() / np.abs(expected).max())
        print(f"check: {name} differ from the CPU's by at most {difference:.1e} of the largest")
        if not difference < 1e-4:
            raise SystemExit(f"{name} on the device are not those of the CPU; no speed is worth reporting")


def _states_and_gradients() -> tuple[Any, Any]:
    import jax

    from pipelines.models.retrievers.sasrec import SASRec, SASRecSettings

    model, batches = SASRec(SASRecSettings(dim=32, length=50, dropout=0.0)).prepare(_histories(), seed=0)
    arrays = next(batches.of(1)[1])
    trainable = [variable.value for variable in model.trainable_variables]
    fixed = [variable.value for variable in model.non_trainable_variables]

    def loss_of(weights: Any) -> Any:
        states, _ = model.stateless_call(weights, fixed, arrays)
        with_weights = zip(model.trainable_variables, weights, strict=True)
        import keras

        with keras.StatelessScope(state_mapping=list(with_weights)):
            return model.compute_loss(x=arrays, y_pred=states), states

    (_, states), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable)
    return np.asarray(states), np.concatenate([np.asarray(gradient).ravel() for gradient in gradients])


def _histories() -> Any:
    from pipelines.models.sequences import Sequences

    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(100), 40)
    return Sequences.of(users, rng.integers(0, 500, len(users)), num_users=100, num_items=500)


def measure_ceilings() -> dict[str, float]:
    """Return operations a second of matrix products and bytes a second of memory, the best of several."""
    import jax
    import jax.numpy as jnp

    size = 8_192 if jax.default_backend() == "gpu" else 1_024
    ceilings = {}
    for kind in (jnp.float32, jnp.bfloat16):
        matrix = jnp.ones((size, size), kind)
        seconds = _best(jax.jit(lambda x: x @ x), matrix)
        ceilings[jnp.dtype(kind).name] = 2 * size**3 / seconds
    block = jnp.ones(size * size * 2, jnp.float32)
    ceilings["memory"] = 2 * block.nbytes / _best(jax.jit(lambda x: x + 1), block)
    print("ceilings: " + ", ".join(f"{name} {value / 1e12:.2f} T/s" for name, value in ceilings.items()))
    return ceilings


def _best(function: Callable[[Any], Any], argument: Any) -> float:
    function(argument).block_until_ready()
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        function(argument).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def measure_two_tower(steps: int, batch: int, ceilings: dict[str, float]) -> None:
    """Print examples a second of a two-tower whose steps run on the device without coming back."""
    import jax
    import jax.numpy as jnp
    import keras

    from pipelines.models.losses import DiagonalSoftmax

    def tower(size: int) -> Any:
        ids = keras.Input((), dtype="int32")
        hidden = keras.layers.Dense(128, activation="relu")(keras.layers.Embedding(size, DIM)(ids))
        return keras.Model(ids, keras.layers.Dense(DIM)(hidden))

    query, item, loss = tower(NUM_USERS), tower(NUM_ITEMS), DiagonalSoftmax()
    variables = [*query.trainable_variables, *item.trainable_variables]
    optimizer = keras.optimizers.Adagrad(0.1)
    optimizer.build(variables)
    split = len(query.trainable_variables)

    def step(state: Any, key: Any) -> Any:
        weights, slots = state
        users = jax.random.randint(key, (batch,), 0, NUM_USERS)
        items = (users * 7 + jax.random.randint(key, (batch,), 0, 50)) % NUM_ITEMS

        def loss_of(weights: Any) -> Any:
            queries, _ = query.stateless_call(weights[:split], [], users)
            vectors, _ = item.stateless_call(weights[split:], [], items)
            return jnp.mean(loss.call(None, queries @ vectors.T))

        value, gradients = jax.value_and_grad(loss_of)(weights)
        weights, slots = optimizer.stateless_apply(slots, gradients, weights)
        return (weights, slots), value

    run = jax.jit(lambda state, keys: jax.lax.scan(step, state, keys))
    state = ([v.value for v in variables], [v.value for v in optimizer.variables])
    keys = jax.random.split(jax.random.key(0), steps)
    state, first = run(state, keys)
    jax.block_until_ready(state)
    start = time.perf_counter()
    state, last = run(state, keys)
    jax.block_until_ready(state)
    seconds = time.perf_counter() - start
    rate = steps * batch / seconds
    operations = rate * 3 * 2 * (2 * 2 * DIM * 128 + batch * DIM)
    print(
        f"two-tower: {rate / 1e6:.2f}M examples/s at batch {batch:,} (goal 20M), loss {float(first[0]):.3f} -> "
        f"{float(last[-1]):.3f}; {operations / ceilings['float32']:.0%} of the float32 ceiling; the logits alone move "
        f"{rate * batch * 4 * 4 / ceilings['memory']:.0%} of the memory ceiling unless they are fused"
    )


def measure_platform(steps: int, batch: int) -> None:
    """Print examples a second of `train_two_tower`'s steps, from drawing batches to new weights."""
    from itertools import chain, count

    from pipelines.models.batches import EarlierStates, Labels, RetrievalSteps
    from pipelines.models.fused_adam import FusedAdam
    from pipelines.models.negatives import Negatives
    from pipelines.models.periods import Periods
    from pipelines.models.step_loops import step_loop
    from pipelines.models.two_tower import TwoTower

    rng = np.random.default_rng(0)
    users = rng.integers(0, NUM_USERS, 64 * batch).astype(np.int32)
    items = ((users * 7 + rng.integers(0, 50, len(users))) % NUM_ITEMS).astype(np.int32)
    periods = Periods.of(items, num_periods=1, batch_size=batch)
    labels, states = Labels.of({"user": users}, {"item": items}), EarlierStates.of(users, share=0.0, longest=0)
    negatives = Negatives.of(items, periods, num_sampled=0, stream=None)
    drawn = RetrievalSteps(labels, states, negatives, batch, 0, filled=False)
    sizes = {"user": NUM_USERS, "item": NUM_ITEMS}
    model = TwoTower({"user": ((), "int32")}, {"item": ((), "int32")}, sizes, embedding_dim=DIM, dropout=0.0)
    model.build(None)
    model.compile(optimizer=FusedAdam(0.005), steps_per_execution=min(steps, 100))
    model.optimizer.build(model.trainable_variables)
    loop = step_loop(model, labels)
    endless = chain.from_iterable(drawn.of(epoch, 0)[1] for epoch in count(1))
    first = loop.run(endless, steps)
    start = time.perf_counter()
    last = loop.run(endless, steps)
    rate = steps * batch / (time.perf_counter() - start)
    print(f"two-tower, the platform's own: {rate / 1e6:.2f}M examples/s (goal 20M), loss {first:.3f} -> {last:.3f}")


def measure_sasrec(data: Path, epochs: int) -> None:
    """Print seconds and NDCG@10 of the test items after each epoch, until validation stops growing."""
    from pipelines.models.retrievers.base import RunOptions, Validation
    from pipelines.models.retrievers.sasrec import SASRec, SASRecSettings
    from pipelines.models.sequences import Sequences

    users, items = np.loadtxt(data / "ml-1m-sequences" / "ml-1m.txt", dtype=np.int64).T - 1
    everything = Sequences.of(users, items, num_users=int(users.max()) + 1, num_items=int(items.max()) + 1)
    known, test_items = everything.without_last()
    train, validation_items = known.without_last()
    test = Validation(known, test_items)

    class Timed(SASRec):
        """Measures the test items, too, and leaves the time that this takes out of account."""

        start = time.perf_counter()
        reached: float | None = None

        def measure(self, validation: Validation) -> dict[str, float]:
            measured = super().measure(validation)
            seconds = time.perf_counter() - self.start
            ndcg = super().measure(test)["ndcg_at_10"]
            if self.reached is None and ndcg >= GOAL:
                self.reached = seconds
            print(f"sasrec: {seconds:.1f} s, test NDCG@10 {ndcg:.4f}", flush=True)
            self.start += time.perf_counter() - self.start - seconds
            return measured

    model = Timed(SASRecSettings(dim=128, length=200, batch_size=32, epochs=epochs, patience=5, steps_per_execution=8))
    fitted = model.fit(train, options=RunOptions(seed=1), validation=Validation(train, validation_items))
    print(f"sasrec: chosen by validation, epoch {fitted.fit.best_epoch}: test {SASRec.measure(model, test)}")
    print(f"sasrec: NDCG@10 {GOAL} " + (f"after {model.reached:.1f} s" if model.reached else "was not reached"))


if __name__ == "__main__":
    main()
