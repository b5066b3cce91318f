"""Predictions of whole recordings: outputs with and without a time axis, and losses."""

import keras
import numpy as np
import pytest

from common.models.losses import MaskedBinaryCrossentropy
from common.training.callbacks import TIMES, ScoreOnValidation
from common.training.evaluation import predict_recordings

T, F, K = 6, 4, 2


def network():
    """Gives the first bands of pairs of frames, and their mean over the sequence."""
    inputs = keras.Input((None, F, 1))
    x = keras.layers.Reshape((-1, F))(inputs)[..., :K]
    frames = keras.layers.AveragePooling1D(2, name="frames")(x)
    clip = keras.layers.GlobalAveragePooling1D(name="clip")(x)
    return keras.Model(inputs, {"clip": clip, "frames": frames})


def element(name, frames, tags, seed=0, n_sequences=None):
    n_sequences = n_sequences or -(-frames // T)
    rng = np.random.default_rng(seed)
    activity = np.where(np.arange(n_sequences * T // 2) * 2 < frames, 1.0, -1.0).astype("float32")
    return {
        "name": np.array(name.encode()),
        "features": rng.uniform(0.1, 0.9, (n_sequences, T, F, 1)).astype("float32"),
        "targets": {
            "clip": np.tile(np.array(tags, "float32"), (n_sequences, 1)),
            "frames": np.repeat(activity.reshape(n_sequences, -1, 1), K, axis=2),
        },
        "events": np.zeros((0, 3)),
        "labelled": True,
        "frames": frames,
        "sequence_frames": T,
    }


def test_outputs_without_a_time_axis_are_one_value_per_class():
    one = element("a", 5, [1, 0])
    (prediction,) = predict_recordings(network(), [one])
    assert prediction.outputs["clip"].shape == prediction.targets["clip"].shape == (K,)
    np.testing.assert_array_equal(prediction.targets["clip"], [1, 0])
    np.testing.assert_allclose(
        prediction.outputs["clip"], one["features"][0, :, :K, 0].mean(axis=0), rtol=1e-5
    )
    assert (
        prediction.outputs["frames"].shape == prediction.targets["frames"].shape == (3, K)
    )  # 5 frames of 6


def test_a_class_of_any_sequence_is_in_the_recording():
    one = element("a", 15, [1, 1])
    (prediction,) = predict_recordings(network(), [one])
    expected = one["features"][..., :K, 0].mean(axis=1).max(axis=0)  # of three sequences
    np.testing.assert_allclose(prediction.outputs["clip"], expected, rtol=1e-5)
    assert prediction.outputs["frames"].shape == (8, K)


def test_outputs_without_a_target_are_predicted_too():
    one = element("a", 6, [1, 0])
    del one["targets"]["frames"]
    (prediction,) = predict_recordings(network(), [one])
    assert list(prediction.targets) == ["clip"] and prediction.outputs["frames"].shape == (3, K)


def pooling_network():
    """Pools time by 4 and repeats each output 4 times; an incomplete pool is dropped."""
    inputs = keras.Input((None, F, 1))
    pooled = keras.layers.AveragePooling1D(4)(keras.layers.Reshape((-1, F))(inputs)[..., :K])
    return keras.Model(inputs, {"frames": keras.layers.UpSampling1D(4)(pooled)})


def pooled_element(frames, length, seed=0):
    """A recording in sequences of so many frames whose target is 1, and -1 in the padding."""
    count = -(-frames // length)
    activity = np.where(np.arange(count * length) < frames, 1.0, -1.0).astype("float32")
    return {
        "name": np.array(b"a"),
        "features": (
            np.random.default_rng(seed).uniform(0.1, 0.9, (count, length, F, 1)).astype("float32")
        ),
        "targets": {"frames": np.repeat(activity.reshape(count, length, 1), K, axis=2)},
        "events": np.zeros((0, 3)),
        "labelled": True,
        "frames": frames,
        "sequence_frames": length,
    }


def pooled_outputs(element, length):
    """Outputs for a recording's frames, averaged by hand over each 4 frames of a sequence."""
    x = element["features"][..., :K, 0][:, : length // 4 * 4].astype(np.float64)
    return np.repeat(
        x.reshape(len(x), -1, 4, K).mean(axis=2), 4, axis=1
    )  # (sequences, length // 4 * 4, K)


@pytest.mark.parametrize(
    ("frames", "length", "given"), [(23, 23, 20), (24, 24, 24), (9, 10, 8), (3, 10, 3)]
)
def test_an_incomplete_last_pool_gives_no_output(frames, length, given):
    one = pooled_element(frames, length)
    (prediction,) = predict_recordings(pooling_network(), [one])
    assert prediction.targets["frames"].shape == (frames, K)
    np.testing.assert_allclose(
        prediction.outputs["frames"], pooled_outputs(one, length)[0, :given], rtol=1e-5
    )


@pytest.mark.parametrize(("frames", "given"), [(30, 28), (27, 27), (19, 18)])
def test_outputs_stay_at_their_frames_by_holding_the_last(frames, given):
    one = pooled_element(frames, 10)
    (prediction,) = predict_recordings(pooling_network(), [one])
    held = np.pad(pooled_outputs(one, 10), ((0, 0), (0, 2), (0, 0)), mode="edge").reshape(-1, K)
    np.testing.assert_allclose(prediction.outputs["frames"], held[:given], rtol=1e-5)


def test_losses_leave_out_frames_without_an_output():
    one = pooled_element(23, 23)

    def absolute_error(y_true, y_pred):
        return keras.ops.mean(keras.ops.abs(y_pred - y_true))

    callback = ScoreOnValidation(
        lambda epoch: {"val": [one]}, NoScore, {"frames": absolute_error}, {"frames": 1.0}
    )
    callback.set_model(pooling_network())
    logs = {}
    callback.on_epoch_end(0, logs)
    assert logs["val_loss"] == pytest.approx(1 - pooled_outputs(one, 23).mean(), rel=1e-5)


class NoScore:
    def update(self, prediction):
        pass

    def result(self):
        return {}


def validation_logs(recordings, training=None):
    loss = MaskedBinaryCrossentropy()
    losses = {"clip": loss, "frames": loss}
    sets = {"val": recordings} | ({} if training is None else {"train": training})
    callback = ScoreOnValidation(lambda epoch: sets, NoScore, losses, {"clip": 1.0, "frames": 0.5})
    callback.set_model(network())
    logs = {}
    callback.on_epoch_begin(0)
    callback.on_epoch_end(0, logs)
    for name in TIMES:
        assert logs.pop(name) >= 0
    return logs


def cross_entropy(target, output):
    return -(target * np.log(output) + (1 - target) * np.log(1 - output))


def test_losses_count_tags_by_recording_and_activity_by_frame():
    recordings = [element("a", 6, [1, 0], 1), element("b", 2, [0, 0], 2)]
    logs = validation_logs(recordings)
    a, b = (each["features"][0, :, :K, 0].astype(np.float64) for each in recordings)
    clip = [
        cross_entropy(np.array(tags), x.mean(axis=0)).mean()
        for tags, x in (([1, 0], a), ([0, 0], b))
    ]
    assert logs["val_clip_loss"] == pytest.approx(np.mean(clip), rel=1e-4)
    frames = [
        cross_entropy(1, x.reshape(3, 2, K).mean(axis=1))[:kept].mean()
        for x, kept in ((a, 3), (b, 1))
    ]
    assert logs["val_frames_loss"] == pytest.approx((6 * frames[0] + 2 * frames[1]) / 8, rel=1e-4)
    assert logs["val_loss"] == pytest.approx(logs["val_clip_loss"] + 0.5 * logs["val_frames_loss"])


def test_recordings_without_labels_do_not_enter_the_losses():
    known, unknown = element("a", 6, [1, 0], 1), element("b", 6, [-1, -1], 2)
    unknown["targets"]["frames"][:] = -1
    both, only_known = validation_logs([known, unknown]), validation_logs([known])
    assert both == pytest.approx(only_known)
    assert np.isnan(validation_logs([unknown])["val_loss"])


def test_training_recordings_get_the_same_scores_as_train():
    a, b = element("a", 6, [1, 0], 1), element("b", 4, [0, 1], 2)
    logs, swapped = validation_logs([a], [b]), validation_logs([b], [a])
    names = {"loss", "clip_loss", "frames_loss"}
    assert set(logs) == {f"{prefix}_{name}" for prefix in ("val", "train") for name in names}
    for name in names:
        assert logs[f"train_{name}"] == pytest.approx(swapped[f"val_{name}"])
    assert logs["train_loss"] != pytest.approx(logs["val_loss"])
