"""Clips and metadata of DCASE task 4: layouts, kinds of labels, missing and bad files."""

import logging
from pathlib import Path

import pytest
from dcase_util.containers import MetaDataContainer
from pydantic import ValidationError

from common.errors import ConfigError, DataError
from sed_task4.clips.layouts import LAYOUTS
from sed_task4.dataset import (
    Clip,
    DatasetConfig,
    check_disjoint,
    cut_events,
    events_by_name,
    find_clips,
    find_metadata,
    labels_of,
    parse_names,
    parse_strong,
    parse_weak,
    read_strong,
    warn_absent_classes,
)
from tests.sed_task4.written_files import write_files

CLASSES = DatasetConfig().classes
STRONG_HEADER = "filename\tonset\toffset\tevent_label\n"
STRONG = (
    STRONG_HEADER + "a_0.000_10.000.wav\t0.000\t9.971\tVacuum_cleaner\n"
    "b.wav\t\t\t\n"
    "c.wav\t1.5\t2.25\tDog\n"
    "a_0.000_10.000.wav\t2.5\t3\tSpeech\n"
    "c.wav\t0.5\t1.25\tDog\n"
)
WEAK = "filename\tevent_labels\nu.wav\tAlarm_bell_ringing,Speech\nv.wav\tDog\n"


def test_strong_labels_are_read_in_the_order_of_the_file():
    events, names = parse_strong(STRONG, CLASSES)
    assert names == ["a_0.000_10.000.wav", "b.wav", "c.wav"]
    assert list(events.columns) == ["filename", "onset", "offset", "event_label"]
    assert events.values.tolist() == [
        ["a_0.000_10.000.wav", 0.0, 9.971, "Vacuum_cleaner"],
        ["c.wav", 1.5, 2.25, "Dog"],
        ["a_0.000_10.000.wav", 2.5, 3.0, "Speech"],
        ["c.wav", 0.5, 1.25, "Dog"],
    ]


def test_strong_and_weak_labels_are_those_that_dcase_util_reads(tmp_path):
    write_files(tmp_path, {"strong.csv": STRONG, "weak.csv": WEAK})
    events, names = read_strong(tmp_path / "strong.csv", DatasetConfig())
    theirs = MetaDataContainer(filename=str(tmp_path / "strong.csv")).load()
    assert {item.filename for item in theirs} == set(names)
    assert [
        (item.filename, item.onset, item.offset, item.event_label)
        for item in theirs
        if item.event_label is not None
    ] == [tuple(row) for row in events.values.tolist()]
    (tmp_path / "tags.csv").write_text(
        WEAK.replace("event_labels", "tags")
    )  # its name for the column
    tags = {
        item.filename: tuple(item.tags)
        for item in MetaDataContainer(filename=str(tmp_path / "tags.csv")).load()
    }
    assert parse_weak((tmp_path / "weak.csv").read_text(), CLASSES) == tags


def test_weak_labels_of_several_rows_are_deduplicated():
    text = (
        "filename\tevent_labels\na.wav\tDog,"
        " Cat,Dog\nb.wav\nb.wav\tSpeech\na.wav\tSpeech\nc.wav\t\n"
    )
    assert parse_weak(text, CLASSES) == {
        "a.wav": ("Dog", "Cat", "Speech"),
        "b.wav": ("Speech",),
        "c.wav": (),
    }


@pytest.mark.parametrize(
    "text", ["filename\nb.wav\na.wav\nb.wav\n", "\ufefffilename\r\nb.wav\r\na.wav\r\n\r\n"]
)
def test_names_are_deduplicated_with_any_line_ends(tmp_path, text):
    (tmp_path / "names.csv").write_text(text, encoding="utf-8", newline="")
    assert parse_names((tmp_path / "names.csv").read_text(encoding="utf-8-sig")) == [
        "b.wav",
        "a.wav",
    ]


