"""Metadata, event files and submissions: tables of text."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hypothesis import strategies as st

from common.audio.formats import is_sound
from common.errors import DataError
from common.io.files import is_file_name
from common.io.tables import number_hint, parse_table, read_text, to_number, to_numbers
from common.simulation.measured.table import read_response_table
from common.simulation.own_recordings import find_own_recordings
from sed_task4 import dataset as task4
from sed_task4.clips.lengths import read_lengths
from sed_task4.score import score_files
from sed_task4.scores.systems import ScoringConfig
from sed_task4.segmentation import dataset as segmentation
from sed_task4.submission import CLIPS
from sed_task4.submission import read_submission as read_task4_submission
from seld.dataset import COLUMNS, DatasetConfig, find_recordings, read_labels
from seld.recording_list import LIST_NAME, read_list
from seld.recordings.csv_formats import FORMATS, parse_rows_and_vectors, read_rows
from seld.score import score_folder
from seld.submission import read_submission
from tests.event_tables import table_of
from tests.fuzz.damage import ODD_TEXTS, damaged_table, damaged_yaml, garbage
from tests.fuzz.engine import Files, Target

SELD = DatasetConfig(classes=("knock", "speech", "cough"), recording_s=10.0)
SELD_ROWS = [
    ["knock", "0.5", "2.25", "-10", "170", "1"],
    ["speech", "3", "4.125", "40", "-180", "2"],
    ["cough", "3.5", "9.99", "0", "0", "1"],
]
TASK4 = task4.DatasetConfig(classes=("Cat", "Dog", "Speech"))
STRONG_ROWS = [["a.wav", "0.5", "2.25", "Cat"], ["b.wav", "", "", ""], ["a.wav", "1", "10", "Dog"]]
SUBMISSION_ROWS = [
    ["0", "2", "-10", "40"],
    ["0", "1", "170", "-20"],
    ["17", "0", "0", "0"],
    ["499", "0", "5", "5"],
]
MIXED = segmentation.DatasetConfig(classes=("Bark", "Cough"), n_folds=2)
MIXTURES = [
    {
        "mixture_name": f"{number:05d}.wav",
        "fold": 1 + number % 2,
        "scene_audio_name": "park.wav",
        "events": [
            {"event_audio_name": "a.wav", "event_label": "Bark", "onset": 0.5, "offset": 2.5},
            {"event_audio_name": "b.wav", "event_label": "Cough", "onset": 3.0, "offset": 3.25},
        ],
    }
    for number in range(2)
]


def _named(
    name: str, contents: Callable[[], st.SearchStrategy[bytes]]
) -> Callable[[], st.SearchStrategy[Files]]:
    return lambda: (contents() | garbage()).map(lambda content: {name: content})


def _seld_events(folder: Path) -> None:
    events = read_labels(folder / "a.csv", SELD, 10.0)
    values = events.to_array()
    assert np.isfinite(values).all()
    assert (events.onset_s >= 0).all()
    assert (events.onset_s <= events.offset_s).all()
    assert (events.offset_s <= 10).all()
    assert ((events.class_index >= 0) & (events.class_index < SELD.n_classes)).all()
    assert (np.abs(events.elevation_deg) <= 40).all() and (events.distance_m >= 0).all()
    text = (folder / "a.csv").read_text("utf-8-sig")
    if not set(text) & set('"\t;'):
        lines = [line for line in io.StringIO(text, newline=None) if line.strip(" ,\r\n")]
        assert len(events) == max(len(lines) - 1, 0)


def _seld_folder() -> st.SearchStrategy[Files]:
    numbers = st.sampled_from(["1", "02", "9" * 30, "x", "", "٣"])
    ends = st.sampled_from([".wav", ".WAV", ".csv", ".txt", ""])
    good = st.builds("split{}_ir{}_ov{}_{}".format, numbers, numbers, numbers, numbers)
    odd = st.sampled_from([text for text in ODD_TEXTS if len(text.encode()) < 200]).map(
        lambda text: text.replace("/", "_").replace("\0", "")
    )
    names = st.tuples(good | odd.filter(lambda name: name not in ("", ".", "..")), ends).map(
        "".join
    )

    def laid(chosen: list[tuple[str, bool]]) -> Files:
        files = {"foa_dev/x.txt": b"", "metadata_dev/x.txt": b""}
        for name, paired in chosen:
            files[f"foa_dev/{name}"] = b""
            if paired:
                files[f"metadata_dev/{Path(name).stem or name}.csv"] = b""
        return files

    return st.lists(st.tuples(names, st.sampled_from([True, True, True, False])), max_size=5).map(
        laid
    )


def _find_recordings(folder: Path) -> None:
    recordings = find_recordings(folder, DatasetConfig(), "dev")
    names = [recording.name for recording in recordings]
    assert names == sorted(set(names)) and names
    for recording in recordings:
        assert recording.audio_path.is_file() and recording.metadata_path is not None
        assert recording.audio_path.parent == folder / "foa_dev"
    sounds = [path for path in (folder / "foa_dev").iterdir() if is_sound(path)]
    assert len(names) == len(sounds)


def _find_clips(subset: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        clips, missing = task4.find_clips(folder, TASK4, subset)
        names = [clip.name for clip in clips] + missing
        assert len(set(names)) == len(names) and all(map(is_file_name, names))
        for clip in clips:
            assert clip.audio_path.parent == folder / "audio/train" / subset
            assert clip.audio_path.is_file()
            assert set(task4.labels_of(clip)) <= set(TASK4.classes)
            if clip.events is not None:
                times = clip.events[["onset", "offset"]].to_numpy(float)
                assert np.isfinite(times).all() and (times >= 0).all() and (times <= 10).all()
                assert (times[:, 0] <= times[:, 1]).all()

    return read


def _clips(
    subset: str, contents: Callable[[], st.SearchStrategy[bytes]]
) -> Callable[[], st.SearchStrategy[Files]]:
    audio = {f"audio/train/{subset}/{name}": b"" for name in ("a.wav", "b.wav", "ü.wav")}
    metadata = f"metadata/train/{subset}.tsv"
    return lambda: (contents() | garbage()).map(lambda content: {metadata: content, **audio})


def _any_separator(
    header: Sequence[str], rows: Sequence[Sequence[str]]
) -> st.SearchStrategy[bytes]:
    return st.sampled_from("\t,;").flatmap(lambda separator: damaged_table(header, rows, separator))


def _strong() -> st.SearchStrategy[bytes]:
    return _any_separator(task4.STRONG_COLUMNS, STRONG_ROWS)


def _weak() -> st.SearchStrategy[bytes]:
    return _any_separator(
        task4.WEAK_COLUMNS, [["a.wav", '"Cat,Dog"'], ["b.wav", ""], ["ü.wav", "Speech"]]
    )


def _names() -> st.SearchStrategy[bytes]:
    return _any_separator(task4.NAME_COLUMNS, [["a.wav"], ["b.wav"], ["ü.wav"]])


def _submission(folder: Path) -> None:
    rows = read_submission(folder / "a.csv", SELD.n_classes)
    assert rows.shape[1:] == (4,) and np.isfinite(rows).all() and (rows[:, 0] >= 0).all()
    assert np.isin(rows[:, 1], range(SELD.n_classes)).all()
    text = (folder / "a.csv").read_text("utf-8-sig")
    if not set(text) & set('"\t;'):
        lines = [line.strip(" ,") for line in text.splitlines() if line.strip()]
        assert rows.tolist() == [[float(int(part)) for part in line.split(",")] for line in lines]


YEAR_ROWS = {  # by number of columns: polar, Cartesian, with distances, stereo
    "metadata2020": [["0", "2", "1", "-30", "10"], ["17", "0", "2", "170", "-20"]],
    "metadata2023": [["0", "2", "1", "-30", "10", "150"], ["17", "0", "2", "170", "-20", "235"]],
    "submission2024": [["0", "2", "0", "0.5", "-0.2", "0.1", "1.5"]] * 2,
    "stereo2025": [["0", "2", "1", "-30", "150", "1"], ["17", "0", "2", "170", "235", "0"]],
}


def _year_rows(folder: Path) -> None:
    """Reads a file as each format: it is refused, or its rows can be used and read again."""
    problems = []
    for name, declared in FORMATS.items():
        try:
            rows = read_rows(folder / "a.csv", name, SELD.n_classes)
        except DataError as problem:
            problems.append(problem)
            continue
        assert rows.shape[1:] == (7,) and np.isfinite(rows[:, :4]).all()
        assert np.isin(rows[:, 1], range(SELD.n_classes)).all() and (rows[:, 0] >= 0).all()
        assert not (rows[:, 5] < 0).any() and (np.abs(rows[:, 2]) <= 360).all()
        _, vectors = parse_rows_and_vectors((folder / "a.csv").read_text("utf-8-sig"), name)
        assert (vectors is not None) == declared.is_cartesian
    if len(problems) == len(FORMATS):
        raise problems[0]


def _year_files() -> st.SearchStrategy[bytes]:
    def damaged(name: str) -> st.SearchStrategy[bytes]:
        header, rows = list(FORMATS[name].columns), YEAR_ROWS[name]
        return damaged_table(
            *((header, rows) if FORMATS[name].header else (rows[0], rows[1:])), ","
        )

    return st.sampled_from(sorted(YEAR_ROWS)).flatmap(damaged)


def _seld_scores(folder: Path) -> None:
    report = score_folder(folder / "estimates", folder / "metadata", SELD)
    for definition in ("dcase2019", "corrected"):
        frame_recall = report.score(definition, "frame_recall")
        assert 0 <= frame_recall <= 1 and report.score(definition, "er") >= 0
    assert report.to_text() and report.to_markdown()


def _seld_score_cases() -> st.SearchStrategy[Files]:
    estimate = damaged_table(SUBMISSION_ROWS[0], SUBMISSION_ROWS[1:], ",")
    metadata = damaged_table(COLUMNS, SELD_ROWS, ",")
    name = "split1_ir0_ov1_1.csv"
    return st.builds(
        lambda a, b: {f"estimates/{name}": a, f"metadata/{name}": b}, estimate, metadata
    )


def _task4_submission(folder: Path) -> None:
    events, names = read_task4_submission(folder / "a.tsv", TASK4.classes)
    assert all(map(is_file_name, names)) and len(set(names)) == len(names)
    table = table_of(events, names, TASK4.classes)
    assert len(table) == len(events)
    assert (table.onset_s >= 0).all()
    assert (table.onset_s <= table.offset_s).all()
    merged = table.merge_connected()
    assert len(merged) <= len(table)


def _task4_scores(folder: Path) -> None:
    report = score_files(
        folder / "estimate.tsv",
        folder / "reference.tsv",
        ScoringConfig(sed_eval=False),
        classes=TASK4.classes,
        ignore_unknown=True,
        strict=False,
    )
    assert report.to_text()
    scores: Any = report.rows[0].scores
    assert all(
        np.isnan(value) or 0 <= value <= 1 for name, value in scores.items() if name.endswith("_f")
    )


def _sound_table(folder: Path) -> None:
    table = segmentation.read_event_sounds(folder, MIXED)
    names = [file.name for file in table.files]
    assert names and len(set(names)) == len(names) and all(map(is_file_name, names))
    assert all(file.label for file in table.files)


def _scenes(folder: Path) -> None:
    names = segmentation.read_scene_names(folder, MIXED)
    assert names and len(set(names)) == len(names) and all(map(is_file_name, names))


def _mixture_list(folder: Path) -> None:
    path = folder / segmentation.LIST_NAME
    mixtures = segmentation.read_mixture_list(path, folder / "audio", MIXED)
    assert mixtures and len({mixture.name for mixture in mixtures}) == len(mixtures)
    for mixture in mixtures:
        assert mixture.audio_path.parent == folder / "audio" and 1 <= mixture.fold <= 2
        assert is_file_name(mixture.name) and is_file_name(mixture.scene_name)
        for event in mixture.events:
            assert is_file_name(event.audio_name) and event.label in MIXED.classes
            assert 0 <= event.onset_s < event.offset_s <= MIXED.clip_s
    # written again, the list is the same
    assert len(yaml.safe_load(segmentation.format_mixtures(mixtures))) == len(mixtures)


def _scores_cases() -> st.SearchStrategy[Files]:
    return st.builds(lambda a, b: {"estimate.tsv": a, "reference.tsv": b}, _strong(), _strong())


def _clip_lists() -> st.SearchStrategy[bytes]:
    return _any_separator(
        ["filename", "duration_s"], [["a.wav", "10.0"], ["b.wav", "3.37"], ["c.wav", "0.5"]]
    )


def _lengths(folder: Path) -> None:
    lengths = read_lengths(folder / CLIPS)
    assert all(0 < seconds < np.inf for seconds in lengths.values())


def _seld_submission() -> st.SearchStrategy[bytes]:
    return _any_separator(SUBMISSION_ROWS[0], SUBMISSION_ROWS[1:])


def _text_table(folder: Path) -> None:
    text = read_text(folder / "a.csv", "none", "Mend it.")
    table = parse_table(text, ("name", "x"), str(folder / "a.csv"), optional=("y",), pad=True)
    assert {len(column) for column in table.columns.values()} == {len(table)}
    assert table.lines == sorted(set(table.lines)) and all(line > 1 for line in table.lines)
    for _, row in table.rows():
        assert all(field == field.strip() for field in row.values())
    values = to_numbers(table.columns["x"])
    for text, value in zip(table.columns["x"], values.tolist(), strict=True):
        assert (
            np.isnan(value) if to_number(text) is None else value == float(text) and text.isascii()
        )
        assert isinstance(number_hint(text), str)


def _recording_list(folder: Path) -> None:
    recordings = read_list(folder)
    names = [recording.name for recording in recordings]
    assert names == sorted(set(names)) and names
    assert all(each.split in range(10**9) and each.audio_path.is_file() for each in recordings)


def _recording_lists() -> st.SearchStrategy[Files]:
    rows = [["a.wav", "1", "2", "", ""], ['"b, c.wav"', "0", "", "3", "a.csv"]]
    tables = _any_separator(("filename", "split", "overlap", "room", "metadata"), rows)
    audio = {"a.wav": b"", "b, c.wav": b"", "a.csv": b""}
    return (tables | garbage()).map(lambda content: {LIST_NAME: content, **audio})


def _text_tables() -> st.SearchStrategy[bytes]:
    return _any_separator(
        ("name", "x", "y"), [["a", "1.5", '"b;c,""d"""'], ["ü", "-2e3", ""], ['" q "', "", "x"]]
    )


