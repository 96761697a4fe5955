import numpy as np


def test_its_steps_are_those_of_keras_adam_given_the_whole_gradient():
    import keras
    import tensorflow as tf

    from pipelines.models.fused_adam import FusedAdam, fused_adam

    rate = keras.optimizers.schedules.CosineDecay(0.1, 10)
    values = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    ended = []
    for optimizer in (keras.optimizers.Adam(rate), FusedAdam(rate)):
        dense, table = keras.Variable(values), keras.Variable(values)
        for step in range(5):
            gradient = tf.constant(values * (step - 2))
            # Row 4 twice. Keras' own would square both parts before it adds them, so it gets their sum.
            rows = tf.IndexedSlices(gradient[:3], tf.constant([4, step, 4]), tf.constant([6, 3]))
            if not isinstance(optimizer, FusedAdam):
                rows = tf.convert_to_tensor(rows)
            optimizer.apply([gradient, rows], [dense, table])
        ended.append(np.stack([np.asarray(dense), np.asarray(table)]))
    np.testing.assert_allclose(ended[1], ended[0], rtol=1e-5, atol=1e-5)
    assert not np.allclose(ended[0], values, atol=0.05)
    assert isinstance(fused_adam(0.1, "mixed_float16"), keras.optimizers.LossScaleOptimizer)
