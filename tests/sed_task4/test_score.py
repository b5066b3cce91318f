"""Score tables, the scorer of single clips, and the command."""

import json
import math

import numpy as np
import pytest

from common.errors import DataError
from common.events.table import EventTable
from common.io.files import write_json
from common.metrics.event_based import event_based_scores
from common.metrics.score_table import format_score
from common.metrics.sed_eval_scores import event_based_by_sed_eval, segment_based_by_sed_eval
from common.metrics.tagging import tag_scores
from sed_task4.decoding import DecodingConfig, decode_clip
from sed_task4.score import main, score_files
from sed_task4.scores import systems
from sed_task4.scores.maestro import maestro_scores
from sed_task4.scores.systems import (
    ScoringConfig,
    SystemOutput,
    TestSet,
    score_report,
    tags_of,
    with_maestro,
)
from sed_task4.scores.tables import ScoreReport
from sed_task4.submission import write_submission
from sed_task4.validation import ClipScorer
from tests.common.metrics.random_events import random_tables

CLASSES = ("Cat", "Dog", "Blender", "Frying", "Speech")


def make_set(seed: int = 0) -> tuple[TestSet, SystemOutput]:
    """Forty clips with predictions: events, tags and frames of 0.2 s."""
    rng = np.random.default_rng(seed)
    truth, guess = ([each.of_recording(n) for n in range(40)] for each in random_tables(seed))
    frames = []
    for rows in guess:
        scores = np.round(rng.uniform(0, 0.4, (50, 5)), 2)
        for k, onset_s, offset_s in rows:
            scores[int(onset_s / 0.2) : int(np.ceil(offset_s / 0.2)), int(k)] += 0.5
        frames.append(np.minimum(scores, 1.0))
    tags = np.stack([each.max(axis=0) for each in frames])
    return TestSet([f"{n:02d}.wav" for n in range(40)], truth, CLASSES), SystemOutput(
        guess, tags, frames, 0.2
    )


@pytest.fixture(scope="module")
def report():
    test, output = make_set()
    return score_report(
        test, {"a system": output}, published={"event_macro_f": 0.231, "event_macro_er": 1.502}
    )


def test_the_tables_have_system_baselines_and_published_scores(report):
    assert [row.label for row in report.rows] == [
        "a system",
        "always silent",
        "always active",
        "true tags, whole clip",
        "published",
    ]


def test_the_numbers_are_those_of_sed_eval_and_scikit_learn(report):
    test, output = make_set()
    tables = test.table, EventTable.from_recordings(output.events, 5)
    event = event_based_by_sed_eval(*tables, CLASSES, empty_estimate_is_zero=True)
    assert report.score("event_macro_f") == event["macro_f"]
    assert report.score("event_micro_er") == event["er"]
    for name, segment_s in (("segment", 1.0), ("segment_200ms", 0.2)):
        segment = segment_based_by_sed_eval(
            *tables, CLASSES, segment_s, empty_estimate_is_zero=True
        )
        assert report.score(f"{name}_macro_f") == segment["macro_f"]
        assert report.score(f"{name}_macro_er") == segment["macro_er"]
    assert report.score("map") == tag_scores(test.true_tags, output.tags).map
    assert not any("differ" in note for note in report.notes)
    assert "F and ER by sed_eval." in report.notes


def test_without_sed_eval_the_numbers_are_the_same(report):
    test, output = make_set()
    fast = score_report(test, {"a system": output}, ScoringConfig(sed_eval=False))
    for name, value in fast.rows[0].scores.items():
        assert report.score(name) == pytest.approx(value, rel=1e-9), name


def test_a_difference_to_sed_eval_is_noted(monkeypatch, caplog):
    test, output = make_set()
    wrong = {"f": 0.5, "er": 0.5, "macro_f": 0.5, "macro_er": 0.5}
    monkeypatch.setattr(systems, "event_based_by_sed_eval", lambda *arguments, **settings: wrong)
    report = score_report(test, {"a system": output}, ScoringConfig(psds=False))
    assert any("sed_eval differ" in note for note in report.notes)
    assert "please report" in caplog.text


def test_silence_and_true_tags_score_as_they_must(report):
    assert report.score("event_macro_f", "always silent") == 0.0
    assert report.score("event_micro_er", "always silent") == 1.0
    assert (
        report.score("clip_macro_f", "true tags, whole clip")
        == report.score("map", "true tags, whole clip")
        == 1.0
    )
    assert report.score("segment_macro_f", "true tags, whole clip") > report.score(
        "segment_macro_f", "always active"
    )
    assert "psds1" not in report.rows[1].scores


def test_class_rows_hold_each_class(report):
    test, output = make_set()
    scores = event_based_scores(
        test.table, EventTable.from_recordings(output.events, 5), empty_estimate_is_zero=True
    )
    by_class = report.rows[0].by_class
    assert by_class["event_f"] == scores.class_f.tolist()
    assert by_class["n_events"] == test.table.counts().tolist()
    assert by_class["n_clips"] == tags_of(test.events, 5).sum(axis=0).tolist()


