"""Reports that cannot be written, in whole or in part."""

import logging

import numpy as np

from common.cli.report import main
from common.errors import DataError
from common.reports.run import confusion_table, report_finished_run, shown


def test_a_folder_without_a_run_is_named(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert f"is {tmp_path} a run directory?" in capsys.readouterr().err


def test_a_part_that_cannot_be_shown_gives_the_reason():
    def gone() -> list:
        raise DataError("No features in features/. Extract them again.")

    (note,) = shown("The recordings", gone)
    assert (
        note.problem
        and note.text
        == "The recordings cannot be shown. No features in features/. Extract them again."
    )
    assert shown("Nothing", lambda: []) == []


def test_a_run_whose_report_cannot_be_written_stands(tmp_path, caplog, monkeypatch):
    def full(folder, task):
        raise DataError("Cannot write report.html: No space left on device. Free some space.")

    monkeypatch.setattr("common.reports.run.write_report", full)
    with caplog.at_level(logging.WARNING):
        report_finished_run(tmp_path, None)
    assert "The run is complete" in caplog.text and "No space left" in caplog.text
    assert f"python -m common.cli.report {tmp_path}" in caplog.text


def test_confusions_are_shaded_by_the_share_of_their_row():
    counts = np.array([[3, 1, 0], [0, 0, 0], [0, 2, 0]])
    table = confusion_table(counts, ("a", "b"), "seconds", "{:.0f} s".format)
    assert table.rows[1] == ["a", "3 s", "1 s", ""] and table.rows[2] == ["b", "", "", ""]
    assert table.shades == [[0.75, 0.25, 0], [0, 0, 0], [0, 1, 0]]
