"""Parts of wide recipes: blows, voices of moving tracts, and what a recording makes of a sound."""

import numpy as np
import pytest
from scipy import signal

from common.simulation.random_streams import Draw, random_stream
from common.simulation.sounds.synthesis import coloured_noise, rms, to_unit_peak
from common.simulation.sounds.wide.hits import OCTAVES_HZ, Material, draw_material, hit, ring
from common.simulation.sounds.wide.recipes import WIDE_RECIPES
from common.simulation.sounds.wide.recording import equalised, recorded
from common.simulation.sounds.wide.vocal import Score, vocalise

RATE_HZ = 32000


def draw(*labels):
    return Draw(random_stream(3, *labels))


def _band_levels_db(x, centre_hz):
    """Levels in an octave in 10 ms blocks."""
    edges_hz = centre_hz / 2**0.25, centre_hz * 2**0.25
    sections = signal.butter(3, edges_hz, "bandpass", fs=RATE_HZ, output="sos")
    y = signal.sosfilt(sections, x)
    blocks = y[: len(y) // 320 * 320].reshape(-1, 320)
    return 20 * np.log10(np.sqrt(np.mean(np.square(blocks), axis=1)) + 1e-9)


@pytest.mark.parametrize(("centre_hz", "decay_s"), [(500.0, 0.6), (4000.0, 0.2)])
def test_each_octave_of_a_blow_decays_by_60_db_in_its_time(centre_hz, decay_s):
    decays_s = np.where(OCTAVES_HZ < 1500, 0.6, 0.2)
    material = Material(np.zeros(len(OCTAVES_HZ)), decays_s)
    levels = [
        _band_levels_db(hit(draw("hit", n), RATE_HZ, material, 0.6), centre_hz) for n in range(40)
    ]
    n = round(0.8 * decay_s * 100)
    slope_db = np.polyfit(np.arange(2, n) * 0.01, np.mean(levels, axis=0)[2:n], 1)[0]
    assert -60 / slope_db == pytest.approx(decay_s, rel=0.1)


def test_octaves_of_a_steady_blow_have_the_levels_of_its_material():
    levels_db = np.array([-40.0, -10, 0, -20, 0, -30, -5, 0, 0])
    material = Material(levels_db, np.full(len(OCTAVES_HZ), 1e6))
    x = hit(draw("steady"), RATE_HZ, material, 20.0)
    frequencies_hz, power = signal.welch(x, RATE_HZ, nperseg=4096)
    centres = np.searchsorted(frequencies_hz, OCTAVES_HZ[2:8])
    # Power of an octave, from the density at its centre.
    measured_db = 10 * np.log10(power[centres] * OCTAVES_HZ[2:8])
    expected_db = levels_db[2:8]
    np.testing.assert_allclose(
        measured_db - measured_db[0], expected_db - expected_db[0], rtol=0, atol=2.0
    )


def test_a_material_struck_elsewhere_differs_by_at_most_its_spread():
    material = draw_material(draw("m"), (100.0, 900.0), (-9.0, -3.0), (0.1, 0.3))
    varied = material.varied(draw("v"), 4.0)
    assert 0 < np.abs(varied.levels_db - material.levels_db).max() <= 4.0
    assert np.all(material.decays_s > 0) and np.all(np.diff(material.decays_s) < 0)


def test_ringing_lies_in_its_range():
    x = ring(draw("ring"), RATE_HZ, 0.5, 8, (2000.0, 6000.0))
    spectrum = np.abs(np.fft.rfft(x)) ** 2
    frequencies_hz = np.fft.rfftfreq(len(x), 1 / RATE_HZ)
    inside = spectrum[(frequencies_hz > 1900) & (frequencies_hz < 6200)].sum()
    assert inside > 0.98 * spectrum.sum()


def _voice(pitch_hz, formants, tract=1.0):
    score, (f1, f2, f3) = Score(), formants
    score.add(0.0, voice=1.0, pitch=pitch_hz, f1=f1, f2=f2, f3=f3)
    return vocalise(draw("voice"), RATE_HZ, 1.0, score, tract, jitter=0.0)


@pytest.mark.parametrize("pitch_hz", [100.0, 320.0])
def test_a_voice_has_the_pitch_of_its_score(pitch_hz):
    spectrum = np.abs(np.fft.rfft(_voice(pitch_hz, (500, 1500, 2500)) * np.hanning(RATE_HZ)))
    harmonics = [spectrum[round(h * pitch_hz)] for h in range(1, 9)]
    between = [spectrum[round((h + 0.5) * pitch_hz)] for h in range(1, 9)]
    assert min(np.array(harmonics) / between) > 20


@pytest.mark.parametrize("tract", [1.0, 1.3])
def test_a_voice_resonates_at_its_formants(tract):
    formants = np.array([600.0, 1700.0, 2700.0])
    breath = Score()
    breath.add(0.0, breath=1.0, f1=600.0, f2=1700.0, f3=2700.0)
    x = vocalise(draw("breath"), RATE_HZ, 20.0, breath, tract)
    frequencies_hz, power = signal.welch(x, RATE_HZ, nperseg=1024)
    for formant_hz in tract * formants:
        near = np.abs(frequencies_hz - formant_hz) < 250
        peak_hz = frequencies_hz[near][np.argmax(power[near])]
        assert abs(peak_hz - formant_hz) < 70


def test_a_score_joins_its_knots_and_holds_the_last():
    score = Score()
    score.add(1.0, pitch=200.0)
    score.add(0.0, pitch=100.0, voice=0.5)
    times_s = np.array([0.0, 0.5, 1.0, 9.0])
    np.testing.assert_allclose(score.curve("pitch", times_s, 1.0), [100, 150, 200, 200])
    np.testing.assert_allclose(score.curve("friction", times_s, 0.25), 0.25)


def test_a_recording_keeps_length_peak_and_most_of_a_loud_sound():
    t = np.arange(RATE_HZ) / RATE_HZ
    tone = np.sin(2 * np.pi * 1000 * t).astype(np.float32)
    for number in range(30):
        y = recorded(draw("chain", number), tone, RATE_HZ)
        assert y.dtype == np.float32 and len(y) == len(tone)
        assert np.abs(y).max() == pytest.approx(1.0)
        spectrum = np.abs(np.fft.rfft(y)) ** 2
        assert spectrum[900:1100].sum() > 0.5 * spectrum.sum()


def test_an_equaliser_bends_a_spectrum_smoothly():
    noise = coloured_noise(draw("noise"), 20 * RATE_HZ, RATE_HZ, 0.0)
    spread_db = []
    for number in range(10):
        y = equalised(draw("eq", number), noise, RATE_HZ)
        frequencies_hz, power = signal.welch(y, RATE_HZ, nperseg=2048)
        _, before = signal.welch(noise, RATE_HZ, nperseg=2048)
        middle = (frequencies_hz > 300) & (frequencies_hz < 3300)
        gains_db = 10 * np.log10(power / before)[middle]
        assert np.abs(gains_db).max() < 10.5 and np.abs(np.diff(gains_db)).max() < 2.0
        spread_db.append(np.ptp(gains_db))
    assert np.median(spread_db) > 4.0


@pytest.mark.parametrize("name", WIDE_RECIPES)
def test_spectra_of_a_wide_recipe_differ_by_more_than_an_equaliser_of_10_db_does(name):
    spectra = []
    for number in range(12):
        x = to_unit_peak(WIDE_RECIPES[name](draw(name, number), RATE_HZ, 0.9))
        assert np.all(np.isfinite(x)) and rms(x) > 1e-3
        _, power = signal.welch(x, RATE_HZ, nperseg=512)
        spectra.append(10 * np.log10(power / power.sum() + 1e-7))
    strong = np.mean(spectra, axis=0) > -40
    assert np.std(spectra, axis=0)[strong].mean() > 10 / np.sqrt(12)  # of levels from 0 to 10 dB
