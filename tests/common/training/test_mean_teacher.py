"""The mean teacher: its weights, what it teaches, what is saved, and what is taken out of it."""

import keras
import numpy as np
import pytest

from common.errors import ConfigError
from common.features.frontend import Frontend
from common.models.audio_features import FRONTEND, AudioFeatures
from common.models.layers import with_statistics
from common.models.losses import MaskedBinaryCrossentropy
from common.models.saving import load_model
from common.settings.batch_augmentation import BatchAugmentation
from common.settings.mean_teacher import MeanTeacherConfig
from common.training.mean_teacher import (
    AugmentedModel,
    MeanTeacher,
    build_augmented,
    chosen_network,
    kept_share,
    outputs_of,
)
from sed_task4 import features  # noqa: F401  # its kinds
from tests.common.training.teacher_networks import (
    ALL_CHANGES,
    LOSSES,
    PARTS,
    STRIDE,
    batch,
    network,
    teacher_model,
)

QUIET = {"noise": {"kind": "none"}}


def arrays(weights):
    return [np.asarray(weight) for weight in weights]


def trained(model, steps, seed=0):
    """Student's weights after each step."""
    students = []
    for step in range(steps):
        model.train_on_batch(*batch(seed + step))
        students.append(arrays(model.student.trainable_weights))
    return students


def test_the_teacher_begins_as_a_copy_and_follows_by_the_ramp():
    model = teacher_model({**QUIET, "decay": 0.7})
    expected = arrays(model.student.trainable_weights)
    of_teacher = [pair[1] for pair in model.followed]
    for mine, other in zip(arrays(of_teacher), expected, strict=True):
        np.testing.assert_array_equal(mine, other)
    for step, student in enumerate(trained(model, 5), start=1):
        kept = min(1 - 1 / (step + 1), 0.7)
        expected = [
            kept * mine + (1 - kept) * other for mine, other in zip(expected, student, strict=True)
        ]
    for mine, other in zip(arrays(of_teacher), expected, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)
    assert int(model.iterations) == 5


def test_only_the_student_is_trained():
    model = teacher_model()
    assert len(model.trainable_weights) == len(model.student.trainable_weights) == 6
    assert not model.teacher.trainable_weights
    assert all(layer.trainable for layer in model.teacher.layers)  # statistics of its own batches


@pytest.mark.parametrize("kind", ["own", "averaged"])
def test_statistics_of_the_teacher_are_its_own_or_averaged(kind):
    settings = {"statistics": kind, "noise": {"kind": "absolute", "std": 9.0}}
    model = teacher_model(settings, eagerly=True)
    means = [net.get_layer("norm").moving_mean for net in (model.student, model.teacher)]
    kept, expected = 0.0, np.zeros(4)
    for step in range(1, 4):
        model.train_on_batch(*batch(step))
        kept = min(1 - 1 / (step + 1), 0.999)
        expected = kept * expected + (1 - kept) * np.asarray(means[0])
    same = np.allclose(np.asarray(means[1]), expected, atol=1e-6)
    assert same == (kind == "averaged")
    assert np.abs(np.asarray(means[1])).max() > 0
    assert chosen_network(model, "teacher").get_layer("norm").momentum == 0.99


def test_the_loss_is_the_sum_of_its_parts():
    model = teacher_model({**QUIET, "consistency_weight": 3.0, "ramp_epochs": 10.0})
    x, y = batch(0)
    y_pred = {
        name: np.random.default_rng(len(name)).uniform(0.1, 0.9, shape).astype(np.float32)
        for name, shape in {
            "clip": (8, 3),
            "frames": (8, 6, 3),
            "teacher_clip": (8, 3),
            "teacher_frames": (8, 6, 3),
        }.items()
    }
    model.iterations.assign(5)  # of a ramp of 20
    total = float(model.compute_loss(x, y, y_pred))

    def cross_entropy(labels, p):
        return -np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p))

    weak = cross_entropy(y["clip"][2:4], y_pred["clip"][2:4])
    strong = cross_entropy(y["frames"][:2], y_pred["frames"][:2])
    distance = sum(np.mean((y_pred[n] - y_pred[f"teacher_{n}"]) ** 2) for n in ("clip", "frames"))
    weight = 3.0 * np.exp(-5 * (1 - 5 / 20) ** 2)
    assert total == pytest.approx(0.5 * weak + strong + weight * distance, rel=1e-5)
    noted = {metric.name: float(metric.result()) for metric in model.metrics}
    assert noted["clip_loss"] == pytest.approx(weak, rel=1e-5)
    assert noted["consistency_weight"] == pytest.approx(weight, rel=1e-5)


