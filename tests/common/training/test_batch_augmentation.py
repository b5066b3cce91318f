"""Draws of augmentation: ranges, parts of the batch, and generators that go on where they were."""

import keras
import numpy as np
import pytest
from scipy import stats

from common.errors import ConfigError
from common.settings.batch_augmentation import BatchAugmentation
from common.settings.mean_teacher import TeacherNoise
from common.training.batch_augmentation import (
    BandMask,
    Batch,
    FilterAugment,
    FrameShift,
    Mixup,
    Noise,
    SpecAugment,
    TimeMask,
    beta_quantiles,
    build_changes,
)

PARTS = {"strong": 3, "weak": 2, "unlabelled": 4}
X = np.random.default_rng(0).random((9, 40, 16, 1)).astype(np.float32)


def drawn(layer, features=X):
    return {name: np.asarray(values) for name, values in layer.draw(features).items()}


def test_rows_of_parts_follow_their_order():
    batch = Batch(PARTS)
    assert batch.rows(["weak"]).tolist() == [3, 4] and batch.size == 9
    assert batch.rows(["unlabelled", "strong"]).tolist() == [0, 1, 2, 5, 6, 7, 8]
    assert batch.mask(()) is None and batch.mask(["weak"]).nonzero()[0].tolist() == [3, 4]


def test_devices_have_rows_of_each_part():
    batch = Batch({"strong": 2, "weak": 4}, n_devices=2)
    assert batch.rows(["strong"]).tolist() == [0, 3]
    with pytest.raises(ConfigError, match=r"divisible by 4\. Received: strong with 2"):
        Batch({"strong": 2, "weak": 4}, n_devices=4)


def test_unknown_parts_are_refused():
    with pytest.raises(ConfigError, match=r"Expected: strong, weak, unlabelled\. Received: synth"):
        Mixup({"groups": [["synth"]]}, PARTS)
    with pytest.raises(ConfigError, match="at most once"):
        Mixup({"groups": [["weak"], ["weak", "strong"]]}, PARTS)


def test_mixtures_stay_within_their_group():
    groups = [["unlabelled", "strong"], ["weak"]]
    layer = Mixup({"groups": groups, "probability": 1.0}, PARTS, seed=1)
    for _ in range(20):
        draws = drawn(layer)
        partners, weights = draws["permutation"], draws["weight"]
        for group in ([3, 4], [0, 1, 2, 5, 6, 7, 8]):
            assert sorted(partners[group]) == group  # a permutation of the group
            assert len(set(weights[group].tolist())) == 1  # one weight for it
        assert weights[3] != weights[0]


def test_parts_outside_the_groups_stay():
    layer = Mixup({"groups": [["weak"]], "probability": 1.0}, PARTS, seed=1)
    draws = drawn(layer)
    assert (draws["weight"] == 1.0).tolist() == [True] * 3 + [False] * 2 + [True] * 4
    mixed = np.asarray(layer.change_features(X, draws))
    np.testing.assert_array_equal(np.delete(mixed, [3, 4], axis=0), np.delete(X, [3, 4], axis=0))


def test_half_of_the_batches_are_mixed():
    layer = Mixup(seed=1)
    mixed = [drawn(layer, X[:2])["weight"][0] < 1.0 for _ in range(40)]
    assert 8 < sum(mixed) < 32


def test_weights_of_mixup_have_their_distribution():
    parts = {f"part {number}": 1 for number in range(150)}  # a weight for each
    settings = {"probability": 1.0, "alpha": 0.5, "min_weight": 0.3}
    layer = Mixup({**settings, "groups": [[name] for name in parts]}, parts, seed=1)
    scaled = (drawn(layer, np.zeros((150, 1, 1, 1)))["weight"] - 0.3) / 0.4
    assert stats.kstest(scaled, stats.beta(0.5, 0.5).cdf).pvalue > 0.01
    assert beta_quantiles(0.2)[[0, 2048, 4096]] == pytest.approx([0.0, 0.5, 1.0])


@pytest.mark.parametrize(("kind", "own"), [("together", 0), ("none", 0), ("separate", 1)])
def test_embeddings_are_mixed_as_set(kind, own):
    layer = Mixup({"probability": 1.0, "embeddings": kind}, seed=2)
    draws, embeddings = drawn(layer), X[:, :, 0]
    mixed = np.asarray(layer.change_embeddings(embeddings, draws, 40))
    assert len(draws) == 2 * (1 + own)
    expected = np.asarray(layer.change_features(X, draws))[:, :, 0]
    assert np.array_equal(mixed, expected) == (kind == "together")
    assert np.array_equal(mixed, embeddings) == (kind == "none")


