"""The network is equal on JAX and TensorFlow, and trains on JAX."""

import numpy as np
import pytest

from common.models.layers import weights_by_name
from sed_task4.segmentation.systems.tf_segmentation import NetworkConfig, build_model
from tests.forks import run_on_jax

SETTINGS = NetworkConfig(filters=(2, 3, 4, 3), gwrp_decay=0.9)
PROGRAM = """
import sys
import keras
import numpy as np
from common.models.layers import set_weights_by_name, weights_by_name
from common.models.losses import MaskedBinaryCrossentropy
from sed_task4.segmentation.systems.tf_segmentation import NetworkConfig, build_model

assert keras.backend.backend() == "jax"
with np.load(sys.argv[1]) as stored:
    given = dict(stored)
x, tags = given.pop("x"), given.pop("tags")
model = build_model((None, 6, 1), 3, NetworkConfig.model_validate_json(sys.argv[2]))
set_weights_by_name(model, given)
outputs = model.predict_on_batch(x)
results = {f"output_{name}": np.asarray(value) for name, value in outputs.items()}
losses = {"clip": MaskedBinaryCrossentropy(-100.0)}
model.compile(keras.optimizers.Adam(1e-2), losses, jit_compile=True)
targets = {"clip": tags, "masks": x[..., 0]}
history = model.fit(x, targets, batch_size=len(x), epochs=2, verbose=0).history
results["losses"] = np.array(history["loss"])
results |= {name: np.asarray(value) for name, value in weights_by_name(model).items()}
np.savez(sys.argv[1], **results)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The model on TensorFlow, its input, its first weights, and the results of JAX."""
    path = tmp_path_factory.mktemp("jax") / "given.npz"
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 9, 6, 1)).astype(np.float32)
    model = build_model((None, 6, 1), 3, SETTINGS)
    weights = {name: np.asarray(value) for name, value in weights_by_name(model).items()}
    np.savez(path, x=x, tags=rng.integers(-1, 2, (2, 3)).astype(np.float32), **weights)
    run_on_jax(PROGRAM, path.parent, path, SETTINGS.model_dump_json())
    return model, x, weights, dict(np.load(path))


def test_the_network_is_equal_on_jax_and_tensorflow(trained):
    model, x, _, results = trained
    for name, value in model(x).items():
        np.testing.assert_allclose(results[f"output_{name}"], value, atol=1e-5)


def test_two_steps_on_jax_change_all_weights_and_stay_finite(trained):
    _, _, before, results = trained
    assert len(results["losses"]) == 2 and np.isfinite(results["losses"]).all()
    for name, old in before.items():
        assert np.isfinite(results[name]).all() and np.abs(results[name] - old).max() > 0
