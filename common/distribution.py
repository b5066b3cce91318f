"""Chooses the devices of a job: one, or all GPUs of this machine; and a kernel of TensorFlow's that Keras lacks."""

import contextlib
import functools
import importlib
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import keras
import tensorflow as tf

from common.config import RunConfig
from common.errors import ConfigError
from common.memory import keep_freed_memory
from common.quiet import stderr_discarded

logger = logging.getLogger(__name__)


def prepare(run: RunConfig) -> None:
    """Starts TensorFlow on the devices it may use, before anything is computed; it comments on that, unheard."""
    with stderr_discarded():
        if run.backend != "tensorflow":
            tf.config.set_visible_devices([], "GPU")  # tf.data alone runs on TensorFlow; the GPU is the other's
        tf.config.list_logical_devices()
    if run.deterministic:
        _repeat_exactly(run)
    if not tf.config.list_physical_devices("GPU"):
        keep_freed_memory()


def _repeat_exactly(run: RunConfig) -> None:
    """Has the backend choose kernels that give the same bits each time; JAX is told by XLA_FLAGS."""
    tf.config.experimental.enable_op_determinism()  # tf.data feeds every backend
    if run.backend == "torch":
        importlib.import_module("torch").use_deterministic_algorithms(True)


@contextlib.contextmanager
def devices(run: RunConfig) -> Iterator[None]:
    """Sets precision and devices; models are built and trained inside the block.

    Args:
        run: the task's `run` section. `mirrored` splits each batch over all GPUs of this machine, by
            `tf.distribute.MirroredStrategy` on TensorFlow and `keras.distribution.DataParallel` on JAX.

    Raises:
        ConfigError: `KERAS_BACKEND` was fixed to another backend than the settings ask for, or the backend cannot
            split batches.
    """
    if keras.backend.backend() != run.backend:
        raise ConfigError(
            f"`run.backend` is {run.backend!r}, but Keras already runs on {keras.backend.backend()!r}. "
            f"Unset KERAS_BACKEND, or set it to {run.backend!r}."
        )
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(run.mixed_precision)
    try:
        with _scope(run):
            yield
    finally:
        keras.config.set_dtype_policy(previous)


def _scope(run: RunConfig) -> AbstractContextManager:
    if run.distribution == "none":
        return contextlib.nullcontext()
    if run.backend == "jax":
        return keras.distribution.DataParallel().scope()
    if run.backend == "torch":
        raise ConfigError("`run.distribution: mirrored` needs `run.backend: tensorflow` or `jax`. Received: torch.")
    return _mirrored_strategy().scope()


@functools.cache
def _mirrored_strategy() -> tf.distribute.MirroredStrategy:
    """The one strategy of this process: variables of one cannot be used under another."""
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    logger.info("Each batch is split over %d devices: %s.", len(found), ", ".join(device.name for device in found))
    return tf.distribute.MirroredStrategy([device.name for device in found])


def jit_setting(run: RunConfig) -> str | bool:
    """The value for `jit_compile`: XLA slows recurrent models on the CPU 2 to 6 times, so `auto` is off there."""
    if run.jit_compile != "auto" or run.backend != "tensorflow":
        return run.jit_compile
    return "auto" if tf.config.list_physical_devices("GPU") else False


def normalize_channels(
    x: Any, gamma: Any, beta: Any, epsilon: float, statistics: tuple[Any, Any] | None = None
) -> tuple[Any, Any, Any]:
    """Normalises each channel of maps on TensorFlow, by its one kernel for that.

    Args:
        x: (B, T, F, C), float32 or bfloat16.
        gamma: (C,), scale, float32.
        beta: (C,), offset, float32.
        epsilon: added to the variance.
        statistics: mean and variance (C,) to use; None: those of `x`.

    Returns:
        Normalised values in the shape and type of `x`; the mean and the variance used, (C,) float32. The variance is
        the mean square about the mean, as Keras keeps it, not the estimate for all data that the kernel gives.
    """
    gamma, beta = tf.convert_to_tensor(gamma), tf.convert_to_tensor(beta)
    used = (None, None) if statistics is None else tuple(map(tf.convert_to_tensor, statistics))
    y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        x, gamma, beta, *used, epsilon=epsilon, is_training=statistics is None
    )
    if statistics is not None:
        return y, mean, variance
    n_values = tf.cast(tf.size(x) // tf.shape(x)[3], "float32")
    return y, mean, variance * ((n_values - 1.0) / n_values)
