"""Score tables of 2020 to 2025: lines, baselines, folders and the command."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from common.errors import ConfigError, DataError
from seld import score
from seld.metrics.jackknife import score_intervals
from seld.metrics.location_aware import LocationScorer
from seld.metrics.years import YEARS
from seld.recordings.csv_formats import write_rows
from seld.recordings.rows import ONSCREEN, SOURCE, no_rows
from seld.scores.location_score import LocationRecording, class_cells, location_report
from seld.scores.year_folders import formats_of, parse_year_name, score_year_folder
from tests.seld.metrics.test_location_aware import noisy, random_rows

PLACES = {
    "fold3_room4_mix001": (3, 4, None),
    "fold3_room21_mix002_ov2": (3, 21, 2),
    "fold4_room23_mix001": (4, 23, None),
    "mix005": (None, None, None),
}


def make_recordings() -> list[LocationRecording]:
    rng = np.random.default_rng(0)
    found = []
    for name, place in PLACES.items():
        reference = random_rows(rng, 80)
        found.append(LocationRecording(name, *place, reference, noisy(reference, rng), 80))
    return found


@pytest.fixture(scope="module")
def report():
    return location_report(make_recordings(), "dcase2024", 5, intervals=True)


def scored(recordings: list[LocationRecording], name: str) -> LocationScorer:
    scorer = LocationScorer(name, 5)
    for each in sorted(recordings, key=lambda each: each.name):
        scorer.update(each.reference, each.estimate, each.n_frames)
    return scorer


def test_names_hold_fold_whole_room_number_and_overlap():
    assert {name: parse_year_name(name) for name in PLACES} == PLACES
    assert parse_year_name("fold1_room2_mix003_ov1_rest")[2] == 1
    assert parse_year_name("split1_ir0_ov1_1") == (None, None, None)


def test_the_tables_have_lines_for_groups_sources_and_baselines(report):
    labels = [(row.label, row.n_recordings) for row in report.rows]
    assert labels[:7] == [
        ("all", 4),
        ("split 3", 2),
        ("split 4", 1),
        ("overlap 2", 1),
        ("room 4", 1),
        ("room 21", 1),
        ("room 23", 1),
    ]
    assert [label for label, _ in labels[7:-2]] == [
        "0 sources at once",
        "1 source at once",
        "2 sources at once",
        "3 sources at once",
        "4 or more sources at once",
        "sources of one class at once",
    ]
    assert labels[-2:] == [("always silent", 4), ("labels of another recording", 4)]


@pytest.mark.parametrize("average", ["macro", "micro", "occurring"])
@pytest.mark.parametrize("scorer", ["dcase2024", "corrected2024"])
def test_a_line_holds_the_scores_of_its_recordings(report, scorer, average):
    recordings = make_recordings()
    alone = LocationScorer(scorer, 5)
    for each in recordings[:2]:
        alone.update(each.reference, each.estimate, 80)
    expected = alone.result(average)
    for name in expected.rules.scores:
        found = report.score(name, "split 3", scorer=scorer, average=average)
        assert found == pytest.approx(getattr(expected, name), nan_ok=True)


def test_labels_of_another_recording_are_those_of_the_next(report):
    recordings = sorted(make_recordings(), key=lambda each: each.name)
    alone = LocationScorer("dcase2024", 5)
    for number, each in enumerate(recordings):
        alone.update(each.reference, recordings[(number + 1) % 4].reference)
    expected = alone.result().seld_score
    assert report.score("seld_score", "labels of another recording") == pytest.approx(expected)


def test_silence_scores_as_silence(report):
    assert report.score("er", "always silent") == 1.0
    assert report.score("f", "always silent") == 0.0
    assert math.isnan(report.score("doa_error_deg", "always silent"))


@pytest.mark.parametrize("name", YEARS)
def test_every_scorer_has_tables_with_the_corrected_one_beside(name):
    report = location_report(make_recordings()[:2], name, list("abcde"))
    assert report.rules[-1].name == YEARS[name].corrected
    assert (
        len({line.count("|") for line in report.to_markdown().splitlines() if "---" in line}) == 1
    )
    assert "By class" in report.to_text() and report.classes == tuple("abcde")
    assert set(report.to_dict()) >= {"rows", "by_class", "notes"}


def test_intervals_stand_beside_the_scores_of_all_recordings(report):
    text = report.to_text()
    assert "dcase2024: jackknife over recordings" in text and "95 % from" in text
    found = report.intervals["dcase2024"]["macro"]
    assert found.scores.f == report.score("f")
    assert "occur in one recording only" in text or not found.vanishing


def test_intervals_of_each_class_stand_in_its_cells(report):
    found = score_intervals(scored(make_recordings(), "dcase2024"), "macro").by_class["er"][2]
    titled = {table.title: table.rows for table in report.tables()}
    rows = titled["dcase2024: by class, with jackknife over recordings"]
    low, high = (f"{end:.3f}" for end in found)
    assert rows[0][1] == "ER" and rows[3][1].endswith(f" [{low}, {high}]")
    assert report.to_dict()["intervals_by_class"]["dcase2024"]["er"][2] == found.tolist()


def test_one_recording_and_unknown_lengths_are_noted():
    one = replace(make_recordings()[0], n_frames=None)
    text = location_report([one], "dcase2022", 5).to_text()
    assert "there is only one recording" in text and "Length of 1 recording(s): unknown" in text
    with pytest.raises(DataError, match="no recording to score"):
        location_report([], "dcase2022")


def write_folders(folder, scorer: str, n_classes: int = 5):
    formats = formats_of(YEARS[scorer])
    for side, fmt in zip(("estimate", "reference"), formats, strict=True):
        (folder / side / "dev-test").mkdir(parents=True)
        for each in make_recordings():
            rows = getattr(each, side).copy()
            rows[:, [SOURCE, ONSCREEN]] = 0
            write_rows(folder / side / "dev-test" / f"{each.name}.csv", rows, fmt)
    return folder / "estimate", folder / "reference"


@pytest.mark.parametrize("scorer", ["dcase2020", "dcase2023", "dcase2024", "dcase2025"])
def test_files_score_as_rows_in_memory(scorer, tmp_path):
    found = score_year_folder(*write_folders(tmp_path, scorer), scorer, classes=5)
    expected = location_report(make_recordings(), scorer, 5)
    for name in ("f", "doa_error_deg"):  # files round angles to whole degrees
        assert found.score(name, average="micro") == pytest.approx(
            expected.score(name, average="micro"), rel=0.08
        )
    assert found.score("f", "labels of another recording") <= found.score("f")


def test_files_of_two_years_are_scored_by_a_third(tmp_path):
    folders = write_folders(tmp_path, "dcase2024")
    found = score_year_folder(
        *folders, "dcase2022", formats=("submission2024", "metadata2024"), classes=5
    )
    assert found.score("f") > 0.1
    with pytest.raises(DataError, match=r"line 1: .*This looks like metadata2023"):
        score_year_folder(*folders, "dcase2022", classes=5)


def test_a_missing_prediction_is_silence_or_left_out(tmp_path):
    folders = write_folders(tmp_path, "dcase2024")
    (folders[0] / "dev-test" / "mix005.csv").unlink()
    silent = score_year_folder(*folders, "dcase2024", classes=5)
    left_out = score_year_folder(*folders, "dcase2024", classes=5, ignore_missing=True)
    assert silent.rows[0].n_recordings == 4 and left_out.rows[0].n_recordings == 3
    assert silent.score("f") < left_out.score("f")
    assert "counted as silence: 1 file(s): mix005.csv" in silent.to_text()
    assert "left out: 1 file(s): mix005.csv" in left_out.to_text()


def test_only_some_splits_are_scored_on_request(tmp_path):
    folders = write_folders(tmp_path, "dcase2024")
    found = score_year_folder(*folders, "dcase2024", classes=5, splits=[4])
    assert found.rows[0].n_recordings == 1
    with pytest.raises(DataError, match="There are: 3, 4"):
        score_year_folder(*folders, "dcase2024", classes=5, splits=[9])


def test_folders_that_do_not_fit_are_refused(tmp_path):
    estimates, references = write_folders(tmp_path, "dcase2024")
    with pytest.raises(DataError, match=r"no such folder.*predictions first"):
        score_year_folder(tmp_path / "none", references, "dcase2024")
    (estimates / "extra.csv").write_text("")
    with pytest.raises(DataError, match=r"Without metadata: 1 file\(s\): extra.csv"):
        score_year_folder(estimates, references, "dcase2024")
    (estimates / "extra.csv").rename(estimates / "mix005.csv")
    with pytest.raises(DataError, match="have the same name"):
        score_year_folder(estimates, references, "dcase2024")
    with pytest.raises(ConfigError, match="Received: 'dcase1999'"):
        score_year_folder(estimates, references, "dcase1999")


def test_lengths_come_from_the_sounds_next_to_the_metadata(tmp_path):
    import soundfile

    for name in ("metadata_dev", "estimates", "foa_dev"):
        (tmp_path / name).mkdir()
    write_rows(tmp_path / "metadata_dev" / "mix1.csv", no_rows(), "metadata2024")
    write_rows(tmp_path / "estimates" / "mix1.csv", no_rows(), "submission2024")
    soundfile.write(tmp_path / "foa_dev" / "mix1.wav", np.zeros(12_100), 24_000)
    report = score_year_folder(tmp_path / "estimates", tmp_path / "metadata_dev", "dcase2022")
    assert not any("Length" in note for note in report.notes)


def test_the_command_prints_tables_and_writes_them_as_json(tmp_path, capsys):
    estimates, references = write_folders(tmp_path, "dcase2025")
    out = tmp_path / "table.json"
    options = ["--scorer", "dcase2025", "--n-classes", "5", "--intervals", "--json", str(out)]
    assert score.main([str(estimates), str(references), *options]) == 0
    assert "corrected2025" in capsys.readouterr().out
    assert json.loads(out.read_text())["rows"][0]["label"] == "all"


def test_a_task_of_a_year_brings_its_scorer_formats_classes_and_published_values(tmp_path, capsys):
    estimates, references = write_folders(tmp_path, "dcase2022")
    found = {}
    for name, options in (
        ("task", ["--task", "seldnet2022-foa-multi"]),
        ("scorer", ["--scorer", "dcase2022"]),
    ):
        out = tmp_path / f"{name}.json"
        assert score.main([str(estimates), str(references), *options, "--json", str(out)]) == 0
        found[name] = json.loads(out.read_text())
    assert "female_speech" in capsys.readouterr().out
    assert found["task"]["classes"] == found["scorer"]["classes"]
    *rows, published = found["task"]["rows"]
    assert published["group"] == "published" and published["scores"]["dcase2022"]["macro"]
    assert rows == found["scorer"]["rows"]


def test_options_of_the_years_need_a_scorer(tmp_path, capsys):
    assert score.main([str(tmp_path), str(tmp_path), "--ignore-missing"]) == 2
    assert "--ignore-missing: for the scorers of 2020 to 2025" in capsys.readouterr().err


def test_a_class_without_matches_has_no_angle_in_its_line():
    values = {
        "f": np.array([0.5, 0.0]),
        "doa_error_deg": np.array([12.0, 180.0]),
        "recall": np.array([0.5, 0.0]),
    }
    assert class_cells(values, ("f", "doa_error_deg"), 0) == ["50.0 %", "12.0"]
    assert class_cells(values, ("f", "doa_error_deg"), 1) == ["0.0 %", "-"]
