"""Intensities that are normalised bin by bin, against loops over bins; linear bands."""

import numpy as np
import pytest

from common.features import spectral
from common.features.intensity import XYZ, YZX, BinNorm, levels_and_intensity, linear_bands
from common.settings.stft import Stft

RATE_HZ, SIZES = 24000, Stft(400, 512, 240)


def literal(audio, filters, rule):
    """Loops over frames and bins, in double precision: (T, bands, 3)."""
    spectra = spectral.stft(audio, SIZES).astype(complex)  # (T, F, 4)
    intensity = np.zeros((*spectra.shape[:2], 3))
    for t, f in np.ndindex(intensity.shape[:2]):
        w, y, z, x = spectra[t, f]
        along = {1: y, 2: z, 3: x}
        vector = np.array([(w.conjugate() * along[axis]).real for axis in rule.axes])
        energy = np.abs(spectra[t, f]) ** 2
        norm = {
            "length": np.linalg.norm(vector),
            "half_energy": energy.sum() / 2,
            "energy": energy[0] + energy[1:].sum() / 3,
        }[rule.norm]
        intensity[t, f] = vector / (norm + rule.floor)
    return np.einsum("tfa,fb->tba", intensity, filters)


@pytest.mark.parametrize("axes", [XYZ, YZX])
@pytest.mark.parametrize("norm", ["length", "half_energy", "energy"])
def test_intensities_are_those_of_a_loop_over_bins(norm, axes):
    audio = (0.1 * np.random.default_rng(0).standard_normal((4800, 4))).astype(np.float32)
    filters = spectral.mel_filters(RATE_HZ, 512, 20, 0.0, None)
    rule = BinNorm(norm, axes)
    features = levels_and_intensity(audio, filters, SIZES, 20, rule)
    assert features.shape == (20, 20, 7) and features.dtype == np.float32
    np.testing.assert_allclose(features[..., 4:], literal(audio, filters, rule), atol=1e-5)
    expected = spectral.log_mel(audio, filters, SIZES, 20)
    np.testing.assert_allclose(features[..., :4], expected, rtol=1e-6)


@pytest.mark.parametrize(("norm", "gain"), [("half_energy", 1.0), ("energy", 3**0.5)])
def test_the_intensity_of_a_plane_wave_points_at_it(norm, gain):
    direction = np.array([0.6, -0.48, 0.64])  # y, z, x
    source = np.random.default_rng(1).standard_normal(6000)
    audio = np.stack([source, *(gain * each * source for each in direction)], axis=1)
    filters = linear_bands(RATE_HZ, 512, 6000.0)
    rule = BinNorm(norm)
    received = levels_and_intensity(audio.astype(np.float32), filters, SIZES, 25, rule)[..., 4:]
    scale = 1.0 if norm == "half_energy" else gain / 2
    np.testing.assert_allclose(
        received, np.broadcast_to(scale * direction, received.shape), atol=1e-3
    )


def test_silence_has_no_intensity():
    filters = linear_bands(RATE_HZ, 512, 9000.0)
    silence = np.zeros((2400, 4), np.float32)
    features = levels_and_intensity(silence, filters, SIZES, 10, BinNorm("length"))
    assert not features[..., 4:].any()


@pytest.mark.parametrize(("n_fft", "n_bands"), [(512, 200), (256, 100), (1024, 400), (250, 97)])
def test_bins_above_an_edge_are_averaged_by_eight(n_fft, n_bands):
    filters = linear_bands(RATE_HZ, n_fft, 9000.0)
    single = int(9000 * n_fft / RATE_HZ)
    assert filters.shape == (n_fft // 2 + 1, n_bands)
    np.testing.assert_array_equal(filters[1 : single + 1, :single], np.eye(single))
    assert not filters[0].any()
    wide = filters[single + 1 :, single:]
    np.testing.assert_allclose(wide.sum(axis=0), 1)
    assert (wide[:8, 0] == 0.125).all() and ((wide > 0).sum(axis=1) == 1).all()
