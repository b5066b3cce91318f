"""Devices that share the batches of a job, and functions of TensorFlow that Keras lacks."""

import contextlib
import functools
import importlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import tensorflow as tf

from common.errors import ConfigError
from common.runtime import multi_host as processes
from common.runtime.machine import recorded_variables
from common.runtime.memory import keep_freed_memory
from common.runtime.quiet import stderr_discarded
from common.settings.tasks import RunConfig

logger = logging.getLogger(__name__)
# Keras's own, which models and losses are made for.
FLOAT, EPSILON, DATA_FORMAT = "float32", 1e-7, "channels_last"


def set_number_formats() -> None:
    """Sets Keras's float type, epsilon and data format, and lifts limits on epochs and steps.

    The user's `~/.keras/keras.json` and variables of the environment set others where Keras was
    imported before `common.runtime.machine.overrule_machine` could hide them.
    """
    keras.config.set_floatx(FLOAT)
    keras.config.set_epsilon(EPSILON)
    keras.config.set_image_data_format(DATA_FORMAT)
    keras.config.set_max_epochs(None)
    keras.config.set_max_steps_per_epoch(None)
    keras.config.set_dtype_policy(FLOAT)


def describe(run: RunConfig) -> dict[str, Any]:
    """Describes backend, number formats and devices, for the record of a run.

    Args:
        run: the task's `run` section; its backend has been loaded.

    Returns:
        Backend, precision of the layers, number formats, devices, and variables of the environment
        that may move the last digits.
    """
    return {
        "backend": keras.config.backend(),
        "precision": run.mixed_precision,
        "floatx": keras.config.floatx(),
        "epsilon": keras.config.epsilon(),
        "image_data_format": keras.config.image_data_format(),
        "devices": _device_names(run.backend),
        "variables": recorded_variables(),
    }


def _device_names(backend: str) -> list[str]:
    """Names of the devices that compute, such as "NVIDIA H200", or the CPU."""
    if backend == "jax":
        return [str(each.device_kind) for each in importlib.import_module("jax").local_devices()]
    if backend == "torch":
        cuda = importlib.import_module("torch").cuda
        return [cuda.get_device_name(number) for number in range(cuda.device_count())] or ["CPU"]
    found = tf.config.get_visible_devices("GPU")
    details = (tf.config.experimental.get_device_details(device) for device in found)
    return [each.get("device_name", "GPU") for each in details] or ["CPU"]


def prepare(run: RunConfig, batch_sizes: Sequence[int] = ()) -> None:
    """Starts TensorFlow, and joins processes that train together, before anything is computed.

    Args:
        run: the task's `run` section.
        batch_sizes: of the training; empty: nothing is trained, and other processes are not joined.

    Raises:
        ConfigError: the processes do not find each other, or a batch cannot be shared evenly by the
            devices.
    """
    if batch_sizes and run.distribution == "multi_host":
        processes.start(run.multi_host)
    with stderr_discarded():  # TensorFlow comments on its devices
        if run.backend != "tensorflow":
            tf.config.set_visible_devices([], "GPU")  # for the backend: only tf.data runs here
        tf.config.list_logical_devices()
    if run.deterministic:
        _repeat_exactly(run)
    if not tf.config.list_physical_devices("GPU"):
        keep_freed_memory()
    n_devices = _n_sharing(run) if batch_sizes else 1
    odd = [size for size in batch_sizes if size % n_devices]
    if odd:
        raise ConfigError(
            f"`run.distribution: {run.distribution}` shares each batch evenly. Expected: a"
            f" `batch_size`, that of all devices together, divisible by their number, {n_devices}."
            f" Received: {odd[0]}."
        )


def _n_sharing(run: RunConfig) -> int:
    """Number of devices that share a batch."""
    if run.distribution == "none":
        return 1
    if run.backend == "jax":
        return keras.distribution.get_device_count()
    return _mirrored_strategy().num_replicas_in_sync


def _repeat_exactly(run: RunConfig) -> None:
    """Makes the backend choose deterministic kernels; XLA_FLAGS do so for JAX."""
    tf.config.experimental.enable_op_determinism()  # tf.data feeds every backend
    if run.backend == "torch":
        importlib.import_module("torch").use_deterministic_algorithms(True)


@contextlib.contextmanager
def devices(run: RunConfig) -> Iterator[None]:
    """Sets precision and devices; models are built and trained inside the block.

    Args:
        run: the task's `run` section. `mirrored` splits each batch over all GPUs of this machine,
            by `tf.distribute.MirroredStrategy` on TensorFlow and `keras.distribution.DataParallel`
            on JAX; `multi_host` over those of all processes, by the latter.

    Raises:
        ConfigError: `KERAS_BACKEND` was fixed to another backend than the settings ask for.
    """
    if keras.backend.backend() != run.backend:
        raise ConfigError(
            f"`run.backend` is {run.backend!r}, but Keras already runs on"
            f" {keras.backend.backend()!r}. Unset KERAS_BACKEND, or set it to {run.backend!r}."
        )
    previous = keras.config.dtype_policy()
    set_number_formats()
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
        parallel = keras.distribution.DataParallel(auto_shard_dataset=False)  # each reads its part
        return parallel.scope()
    return _mirrored_strategy().scope()


@functools.cache
def _mirrored_strategy() -> tf.distribute.MirroredStrategy:
    """Strategy of this process, made once: its variables cannot be used under another."""
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    names = [device.name for device in found]
    logger.info("Each batch is split over %d devices: %s.", len(names), ", ".join(names))
    return tf.distribute.MirroredStrategy(names)


def n_sharing() -> int:
    """Number of devices, in all processes, that share each batch."""
    of_keras: Any = keras.distribution.distribution()
    return n_replicas() if of_keras is None else of_keras.device_mesh.devices.size


def n_replicas() -> int:
    """Number of replicas of a model, each on its device with its part of every batch."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def replica_mean(value: Any) -> Any:
    """Averages a tensor over the replicas within a joint step; returns it unchanged elsewhere."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, value)


def jit_setting(run: RunConfig) -> str | bool:
    """Value for `jit_compile`; `auto` is off where XLA does harm.

    On the CPU it slows recurrent models 2 to 6 times, and where devices of TensorFlow share a batch
    it cannot reach variables of another device.
    """
    if run.jit_compile != "auto" or run.backend != "tensorflow":
        return run.jit_compile
    is_single = run.distribution == "none"
    return "auto" if is_single and tf.config.list_physical_devices("GPU") else False


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
        Normalised values in the shape and type of `x`; the mean and the variance used, (C,)
        float32. The variance is the mean square about the mean, as Keras keeps it, not the estimate
        for all data that the kernel gives.
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
