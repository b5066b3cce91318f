from pathlib import Path

import numpy as np
import pytest

from common.errors import ConfigError
from common.settings.tasks import load_task
from seld.augmentation import (
    AZIMUTH_OFFSETS_DEG,
    audio_transform,
    foa_transforms,
    logmel_intensity_tables,
    magnitude_phase_tables,
)
from seld.features import FeatureConfig, extract_features

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
RATE_HZ = 8000
DIRECTIONS_DEG = np.array(
    [[30.0, 20.0], [-110.0, -40.0]]
)  # azimuth and elevation of two sources at once


def encode(directions_deg: np.ndarray) -> np.ndarray:
    """Plane waves of fixed noises in FOA, (S, 4) in the order W, Y, Z, X."""
    noises = np.random.default_rng(0).normal(0, 0.1, (len(directions_deg), RATE_HZ // 2))
    azimuth, elevation = np.deg2rad(directions_deg).T
    x, y = np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation)
    gains = np.stack([np.ones_like(x), y, np.sin(elevation), x])  # (4, sources)
    return (gains @ noises).T.astype(np.float32)


def features_of(audio: np.ndarray, kind: str) -> np.ndarray:
    config = FeatureConfig(kind=kind, n_fft=512, n_mels=20, fmin_hz=50, dtype="float32")
    return extract_features(audio, config, RATE_HZ)


def moved_directions(row: int) -> np.ndarray:
    """The directions of both sources after one of the transforms, by the tables for labels."""
    transforms = foa_transforms(magnitude_phase_tables)
    columns = zip(("azimuth_deg", "elevation_deg"), DIRECTIONS_DEG.T, strict=True)
    active = np.ones(len(DIRECTIONS_DEG), bool)
    return np.stack(
        [transforms.apply_to_angles(name, angles, active, row) for name, angles in columns], axis=1
    )


def test_there_are_16_different_moves_and_the_first_is_none():
    moved = np.stack([moved_directions(row) for row in range(16)])
    assert len(np.unique(moved.round(6), axis=0)) == 16
    np.testing.assert_array_equal(moved[0], DIRECTIONS_DEG)


def test_labels_move_by_reflections_and_quarter_turns():
    azimuths = [
        (sign * 30.0 + offset + 180) % 360 - 180
        for sign in (1, -1)
        for offset in AZIMUTH_OFFSETS_DEG
    ]
    wanted = {(azimuth, elevation) for azimuth in azimuths for elevation in (20.0, -20.0)}
    assert {tuple(moved_directions(row)[0]) for row in range(16)} == wanted


@pytest.mark.parametrize("row", range(16))
def test_transformed_magnitudes_and_phases_are_those_of_moved_sources(row):
    original, expected = (
        features_of(encode(d), "magnitude_phase") for d in (DIRECTIONS_DEG, moved_directions(row))
    )
    received = foa_transforms(magnitude_phase_tables).apply_to_features(original, row)
    magnitude, phase = received[..., :4], received[..., 4:]
    np.testing.assert_allclose(magnitude, expected[..., :4], atol=1e-4)
    assert np.abs(phase).max() <= np.float32(np.pi)
    spectrum = magnitude * np.exp(1j * phase)  # compares phases where they mean something
    np.testing.assert_allclose(
        spectrum, expected[..., :4] * np.exp(1j * expected[..., 4:]), atol=1e-4
    )


@pytest.mark.parametrize("row", range(16))
def test_transformed_logmel_and_intensity_are_those_of_moved_sources(row):
    original, expected = (
        features_of(encode(d), "logmel_intensity") for d in (DIRECTIONS_DEG, moved_directions(row))
    )
    received = foa_transforms(logmel_intensity_tables).apply_to_features(original, row)
    np.testing.assert_allclose(received[..., :4], expected[..., :4], atol=0.01)  # dB
    np.testing.assert_allclose(received[..., 4:], expected[..., 4:], atol=1e-4)


def test_a_quarter_turn_moves_the_front_to_the_left():
    taken, sign = audio_transform(1.0, 90.0, 1.0)
    front = np.array([1.0, 0.0, 0.0, 1.0])  # W, Y, Z, X of a source at azimuth 0
    np.testing.assert_array_equal(front[taken] * sign, [1.0, 1.0, 0.0, 0.0])


@pytest.mark.parametrize("kind", ["logmel", "logmel_gcc"])
def test_features_that_hide_the_signs_of_channels_cannot_be_turned(kind):
    overrides = [f"features.kind={kind}", "training.augmentation=foa_rotation"]
    with pytest.raises(
        ConfigError, match=f"needs `features.kind` magnitude_phase or logmel_intensity.*{kind}"
    ):
        load_task(PARAMS, "1", overrides)