def test_a_file_with_only_a_header_is_empty():
    events, names = parse_strong(STRONG_HEADER, CLASSES)
    assert names == [] and len(events) == 0
    assert events.dtypes[["onset", "offset"]].tolist() == [float, float]
    assert parse_weak("filename\tevent_labels", CLASSES) == {}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.wav\t1\t2\tdog", "line 2: unknown class 'dog'.*dataset.classes"),
        ("a.wav\t1\t\tDog", "line 2: expected onset, offset and event_label, or none.*offset ''"),
        (
            "a.wav\t1\t2\t",
            "line 2: expected onset, offset and event_label, or none.*event_label ''",
        ),
        ("a.wav\t1\t2", "line 2: expected onset, offset and event_label, or none"),
        ("a.wav\t1\t2\tDog\nb.wav\t3\t2.9\tDog", "line 3: expected onset <= offset.*'2.9'"),
        ("\na.wav\t-1\t2\tDog", "line 3: expected onset and offset in seconds, not negative"),
        ("a.wav\tone\t2\tDog", "line 2: expected onset and offset in seconds.*'one'"),
        ("a.wav\t1\tinf\tDog", "line 2: expected onset and offset in seconds"),
        ("a.wav\tnan\t2\tDog", "line 2: expected onset and offset in seconds"),
        ("a.wav\t1\t2\tDog\tloud", "line 2: 5 fields, more than the header has columns"),
        ("\t1\t2\tDog", "line 2: expected the name of a file"),
        ("../a.wav\t1\t2\tDog", "line 2: expected the name of a file without folders"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(rows, message):
    with pytest.raises(DataError, match=rf"(?s)test\.tsv, {message}"):
        parse_strong(STRONG_HEADER + rows + "\n", CLASSES, "test.tsv")


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_strong, WEAK, "weak labels .* where strong ones .* are expected"),
        (parse_weak, STRONG, "strong labels .* where weak ones .* are expected"),
        (
            parse_strong,
            "filename;start;stop;event_label\n",
            "missing column.*onset, offset.*header back",
        ),
        (parse_weak, "", "missing column"),
        (
            parse_weak,
            "filename\tevent_labels\na.wav\tDog\nb.wav\tDog,Horse\n",
            "line 3: unknown class 'Horse'",
        ),
    ],
)
def test_a_file_of_another_kind_is_refused_with_a_hint(parse, text, message):
    with pytest.raises(DataError, match=message):
        parse(text, CLASSES)


