"""Score tables, from recordings and from folders of files."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from common.errors import DataError
from common.io.files import write_json
from common.metrics.score_table import format_score
from seld.dataset import DatasetConfig, Events
from seld.labels import reference_rows
from seld.metrics.dcase2019 import DEFINITIONS, SeldScorer, reference_for
from seld.score import ScoredRecording, ScoringConfig, main, score_folder, score_report
from seld.submission import write_submission

DATASET = DatasetConfig(recording_s=10.0)
PLACES = [(1, 0, 1), (1, 1, 2), (2, 0, 2), (2, 1, 1)]  # split, room, overlap


def make_recordings() -> list[ScoredRecording]:
    rng = np.random.default_rng(0)
    recordings = []
    for number, (split, room, overlap) in enumerate(PLACES):
        onset = rng.uniform(0, 9, 6)
        azimuth_deg, elevation_deg = rng.integers(-18, 18, 6) * 10, rng.integers(-4, 5, 6) * 10
        columns = [rng.integers(0, 11, 6), onset, onset + 0.7, azimuth_deg, elevation_deg]
        events = Events.from_array(np.stack([*columns, np.ones(6)], axis=1))
        rows = reference_rows(events, DATASET.n_frames, 0.02)
        rows[:, 2] += 10 * (number + 1) * (rows[:, 2] < 100)
        name = f"split{split}_ir{room}_ov{overlap}_{number}"
        recordings.append(
            ScoredRecording(
                name, split, room, overlap, events, np.trunc(rows[::2]), DATASET.n_frames
            )
        )
    return recordings


def write_folders(root, recordings):
    """Writes recordings as a folder of submissions and one of metadata."""
    for folder in ("submissions", "metadata"):
        (root / folder).mkdir()
    for recording in recordings:
        write_submission(root / "submissions" / f"{recording.name}.csv", recording.estimate)
        lines = ["sound_event_recording,start_time,end_time,ele,azi,dist"]
        for k, onset, offset, azimuth, elevation, distance in recording.events.to_array().tolist():
            lines.append(
                f"{DATASET.classes[int(k)]},{onset!r},{offset!r},{elevation:g},{azimuth:g},{distance:g}"
            )
        (root / "metadata" / f"{recording.name}.csv").write_text("\n".join(lines) + "\n")
    return root / "submissions", root / "metadata"


@pytest.fixture(scope="module")
def report():
    published = {"er": 0.34, "f": 0.799, "doa_error_deg": 28.5, "frame_recall": 0.854}
    return score_report(make_recordings(), DATASET, published=published)


def test_another_system_has_a_line_with_its_own_scores():
    recordings = make_recordings()
    others = [replace(each, estimate=each.estimate[::3]) for each in recordings]
    report = score_report(recordings, DATASET, compared={"joint": others[::-1]})
    alone = score_report(others, DATASET)
    for definition in DEFINITIONS:
        for name in ("er", "f", "doa_error_deg", "frame_recall", "seld_error"):
            assert report.score(definition, name, "joint") == alone.score(definition, name)


def test_the_table_has_lines_for_groups_and_baselines(report):
    assert [(row.label, row.n_recordings) for row in report.rows] == [
        ("all", 4),
        ("split 1", 2),
        ("split 2", 2),
        ("overlap 1", 2),
        ("overlap 2", 2),
        ("room 0", 2),
        ("room 1", 2),
        ("always silent", 4),
        ("labels of another recording", 4),
        ("published", None),
    ]


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize(
    ("label", "members"), [("all", range(4)), ("overlap 2", [1, 2]), ("room 1", [1, 3])]
)
def test_a_line_holds_the_scores_of_its_recordings(report, definition, label, members):
    recordings = make_recordings()
    scorer = SeldScorer(definition)
    for number in members:
        each = recordings[number]
        reference = reference_for(definition, each.events, each.n_frames)
        scorer.update(reference, each.estimate, each.n_frames)
    expected = scorer.result()
    for name in ("er", "f", "doa_error_deg", "frame_recall", "seld_error"):
        assert report.score(definition, name, label) == getattr(expected, name)


def test_silence_scores_as_silence(report):
    for definition in DEFINITIONS:
        assert report.score(definition, "er", "always silent") == 1.0
        assert report.score(definition, "f", "always silent") == 0.0
    assert report.score("dcase2019", "doa_error_deg", "always silent") == 0.0
    assert math.isnan(report.score("corrected", "doa_error_deg", "always silent"))


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_labels_of_another_recording_are_those_of_the_next(report, definition):
    recordings = make_recordings()
    scorer = SeldScorer(definition)
    rule = DEFINITIONS[definition].label_rule
    for number, each in enumerate(recordings):
        rows = reference_rows(recordings[(number + 1) % 4].events, each.n_frames, 0.02, rule)
        reference = reference_for(definition, each.events, each.n_frames)
        scorer.update(reference, rows, each.n_frames)
    assert (
        report.score(definition, "seld_error", "labels of another recording")
        == scorer.result().seld_error
    )


def test_order_of_the_recordings_does_not_matter(report):
    backwards = score_report(make_recordings()[::-1], DATASET)
    assert repr(backwards.rows) == repr(report.rows[:-1])  # as text: NaN is not equal to itself


def test_a_single_recording_has_no_other_to_take_labels_from():
    report = score_report(make_recordings()[:1], DATASET)
    assert [row.label for row in report.rows][-1] == "always silent"
    assert "only one recording" in report.to_text()


def test_published_values_get_their_seld_error_where_it_follows(report):
    expected = (0.34 + 0.201 + 28.5 / 180 + 0.146) / 4
    assert report.score("dcase2019", "seld_error", "published") == pytest.approx(expected)
    part = score_report(make_recordings(), DATASET, published={"er": 0.5})
    assert dict(part.rows[-1].scores["dcase2019"]) == {"er": 0.5}
    assert score_report(make_recordings(), DATASET, published={}).rows[-1].group == "baseline"


def test_unknown_published_scores_are_refused():
    with pytest.raises(ValueError, match=r"some of er, f, .*Received: \['F1'\]"):
        score_report(make_recordings(), DATASET, published={"F1": 0.5})


def test_recordings_without_room_and_overlap_have_no_such_lines():
    each = make_recordings()[0]
    one = ScoredRecording("split0_1", 0, None, None, each.events, each.estimate, each.n_frames)
    assert [row.label for row in score_report([one], DATASET).rows] == [
        "all",
        "split 0",
        "always silent",
    ]


def test_an_unknown_row_is_named(report):
    with pytest.raises(KeyError, match="No row 'room 9'"):
        report.score("corrected", "er", "room 9")


def test_text_is_aligned_and_shows_both_definitions(report):
    lines = report.to_text().splitlines()
    assert lines[0].split() == ["dcase2019", "|", "corrected"]
    body = [line for line in lines if " | " in line]
    assert len({line.index("|") for line in body}) == 1
    assert len({len(line) for line in body[1:]}) == 1
    silent = next(line for line in lines if line.startswith("always silent"))
    assert silent.split("|")[1].split()[3] == "-"  # the undefined DOA error: ER, F, %, DOA error
    published = next(line for line in lines if line.startswith("published"))
    assert [cell.strip() for cell in re.split("  +", published)] == (
        [
            "published",
            "-",
            "0.340",
            "79.9 %",
            "28.5",
            "85.4 %",
            "0.211",
            "|",
            "-",
            "-",
            "-",
            "-",
            "-",
        ]
    )


def test_markdown_has_as_many_cells_in_each_line(report):
    table = [line for line in report.to_markdown().splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(report.rows)
    assert {line.count("|") for line in table} == {13}


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("f", 0.6849, "68.5 %"),
        ("frame_recall", 1.0, "100.0 %"),
        ("doa_error_deg", 13.25, "13.2"),
        ("er", 0.12345, "0.123"),
        ("er", math.inf, "inf"),
        ("doa_error_deg", math.nan, "-"),
        ("er", None, "-"),
    ],
)
def test_numbers_are_written_with_their_unit(name, value, text):
    assert format_score(name, value) == text


def test_json_has_null_for_what_is_undefined(tmp_path, report):
    write_json(tmp_path / "scores.json", report.to_dict())
    content = json.loads((tmp_path / "scores.json").read_text(), parse_constant=pytest.fail)
    silent = next(row for row in content["rows"] if row["label"] == "always silent")
    assert silent["scores"]["corrected"]["doa_error_deg"] is None
    assert silent["scores"]["dcase2019"]["er"] == 1.0
    assert content["counts"]["corrected"]["directions"]["n_frames"] == 4 * DATASET.n_frames
    assert content["counts"]["dcase2019"]["frame_er"] >= 0


def test_no_recordings_cannot_be_scored():
    with pytest.raises(DataError, match="no recording to score"):
        score_report([], DATASET)


def test_directions_off_the_grid_leave_the_official_columns_undefined():
    each = make_recordings()[0]
    events = Events.from_array([[0, 1, 2, 33, 0, 1], [0, 3, 4, 30, 0, 1]])
    estimate = reference_rows(events, DATASET.n_frames, 0.02)
    report = score_report(
        [ScoredRecording("odd", 1, 0, 1, events, estimate, each.n_frames)], DATASET
    )
    assert all(
        math.isnan(report.score("dcase2019", name))
        for name in ("er", "f", "doa_error_deg", "seld_error")
    )
    assert (report.score("corrected", "f"), report.score("corrected", "doa_error_deg")) == (
        1.0,
        0.0,
    )
    assert "dcase2019: undefined" in report.to_text()
    assert "since 1 event(s) in 1 recording(s), the first in odd, are off" in report.notes[0]
    assert json.loads(json.dumps(report.to_dict()["counts"])).keys() == {"corrected"}


# --- folders
# ------------------------------------------------------------------------------------------


def test_files_give_the_same_table_as_arrays(tmp_path, report):
    table = score_folder(*write_folders(tmp_path, make_recordings()), DATASET)
    assert repr(table.rows) == repr(score_report(make_recordings(), DATASET).rows)
    assert table.score("corrected", "seld_error") == report.score("corrected", "seld_error")


def test_a_missing_submission_is_named(tmp_path):
    submissions, metadata = write_folders(tmp_path, make_recordings())
    (submissions / "split1_ir1_ov2_1.csv").unlink()
    with pytest.raises(
        DataError, match=r"submissions does not.*Missing: 1 file.*split1_ir1_ov2_1\.csv\. Predict"
    ):
        score_folder(submissions, metadata, DATASET)


def test_an_extra_submission_is_named(tmp_path):
    submissions, metadata = write_folders(tmp_path, make_recordings())
    (submissions / "split9_ir1_ov2_1.csv").touch()
    with pytest.raises(
        DataError, match=r"Without metadata: 1 file.*split9_ir1_ov2_1\.csv\. Move them away"
    ):
        score_folder(submissions, metadata, DATASET)
    with pytest.raises(DataError, match="Without metadata"):
        score_folder(submissions, metadata, DATASET, splits=[1])


def test_splits_without_submissions_are_left_out_on_request_only(tmp_path):
    submissions, metadata = write_folders(tmp_path, make_recordings())
    for path in submissions.glob("split2*"):
        path.unlink()
    with pytest.raises(
        DataError, match=r"No file is there of split 2: `--splits 1` scores the others"
    ):
        score_folder(submissions, metadata, DATASET)
    report = score_folder(submissions, metadata, DATASET, splits=[1])
    assert [row.label for row in report.rows][:2] == ["all", "split 1"]
    assert report.rows[0].n_recordings == 2
    with pytest.raises(DataError, match=r"No metadata of the splits asked for. There are: 1, 2"):
        score_folder(submissions, metadata, DATASET, splits=[7])


def test_submissions_of_other_splits_are_left_out_on_request(tmp_path):
    submissions, metadata = write_folders(tmp_path, make_recordings())
    assert score_folder(submissions, metadata, DATASET, splits=[2]).rows[0].n_recordings == 2


@pytest.mark.parametrize("empty", ["submissions", "metadata"])
@pytest.mark.parametrize("made", [True, False])
def test_a_missing_or_empty_folder_is_an_error(tmp_path, empty, made):
    folders = dict(
        zip(("submissions", "metadata"), write_folders(tmp_path, make_recordings()), strict=True)
    )
    folders[empty] = tmp_path / "empty"
    if made:
        (tmp_path / "empty").mkdir()
    received = r"no \.csv file in it" if made else "no such folder"
    with pytest.raises(DataError, match=rf"{tmp_path / 'empty'}: expected .*{received}"):
        score_folder(folders["submissions"], folders["metadata"], DATASET)


def test_bad_lines_of_either_folder_are_named(tmp_path):
    submissions, metadata = write_folders(tmp_path, make_recordings())
    path = metadata / "split1_ir0_ov1_0.csv"
    path.write_text(path.read_text() + "cough,99,100,0,0,1\n")
    with pytest.raises(DataError, match=rf"{path}, line 8: the event starts at 99 s"):
        score_folder(submissions, metadata, DATASET)
    path = submissions / "split1_ir0_ov1_0.csv"
    path.write_text("0,1,2,3\n0,44,2,3\n")
    (metadata / path.name).write_text("")
    with pytest.raises(DataError, match=rf"{path}, line 2: unknown class"):
        score_folder(submissions, metadata, DATASET)


# --- command
# ------------------------------------------------------------------------------------------


@pytest.fixture
def short_recordings(monkeypatch, tmp_path):
    """Folders of submissions and metadata, and the options for their length."""
    monkeypatch.chdir(tmp_path)  # no params.yaml here: the installed one is used
    folders = write_folders(tmp_path, make_recordings())
    return [*map(str, folders), "--set", "dataset.recording_s=10"]


def test_the_command_prints_the_table_beside_the_published_values(short_recordings, capsys):
    assert main([*short_recordings, "--task", "2", "--json", "scores.json"]) == 0
    printed = capsys.readouterr().out
    expected = score_report(
        make_recordings(), DATASET, published={"er": 0.35, "f": 0.8, "doa_error_deg": 30.8}
    )
    assert expected.to_text().splitlines()[3] in printed.splitlines()  # the line of all recordings
    assert re.search(
        r"^published, TAU 2019 MIC +- +0\.350 +80\.0 % +30\.8 +84\.0 %", printed, re.MULTILINE
    )
    assert "Published: task 2, " in printed
    assert json.loads(Path("scores.json").read_text())["rows"][0]["n_recordings"] == 4


def test_the_command_prints_markdown_and_single_splits(short_recordings, capsys):
    assert main([*short_recordings, "--markdown", "--splits", "2"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("|  | recordings | ER (dcase2019) |")
    assert "| all | 2 |" in printed
    assert "split 1" not in printed


def test_the_command_ends_with_one_message_on_bad_input(short_recordings, capsys):
    assert main(["nowhere", *short_recordings[1:], "--json", "scores.json"]) == 2
    message = capsys.readouterr().err
    assert message.startswith(
        "error: nowhere: expected a folder of submission files, one .csv per recording. "
    )
    assert message.endswith(
        "Received: no such folder. The order is submissions first, then metadata.\n"
    )
    assert not Path("scores.json").exists()


@pytest.mark.parametrize(
    "settings", [{"scorer": "dcase2018"}, {"threshold": 0.0}, {"threshold": 1.0}, {"treshold": 0.5}]
)
def test_impossible_scoring_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        ScoringConfig(**settings)
