"""The learning rate over the iterations."""

import keras
import numpy as np
import pytest

from common.errors import ConfigError
from common.models.optimizer import RiseAndFall, StepDecay, build_optimizer, fall, rise
from common.settings.tasks import RateSchedule, TrainingConfig, validate


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


def test_ramps_rise_to_one():
    steps = np.array([0.0, 25.0, 50.0, 80.0])
    np.testing.assert_allclose(np.asarray(rise(steps, 50.0)), [np.exp(-5), np.exp(-1.25), 1.0, 1.0])
    assert np.asarray(rise(steps, 50.0, "linear")).tolist() == [0.0, 0.5, 1.0, 1.0]
    assert np.asarray(rise(steps, 0.0)).tolist() == [1.0] * 4


@pytest.mark.parametrize(
    ("kind", "middle"), [("half_cosine", 0.5), ("quarter_cosine", np.sqrt(0.5))]
)
def test_falls_end_at_the_lowest_factor(kind, middle):
    steps = np.array([0.0, 10.0, 20.0, 30.0, 99.0])
    expected = [1.0, 1.0, middle, 1e-3, 1e-3]
    np.testing.assert_allclose(np.asarray(fall(steps, 10.0, 30.0, kind, 1e-3)), expected)


def test_the_first_step_is_part_of_the_ramp():
    schedule = RateSchedule(ramp_epochs=2, fall="half_cosine", fall_from_epoch=3, lowest_rate=1e-6)
    training = TrainingConfig(epochs=5, learning_rate=0.1, schedule=schedule)
    optimizer = build_optimizer(training, iterations_per_epoch=10)
    variable = keras.Variable(0.0)
    optimizer.build([variable])
    rates = []
    for step in (0, 10, 20, 30, 40, 50):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    expected = [0.1 * np.exp(-5), 0.1 * np.exp(-1.25), 0.1, 0.1, 0.05, 1e-6]
    np.testing.assert_allclose(rates, expected, rtol=1e-4)


def test_a_fall_that_begins_early_begins_from_the_full_rate():
    schedule = RiseAndFall(1.0, 1.0, "exp", 10.0, "quarter_cosine", 4.0, 10.0)
    assert float(schedule(3)) < 0.1 and float(schedule(4)) == 1.0


def test_a_ramp_multiplies_the_decay_in_steps():
    training = TrainingConfig(
        decay_factor=0.5, decay_iterations=5, schedule=RateSchedule(ramp="linear", ramp_epochs=1)
    )
    optimizer = build_optimizer(training, iterations_per_epoch=10)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    schedule = again._learning_rate
    np.testing.assert_allclose(
        [float(schedule(step)) for step in (5, 10)], [2.5e-4, 2.5e-4], rtol=1e-5
    )
    with pytest.raises(ValueError, match="iterations_per_epoch"):
        build_optimizer(training)


def test_the_norm_of_all_gradients_is_clipped_together():
    optimizer = build_optimizer(TrainingConfig(clip_global_norm=5.0))
    assert optimizer.global_clipnorm == 5.0 and optimizer.clipnorm is None
    with pytest.raises(ConfigError, match="one of `clip_norm` and `clip_global_norm`"):
        validate(TrainingConfig, {"clip_norm": 1.0, "clip_global_norm": 5.0}, "training")


def test_a_fall_needs_a_length():
    wrong = {"epochs": 5, "schedule": {"fall": "half_cosine", "fall_from_epoch": 5}}
    with pytest.raises(ConfigError, match=r"Expected: below 5\. Received: 5"):
        validate(TrainingConfig, wrong, "training")