def test_consistency_may_leave_parts_and_classes_out():
    parts = ["weak", "unlabelled"]
    model = teacher_model({**QUIET, "consistency_parts": parts, "ramp_epochs": 0})
    x, y = batch(0)
    rng, known = np.random.default_rng(1), np.ones((8, 3), bool)
    known[4:, 2] = False
    shapes = {"clip": (8, 3), "frames": (8, 6, 3)}
    y_pred = {name: rng.random(shape).astype(np.float32) for name, shape in shapes.items()}
    y_pred |= {f"teacher_{name}": np.zeros(shape, np.float32) for name, shape in shapes.items()}
    model.compute_loss({"features": x, "valid_classes": known}, y, y_pred)
    noted = {metric.name: float(metric.result()) for metric in model.metrics}
    assert noted["clip_consistency"] == pytest.approx(
        np.mean(y_pred["clip"][2:][known[2:]] ** 2), rel=1e-5
    )
    frames = np.moveaxis(y_pred["frames"], 1, 2)[2:][known[2:]]
    assert noted["frames_consistency"] == pytest.approx(np.mean(frames**2), rel=1e-5)


def test_labels_are_mixed_as_the_clips_are():
    changes = {"mixup": {"groups": [["strong"], ["weak"]], "probability": 1.0}}
    model = teacher_model(QUIET, changes)
    x, y = batch(0)
    x[:] = 0.0
    x[..., 0] = np.concatenate([y["clip"], y["frames"][:, 0], np.zeros((8, 2))], axis=1)[:, None]
    y["clip"][:2] = y["frames"][:2].max(axis=1)
    outputs = model(x, training=True)
    labels = model.labels(y, outputs)
    draws = {name: np.asarray(value) for name, value in outputs["draws"]["0"].items()}
    weight, partner = draws["weight"][:, None], draws["permutation"]
    for rows, name in ((slice(0, 2), "frames"), (slice(2, 4), "clip")):
        given = y[name].reshape(8, -1)
        expected = weight * given + (1 - weight) * given[partner]
        np.testing.assert_allclose(
            np.asarray(labels[name]).reshape(8, -1)[rows], expected[rows], atol=1e-6
        )
    assert (np.asarray(labels["frames"])[2:] == -1).all()
    assert (np.asarray(labels["clip"])[4:] == -1).all()


def test_student_and_teacher_get_inputs_of_their_own():
    model = teacher_model({"noise": {"kind": "absolute"}}, {"filter_augment": {"max_bands": 2}})
    x = batch(0)[0]
    student, teacher = (each["features"] for each in model._versions({"features": x}))
    ratios = np.asarray(student) / x
    assert np.ptp(ratios, axis=1).max() < 1e-4 and np.ptp(ratios, axis=2).max() > 0.01
    assert np.abs(np.asarray(teacher) - np.asarray(student)).max() > 0.01


def test_all_changes_train_together():
    model = teacher_model({}, ALL_CHANGES, dropout=0.3)
    model.compile("sgd", LOSSES)  # again
    history = model.fit(*batch(0), batch_size=8, epochs=2, verbose=0, shuffle=False).history
    assert len(model.metrics) == len(history)
    assert all(np.isfinite(values).all() for values in history.values())
    assert set(history) == {
        "loss",
        "clip_loss",
        "frames_loss",
        "clip_consistency",
        "frames_consistency",
        "consistency_weight",
    }


def test_batches_of_another_size_are_refused():
    model = teacher_model(QUIET, {"mixup": {"groups": [["weak"]]}})
    with pytest.raises(ConfigError, match=r"Expected: 8 clips\. Received: 3"):
        model(batch(0)[0][:3], training=True)


def test_a_saved_model_predicts_the_same(tmp_path):
    model = teacher_model({"statistics": "averaged"}, ALL_CHANGES, dropout=0.3)
    rng = np.random.default_rng(0)
    model.set_weights([rng.random(each.shape) for each in model.get_weights()])
    model.iterations.assign(2)
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    assert isinstance(again, MeanTeacher) and int(again.iterations) == 2
    assert again.config == model.config and len(again.augmentations) == len(ALL_CHANGES) + 1
    x = batch(7)[0]
    first, second = model.predict_on_batch(x), again.predict_on_batch(x)
    assert set(first) == {"clip", "frames", "teacher_clip", "teacher_frames"}
    for name, values in first.items():
        np.testing.assert_array_equal(second[name], values)


@pytest.mark.parametrize("use", ["student", "teacher"])
def test_the_chosen_network_predicts_alone(use):
    model = teacher_model({**QUIET, "use": use}, dropout=0.3)
    model.teacher.set_weights([1.5 * each for each in model.student.get_weights()])
    x = batch(7)[0]
    expected, alone = outputs_of(model.predict_on_batch(x), use), chosen_network(model)
    assert set(expected) == {"clip", "frames"} and not isinstance(alone, MeanTeacher)
    for name, values in alone.predict_on_batch(x).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-6)


