from typing import Any

import numpy as np

from pipelines.models.step_loops import Step, step_loop


def steps() -> list[Step]:
    """Six of eight rows, then one of three, which cannot be stacked with them."""
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(size, 4)).astype(np.float32) for size in (8, 8, 8, 8, 8, 8, 3)]
    return [({"x": x}, x.sum(axis=1, keepdims=True), np.linspace(0, 1, len(x), dtype=np.float32)) for x in inputs]


def compiled() -> Any:
    import keras

    keras.utils.set_random_seed(1)
    inputs = {"x": keras.Input((4,), name="x")}
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dense(5, activation="tanh")(inputs["x"])))
    model.compile(optimizer=keras.optimizers.Adam(0.05), loss="mse", steps_per_execution=4, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def test_steps_run_together_give_the_losses_and_weights_of_keras_one_by_one():
    one_by_one, together = compiled(), compiled()
    losses = []
    for x, y, weights in steps():
        losses.append(one_by_one.train_on_batch(x, y, sample_weight=weights))
        one_by_one.reset_metrics()
    loop, drawn = step_loop(together), iter(steps())
    means = [loop.run(drawn, 5), loop.run(drawn, 2)]
    np.testing.assert_allclose(means, [np.mean(losses[:5]), np.mean(losses[5:])], rtol=1e-5)
    for mine, other in zip(together.get_weights(), one_by_one.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)


class Table:
    """Rows that stay on the device."""

    arrays = {"x": np.concatenate([step[0]["x"] for step in steps()[:6]])}

    def inputs(self, arrays: dict[str, Any], named: dict[str, Any], take: Any) -> dict[str, Any]:
        return {"x": take(arrays["x"], named["rows"])}


def test_steps_that_name_rows_on_the_device_are_those_that_hold_them():
    held, named = compiled(), compiled()
    whole = steps()[:6]
    rows = np.arange(48, dtype=np.int32).reshape(6, 8)
    by_rows = [({"rows": rows[i]}, *step[1:]) for i, step in enumerate(whole)]
    loop = step_loop(named, Table())
    np.testing.assert_allclose(loop.run(iter(by_rows), 6), step_loop(held).run(iter(whole), 6), rtol=1e-6)
    for mine, other in zip(named.get_weights(), held.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6)