def test_missing_and_binary_metadata_are_refused(tmp_path):
    with pytest.raises(DataError, match="no metadata file"):
        read_strong(tmp_path / "none.tsv", DatasetConfig())
    (tmp_path / "noise.tsv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="cannot be read as text"):
        read_strong(tmp_path / "noise.tsv", DatasetConfig())


def test_events_are_cut_at_the_clip_end_and_counted(caplog):
    events, _ = parse_strong(
        STRONG_HEADER + "a.wav\t9.865\t10.115\tDog\na.wav\t10\t11\tCat\na.wav\t1\t10\tDog\n",
        CLASSES,
    )
    with caplog.at_level(logging.INFO):
        cut = cut_events(events, 10.0, "x.tsv", strict=False)
    assert cut[["onset", "offset"]].values.tolist() == [[9.865, 10.0], [1.0, 10.0]]
    assert (
        "x.tsv: 1 event(s) end after the clip, cut at 10 s; 1 event(s) begin after it, left out"
        in caplog.text
    )


def test_events_by_clip_include_clips_without_any():
    events = events_by_name(*parse_strong(STRONG, CLASSES))
    assert {name: len(table) for name, table in events.items()} == {
        "a_0.000_10.000.wav": 2,
        "b.wav": 0,
        "c.wav": 2,
    }
    assert events["b.wav"].columns.tolist() == ["onset", "offset", "event_label"]


DATA_2019 = {
    "metadata/train/weak.tsv": WEAK,
    "metadata/train/unlabel_in_domain.tsv": "filename\nx.wav\n",
    "metadata/validation/validation.tsv": STRONG,
    "metadata/validation/test_dcase2018.tsv": STRONG_HEADER + "b.wav\t\t\t\n",
}
AUDIO_2019 = (
    "audio/train/weak/u.wav",
    "audio/train/weak/v.wav",
    "audio/train/unlabel_in_domain/x.wav",
    "audio/validation/a_0.000_10.000.wav",
    "audio/validation/b.wav",
    "audio/validation/c.wav",
)


@pytest.mark.parametrize("below", ["", "dataset/"])
@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
def test_clips_of_2019_are_found_with_either_suffix(tmp_path, below, suffix):
    write_files(
        tmp_path,
        {below + name.replace(".tsv", suffix): text for name, text in DATA_2019.items()},
        tuple(below + name for name in AUDIO_2019),
    )
    dataset = DatasetConfig()
    weak, missing = find_clips(tmp_path, dataset, "weak")
    assert missing == []
    assert [(clip.name, clip.tags, clip.events) for clip in weak] == [
        ("u.wav", ("Alarm_bell_ringing", "Speech"), None),
        ("v.wav", ("Dog",), None),
    ]
    assert weak[0].audio_path == tmp_path / below / "audio" / "train" / "weak" / "u.wav"
    strong, _ = find_clips(tmp_path, dataset, "validation")
    assert [(clip.name, clip.tags, len(clip.events)) for clip in strong] == [
        ("a_0.000_10.000.wav", None, 2),
        ("b.wav", None, 0),
        ("c.wav", None, 2),
    ]
    (unlabelled,), _ = find_clips(tmp_path, dataset, "unlabel_in_domain")
    assert (unlabelled.tags, unlabelled.events) == (None, None)
    (test_clip,), _ = find_clips(tmp_path, dataset, "test_dcase2018")
    assert test_clip.audio_path == tmp_path / below / "audio" / "validation" / "b.wav"


def test_clips_of_2018_are_found_without_removed_ones(tmp_path, caplog):
    write_files(
        tmp_path / "dataset",
        {
            "metadata/train/weak.csv": WEAK,
            "metadata/test/test.csv": STRONG,
            "metadata/test/files_to_remove.csv": "filename\na_0.000_10.000.wav\nother.wav\n",
            "metadata/train/unlabel_out_of_domain.csv": "filename\n",
        },
        ("audio/test/a_0.000_10.000.wav", "audio/test/b.wav", "audio/test/c.wav"),
    )
    dataset = DatasetConfig(layout="dcase2018")
    with caplog.at_level(logging.INFO):
        clips, missing = find_clips(tmp_path, dataset, "test")
    assert ([clip.name for clip in clips], missing) == (["b.wav", "c.wav"], [])
    assert "1 clips left out" in caplog.text
    assert find_clips(tmp_path, dataset, "unlabel_out_of_domain") == ([], [])


def test_each_year_prefers_its_own_suffix(tmp_path):
    write_files(tmp_path, {"metadata/train/weak.csv": WEAK, "metadata/train/weak.tsv": WEAK})
    assert find_metadata(tmp_path, "dcase2019", "weak").suffix == ".tsv"
    assert find_metadata(tmp_path, "dcase2018", "weak").suffix == ".csv"


def test_missing_audio_is_reported_and_not_fatal(tmp_path, caplog):
    write_files(tmp_path, DATA_2019, ("audio/validation/c.wav",))
    clips, missing = find_clips(tmp_path, DatasetConfig(), "validation")
    assert [clip.name for clip in clips] == ["c.wav"]
    assert missing == ["a_0.000_10.000.wav", "b.wav"]
    assert "2 of 3 clips have no audio" in caplog.text


def test_no_audio_at_all_is_an_error(tmp_path):
    write_files(tmp_path, DATA_2019)
    with pytest.raises(DataError, match=r"None of the 2 clips .*such as u\.wav"):
        find_clips(tmp_path, DatasetConfig(), "weak")


def test_missing_metadata_and_datasets_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no dataset in .*an empty folder"):
        find_clips(tmp_path, DatasetConfig(), "weak")
    write_files(tmp_path, {}, ("audio/validation/c.wav",))
    for subset in ("weak", "validation"):
        with pytest.raises(DataError, match="no metadata file"):
            find_clips(tmp_path, DatasetConfig(), subset)


@pytest.mark.parametrize(
    "metadata", [None, "filename\nc.wav\n", STRONG_HEADER + "c.wav\t1\t2\tDog\n"]
)
def test_evaluation_clips_may_come_without_labels(tmp_path, metadata):
    write_files(
        tmp_path,
        {"metadata/eval/public.tsv": metadata} if metadata else {},
        ("audio/eval/public/c.wav",),
    )
    (clip,), missing = find_clips(tmp_path, DatasetConfig(), "eval")
    assert clip.name == "c.wav" and missing == []
    assert (clip.events is not None) == ("onset" in (metadata or ""))


def test_unknown_subsets_are_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"no subset 'test' in the layout dcase2019.*validation"):
        find_clips(Path(), DatasetConfig(), "test")
    assert "test" in LAYOUTS["dcase2018"]


