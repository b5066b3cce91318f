"""Sound recipes, banks of examples, own recordings."""

import hashlib
from functools import partial
from itertools import product

import librosa
import numpy as np
import pytest
import soundfile
from scipy.signal import stft
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from common.errors import ConfigError, DataError
from common.simulation.random_streams import Draw, random_stream
from common.simulation.sound_bank import (
    LOWEST_RATE_HZ,
    MAX_CREST_DB,
    RECIPES,
    DurationRange,
    SoundBank,
    check_rate,
    deal,
    read_source,
    recordings_of,
    synthesise,
)
from common.simulation.sounds.synthesis import coloured_noise, crest_factor_db
from common.simulation.sounds.wide.recipes import WIDE_RECIPES

RATE_HZ = 48000
# All sounds in their plain form, and those that have a wide one in that.
ALL = [(name, "plain") for name in RECIPES] + [(name, "wide") for name in WIDE_RECIPES]
INDOOR_RECIPES = tuple(RECIPES)[:11]
HOUSEHOLD_RECIPES = (
    "phrase",
    "bark",
    "meow",
    "alarm",
    "dishes",
    "fry",
    "run_water",
    "blend",
    "vacuum",
    "shave",
)
TASK2_RECIPES = (
    "guitar",
    "bark",
    "bass_drum",
    "clarinet",
    "keyboard",
    "cough",
    "cowbell",
    "drawer",
    "flute",
    "glockenspiel",
    "hi_hat",
    "drop_keys",
    "knock",
    "laughter",
    "meow",
    "snare_drum",
    "tear",
    "phone",
    "violin",
)
TYPICAL_S = {
    "drop_keys": 0.3,
    "slam_door": 0.45,
    "speech": 1.3,
    "keyboard": 1.5,
    "phone": 1.5,
    "laughter": 1.3,
}


@pytest.mark.parametrize(("recipe", "recipes"), ALL)
def test_a_sound_fills_its_duration_with_limited_peaks(recipe, recipes):
    for number in range(3):
        duration_s = TYPICAL_S.get(recipe, 0.8) * (1 + 0.2 * number)
        x = synthesise(recipe, Draw(random_stream(number, recipe)), RATE_HZ, duration_s, recipes)
        assert x.dtype == np.float32 and len(x) == round(duration_s * RATE_HZ)
        assert np.abs(x).max() == pytest.approx(1.0)
        assert crest_factor_db(x) < MAX_CREST_DB + 0.5
        loud = np.flatnonzero(np.abs(x) > 0.01)
        assert loud[0] < 0.12 * RATE_HZ and loud[-1] > len(x) - 0.25 * RATE_HZ


@pytest.mark.parametrize(("recipe", "recipes"), ALL)
def test_the_lowest_rate_has_room_for_the_bands_of_all_sounds(recipe, recipes):
    for number in range(3):
        x = synthesise(recipe, Draw(random_stream(number, recipe)), LOWEST_RATE_HZ, 0.5, recipes)
        assert np.all(np.isfinite(x))


def test_a_rate_too_low_for_the_sounds_is_refused():
    check_rate(LOWEST_RATE_HZ)
    with pytest.raises(ConfigError, match=r"at least 16000.*Received: 8000"):
        check_rate(8000)


@pytest.mark.parametrize("recipes", ["plain", "wide"])
@pytest.mark.parametrize("recipe", ["knock", "speech", "phone"])
def test_examples_differ_and_each_can_be_made_again(recipe, recipes):
    first, again, other = (
        synthesise(recipe, Draw(random_stream(s, recipe)), RATE_HZ, 0.9, recipes) for s in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other, atol=0.05)


def test_median_and_ends_of_a_duration_range_are_kept():
    durations = DurationRange(0.4, 0.5, 1.0)
    assert [durations.at(q) for q in (0.0, 0.5, 1.0)] == pytest.approx([0.4, 0.5, 1.0])
    assert 0.5 < durations.at(0.75) < 0.75


