import numpy as np

from tests.contracts.ranker import RankerContract


class TestMultiTask(RankerContract):
    model = "multi_task"
    loss = "weighted_logistic"
    settings = {"num_experts": 2, "tower_units": (4,)}


def built(num_experts: int):
    import keras

    from pipelines.models.rankers.base import DenseLayers
    from pipelines.models.rankers.multi_task import MultiTask

    features = keras.Input((5,))
    ranker = MultiTask(MultiTask.Settings(num_experts=num_experts, tower_units=()))
    return keras.Model(features, ranker.layers(features, DenseLayers((3,), 0.0, 1)))


def test_each_task_mixes_the_experts_by_its_own_gate():
    import keras

    model, features = built(2), np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    experts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense) and layer.units == 3]
    outputs = np.stack([np.asarray(expert(features)) for expert in experts], axis=1)
    for task, found in zip(("interaction", "value"), model.predict_on_batch(features), strict=True):
        gate = np.asarray(model.get_layer(f"{task}_gate")(features))
        np.testing.assert_allclose(gate.sum(axis=1), 1.0, rtol=1e-5)
        np.testing.assert_allclose(found, (gate[:, :, None] * outputs).sum(axis=1), rtol=1e-4, atol=1e-5)


def test_one_expert_is_a_shared_bottom():
    model, features = built(1), np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    interaction, value = model.predict_on_batch(features)
    np.testing.assert_array_equal(interaction, value)
    assert not [layer.name for layer in model.layers if "gate" in layer.name]
