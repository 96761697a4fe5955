"""Adam whose step over a whole variable is one operation."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("tandem")
class FusedAdam(keras.optimizers.Adam):
    """Keras' Adam, by TensorFlow's own kernel where that is the backend.

    Keras writes the step as about ten operations, each of which reads and writes an array of the variable's size: for
    embedding tables that is much of a training step on a processor. The kernel makes one pass over weights, both
    moments and the gradient. Parts of a row's gradient are summed before they are squared, as in Adam of the whole
    gradient and on JAX; Keras on TensorFlow squares them first. XLA fuses Keras' operations by
    itself, so on JAX nothing is replaced.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Change one variable by its gradient, dense or of some rows."""
        if keras.backend.backend() != "tensorflow" or self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        place = self._get_variable_index(variable)
        moments = self._momentums[place].value, self._velocities[place].value
        dtype = variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        betas = [tf.cast(beta, dtype) for beta in (self.beta_1, self.beta_2)]
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle, m=moments[0].handle, v=moments[1].handle,
            beta1_power=betas[0] ** step, beta2_power=betas[1] ** step, lr=tf.cast(learning_rate, dtype),
            beta1=betas[0], beta2=betas[1], epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(tf.convert_to_tensor(gradient), dtype),
        )  # fmt: skip


def fused_adam(learning_rate: Any, precision: str) -> keras.optimizers.Optimizer:
    """Return the optimizer of a model whose hidden layers have a precision: half floats need their loss scaled."""
    adam = FusedAdam(learning_rate)
    return keras.optimizers.LossScaleOptimizer(adam) if precision == "mixed_float16" else adam