def _pauses_s(x, floor_db=-35.0):
    """Lengths of runs of 10 ms blocks more than `floor_db` below the loudest block."""
    blocks = x[: len(x) // 480 * 480].reshape(-1, 480)
    level = np.sqrt(np.mean(np.square(blocks, dtype=np.float64), axis=1))
    edges = np.flatnonzero(
        np.diff(np.concatenate([[0], level < level.max() * 10 ** (floor_db / 20), [0]]))
    )
    return (edges[1::2] - edges[::2]) / 100


@pytest.mark.parametrize("recipe", HOUSEHOLD_RECIPES)
@pytest.mark.parametrize("duration_s", [0.25, 1.1, 4.0])
@pytest.mark.parametrize("recipes", ["plain", "wide"])
def test_a_labelled_sound_has_no_pause_that_would_part_it(recipe, recipes, duration_s):
    for number in range(3):
        draw = Draw(random_stream(number, recipe, duration_s))
        x = synthesise(recipe, draw, RATE_HZ, duration_s, recipes)
        assert max(_pauses_s(x), default=0.0) <= 0.15


def _statistics(x, mel_filters):
    power = np.abs(stft(x, RATE_HZ, nperseg=2048, noverlap=1088)[2].astype(np.complex64)) ** 2
    mel = 10 * np.log10(mel_filters @ power + 1e-10)  # (40, T)
    return np.concatenate([mel.mean(1), mel.std(1), np.abs(np.diff(mel, axis=1)).mean(1)])


def _examples(names, recipes, n, snr_db, describe, times=1.0, rate_hz=RATE_HZ):
    """Descriptions of `n` sounds of each name in pink noise, and the numbers of the names."""
    examples = []
    for recipe, index in product(names, range(n)):
        draw = Draw(random_stream(11, recipe, index))
        duration_s = times * draw.uniform(0.8, 1.2) * TYPICAL_S.get(recipe, 0.8)
        x = synthesise(recipe, draw, rate_hz, duration_s, recipes)
        noise = coloured_noise(draw, len(x), rate_hz, 1.0)
        examples.append(describe(x + noise * x.std() * 10 ** (-snr_db / 20)))
    return np.array(examples), np.repeat(np.arange(len(names)), n)


def _score(classifier, features, targets):
    """Share of right answers for each third sound, learned from the others."""
    is_test = np.arange(len(targets)) % 3 == 0
    learned = make_pipeline(StandardScaler(), classifier)
    learned.fit(features[~is_test], targets[~is_test])
    return learned.score(features[is_test], targets[is_test])


@pytest.fixture(scope="module")
def mel_filters():
    return librosa.filters.mel(sr=RATE_HZ, n_fft=2048, n_mels=40)


@pytest.mark.parametrize(
    "names",
    [INDOOR_RECIPES, HOUSEHOLD_RECIPES, TASK2_RECIPES],
    ids=["indoor", "household", "task2"],
)
def test_a_linear_classifier_separates_most_sounds_but_not_all(names, mel_filters):
    describe = partial(_statistics, mel_filters=mel_filters)
    assert 0.8 < _score(RidgeClassifier(10.0), *_examples(names, "plain", 15, 15.0, describe)) < 1


def _description(x, mel_filters):
    """Statistics of the spectrum, and how fast the level changes."""
    power = np.abs(stft(x, LOWEST_RATE_HZ, nperseg=682, noverlap=362)[2].astype(np.complex64)) ** 2
    mel = 10 * np.log10(mel_filters @ power + 1e-10)
    mel = np.maximum(mel - mel.max(), -60.0)
    steps, level = np.diff(mel, axis=1), mel.mean(0) - mel.mean()
    rates = np.log(np.abs(np.fft.rfft(level, 128))[:33] + 1)
    of_bands = mel.mean(1), mel.std(1), np.abs(steps).mean(1), steps.max(1)
    return np.concatenate([*of_bands, np.percentile(mel, 90, axis=1), rates, [mel.shape[1]]])


@pytest.mark.parametrize(
    ("names", "times"), [(INDOOR_RECIPES, 1), (HOUSEHOLD_RECIPES, 3)], ids=["indoor", "household"]
)
def test_wide_sounds_can_be_told_apart_but_not_by_what_separates_plain_ones(names, times):
    filters = librosa.filters.mel(sr=LOWEST_RATE_HZ, n_fft=682, n_mels=40)
    describe = partial(_description, mel_filters=filters)
    examples = _examples(names, "wide", 60, 30.0, describe, times, LOWEST_RATE_HZ)
    linear, curved = _score(RidgeClassifier(10.0), *examples), _score(SVC(C=10.0), *examples)
    assert linear < curved and 0.8 < curved < 1.0


def test_files_are_dealt_into_disjoint_sets_of_nearly_equal_size(tmp_path):
    paths = [tmp_path / f"{number}.wav" for number in range(13)]
    sets = deal(paths, 5, random_stream(0, "deal"))
    assert sorted(len(files) for files in sets) == [2, 2, 3, 3, 3]
    assert sorted(path for files in sets for path in files) == sorted(paths)
    assert sets != deal(paths, 5, random_stream(1, "deal"))


def test_own_recordings_become_mono_resampled_and_trimmed(tmp_path):
    t = np.arange(22050) / 22050
    tone = 0.3 * np.sin(2 * np.pi * 440 * t)
    padded = np.concatenate([np.zeros(5000), tone, np.zeros(9000)])
    soundfile.write(tmp_path / "b.flac", np.stack([padded, padded], 1), 22050)
    soundfile.write(tmp_path / "a.wav", padded, 22050)
    (tmp_path / "notes.txt").write_text("no sound")
    assert [path.name for path in recordings_of(tmp_path)] == ["a.wav", "b.flac"]
    sound = read_source(tmp_path / "b.flac", RATE_HZ, longest_s=5.0)
    x = sound.samples
    assert sound.active == () and sound.heard(x) is x
    assert x.ndim == 1 and len(x) == pytest.approx(RATE_HZ, rel=0.01)
    assert np.argmax(np.abs(np.fft.rfft(x))) * RATE_HZ / len(x) == pytest.approx(440, abs=1)
    assert len(read_source(tmp_path / "a.wav", RATE_HZ, longest_s=0.25).samples) == 12000


def test_active_seconds_bound_a_recording_and_its_level(tmp_path):
    x = np.full(RATE_HZ, 0.01)
    x[RATE_HZ // 4 : RATE_HZ // 2] = 0.5
    soundfile.write(tmp_path / "a.wav", x, RATE_HZ, subtype="FLOAT")
    sound = read_source(tmp_path / "a.wav", RATE_HZ, 5.0, [(0.1, 0.2), (0.25, 0.5), (0.6, 0.7)])
    assert len(sound.samples) == round(0.6 * RATE_HZ) and sound.samples.max() == 1.0
    edges_s = np.array(sound.active) / RATE_HZ
    assert np.allclose(edges_s, [(0.0, 0.1), (0.15, 0.4), (0.5, 0.6)], atol=1e-4)
    assert len(sound.heard(sound.samples)) == pytest.approx(0.45 * RATE_HZ, abs=3)
    cut = read_source(tmp_path / "a.wav", RATE_HZ, 0.3, [(0.1, 0.2), (0.25, 0.5), (0.6, 0.7)])
    assert np.allclose(np.array(cut.active) / RATE_HZ, [(0.0, 0.1), (0.15, 0.3)], atol=1e-4)
    with pytest.raises(DataError, match="no usable sound in its active seconds"):
        soundfile.write(tmp_path / "a.wav", np.where(x > 0.1, x, 0), RATE_HZ)
        read_source(tmp_path / "a.wav", RATE_HZ, 5.0, [(0.0, 0.2)])


@pytest.mark.parametrize("content", [b"not a wav", None])
def test_unusable_recordings_are_named(tmp_path, content):
    path = tmp_path / "broken.wav"
    if content is None:
        soundfile.write(path, np.zeros(100), RATE_HZ)
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.wav"):
        read_source(path, RATE_HZ, 5.0)


def test_a_bank_returns_the_stored_examples(tmp_path):
    rng = np.random.default_rng(0)
    sounds = {
        (name, number): [
            rng.standard_normal(rng.integers(3, 9), dtype=np.float32) for _ in range(2)
        ]
        for name in ("cough", "knock")
        for number in (0, 3)
    }
    bank = SoundBank.store(tmp_path / "bank.npy", sounds)
    for (name, number), examples in sounds.items():
        stored = bank.examples(name, number)
        assert [hashlib.md5(x.tobytes()).digest() for x in stored] == [
            hashlib.md5(x).digest() for x in examples
        ]


def test_examples_that_are_not_written_keep_their_places_and_lengths(tmp_path):
    bank = SoundBank.planned(tmp_path / "bank.npy", {("knock", 1): [3, 2], ("cough", 0): [4]})
    bank.write({("knock", 1): {1: np.ones(2, np.float32)}})
    assert [x.tolist() for x in bank.examples("knock", 1)] == [[0, 0, 0], [1, 1]]
    assert [x.tolist() for x in bank.examples("cough", 0)] == [[0, 0, 0, 0]]
