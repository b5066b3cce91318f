import keras
import numpy as np
import pytest
from sklearn.metrics import log_loss

from common.models.losses import (
    AsymmetricFocalLoss,
    ConsistencyLoss,
    MaskedBinaryCrossentropy,
    masked_mean,
)


def test_the_mean_is_over_the_entries_that_count():
    assert np.mean(masked_mean(np.array([1.0, 2.0, 30.0], np.float32), np.array([1, 1, 0]))) == 1.5


def test_the_mean_of_nothing_is_zero():
    assert np.mean(masked_mean(np.array([1.0, np.nan], np.float32), np.zeros(2))) == 0.0


def test_cross_entropy_equals_scikit_learns():
    rng = np.random.default_rng(0)
    activity = (rng.random((3, 5, 4)) > 0.7).astype(np.float32)
    probability = rng.uniform(0.01, 0.99, activity.shape).astype(np.float32)
    expected = log_loss(activity.ravel(), probability.ravel())
    np.testing.assert_allclose(
        float(MaskedBinaryCrossentropy()(activity, probability)), expected, rtol=1e-5
    )


def test_frames_outside_the_recording_do_not_change_cross_entropy():
    rng = np.random.default_rng(1)
    activity, probability = (
        np.ones((2, 6, 3), np.float32),
        rng.uniform(0.1, 0.9, (2, 6, 3)).astype(np.float32),
    )
    padded = np.concatenate([activity, -np.ones_like(activity)], axis=1)
    wrong = np.concatenate([probability, np.ones_like(probability)], axis=1)
    loss = MaskedBinaryCrossentropy()
    np.testing.assert_allclose(
        float(loss(padded, wrong)), float(loss(activity, probability)), rtol=1e-6
    )
    assert float(loss(-np.ones_like(activity), probability)) == 0.0


def test_a_certain_mistake_costs_a_finite_amount():
    assert (
        15 < float(MaskedBinaryCrossentropy()(np.ones((1, 1, 1)), np.zeros((1, 1, 1)))) < 17
    )  # -ln(1e-7)


def test_with_a_floor_certain_mistakes_cost_as_in_pytorch():
    loss = MaskedBinaryCrossentropy(-100.0)
    target, probability = (
        np.array([[1.0, 0, 1, 0]], np.float32),
        np.array([[0.0, 1, 1, 0]], np.float32),
    )
    assert float(loss(target, probability)) == 50.0  # two mistakes of 100 among four
    assert 15 < 2 * float(MaskedBinaryCrossentropy()(target, probability)) < 17  # -ln(1e-7) each


@pytest.mark.parametrize("log_floor", [None, -100.0])
def test_cross_entropy_of_known_tags_equals_that_of_scikit_learn(log_floor):
    rng = np.random.default_rng(2)
    tags, probability = (
        (rng.random((6, 4)) > 0.5).astype(np.float32),
        rng.uniform(0.01, 0.99, (6, 4)),
    )
    expected = log_loss(tags[:4].ravel(), probability[:4].ravel())
    tags[4:] = -1
    loss = MaskedBinaryCrossentropy(log_floor)
    np.testing.assert_allclose(
        float(loss(tags, probability.astype(np.float32))), expected, rtol=1e-5
    )


@pytest.mark.parametrize("log_floor", [None, -100.0])
def test_labels_may_be_probabilities(log_floor):
    target, probability = np.array([[0.25]], np.float32), np.array([[0.5]], np.float32)
    np.testing.assert_allclose(
        float(MaskedBinaryCrossentropy(log_floor)(target, probability)), np.log(2), rtol=1e-6
    )


def test_frames_that_only_targets_or_outputs_have_are_left_out():
    rng = np.random.default_rng(3)
    activity, probability = (
        (rng.random((2, 7, 3)) > 0.5).astype(np.float32),
        rng.uniform(0.1, 0.9, (2, 9, 3)),
    )
    probability = probability.astype(np.float32)
    loss = MaskedBinaryCrossentropy()
    expected = float(loss(activity[:, :7], probability[:, :7]))
    assert float(loss(activity, probability)) == expected
    assert float(loss(probability.round(), probability[:, :7])) == float(
        loss(probability[:, :7].round(), probability[:, :7])
    )


@pytest.mark.parametrize("log_floor", [None, -100.0])
def test_a_loss_is_built_again_from_its_configuration(log_floor):
    stored = keras.losses.serialize(MaskedBinaryCrossentropy(log_floor))
    assert keras.losses.deserialize(stored).log_floor == log_floor


def test_saturated_outputs_leave_finite_gradients():
    layer = keras.layers.Dense(1, "sigmoid", kernel_initializer="ones")
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(
        keras.optimizers.SGD(0.1), loss=MaskedBinaryCrossentropy(-100.0), run_eagerly=True
    )
    x, y = (
        np.array([[-200.0], [200.0], [0.5]], np.float32),
        np.array([[1.0], [0.0], [1.0]], np.float32),
    )
    before = layer.get_weights()
    assert model.train_on_batch(x, y) > 60
    after = layer.get_weights()
    assert all(np.isfinite(weight).all() for weight in after)
    assert after[1] > before[1]  # the example in between still pulls


def test_asymmetric_focal_loss_equals_its_formula():
    rng = np.random.default_rng(4)
    target = (rng.random((3, 4, 2)) > 0.5).astype(np.float32)
    p = rng.uniform(0.05, 0.95, target.shape).astype(np.float32)
    active, inactive = (1 - p) ** 0.5 * np.log(p), p**2 * np.log(1 - p)
    expected = -np.mean(target * active + (1 - target) * inactive)
    assert float(AsymmetricFocalLoss(0.5, 2.0)(target, p)) == pytest.approx(expected, rel=1e-5)
    plain = MaskedBinaryCrossentropy(-100.0)(target, p)
    assert float(AsymmetricFocalLoss(0.0, 0.0)(target, p)) == pytest.approx(float(plain), rel=1e-6)


def test_certain_mistakes_of_the_focal_loss_have_a_finite_gradient():
    p = keras.Variable(np.array([[0.0, 1.0, 0.0, 1.0]], np.float32))
    target = np.array([[1.0, 1.0, 0.0, 0.0]], np.float32)
    loss = AsymmetricFocalLoss(0.5, 0.5)
    assert float(loss(target, p)) == pytest.approx(50.0)  # two mistakes of 100 among four
    tf = pytest.importorskip("tensorflow")
    with tf.GradientTape() as tape:
        value = loss(target, p)
    assert np.isfinite(tape.gradient(value, p.value)).all()


@pytest.mark.parametrize("kind", ["mse", "bce"])
def test_consistency_is_over_the_entries_that_count(kind):
    rng = np.random.default_rng(5)
    teacher, student = rng.uniform(0.1, 0.9, (2, 3, 4)).astype(np.float32)
    cross = -teacher * np.log(student) - (1 - teacher) * np.log(1 - student)
    errors = {"mse": (student - teacher) ** 2, "bce": cross}[kind]
    masked = np.concatenate([teacher[:2], -np.ones((1, 4), np.float32)])
    loss = ConsistencyLoss(kind)
    assert float(loss(teacher, student)) == pytest.approx(errors.mean(), rel=1e-5)
    assert float(loss(masked, student)) == pytest.approx(errors[:2].mean(), rel=1e-5)
