"""Adam, and learning rates that fall in steps, or rise and fall smoothly."""

import math
from typing import Any

import keras

from common.models.layers import PACKAGE
from common.settings.tasks import RateSchedule, TrainingConfig

EXP_SHARPNESS = 5.0  # of the published ramps


def rise(step: Any, length: float, kind: str = "exp", sharpness: float = EXP_SHARPNESS) -> Any:
    """Computes the factor of a ramp up to 1.

    Args:
        step: float, any shape, number of batches trained so far.
        length: batches until the factor is 1; 0: it always is.
        kind: "exp": exp(-sharpness (1 - step / length)^2); "linear": step / length.
        sharpness: of the exponential.

    Returns:
        Factors in [0, 1], of the shape and type of `step`.

    References:
        Laine, Aila, "Temporal ensembling for semi-supervised learning", ICLR 2017,
        arXiv:1610.02242; the baselines of DCASE task 4 since 2019.
    """
    ops = keras.ops
    if length <= 0:
        return ops.ones_like(step)
    part = ops.clip(step / length, 0.0, 1.0)
    return part if kind == "linear" else ops.exp(-sharpness * (1.0 - part) ** 2)


def fall(step: Any, start: float, end: float, kind: str, lowest: float = 0.0) -> Any:
    """Computes the factor of a fall along a cosine, from 1.

    Args:
        step: float, any shape, number of batches trained so far.
        start: batches before the fall begins.
        end: batches before it has ended.
        kind: "half_cosine": (1 + cos(pi t)) / 2, with t from 0 to 1 during the fall;
            "quarter_cosine": cos(pi t / 2).
        lowest: smallest factor.

    Returns:
        Factors in [lowest, 1], of the shape and type of `step`.
    """
    ops = keras.ops
    part = ops.clip((step - start) / (end - start), 0.0, 1.0)
    if kind == "half_cosine":
        factor = 0.5 * (1.0 + ops.cos(math.pi * part))
    else:
        factor = ops.cos(0.5 * math.pi * part)
    return ops.maximum(factor, lowest)


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


@keras.saving.register_keras_serializable(package=PACKAGE)
class RiseAndFall(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate with a warm-up from the very first iteration, and a fall along a cosine.

    The code of DCASE task 4 sets the rate after each step, so that its first one has the full rate.
    Where the fall begins before the warm-up has ended, it begins from the full rate, as there.

    Args:
        base: rate without the two, or the schedule of it.
        peak: highest rate, of which `lowest` is a part.
        ramp: kind of `rise`.
        ramp_iterations: length of the warm-up; 0: none.
        fall: kind of `fall`, or "none".
        fall_from: iterations before the fall begins.
        fall_until: iterations before it has ended.
        lowest: lowest learning rate of the fall.
    """

    def __init__(
        self,
        base: Any,
        peak: float,
        ramp: str = "exp",
        ramp_iterations: float = 0.0,
        fall: str = "none",
        fall_from: float = 0.0,
        fall_until: float = 1.0,
        lowest: float = 0.0,
    ):
        self.base = keras.saving.deserialize_keras_object(base) if isinstance(base, dict) else base
        self.peak, self.lowest = peak, lowest
        self.ramp, self.ramp_iterations = ramp, ramp_iterations
        self.fall, self.fall_from, self.fall_until = fall, fall_from, fall_until

    def __call__(self, step: Any) -> Any:
        """Returns the learning rate after `step` iterations."""
        base = self.base(step) if callable(self.base) else self.base
        step = keras.ops.cast(step, "float32")
        factor = rise(step, self.ramp_iterations, self.ramp)
        if self.fall != "none":
            lowest = self.lowest / self.peak
            falling = fall(step, self.fall_from, self.fall_until, self.fall, lowest)
            factor = keras.ops.where(step < self.fall_from, factor, falling)
        return base * factor

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the schedule again."""
        base = self.base
        return {
            "base": keras.saving.serialize_keras_object(base) if callable(base) else base,
            "peak": self.peak,
            "ramp": self.ramp,
            "ramp_iterations": self.ramp_iterations,
            "fall": self.fall,
            "fall_from": self.fall_from,
            "fall_until": self.fall_until,
            "lowest": self.lowest,
        }


def build_optimizer(
    training: TrainingConfig, iterations_per_epoch: int | None = None
) -> keras.optimizers.Optimizer:
    """Makes the optimizer that the settings describe.

    Args:
        training: learning rate, its schedules, and clipping of gradients.
        iterations_per_epoch: batches in an epoch; None: unknown, for settings without a schedule.

    Raises:
        ValueError: the settings have a schedule in epochs, whose batches are unknown.
    """
    rate: Any = training.learning_rate
    if training.decay_factor < 1.0:
        begin = training.decay_from_iteration
        rate = StepDecay(rate, training.decay_factor, training.decay_iterations, begin)
    if training.schedule != RateSchedule():
        if iterations_per_epoch is None:
            raise ValueError("A schedule in epochs needs `iterations_per_epoch`. Received: None.")
        rate = _rise_and_fall(rate, training, iterations_per_epoch)
    return keras.optimizers.Adam(
        rate,
        amsgrad=training.amsgrad,
        epsilon=training.epsilon,
        clipnorm=training.clip_norm,
        global_clipnorm=training.clip_global_norm,
    )


def _rise_and_fall(base: Any, training: TrainingConfig, per_epoch: int) -> RiseAndFall:
    schedule = training.schedule
    return RiseAndFall(
        base,
        training.learning_rate,
        schedule.ramp,
        schedule.ramp_epochs * per_epoch,
        schedule.fall,
        schedule.fall_from_epoch * per_epoch,
        (schedule.fall_until_epoch or training.epochs) * per_epoch,
        schedule.lowest_rate,
    )
