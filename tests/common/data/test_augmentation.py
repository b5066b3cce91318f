"""Shifts of bands and cutouts: their places, their fill, their seeds; vectors that turn."""

import numpy as np
import pytest

from common.data.augmentation import (
    FeatureChanges,
    change_features,
    interleave,
    shift_bands,
    transform_features,
    transform_vectors,
)
from common.errors import ConfigError
from common.features.channel_transforms import ChannelTransforms
from common.features.settings import as_frontend
from common.features.spectral import interleave_channels
from common.runtime.multi_host import World
from common.settings.augmentation import FeatureAugmentation
from sed_task4.features import KINDS, FeatureConfig
from seld.augmentation import gcc_tables, microphone_transforms, phase_difference_tables

KEY = np.array([3, 5], np.int64)
CUT = {"cutout_probability": 1.0}


def features(batch=6, frames=40, bands=32, channels=7, dtype=np.float32):
    rng = np.random.default_rng(0)
    return rng.normal(-30, 10, (batch, frames, bands, channels)).astype(dtype)


def changed(x, has_lags=False, key=KEY, n_joint=None, world=None, **settings):
    changes = FeatureChanges(FeatureAugmentation(**settings), n_levels=4, has_lags=has_lags)
    options = {} if world is None else {"world": world}
    new, cut = change_features(np_to_tensor(x), changes, key, n_joint or len(x), **options)
    return np.asarray(new), np.asarray(cut)


def test_by_default_nothing_changes():
    assert not FeatureAugmentation().is_used
    new, cut = changed(features())
    np.testing.assert_array_equal(new, features())
    assert not cut.any()


def test_shifted_bands_are_reflected_as_by_numpy():
    x, shifts = features(7, 3, 10), np.array([0, 1, -1, 4, -9, 9, 2])
    expected = []
    for each, by in zip(x, shifts, strict=True):
        padded = np.pad(each, ((0, 0), (max(by, 0), max(-by, 0)), (0, 0)), mode="reflect")
        expected.append(padded[:, :10] if by > 0 else padded[:, -by:])
    np.testing.assert_array_equal(shift_bands(x, shifts.astype(np.int32)), np.stack(expected))


@pytest.mark.parametrize("has_lags", [False, True])
def test_lags_are_not_shifted(has_lags):
    x = features()
    new, _ = changed(x, has_lags, max_shift_bands=5, shift_probability=1.0)
    assert (new[..., :4] != x[..., :4]).any() and new.dtype == x.dtype
    np.testing.assert_equal((new[..., 4:] == x[..., 4:]).all(), has_lags)


