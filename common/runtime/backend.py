"""Keras with the backend, the devices and the number formats that a run asks for."""

import importlib
import os
from collections.abc import Sequence
from types import ModuleType

from common.runtime.machine import overrule_machine
from common.runtime.optional import optional_module, unused_left_out
from common.runtime.quiet import stderr_discarded
from common.settings.tasks import RunConfig

_PACKAGES = {"jax": "jax", "torch": "torch"}  # by backend; TensorFlow is always installed


def choose_backend(run: RunConfig) -> None:
    """Fixes Keras's backend and the devices it may see; must run before keras is imported.

    Raises:
        ConfigError: the backend is not installed, or cannot be imported.
    """
    overrule_machine()
    os.environ["KERAS_BACKEND"] = run.backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # several jobs may share a GPU
    if run.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        os.environ["JAX_PLATFORMS"] = "cpu"
    if run.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"
        os.environ["XLA_FLAGS"] = flags.strip()
    if run.backend in _PACKAGES:
        remedy = f'Install the extra `{run.backend}`: pip install ".[{run.backend}]". Or set'
        remedy += " `run.backend: tensorflow`."
        optional_module(_PACKAGES[run.backend], f"`run.backend: {run.backend}`", remedy)


def load_keras(run: RunConfig) -> ModuleType:
    """Loads Keras with its backend and the number formats of this project.

    Returns:
        `common.runtime.distribution`, which must not be imported before the backend is chosen.

    Raises:
        ConfigError: the backend is not installed, or cannot be imported.
    """
    choose_backend(run)
    # The backend announces itself while it is loaded.
    with stderr_discarded(), unused_left_out():
        distribution = importlib.import_module("common.runtime.distribution")
    distribution.set_number_formats()
    return distribution


def start_backend(run: RunConfig, batch_sizes: Sequence[int] = ()) -> ModuleType:
    """Loads Keras with its backend and devices; arguments as `common.runtime.distribution.prepare`.

    Returns:
        `common.runtime.distribution`.

    Raises:
        ConfigError: see `load_keras` and `common.runtime.distribution.prepare`.
    """
    distribution = load_keras(run)
    distribution.prepare(run, batch_sizes)
    return distribution
