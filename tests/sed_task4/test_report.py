"""Report of a run with several networks: scores side by side, and curves over all thresholds."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from common.display.page import Note, Picture
from sed_task4.report import _network_notes, curves, network_tables, networks
from sed_task4.scores.score_curves import CURVES, write_curves
from sed_task4.scores.tables import ScoreReport
from tests.sed_task4.scores.test_score_curves import CLASSES, DECODINGS, report_of

TWO = {"mean_teacher": DECODINGS["reached"], "mean_teacher, teacher": DECODINGS["exceeded"]}


@pytest.fixture(scope="module")
def report() -> ScoreReport:
    """The report of two networks, as read from a run."""
    return ScoreReport.from_dict(report_of(TWO).to_dict())


def test_classes_of_student_and_teacher_stand_side_by_side(report):
    (table,) = network_tables(report)
    heading, *rows = table.rows
    assert [row[0] for row in rows] == list(CLASSES)
    place = heading.index("event F: mean_teacher")
    assert heading[place + 1] == "event F: mean_teacher, teacher"
    of_both = [report.row(label).by_class["event_f"][0] for label in TWO]
    assert rows[0][place : place + 2] == [f"{100 * f:.1f} %" for f in of_both]
    assert rows[2][heading.index("PSDS 1: mean_teacher")] == "-"


def test_a_single_network_has_no_table_of_its_own():
    alone = report_of({"cnn": DECODINGS["reached"]})
    assert len(networks(alone)) == 1 and network_tables(alone) == []
    assert network_tables(None) == []


@pytest.mark.parametrize(("use", "wanted"), [("student", "the student"), ("teacher", "the teach")])
def test_a_note_tells_student_and_teacher_apart(report, use, wanted):
    task = SimpleNamespace(training=SimpleNamespace(teacher=SimpleNamespace(use=use)))
    (note,) = _network_notes(task, report)
    assert note.text.startswith(f"mean_teacher: {wanted}")
    assert "mean_teacher, teacher: the other network" in note.text
    task.training.teacher = None
    assert _network_notes(task, report) == []


def test_curves_are_drawn_and_oracles_are_named(report, tmp_path: Path):
    write_curves(tmp_path / CURVES, report_of(TWO).rows, CLASSES)
    pictures, notes = [], []
    for block in curves(tmp_path, report):
        (pictures if isinstance(block, Picture) else notes).append(block)
    assert [each.alt for each in pictures] == [
        "Curves of PSDS of mean_teacher, mean_teacher, teacher",
        "F against the threshold of mean_teacher, mean_teacher, teacher",
    ]
    text = " ".join(each.text for each in notes)
    assert "non-oracle" in text and "(oracle): an upper limit" in text


def test_a_run_of_an_earlier_version_says_that_it_lacks_the_curves(report, tmp_path: Path):
    (note,) = curves(tmp_path, report)
    assert isinstance(note, Note) and "no curves.json" in note.text and not note.problem


def test_a_run_without_scores_over_thresholds_has_no_chapter(tmp_path: Path):
    assert curves(tmp_path, None) == []
    assert curves(tmp_path, report_of(TWO, psds=False)) == []
