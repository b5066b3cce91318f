import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from seld.losses.accdoa import (
    AccdoaError,
    FrameAccdoaError,
    MultiAccdoaError,
    assignments,
    dummy_tracks,
)

B, T, K = 2, 5, 3


def value_and_gradient(loss, y_true, y_pred) -> tuple[float, np.ndarray]:
    outputs = tf.Variable(np.asarray(y_pred, np.float32))
    with tf.GradientTape() as tape:
        value = loss(np.asarray(y_true, np.float32), outputs)
    return float(value), np.asarray(tape.gradient(value, outputs))


def adpit_case(n_tracks: int, n_axes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Targets with 0 to n_tracks sources in each frame and class, and outputs."""
    rng = np.random.default_rng(seed)
    groups = dummy_tracks(n_tracks)
    y_true = np.zeros((B, T, groups[-1].stop, 1 + n_axes, K))
    for b, t, k in np.ndindex(B, T, K):
        n_sources = rng.integers(0, n_tracks + 1)
        for dummy in groups[n_sources - 1] if n_sources else ():
            y_true[b, t, dummy, :, k] = 1, *rng.normal(size=n_axes)
    return y_true, rng.normal(size=(B, T, n_tracks, n_axes, K))


def literal_adpit(y_true, y_pred) -> tuple[float, np.ndarray]:
    """Mean over frames and classes of the cheapest assignment, and its gradient, one by one."""
    n_tracks, n_axes = y_pred.shape[2:4]
    total, n_counted, gradient = 0.0, 0, np.zeros(y_pred.shape)
    for b, t, k in np.ndindex(B, T, K):
        sources = [each for each in y_true[b, t, :, :, k] if each[0] > 0]
        if y_true[b, t, 0, 0, k] < 0:
            continue
        n_counted += 1
        targets = [source[1:] for source in sources] or [np.zeros(n_axes)]
        best = np.inf
        for order in itertools.product(targets, repeat=n_tracks):
            if len({id(each) for each in order}) < len(targets):
                continue  # a source is left out
            errors = y_pred[b, t, :, :, k] - np.array(order)
            if (cost := np.nanmean(errors**2)) < best:
                best = cost
                slope = 2 * np.nan_to_num(errors) / np.sum(~np.isnan(errors))
        total += best
        gradient[b, t, :, :, k] = slope
    return total / max(n_counted, 1), gradient / max(n_counted, 1)


@pytest.mark.parametrize(("n_tracks", "n_axes"), [(3, 3), (3, 4), (2, 3), (1, 2)])
def test_adpit_is_the_cheapest_assignment_of_all_sources(n_tracks, n_axes):
    y_true, y_pred = adpit_case(n_tracks, n_axes)
    expected = literal_adpit(y_true, y_pred)
    value, gradient = value_and_gradient(MultiAccdoaError(), y_true, y_pred)
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    np.testing.assert_allclose(gradient, expected[1], atol=1e-6)


def test_three_tracks_have_thirteen_assignments():
    groups = dummy_tracks(3)
    assert [list(group) for group in groups] == [[0], [1, 2], [3, 4, 5]]
    assert [len(assignments(group, 3)) for group in groups] == [1, 6, 6]


def test_frames_without_labels_and_unknown_distances_count_nowhere():
    y_true, y_pred = adpit_case(3, 4, seed=1)
    active = np.argwhere(y_true[:, :, :, 0] > 0)
    for b, t, dummy, k in active[::2]:
        y_true[b, t, dummy, 4, k] = np.nan
    y_true[1, 3:] = -1
    expected = literal_adpit(y_true, y_pred)
    value, gradient = value_and_gradient(MultiAccdoaError(), y_true, y_pred)
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    np.testing.assert_allclose(gradient, expected[1], atol=1e-6)
    assert not gradient[1, 3:].any()


def crossentropy(target, probability):
    return -target * np.log(probability) - (1 - target) * np.log(1 - probability)


def test_one_source_teaches_all_tracks_whether_it_is_on_the_screen():
    y_true, y_pred = np.zeros((1, 2, 6, 5, 1)), np.full((1, 2, 3, 4, 1), 0.2)
    y_true[0, 0, 0, :, 0] = 1, 0.2, 0.2, 0.2, 1  # the location is right; the second frame is silent
    silence = np.mean(3 * [0.2**2])
    on, off = crossentropy(1, 0.2), crossentropy(0, 0.2)
    value, _ = value_and_gradient(MultiAccdoaError("all"), y_true, y_pred)
    np.testing.assert_allclose(value, silence / 2 + (on + off) / 2, rtol=1e-5)
    value, gradient = value_and_gradient(MultiAccdoaError("active"), y_true, y_pred)
    np.testing.assert_allclose(value, silence / 2 + on, rtol=1e-5)
    assert not gradient[0, 1, :, 3].any() and gradient[0, 0, :, 3].all()
    y_true[0, 0, 0, 4, 0] = np.nan
    value, gradient = value_and_gradient(MultiAccdoaError("active"), y_true, y_pred)
    np.testing.assert_allclose(value, silence / 2, rtol=1e-5)
    assert np.isfinite(gradient).all() and not gradient[..., 3, :].any()


def test_the_assignment_is_chosen_by_location_not_by_the_screen():
    y_true = np.zeros((1, 1, 3, 4, 1))
    y_true[0, 0, 1, :, 0], y_true[0, 0, 2, :, 0] = (1, 1, 0, 1), (1, 0, 1, 0)
    y_pred = np.array([[1, 0, 0.1], [0, 1, 0.9]]).reshape(1, 1, 2, 3, 1)
    value, _ = value_and_gradient(MultiAccdoaError("all"), y_true, y_pred)
    np.testing.assert_allclose(value, crossentropy(1, 0.1), rtol=1e-5)


def test_a_certain_mistake_about_the_screen_costs_one_hundred():
    y_true = np.array([1, 0, 0, 1.0]).reshape(1, 1, 1, 4, 1)
    value, gradient = value_and_gradient(MultiAccdoaError("all"), y_true, np.zeros((1, 1, 1, 3, 1)))
    assert value == 100 and np.isfinite(gradient).all()


def test_targets_for_another_number_of_tracks_are_refused():
    y_true, y_pred = adpit_case(3, 3)
    with pytest.raises(ValueError, match=r"2 tracks have 3 dummy tracks\. Received: 6"):
        MultiAccdoaError()(y_true, y_pred[:, :, :2])


def accdoa_case(n_axes: int = 3, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y_true = rng.normal(size=(B, T, 1 + n_axes, K))
    y_true[:, :, 0] = rng.random((B, T, K)) < 0.5
    return y_true, rng.normal(size=(B, T, n_axes, K))


def test_accdoa_is_the_mean_square_over_everything():
    y_true, y_pred = accdoa_case()
    expected = np.mean((y_pred - y_true[:, :, :1] * y_true[:, :, 1:]) ** 2)
    np.testing.assert_allclose(float(AccdoaError()(y_true, y_pred)), expected, rtol=1e-5)


def test_accdoa_leaves_out_what_is_unknown():
    y_true, y_pred = accdoa_case(4)
    y_true[0, 1:3] = -1
    y_true[1, :, 4, 0] = np.nan
    target = np.where(y_true[:, :, :1] > 0, y_true[:, :, 1:], 0)
    target[0, 1:3] = np.nan
    value, gradient = value_and_gradient(AccdoaError(), y_true, y_pred)
    np.testing.assert_allclose(value, np.nanmean((y_pred - target) ** 2), rtol=1e-5)
    assert np.array_equal(gradient == 0, np.isnan(target))


@pytest.mark.parametrize("onscreen", ["all", "active"])
def test_accdoa_averages_location_and_screen(onscreen):
    y_true, y_pred = accdoa_case(3)
    activity = y_true[:, :, 0]
    y_true[:, :, 3] = np.random.default_rng(0).random((B, T, K)) < 0.5
    y_pred[:, :, 2] = 1 / (1 + np.exp(-y_pred[:, :, 2]))
    target = y_true[:, :, :1] * y_true[:, :, 1:]
    screen = crossentropy(target[:, :, 2], y_pred[:, :, 2])
    screen = screen.mean() if onscreen == "all" else screen[activity > 0].mean()
    expected = (np.mean((y_pred - target)[:, :, :2] ** 2) + screen) / 2
    np.testing.assert_allclose(float(AccdoaError(onscreen)(y_true, y_pred)), expected, rtol=1e-5)


@pytest.mark.parametrize("active_only", [False, True])
def test_the_loss_of_frames_sums_classes_and_teaches_silence_by_default(active_only):
    y_true, y_pred = accdoa_case()
    y_true[1, 3:] = -1
    active = y_true[:, :, :1] > 0
    errors = (y_pred - np.where(active, y_true[:, :, 1:], 0)) ** 2
    errors = errors * (active if active_only else y_true[:, :, :1] >= 0)
    value = float(FrameAccdoaError(active_only)(y_true, y_pred))
    np.testing.assert_allclose(value, errors.sum() / (B * T - 2), rtol=1e-5)


LOSSES = [AccdoaError(), AccdoaError("all"), FrameAccdoaError(True), MultiAccdoaError("active")]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_without_labels_has_no_loss_and_no_gradient(loss):
    multi = isinstance(loss, MultiAccdoaError)
    y_true, y_pred = adpit_case(3, 4) if multi else accdoa_case(4)
    value, gradient = value_and_gradient(loss, np.full(y_true.shape, -1.0), y_pred)
    assert value == 0 and not gradient.any()


@pytest.mark.parametrize("loss", LOSSES)
def test_each_example_has_its_share_of_the_mean(loss):
    multi = isinstance(loss, MultiAccdoaError)
    y_true, y_pred = adpit_case(3, 4) if multi else accdoa_case(4)
    shares = np.asarray(loss.call(np.float32(y_true), np.float32(y_pred)))
    np.testing.assert_allclose(shares.mean(), float(loss(y_true, y_pred)), rtol=1e-6)
    assert shares.shape == (B,)


@pytest.mark.parametrize("loss", LOSSES)
def test_trailing_frames_of_one_side_count_nowhere(loss):
    multi = isinstance(loss, MultiAccdoaError)
    y_true, y_pred = adpit_case(3, 4) if multi else accdoa_case(4)
    expected = float(loss(y_true[:, :3], y_pred[:, :3]))
    for pair in ((y_true[:, :3], y_pred), (y_true, y_pred[:, :3])):
        np.testing.assert_allclose(float(loss(*pair)), expected, rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_survive_saving(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config() and type(again) is type(loss)
