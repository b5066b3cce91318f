"""Exchanged channels of FOA and of the tetrahedron give the features of moved sources."""

import itertools

import numpy as np
import pytest

from common.features.channel_transforms import ChannelTransforms, reversed_bands
from seld.augmentation import (
    MICROPHONE_MOVES,
    TETRAHEDRON_DEG,
    all_axes,
    audio_tables,
    foa_transforms,
    foa_transforms_of_axes,
    gcc_tables,
    magnitude_phase_tables,
    microphone_transforms,
)
from seld.features import KINDS, FeatureConfig, extract_features
from seld.geometry import cartesian_to_spherical, spherical_to_cartesian

RATE_HZ, SAMPLES = 24000, 7200
DIRECTIONS_DEG = np.array([[30.0, 20.0], [-110.0, -40.0]])
FOA_KINDS = ["logmel_intensity_2020", "logmel_intensity_2021", "logmel_intensity_2022"]
FOA_KINDS += ["einv2", "salsa_foa", "melspeciv", "linspeciv", "logmel_intensity"]
MIC_KINDS = ["logmel", "logmel_gcc", "logmel_gcc_2020", "melspecgcc", "linspecgcc"]
PHASE_KINDS = ["salsa_lite", "salsa_ipd", "salsa_mic", "salsa_lite_2022"]


def vectors_of(angles_deg):
    return spherical_to_cartesian(*np.deg2rad(np.asarray(angles_deg, float)).T)


def foa(vectors):
    """Plane waves of fixed noises, (S, 4) in the order W, Y, Z, X."""
    noises = np.random.default_rng(0).normal(0, 0.1, (len(vectors), SAMPLES))
    x, y, z = vectors.T
    return (np.stack([np.ones_like(x), y, z, x]) @ noises).T.astype(np.float32)


def tetrahedron(vectors):
    """The same with open microphones on a sphere of 4.2 cm."""
    noises = np.random.default_rng(0).normal(0, 0.1, (len(vectors), SAMPLES))
    lead_s = 0.042 / 343 * vectors_of(TETRAHEDRON_DEG) @ vectors.T  # (4, sources)
    frequencies = np.fft.rfftfreq(SAMPLES, 1 / RATE_HZ)
    turned = np.exp(2j * np.pi * frequencies * lead_s[..., None])  # (4, sources, F)
    return np.fft.irfft(turned * np.fft.rfft(noises), SAMPLES).sum(axis=1).T.astype(np.float32)


def features_of(audio, kind):
    return extract_features(audio, FeatureConfig(kind=kind, sample_rate_hz=RATE_HZ), RATE_HZ)


@pytest.mark.parametrize("kind", FOA_KINDS)
def test_turned_foa_features_are_those_of_turned_sources(kind):
    vectors = vectors_of(DIRECTIONS_DEG)
    original = features_of(foa(vectors), kind)
    transforms = foa_transforms_of_axes(KINDS[kind].channel_swaps)
    for row in range(0, 48, 11):
        expected = features_of(foa(transforms.apply_to_vectors(vectors, row)), kind)
        received = transforms.apply_to_features(original, row)
        assert np.mean(np.abs(received - expected) < 2e-3) > 0.998


@pytest.mark.parametrize("kind", MIC_KINDS)
@pytest.mark.parametrize("row", range(8))
def test_swapped_microphones_hear_moved_sources(kind, row):
    vectors = vectors_of(DIRECTIONS_DEG)
    transforms = microphone_transforms(KINDS[kind].microphone_swaps)
    expected = features_of(tetrahedron(transforms.apply_to_vectors(vectors, row)), kind)
    received = transforms.apply_to_features(features_of(tetrahedron(vectors), kind), row)
    first = KINDS[kind].has_lags  # the first lag has no opposite one
    assert np.mean(np.abs(received - expected)[:, first:] < 5e-3) > 0.999


@pytest.mark.parametrize("kind", PHASE_KINDS)
def test_phases_of_swapped_microphones_are_those_of_moved_sources(kind):
    vectors = vectors_of(DIRECTIONS_DEG[:1])  # one source: no phase needs to be wrapped
    original = features_of(tetrahedron(vectors), kind)
    transforms = microphone_transforms(KINDS[kind].microphone_swaps)
    for row in range(8):
        expected = features_of(tetrahedron(transforms.apply_to_vectors(vectors, row)), kind)
        received = transforms.apply_to_features(original, row)
        inner = slice(3, -3)  # the first and last frames are mirror images
        same = np.mean(np.abs(received - expected)[inner] < 2e-3)
        assert same > (0.95 if kind == "salsa_mic" else 0.97)  # its noise floor is of microphone 1


