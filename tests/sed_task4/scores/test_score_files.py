"""Score files: written, read, scored, and refused where they cannot be used."""

import numpy as np
import pandas as pd
import pytest

from common.errors import DataError
from common.events.table import EventTable
from common.metrics.psds import sweep_scores
from sed_task4.score import main, score_files
from sed_task4.scores.score_files import (
    ClipScores,
    clip_edges,
    events_above,
    is_score_folder,
    parse_scores,
    read_score_folder,
    write_score_files,
)
from sed_task4.scores.systems import ScoringConfig

CLASSES = ("Cat", "Dog")
NAMES = ("a.wav", "b.wav", "c.wav")
TRUTH = [[(0, 1.0, 3.0), (1, 6.0, 9.5)], [(1, 0.5, 2.0)], []]
QUICK = ScoringConfig(sed_eval=False)
HEADER = "filename\tonset\toffset\tevent_label\n"


def random_clips(seed=0):
    rng = np.random.default_rng(seed)
    clips = []
    for rows in TRUTH:
        edges_s = clip_edges(50, 0.2, 9.9)
        scores = rng.random((50, 2)) * 0.6
        for k, onset, offset in rows:
            scores[int(onset / 0.2) : int(offset / 0.2), k] += 0.35
        clips.append(ClipScores(edges_s, scores.astype(np.float32)))
    return clips


@pytest.fixture
def folder(tmp_path):
    write_score_files(tmp_path / "scores", NAMES, random_clips(), CLASSES)
    lines = [
        f"{name}\t{onset}\t{offset}\t{CLASSES[k]}\n"
        for name, rows in zip(NAMES, TRUTH, strict=True)
        for k, onset, offset in rows
    ]
    (tmp_path / "truth.tsv").write_text(HEADER + "".join(lines) + "c.wav\t\t\t\n")
    (tmp_path / "durations.tsv").write_text(
        "filename\tduration\n" + "".join(f"{name}\t9.9\n" for name in NAMES)
    )
    return tmp_path


def test_written_scores_are_read_back_exactly(folder):
    found = read_score_folder(folder / "scores", NAMES, CLASSES)
    assert found.names == NAMES and found.notes == ()
    for mine, theirs in zip(found.clips, random_clips(), strict=True):
        np.testing.assert_array_equal(mine.edges_s, theirs.edges_s)
        np.testing.assert_array_equal(mine.scores, theirs.scores)


def test_files_have_the_form_of_sed_scores_eval(folder):
    table = pd.read_csv(folder / "scores" / "a.tsv", sep="\t")
    assert list(table.columns) == ["onset", "offset", *CLASSES]
    assert (table["offset"].to_numpy()[:-1] == table["onset"].to_numpy()[1:]).all()
    assert (table["offset"] > table["onset"]).all()
    # And what pandas writes is read.
    table.to_csv(folder / "a.tsv", sep="\t", index=False)
    clip, others = parse_scores((folder / "a.tsv").read_text(), CLASSES)
    np.testing.assert_allclose(clip.scores, random_clips()[0].scores, rtol=1e-12)
    assert others == ()


def test_a_folder_of_scores_has_the_psds_of_its_frames(folder):
    places = folder / "scores", folder / "truth.tsv"
    report = score_files(*places, QUICK, classes=CLASSES, audio=folder / "durations.tsv")
    clips = random_clips()
    table = EventTable.from_recordings([np.array(each).reshape(-1, 3) for each in TRUTH], 2)
    wanted = sweep_scores(table, [c.scores for c in clips], [c.edges_s for c in clips], 9.9)
    for name in ("psds1", "psds2", "best_f"):
        assert report.score(name) == pytest.approx(getattr(wanted, name)), name
    assert report.score("map") > 0.5 and "event_macro_f" in report.rows[0].scores
    assert any("Events: scores above 0.5" in note for note in report.notes)


def test_further_scores_are_computed_on_request(folder, capsys):
    arguments = [folder / "scores", folder / "truth.tsv", "--classes", "Cat,Dog"]
    arguments += ["--durations", folder / "durations.tsv", "--all-thresholds", "--points", "50"]
    arguments += ["--resamples", "20", "--json", folder / "s.json", "--threshold", "0.6"]
    assert main(list(map(str, arguments))) == 0
    text = capsys.readouterr().out
    for part in ("pAUC (chance 0.05)", "90 % intervals of 20 resamples", "PSDS 1 50"):
        assert part in text
    assert "Events: scores above 0.6" in text