def test_embeddings_are_a_second_input():
    model = MeanTeacher(network(embeddings=5), network(embeddings=5), QUIET, parts=PARTS)
    model.compile("sgd", LOSSES, run_eagerly=True)
    x, y = batch(0)
    inputs = {"features": x, "embeddings": np.ones((8, 6, 5), np.float32)}
    assert np.isfinite(model.train_on_batch(inputs, y)[0])
    alone = chosen_network(model, "teacher").predict_on_batch(inputs)
    np.testing.assert_allclose(alone["clip"], model.predict_on_batch(inputs)["teacher_clip"])


def test_a_network_with_statistics_keeps_its_form():
    def build():
        return with_statistics(network(), np.zeros((8, 1)), np.full((8, 1), 2.0))

    model = MeanTeacher(build(), build(), QUIET)
    assert chosen_network(model).get_layer("standardize").get_weights()[1][0] == 2.0


@pytest.mark.parametrize("use", ["student", "teacher"])
def test_with_a_frontend_the_chosen_network_takes_audio(use):
    sizes = {"window_samples": 64, "hop_samples": 32, "n_fft": 64, "n_mels": 8}
    frontend = AudioFeatures(
        Frontend(kind="logmel_db", channels=1, sample_rate_hz=8000, **sizes), name=FRONTEND
    )

    def build():
        return with_statistics(network(), np.zeros((8, 1)), np.full((8, 1), 2.0))

    model = MeanTeacher(build(), build(), {**QUIET, "use": use}, frontend=frontend)
    model.teacher.set_weights([1.5 * each for each in model.student.get_weights()])
    audio = np.random.default_rng(0).integers(-9999, 9999, (8, 25 * 32, 1)).astype(np.int16)
    alone = chosen_network(model)
    names = [layer.name for layer in alone.layers]
    assert names[:3] == ["audio", "frontend", "standardize"] and len(names) == 4
    expected = outputs_of(model.predict_on_batch(audio), use)
    for name, values in alone.predict_on_batch(audio).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-5)


def test_without_a_teacher_batches_are_changed_as_well():
    changes = teacher_model(QUIET, {"filter_augment": {"max_bands": 2}}).augmentations
    model = AugmentedModel(network(), augmentations=changes)
    model.compile("sgd", LOSSES)
    history = model.fit(*batch(0), batch_size=8, epochs=1, verbose=0, shuffle=False).history
    assert set(history) == {"loss", "clip_loss", "frames_loss"}
    assert chosen_network(model) is model.student
    with pytest.raises(ConfigError, match="needs a model trained with a teacher"):
        chosen_network(model, "teacher")
    changes = BatchAugmentation.model_validate({"noise": {"share": "teacher"}})
    with pytest.raises(ConfigError, match="needs a mean teacher"):
        build_augmented(
            network,
            config=None,
            augmentation=changes,
            parts={},
            stride=STRIDE,
            iterations_per_epoch=1,
        )


def test_metrics_see_the_changed_labels():
    keras.utils.set_random_seed(0)
    model, seen = teacher_model(QUIET, {"frame_shift": {"std_frames": 100.0}}), []

    class Labels(keras.metrics.Metric):
        def update_state(self, y_true, y_pred, sample_weight=None):
            seen.append(np.array(y_true))

        def result(self):
            return 0.0

    model.compile("sgd", LOSSES, metrics={"frames": [Labels(name="seen")]}, run_eagerly=True)
    x, y = batch(0)
    assert "frames_seen" in model.fit(x, y, batch_size=8, verbose=0, shuffle=False).history
    assert not np.array_equal(seen[-1], y["frames"])
    np.testing.assert_array_equal(np.sort(seen[-1], axis=1), np.sort(y["frames"], axis=1))


def test_the_share_that_is_kept_grows_to_the_decay():
    steps = np.array([1.0, 2.0, 998.0, 5000.0], np.float32)
    np.testing.assert_allclose(
        np.asarray(kept_share(steps, 0.999)), [0.5, 2 / 3, 1 - 1 / 999, 0.999], rtol=1e-6
    )


def test_masked_classes_dilute_the_loss_only_where_published():
    labels = np.array([[1.0, -1.0], [-1.0, -1.0]], np.float32)
    outputs = np.full((2, 2), 0.5, np.float32)
    losses = [MaskedBinaryCrossentropy(-100.0, means) for means in ("valid", "all")]
    valid, published = (float(loss(labels, outputs)) for loss in losses)
    assert valid == pytest.approx(np.log(2)) and published == pytest.approx(np.log(2) / 2)


def test_settings_of_a_saved_model_are_checked():
    assert MeanTeacherConfig().noise.kind == "relative"
    with pytest.raises(ValueError, match="decay"):
        MeanTeacherConfig(decay=1.5)