def test_microphones_move_onto_each_other():
    positions = vectors_of(TETRAHEDRON_DEG)
    transforms = microphone_transforms(audio_tables)
    for row, (taken, _) in enumerate(MICROPHONE_MOVES):
        moved = transforms.apply_to_vectors(positions[list(taken)], row)
        np.testing.assert_allclose(moved, positions, atol=1e-12)
    assert len({taken for taken, _ in MICROPHONE_MOVES}) == len(transforms) == 8


@pytest.mark.parametrize("make", [foa_transforms, microphone_transforms])
def test_angles_and_axes_say_the_same(make):
    angles = np.array([[10.0, 60.0], [-170.0, 5.0], [90.0, -80.0]])
    transforms = make(audio_tables)
    active = np.ones((1, 3), bool)
    for row in range(len(transforms)):
        turned = [
            transforms.apply_to_angles(name, column[None], active, row)[0]
            for name, column in zip(("azimuth_deg", "elevation_deg"), angles.T, strict=True)
        ]
        by_axes = cartesian_to_spherical(transforms.apply_to_vectors(vectors_of(angles), row))[:2]
        np.testing.assert_allclose(
            vectors_of(np.stack(turned, axis=1)), spherical_to_cartesian(*by_axes), atol=1e-12
        )


def test_there_are_48_different_turns_and_the_first_is_none():
    axes = all_axes()
    assert len(np.unique(axes.reshape(48, 9), axis=0)) == 48
    np.testing.assert_array_equal(axes[0], np.eye(3))
    np.testing.assert_allclose(np.abs(np.linalg.det(axes)), 1)
    of_16 = foa_transforms(magnitude_phase_tables).axes.reshape(16, 9)
    assert {tuple(row) for row in of_16} <= {tuple(row) for row in axes.reshape(48, 9)}


def test_other_exchanges_of_microphones_are_refused():
    with pytest.raises(ValueError, match=r"cannot be exchanged so.*Received: \(1, 0, 2, 3\)"):
        microphone_transforms(audio_tables, permutations=np.array([[1, 0, 2, 3]]))


@pytest.mark.parametrize("n_lags", [1, 2, 3, 6, 7, 64])
def test_reversed_lags_have_the_opposite_sign(n_lags):
    lags = np.arange(n_lags) - -(-n_lags // 2)
    back = lags[reversed_bands(n_lags)]
    has_opposite = np.isin(-lags, lags)
    np.testing.assert_array_equal(back, np.where(has_opposite, -lags, lags))
    np.testing.assert_array_equal(lags[reversed_bands(n_lags, "published")], lags[::-1])


def test_correlations_of_any_number_of_channels_follow():
    rng = np.random.default_rng(0)
    permutation, sign = np.array([[2, 0, 4, 1, 3]]), np.array([[1, -1, 1, 1, -1]], np.float32)
    tables = gcc_tables(permutation, sign)
    transforms = ChannelTransforms(*tables[:4], reversed_lags=tables.reversed_lags)
    spectra = rng.standard_normal((5, 33)) + 1j * rng.standard_normal((5, 33))

    def all_lags(channels):  # 63 of 64, around lag 0
        whole = [
            np.roll(np.fft.irfft(np.exp(1j * np.angle(b * a.conj()))), 32)
            for a, b in itertools.combinations(channels, 2)
        ]
        return np.concatenate([np.zeros((64, 5)), np.stack(whole, axis=1)], axis=1)[None]

    spectra[:, [0, -1]] = np.abs(spectra[:, [0, -1]])  # real
    turned = spectra[permutation[0]] * sign[0][:, None]
    received = transforms.apply_to_features(all_lags(spectra), 0)
    np.testing.assert_allclose(received[:, 1:], all_lags(turned)[:, 1:], atol=1e-6)


def test_transforms_without_axes_move_no_vectors():
    identity = ChannelTransforms(
        np.array([[0]]), np.ones((1, 1)), np.zeros((1, 1)), np.zeros(1, bool)
    )
    with pytest.raises(ValueError, match="have no `axes`"):
        identity.apply_to_vectors(np.zeros(3), 0)
    with pytest.raises(ValueError, match=r"`axes` must be \(rows, 3, 3\)"):
        ChannelTransforms(
            np.array([[0]]),
            np.ones((1, 1)),
            np.zeros((1, 1)),
            np.zeros(1, bool),
            axes=np.zeros((2, 3, 3)),
        )
