"""The user's configuration of Keras, its backends and matplotlib changes no result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from common.runtime import distribution
from common.runtime.backend import choose_backend
from common.runtime.machine import OVERRULED, overrule_machine, recorded_variables
from common.settings.tasks import RunConfig
from common.training.run_directory import open_run, read_environment

ROOT = Path(__file__).parents[3]
ODD = {
    "backend": "jax",
    "floatx": "float16",
    "epsilon": 0.01,
    "image_data_format": "channels_first",
}
PROBE = """
import json
from common.runtime.backend import start_backend
from common.settings.tasks import RunConfig
run = RunConfig(device="cpu")
start_backend(run)
import keras, numpy as np
from common.runtime import distribution
from common.models.layers import BatchNormalization
from seld.losses.directions import seld_losses
rng = np.random.default_rng(0)
x = rng.normal(size=(2, 20, 16, 2)).astype("float32")
keras.utils.set_random_seed(0)
with distribution.devices(run):
    inputs = keras.Input((20, 16, 2))
    convolved = keras.layers.Conv2D(2, 3)(inputs)
    outputs = keras.layers.Dense(3, "sigmoid")(BatchNormalization()(convolved))
    model = keras.Model(inputs, outputs)
    model.compile("adam", loss="mse", jit_compile=False)
    y = np.full((2, *outputs.shape[1:]), 0.5, "float32")
    history = model.fit(x, y, epochs=2, verbose=0).history["loss"]
    doa_loss = seld_losses("mse", "polar")["doa"]
    loss = float(doa_loss(np.full((2, 20, 9), 9.0, "float32"), np.ones((2, 20, 6))))
kinds = sorted({str(weight.dtype) for weight in model.weights})
outside = keras.layers.Dense(2).dtype_policy.name
print(json.dumps([history, loss, kinds, outside, keras.config.floatx(), keras.backend.backend()]))
"""


def printed(program: str, home: Path, **variables: str) -> list:
    env = {**os.environ, "HOME": str(home), "KERAS_BACKEND": "jax", **variables}
    env.pop("KERAS_HOME")
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def home_with(folder: Path, content: str) -> Path:
    (folder / ".keras").mkdir(parents=True)
    (folder / ".keras/keras.json").write_text(content)
    return folder


def test_neither_odd_nor_broken_keras_json_nor_variable_changes_a_training(tmp_path):
    plain = printed(PROBE, home_with(tmp_path / "broken", "{"))
    odd = home_with(tmp_path / "odd", json.dumps(ODD))
    limits = {"KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "1", "JAX_ENABLE_X64": "1"}
    assert (
        printed(PROBE, odd, TF_ENABLE_ONEDNN_OPTS="0", KERAS_HOME=str(odd / ".keras"), **limits)
        == plain
    )
    assert plain[2:] == [["float32"], "float32", "float32", "tensorflow"] and len(plain[0]) == 2


@pytest.fixture
def odd_keras():
    """Keras as a user's keras.json left it, imported before this project could hide that."""
    keras.config.set_floatx("float16")
    keras.config.set_epsilon(0.01)
    keras.config.set_image_data_format("channels_first")
    keras.config.set_max_epochs(1)
    keras.config.set_dtype_policy("float16")
    yield
    distribution.set_number_formats()


def test_keras_that_was_imported_before_gets_our_formats(odd_keras):
    with distribution.devices(RunConfig(mixed_precision="mixed_bfloat16")):
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        assert keras.config.floatx() == "float32" and keras.config.epsilon() == 1e-7
        assert (
            keras.config.image_data_format() == "channels_last"
            and keras.config.max_epochs() is None
        )


def test_variables_that_change_results_are_removed_and_named(monkeypatch, caplog):
    monkeypatch.setenv("KERAS_MAX_EPOCHS", "1")
    monkeypatch.setenv("JAX_DEFAULT_MATMUL_PRECISION", "bfloat16")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    overrule_machine()
    assert not set(OVERRULED) & set(os.environ) and recorded_variables()["OMP_NUM_THREADS"] == "3"
    assert "are ignored: KERAS_MAX_EPOCHS, JAX_DEFAULT_MATMUL_PRECISION." in caplog.text
    assert not Path(os.environ["KERAS_HOME"]).exists()


def test_a_run_keeps_versions_and_devices(tmp_path):
    open_run(tmp_path, {}, [], distribution.describe(RunConfig(mixed_precision="mixed_float16")))
    computing = read_environment(tmp_path)["computing"]
    assert computing["devices"] and computing.pop("variables") is not None
    del computing["devices"]
    assert computing == {
        "backend": "tensorflow",
        "precision": "mixed_float16",
        "floatx": "float32",
        "epsilon": 1e-7,
        "image_data_format": "channels_last",
    }


FIGURE = """
import sys, logging
from common.cli.base import run_safely
def draw(_):
    from common.display.plotting import learning_curves, Curve, Panel, save_figure
    from pathlib import Path
    panel = Panel("t", "y", (Curve("a", "Büro"),))
    save_figure(learning_curves({"a": [1.0, 2.0]}, [panel]), Path(sys.argv[1]))
sys.exit(run_safely(draw, []))
"""
RC = (
    "savefig.dpi: 7\nfont.size: 40\nlines.linewidth: 9\ntext.usetex: True\nnonsense: 1\nbackend:"
    " tkagg\n"
)


def test_no_matplotlibrc_and_no_backend_changes_a_figure(tmp_path):
    pictures = []
    for name, rc in (("plain", ""), ("odd", RC)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "matplotlibrc").write_text(rc)
        env = {**os.environ, "MPLBACKEND": "nonsense" if rc else "", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", FIGURE, "a.png"]
        subprocess.run(command, cwd=tmp_path / name, env=env, check=True, capture_output=True)
        pictures.append((tmp_path / name / "a.png").read_bytes())
    assert pictures[0] == pictures[1]


def test_the_backend_of_the_settings_overrules_the_environment(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    choose_backend(RunConfig())
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
