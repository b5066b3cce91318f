"""Own sounds and backgrounds in mixtures: folds by part and source, shares, and their digests."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from common.audio.files import read_audio
from common.errors import DataError
from common.settings.folds import FoldConfig
from common.settings.parallel import ParallelConfig
from common.simulation.dataset_folder import SETTINGS_FILE, read_settings
from sed_task4.segmentation.dataset import (
    DatasetConfig,
    EventFile,
    parse_event_files,
    read_event_sounds,
    read_scene_folds,
)
from sed_task4.segmentation.mixing import make_mixtures
from sed_task4.segmentation.mixture_lists import folds_of, scene_folds
from sed_task4.segmentation.simulation.settings import SimulationConfig
from sed_task4.segmentation.simulation.simulator import SegmentationSimulator
from tests.common.simulation.own_tables import bad_tables, write_table

RATE_HZ = 16000
TONES_HZ = {"train": 500.0, "validation": 1000.0, "test": 2000.0}
FOLDS = (FoldConfig(name="fold1", train=(3, 4), validate_on=(2,), test=(1,)),)
DATASET = DatasetConfig(
    classes=("Bark", "Siren"), clip_s=8.0, mixtures_per_fold=4, sample_rate_hz=RATE_HZ
)


def tone(hz: float, duration_s: float = 0.5) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(round(duration_s * RATE_HZ)) / RATE_HZ)


def own_sounds(folder: Path, parts=("train", "test")) -> Path:
    for part in parts:
        for name in DATASET.classes:
            for number in range(8):
                path = folder / part / name / f"{part}, {number % 4}" / f"{number}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, tone(TONES_HZ[part]), RATE_HZ)
    return folder


def own_backgrounds(folder: Path) -> Path:
    for part, hz in TONES_HZ.items():
        for number in range(3):
            path = folder / part / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, tone(hz, 2.0), RATE_HZ)
    return folder


def simulate(root: Path, jobs: int = 1, **given) -> Path:
    rates = {"sound_rate_hz": RATE_HZ, "scene_rate_hz": RATE_HZ}
    simulation = SimulationConfig.model_validate({"preset": "fixture", "scenes": 8} | rates | given)
    parallel = ParallelConfig(jobs=jobs)
    SegmentationSimulator(root, simulation, DATASET, FOLDS, parallel=parallel).run(progress=False)
    return root


def loudest(path: Path) -> str:
    power = np.abs(np.fft.rfft(read_audio(path)[:, 0]))
    hz = np.argmax(power) * RATE_HZ / len(read_audio(path))
    return min(TONES_HZ, key=lambda part: abs(hz - TONES_HZ[part]))


@pytest.mark.parametrize("parts", [("train", "test"), ("train", "validation", "test")])
def test_folds_are_of_the_sounds_and_scenes_of_their_part(tmp_path, parts):
    given = {
        "source_dir": own_sounds(tmp_path / "own", parts),
        "background_dir": own_backgrounds(tmp_path / "backgrounds"),
    }
    roots = [simulate(tmp_path / str(jobs), jobs, **given) for jobs in (1, 2)]
    files = [sorted(path for path in root.rglob("*") if path.is_file()) for root in roots]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    expected = {1: "test", 2: "validation", 3: "train", 4: "train"}
    chosen = expected | ({} if "validation" in parts else {2: "train"})
    table = read_event_sounds(roots[0], DATASET)
    assert len(table.files) == 16 * len(parts)
    folds = folds_of(table.files, DATASET).tolist()
    for file, fold in zip(table.files, folds, strict=True):
        assert loudest(table.audio_dir / file.name) == chosen[fold]
    scenes = read_scene_folds(roots[0], DATASET)
    audio = roots[0] / DATASET.scenes_dir / "audio"
    assert {fold: loudest(audio / name) for name, fold in scenes.items()} == expected
    mixtures = make_mixtures(roots[0], DATASET, ParallelConfig(jobs=1), progress=False)
    fold_of = dict(zip((file.name for file in table.files), folds, strict=True))
    for mixture in mixtures:
        assert {fold_of[event.audio_name] for event in mixture.events} == {mixture.fold}
    assert {scenes[each.scene_name] - each.fold for each in mixtures} == {0}


def test_groups_stay_in_one_fold_without_parts(tmp_path):
    root = simulate(tmp_path / "out", source_dir=own_sounds(tmp_path, ("train",)) / "train")
    places: dict[str, set[int]] = {}
    for file in read_event_sounds(root, DATASET).files:
        places.setdefault(str(file.group), set()).add(file.fold)
    assert len(places) == 4 and all(len(folds) == 1 for folds in places.values())
    assert set.union(*places.values()) == {1, 2, 3, 4}
    assert read_scene_folds(root, DATASET) == {}  # of synthetic scenes


def test_a_share_of_sounds_of_classes_with_recipes_is_synthetic(tmp_path):
    folder = own_sounds(tmp_path / "own", ("train",)) / "train"
    barks = DATASET.model_copy(update={"classes": ("Bark", "Cough")})
    simulation = SimulationConfig(preset="fixture", source_dir=folder, synthetic_share=0.5)
    files = SegmentationSimulator(tmp_path / "out", simulation, barks).sounds
    numbers = {
        (name, own): sum(
            file.label == name and file.group.startswith("train") == own for file in files
        )
        for name in barks.classes
        for own in (True, False)
    }
    # 8 files of each class without recordings, in the preset of this test
    assert list(numbers.values()) == [8, 8, 0, 8]


def test_changed_own_sounds_are_noticed(tmp_path):
    folder = own_sounds(tmp_path / "own")
    root = simulate(tmp_path / "out", source_dir=folder)
    stored = read_settings(root / SETTINGS_FILE)
    assert stored["own_recordings"] and "own_backgrounds" not in stored
    soundfile.write(next(folder.rglob("*.wav")), tone(700.0, 0.6), RATE_HZ)
    with pytest.raises(DataError, match="was simulated with other settings"):
        simulate(root, source_dir=folder)


def test_a_column_fold_decides_and_must_fit():
    table = "fname,label,manually_verified,fold\na.wav,Bark,1,2\nb.wav,Bark,1,4\n"
    files = parse_event_files(table)
    assert folds_of(files, DATASET).tolist() == [2, 4]
    few = DATASET.model_copy(update={"n_folds": 3})
    with pytest.raises(DataError, match=r"the fold of b.wav is 4. Expected: 1 to .*, 3"):
        folds_of(files, few, "train.csv")
    with pytest.raises(DataError, match=r"the fold of s\.wav is 4"):
        scene_folds(["s.wav"], {}, few, given={"s.wav": 4})
    with pytest.raises(DataError, match="line 2: expected the number of a fold"):
        parse_event_files(table.replace("1,2", "1,x"))
    assert scene_folds(["s.wav"], {}, few) is None
    assert EventFile("a.wav", "Bark", True).fold is None


@pytest.mark.parametrize(("rows", "message"), bad_tables("Bark"))
def test_bad_tables_are_refused_before_any_work(tmp_path, rows, message):
    folder = write_table(tmp_path / "own", rows, tone(500.0), RATE_HZ)
    with pytest.raises(DataError, match=message):
        simulate(tmp_path / "out", source_dir=folder)
    assert not (tmp_path / "out").exists()
