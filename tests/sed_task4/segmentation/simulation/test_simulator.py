"""Simulated sounds and scenes: layouts, content, restarts, given tables."""

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from common.audio.files import read_audio
from common.errors import ConfigError, DataError
from common.settings.parallel import ParallelConfig
from common.simulation.dataset_folder import SETTINGS_FILE
from common.simulation.sound_bank import RECIPES
from sed_task4.dataset import DatasetConfig as Task4Config
from sed_task4.features import FeatureConfig
from sed_task4.segmentation.dataset import (
    DatasetConfig,
    audio_folder,
    find_mixtures,
    parse_scenes,
    read_event_sounds,
)
from sed_task4.segmentation.mixing import make_mixtures
from sed_task4.segmentation.simulation.plans import (
    LABEL_SOUNDS,
    SCENE_SOUNDS,
    plan_scenes,
    plan_sounds,
)
from sed_task4.segmentation.simulation.settings import SimulationConfig, sound_settings
from sed_task4.segmentation.simulation.simulator import SegmentationSimulator, run

DATASET = DatasetConfig(
    classes=("Bark", "Flute", "Hi-hat"),
    sample_rate_hz=16000,
    clip_s=1.5,
    mixtures_per_fold=2,
    n_folds=2,
    events_per_mixture=1,
    onset_step_s=1.0,
    event_s=1.0,
)
SMALL = SimulationConfig(
    preset="fixture",
    scenes=10,
    files_per_class=5,
    verified_share=0.6,
    sound_rate_hz=16000,
    scene_rate_hz=16000,
)
SEEDED = {"seed": 5, "parallel": ParallelConfig(jobs=1)}
SOUNDS, SCENES = "dcase2018_task2", "TUT-urban-acoustic-scenes-2018-development"


def _checksums(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): hashlib.md5(path.read_bytes()).hexdigest() for path in files
    }


def _simulate(root, simulation=SMALL, overwrite=False, **options):
    simulator = SegmentationSimulator(root, simulation, DATASET, **{**SEEDED, **options})
    return simulator.run(overwrite, progress=False)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    """Sounds of three classes and a scene of each kind; tests must not change them."""
    root = tmp_path_factory.mktemp("simulated")
    _simulate(root)
    return root


@pytest.fixture
def copied(simulated, tmp_path) -> Path:
    return Path(shutil.copytree(simulated, tmp_path / "copy"))


def test_layouts_are_those_of_task_2_and_task_1(simulated):
    sounds = (simulated / SOUNDS / "train.csv").read_text().splitlines()
    assert sounds[0] == "fname,label,manually_verified" and len(sounds) == 16
    files = read_event_sounds(simulated, DATASET).files
    assert Counter(file.label for file in files) == dict.fromkeys(DATASET.classes, 5)
    assert Counter(file.label for file in files if file.verified) == dict.fromkeys(
        DATASET.classes, 3
    )
    scenes = (simulated / SCENES / "meta.csv").read_text().splitlines()
    assert scenes[0] == "filename\tscene_label\tidentifier\tsource_label"
    assert "audio/airport-barcelona-0-0-a.wav\tairport\tbarcelona-0\ta" in scenes
    listed = {f"{SOUNDS}/audio_train/{file.name}" for file in files}
    listed |= {f"{SCENES}/{row.split(chr(9))[0]}" for row in scenes[1:]}
    assert set(_checksums(simulated)) == listed | {
        f"{SOUNDS}/train.csv",
        f"{SCENES}/meta.csv",
        SETTINGS_FILE,
        "README.md",
    }
    assert "SIMULATED" in (simulated / "README.md").read_text()
    assert json.loads((simulated / SETTINGS_FILE).read_text())["simulated"] is True


def test_sounds_are_mono_and_scenes_stereo_of_exact_length(simulated):
    for path in (simulated / SOUNDS / "audio_train").iterdir():
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert 0.3 <= info.duration <= 3.0
        assert 0.09 < np.abs(read_audio(path)).max() < 0.91
    for path in (simulated / SCENES / "audio").iterdir():
        audio = read_audio(path, 16000, 2)
        assert len(audio) == 24000
        assert 0.09 < np.abs(audio).max() < 0.61
        assert not np.allclose(audio[:, 0], audio[:, 1], atol=0.01)


def test_the_mixer_mixes_them(copied):
    make_mixtures(copied, DATASET, ParallelConfig(jobs=1), progress=False)
    assert [mixture.fold for mixture in find_mixtures(copied, DATASET)] == [1, 1, 2, 2]


def test_two_processes_write_the_same_files_as_one(simulated, tmp_path):
    _simulate(tmp_path, parallel=ParallelConfig(jobs=2))
    assert _checksums(tmp_path) == _checksums(simulated)


def test_a_killed_simulation_resumes_with_missing_files(simulated, copied):
    sound = sorted((copied / SOUNDS / "audio_train").iterdir())[3]
    scene = copied / SCENES / "audio" / "airport-barcelona-0-0-a.wav"
    sound.unlink()
    scene.unlink()
    sound.with_name(f".{sound.name}.77.tmp").write_bytes(b"half a sound")
    (copied / SOUNDS / "train.csv").unlink()
    report = _simulate(copied)
    assert set(report.written) == {sound.name, scene.name} and len(report.skipped) == 23
    assert _checksums(copied) == _checksums(simulated)


