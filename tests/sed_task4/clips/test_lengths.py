"""Clips shorter than `clip_s`: their padding counts in no score."""

import json
import types

import numpy as np
import pytest
import soundfile

from common.datasets.lengths import length_facts
from common.errors import DataError
from common.training.evaluation import Prediction
from sed_task4.clips.lengths import (
    cut_to_length,
    frames_within,
    lengths_of_files,
    lengths_of_store,
    read_lengths,
)
from sed_task4.decoding import DecodingConfig
from sed_task4.experiment import Experiment
from sed_task4.score import main
from sed_task4.scores.systems import ScoringConfig, SystemOutput, TestSet, score_report
from sed_task4.submission import CLIPS, write_run_files
from sed_task4.validation import ClipScorer
from tests.sed_task4.test_extraction import Task, run, write_clip, write_metadata

HOP_S, CLASSES = 0.02, ["x", "y"]
RNG = np.random.default_rng(0)
LENGTHS_S = [2.0, 3.37, 0.5]
FRAMES = [RNG.random((400, 2)) for _ in LENGTHS_S]
EVENTS = [
    np.array([[0, 0.0, 2.0], [1, 0.3, 0.9]]),
    np.array([[0, 1.0, 4.0], [1, 3.5, 3.9]]),
    np.zeros((0, 3)),
]
DECODERS = [
    DecodingConfig(decoder="median", median_frames=5, tag_threshold=None),
    DecodingConfig(smooth_frames=3, salt_frames=2, tag_threshold=None, high_threshold=0.8),
    DecodingConfig(
        decoder="kong2019",
        low_threshold=None,
        high_threshold=0.6,
        tag_threshold=None,
        salt_frames=1,
    ),
]


@pytest.mark.parametrize("decoding", DECODERS, ids=lambda each: each.decoder)
def test_padding_does_not_change_the_scores_of_a_clip(decoding):
    results = []
    for clip_s in (None, 4.0, 8.0):
        scorer = ClipScorer(2, decoding, HOP_S, clip_s or max(LENGTHS_S))
        for number, (frames, events, end_s) in enumerate(
            zip(FRAMES, EVENTS, LENGTHS_S, strict=True)
        ):
            inside = frames if clip_s else frames[: frames_within(end_s, HOP_S)]
            found = scorer.update(
                str(number), inside, np.array([0.7, 0.2]), events, duration_s=end_s
            )
            assert len(found) == 0 or found[:, 2].max() <= end_s
        results.append(scorer.result())
    assert results[0] == results[1] == results[2] and results[0]["segment_macro_f"] > 0


@pytest.mark.parametrize("clip_s", [2.0, 6.0, 60.0])
def test_baselines_of_short_clips_end_with_them(clip_s):
    events = [np.array([[0, 0.0, 2.0]])] * 2  # active throughout
    test = TestSet(["a", "b"], events, CLASSES, clip_s, lengths_s=np.full(2, 2.0))
    report = score_report(
        test, {"silent": SystemOutput([np.zeros((0, 3))] * 2)}, ScoringConfig(sed_eval=False)
    )
    active = next(row for row in report.rows if row.label == "true tags, whole clip")
    scores = active.scores
    assert (
        scores["event_micro_f"]
        == scores["segment_micro_f"]
        == scores["segment_200ms_micro_f"]
        == 1.0
    )
    assert scores["psds1"] == scores["psds2"] == 1.0
    always = next(row for row in report.rows if row.label == "always active")
    assert always.by_class["segment_f"][0] == always.by_class["event_f"][0] == 1.0
    assert report.rows[0].scores["segment_micro_f"] == 0.0


def test_psds_is_per_hour_of_recordings_not_of_padding():
    frames = [np.linspace(0.1, 0.9, 100)[:, None] * [1, 1]]
    truth = [np.array([[0, 0.4, 0.8], [1, 1.4, 2.0]])]
    scores = []
    for clip_s in (2.0, 50.0):
        test = TestSet(["a"], truth, CLASSES, clip_s, lengths_s=np.array([2.0]))
        report = score_report(
            test,
            {"s": SystemOutput([truth[0]], None, frames, HOP_S)},
            ScoringConfig(sed_eval=False),
        )
        scores.append(report.rows[0].scores)
    assert scores[0] == scores[1]


def test_events_are_cut_or_dropped_at_the_clip_end():
    rows = np.array([[0, 0.0, 1.0], [1, 0.5, 3.0], [0, 2.0, 3.0]])
    assert cut_to_length(rows, 2.0).tolist() == [[0, 0.0, 1.0], [1, 0.5, 2.0]]
    assert cut_to_length(np.zeros((0, 3)), 2.0).shape == (0, 3)
    assert (
        frames_within(2.0, 0.02) == 100
        and frames_within(2.001, 0.02) == 101
        and frames_within(0.0, 0.02) == 1
    )