def test_thresholds_out_of_range_are_refused(folder, capsys):
    arguments = [str(folder / "scores"), str(folder / "truth.tsv"), "--threshold", "1.5"]
    with pytest.raises(SystemExit):
        main(arguments)
    assert "expected a number from 0 to 1. Received: '1.5'" in capsys.readouterr().err
    with pytest.raises(ValueError, match="from 0 to 1"):
        events_above(random_clips()[0], -0.1)


def test_score_folders_and_folders_of_events_are_told_apart(folder):
    assert is_score_folder(folder / "scores")
    events = folder / "events"
    events.mkdir()
    (events / "a.tsv").write_text("onset\toffset\tlabel\tscore\n0\t1\tCat\t0.9\n")
    assert not is_score_folder(events)
    assert not is_score_folder(folder / "truth.tsv") and not is_score_folder(folder / "none")


TABLE = "onset\toffset\tCat\tDog\n0.0\t0.5\t0.1\t0.2\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE + "0.4\t1.0\t0.1\t0.2\n", r"line 3: the frame overlaps.*onset of 0\.5.*0\.4 s"),
        (TABLE + "0.6\t1.0\t0.1\t0.2\n", r"line 3: the frame leaves a gap"),
        (TABLE + "0.5\t0.5\t0.1\t0.2\n", r"line 3: a frame from 0\.5 to 0\.5 s has no length"),
        (TABLE.replace("0.0", "-1"), r"line 2: the first frame begins at -1 s"),
        (TABLE + "0.5\t1.0\tnan\t0.2\n", r"line 3, column Cat: expected a number.*'nan'"),
        (TABLE + "0.5\t1.0\t0,1\t0.2\n", r"line 3, column Cat: expected a number.*'0,1'"),
        (TABLE.replace("Dog", "Bird"), r"classes are missing.*Missing: Dog"),
        (TABLE.replace("onset\toffset", "offset\tonset"), r"it begins with other columns"),
        ("onset\toffset\tCat\tDog\n", r"has no frame"),
        (TABLE + "0.5\t1.0\t0.1\n", r"line 3: 3 fields, fewer"),
    ],
)
def test_tables_that_cannot_be_used_name_their_line(text, message):
    with pytest.raises(DataError, match=message):
        parse_scores(text, CLASSES, "a.tsv")


def test_minus_infinity_is_a_score_and_other_columns_are_named():
    text = "onset,offset,Dog,Bird,Cat\n0,0.5,-inf,1,0.5\n0.5,1,0.25,1,-inf\n"
    clip, others = parse_scores(text, CLASSES)
    assert clip.scores.tolist() == [[0.5, -np.inf], [-np.inf, 0.25]] and others == ("Bird",)


def test_clips_without_scores_are_counted_and_unknown_ones_refused(folder):
    (folder / "scores" / "b.tsv").rename(folder / "scores" / "z.tsv")
    with pytest.raises(DataError, match=r"1 score file\(s\) of clips that are not .*: z"):
        read_score_folder(folder / "scores", NAMES, CLASSES)
    found = read_score_folder(folder / "scores", NAMES, CLASSES, ignore_unknown=True)
    assert found.names == ("a.wav", "c.wav")
    text = " ".join(found.notes)
    assert "1 clip(s) of the reference have no score file and are left out: b.wav" in text
    assert "1 score file(s) of unknown clips are left out" in text
    places = folder / "scores", folder / "truth.tsv"
    report = score_files(*places, QUICK, classes=CLASSES, ignore_unknown=True)
    assert report.n_clips == 2 and set(found.notes) <= set(report.notes)
    with pytest.raises(DataError, match=r"no score file of any of the 1 clips, e\.g\. x\.tsv"):
        read_score_folder(folder / "scores", ["x.wav"], CLASSES)


def test_clips_of_one_name_are_not_written(tmp_path):
    clips = random_clips()[:2]
    with pytest.raises(DataError, match="the same name but for the suffix: a"):
        write_score_files(tmp_path, ["a.wav", "a.flac"], clips, CLASSES)


def test_empty_clips_are_dropped_with_their_false_alarms(folder):
    places = folder / "scores", folder / "truth.tsv"
    scored, dropped = (
        score_files(*places, QUICK.model_copy(update={"empty_clips": each}), classes=CLASSES)
        for each in ("scored", "dropped")
    )
    assert (scored.n_clips, dropped.n_clips) == (3, 2)
    assert any("1 clip(s) without events are left out" in note for note in dropped.notes)
    clips = random_clips()[:2]
    table = EventTable.from_recordings([np.array(each) for each in TRUTH[:2]], 2)
    wanted = sweep_scores(table, [c.scores for c in clips], [c.edges_s for c in clips], 10.0)
    assert dropped.score("psds1") == pytest.approx(wanted.psds1)
    assert dropped.score("psds2") == pytest.approx(wanted.psds2)
