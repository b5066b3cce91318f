"""Global pooling of maps against its definition."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from common.models.rank_pooling import GlobalPooling, rank_weights

MAPS = np.random.default_rng(0).uniform(size=(2, 7, 5, 3)).astype(np.float32)  # (B, T, F, K)


def by_definition(maps: np.ndarray, decay: float) -> np.ndarray:
    """Sorts each map of (B, T, F, K) and weights its values one by one."""
    n_values = maps.shape[1] * maps.shape[2]
    weights = np.float64(decay) ** np.arange(n_values)
    ordered = np.sort(maps.reshape(len(maps), n_values, -1).astype(np.float64), axis=1)[:, ::-1]
    return np.einsum("bnk,n->bk", ordered, weights / weights.sum())


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.9998])
def test_rank_pooling_is_the_mean_weighted_by_rank(decay):
    pooled = np.asarray(GlobalPooling("gwrp", decay)(MAPS))
    np.testing.assert_allclose(pooled, by_definition(MAPS, decay), rtol=1e-5)


def test_decay_0_is_the_maximum_and_decay_1_the_average():
    np.testing.assert_allclose(
        GlobalPooling("gwrp", 0.0)(MAPS), GlobalPooling("gmp")(MAPS), rtol=1e-6
    )
    np.testing.assert_allclose(
        GlobalPooling("gwrp", 1.0)(MAPS), GlobalPooling("gap")(MAPS), rtol=1e-6
    )
    np.testing.assert_allclose(GlobalPooling("gmp")(MAPS), MAPS.max(axis=(1, 2)))
    np.testing.assert_allclose(GlobalPooling("gap")(MAPS), MAPS.mean(axis=(1, 2)), rtol=1e-6)


def test_the_published_decay_averages_a_quarter_of_the_published_map():
    """The largest weight is that of an average over so many values."""
    weights = np.asarray(
        rank_weights(np.random.default_rng(0).normal(size=(1, 311 * 64)).astype(np.float32), 0.9998)
    )
    assert np.isclose(1 / weights.max() / (311 * 64), 0.25, atol=0.01)


def test_equal_values_share_out_their_weights():
    weights = np.asarray(rank_weights(np.zeros((2, 4), np.float32), 0.5))
    np.testing.assert_allclose(
        np.sort(weights, axis=1), np.tile([1 / 15, 2 / 15, 4 / 15, 8 / 15], (2, 1)), rtol=1e-6
    )


def test_the_gradient_of_a_value_is_its_weight():
    """Change of each value's own weight by one step of plain gradient descent."""
    layer, step = GlobalPooling("gwrp", 0.8), 0.25
    inputs = keras.Input((1,))
    values = keras.layers.Dense(35 * 3, use_bias=False, kernel_initializer="zeros", name="values")(
        inputs
    )
    model = keras.Model(inputs, layer(keras.layers.Reshape((7, 5, 3))(values)))
    start = MAPS[:1].reshape(1, -1)
    model.get_layer("values").set_weights([start])
    # The mean of |target - pooled| over 3 classes; targets above all values: each falls by 1/3 per
    # unit.
    model.compile(keras.optimizers.SGD(step), loss="mae")
    model.train_on_batch(np.ones((1, 1)), 2 * np.ones((1, 3)))
    moved = (model.get_layer("values").get_weights()[0] - start).reshape(35, 3)
    weights = np.asarray(rank_weights(MAPS[0].reshape(35, 3).T, 0.8)).T
    np.testing.assert_allclose(moved, step / 3 * weights, rtol=1e-4, atol=1e-7)


def test_maps_of_any_length_are_pooled_in_a_saved_model(tmp_path):
    inputs = keras.Input((None, 5, 3))
    model = keras.Model(inputs, GlobalPooling("gwrp", 0.9)(inputs))
    assert model.output_shape == (None, 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    for frames in (1, 7):
        np.testing.assert_allclose(
            loaded(MAPS[:, :frames]), by_definition(MAPS[:, :frames], 0.9), rtol=1e-5
        )


def test_a_program_without_systems_loads_a_model_with_this_layer(tmp_path):
    inputs = keras.Input((None, 5, 3))
    keras.Model(inputs, GlobalPooling("gwrp", 0.9)(inputs)).save(tmp_path / "model.keras")
    code = (
        "import sys; from pathlib import Path; from common.models.saving import load_model;"
        " load_model(Path(sys.argv[1]))"
    )
    # JAX is imported in half the time of TensorFlow.
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    command = [sys.executable, "-c", code, tmp_path / "model.keras"]
    subprocess.run(command, check=True, env=environment)


@pytest.mark.parametrize(
    "settings", [{"kind": "mean"}, {"kind": "gwrp", "decay": 1.1}, {"kind": "gwrp", "decay": -1}]
)
def test_other_poolings_are_refused(settings):
    with pytest.raises(ValueError, match="gwrp, gmp or gap, and a decay"):
        GlobalPooling(**settings)
