"""The range of levels against librosa, and in blocks."""

import librosa
import numpy as np
import pytest
from pydantic import ValidationError

from common.features.levels import LevelConfig, RunningPeak, limit_range, magnitude_db


def levels(frames=40, dtype=np.float32):
    """Levels (T, F, 2) over 160 dB, and one channel of other features."""
    rng = np.random.default_rng(0)
    return rng.uniform(-120, 40, (frames, 6, 3)).astype(dtype)


@pytest.mark.parametrize("together", [False, True])
def test_the_range_is_that_of_librosa(together):
    features = levels()
    power = 10 ** (features[..., :2].astype(np.float64) / 10)
    options = {"amin": 1e-20, "top_db": 80.0}
    if together:
        expected = librosa.power_to_db(power, **options)
    else:
        of_channels = [librosa.power_to_db(power[..., c], **options) for c in range(2)]
        expected = np.stack(of_channels, axis=-1)
    received = limit_range(features.copy(), 2, 80.0, together)
    np.testing.assert_allclose(received[..., :2], expected, atol=1e-3)
    np.testing.assert_array_equal(received[..., 2], features[..., 2])


def test_without_a_range_nothing_changes():
    features = levels()
    assert limit_range(features, 2, None) is features
    np.testing.assert_array_equal(features, levels())


def test_blocks_after_the_peak_are_as_of_the_whole():
    features = levels()
    features[0, 3, :2] = 60.0
    whole, peak = limit_range(features.copy(), 2, 80.0), RunningPeak(80.0)
    blocks = np.concatenate([peak.limit(part, 2) for part in np.split(features.copy(), 10)])
    np.testing.assert_array_equal(blocks, whole)  # the peak is in the first frame


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("n_blocks", [1, 10, 40])
def test_each_frame_has_the_peak_up_to_it_in_any_blocks(together, n_blocks):
    expected, peaks = levels(), [-np.inf, -np.inf]
    for frame in expected:  # (F, 3)
        peaks = [max(peaks[c], frame[:, c].max()) for c in range(2)]
        for c in range(2):
            floor = (max(peaks) if together else peaks[c]) - np.float32(80)
            frame[:, c] = [max(level, floor) for level in frame[:, c]]
    peak = RunningPeak(80.0, together)
    blocks = [peak.limit(part, 2) for part in np.split(levels(), n_blocks)]
    np.testing.assert_array_equal(np.concatenate(blocks), expected)


def test_a_floor_rises_with_the_peak_so_far():
    peak, quiet = RunningPeak(20.0), np.full((1, 1, 1), -90.0)
    assert peak.limit(np.array([[[-60.0], [-90.0]]]), 1)[0, 1, 0] == -80.0
    assert peak.limit(np.array([[[0.0]]]), 1).item() == 0.0
    assert peak.limit(quiet, 1).item() == -20.0
    assert peak.limit(quiet[:0], 1).size == 0


def magnitudes(frames=50):
    """Magnitudes (T, F, 1) over 160 dB, with digital silence."""
    rng = np.random.default_rng(1)
    spread = 10 ** rng.uniform(-6, 2, (frames, 8, 1)).astype(np.float32)
    return np.where(rng.random(spread.shape) < 0.1, 0, spread).astype(np.float32)


@pytest.mark.parametrize("top_db", [80.0, 30.0, None])
def test_levels_of_magnitudes_are_those_of_librosa(top_db):
    given = magnitudes()
    before = given.copy()
    expected = librosa.amplitude_to_db(given, ref=1.0, amin=1e-5, top_db=top_db)
    received = magnitude_db(given, LevelConfig(top_db=top_db))
    assert received.dtype == np.float32
    np.testing.assert_allclose(received, expected, atol=1e-4)
    np.testing.assert_array_equal(given, before)


def test_levels_may_be_clamped():
    given = np.array([0, 1e-5, 1, 100, 1e6], np.float32).reshape(5, 1, 1)
    clamped = magnitude_db(given, LevelConfig(lowest_db=-50, highest_db=80))
    np.testing.assert_allclose(clamped.ravel(), [-50, -50, 0, 40, 80], atol=1e-4)
    with pytest.raises(ValidationError, match="`lowest_db` must be below `highest_db`"):
        LevelConfig(lowest_db=10, highest_db=10)
