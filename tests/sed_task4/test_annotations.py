"""Annotations of other tools and challenges; one verdict of checker, extraction and training."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from dcase_util.containers import MetaDataContainer

from common.cli.check_dataset import check_dataset
from common.errors import DataError
from common.settings.tasks import load_task
from sed_task4.clips.published import CHALLENGE_CLASSES, is_published
from sed_task4.dataset import (
    DatasetConfig,
    find_clips,
    parse_events,
    parse_names,
    parse_strong,
    parse_weak,
)
from sed_task4.extraction import run
from sed_task4.labels import event_array, frame_activity, tags_of_events

PARAMS = Path(__file__).parents[2] / "params.yaml"
CLASSES = ("Cat", "Dog", "Speech")
ROWS = [["a.wav", "1.5", "2.25", "Dog"], ["b.wav", "", "", ""], ["a.wav", "0", "3e0", "Speech"]]
EVENTS = [["a.wav", 1.5, 2.25, "Dog"], ["a.wav", 0.0, 3.0, "Speech"]]
COLUMNS = ["filename", "onset", "offset", "event_label"]


def as_text(rows, separator, order=(0, 1, 2, 3), index=False, header=COLUMNS):
    lines = [header, *rows] if header else rows
    cells = [[line[place] for place in order] for line in lines]
    if index:
        cells = [
            ["" if not number else str(number - 1), *line] for number, line in enumerate(cells)
        ]
    return "".join(separator.join(line) + "\n" for line in cells)


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 2, 0)])
@pytest.mark.parametrize("index", [False, True])
def test_strong_labels_are_read_with_any_separator_order_and_index(separator, order, index):
    events, names = parse_strong(as_text(ROWS, separator, order, index), CLASSES)
    assert events.values.tolist() == EVENTS and names == ["a.wav", "b.wav"]


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize("scene", [False, True])
def test_lists_without_header_are_read_as_dcase_util_reads_them(tmp_path, separator, scene):
    rows = [[*row[:1], *(["home"] if scene else []), *row[1:]] for row in (ROWS[0], ROWS[2])]
    text = as_text(rows, separator, range(len(rows[0])), header=None)
    (tmp_path / "x.txt").write_text(text)
    events, _ = parse_strong(text, CLASSES)
    theirs = MetaDataContainer().load(filename=str(tmp_path / "x.txt"))
    assert events.values.tolist() == EVENTS
    assert [[item.filename, item.onset, item.offset, item.event_label] for item in theirs] == EVENTS


def test_columns_named_as_by_dcase_util_are_found():
    header = ["file", "event_onset", "event_offset", "Event_Label"]
    assert parse_strong(as_text(ROWS, ",", header=header), CLASSES)[0].values.tolist() == EVENTS


@pytest.mark.parametrize(
    "text",
    [
        'filename\tevent_labels\na.wav\t"Speech,Dog"\nb.wav\tCat\n',
        'filename,event_labels\na.wav,"Speech, Dog"\nb.wav,Cat\n',
        'filename;event_labels\na.wav;Speech,Dog\nb.wav;"Cat"\n',
        ',event_labels,filename\r\n0,"Speech,Dog",a.wav\r\n1,Cat,b.wav\r\n',
        "filename\tevent_labels\na.wav\tSpeech,Dog\nb.wav\tCat\t\t\n\t\t\n",
    ],
)
def test_weak_labels_are_read_as_excel_and_pandas_write_them(text):
    assert parse_weak(text, CLASSES) == {"a.wav": ("Speech", "Dog"), "b.wav": ("Cat",)}


@pytest.mark.parametrize(
    "text",
    ["filename\na.wav\nb, c.wav\n", "a.wav\nb, c.wav\n", 'x,filename\n1,a.wav\n2,"b, c.wav"\n'],
)
def test_names_are_read_with_and_without_header(text):
    assert parse_names(text) == ["a.wav", "b, c.wav"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "filename,event_labels\na.wav,Speech,Dog\n",
            "line 2: 3 fields.*fields that hold commas in double quotes",
        ),
        (
            'filename\tevent_labels\na.wav\t"Speech,Dog\n',
            "line 2: a quote is opened and never closed",
        ),
        ("filename\tevent_labels\na.wav\t'Speech'\n", "line 2: unknown class .*Correct the quotes"),
        (
            "filename\tevent_labels\naudio/a.wav\tDog\n",
            "line 2: .*the name of a file without folders",
        ),
    ],
)
def test_weak_labels_that_cannot_be_read_name_the_remedy(text, message):
    with pytest.raises(DataError, match=message):
        parse_weak(text, CLASSES)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.wav;1,5;2;Dog", "line 2: .*'1,5' has a decimal comma"),
        ("a.wav;1_0;2;Dog", "line 2: .*without underscores: '1_0'"),
        ("a.wav;1;٣;Dog", "line 2: .*digits 0 to 9"),
        ("a.wav;1;2;Dog,Cat", "line 2: unknown class 'Dog,Cat'.*a row for each"),
    ],
)
def test_numbers_and_labels_of_strong_rows_name_the_remedy(row, message):
    with pytest.raises(DataError, match=message):
        parse_strong("filename;onset;offset;event_label\n" + row + "\n", CLASSES)


BACKWARD = "v0.wav\t8.826\t8.677\tDog\n"
HEADER = "\t".join(COLUMNS) + "\n"
TUBE = "Y00pbt6aJV8Y_350.000_360.000.wav"


@pytest.mark.parametrize(
    "row", [BACKWARD, f"{TUBE}\t3\t2\tDog\n{TUBE}\t10\t10.1\tDog\n" + 20 * f"{TUBE}\t1\t2\tCat\n"]
)
def test_published_events_are_read_as_they_are_and_counted(caplog, row):
    notes: list[str] = []
    with caplog.at_level(logging.INFO):
        events, _ = parse_events(HEADER + row, CHALLENGE_CLASSES, 10.0, "public.tsv", notes=notes)
    assert (events["offset"] < events["onset"]).sum() == 1
    assert "public.tsv: " in caplog.text and "1 event(s) end before they begin" in caplog.text
    assert len(notes) == 1 and notes[0] in caplog.text
    rows = event_array(events, CHALLENGE_CLASSES)
    assert (
        not frame_activity(rows[:1], 500, 50, 10).any() and tags_of_events(rows[:1], 10).sum() == 1
    )


@pytest.mark.parametrize(
    ("row", "classes"),
    [("v0.wav\t8.826\t8.677\tDog\n", CLASSES), ("v0.wav\t3\t2\tDog\n", CHALLENGE_CLASSES)],
)
def test_a_users_own_backward_event_is_refused_with_the_setting(row, classes):
    with pytest.raises(
        DataError, match=r"line 2: expected onset <= offset.*--set dataset\.strict=false"
    ):
        parse_strong(HEADER + row, classes)
    events, _ = parse_strong(HEADER + row, classes, strict=False)
    assert len(events) == 1


def test_published_files_in_other_units_are_refused():
    text = HEADER + f"{TUBE}\t0\t2000\tDog\n{TUBE}\t3000\t4000\tDog\n"
    with pytest.raises(DataError, match=r"line 3: the event begins at 3000 s.*milliseconds"):
        parse_events(text, CHALLENGE_CLASSES, 10.0)


@pytest.mark.parametrize(("n", "published"), [(692, True), (1168, True), (700, False)])
def test_published_files_are_recognised_by_their_clip_number(n, published):
    events, names = parse_strong(
        HEADER + "".join(f"{k}.wav\t1\t2\tDog\n" for k in range(n)), CHALLENGE_CLASSES
    )
    assert is_published(events, names, CHALLENGE_CLASSES) == published


def test_without_strict_events_beyond_the_clip_are_cut():
    times = ("-1\t1", "-2\t-1", "9\t11", "11\t12", "5\t4")
    rows = "".join(f"a.wav\t{each}\tDog\n" for each in times)
    notes: list[str] = []
    events, names = parse_events(HEADER + rows, CLASSES, 10.0, strict=False, notes=notes)
    assert events[["onset", "offset"]].values.tolist() == [[0, 1], [9, 10], [5, 4]] and names == [
        "a.wav"
    ]
    for kind in (
        "end after the clip, cut",
        "begin after it, left out",
        "begin before it, cut",
        "lie before it",
    ):
        assert f"1 event(s) {kind}" in notes[0]


# One verdict of checker and extraction.


@pytest.fixture
def root(tmp_path):
    """Two weakly, two strongly labelled clips of 1 s, and an evaluation set without metadata."""
    weak, strong = "filename\tevent_labels\nw1.wav\tDog\nw2.wav\tCat,Speech\n", HEADER
    texts = {
        "train/weak": weak,
        "validation/validation": strong + "v1.wav\t0\t1\tDog\nv2.wav\t0.5\t1\tCat\n",
    }
    for name, text in texts.items():
        path = tmp_path / "metadata" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    names = "train/weak/w1", "train/weak/w2", "validation/v1", "validation/v2", "eval/public/e1"
    for number, name in enumerate(names):
        write(tmp_path / "audio" / f"{name}.wav", number)
    return tmp_path


def write(path, seed=0, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.1, 0.1, rate), rate)


def verdicts(root, *overrides):
    """Verdicts of checker and extraction on a dataset: None, or the error."""
    task = load_task(
        PARAMS,
        "cnn9",
        [
            "dataset={classes: [Cat, Dog, Speech], sample_rate_hz: 8000, clip_s: 1.0}",
            "parallel.jobs=1",
            "features.fmax_hz=4000",
            f"dataset_dir={root}",
            f"feature_dir={root / 'features'}",
            *overrides,
        ],
    )
    report = check_dataset(task)
    errors = [each.text for each in report.findings if each.level == "error"]
    try:
        run(task, task.set_names, progress=False)
    except DataError as error:
        return errors, str(error), [each.text for each in report.findings]
    return errors, None, [each.text for each in report.findings]


VALIDATION, WEAK = "metadata/validation/validation.tsv", "metadata/train/weak.tsv"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (VALIDATION, HEADER + "v1.wav\t1000\t3000\tDog\n"),
        (VALIDATION, HEADER + "v1.wav\t0\t3000\tDog\nv2.wav\t8000\t9000\tDog\n"),
        (VALIDATION, HEADER + "v1.wav\t0.5\t0.2\tDog\n"),
        (VALIDATION, HEADER + "v1.wav\t0,5\t1\tDog\n"),
        (VALIDATION, HEADER + "v1.wav\t1_0\t11\tDog\n"),
        (VALIDATION, HEADER + 'v1.wav\t0\t1\t"Dog\n'),
        (VALIDATION, HEADER + "v1.wav\t0\t1\tdog\n"),
        (VALIDATION, "v1.wav\tDog\n"),
        (WEAK, "filename,event_labels\nw1.wav,Dog,Cat\n"),
        (WEAK, "filename\tevent_labels\nw1.wav\tHorse\n"),
        (WEAK, "filename\tevent_labels\nsub/w1.wav\tDog\n"),
    ],
)
def test_bad_labels_get_one_verdict_from_checker_and_extraction(root, path, text):
    (root / path).write_text(text)
    errors, stopped, _ = verdicts(root)
    assert stopped is not None and any(stopped in error for error in errors)
    assert str(root / path) in stopped and re.search(r"line \d", stopped)


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        (
            VALIDATION,
            HEADER + "v1.wav\t0.5\t1.2\tDog\nv2.wav\t\t\t\n",
            "1 event(s) end after the clip, cut at 1 s",
        ),
        (VALIDATION, as_text([["v1.wav", "0", "1", "Dog"]], ",", (3, 1, 2, 0), True), ""),
        (VALIDATION, "v1.wav;0;1;Dog\n", ""),
        (WEAK, 'filename,event_labels\nw1.wav,"Dog,Cat"\nw2.wav,Speech\n', ""),
        (WEAK, "filename\tevent_labels\nw1.flac\tDog\nw2.wav\tSpeech\n", "w1.wav for w1.flac"),
    ],
)
def test_odd_labels_are_accepted_by_both_with_a_warning(root, path, text, message):
    (root / path).write_text(text)
    errors, stopped, findings = verdicts(root)
    assert errors == [] and stopped is None
    assert any(message in finding for finding in findings) or not message


@pytest.mark.parametrize(
    "text", ["v1.wav\t0.5\t0.2\tDog\n", "v1.wav\t1\t2\tDog\nv1.wav\t0\t1\tCat\n"]
)
def test_without_strict_odd_events_are_used_with_a_warning(root, text):
    (root / VALIDATION).write_text(HEADER + text)
    assert verdicts(root)[1] is not None
    errors, stopped, findings = verdicts(root, "dataset.strict=false")
    assert errors == [] and stopped is None and any("1 event(s)" in finding for finding in findings)


def test_the_public_evaluation_set_needs_no_setting(root):
    path = root / "metadata/eval/public.tsv"
    path.parent.mkdir(parents=True)
    path.write_text(HEADER + "e1.wav\t8.826\t8.677\tDog\ne1.wav\t1\t2\tSpeech\n")
    classes = f"dataset.classes=[{', '.join(CHALLENGE_CLASSES)}]"
    errors, stopped, findings = verdicts(root, classes, "dataset.clip_s=10", "sets.test=[eval]")
    assert errors == [] and stopped is None
    assert any("public.tsv: 1 event(s) end before they begin" in finding for finding in findings)


def test_clips_without_metadata_are_used_in_every_format(root):
    folder = root / "audio/eval/public"
    for number, name in enumerate(
        ("e2.flac", "e3.WAV", "e4.ogg", "e5.mp3", "e6.aiff", "e7.au", "e8.caf"), start=2
    ):
        write(folder / name, number)
    for name in ("e9.m4a", "notes.txt", ".hidden.wav"):
        (folder / name).touch()
    errors, stopped, findings = verdicts(root, "sets.test=[eval]", "sets.validate_on=validation")
    assert errors == [] and stopped is None
    task = DatasetConfig(classes=CLASSES, clip_s=1.0)
    found = [clip.name for clip in find_clips(root, task, "eval")[0]]
    assert found == [
        "e1.wav",
        "e2.flac",
        "e3.WAV",
        "e4.ogg",
        "e5.mp3",
        "e6.aiff",
        "e7.au",
        "e8.caf",
    ]
    assert any(
        "2 file(s) are left out" in finding and "e9.m4a, notes.txt" in finding
        for finding in findings
    )


def test_removed_clips_are_left_out_with_any_suffix(root):
    write(root / "audio/eval/public/e2.flac")
    (root / "files_to_remove.csv").write_text("e2.wav\n")
    assert [clip.name for clip in find_clips(root, DatasetConfig(classes=CLASSES), "eval")[0]] == [
        "e1.wav"
    ]


def test_unlisted_files_are_reported_in_every_format(root):
    write(root / "audio/validation/x.flac")
    assert any(
        "are in no metadata that the task reads: x.flac" in text for text in verdicts(root)[2]
    )


def test_events_after_a_short_recording_are_reported(root):
    soundfile.write(
        root / "audio/validation/v2.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 2400), 8000
    )
    reported = verdicts(root)[2]
    assert any(
        "1 clip(s) have events that begin after the end of their recording: v2.wav" in text
        for text in reported
    )
