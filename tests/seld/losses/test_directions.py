import keras
import numpy as np
import pytest
import tensorflow as tf

from common.errors import ConfigError
from seld.losses.directions import (
    MaskedAngleError,
    MaskedDirectionError,
    PolarMeanSquaredError,
    seld_losses,
    two_stage_losses,
)

B, T, K = 2, 6, 3


def targets(seed: int = 0, share: float = 0.4) -> np.ndarray:
    """Activity, azimuth, elevation in degrees (B, T, 3K); inactive: not 180, 50."""
    rng = np.random.default_rng(seed)
    activity = rng.random((B, T, K)) < share
    return np.concatenate(
        [activity, rng.integers(-180, 180, (B, T, K)), rng.integers(-40, 41, (B, T, K))], -1
    ).astype(np.float32)


def outputs(width: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(B, T, width * K)).astype(np.float32)


def unit_vectors(azimuth_deg: np.ndarray, elevation_deg: np.ndarray) -> np.ndarray:
    a, e = np.deg2rad(azimuth_deg), np.deg2rad(elevation_deg)
    return np.stack([np.cos(a) * np.cos(e), np.sin(a) * np.cos(e), np.sin(e)])  # (3, ...)


def test_the_published_loss_averages_angles_with_silence_at_180_50():
    y_true, y_pred = targets(), outputs(2)
    active, azimuth, elevation = np.split(y_true, 3, axis=-1)
    azimuth, elevation = np.where(active, azimuth, 180.0), np.where(active, elevation, 50.0)
    expected = np.mean(
        (y_pred - np.concatenate([azimuth * np.pi / 180, elevation * np.pi / 50], -1)) ** 2
    )
    np.testing.assert_allclose(float(PolarMeanSquaredError()(y_true, y_pred)), expected, rtol=1e-5)


def test_the_masked_polar_loss_sums_angles_and_averages_active_classes():
    y_true, y_pred = targets(), outputs(2)
    active, azimuth, elevation = np.split(y_true, 3, axis=-1)
    errors = (y_pred[..., :K] - np.deg2rad(azimuth)) ** 2 + (
        y_pred[..., K:] - elevation * np.pi / 50
    ) ** 2
    loss = MaskedDirectionError("polar")(y_true, y_pred)
    np.testing.assert_allclose(float(loss), errors[active > 0].mean(), rtol=1e-5)


def test_the_masked_cartesian_loss_is_the_mean_squared_distance():
    y_true, y_pred = targets(), outputs(3)
    active, azimuth, elevation = np.split(y_true, 3, axis=-1)
    distance = unit_vectors(azimuth, elevation) - np.stack(
        np.split(y_pred, 3, axis=-1)
    )  # (3, B, T, K)
    expected = np.sum(distance**2, axis=0)[active > 0].mean()
    np.testing.assert_allclose(
        float(MaskedDirectionError("xyz")(y_true, y_pred)), expected, rtol=1e-5
    )


def test_the_opposite_direction_costs_four():
    y_true = np.array([[[1.0, 90.0, 0.0]]])
    np.testing.assert_allclose(
        float(MaskedDirectionError("xyz")(y_true, np.array([[[0.0, -1.0, 0.0]]]))), 4, rtol=1e-6
    )


def angle_errors(y_true: np.ndarray, y_pred: np.ndarray) -> list[np.ndarray]:
    """Differences in radians of the azimuths and of the elevations of active classes."""
    active, azimuth, elevation = np.split(y_true.astype(float), 3, axis=-1)
    pairs = (azimuth, y_pred[..., :K]), (elevation, y_pred[..., K:])
    return [(estimate - np.deg2rad(angle))[active > 0] for angle, estimate in pairs]


def test_angle_errors_are_sums_of_means_or_roots_over_batches():
    y_true, y_pred = targets(), outputs(2)
    y_true[1, 2:, :K] = 0  # the examples differ in what counts
    errors = angle_errors(y_true, y_pred)
    absolute, root = MaskedAngleError(root=False), MaskedAngleError(root=True)
    np.testing.assert_allclose(
        float(absolute(y_true, y_pred)), sum(np.abs(e).mean() for e in errors), rtol=1e-5
    )
    np.testing.assert_allclose(
        float(root(y_true, y_pred)), sum(np.sqrt((e**2).mean()) for e in errors), rtol=1e-5
    )


def test_one_wrong_angle_has_equal_mean_and_root():
    y_true = np.array([[[1.0, 90.0, 0.0]]])
    for root in (False, True):
        np.testing.assert_allclose(
            float(MaskedAngleError(root)(y_true, np.array([[[0.0, 0.0]]]))), np.pi / 2, rtol=1e-6
        )


