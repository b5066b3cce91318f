import keras
import numpy as np
import pytest
import tensorflow as tf

from common.errors import ConfigError
from seld.losses import MaskedDirectionError, PolarMeanSquaredError, seld_losses

B, T, K = 2, 6, 3


def targets(seed: int = 0, share: float = 0.4) -> np.ndarray:
    """Activity, azimuth and elevation in degrees, joined: (B, T, 3K); silent classes hold other values than 180, 50."""
    rng = np.random.default_rng(seed)
    activity = rng.random((B, T, K)) < share
    return np.concatenate([activity, rng.integers(-180, 180, (B, T, K)), rng.integers(-40, 41, (B, T, K))], -1).astype(
        np.float32
    )


def outputs(width: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(B, T, width * K)).astype(np.float32)


def unit_vectors(azimuth_deg: np.ndarray, elevation_deg: np.ndarray) -> np.ndarray:
    a, e = np.deg2rad(azimuth_deg), np.deg2rad(elevation_deg)
    return np.stack([np.cos(a) * np.cos(e), np.sin(a) * np.cos(e), np.sin(e)])  # (3, ...)


def test_the_published_loss_is_the_mean_square_of_all_angles_with_silence_at_180_and_50_degrees():
    y_true, y_pred = targets(), outputs(2)
    active, azimuth, elevation = np.split(y_true, 3, axis=-1)
    azimuth, elevation = np.where(active, azimuth, 180.0), np.where(active, elevation, 50.0)
    expected = np.mean((y_pred - np.concatenate([azimuth * np.pi / 180, elevation * np.pi / 50], -1)) ** 2)
    np.testing.assert_allclose(float(PolarMeanSquaredError()(y_true, y_pred)), expected, rtol=1e-5)


def test_the_masked_polar_loss_is_summed_over_both_angles_and_averaged_over_active_classes():
    y_true, y_pred = targets(), outputs(2)
    active, azimuth, elevation = np.split(y_true, 3, axis=-1)
    errors = (y_pred[..., :K] - np.deg2rad(azimuth)) ** 2 + (y_pred[..., K:] - elevation * np.pi / 50) ** 2
    loss = MaskedDirectionError("polar")(y_true, y_pred)
    np.testing.assert_allclose(float(loss), errors[active > 0].mean(), rtol=1e-5)


def test_the_masked_cartesian_loss_is_the_mean_squared_distance_of_active_vectors():
    y_true, y_pred = targets(), outputs(3)
    active, azimuth, elevation = np.split(y_true, 3, axis=-1)
    distance = unit_vectors(azimuth, elevation) - np.stack(np.split(y_pred, 3, axis=-1))  # (3, B, T, K)
    expected = np.sum(distance**2, axis=0)[active > 0].mean()
    np.testing.assert_allclose(float(MaskedDirectionError("xyz")(y_true, y_pred)), expected, rtol=1e-5)


def test_the_opposite_direction_costs_four():
    y_true = np.array([[[1.0, 90.0, 0.0]]])
    np.testing.assert_allclose(float(MaskedDirectionError("xyz")(y_true, np.array([[[0.0, -1.0, 0.0]]]))), 4, rtol=1e-6)


@pytest.mark.parametrize(("loss", "width"), [(MaskedDirectionError("polar"), 2), (MaskedDirectionError("xyz"), 3)])
def test_without_events_the_masked_loss_and_its_gradient_are_zero(loss, width):
    y_pred = tf.Variable(outputs(width))
    with tf.GradientTape() as tape:
        value = loss(targets(share=0.0), y_pred)
    assert float(value) == 0.0
    np.testing.assert_array_equal(tape.gradient(value, y_pred), 0.0)


@pytest.mark.parametrize(
    ("name", "output", "width"), [("mse", "polar", 2), ("masked_mse", "polar", 2), ("masked_mse", "xyz", 3)]
)
def test_frames_outside_the_recording_change_neither_loss_nor_gradient(name, output, width):
    loss = seld_losses(name, output)["doa"]
    y_true, y_pred = targets(), tf.Variable(outputs(width))
    padding = np.full_like(y_true, -1.0)
    with tf.GradientTape(persistent=True) as tape:
        plain = loss(y_true, y_pred)
        padded = loss(np.concatenate([y_true, padding], 1), tf.concat([y_pred, 100.0 * y_pred], axis=1))
    np.testing.assert_allclose(float(padded), float(plain), rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(padded, y_pred), tape.gradient(plain, y_pred), rtol=1e-5)
    assert np.isfinite(tape.gradient(plain, y_pred)).all()
    assert float(loss(padding, y_pred)) == 0.0


@pytest.mark.parametrize(("name", "output", "width"), [("mse", "polar", 2), ("masked_mse", "xyz", 3)])
def test_losses_are_float32_for_half_precision_outputs(name, output, width):
    loss = seld_losses(name, output)["doa"]
    value = loss(targets(), keras.ops.cast(outputs(width), "float16"))
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    np.testing.assert_allclose(float(value), float(loss(targets(), outputs(width))), rtol=1e-3)


def test_the_published_loss_needs_angles():
    with pytest.raises(ConfigError, match="Set `doa_loss: masked_mse`"):
        seld_losses("mse", "xyz")


def test_losses_survive_saving():
    for loss in (*seld_losses("mse", "polar").values(), *seld_losses("masked_mse", "xyz").values()):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
        assert type(again) is type(loss)
        assert again.get_config() == loss.get_config()