def _sounds() -> st.SearchStrategy[Files]:
    tables = _any_separator(
        segmentation.EVENT_COLUMNS, [["a.wav", "Bark", "1"], ["b.wav", "Cough", "0"]]
    )
    return tables.map(lambda content: {"dcase2018_task2/train.csv": content})


def _scene_tables() -> st.SearchStrategy[Files]:
    rows = [["audio/park-1.wav", "park"], ["audio/tram-2.wav", "tram"]]
    tables = _any_separator(segmentation.SCENE_COLUMNS, rows)
    return tables.map(lambda content: {f"{MIXED.scenes_dir}/meta.csv": content})


def _groups() -> st.SearchStrategy[Files]:
    columns = ["file", "group", "rate", "label", "split", "active", "bandwidth_hz"]
    rows = [
        ["Cat/a.wav", "tom", "1", "Cat", "train", "0-0.5", "8000"],
        ["Dog/b.wav", "rex", "2", "Dog", "test", "0.1-0.5;0.7-1", ""],
        ["c.wav", "tom", "3", "Cat", "train", "", "11025.5"],
    ]
    whole = damaged_table(columns, rows, ",")
    tables = damaged_table(columns[:3], [row[:3] for row in rows], ",") | whole | garbage()
    sounds = {"own/Cat/a.wav": b"", "own/Dog/b.wav": b"", "own/Dog/c.wav": b""}
    return tables.map(lambda content: {"own/metadata.csv": content, **sounds})


