import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from seld.losses.tracks import (
    MaskedLogitCrossentropy,
    TrackError,
    best_order,
    logit_crossentropy,
    split_tracks,
)

B, T, K = 2, 4, 3


def case(n_tracks: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Targets, a third of whose tracks are silent, and outputs (B, T, N, K + 3)."""
    rng = np.random.default_rng(seed)
    y_true = np.zeros((B, T, n_tracks, K + 3))
    for b, t, n in np.ndindex(B, T, n_tracks):
        if rng.random() < 2 / 3:
            y_true[b, t, n, rng.integers(K)] = 1
            vector = rng.normal(size=3)
            y_true[b, t, n, K:] = vector / np.linalg.norm(vector)
    return y_true.astype(np.float32), rng.normal(size=y_true.shape).astype(np.float32)


def value_and_gradient(loss, y_true, y_pred) -> tuple[float, np.ndarray]:
    outputs = tf.Variable(y_pred)
    with tf.GradientTape() as tape:
        value = loss(y_true, outputs)
    return float(value), np.asarray(tape.gradient(value, outputs))


def crossentropy(target: np.ndarray, logits: np.ndarray) -> np.ndarray:
    probability = 1 / (1 + np.exp(-logits.astype(float)))
    return -target * np.log(probability) - (1 - target) * np.log(1 - probability)


def literal_order(y_true, y_pred, masked: bool) -> np.ndarray:
    """The ground truth with the tracks of each frame in the order that costs least."""
    ordered = y_true.copy()
    for b, t in np.ndindex(B, T):
        best = np.inf
        for order in itertools.permutations(range(y_true.shape[2])):
            target, output = y_true[b, t][list(order)], y_pred[b, t]
            errors = (output[:, K:] - target[:, K:]) ** 2
            if masked:
                errors = errors * target[:, :K].max(axis=1, keepdims=True)
            cost = crossentropy(target[:, :K], output[:, :K]).mean() + errors.mean()
            if cost < best - 1e-9:
                best, ordered[b, t] = cost, target
    return ordered


@pytest.mark.parametrize("n_tracks", [2, 3])
@pytest.mark.parametrize("doa_error", ["mse", "masked_mse"])
def test_each_frame_gets_the_order_that_costs_least(n_tracks, doa_error):
    y_true, y_pred = case(n_tracks)
    expected = literal_order(y_true, y_pred, doa_error == "masked_mse")
    np.testing.assert_array_equal(best_order(y_true, y_pred, doa_error), expected)
    assert (expected != y_true).any()


@pytest.mark.parametrize("permutation", ["frame", "none"])
@pytest.mark.parametrize("doa_error", ["mse", "masked_mse"])
def test_the_loss_weighs_detection_and_direction(permutation, doa_error):
    y_true, y_pred = case()
    masked = doa_error == "masked_mse"
    ordered = literal_order(y_true, y_pred, masked) if permutation == "frame" else y_true
    target, directions = ordered[..., :K], ordered[..., K:]
    counted = target.max(axis=-1, keepdims=True) * np.ones(3) if masked else np.ones((B, T, 2, 3))
    squares = (y_pred[..., K:] - directions) ** 2
    parts = crossentropy(target, y_pred[..., :K]).mean(), squares[counted > 0].mean()
    loss = TrackError(0.3, permutation, doa_error)
    value, gradient = value_and_gradient(loss, y_true, y_pred)
    np.testing.assert_allclose([np.mean(part) for part in loss.parts(y_true, y_pred)], parts, 1e-5)
    np.testing.assert_allclose(value, 0.3 * parts[0] + 0.7 * parts[1], rtol=1e-5)
    sed = (1 / (1 + np.exp(-y_pred[..., :K])) - target) / target.size
    doa = 2 * (y_pred[..., K:] - directions) * counted / counted.sum()
    np.testing.assert_allclose(gradient, np.concatenate([0.3 * sed, 0.7 * doa], axis=-1), atol=1e-6)


def test_the_order_of_the_ground_truth_does_not_matter():
    y_true, y_pred = case(3)
    loss = TrackError()
    np.testing.assert_allclose(
        float(loss(y_true, y_pred)), float(loss(y_true[:, :, [2, 0, 1]], y_pred)), rtol=1e-6
    )


def test_equal_costs_keep_the_order_given():
    y_true, y_pred = case()
    y_pred[:, :, 1] = y_pred[:, :, 0]
    np.testing.assert_array_equal(best_order(y_true, y_pred, "mse"), y_true)


@pytest.mark.parametrize("doa_error", ["mse", "masked_mse"])
def test_frames_without_labels_count_nowhere(doa_error):
    y_true, y_pred = case()
    loss = TrackError(doa_error=doa_error)
    alone = float(loss(y_true[:, :2], y_pred[:, :2]))
    y_true[:, 2:] = -1
    value, gradient = value_and_gradient(loss, y_true, y_pred)
    np.testing.assert_allclose(value, alone, rtol=1e-6)
    assert not gradient[:, 2:].any()
    value, gradient = value_and_gradient(loss, np.full_like(y_true, -1), y_pred)
    assert value == 0 and not gradient.any()


def test_silent_tracks_teach_no_direction_under_the_mask():
    y_true, y_pred = np.zeros((1, 1, 2, K + 3), np.float32), case()[1][:1, :1]
    _, gradient = value_and_gradient(TrackError(doa_error="masked_mse"), y_true, y_pred)
    assert not gradient[..., K:].any() and gradient[..., :K].all()


def test_trailing_frames_of_one_side_count_nowhere():
    y_true, y_pred = case()
    expected = float(TrackError()(y_true[:, :3], y_pred[:, :3]))
    for pair in ((y_true[:, :3], y_pred), (y_true, y_pred[:, :3])):
        np.testing.assert_allclose(float(TrackError()(*pair)), expected, rtol=1e-6)


def test_large_logits_stay_exact():
    logits = np.array([-200.0, 200.0, 0.0], np.float32)
    np.testing.assert_allclose(logit_crossentropy(1.0, logits), [200, 0, np.log(2)], rtol=1e-6)


def test_the_crossentropy_of_logits_leaves_out_what_is_unknown():
    y_true = np.array([[[1, 0, -1], [-1, -1, 0.25]]], np.float32)
    y_pred = np.random.default_rng(0).normal(size=(1, 3, 3)).astype(np.float32)
    errors = crossentropy(y_true, y_pred[:, :2])[y_true >= 0]
    loss = MaskedLogitCrossentropy()
    np.testing.assert_allclose(float(loss(y_true, y_pred)), errors.mean(), rtol=1e-5)


def test_tracks_split_into_classes_and_directions():
    y_true, _ = case()
    activity, directions = split_tracks(y_true)
    assert activity.shape == (B, T, 2, K) and directions.shape == (B, T, 2, 3)


@pytest.mark.parametrize("loss", [TrackError(0.4, "none", "masked_mse"), MaskedLogitCrossentropy()])
def test_losses_survive_saving(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config() and type(again) is type(loss)