def test_angle_errors_cover_the_common_frames_of_targets_and_outputs():
    y_true, y_pred = targets(), outputs(2)
    for root in (False, True):
        loss = MaskedAngleError(root)
        both = float(loss(y_true[:, :4], y_pred[:, :4]))
        np.testing.assert_allclose(
            [float(loss(y_true, y_pred[:, :4])), float(loss(y_true[:, :4], y_pred))], both
        )


@pytest.mark.parametrize("root", [False, True])
def test_the_gradient_of_angle_errors_is_their_slope(root):
    loss, y_true, y_pred = MaskedAngleError(root), targets(), tf.Variable(outputs(2))
    with tf.GradientTape() as tape:
        value = loss(y_true, y_pred)
    direction, step = outputs(2, seed=7), 1e-2
    slope = (
        float(loss(y_true, y_pred + step * direction))
        - float(loss(y_true, y_pred - step * direction))
    ) / (2 * step)
    np.testing.assert_allclose(np.sum(tape.gradient(value, y_pred) * direction), slope, rtol=2e-3)


@pytest.mark.parametrize("root", [False, True])
def test_at_no_error_the_gradient_of_angle_errors_is_finite(root):
    y_true = targets()
    y_pred = tf.Variable(np.deg2rad(y_true[..., K:]))
    with tf.GradientTape() as tape:
        value = MaskedAngleError(root)(y_true, y_pred)
    assert float(value) < 1e-6
    assert np.isfinite(tape.gradient(value, y_pred)).all()


@pytest.mark.parametrize(
    ("loss", "width"),
    [
        (MaskedDirectionError("polar"), 2),
        (MaskedDirectionError("xyz"), 3),
        (MaskedAngleError(root=False), 2),
        (MaskedAngleError(root=True), 2),
    ],
)
def test_without_events_the_masked_loss_and_its_gradient_are_zero(loss, width):
    y_pred = tf.Variable(outputs(width))
    with tf.GradientTape() as tape:
        value = loss(targets(share=0.0), y_pred)
    assert float(value) == 0.0
    np.testing.assert_array_equal(tape.gradient(value, y_pred), 0.0)


@pytest.mark.parametrize(
    ("loss", "width"),
    [
        (seld_losses("mse", "polar")["doa"], 2),
        (seld_losses("masked_mse", "polar")["doa"], 2),
        (seld_losses("masked_mse", "xyz")["doa"], 3),
        (two_stage_losses("masked_mae")["doa"], 2),
        (two_stage_losses("masked_rmse")["doa"], 2),
    ],
)
def test_frames_outside_the_recording_change_neither_loss_nor_gradient(loss, width):
    y_true, y_pred = targets(), tf.Variable(outputs(width))
    padding = np.full_like(y_true, -1.0)
    with tf.GradientTape(persistent=True) as tape:
        plain = loss(y_true, y_pred)
        padded = loss(
            np.concatenate([y_true, padding], 1), tf.concat([y_pred, 100.0 * y_pred], axis=1)
        )
    np.testing.assert_allclose(float(padded), float(plain), rtol=1e-6)
    np.testing.assert_allclose(
        tape.gradient(padded, y_pred), tape.gradient(plain, y_pred), rtol=1e-5
    )
    assert np.isfinite(tape.gradient(plain, y_pred)).all()
    assert float(loss(padding, y_pred)) == 0.0


@pytest.mark.parametrize(
    ("loss", "width"),
    [
        (PolarMeanSquaredError(), 2),
        (MaskedDirectionError("xyz"), 3),
        (MaskedAngleError(root=False), 2),
        (MaskedAngleError(root=True), 2),
    ],
)
def test_losses_are_float32_for_half_precision_outputs(loss, width):
    value = loss(targets(), keras.ops.cast(outputs(width), "float16"))
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    np.testing.assert_allclose(float(value), float(loss(targets(), outputs(width))), rtol=1e-3)


def test_the_published_loss_needs_angles():
    with pytest.raises(ConfigError, match="Set `doa_loss: masked_mse`"):
        seld_losses("mse", "xyz")


def test_losses_of_another_system_are_refused():
    with pytest.raises(
        ConfigError,
        match=r"seldnet can learn from. Expected: mse or masked_mse. Received: masked_mae",
    ):
        seld_losses("masked_mae", "polar")
    with pytest.raises(
        ConfigError, match=r"Expected: masked_mae or masked_rmse. Received: masked_mse"
    ):
        two_stage_losses("masked_mse")


def test_a_certain_mistake_costs_a_hundred_nats_as_in_pytorch():
    assert (
        float(two_stage_losses("masked_mae")["sed"](np.zeros((1, 1, 1)), np.ones((1, 1, 1)))) == 100
    )


def test_losses_survive_saving():
    one_network = *seld_losses("mse", "polar").values(), *seld_losses("masked_mse", "xyz").values()
    two_stages = *two_stage_losses("masked_mae").values(), *two_stage_losses("masked_rmse").values()
    for loss in (*one_network, *two_stages):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
        assert type(again) is type(loss)
        assert again.get_config() == loss.get_config()