def test_a_store_has_the_lengths_of_its_clips(tmp_path):
    write_clip(tmp_path / "audio/train/weak/a.wav", seconds=0.5)
    write_clip(tmp_path / "audio/train/weak/b.wav", seconds=0.731)
    write_metadata(tmp_path, "train/weak", "filename\tevent_labels\na.wav\tCat\nb.wav\tDog\n")
    (store,) = run(Task(tmp_path, tmp_path / "features"), ["weak"], progress=False)
    exact = {
        name: soundfile.info(tmp_path / f"audio/train/weak/{name}").duration
        for name in ("a.wav", "b.wav")
    }
    assert lengths_of_store(store, 10.0) == exact
    assert lengths_of_store(store, 0.6) == exact | {"b.wav": 0.6}
    assert length_facts(tmp_path / "nowhere.wav") == {}


def clip_experiment() -> Experiment:
    """An experiment whose system hands its frames through."""
    system = types.SimpleNamespace(
        probabilities=lambda given, network, n_frames: (given["frames"], given["clip"])
    )
    features = types.SimpleNamespace(hop_s=HOP_S, n_frames=lambda clip_s: round(clip_s / HOP_S))
    task = types.SimpleNamespace(features=features, dataset=types.SimpleNamespace(clip_s=2.0))
    return Experiment(task, system, None)


@pytest.mark.parametrize(
    ("lengths", "labelled", "inside", "expected"),
    [
        ({"a": 1.234}, True, 62, 1.234),
        ({}, True, 62, 1.24),
        ({}, False, 62, 2.0),
        ({}, True, 100, 2.0),
    ],
)
def test_clip_lengths_come_from_files_or_else_labels(lengths, labelled, inside, expected):
    activity = np.full((100, 2), -1, np.int8)
    activity[:inside] = 0
    outputs = {"frames": np.ones((100, 2)), "clip": np.ones(2)}
    targets = {"frames": activity, "clip": np.ones(2)}
    clip = clip_experiment().clip_result(
        Prediction("a", 100, labelled, np.zeros((0, 3)), targets, outputs), lengths
    )
    assert clip.duration_s == pytest.approx(expected) and clip.n_inside == frames_within(
        expected, HOP_S
    )
    assert len(clip.frames) == 100, "labels for a second pass are as long as the features"


def test_lengths_are_written_next_to_events(tmp_path):
    write_run_files(tmp_path, ["a", "ü"], [np.zeros((0, 3))] * 2, CLASSES, [1.25, 10.0])
    assert read_lengths(tmp_path / CLIPS) == {"a": 1.25, "ü": 10.0}


def test_a_list_with_only_names_has_no_lengths(tmp_path):
    (tmp_path / CLIPS).write_text("filename\na\n")
    assert read_lengths(tmp_path / CLIPS) == {}


HEAD = "filename\tduration_s\n"


@pytest.mark.parametrize(
    "content", ["", "a\tb\nx\t1\n", *(f"{HEAD}a\t{seconds}\n" for seconds in ("0", "nan", ""))]
)
def test_a_damaged_list_of_lengths_is_refused(tmp_path, content):
    (tmp_path / CLIPS).write_text(content)
    with pytest.raises(DataError, match=r"clips\.tsv"):
        read_lengths(tmp_path / CLIPS)


@pytest.fixture
def files(tmp_path):
    """A fully active clip of 2 s, and a system with events up to 10 s."""
    header = "filename\tonset\toffset\tevent_label\n"
    (tmp_path / "reference.tsv").write_text(f"{header}a.wav\t0.0\t2.5\tx\n")
    (tmp_path / "estimate.tsv").write_text(f"{header}a.wav\t0.0\t10.0\tx\n")
    (tmp_path / "clips").mkdir()
    soundfile.write(tmp_path / "clips/a.wav", np.zeros(16000), 8000)
    return tmp_path


@pytest.mark.parametrize("source", ["audio", "run"])
@pytest.mark.parametrize("clip_s", ["2", "10", "60"])
def test_the_command_scores_clips_as_long_as_they_are(files, source, clip_s):
    arguments = [
        *(str(files / f"{name}.tsv") for name in ("estimate", "reference")),
        "--classes",
        "x,y",
    ]
    if source == "run":
        (files / CLIPS).write_text("filename\tduration_s\na.wav\t2.0\n")
    else:
        arguments += ["--audio", str(files / "clips")]
    assert main([*arguments, "--clip-s", clip_s, "--json", str(files / "s.json")]) == 0
    rows = {
        row["label"]: row["scores"] for row in json.loads((files / "s.json").read_text())["rows"]
    }
    assert rows["estimate"]["event_micro_f"] == rows["estimate"]["segment_micro_f"] == 1.0
    assert rows["true tags, whole clip"]["event_micro_f"] == 1.0


def test_the_command_notes_unknown_lengths(files, capsys):
    arguments = [
        *(str(files / f"{name}.tsv") for name in ("estimate", "reference")),
        "--classes",
        "x,y",
    ]
    assert main(arguments) == 0
    assert (
        "Clips are taken to last 10 s (--clip-s); --audio FOLDER reads their lengths."
        in capsys.readouterr().out
    )
    assert main([*arguments, "--audio", str(files / "nowhere")]) == 2
    assert "--audio: expected the folder of the clips" in capsys.readouterr().err
    with pytest.raises(DataError, match="has none of the 1 clips"):
        lengths_of_files(files / "clips", ["b.wav"])
