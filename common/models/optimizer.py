"""Adam with a learning rate that falls in steps."""

from typing import Any

import keras

from common.models.layers import PACKAGE
from common.settings.tasks import TrainingConfig


@keras.saving.register_keras_serializable(package=PACKAGE)
class StepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Multiplies the learning rate by a factor after every given number of iterations.

    Args:
        rate: learning rate of the first iteration.
        factor: multiplier, in (0, 1].
        every: iterations between two multiplications.
        start: first iteration that counts.
    """

    def __init__(self, rate: float, factor: float, every: int, start: int = 0):
        self.rate, self.factor, self.every, self.start = rate, factor, every, start

    def __call__(self, step: Any) -> Any:
        """Returns the learning rate after `step` iterations."""
        counted = keras.ops.maximum(keras.ops.cast(step, "float32") - self.start, 0.0)
        return self.rate * keras.ops.power(self.factor, keras.ops.floor(counted / self.every))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the schedule again."""
        return {"rate": self.rate, "factor": self.factor, "every": self.every, "start": self.start}


def build_optimizer(training: TrainingConfig) -> keras.optimizers.Optimizer:
    """Makes the optimizer that the settings describe."""
    rate: Any = training.learning_rate
    if training.decay_factor < 1.0:
        begin = training.decay_from_iteration
        rate = StepDecay(rate, training.decay_factor, training.decay_iterations, begin)
    return keras.optimizers.Adam(
        rate, amsgrad=training.amsgrad, epsilon=training.epsilon, clipnorm=training.clip_norm
    )
