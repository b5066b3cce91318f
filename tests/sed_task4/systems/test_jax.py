"""The networks of the family are equal on JAX and TensorFlow, and train on JAX."""

import keras
import numpy as np
import pytest

from common.models.layers import weights_by_name, with_statistics
from sed_task4.systems import _mean_teacher_network, cnn, crnn_two_pass
from tests.forks import run_on_jax

SYSTEMS = {
    "cnn": (
        cnn,
        cnn.NetworkConfig(architecture="cnn5", filters=(2, 3, 4, 5), strong_training=True),
    ),
    "crnn_two_pass": (
        crnn_two_pass,
        crnn_two_pass.NetworkConfig(
            n_filters=4,
            pool_bands=(4, 4),
            pool_frames=(2, 1),
            gru_units=(5,),
            clip_pooling="linear_softmax",
            dropout=0,
        ),
    ),
    "_mean_teacher_network": (
        _mean_teacher_network,
        _mean_teacher_network.NetworkConfig(
            n_filters=(3, 4),
            pool_bands=(4, 4),
            pool_frames=(2, 1),
            gru_units=(5,),
            dropout=0,
            dynamic_layers=(False, True),
        ),
    ),
}
N_CLASSES = 3

PROGRAM = """
import importlib
import sys
import keras
import numpy as np
from common.models.layers import set_weights_by_name, weights_by_name, with_statistics
from common.models.losses import MaskedBinaryCrossentropy

assert keras.backend.backend() == "jax"
folder = sys.argv[1]
for name, settings in zip(sys.argv[2::2], sys.argv[3::2]):
    with np.load(f"{folder}/{name}.npz") as stored:
        given = dict(stored)
    x, y = given.pop("x"), {output: given.pop(output) for output in ("clip", "frames")}
    system = importlib.import_module(f"sed_task4.systems.{name}")
    network = system.NetworkConfig.model_validate_json(settings)
    model = system.build_model((None, *x.shape[2:]), y["clip"].shape[-1], network)
    model = with_statistics(model, x.mean((0, 1)), x.std((0, 1)))
    set_weights_by_name(model, given)
    outputs = model.predict_on_batch(x)
    results = {f"output_{output}": np.asarray(value) for output, value in outputs.items()}
    losses = {"clip": MaskedBinaryCrossentropy(-100.0), "frames": MaskedBinaryCrossentropy()}
    loss_weights = {"clip": 1.0, "frames": 1.0}
    model.compile(keras.optimizers.Adam(1e-3, amsgrad=True), losses, loss_weights=loss_weights)
    history = model.fit(x, y, batch_size=len(x), epochs=2, verbose=0).history
    results["losses"] = np.array(history["loss"])
    results |= {weight: np.asarray(value) for weight, value in weights_by_name(model).items()}
    np.savez(f"{folder}/{name}_results.npz", **results)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """For each system: the model on TensorFlow, its input, first weights, and results of JAX."""
    folder = tmp_path_factory.mktemp("jax")
    rng = np.random.default_rng(0)
    given, arguments = {}, []
    for name, (system, network) in SYSTEMS.items():
        x = rng.normal(size=(2, 16, 16, 1)).astype(np.float32)
        model = system.build_model((None, 16, 1), N_CLASSES, network)
        model = with_statistics(model, x.mean((0, 1)), x.std((0, 1)))
        weights = {weight: np.asarray(value) for weight, value in weights_by_name(model).items()}
        targets = {output: rng.integers(-1, 2, value.shape) for output, value in model(x).items()}
        np.savez(folder / f"{name}.npz", x=x, **targets, **weights)
        given[name] = (model, x, weights)
        arguments += [name, network.model_dump_json()]
    run_on_jax(PROGRAM, folder, folder, *arguments)
    return {
        name: (*parts, dict(np.load(folder / f"{name}_results.npz")))
        for name, parts in given.items()
    }


@pytest.mark.parametrize("name", SYSTEMS)
def test_systems_are_equal_on_jax_and_tensorflow(trained, name):
    model, x, _, results = trained[name]
    assert keras.backend.backend() == "tensorflow"
    for output, value in model(x).items():
        np.testing.assert_allclose(results[f"output_{output}"], value, atol=1e-5)


@pytest.mark.parametrize("name", SYSTEMS)
def test_two_steps_on_jax_change_weights_and_stay_finite(trained, name):
    _, _, before, results = trained[name]
    assert len(results["losses"]) == 2 and np.isfinite(results["losses"]).all()
    for weight, old in before.items():
        moved = np.abs(results[weight] - old).max() > 0
        # Batch normalisation takes away what the biases of convolutions add: they have no gradient
        # but rounding errors.
        assert moved != weight.startswith("standardize") or (
            weight.startswith("conv") and weight.endswith("bias")
        )
        assert np.isfinite(results[weight]).all()