def test_time_masks_silence_features_and_labels_of_their_parts():
    layer = TimeMask({"parts": ["strong"], "min_share": 0.2, "max_share": 0.5}, PARTS, 4, seed=3)
    draws = drawn(layer)
    masked = np.asarray(layer.change_features(X, draws))
    silent = (masked == 0.0).all(axis=(2, 3))  # (B, T)
    assert silent[:3].any(axis=1).all() and not silent[3:].any()
    assert ((silent[:3].sum(axis=1) >= 2 * 4) & (silent[:3].sum(axis=1) < 5 * 4)).all()
    labels = {"frames": np.ones((9, 10, 2), np.float32), "clip": np.ones((9, 2), np.float32)}
    changed = layer.change_labels(labels, draws)
    np.testing.assert_array_equal(np.asarray(changed["frames"])[..., 0] == 0.0, silent[:, ::4])
    assert changed["clip"] is labels["clip"]


def test_published_time_masks_are_one_for_the_batch():
    draws = drawn(TimeMask({"each_clip": False}, stride=1, seed=3))
    assert len(set(draws["low"].tolist())) == len(set(draws["width"].tolist())) == 1
    assert len(set(drawn(TimeMask(stride=1, seed=3))["low"].tolist())) > 1


def test_shifted_labels_and_embeddings_stay_with_their_sound():
    layer = FrameShift({"std_frames": 9.0}, stride=4, seed=4)
    draws = drawn(layer)
    assert len(set(draws["shift"].tolist())) > 3
    x = np.zeros((9, 40, 1, 1), np.float32)
    x[:, 8:20] = 1.0
    labels = np.asarray(layer.change_labels({"frames": x[:, ::4, 0]}, draws)["frames"])
    moved = np.asarray(layer.change_features(x, draws))
    assert np.abs(labels[..., 0] - moved[:, :, 0, 0].reshape(9, 10, 4).mean(axis=2)).max() <= 0.5
    np.testing.assert_array_equal(
        np.asarray(layer.change_embeddings(x[:, ::4, 0], draws, 40)), labels
    )


def test_bands_of_filters_have_their_smallest_width():
    layer = FilterAugment({"min_bands": 2, "max_bands": 4, "min_width": 3}, seed=5)
    numbers = set()
    for _ in range(25):
        draws = drawn(layer)
        widths = np.diff(draws["edges"])
        used = widths[widths > 0]
        assert used.sum() == 16 and used.min() >= 3 and draws["edges"][0] == 0
        numbers.add(len(used))
        assert draws["gains_db"].min() >= -4.5 and draws["gains_db"].max() <= 6.0
    assert numbers == {2, 3, 4}
    with pytest.raises(ConfigError, match=r"do not fit\. Expected: 16 mel bands at most"):
        FilterAugment({"max_bands": 5, "min_width": 4}).draw(X)


def test_a_mask_of_bands_fits_and_is_not_in_place():
    layer, before = BandMask({"max_share": 0.25}, seed=6), X.copy()
    widths = set()
    for _ in range(20):
        draws = drawn(layer)
        assert (draws["low"] + draws["width"] <= 16).all()
        widths |= set(draws["width"].tolist())
        layer.change_features(X, draws)
    assert widths == set(range(5))
    np.testing.assert_array_equal(X, before)


def test_spec_augment_is_a_layer_that_rests_outside_training():
    layer = SpecAugment({"band_length": 8, "frame_length": 20, "frame_share": 1.0}, seed=7)
    assert layer(X, training=False) is not None
    np.testing.assert_array_equal(np.asarray(layer(X, training=False)), X)
    masked = np.asarray(layer(X, training=True)) == 0.0
    assert masked.any() and len({mask.tobytes() for mask in masked}) > 3  # a mask for each clip
    sequences = np.asarray(layer(X[..., 0], training=True))  # drop-step: no bands
    assert {tuple(row) for row in (sequences == 0.0).reshape(-1, 16).tolist()} <= {
        (True,) * 16,
        (False,) * 16,
    }


def test_a_restored_generator_draws_the_same():
    layer = Noise({"min_snr_db": 0.0}, seed=8)
    state = np.asarray(layer.generator.state)
    first, second = drawn(layer), drawn(layer)
    assert not np.array_equal(first["noise"], second["noise"])
    layer.variables[0].assign(state)
    np.testing.assert_array_equal(drawn(layer)["noise"], first["noise"])


def test_settings_turn_changes_on_in_their_order():
    settings = BatchAugmentation.model_validate(
        {"noise": {}, "mixup": {"groups": [["weak"]]}, "frame_shift": {}}
    )
    changes = build_changes(settings, PARTS, 4, TeacherNoise(kind="absolute"))
    names = [type(change).__name__ for change in changes]
    assert names == ["FrameShift", "Mixup", "Noise", "TeacherInputNoise"]
    assert [change.share for change in changes] == [None, None, "apart", "teacher"]
    assert build_changes(BatchAugmentation(), {}, 1, TeacherNoise(kind="none")) == []


def test_layers_survive_saving():
    layer = Mixup({"groups": [["weak"]], "labels": "hard"}, PARTS, 4)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.settings == layer.settings and again.batch.parts == PARTS and again.stride == 4


def test_devices_of_tensorflow_that_share_batches_are_refused(monkeypatch):
    monkeypatch.setattr("common.runtime.distribution.n_replicas", lambda: 2)
    with pytest.raises(ConfigError, match=r"or `run\.backend: jax`\. Received: mirrored"):
        FrameShift()