def test_the_same_clip_in_training_and_validation_is_refused():
    check_disjoint(["a.wav", "b.wav"], ["c.wav"])
    with pytest.raises(DataError, match=r"2 clip\(s\) .*a\.wav, b\.wav"):
        check_disjoint(["a.wav", "b.wav"], ["b.wav", "a.wav"])


def test_a_class_without_a_positive_is_named(caplog):
    events, _ = parse_strong(STRONG_HEADER + "b.wav\t1\t2\tCat\n", CLASSES)
    clips = [
        Clip("a.wav", "weak", Path("a.wav"), ("Dog",), None),
        Clip("b.wav", "validation", Path("b.wav"), None, events),
        Clip("c.wav", "unlabel_in_domain", Path("c.wav"), None, None),
    ]
    assert [tuple(labels_of(clip)) for clip in clips] == [("Dog",), ("Cat",), ()]
    assert warn_absent_classes(clips, ("Dog", "Cat", "Speech"), "training") == ["Speech"]
    assert "No clip of the training data has an event of Speech" in caplog.text
    assert warn_absent_classes(clips[2:], ("Dog",), "training") == []


@pytest.mark.parametrize("classes", [(), ("Dog", "Dog"), ("Dog, big",), ("Dog ",), ("",)])
def test_class_lists_that_metadata_cannot_hold_are_refused(classes):
    with pytest.raises(ValidationError, match=r"classes are|names of classes"):
        DatasetConfig(classes=classes)


@pytest.mark.parametrize(
    "header", ["filename\tonset\tonset\toffset\tevent_label", "x\tx\t" + STRONG_HEADER.strip()]
)
def test_a_column_that_is_there_twice_is_refused(header):
    with pytest.raises(DataError, match=r"line 1: column\(s\) (onset|x) twice"):
        parse_strong(header + "\n", CLASSES)


def test_a_recording_whose_name_is_no_text_is_refused(tmp_path):
    folder = tmp_path / "audio/train/unlabel_in_domain"
    write_files(tmp_path, {}, ("audio/train/unlabel_in_domain/a.wav",))
    try:
        (folder / b"\xff.wav".decode("utf-8", "surrogateescape")).touch()
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(DataError, match=r"unlabel_in_domain holds .*names in UTF-8"):
        find_clips(tmp_path, DatasetConfig(), "unlabel_in_domain")


def test_annotated_classes_count_as_others_or_not_at_all(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write_files(tmp_path, DATA_2019, AUDIO_2019)
    names = ("Alarm_bell_ringing", "Speech", "Dog", "Vacuum_cleaner")
    mapping = dict.fromkeys(names, "bell") | {"Speech": None}
    dataset = DatasetConfig(classes=("cat", "bell"), annotated_classes=names, class_map=mapping)
    weak, _ = find_clips(tmp_path, dataset, "weak")
    assert [clip.tags for clip in weak] == [("bell",), ("bell",)]
    plain, _ = find_clips(tmp_path, DatasetConfig(), "validation")
    strong, _ = find_clips(tmp_path, dataset, "validation")
    labels = [label for clip in plain for label in clip.events["event_label"]]
    kept = [label for clip in strong for label in clip.events["event_label"]]
    assert kept == ["bell"] * (len(labels) - labels.count("Speech"))
    assert "of classes that `dataset.class_map` leaves out" in caplog.text
