"""The learning rate over the iterations."""

import keras
import numpy as np
import pytest

from common.models.optimizer import StepDecay, build_optimizer
from common.settings.tasks import TrainingConfig


def test_the_rate_falls_in_steps_after_the_start():
    schedule = StepDecay(1e-3, 0.9, every=200, start=1000)
    steps = [0, 999, 1199, 1200, 1399, 1400]
    received = [float(schedule(step)) for step in steps]
    np.testing.assert_allclose(received, [1e-3, 1e-3, 1e-3, 9e-4, 9e-4, 8.1e-4], rtol=1e-5)


def test_without_a_start_it_equals_keras_own_staircase():
    own = StepDecay(2.0, 0.5, 7)
    stock = keras.optimizers.schedules.ExponentialDecay(2.0, 7, 0.5, staircase=True)
    assert [float(own(step)) for step in range(30)] == pytest.approx(
        [float(stock(step)) for step in range(30)]
    )


def test_the_schedule_survives_saving():
    optimizer = build_optimizer(
        TrainingConfig(decay_factor=0.9, decay_iterations=10, amsgrad=True, epsilon=1e-8)
    )
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.amsgrad and again.epsilon == 1e-8
    assert again.get_config()["learning_rate"]["config"]["every"] == 10