def _own_recordings(folder: Path) -> None:
    found = find_own_recordings(folder / "own", ("Cat", "Dog"))
    assert len(found.files) == 3 or found.remarks
    assert not found.parts or set(found.parts) == set(found.files)
    for row in found.rows.values():
        assert all(0 <= begin < end for begin, end in row.active)
    if found.groups is not None:
        assert set(found.groups) == set(found.files) and all(found.groups.values())


def _room_responses() -> st.SearchStrategy[Files]:
    header = ["file", "azimuth", "elevation", "distance", "place", "convention", "normalisation"]
    rows = [
        ["hall/a.wav", "-8.5", "10", "2", "hall", "acn", "n3d"],
        ["b.flac", "350", "-90", "", "mine", "FuMa", ""],
        ["c.sofa", "", "", "", "mine", "", "sn3d"],
    ]
    tables = damaged_table(header, rows, ",") | garbage()
    files = {"rirs/hall/a.wav": b"", "rirs/b.flac": b"", "rirs/c.sofa": b""}
    return tables.map(lambda content: {"rirs/metadata.csv": content, **files})


def _response_rows(folder: Path) -> None:
    rows = read_response_table(folder / "rirs")
    assert len({row.path for row in rows}) == len(rows) > 0
    for row in rows:
        assert row.path.is_file() and row.path.is_relative_to(folder / "rirs")
        if not row.is_sofa:
            assert row.azimuth_deg is not None and -180 <= row.azimuth_deg <= 360
            assert row.elevation_deg is not None and abs(row.elevation_deg) <= 90
        assert row.distance_m is None or row.distance_m > 0


