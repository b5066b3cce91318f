"""Networks and losses of 2020 to 2025 on JAX: outputs, losses and two steps of training."""

import numpy as np
import pytest
import tensorflow as tf

from common.models.layers import set_weights_by_name, weights_by_name
from seld.losses.accdoa import MultiAccdoaError
from seld.losses.tracks import TrackError
from seld.systems import accdoa, einv2
from tests.forks import run_on_jax
from tests.numpy_layers import random_weights

ACCDOA = {
    "n_filters": 2,
    "pool_bands": (4,),
    "pool_frames": (2,),
    "gru_units": (4,),
    "dense_units": (3,),
    "attention": "2023",
    "attention_heads": 2,
    "attention_layers": 1,
    "end_activation": "tanh_relu",
    "distance": True,
}
EINV2 = {
    "filters": (2, 4),
    "pool_frames": (2, 1),
    "sed_channels": 1,
    "encoder_heads": 2,
    "encoder_layers": 1,
    "encoder_units": 4,
    "dropout": 0.0,
}
SYSTEMS = {
    "accdoa": (accdoa, accdoa.NetworkConfig(**ACCDOA, dropout=0.0), MultiAccdoaError()),
    "einv2": (einv2, einv2.NetworkConfig(**EINV2), TrackError(doa_error="masked_mse")),
}
N_CLASSES = 2
PROGRAM = """
import importlib
import sys
import jax
import keras
import numpy as np
from common.models.layers import set_weights_by_name, weights_by_name
from seld.losses import accdoa, tracks

assert keras.backend.backend() == "jax"
results = {}
for name, settings in zip(("accdoa", "einv2"), sys.argv[3:], strict=True):
    with np.load(f"{sys.argv[1]}/{name}.npz") as stored:
        given = dict(stored)
    x, y = given.pop("x"), given.pop("y")
    system = importlib.import_module(f"seld.systems.{name}")
    network = system.NetworkConfig.model_validate_json(settings)
    model = system.build_model((None, *x.shape[2:]), 2, network)
    set_weights_by_name(model, given)
    (output,) = model.output
    results[f"{name} output"] = np.asarray(model.predict_on_batch(x)[output])
    loss = accdoa.MultiAccdoaError() if name == "accdoa" else tracks.TrackError(
        doa_error="masked_mse")
    results[f"{name} loss"] = np.asarray(loss(y, results[f"{name} output"]))
    slope = jax.grad(lambda values: loss(y, values))(results[f"{name} output"])
    results[f"{name} gradient"] = np.asarray(slope)
    if name != "accdoa":  # one network is enough for the time that it takes to compile
        continue
    model.compile(keras.optimizers.Adam(1e-3), {output: loss})
    history = model.fit(x, {output: y}, batch_size=len(x), epochs=2, verbose=0).history
    results[f"{name} history"] = np.array(history["loss"])
    after = weights_by_name(model).items()
    results[f"{name} finite"] = np.array([np.isfinite(np.asarray(w)).all() for _, w in after])
np.savez(sys.argv[2], **results)
"""


def targets(name: str, rng: np.random.Generator) -> np.ndarray:
    """Some sources, one frame without labels, one distance that is unknown; (2, 3, ...)."""
    if name == "accdoa":
        y = np.zeros((2, 3, 6, 5, N_CLASSES), np.float32)
        y[:, 0, 1:3, 0], y[:, 1, 0, 0] = 1, 1
        y[:, :2, :3, 1:] = rng.normal(size=(2, 2, 3, 4, N_CLASSES))
        y[0, 1, 0, 4, 0] = np.nan
    else:
        y = np.zeros((2, 3, 2, N_CLASSES + 3), np.float32)
        y[:, 0, 0], y[:, :2, 1] = (1, 0, 1, 0, 0), (0, 1, 0, 0, 1)
    y[1, 2] = -1
    return y


@pytest.fixture(scope="module")
def cases() -> dict[str, tuple]:
    rng, found = np.random.default_rng(0), {}
    for name, (system, network, loss) in SYSTEMS.items():
        x = rng.normal(size=(2, 6, 8, 2)).astype(np.float32)
        model = system.build_model((None, *x.shape[2:]), N_CLASSES, network)
        weights = random_weights(weights_by_name(model), seed=1)
        set_weights_by_name(model, weights)
        found[name] = (model, loss, x, targets(name, rng), weights)
    return found


@pytest.fixture(scope="module")
def of_jax(cases, tmp_path_factory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("jax")
    for name, (_, _, x, y, weights) in cases.items():
        np.savez(folder / f"{name}.npz", x=x, y=y, **weights)
    settings = [network.model_dump_json() for _, network, _ in SYSTEMS.values()]
    run_on_jax(PROGRAM, folder, folder, folder / "results.npz", *settings)
    with np.load(folder / "results.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize("name", SYSTEMS)
def test_outputs_and_losses_agree_on_jax_and_tensorflow(name, cases, of_jax):
    model, loss, x, y, _ = cases[name]
    (output,) = model(x).values()
    np.testing.assert_allclose(of_jax[f"{name} output"], output, atol=1e-5)
    np.testing.assert_allclose(of_jax[f"{name} loss"], float(loss(y, output)), rtol=1e-5)
    outputs = tf.Variable(of_jax[f"{name} output"])
    with tf.GradientTape() as tape:
        value = loss(y, outputs)
    slope = tape.gradient(value, outputs)
    np.testing.assert_allclose(of_jax[f"{name} gradient"], slope, atol=1e-6)


def test_two_steps_on_jax_stay_finite_with_unknown_targets(cases, of_jax):
    model, loss, x, y, _ = cases["accdoa"]
    (output,) = model(x, training=True).values()
    np.testing.assert_allclose(of_jax["accdoa history"][0], float(loss(y, output)), rtol=1e-3)
    assert np.isfinite(of_jax["accdoa history"]).all() and len(of_jax["accdoa history"]) == 2
    assert of_jax["accdoa finite"].all()
