"""Tables of sounds and scenes, lists of mixtures, and what is wrong with them."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from common.errors import DataError
from sed_task4.segmentation.dataset import (
    LIST_NAME,
    DatasetConfig,
    EventFile,
    Mixture,
    MixtureEvent,
    audio_folder,
    find_mixtures,
    format_mixtures,
    mixture_entry,
    parse_event_files,
    parse_mixtures,
    parse_scene_names,
    read_event_sounds,
    read_scene_names,
)

DATASET = DatasetConfig(classes=("Bark", "Flute"))
EVENTS = "fname,label,manually_verified\n00044347.wav,Hi-hat,0\n001ca53d.wav,Bark,1\n"
SCENES = (
    "filename\tscene_label\tidentifier\tsource_label\n"
    "audio/airport-barcelona-0-0-a.wav\tairport\tbarcelona-0\ta\n"
    "audio/park-paris-3-12-a.wav\tpark\tparis-3\ta\n"
)
EVENT = MixtureEvent("a.wav", "Flute", 0.5, 1.2534687500000001)
MIXTURES = [
    Mixture("00000.wav", 1, Path("m/00000.wav"), "park-a.wav", (EVENT,)),
    Mixture("00001.wav", 2, Path("m/00001.wav"), "tram-b.wav", ()),
]


def _write(root: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_there_are_41_published_classes_in_alphabetical_order():
    classes = DatasetConfig().classes
    assert len(set(classes)) == 41 and list(classes) == sorted(classes)


def test_published_events_begin_every_two_and_a_half_seconds():
    assert [DatasetConfig().onset_s(number) for number in range(3)] == [0.5, 3.0, 5.5]
    assert DatasetConfig().clip_samples == 320000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": ("Bark", "Bark")}, "different names"),
        ({"classes": ("Bark,Flute",)}, "no comma"),
        ({"events_per_mixture": 5}, "would end at 12.5 s"),
        ({"event_s": 2.6}, "do not overlap"),
        ({"clip": 3}, "clip"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        DatasetConfig(**settings)


def test_sounds_are_read_in_the_order_of_the_table():
    assert parse_event_files(EVENTS) == [
        EventFile("00044347.wav", "Hi-hat", False),
        EventFile("001ca53d.wav", "Bark", True),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.wav,Bark,2", "line 2: expected manually_verified 0 or 1"),
        ("a.wav,,1", "line 2: expected a label"),
        ("x/a.wav,Bark,1", "line 2: expected the name of a file"),
        ("a.wav,Bark", "line 2: 2 fields, fewer"),
        ("a.wav,Bark,1,4", "line 2: 4 fields, more"),
        ("a.wav,Bark,1\na.wav,Flute,1", "line 3: 'a.wav' is in line 2 too"),
        ("", "no row below its header"),
    ],
)
def test_bad_rows_of_the_sound_table_are_refused(row, message):
    with pytest.raises(DataError, match=f"train.csv.*{message}"):
        parse_event_files(f"fname,label,manually_verified\n{row}\n")


def test_a_missing_column_is_named():
    with pytest.raises(DataError, match=r"line 1: missing column.s. manually_verified"):
        parse_event_files("fname,label\na.wav,Bark\n")


def test_the_table_published_after_the_challenge_is_read_too(tmp_path):
    text = "fname,label,manually_verified,freesound_id,license\na.wav,Bark,1,3,Attribution\n"
    _write(tmp_path, {"dcase2018_task2/FSDKaggle2018.meta/train_post_competition.csv": text})
    table = read_event_sounds(tmp_path, DATASET)
    assert table.files == (EventFile("a.wav", "Bark", True),)
    assert table.audio_dir == tmp_path / "dcase2018_task2" / "FSDKaggle2018.audio_train"


def test_scenes_are_named_without_their_folder():
    assert parse_scene_names(SCENES) == ["airport-barcelona-0-0-a.wav", "park-paris-3-12-a.wav"]
    with pytest.raises(DataError, match="line 2: expected filename audio/<name>"):
        parse_scene_names("filename\tscene_label\npark.wav\tpark\n")


def test_folders_may_be_absolute(tmp_path):
    elsewhere = _write(tmp_path / "elsewhere", {"meta.csv": SCENES})
    dataset = DATASET.model_copy(update={"scenes_dir": elsewhere})
    assert len(read_scene_names(tmp_path / "nothing", dataset)) == 2


def test_white_noise_needs_no_scenes(tmp_path):
    with pytest.raises(DataError, match=r"There is no .*meta\.csv.*scenes_dir"):
        read_scene_names(tmp_path, DATASET)
    assert read_scene_names(tmp_path, DATASET.model_copy(update={"scene_type": "white_noise"})) == (
        "white_noise",
    )


def test_the_list_has_the_published_form_and_is_reread():
    text = format_mixtures(MIXTURES)
    event = {
        "event_audio_name": "a.wav",
        "event_label": "Flute",
        "offset": 1.2534687500000001,
        "onset": 0.5,
    }
    assert yaml.safe_load(text)[0] == {
        "mixture_name": "00000.wav",
        "fold": 1,
        "scene_audio_name": "park-a.wav",
        "events": [event],
    }
    assert parse_mixtures(text, Path("m"), DATASET) == MIXTURES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fold": 5}, "entry 1: expected a fold of 1 to 4. Received: 5"),
        ({"mixture_name": "../00000.wav"}, "entry 1: expected the name of a file"),
        ({"events": None}, "entry 1: expected a list `events`"),
        (
            {"events": [{"event_audio_name": "a.wav"}]},
            "entry 1 .00000.wav.: expected event_audio_name, event_label",
        ),
    ],
)
def test_entries_of_the_list_that_cannot_be_used_are_named(change, message):
    entry = mixture_entry(MIXTURES[0]) | change
    with pytest.raises(DataError, match=f"the list, {message}"):
        parse_mixtures(yaml.safe_dump([entry]), Path(), DATASET)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"event_label": "Dog"}, "unknown class 'Dog'. Expected: one of Bark, Flute"),
        ({"offset": 0.25}, "expected 0 <= onset < offset <= 10 s. Received: 0.5 and 0.25"),
        ({"offset": 10.5}, "expected 0 <= onset < offset"),
        ({"onset": "soon"}, "expected 0 <= onset < offset"),
    ],
)
def test_events_of_the_list_that_cannot_be_used_are_named(change, message):
    entry = mixture_entry(MIXTURES[0])
    entry["events"] = [entry["events"][0] | change]
    with pytest.raises(DataError, match=f"entry 1 .00000.wav.: {message}"):
        parse_mixtures(yaml.safe_dump([entry]), Path(), DATASET)


@pytest.mark.parametrize(
    ("text", "message"), [("[", "not YAML"), ("a: 3", "expected a list"), ("[]", "expected a list")]
)
def test_a_list_of_another_form_is_refused(text, message):
    with pytest.raises(DataError, match=message):
        parse_mixtures(text, Path(), DATASET)


def test_a_mixture_that_is_listed_twice_is_refused():
    with pytest.raises(DataError, match=r"entry 2: '00000.wav' occurs twice"):
        parse_mixtures(format_mixtures([MIXTURES[0], MIXTURES[0]]), Path(), DATASET)


def test_missing_lists_and_mixtures_name_the_command(tmp_path):
    with pytest.raises(
        DataError, match=r"There is no .*mixture\.yaml.*sed_task4\.segmentation\.mixing"
    ):
        find_mixtures(tmp_path, DATASET)
    _write(tmp_path, {f"mixtures/{LIST_NAME}": format_mixtures(MIXTURES)})
    folder = audio_folder(tmp_path, DATASET)
    assert folder == tmp_path / "mixtures" / "mixed_audios" / "scene_type=dcase2018_task1,snr=0"
    _write(folder, {"00000.wav": ""})
    with pytest.raises(DataError, match=r"1 of 2 mixtures are missing, such as .*00001\.wav"):
        find_mixtures(tmp_path, DATASET)
    _write(folder, {"00001.wav": ""})
    assert [mixture.audio_path.name for mixture in find_mixtures(tmp_path, DATASET)] == [
        "00000.wav",
        "00001.wav",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "- 2001-99-99",
        "- !!int ''",
        "- !!timestamp x",
        "- &a [*a]",
        "- !!bool x",
        "[" * 400 + "]" * 400,
    ],
)
def test_yaml_that_breaks_its_reader_is_refused(text):
    with pytest.raises(DataError, match="the list is not YAML"):
        parse_mixtures(text, Path("m"), DATASET)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "fname,label,label,manually_verified\na.wav,Bark,Flute,1\n",
            r"line 1: column\(s\) label twice",
        ),
        (EVENTS + '"' + "x" * 200_000 + "\n", "line 4: field larger than field limit"),
    ],
)
def test_tables_that_csv_misreads_are_refused(text, message):
    with pytest.raises(DataError, match=message):
        parse_event_files(text)


@pytest.mark.parametrize("name", ["other/a.wav", "../a.wav", "audio/..", "audio/a/b.wav", "a.wav"])
def test_scenes_are_read_only_from_their_folder(name):
    with pytest.raises(DataError, match="line 2: expected filename audio/<name>"):
        parse_scene_names(f"filename\tscene_label\n{name}\tpark\n")


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize("index", ["", "{}|"])
def test_tables_of_sounds_and_scenes_have_any_separator_and_quotes(separator, index):
    sounds = [
        "|fname|label|manually_verified|",
        '0|"a, b.wav"|Bark|1|',
        "",
        "1|c.flac|Flute| 0 |",
        "||||",
    ]
    text = "\r\n".join(sounds).replace("|", separator)
    assert parse_event_files(text) == [
        EventFile("a, b.wav", "Bark", True),
        EventFile("c.flac", "Flute", False),
    ]
    text = "filename|identifier|scene_label\naudio/park.wav|1|park\n".replace("|", separator)
    assert parse_scene_names(text) == ["park.wav"]


@pytest.mark.parametrize(
    ("times", "kept", "message"),
    [
        ((9.0, 11.0), [(9.0, 10.0)], "1 event(s) reach beyond the mixture, cut"),
        (
            (11.0, 12.0),
            [],
            "1 event(s) end before they begin or lie outside of the mixture, left out",
        ),
        ((3.0, 2.0), [], "left out"),
    ],
)
def test_strict_false_cuts_and_leaves_out_events_of_a_list(tmp_path, caplog, times, kept, message):
    event = {
        "event_audio_name": "a.wav",
        "event_label": "Bark",
        "onset": times[0],
        "offset": times[1],
    }
    entry = {"mixture_name": "0.wav", "fold": 1, "scene_audio_name": "park.wav", "events": [event]}
    text = yaml.safe_dump([entry])
    dataset = DatasetConfig(classes=("Bark",))
    with pytest.raises(DataError, match=r"entry 1 .*dataset\.strict=false"):
        parse_mixtures(text, tmp_path, dataset)
    (mixture,) = parse_mixtures(text, tmp_path, dataset.model_copy(update={"strict": False}))
    assert [
        (each.onset_s, each.offset_s) for each in mixture.events
    ] == kept and message in caplog.text
