"""Hop lengths of labels that divide a second, and numbers of frames of recordings."""

import numpy as np
import pytest
from pydantic import ValidationError

from common.metrics.segment_based import to_segments
from seld.dataset import DatasetConfig, parse_events
from seld.labels import reference_rows
from seld.metrics.dcase2019 import DEFINITIONS
from seld.recordings.frames import frames_in_recording, frames_per_s
from seld.score import ScoredRecording, score_report

HEADER = "sound_event_recording,start_time,end_time,ele,azi,dist\n"


@pytest.mark.parametrize(
    ("hop_s", "per_s"),
    [
        (0.02, 50),
        (0.01, 100),
        (0.5, 2),
        (0.1, 10),
        (0.04, 25),
        (0.025, 40),
        (1 / 30, 30),
        (0.033333, 30),
        (1 / 3, 3),
    ],
)
def test_blocks_are_one_second_at_hops_that_divide_it(hop_s, per_s):
    dataset = DatasetConfig(recording_s=12.0, label_hop_s=hop_s, classes=("a",))
    assert (dataset.frames_per_s, dataset.n_frames) == (per_s, 12 * per_s)
    events = parse_events(f"{HEADER}a,0,12,0,0,1\n", dataset)
    recording = ScoredRecording("r", 1, 0, 1, events, np.zeros((0, 4)), dataset.n_frames)
    report = score_report([recording], dataset)
    assert {report.counts[name]["detection"]["n_reference"] for name in DEFINITIONS} == {12}
    assert reference_rows(events, None, hop_s)[-1, 0] == 12 * per_s - 1


@pytest.mark.parametrize(
    ("hop_s", "nearest"),
    [
        (0.4, r"0\.5 \(2 frames a second\) or 0\.333333333 \(3"),
        (0.3, r"0\.333333333 \(3.*0\.25 \(4"),
        (1.0, r"0\.5 \(2"),
        (1.5, r"0\.5 \(2"),
        (60.0, r"0\.5 \(2"),
        (0.024, r"0\.0243902439 \(41.*0\.0238095238 \(42"),
        (0.3333, "0.333333333"),
        (0.0333, r"0\.0333333333 \(30"),
        (0.7, r"0\.5 \(2"),
    ],
)
def test_hops_that_do_not_divide_a_second_are_refused(hop_s, nearest):
    with pytest.raises(
        ValidationError, match=f"`label_hop_s` must divide a second.*Nearest: .*{nearest}"
    ):
        DatasetConfig(label_hop_s=hop_s)
    with pytest.raises(ValueError, match="must divide a second"):
        frames_per_s(hop_s)


@pytest.mark.parametrize("hop_s", [0.02, 0.01, 0.1, 0.25, 1 / 30])
@pytest.mark.parametrize("seconds", [0.003, 0.5, 1.83, 2.0, 2.009, 59.991, 60.0])
def test_frames_that_begin_within_a_recording_count(hop_s, seconds):
    begins = np.arange(10_000) / frames_per_s(hop_s)
    assert frames_in_recording(seconds, hop_s) == np.count_nonzero(begins < seconds - 1e-7)


def test_longer_recordings_count_as_long_as_they_are_used():
    dataset = DatasetConfig(recording_s=2.0)
    assert [dataset.frames_of(seconds) for seconds in (None, 0.5, 1.999, 2.0, 2.4)] == [
        100,
        25,
        100,
        100,
        100,
    ]


def test_a_second_has_a_minimum_of_two_frames():
    active = np.ones((2, 1), bool)
    assert to_segments(active, frames_per_s(0.5), skip_last_frame=True).tolist() == [[True]]
