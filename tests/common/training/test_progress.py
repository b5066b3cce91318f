"""One aligned line for each epoch, a bar only on a terminal."""

import io
import logging
import sys

import keras
import numpy as np
import pytest

from common.display.plotting import Curve, Panel
from common.training import progress
from common.training.progress import LINE_COLUMNS, ProgressLines, score_names
from seld.figures import LEARNING_PANELS

PANELS = (
    Panel("Losses", "loss", (Curve("loss", "training"), Curve("val_sed_loss", "validation"))),
    Panel("Scores", "score", (Curve("val_f", "F"), Curve("val_er", "ER"), Curve("f", "F"))),
)
NAMES = score_names("val_er", PANELS)
SCORES = {"val_er": [0.9, 0.75, float("nan"), 0.8, 0.5], "val_f": [0.1, 0.2, 0.3, 0.4, 0.5]}


class Scores(keras.callbacks.Callback):
    """Writes the scores of each epoch into `logs`."""

    def on_epoch_end(self, epoch, logs=None):
        logs |= {name: values[epoch] for name, values in SCORES.items()}


@pytest.fixture(scope="module")
def model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    return model


def told(caplog) -> list[str]:
    """The lines of the progress itself: libraries log on the side."""
    return [record.getMessage() for record in caplog.records if record.name == progress.__name__]


def lines_of(model, caplog, first: int = 0, history: dict | None = None, **kept) -> list[str]:
    caplog.clear()
    lines = ProgressLines("fold1/seld", NAMES, "val_er", "min", history or {})
    x = np.zeros((4, 2), np.float32)
    callbacks = [Scores(), lines, *kept.get("callbacks", [])]
    options = {"epochs": 5, "initial_epoch": first, "batch_size": 2, "verbose": 0}
    with caplog.at_level("INFO"):
        model.fit(x, x[:, :1], callbacks=callbacks, **options)
    return told(caplog)


def test_the_decisive_score_comes_first_without_losses_of_parts():
    assert NAMES == ["loss", "val_loss", "val_er", "val_f"]


def test_each_epoch_is_one_line_below_its_heading(model, caplog, capsys, monkeypatch):
    # Without the handler that a command of another test has left, which prints the log.
    monkeypatch.setattr(logging.getLogger(), "handlers", [caplog.handler])
    title, heading, *lines = lines_of(model, caplog)
    assert title == "fold1/seld: at most 5 epochs of 2 batches."
    assert heading.split() == ["epoch", "loss", "er", "f", "s"]
    assert [line.split()[0] for line in lines] == ["1/5", "2/5", "3/5", "4/5", "5/5"]
    assert [line.split()[2:4] for line in lines[1:4]] == [
        ["0.75", "0.2"],
        ["-", "0.3"],
        ["0.8", "0.4"],
    ]
    for column in ("epoch", "loss", "er", "f", "s"):  # numbers end where their titles end
        end = heading.index(f" {column}") + 1 + len(column) if column != "epoch" else 5
        assert all(line[end - 1] != " " and line[end : end + 1] in ("", " ") for line in lines)
    assert "".join(capsys.readouterr()) == "", "nothing is printed but the log"


def test_the_best_epochs_so_far_are_marked(model, caplog):
    _, _, *lines = lines_of(model, caplog)
    assert [line.endswith(" *") for line in lines] == [True, True, False, False, True]


def test_a_resumed_training_continues_numbers_and_the_best(model, caplog):
    history = {name: values[:3] for name, values in SCORES.items()}
    _, _, *lines = lines_of(model, caplog, 3, history)
    assert [line.split()[0] for line in lines] == ["4/5", "5/5"]
    assert [line.endswith(" *") for line in lines] == [False, True], "0.8 is worse than 0.75"


def test_an_early_stop_is_logged(model, caplog):
    stopping = keras.callbacks.EarlyStopping("val_er", mode="min", patience=1)
    *_, last = lines_of(model, caplog, callbacks=[stopping])
    assert "stopped early" in last


def test_a_line_of_a_seld_training_fits_100_columns(model, caplog):
    names = score_names("val_seld_error", LEARNING_PANELS)
    progress = ProgressLines("seld", names, "val_seld_error", "min", {})
    progress.set_params({"epochs": 1000, "steps": 10})
    progress.on_epoch_begin(999)
    with caplog.at_level("INFO"):
        progress.on_epoch_end(999, dict.fromkeys(names, 0.123456789))
    heading, line = told(caplog)
    assert max(len(heading), len(line)) <= LINE_COLUMNS and line.endswith(" *")
    assert heading.split()[:6] == ["epoch", "loss", "val_loss", "seld_error", "er", "f"]
    assert "doa_error_deg" in heading and "frame_recall" in heading


def test_scores_of_another_network_are_not_printed():
    curves = (Curve("val_f", "F"), Curve("val_teacher_f", "teacher", beside="val_f"))
    assert score_names("val_er", [Panel("Scores", "score", curves)]) == [
        *("loss", "val_loss", "val_er", "val_f")
    ]


class Terminal(io.StringIO):
    """A screen."""

    def isatty(self):
        return True


def test_a_terminal_shows_and_removes_a_progress_bar(model, caplog, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    lines_of(model, caplog)
    shown = screen.getvalue()
    assert "epoch 1/5" in shown and "/2 [" in shown and "<" in shown
    assert shown.split("\r")[-1].strip() == "", "the bar is gone at the end"