def _seld_metadata() -> st.SearchStrategy[bytes]:
    return _any_separator(COLUMNS, SELD_ROWS)


def _task4(subset: str, contents: Callable[[], st.SearchStrategy[bytes]]) -> Target:
    names = {"synthetic": "strong", "weak": "weak", "unlabel_in_domain": "names"}
    cases, read = _clips(subset, contents), _find_clips(subset)
    return Target(
        f"task4-{names[subset]}", cases, read, weight=10, examples=25, named=rf"{subset}\.tsv"
    )


TARGETS = [
    Target("tables", _named("a.csv", _text_tables), _text_table, weight=25, examples=60),
    Target(
        "seld-list",
        _recording_lists,
        _recording_list,
        weight=10,
        examples=30,
        named=LIST_NAME.replace(".", r"\."),
    ),
    Target("seld-metadata", _named("a.csv", _seld_metadata), _seld_events, weight=25, examples=60),
    Target(
        "seld-folder",
        _seld_folder,
        _find_recordings,
        weight=10,
        examples=30,
        named="foa_dev|metadata_dev|split",
    ),
    Target(
        "seld-submission", _named("a.csv", _seld_submission), _submission, weight=25, examples=60
    ),
    Target("seld-years", _named("a.csv", _year_files), _year_rows, weight=25, examples=60),
    Target(
        "seld-scores",
        _seld_score_cases,
        _seld_scores,
        weight=5,
        examples=10,
        named=r"split1_ir0_ov1_1",
    ),
    _task4("synthetic", _strong),
    _task4("weak", _weak),
    _task4("unlabel_in_domain", _names),
    Target("task4-submission", _named("a.tsv", _strong), _task4_submission, weight=10, examples=25),
    Target("task4-scores", _scores_cases, _task4_scores, weight=4, examples=8, named="tsv|nothing"),
    Target("task4-clips", _named(CLIPS, _clip_lists), _lengths, weight=10, examples=25),
    Target("segmentation-sounds", _sounds, _sound_table, weight=15, examples=40),
    Target(
        "own-recordings", _groups, _own_recordings, weight=10, examples=40, named=r"metadata\.csv"
    ),
    Target(
        "room-responses",
        _room_responses,
        _response_rows,
        weight=10,
        examples=40,
        named=r"metadata\.csv",
    ),
    Target("segmentation-scenes", _scene_tables, _scenes, weight=15, examples=40),
    Target(
        "segmentation-mixtures",
        _named(segmentation.LIST_NAME, lambda: damaged_yaml(MIXTURES)),
        _mixture_list,
        weight=15,
        examples=40,
    ),
]
