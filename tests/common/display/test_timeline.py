"""Recordings on a page: small content that can be checked by hand."""

import base64
import io
import math

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread

from common.display.timeline import (
    SHOWN_S,
    best_and_worst,
    first_channel,
    lanes,
    level_picture,
    ranked,
    recording_sound,
    sound_or_note,
    track,
)


def content(uri: str) -> io.BytesIO:
    return io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))


@pytest.mark.parametrize(
    ("scores", "best", "worst"),
    [
        ([0.1, 0.9, 0.5, 0.3, 0.8, 0.2, 0.7], [1, 4, 6], [0, 5, 3]),
        ([0.2, 0.8], [1], [0]),
        ([0.2, math.nan, 0.8], [2], [0]),
        ([0.5], [0], []),
        ([math.nan], [], []),
        ([0.5, 0.5, 0.5], [0, 1], [2]),
    ],
)
def test_no_recording_is_among_the_best_and_the_worst(scores, best, worst):
    assert best_and_worst(scores) == (best, worst)


def test_recordings_are_called_by_their_rank():
    ranks = ["best of 4", "best, number 2", "worst of 4", "worst, number 2"]
    assert ranked([0.1, 0.4, math.nan, 0.3, 0.2]) == list(zip((1, 3, 0, 4), ranks, strict=True))


def test_a_recording_becomes_one_channel_of_its_first_minutes(tmp_path):
    seconds = np.arange(48000 * 130) / 48000
    audio = 0.05 * np.sin(2 * np.pi * 440 * seconds)[:, None] * [1.0, -1.0]
    soundfile.write(tmp_path / "long.wav", audio, 48000)
    sound = recording_sound(tmp_path / "long.wav", "long", first_channel)
    decoded, rate_hz = soundfile.read(content(sound.source))
    assert sound.source.startswith("data:audio/mpeg;base64,") and sound.label == "long"
    assert (
        rate_hz == 16000
        and decoded.ndim == 1
        and len(decoded) == pytest.approx(SHOWN_S * 16000, abs=2000)
    )
    assert np.abs(decoded[16000:32000]).max() == pytest.approx(0.9, abs=0.05)
    assert len(sound.source) < 0.7e6  # six of them and all else stay below 10 MB


def test_silence_has_a_sound_and_missing_recordings_are_named(tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros((16000, 1)), 16000)
    decoded, _ = soundfile.read(
        content(recording_sound(tmp_path / "silent.wav", "", first_channel).source)
    )
    assert np.abs(decoded).max() == 0
    sound, (reason,) = sound_or_note(tmp_path / "gone.wav", "gone", first_channel)
    assert sound is None and "gone.wav: No such file" in reason


def test_a_spectrogram_has_time_to_the_right_low_bands_below():
    level = np.full((4000, 16), -90.0)
    level[2000:, 0] = 0.0
    picture = level_picture(level, 0.01, "Spectrogram", "of a")
    image = imread(content(picture.source), format="jpg").mean(axis=2)  # (bands, columns)
    assert (
        image.shape == (16, 1000)
        and image[-1, 900] > 200
        and image[-1, 100] < 20
        and image[0, 900] < 40
    )


def test_lanes_show_occurring_and_estimated_classes_within_the_shown_seconds():
    reference, estimate = (
        np.array([[2, 1.0, 3.0], [2, 100.0, 200.0], [0, 130.0, 140.0]]),
        np.array([[1, 0.5, 0.7]]),
    )
    shown = lanes(reference, estimate, ("a", "b", "c"), duration_s=300.0)
    assert [lane.label for lane in shown] == ["b", "c"]
    assert shown[0].reference == [] and shown[0].estimate == [(0.5, 0.7)]
    assert shown[1].reference == [(1.0, 3.0), (100.0, SHOWN_S)]
    assert lanes(np.zeros((0, 3)), np.zeros((0, 3)), ("a",), 1.0) == []


def test_directions_that_stay_the_same_are_one_stroke():
    frames, angles = np.array([0, 1, 2, 3, 7, 8, 9]), np.array([10, 10, 20, 20, 10, 10, np.nan])
    line = track(frames, angles, 0.5, "red", "solid")
    strokes = [[(0.0, 10.0), (1.0, 10.0)], [(1.0, 20.0), (2.0, 20.0)], [(3.5, 10.0), (4.5, 10.0)]]
    assert line.strokes == strokes
    assert track(np.zeros(0), np.zeros(0), 0.5, "red", "solid").strokes == []


def test_a_movement_is_one_stroke_through_the_middles_of_frames():
    line = track(np.array([1, 0, 2]), np.array([4.0, 1.0, 30.0]), 1.0, "red", "solid", 5.0)
    assert line.strokes == [[(0, 1), (0.5, 1), (1.5, 4), (2, 4)], [(2, 30), (3, 30)]]
