"""`run.deterministic`: the same scores each time on one machine."""

import os

from common.runtime.backend import choose_backend
from common.settings.tasks import RunConfig
from tests.forks import server

TWICE = """
from common.runtime.backend import choose_backend
from common.settings.tasks import RunConfig
run = RunConfig(deterministic=True)
choose_backend(run)
from common.runtime import distribution
distribution.prepare(run)
import keras
import numpy as np
from tensorflow.python.framework.config import is_op_determinism_enabled
from seld.systems.seldnet import NetworkConfig, build_model

assert is_op_determinism_enabled()
sizes = {'pool_bands': [4], 'pool_frames': [1], 'gru_units': [4], 'dense_units': [4]}
network = NetworkConfig(n_filters=4, dropout=0.5, **sizes)
rng = np.random.default_rng(0)
x = rng.normal(size=(2, 20, 16, 2)).astype("float32")
weights = []
for _ in range(2):
    keras.utils.set_random_seed(5)
    with distribution.devices(run):
        model = build_model((None, 16, 2), 3, network)
    widths = {name: output.shape[-1] for name, output in model.output.items()}
    y = {name: np.full((2, 20, width), 0.5, "float32") for name, width in widths.items()}
    model.compile("adam", loss="mse", jit_compile=False)
    for _ in range(3):
        model.train_on_batch(x, y)
    weights.append(np.concatenate([np.ravel(value) for value in model.get_weights()]))
print(np.array_equal(*weights), np.isfinite(weights[0]).all())
"""


def test_training_twice_gives_the_same_bits_on_tensorflow(tmp_path):
    log = server("tensorflow").run(["-c", TWICE], tmp_path / "log.txt")
    assert log.split()[-2:] == ["True", "True"]


def test_backends_are_configured_before_they_are_loaded(monkeypatch):
    for name in ("KERAS_BACKEND", "XLA_FLAGS", "CUBLAS_WORKSPACE_CONFIG"):  # put back afterwards
        monkeypatch.setenv(name, "")
    choose_backend(RunConfig(backend="jax", deterministic=True))
    assert "--xla_gpu_deterministic_ops=true" in os.environ["XLA_FLAGS"].split()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_nothing_is_configured_without_the_setting(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "")
    monkeypatch.setenv("XLA_FLAGS", "")
    choose_backend(RunConfig(backend="jax"))
    assert os.environ["XLA_FLAGS"] == ""