def test_overwriting_with_other_settings_removes_mixtures(copied):
    make_mixtures(copied, DATASET, ParallelConfig(jobs=1), progress=False)
    with pytest.raises(DataError, match=r"seed: 5 there, 6 wanted.*--overwrite"):
        _simulate(copied, seed=6)
    one = SMALL.model_copy(update={"scenes": 1, "files_per_class": 2})
    _simulate(copied, one, overwrite=True)
    assert len(list((copied / SOUNDS / "audio_train").iterdir())) == 6
    assert not list(audio_folder(copied, DATASET).glob("*.wav"))
    make_mixtures(copied, DATASET, ParallelConfig(jobs=1), progress=False)


def test_other_recordings_than_simulated_ones_are_kept(tmp_path):
    (tmp_path / SOUNDS).mkdir()
    (tmp_path / SOUNDS / "train.csv").write_text("fname,label,manually_verified\n")
    with pytest.raises(DataError, match="holds recordings that were not simulated"):
        _simulate(tmp_path)


def test_the_rows_of_given_tables_are_rendered(tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    (given / "train.csv").write_text(
        "fname,label,manually_verified\n00044347.wav,Hi-hat,0\n001ca53d.wav,Applause,1\n"
    )
    header = "filename\tscene_label\tidentifier\tsource_label\n"
    meta = header + "audio/tram-vienna-3-7-a.wav\ttram\tvienna-3\ta\n"
    (given / "meta.csv").write_text(meta)
    report = _simulate(tmp_path / "out", annotations=given)
    # there is no sound of applause
    assert set(report.written) == {"00044347.wav", "tram-vienna-3-7-a.wav"}
    assert (tmp_path / "out" / SCENES / "meta.csv").read_text() == meta
    with pytest.raises(ConfigError, match="no synthetic sound for Applause"):
        demo = SMALL.model_copy(update={"preset": "demo"})
        _simulate(tmp_path / "other", demo, annotations=given)
    (given / "meta.csv").write_text("filename\tscene_label\naudio/a.wav\tforest\n")
    with pytest.raises(DataError, match=r"meta\.csv: unknown scene.s. forest"):
        _simulate(tmp_path / "other", annotations=given)
    with pytest.raises(DataError, match=r"No train.csv and no meta.csv"):
        _simulate(tmp_path / "other", annotations=tmp_path)


def test_the_preset_refuses_or_drops_classes_without_sounds(tmp_path, caplog):
    task = SimpleNamespace(
        dataset_dir=tmp_path,
        dataset=DatasetConfig(clip_s=10.0),
        simulation=SimulationConfig(),
        features=FeatureConfig(),
        folds=(),
        seed=0,
        parallel=ParallelConfig(jobs=1),
    )
    with pytest.raises(
        ConfigError,
        match=r"no synthetic sound for Applause.*Expected: classes among Acoustic_guitar",
    ):
        run(task)
    task.dataset = DATASET.model_copy(update={"classes": ("Applause", "Bark")})
    task.simulation = SMALL
    report = run(task)
    assert len(report.written) == 15 and "Applause" in caplog.text
    task.dataset = DATASET.model_copy(update={"classes": ("Applause", "Gong")})
    with pytest.raises(ConfigError, match="no synthetic sound for Applause, Gong"):
        run(task, overwrite=True)


def test_nineteen_published_and_all_task_4_classes_have_sounds():
    assert len(set(DatasetConfig().classes) & set(LABEL_SOUNDS)) == 19
    assert set(Task4Config().classes) <= set(LABEL_SOUNDS)
    assert {sound.recipe for sound in LABEL_SOUNDS.values()} <= set(RECIPES)


def test_names_are_unique_and_independent_of_other_files():
    files = plan_sounds(tuple(LABEL_SOUNDS), 250, 0.4, 3)
    assert len({file.name for file in files}) == 250 * len(LABEL_SOUNDS)
    assert sum(file.verified for file in files) == 100 * len(LABEL_SOUNDS)
    scenes = plan_scenes(8000)
    assert len({scene.name for scene in scenes}) == 8000
    assert {scene.label for scene in scenes} == set(SCENE_SOUNDS)


def test_presets_set_missing_values():
    assert sound_settings(SimulationConfig(preset="full"), 0).scenes == 8000
    assert sound_settings(SimulationConfig(preset="full", scenes=7), 0).scenes == 7


def test_scenes_of_traffic_are_deeper_than_parks(simulated):
    rows = parse_scenes((simulated / SCENES / "meta.csv").read_text())
    centres_hz = {}
    for name, label in rows:
        spectrum = np.abs(np.fft.rfft(read_audio(simulated / SCENES / "audio" / name).mean(axis=1)))
        centres_hz[label] = np.sum(spectrum * np.fft.rfftfreq(24000, 1 / 16000)) / spectrum.sum()
    assert centres_hz["bus"] < centres_hz["park"]
