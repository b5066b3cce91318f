import keras
import numpy as np
import pytest
import tensorflow as tf

from seld.losses.vectors import MaskedVectorDistance, MaskedVectorError, MaskedVectorError2020

B, T, K = 2, 5, 3
LOSSES = [MaskedVectorError(), MaskedVectorDistance(), MaskedVectorError2020()]


def case(n_axes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y_true = rng.normal(size=(B, T, 1 + n_axes, K))
    y_true[:, :, 0] = rng.random((B, T, K)) < 0.4
    return y_true, rng.normal(size=(B, T, n_axes, K))


def value_and_gradient(loss, y_true, y_pred) -> tuple[float, np.ndarray]:
    outputs = tf.Variable(np.asarray(y_pred, np.float32))
    with tf.GradientTape() as tape:
        value = loss(np.asarray(y_true, np.float32), outputs)
    return float(value), np.asarray(tape.gradient(value, outputs))


def errors_of_active(y_true, y_pred) -> np.ndarray:
    """Errors of active classes, (active, A)."""
    return np.array(
        [
            y_pred[b, t, :, k] - y_true[b, t, 1:, k]
            for b, t, k in np.ndindex(B, T, K)
            if y_true[b, t, 0, k] > 0
        ]
    )


def test_the_masked_error_is_the_mean_square_of_active_classes():
    y_true, y_pred = case()
    expected = np.mean(errors_of_active(y_true, y_pred) ** 2)
    np.testing.assert_allclose(float(MaskedVectorError()(y_true, y_pred)), expected, rtol=1e-5)


def test_the_masked_distance_sums_the_mean_errors_of_the_axes():
    y_true, y_pred = case()
    expected = np.abs(errors_of_active(y_true, y_pred)).mean(axis=0).sum()
    np.testing.assert_allclose(float(MaskedVectorDistance()(y_true, y_pred)), expected, rtol=1e-5)


def test_the_loss_of_2020_masks_coordinates_by_repeated_classes():
    y_true, y_pred = case()
    total, n_counted, errors = 0.0, 0, np.zeros(y_pred.shape)
    for b, t, axis, k in np.ndindex(y_pred.shape):
        if y_true[b, t, 0, (axis * K + k) // 3] > 0:  # the published mask
            errors[b, t, axis, k] = y_pred[b, t, axis, k] - y_true[b, t, 1 + axis, k]
            total, n_counted = total + errors[b, t, axis, k] ** 2, n_counted + 1
    value, gradient = value_and_gradient(MaskedVectorError2020(), y_true, y_pred)
    np.testing.assert_allclose(value, np.sqrt(total) / n_counted, rtol=1e-5)
    np.testing.assert_allclose(gradient, errors / np.sqrt(total) / n_counted, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES[:2])
def test_unknown_distances_and_frames_without_labels_count_nowhere(loss):
    y_true, y_pred = case(4)
    y_true[0, :, 4], y_true[1, 2:] = np.nan, -1
    known = errors_of_active(y_true, y_pred)
    expected = {
        "masked_mse": np.nanmean(known**2),
        "masked_mae": np.nanmean(np.abs(known), axis=0).sum(),
    }
    value, gradient = value_and_gradient(loss, y_true, y_pred)
    np.testing.assert_allclose(value, expected[loss.name], rtol=1e-5)
    assert np.isfinite(gradient).all() and not gradient[0, :, 3].any() and not gradient[1, 2:].any()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activity", [0, -1])
def test_without_active_classes_loss_and_gradient_are_zero(loss, activity):
    y_true, y_pred = case()
    y_true[:, :, 0] = activity
    value, gradient = value_and_gradient(loss, y_true, y_pred)
    assert value == 0 and not gradient.any()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_perfect_output_has_no_loss_and_no_gradient(loss):
    y_true, _ = case()
    value, gradient = value_and_gradient(loss, y_true, y_true[:, :, 1:])
    assert value == 0 and not gradient.any()


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_survive_saving(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config() and type(again) is type(loss)
