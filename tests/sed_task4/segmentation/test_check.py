"""Checker on sounds and scenes with one fault each; any folder and classes work."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from common.audio.files import write_wav
from common.cli.check_dataset import check_dataset
from common.errors import DataError
from common.settings.tasks import load_task
from sed_task4.segmentation.mixing import make_mixtures

PARAMS = Path(__file__).parents[3] / "params.yaml"
SETTINGS = (
    (
        "dataset={classes: [a, b], clip_s: 1.984, sample_rate_hz: 16000, events_per_mixture: 1,"
        " event_s: 0.5, n_folds: 2}"
    ),
    "dataset={mixtures_per_fold: 1, mixture_seed: 1, events_dir: sounds, scenes_dir: scenes}",
    "folds=[{name: only, train: [1], validate_on: [], test: [2]}]",
    "parallel.jobs=1",
    "pipeline.sequence_frames=61",
)


@pytest.fixture
def root(tmp_path) -> Path:
    """Four sounds of each of two classes, and two scenes."""
    draw = np.random.default_rng(0)
    rows = []
    for number in range(8):
        write_wav(
            tmp_path / "sounds" / "audio_train" / f"{number}.wav",
            draw.uniform(-0.1, 0.1, (4000, 1)),
            8000,
        )
        rows.append(f"{number}.wav,{'ab'[number % 2]},1\n")
    (tmp_path / "sounds" / "train.csv").write_text(
        "fname,label,manually_verified\n" + "".join(rows)
    )
    for number in range(2):
        write_wav(
            tmp_path / "scenes" / "audio" / f"s{number}.wav",
            draw.uniform(-0.1, 0.1, (16000, 2)),
            8000,
        )
    scenes = "filename\tscene_label\naudio/s0.wav\tbus\naudio/s1.wav\tpark\n"
    (tmp_path / "scenes" / "meta.csv").write_text(scenes)
    return tmp_path


def findings(root: Path, *overrides: str, deep: bool = False) -> list[tuple[str, str]]:
    task = load_task(PARAMS, "segmentation", [*SETTINGS, f"dataset_dir={root}", *overrides])
    return [(each.level, each.text) for each in check_dataset(task, deep).findings]


@pytest.mark.parametrize("deep", [False, True])
def test_good_sounds_and_scenes_have_no_finding(root, deep):
    assert findings(root, deep=deep) == []


def test_missing_and_unlisted_files_are_reported(root):
    (root / "sounds/audio_train/3.wav").rename(root / "sounds/audio_train/x.wav")
    (root / "scenes/audio/s1.wav").unlink()
    reported = findings(root)
    assert (
        "error",
        f"sounds: 1 of 8 files are not in {root}/sounds/audio_train: 3.wav.",
    ) in reported
    assert ("error", f"scenes: 1 of 2 files are not in {root}/scenes/audio: s1.wav.") in reported
    assert any(level == "warning" and "not in train.csv: x.wav" in text for level, text in reported)


def test_short_scenes_and_silent_sounds_are_errors(root):
    write_wav(root / "scenes/audio/s0.wav", np.full((8000, 2), 0.1), 8000)
    write_wav(root / "sounds/audio_train/0.wav", np.zeros((4000, 1)), 8000)
    reported = findings(root, deep=True)
    assert ("error", "1 scene(s) are shorter than a mixture, 1.984 s: s0.wav.") in reported
    assert any(
        level == "error" and "silent, zeros alone: 0.wav" in text for level, text in reported
    )


def test_missing_tables_and_classes_without_sounds_are_reported(root):
    assert any(
        "fold 1: no event of 1 class(es)" in text
        for _, text in findings(root, "dataset.classes=[a, b, c]")
    )
    (root / "sounds/train.csv").unlink()
    (root / "scenes/meta.csv").unlink()
    reported = findings(root)
    assert [level for level, _ in reported] == ["error", "error"]
    assert "sounds: There is no" in reported[0][1] and "scenes: There is no" in reported[1][1]


def test_too_few_scenes_are_a_warning(root):
    (text,) = [text for _, text in findings(root, "dataset.mixtures_per_fold=3")]
    assert text == "2 scenes serve 6 mixtures: the same ones are in several folds."


@pytest.mark.parametrize("suffix", [".flac", ".WAV", ".ogg"])
def test_sounds_and_scenes_of_another_suffix_are_mixed(root, suffix):
    for path in (root / "sounds/audio_train/3.wav", root / "scenes/audio/s1.wav"):
        audio, rate = soundfile.read(path)
        path.unlink()
        soundfile.write(path.with_suffix(suffix), audio, rate)
    reported = findings(root)
    assert reported == [
        ("warning", f"1 sound(s) have another suffix than in train.csv: 3{suffix} for 3.wav."),
        ("warning", f"1 scene(s) have another suffix than in meta.csv: s1{suffix} for s1.wav."),
    ]
    task = load_task(PARAMS, "segmentation", [*SETTINGS, f"dataset_dir={root}"])
    assert len(make_mixtures(root, task.dataset, task.parallel, progress=False)) == 2


@pytest.mark.parametrize("times", [(500, 1000), (1.5, 1.0), ("0,5", 1.0)])
def test_a_bad_list_of_mixtures_stops_checker_and_mixing_alike(root, times):
    event = {"event_audio_name": "0.wav", "event_label": "a", "onset": times[0], "offset": times[1]}
    entry = {
        "mixture_name": "00000.wav",
        "fold": 1,
        "scene_audio_name": "s0.wav",
        "events": [event],
    }
    (root / "mixtures").mkdir()
    (root / "mixtures/mixture.yaml").write_text(yaml.safe_dump([entry]))
    task = load_task(PARAMS, "segmentation", [*SETTINGS, f"dataset_dir={root}"])
    with pytest.raises(DataError, match="entry 1") as caught:
        make_mixtures(root, task.dataset, task.parallel, progress=False)
    assert ("error", f"mixtures: {caught.value}") in findings(root)


@pytest.mark.parametrize("row", ["x.wav,a,2", "x.wav,a", '"x.wav,a,1', "x.wav,a,1,1,1"])
def test_a_bad_table_stops_checker_and_mixing_alike(root, row):
    with (root / "sounds/train.csv").open("a") as file:
        file.write(row + "\n")
    task = load_task(PARAMS, "segmentation", [*SETTINGS, f"dataset_dir={root}"])
    with pytest.raises(DataError, match="line 10") as caught:
        make_mixtures(root, task.dataset, task.parallel, progress=False)
    assert ("error", f"sounds: {caught.value}") in findings(root)