def test_text_and_markdown_tables_are_regular(report):
    for table in report.to_text().split("\n\n")[:3]:
        assert len({len(line) for line in table.split("\n")[1:]}) == 1
    for table in report.to_markdown().split("\n\n"):
        lines = [line for line in table.split("\n") if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1
    for text in (report.to_text(), report.to_markdown()):
        for part in (
            "PSDS 1",
            "0.2 s F",
            "Electric" if "Electric" in text else "Blender",
            "1.502",
            "23.1 %",
        ):
            assert part in text


def test_the_dictionary_is_plain(report, tmp_path):
    write_json(tmp_path / "scores.json", report.to_dict())
    stored = json.loads((tmp_path / "scores.json").read_text())
    assert stored["rows"][0]["scores"]["event_macro_f"] == report.score("event_macro_f")
    assert set(stored["rows"][0]["classes"]) == set(CLASSES)
    assert stored["n_clips"] == 40


def test_an_absent_class_is_noted_with_infinite_error_rate():
    test = TestSet(["a", "b"], [np.array([[0, 1.0, 2.0]]), np.zeros((0, 3))], ("x", "y"))
    output = SystemOutput(
        [np.array([[0, 1.0, 2.0], [1, 3.0, 4.0]]), np.zeros((0, 3))], np.array([[0.9, 0.8], [0, 0]])
    )
    text = score_report(test, {"one": output}).to_text()
    assert "No reference events of y" in text and " inf" in text
    assert "mAP is 0.500" in text


def test_a_set_without_any_event_has_a_table_of_dashes():
    test = TestSet(["a", "b"], [np.zeros((0, 3))] * 2, ("x", "y"))
    for events in ([np.zeros((0, 3))] * 2, [np.array([[1, 0.0, 1.0]])] * 2):
        text = score_report(
            test, {"one": SystemOutput(events, np.zeros((2, 2)), [np.zeros((5, 2))] * 2, 2.0)}
        ).to_text()
        assert "no event at all" in text and " -" in text


def test_unusable_predictions_are_refused():
    test, output = make_set()
    with pytest.raises(DataError, match="nothing to score"):
        score_report(TestSet([], [], CLASSES), {"a": SystemOutput([])})
    with pytest.raises(DataError, match="nothing to score"):
        score_report(test, {})
    with pytest.raises(ValueError, match=r"events of 40 clips\. Received: 1"):
        score_report(test, {"a": SystemOutput(output.events[:1])})
    with pytest.raises(ValueError, match=r"Received: \['F1'\]"):
        score_report(
            test, {"a": output}, ScoringConfig(sed_eval=False, psds=False), published={"F1": 0.5}
        )
    with pytest.raises(KeyError, match="No row 'b'"):
        score_report(test, {"a": output}, ScoringConfig(sed_eval=False, psds=False)).score(
            "map", "b"
        )


def test_numbers_are_written_for_readers():
    assert format_score("event_macro_f", 0.12345) == "12.3 %"
    assert format_score("event_macro_er", 4.5e15) == "inf"
    assert format_score("map", math.nan) == format_score("map", None) == "-"
    assert format_score("psds1", 0.5) == "0.500" and format_score("n_clips", 12.0) == "12"


def write_files(folder, test, output):
    paths = folder / "estimate.tsv", folder / "reference.tsv"
    write_submission(paths[0], test.names, output.events, test.classes)
    write_submission(paths[1], test.names, test.events, test.classes)
    silent = [name for name, rows in zip(test.names, test.events, strict=True) if not len(rows)]
    with paths[1].open("a") as file:
        file.writelines(f"{name}\t\t\t\n" for name in silent)
    return paths


def test_the_command_scores_files_as_the_report_does(report, tmp_path, capsys):
    paths = write_files(tmp_path, *make_set())
    assert (
        main(
            [*map(str, paths), "--classes", ",".join(CLASSES), "--json", str(tmp_path / "out.json")]
        )
        == 0
    )
    stored = json.loads((tmp_path / "out.json").read_text())
    for name in ("event_macro_f", "event_micro_er", "segment_200ms_macro_f", "segment_macro_er"):
        assert stored["rows"][0]["scores"][name] == pytest.approx(report.score(name), rel=1e-12)
    assert "Mean over classes (macro)" in capsys.readouterr().out
    assert main([*map(str, paths), "--classes", ",".join(CLASSES), "--markdown"]) == 0
    assert "| estimate |" in capsys.readouterr().out


def test_estimates_of_unknown_files_are_refused_or_left_out(tmp_path, capsys):
    test, output = make_set()
    paths = write_files(tmp_path, test, output)
    with paths[0].open("a") as file:
        file.write("elsewhere.wav\t0\t1\tCat\n")
    assert main([*map(str, paths), "--classes", ",".join(CLASSES)]) != 0
    assert "1 file(s) that" in capsys.readouterr().err
    report = score_files(*paths, classes=CLASSES, ignore_unknown=True)
    expected = score_report(test, {"x": SystemOutput(output.events)}, ScoringConfig(sed_eval=False))
    assert report.score("event_macro_f") == pytest.approx(expected.score("event_macro_f"))


def test_clips_without_an_estimate_count_as_silent(tmp_path):
    test, _ = make_set()
    empty = SystemOutput([np.zeros((0, 3))] * 40)
    report = score_files(*write_files(tmp_path, test, empty), classes=CLASSES)
    assert report.score("event_micro_er") == 1.0
    assert any("40 clip(s) without an estimate" in note for note in report.notes)


def test_clips_one_by_one_score_as_the_set_does():
    test, output = make_set(1)
    decoding = DecodingConfig(
        high_threshold=0.6, low_threshold=0.45, tag_threshold=0.5, smooth_frames=1, salt_frames=0
    )
    scorer = ClipScorer(5, decoding, 0.2)
    for name, frames, clip, events in zip(
        test.names, output.frames, output.tags, test.events, strict=True
    ):
        scorer.update(name, frames, clip, events)
    decoded = [
        decode_clip(frames, clip, decoding, 0.2, clip_s=10.0)
        for frames, clip in zip(output.frames, output.tags, strict=True)
    ]
    row = systems.score_system(test, SystemOutput(decoded, output.tags), ScoringConfig())
    assert scorer.result() == row.scores
    assert scorer.names == test.names


def test_weak_clips_give_only_tag_scores():
    scorer = ClipScorer(2, DecodingConfig(), 0.1)
    assert scorer.result() == {}
    scorer.update("a", np.zeros((5, 2)), np.array([0.9, 0.2]))
    scorer.update("b", np.zeros((5, 2)), np.array([0.9, 0.2]), tags=np.array([-1, -1]))
    assert scorer.result() == {}
    scorer.update("c", np.zeros((5, 2)), np.array([0.9, 0.2]), tags=np.array([1, 0]))
    scorer.update("d", np.zeros((5, 2)), np.array([0.1, 0.4]), tags=np.array([0, 1]))
    result = scorer.result()
    assert result["map"] == 1.0 and "event_macro_f" not in result
    numbers, targets = scorer.tag_targets
    assert list(numbers) == [2, 3] and targets.tolist() == [[True, False], [False, True]]
    assert scorer.tag_probabilities.shape == (4, 2)


def maestro_of(*scores):
    """Scores of one recording of four seconds: two classes, of which only the first occurs."""
    truth = EventTable.from_recordings([np.array([[0, 0.0, 2.0]])], 2)
    return maestro_scores(truth, [np.stack([scores, scores], axis=1)], [4.0])


MAESTRO = {
    "a system": maestro_of(0.9, 0.8, 0.2, 0.1),
    "always active": maestro_of(1.0, 1.0, 1.0, 1.0),
}


def test_recordings_of_maestro_stand_beside_the_clips(report, tmp_path):
    classes, published = ("car", "footsteps"), {"maestro_pauc": 0.73}
    joined = with_maestro(report, MAESTRO, classes)
    assert [row.label for row in joined.rows] == [row.label for row in report.rows]
    assert (
        joined.score("maestro_auc") == 1.0 and joined.score("maestro_auc", "always active") == 0.5
    )
    assert joined.score("map") == report.score("map")
    titles = [table.title for table in joined.tables()]
    assert titles[-2:] == [
        "MAESTRO real, seconds of recordings, mean over classes",
        "Classes of MAESTRO real: a system",
    ]
    assert titles[:-2] == [table.title for table in report.tables()]
    assert "no second of footsteps" in joined.to_text()
    write_json(tmp_path / "scores.json", joined.to_dict())
    again = ScoreReport.from_dict(json.loads((tmp_path / "scores.json").read_text()))
    assert again.to_text() == joined.to_text()
    alone = with_maestro(None, MAESTRO, classes, published)
    assert [(row.group, row.label) for row in alone.rows] == [
        ("system", "a system"),
        ("baseline", "always active"),
        ("published", "published"),
    ]
    assert [len(table.rows) for table in alone.tables()] == [4, 3]
    assert ScoreReport.from_dict(alone.to_dict()).to_text() == alone.to_text()


def test_parts_of_a_set_keep_their_clips_and_classes():
    events = [np.array([[0, 0.0, 1.0], [2, 1.0, 2.0]]), np.array([[1, 0.0, 3.0]])]
    test = TestSet(["a", "b"], events, ("Cat", "Dog", "Blender")).of_classes([1, 2])
    assert test.classes == ["Dog", "Blender"]
    assert [each.tolist() for each in test.events] == [[[1, 1, 2]], [[0, 0, 3]]]
    limits = np.array([0.1, 0.2, 0.3])
    frames = [np.arange(6.0).reshape(2, 3)] * 2
    output = SystemOutput(events, np.eye(3)[:2], frames, 0.02, limits).of_classes([1, 2])
    assert output.tags.tolist() == [[0, 0], [1, 0]] and output.tag_thresholds.tolist() == [0.2, 0.3]
    assert output.frames[0].tolist() == [[1, 2], [4, 5]] and output.events[1].tolist() == [
        [0, 0, 3]
    ]
