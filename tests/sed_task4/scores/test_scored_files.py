"""A run and the score command give one table for the same files, whatever is odd in them."""

import json

import numpy as np
import pytest
import yaml

from common.errors import DataError
from common.settings.tasks import load_task
from sed_task4.dataset import DatasetConfig, find_clips
from sed_task4.labels import event_array
from sed_task4.score import main, score_files
from sed_task4.scores.systems import ScoringConfig, SystemOutput, TestSet, score_report
from sed_task4.submission import CLIPS, EVENTS, read_submission, write_run_files
from tests.sed_task4.test_annotations import HEADER, PARAMS, write

CLASSES = ("Cat", "Dog", "Speech")
SCORES = [
    f"{kind}_{mean}_{name}"
    for kind in ("event", "segment", "segment_200ms")
    for mean in ("macro", "micro")
    for name in ("f", "er")
]
TRUTH = {
    "a.wav": [(0, 1, 3), (1, 6, 14)],  # past the end
    "b.wav": [(2, 0.5, 2), (2, 0.5, 2)],  # twice
    "c.wav": [],
    "d.wav": [(0, 8.826, 8.677), (1, 0, 10)],  # backward
    "gone.wav": [(2, 3, 4)],  # no audio
    "out.wav": [(1, 3, 4)],  # to be removed
}


def rows_of(table):
    return "".join(
        f"{name}\t{on}\t{off}\t{CLASSES[k]}\n"
        for name, events in table.items()
        for k, on, off in events
    ) + "".join(f"{name}\t\t\t\n" for name, events in table.items() if not events)


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "data/metadata/validation"
    path.mkdir(parents=True)
    text = rows_of(TRUTH)
    (path / "validation.tsv").write_text(HEADER + text + "a.wav\t9.5\t10.2\tSpeech\n")
    (tmp_path / "data/files_to_remove.csv").write_text("filename\nout.wav\n")
    for name in set(TRUTH) - {"gone.wav", "b.wav"}:
        write(tmp_path / "data/audio/validation" / name)
    write(tmp_path / "data/audio/validation/b.flac")
    return tmp_path


def as_in_a_run(root, seed, stage="cnn"):
    """Random predictions of a run, its table, and its files in root/run/<stage>."""
    dataset = DatasetConfig(classes=CLASSES, strict=False)
    clips, _ = find_clips(root / "data", dataset, "validation")
    truth = [event_array(clip.events, CLASSES) for clip in clips]
    rng = np.random.default_rng(seed)
    guess = [
        np.clip(rows + np.array([0, 1, 1]) * rng.normal(0, 0.2, (len(rows), 3)), 0, 10)
        for rows in truth
    ]
    guess = [
        np.concatenate([rows, [[1, 4.0, 5.0]]]) if rng.integers(2) else rows[:1] for rows in guess
    ]
    names = [clip.name for clip in clips]
    write_run_files(root / "run" / stage, names, guess, CLASSES, [10.0] * len(names))
    scoring = ScoringConfig(empty_estimate_is_zero=bool(seed % 2))
    return (
        score_report(TestSet(names, truth, CLASSES), {"x": SystemOutput(guess)}, scoring),
        guess,
        scoring,
    )


@pytest.mark.parametrize("seed", range(4))
def test_files_of_a_run_score_as_the_run_does(root, seed):
    report, _, scoring = as_in_a_run(root, seed)
    reference = root / "data/metadata/validation/validation.tsv"
    found = score_files(
        root / "run/cnn" / EVENTS, reference, scoring, classes=CLASSES, strict=False
    )
    assert found.n_clips == report.n_clips == 4
    for name in SCORES:
        assert found.score(name) == pytest.approx(report.score(name), nan_ok=True), name
    remarks = " ".join(found.notes)
    for part in (
        "1 clip(s) are left out, see files_to_remove",
        "1 clip(s) of the reference were not predicted",
        "2 event(s) end after the clip, cut at 10 s",
        "1 event(s) end before they begin",
    ):
        assert part in remarks