@pytest.mark.parametrize("shape", ["rectangle", "stripes", "holes"])
@pytest.mark.parametrize("fill", ["random", "lowest"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_an_area_is_filled_with_one_level_and_zeros(shape, fill, dtype):
    x = features(dtype=dtype)
    new, cut = changed(x, cutout_shapes=(shape,), fill=fill, **CUT)
    assert new.dtype == dtype and 0 < cut.mean() < 0.5
    np.testing.assert_array_equal(new[~cut], x[~cut])
    assert not new[cut][:, 4:].any()
    for each, area, before in zip(new, cut, x, strict=True):
        (level,) = np.unique(each[area][:, :4]) if area.any() else (before[..., :4].min(),)
        assert before[..., :4].min() <= level <= before[..., :4].max()
        assert fill == "random" or level == before[..., :4].min()


def test_stripes_are_whole_frames_and_whole_bands_of_limited_width():
    _, cut = changed(features(64), cutout_shapes=("stripes",), n_time_stripes=2, **CUT)
    in_time, in_bands = cut.all(axis=2), cut.all(axis=1)  # (B, T), (B, F)
    np.testing.assert_array_equal(cut, in_time[..., None] | in_bands[:, None])
    assert in_time.sum(axis=1).max() <= 12 and in_bands.sum(axis=1).max() <= 6  # 2 x 15 %, 20 %
    assert len(np.unique(in_time.argmax(axis=1))) > 5


def test_rectangles_stay_within_the_largest_area():
    _, cut = changed(features(200), cutout_shapes=("rectangle",), max_area=0.1, **CUT)
    assert cut.mean(axis=(1, 2)).max() < 0.12 and len(np.unique(cut.sum(axis=(1, 2)))) > 50


def test_about_the_given_share_of_the_sequences_is_cut():
    _, cut = changed(features(400, 8, 8), cutout_probability=0.25)
    assert 0.15 < cut.any(axis=(1, 2)).mean() < 0.35


def test_draws_depend_on_the_key_alone():
    settings = {"max_shift_bands": 5, **CUT}
    first, again = changed(features(), **settings), changed(features(), **settings)
    np.testing.assert_array_equal(first[0], again[0])
    other = changed(features(), key=np.array([3, 6], np.int64), **settings)
    assert (first[0] != other[0]).any()


def test_processes_draw_their_rows_of_the_joint_batch():
    settings, x = {"max_shift_bands": 5, **CUT}, features()
    joint, _ = changed(x, **settings)
    parts = [
        changed(x[3 * rank : 3 * rank + 3], n_joint=6, world=World(rank, 2), **settings)[0]
        for rank in (0, 1)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), joint)


def test_audio_has_no_bands():
    with pytest.raises(ValueError, match=r"Expected: `features.frontend: extraction`"):
        changed(np.zeros((2, 100, 4), np.int16), **CUT)


@pytest.mark.parametrize("tables", [gcc_tables, phase_difference_tables])
def test_batches_are_transformed_as_arrays_are(tables):
    transforms = microphone_transforms(tables)
    x = features(8, 5, 6, transforms.channel_permutation.shape[1])
    rows = np.arange(8, dtype=np.int32)
    expected = [transforms.apply_to_features(each, row) for each, row in zip(x, rows, strict=True)]
    received = transform_features(np_to_tensor(x), transforms, rows)
    np.testing.assert_array_equal(received, np.stack(expected))


def test_vectors_of_a_batch_turn_with_their_rows():
    transforms = microphone_transforms(gcc_tables)
    vectors = np.random.default_rng(0).normal(size=(8, 4, 2, 3)).astype(np.float32)
    rows = np.arange(8, dtype=np.int32)
    expected = [transforms.apply_to_vectors(v, row) for v, row in zip(vectors, rows, strict=True)]
    received = transform_vectors(np_to_tensor(vectors), transforms, rows)
    np.testing.assert_array_equal(received, np.stack(expected))
    plain = ChannelTransforms(np.array([[0]]), np.ones((1, 1)), np.zeros((1, 1)), np.zeros(1, bool))
    with pytest.raises(ValueError, match="have no `axes`"):
        transform_vectors(np_to_tensor(vectors), plain, rows)


@pytest.mark.parametrize(("channels", "n_first"), [(7, 4), (10, 4), (8, True)])
def test_interleaving_in_batches_is_that_of_arrays(channels, n_first):
    x = features(2, 3, 4, channels)
    expected = interleave_channels(x, None if n_first is True else n_first)
    np.testing.assert_array_equal(interleave(np_to_tensor(x), n_first), expected)


def np_to_tensor(array):
    from common.data.tfrecord import tf

    return tf.constant(array)


def test_gains_and_curves_are_added_to_all_levels_alike_and_to_nothing_else():
    x = features(64, 5, 32)
    new, _ = changed(x, max_gain_db=6.0, max_equaliser_db=8.0)
    added = new - x
    np.testing.assert_array_equal(added[..., 4:], 0)
    curve_db = added[:, 0, :, 0]  # (B, F)
    same = np.broadcast_to(curve_db[:, None, :, None], (64, 5, 32, 4))
    np.testing.assert_allclose(added[..., :4], same, atol=1e-4)
    assert np.abs(curve_db).max() <= 14 and np.abs(curve_db).max(axis=1).mean() > 5
    # Lines between six knots: no second difference but at knots.
    bends = np.abs(np.diff(curve_db, 2, axis=1)) > 1e-4
    assert set(np.flatnonzero(bends.any(axis=0)) + 1) <= {6, 7, 12, 13, 18, 19, 24, 25}


def test_a_gain_alone_changes_all_bands_of_a_sequence_by_one_number():
    x = features(200, 3, 8)
    new, _ = changed(x, max_gain_db=6.0)
    gains_db = (new - x)[:, 0, 0, 0]
    for number, gain_db in enumerate(gains_db):
        np.testing.assert_allclose((new - x)[number, ..., :4], gain_db, atol=1e-4)
    # Uniform from -6 to 6 dB: mean 0, variance 12.
    assert abs(gains_db.mean()) < 1 and gains_db.var() == pytest.approx(12, rel=0.25)


def test_gains_follow_the_scale_of_the_levels():
    kind = KINDS["log_magnitude_mel"]
    settings = FeatureAugmentation(max_gain_db=6.0)
    changes = FeatureChanges.of_kind(settings, kind, n_levels=1)
    audio = np.random.default_rng(0).normal(0, 0.1, (22050, 1)).astype(np.float32)
    frontend = as_frontend(FeatureConfig(kind=kind.name), 44100)
    quiet, loud = (
        kind.compute(gain * audio, frontend, 20, "float32") for gain in (1.0, 10 ** (1 / 20))
    )
    assert np.median(loud - quiet) == pytest.approx(changes.level_per_db, rel=1e-3)


def test_gains_of_features_without_logarithmic_levels_are_refused():
    kind, settings = KINDS["mel_desed"], FeatureAugmentation(max_equaliser_db=6.0)
    with pytest.raises(ConfigError, match=r"logarithmic levels.*Received: mel_desed"):
        FeatureChanges.of_kind(settings, kind, n_levels=1)
    assert not FeatureChanges.of_kind(FeatureAugmentation(), kind, n_levels=1).settings.is_used
