"""Figures show what they are given."""

import numpy as np
import pytest

from common.display.plotting import learning_curves, save_figure
from common.display.spectrogram import Spectrogram
from common.events.table import EventTable
from sed_task4.figures import (
    LEARNING_PANELS,
    class_scores_figure,
    clip_figure,
    durations_figure,
    prediction_figure,
)
from sed_task4.scores.systems import ScoringConfig, SystemOutput, TestSet, score_report

CLASSES = ("Cat", "Dog", "Speech")
REFERENCE = np.array([[0, 1.0, 2.0], [2, 3.0, 6.0], [2, 7.0, 8.0]])
ESTIMATE = np.array([[0, 1.1, 2.1], [1, 5.0, 6.0]])


@pytest.mark.parametrize("reference", [REFERENCE, None, np.zeros((0, 3))])
def test_a_clip_has_four_panels_over_the_same_seconds(tmp_path, reference):
    logmel = np.random.default_rng(0).normal(-40, 10, (64, 16))
    frames = np.random.default_rng(1).random((32, 3))
    figure = clip_figure(
        Spectrogram(logmel, 10.0),
        reference,
        frames,
        ESTIMATE,
        CLASSES,
        "a.wav",
        tags=frames.max(axis=0),
    )
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert len(panels) == 4
    assert all(axes.get_xlim() == (0, 10) for axes in panels)
    assert len(panels[1].patches) == (0 if reference is None else len(reference))
    assert len(panels[3].patches) == 2
    save_figure(figure, tmp_path / "clip.png")
    assert (tmp_path / "clip.png").read_bytes()[:4] == b"\x89PNG"


def test_durations_show_each_set_and_class_with_and_without_events():
    table = EventTable.from_recordings([REFERENCE], 3)
    figure = durations_figure(
        {"one": table, "two": table, "none": EventTable.from_recordings([], 3)}, CLASSES
    )
    widths = [patch.get_width() for patch in figure.axes[1].patches]
    assert widths == [1, 0, 2, 1, 0, 2, 0, 0, 0]


def test_scores_per_class_end_with_their_mean():
    test = TestSet(["a.wav"], [REFERENCE], CLASSES)
    report = score_report(test, {"one": SystemOutput([ESTIMATE])}, ScoringConfig(sed_eval=False))
    axes = class_scores_figure(report).axes[0]
    heights = [patch.get_height() for patch in axes.patches]
    assert len(heights) == 3 * 4
    assert heights[3] == report.score("clip_macro_f")
    assert [label.get_text() for label in axes.get_xticklabels()] == [*CLASSES, "mean"]


def test_curves_show_the_scores_that_the_history_has():
    history = {"loss": [1.0, 0.5], "val_map": [0.2, 0.4], "val_event_macro_f": [0.1, 0.2]}
    assert len(learning_curves(history, LEARNING_PANELS).axes) == 3


@pytest.mark.parametrize("other", ["student", "teacher"])
def test_the_other_network_of_a_mean_teacher_is_drawn_beside(other):
    names = ("event_macro_f", "weak_and_event_f")
    history = {f"val_{each}{name}": [0.1, 0.2] for name in names for each in ("", f"{other}_")}
    figure = learning_curves(history | {"clip_consistency": [0.0, 0.1]}, LEARNING_PANELS)
    legends = [[text.get_text() for text in a.get_legend().get_texts()] for a in figure.axes]
    assert legends == [["event-based", other], ["of tags and events", other], ["tags"]]


def test_a_prediction_shows_frames_before_and_after_the_tag_gate():
    frames = np.zeros((20, 3))
    arguments = Spectrogram(np.zeros((20, 8)), 2.0), frames, np.zeros((0, 3)), list("abc"), "a.wav"
    plain = prediction_figure(*arguments, tags=np.zeros(3))
    gated = prediction_figure(*arguments, tags=np.zeros(3), before_gate=frames + 0.5)
    titles = [
        [axes.get_title(loc="left") for axes in each.axes if axes.get_title(loc="left")]
        for each in (plain, gated)
    ]
    assert "Frame-wise estimate" in titles[0] and len(titles[0]) == 3
    assert titles[1][1:3] == ["Frames before clip tag gating", "Frames after it"]
    drawn = [axes.images[0].get_array().max() for axes in gated.axes[1:3]]
    assert drawn == [0.5, 0.0]