def test_the_command_takes_scoring_and_classes_from_the_run(root, capsys):
    report, _, _ = as_in_a_run(root, 2)
    task = load_task(
        PARAMS,
        "cnn9",
        ["dataset.classes=[Cat, Dog, Speech]", "scoring.empty_estimate_is_zero=false"],
    )
    (root / "run/settings.yaml").write_text(yaml.safe_dump(json.loads(task.model_dump_json())))
    (root / "run/environment.json").write_text("{}")
    reference = str(root / "data/metadata/validation/validation.tsv")
    arguments = [
        str(root / "run/cnn" / EVENTS),
        reference,
        "--no-strict",
        "--json",
        str(root / "s.json"),
    ]
    assert main(arguments) == 0
    found = json.loads((root / "s.json").read_text())["rows"][0]
    assert list(found["classes"]) == list(CLASSES)
    assert found["scores"]["event_macro_f"] == pytest.approx(report.score("event_macro_f"))
    with pytest.raises(SystemExit):
        main([*arguments, "--collar", "1_0"])
    assert "Received: '1_0'" in capsys.readouterr().err


def test_tables_of_predict_score_as_the_run_does(root):
    report, guess, scoring = as_in_a_run(root, 3)
    folder = root / "predictions"
    folder.mkdir()
    for name, rows in zip(("a", "b", "d", "c"), guess, strict=True):
        events = "".join(
            f"{onset!r}\t{offset!r}\t{CLASSES[int(k)]}\t0.9\n" for k, onset, offset in rows.tolist()
        )
        (folder / f"{name}.tsv").write_text("onset\toffset\tlabel\tscore\n" + events)
    reference = root / "data/metadata/validation/validation.tsv"
    found = score_files(folder, reference, scoring, classes=CLASSES, strict=False)
    for name in SCORES:
        assert found.score(name) == pytest.approx(report.score(name), nan_ok=True), name
    with pytest.raises(DataError, match=r"has no table of any of the 6 clips, e.g. a\.tsv"):
        score_files(root, reference, classes=CLASSES, strict=False)


def test_predictions_as_peers_write_them_score_the_same(root):
    _, _, scoring = as_in_a_run(root, 1)
    reference = root / "data/metadata/validation/validation.tsv"
    frame, _ = read_submission(root / "run/cnn" / EVENTS, CLASSES, strict=False)
    expected = None
    for number, (separator, index) in enumerate((("\t", False), (",", True), (";", False))):
        path = root / f"{number}.csv"
        frame[["event_label", "onset", "offset", "filename"]].to_csv(
            path, sep=separator, index=index
        )
        found = score_files(path, reference, scoring, classes=CLASSES, strict=False)
        scores = [found.score(name) for name in SCORES]
        expected = expected or scores
        assert scores == pytest.approx(expected, nan_ok=True)


def test_estimates_in_milliseconds_are_refused_with_file_and_row(tmp_path):
    (tmp_path / "t.tsv").write_text(HEADER + "a.wav\t1\t3\tCat\n")
    (tmp_path / "e.tsv").write_text(HEADER + "a.wav\t1000\t3000\tCat\n")
    with pytest.raises(DataError, match=r"e\.tsv, line 2: the event begins at 1000 s.*--no-strict"):
        score_files(tmp_path / "e.tsv", tmp_path / "t.tsv", classes=CLASSES)
    report = score_files(tmp_path / "e.tsv", tmp_path / "t.tsv", classes=CLASSES, strict=False)
    assert any("1 event(s) begin after it, left out" in note for note in report.notes)


def test_estimates_past_the_end_are_cut_and_noted(root):
    (root / "t.tsv").write_text(HEADER + "a.wav\t1\t10\tCat\n")
    (root / "e.tsv").write_text(HEADER + "a.flac\t1\t14\tCat\n")
    report = score_files(root / "e.tsv", root / "t.tsv", classes=CLASSES)
    assert report.score("event_micro_f") == report.score("segment_micro_f") == 1.0
    remarks = " ".join(report.notes)
    assert "e.tsv: 1 event(s) end after the clip" in remarks and "a.flac for a.wav" in remarks


def test_a_run_names_the_clips_that_it_predicted(root):
    as_in_a_run(root, 0)
    assert (
        root / "run/cnn" / CLIPS
    ).read_text() == "filename\tduration_s\na.wav\t10.0\nb.wav\t10.0\nd.wav\t10.0\nc.wav\t10.0\n"
