"""Layouts of 2020 to 2024: folders of the recipes, soft labels, empty clips, overlaps, classes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.audio.files import write_wav
from common.cli.check_dataset import check_dataset
from common.errors import DataError
from common.settings.tasks import load_task
from sed_task4.clips.clip_groups import hold_out, scene_of, sources_of
from sed_task4.clips.layouts import LAYOUTS, MAESTRO_CLASSES, MAESTRO_EVALUATED, SUFFIXES
from sed_task4.clips.published import CHALLENGE_CLASSES
from sed_task4.dataset import (
    DatasetConfig,
    certain_events,
    find_clips,
    find_metadata,
    merged_overlaps,
    parse_soft,
)
from sed_task4.extraction import clip_labels, example_schema
from sed_task4.features import FeatureConfig
from tests.sed_task4.written_files import write_files

PARAMS = Path(__file__).parents[3] / "params.yaml"
CLASSES = (*CHALLENGE_CLASSES, *MAESTRO_CLASSES)
DESED = DatasetConfig(layout="desed2021", sample_rate_hz=16000)
ALL = DatasetConfig(layout="desed2024", classes=CLASSES, sample_rate_hz=16000)
STRONG = "filename\tonset\toffset\tevent_label\n"
SOFT = STRONG.replace("\n", "\tconfidence\n")
TRAIN = LAYOUTS["desed2024"]["maestro_real_train"]
SYNTHETIC = "{0}/train/synthetic21_train/soundscapes"


def test_every_layout_has_its_subsets_and_suffixes():
    assert set(SUFFIXES) == set(LAYOUTS) and SUFFIXES["desed2024"][0] == ".tsv"
    assert list(LAYOUTS["desed2020"])[2] == "synthetic20"
    assert {name: place.kind for name, place in LAYOUTS["desed2021"].items()} == {
        "weak": "weak",
        "unlabel_in_domain": "unlabelled",
        "synthetic21_train": "strong",
        "audioset_strong": "strong",
        "synthetic21_validation": "strong",
        "validation": "strong",
        "eval": "strong",
    }
    assert len(MAESTRO_CLASSES) == 17 and len(MAESTRO_EVALUATED) == 11
    assert set(MAESTRO_EVALUATED) < set(MAESTRO_CLASSES)


@pytest.mark.parametrize("below", ["", "dcase_synth/"])
def test_soundscapes_lie_in_the_dataset_or_in_dcase_synth(tmp_path, below):
    text = STRONG + "0.wav\t0.5\t1\tDog\n7.wav\t0\t2\tCat\n"
    stems = [below + SYNTHETIC.format(name) for name in ("metadata", "audio")]
    audio = (f"{stems[1]}/0.wav", f"{stems[1]}/7.wav", "audio/x")
    root = write_files(tmp_path / "dataset", {f"{stems[0]}.tsv": text}, audio)
    assert find_metadata(tmp_path, "desed2021", "synthetic21_train") == root / f"{stems[0]}.tsv"
    clips, missing = find_clips(tmp_path, DESED, "synthetic21_train")
    assert [clip.name for clip in clips] == ["synthetic21_train-0.wav", "synthetic21_train-7.wav"]
    assert [clip.audio_path for clip in clips] == [root / name for name in audio[:2]]
    assert missing == [] and clips[0].events.values.tolist() == [[0.5, 1.0, "Dog"]]


def test_resampled_folders_are_used_at_16_khz_and_completed_from_the_others(tmp_path, caplog):
    folder = "audio/train/weak"
    names = (f"{folder}_16k/a.wav", f"{folder}/a.wav", f"{folder}/b.wav")
    text = "filename\tevent_labels\na.wav\tDog\nb.wav\tCat\nc.wav\tCat\n"
    write_files(tmp_path, {"metadata/train/weak.tsv": text}, names)
    paths = {
        rate_hz: [
            str(clip.audio_path.relative_to(tmp_path))
            for clip in find_clips(
                tmp_path, DESED.model_copy(update={"sample_rate_hz": rate_hz}), "weak"
            )[0]
        ]
        for rate_hz in (16000, 44100)
    }
    assert paths == {16000: [names[0], names[2]], 44100: [names[1], names[2]]}
    assert find_clips(tmp_path, DESED, "weak")[1] == ["c.wav"]
    assert "weak: 1 of 3 clips have no audio" in caplog.text


@pytest.mark.parametrize("folder", ["audio/validation/validation", "audio/validation"])
def test_validation_clips_lie_in_either_folder(tmp_path, folder):
    text = STRONG + "a.wav\t0\t1\tDog\ne.wav\t\t\t\n"
    audio = f"{folder}/a.wav", f"{folder}/e.wav"
    write_files(tmp_path, {"metadata/validation/validation.tsv": text}, audio)
    assert [clip.name for clip in find_clips(tmp_path, DESED, "validation")[0]] == [
        "a.wav",
        "e.wav",
    ]


@pytest.mark.parametrize("layout", ["dcase2019", "desed2021"])
def test_clips_without_events_are_kept_or_dropped(tmp_path, layout):
    folder = "audio/validation" + ("/validation" if layout == "desed2021" else "")
    text = STRONG + "a.wav\t0\t1\tDog\ne.wav\t\t\t\nf.wav\t\t\t\n"
    audio = tuple(f"{folder}/{name}.wav" for name in "aef")
    write_files(tmp_path, {"metadata/validation/validation.tsv": text}, audio)
    settings = DatasetConfig(layout=layout, sample_rate_hz=16000)
    assert len(find_clips(tmp_path, settings, "validation")[0]) == 3
    notes: list[str] = []
    dropped = settings.model_copy(update={"empty_clips": "dropped"})
    clips, missing = find_clips(tmp_path, dropped, "validation", notes)
    assert [clip.name for clip in clips] == ["a.wav"] and missing == []
    assert "2 clip(s) without events are dropped" in notes[0]


OVERLAPS = (
    STRONG
    + "a.wav\t2\t3\tDog\na.wav\t0\t1\tCat\na.wav\t0.5\t2.5\tDog\na.wav\t3\t4\tDog\n"
    + "b.wav\t0\t1\tDog\nb.wav\t0.2\t0.4\tDog\nb.wav\t1\t1.5\tDog\nb.wav\t0\t9\tCat\n"
)


def test_overlapping_events_of_a_class_are_joined_and_counted(tmp_path):
    audio = tuple(f"audio/validation/{name}.wav" for name in "ab")
    write_files(tmp_path, {"metadata/validation/validation.tsv": OVERLAPS}, audio)
    notes: list[str] = []
    a, b = find_clips(tmp_path, DESED, "validation", notes)[0]
    assert a.events.values.tolist() == [[0.5, 3.0, "Dog"], [0.0, 1.0, "Cat"], [3.0, 4.0, "Dog"]]
    assert b.events.values.tolist() == [[0.0, 1.0, "Dog"], [1.0, 1.5, "Dog"], [0.0, 9.0, "Cat"]]
    assert "2 event(s) overlap others of their class" in notes[0]
    assert "2 clip(s): a.wav, b.wav" in notes[0]
    older = DatasetConfig(sample_rate_hz=16000)
    assert len(find_clips(tmp_path, older, "validation")[0][0].events) == 4
    joined = older.model_copy(update={"merge_overlaps": True})
    assert len(find_clips(tmp_path, joined, "validation")[0][0].events) == 3


def test_joined_events_cover_the_same_time():
    rng = np.random.default_rng(0)
    onset = rng.uniform(0, 9, 300).round(2)
    table = pd.DataFrame(
        {
            "filename": rng.choice(["a", "b", "c"], 300),
            "onset": onset,
            "offset": (onset + rng.uniform(0, 0.3, 300)).round(2),
            "event_label": rng.choice(["Dog", "Cat"], 300),
        }
    )
    joined = merged_overlaps(table)

    def covered(events):
        active = np.zeros((6, 1000), bool)
        for row in events.itertuples():
            first, end = round(row.onset * 100), round(row.offset * 100)
            active["abc".index(row.filename) * 2 + (row.event_label == "Cat"), first:end] = True
        return active

    np.testing.assert_array_equal(covered(joined), covered(table))
    for _, own in joined.sort_values("onset").groupby(["filename", "event_label"]):
        assert (own["onset"].to_numpy()[1:] >= own["offset"].to_numpy()[:-1]).all()
    assert len(joined) < len(table)


MAESTRO = (
    SOFT
    + "cafe_restaurant_00-000000-001000.wav\t0\t1\tpeople talking\t0.8\n"
    + "cafe_restaurant_00-000000-001000.wav\t1\t2\tpeople talking\t0.6\n"
    + "cafe_restaurant_00-000000-001000.wav\t2\t3\tpeople talking\t0.5\n"
    + "cafe_restaurant_00-000000-001000.wav\t1\t2\tfootsteps\t0.25\n"
    + "cafe_restaurant_00-000000-001000.wav\t4\t5\tfootsteps\t0\n"
)


def maestro(root: Path) -> Path:
    names = [f"cafe_restaurant_00-{start:06d}-{start + 1000:06d}.wav" for start in (0, 100)]
    audio = tuple(f"audio/maestro_real_train/{name}" for name in names)
    return write_files(root, {"metadata/maestro_real_train.tsv": MAESTRO}, audio)


def test_soft_labels_have_a_confidence_and_their_names_in_desed(tmp_path):
    first, silent = find_clips(maestro(tmp_path), ALL, "maestro_real_train")[0]
    assert first.is_soft and first.events.values.tolist() == [
        [0.0, 1.0, "people talking", 0.8],
        [1.0, 2.0, "people talking", 0.6],
        [2.0, 3.0, "people talking", 0.5],
        [1.0, 2.0, "footsteps", 0.25],
        [0.0, 1.0, "Speech", 0.8],
        [1.0, 2.0, "Speech", 0.6],
        [2.0, 3.0, "Speech", 0.5],
    ]
    assert certain_events(first).values.tolist() == [
        [0.0, 2.0, "people talking"],
        [0.0, 2.0, "Speech"],
    ]
    assert silent.name.endswith("-000100-001100.wav") and len(silent.events) == 0
    assert certain_events(silent).empty and silent.is_soft
    assert set(first.known) == {*MAESTRO_CLASSES, "Speech", "Dishes", "Dog"}


def test_windows_that_no_row_names_are_dropped_by_setting(tmp_path):
    settings = ALL.model_copy(update={"empty_clips": "dropped"})
    assert len(find_clips(maestro(tmp_path), settings, "maestro_real_train")[0]) == 1
    notes: list[str] = []
    assert len(find_clips(tmp_path, ALL, "maestro_real_train", notes)[0]) == 2
    assert "1 window(s) that no row names" in notes[0]


def test_labels_of_classes_outside_the_list_are_left_out_and_counted(tmp_path):
    notes: list[str] = []
    events, names = parse_soft(MAESTRO, ("Speech", "footsteps"), TRAIN, 10.0, notes=notes)
    assert set(events["event_label"]) == {"Speech", "footsteps"} and len(names) == 1
    assert "3 label(s) of classes" in notes[0] and "people talking" in notes[0]


@pytest.mark.parametrize("confidence", ["", "1.2", "-0.1", "half"])
def test_a_confidence_outside_0_to_1_is_refused(confidence):
    text = SOFT + f"a.wav\t0\t1\tcar\t{confidence}\n"
    with pytest.raises(DataError, match="line 2: expected a confidence from 0 to 1"):
        parse_soft(text, CLASSES, TRAIN, 10.0)


def test_an_unknown_class_of_soft_labels_is_refused():
    with pytest.raises(DataError, match="line 2: unknown class 'horse'"):
        parse_soft(SOFT + "a.wav\t0\t1\thorse\t1\n", CLASSES, TRAIN, 10.0)


def test_labels_of_frames_are_soft_and_other_classes_unknown(tmp_path):
    features = FeatureConfig(fmax_hz=8000)
    first, _ = find_clips(maestro(tmp_path), ALL, "maestro_real_train")[0]
    arrays = clip_labels(first, ALL, features, 640, 640)
    assert example_schema(ALL, features).arrays["activity"].dtype == "float32"
    assert arrays["activity"].dtype == np.float32 and arrays["labelled"] == 1
    known = np.array([name in first.known for name in CLASSES])
    assert (arrays["activity"][:, ~known] == -1).all() and (arrays["tags"][~known] == -1).all()
    talking = arrays["activity"][:, CLASSES.index("people talking")]
    middle_of_second = round(0.5 * features.frames_per_s)
    assert talking[middle_of_second] == pytest.approx(0.8)
    assert talking[round(2.5 * features.frames_per_s)] == 0.5 and talking[-1] == 0
    tags = dict(zip(CLASSES, arrays["tags"].tolist(), strict=True))
    assert tags["people talking"] == tags["footsteps"] == tags["Speech"] == 1 and tags["car"] == 0
    assert tags["Cat"] == -1
    events = arrays["events"][:, 0].astype(int).tolist()
    assert [CLASSES[index] for index in events] == ["people talking", "Speech"]


def test_clips_of_desed_do_not_know_the_classes_of_maestro(tmp_path):
    text = "filename\tevent_labels\na.wav\tDog\n"
    write_files(tmp_path, {"metadata/train/weak.tsv": text}, ("audio/train/weak/a.wav",))
    (clip,), _ = find_clips(tmp_path, ALL, "weak")
    tags = clip_labels(clip, ALL, FeatureConfig(fmax_hz=8000), 10, 10)["tags"]
    assert (tags[:10] >= 0).all() and tags[4] == 1 and (tags[10:] == -1).all()
    (clip,), _ = find_clips(tmp_path, DESED, "weak")
    assert clip.known is None


def test_windows_of_a_recording_stay_together_and_each_scene_validates():
    scenes, names = ("cafe", "city_center"), []
    for scene in scenes:
        for number in range(5):
            names += [
                f"{scene}_{number:02d}-{s:06d}-{s + 1000:06d}.wav" for s in range(0, 400, 100)
            ]
    assert scene_of(names[-1]) == "city_center" and scene_of("Yabc_1.000_2.000.wav") is None
    sources = sources_of("m", [])
    sources = type(sources)("m", dict.fromkeys(names))
    held_out = hold_out(sources, {name: ["car"] for name in names}, 0.2, 0, "m")
    recordings = {name.split("-")[0] for name in held_out}
    assert len(held_out) == 8 and {name.rsplit("_", 1)[0] for name in recordings} == set(scenes)


def test_the_checker_knows_the_layouts(tmp_path):
    texts = {
        "metadata/train/weak.tsv": "filename\tevent_labels\nw.wav\tDog\nv.wav\tDog\n",
        "metadata/validation/validation.tsv": OVERLAPS.replace("a.wav", "u.wav"),
    }
    root = write_files(tmp_path, texts)
    for number, name in enumerate(("train/weak_16k/w", "validation/u", "validation/b")):
        audio = np.random.default_rng(number).uniform(-0.1, 0.1, (160000, 1))
        (root / "audio" / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(root / "audio" / f"{name}.wav", audio, 16000)
    settings = (
        "dataset={layout: desed2020, sample_rate_hz: 16000}",
        "parallel.jobs=1",
        "features.fmax_hz=8000",
        f"dataset_dir={root}",
    )
    report = check_dataset(load_task(PARAMS, "cnn9", settings), deep=True)
    found = [f"{each.level}: {each.text}" for each in report.findings]
    assert any("weak: 1 clips in the metadata have no audio" in text for text in found)
    assert any("2 event(s) overlap others of their class" in text for text in found)
    assert not any(text.startswith("error") for text in found), found
