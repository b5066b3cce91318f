"""Simulated datasets in the layouts of 2020 on: folders, windows, soft labels, presets."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from common.audio.files import read_audio
from common.errors import ConfigError
from common.settings.parallel import ParallelConfig
from common.simulation.dataset_folder import SETTINGS_FILE
from sed_task4.clips.layouts import LAYOUTS, MAESTRO_CLASSES, Layout
from sed_task4.clips.published import CHALLENGE_CLASSES
from sed_task4.dataset import DatasetConfig, find_clips
from sed_task4.simulation.plans import ALL_SOUNDS, ClipPlan, PlannedEvent
from sed_task4.simulation.settings import PRESETS, SimulationConfig, scene_settings
from sed_task4.simulation.simulator import Task4Simulator
from sed_task4.simulation.windows import (
    format_soft,
    name_recordings,
    segment_confidences,
    windows_of,
)

RATE_HZ = 16000
CLASSES = (*CHALLENGE_CLASSES, *MAESTRO_CLASSES)
SMALL = SimulationConfig(
    preset="fixture",
    sample_rate_hz=RATE_HZ,
    clips_per_subset={
        "weak": 2,
        "unlabel_in_domain": 1,
        "validation": 2,
        "eval": 1,
        "audioset_strong": 2,
        "synthetic20": 2,
        "synthetic21_train": 2,
        "synthetic21_validation": 2,
        "maestro_real_train": 7,
        "maestro_real_validation": 2,
    },
)


def dataset(layout: Layout) -> DatasetConfig:
    classes = CLASSES if layout == "desed2024" else CHALLENGE_CLASSES
    return DatasetConfig(layout=layout, classes=classes, clip_s=2.0, sample_rate_hz=16000)


def simulate(root: Path, layout: Layout, **options) -> None:
    options = {"seed": 3, "parallel": ParallelConfig(jobs=1)} | options
    Task4Simulator(root, SMALL, dataset(layout), **options).run(progress=False)


def checksums(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): hashlib.md5(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    """All subsets of 2024; tests must not change it."""
    root = tmp_path_factory.mktemp("simulated")
    simulate(root, "desed2024")
    return root


def test_folders_and_names_are_those_of_the_recipes(simulated):
    synthetic = "synthetic21_{0}/soundscapes"
    texts = {
        "metadata/train/weak.tsv",
        "metadata/train/unlabel_in_domain.tsv",
        "metadata/train/audioset_strong.tsv",
        "metadata/train/" + synthetic.format("train") + ".tsv",
        "metadata/validation/" + synthetic.format("validation") + ".tsv",
        "metadata/validation/validation.tsv",
        "metadata/eval/public.tsv",
        "metadata/maestro_real_train.tsv",
        "metadata/maestro_real_validation.tsv",
        "README.md",
        SETTINGS_FILE,
    }
    found = checksums(simulated)
    assert {name for name in found if not name.endswith(".wav")} == texts
    for name in (
        "train/" + synthetic.format("train") + "/0.wav",
        "validation/" + synthetic.format("validation") + "/1.wav",
        "train/strong_label_real/Ysim5000001_30.000_40.000.wav",
        "validation/validation/Ysim3000001_30.000_40.000.wav",
        "maestro_real_train/cafe_restaurant_00-000500-000700.wav",
        "maestro_real_validation/cafe_restaurant_50-000000-000200.wav",
    ):
        assert f"audio/{name}" in found


@pytest.mark.parametrize("subset", LAYOUTS["desed2024"])
def test_the_dataset_reader_reads_them(simulated, subset):
    place, settings = LAYOUTS["desed2024"][subset], dataset("desed2024")
    clips, missing = find_clips(simulated, settings, subset)
    numbers = {"unlabel_in_domain": 1, "eval": 1, "maestro_real_train": 12}
    assert missing == [] and len(clips) == numbers.get(subset, 2)
    for clip in clips:
        assert (clip.tags is not None) == (place.kind == "weak")
        assert (clip.events is not None) == (place.kind in ("strong", "soft"))
        assert clip.is_soft == (place.kind == "soft")
        if clip.events is not None:
            assert set(clip.events["event_label"]) <= set(place.known_classes)


def test_windows_of_a_recording_share_its_sound(simulated):
    folder = simulated / "audio/maestro_real_train"
    first, later = (
        read_audio(folder / f"cafe_restaurant_00-{span}.wav")
        for span in ("000000-000200", "000100-000300")
    )
    assert len(first) == len(later) == 2 * RATE_HZ
    np.testing.assert_array_equal(first[RATE_HZ:], later[:RATE_HZ])


def test_windows_have_the_hop_of_their_subset_and_a_shorter_last_one():
    train = windows_of("maestro_real_train", "metro_station_07", 10.0)
    assert [window.begin_s for window in train] == [0, 1, 2, 3, 4, 5]
    assert train[1].name == "metro_station_07-000100-001100"
    found = windows_of("maestro_real_validation", "a", 4.0)
    assert [(window.begin_s, window.end_s) for window in found] == [(0.0, 4.0), (5.0, 9.0)]
    assert windows_of("maestro_real_train", "a", 2.5)[-1].end_s == 7.5
    names = [slot.name for slot in name_recordings("maestro_real_train", 31, 10.0)]
    assert names[::5] == ["cafe_restaurant_00", "cafe_restaurant_01"] and len(names) == 6


def test_soft_labels_are_shares_of_seconds():
    settings = scene_settings(SMALL, 3, 2.0)
    events = PlannedEvent("car", 0.5, 2.0), PlannedEvent("car", 3.25, 3.5)
    plan = ClipPlan("maestro_real_train", "city_center_00", events)
    found = segment_confidences(plan, settings)
    clarity = found[1.0, "car"]
    assert 0.3 <= clarity <= 1 and set(found) == {(0.0, "car"), (1.0, "car"), (3.0, "car")}
    assert found[0.0, "car"] == pytest.approx(0.5 * clarity, abs=1e-3)
    assert found[3.0, "car"] == pytest.approx(0.25 * clarity, abs=1e-3)
    rows = [row.split("\t") for row in format_soft([plan], settings).splitlines()]
    assert rows[0] == ["filename", "onset", "offset", "event_label", "confidence"]
    own = [row[1:] for row in rows if row[0] == "city_center_00-000100-000300.wav"]
    assert own == [["0.0", "1.0", "car", repr(clarity)]]
    silent = "city_center_00-000400-000600.wav"  # a window without rows, as published
    assert silent not in [row[0] for row in rows]


def test_the_same_settings_give_the_same_files_in_any_order(simulated, tmp_path):
    for subsets in (["maestro_real_validation", "synthetic21_train"], ["maestro_real_train"]):
        simulate(tmp_path, "desed2024", subsets=subsets)
    whole = checksums(simulated)
    assert checksums(tmp_path).items() <= whole.items()
    assert len(list((tmp_path / "audio").rglob("*.wav"))) == 2 + 12 + 2
    killed = tmp_path / "audio/maestro_real_train/city_center_00-000100-000300.wav"
    killed.unlink()
    simulate(tmp_path, "desed2024", subsets=["maestro_real_train"])
    assert checksums(tmp_path).items() <= whole.items() and killed.is_file()


@pytest.mark.parametrize("layout", ["desed2020", "desed2021"])
def test_earlier_years_have_their_own_subsets(layout, tmp_path):
    subsets = [name for name in LAYOUTS[layout] if "synthetic" in name]
    simulate(tmp_path, layout, subsets=subsets)
    for subset in subsets:
        clips, _ = find_clips(tmp_path, dataset(layout), subset)
        assert [clip.name for clip in clips] == [f"{subset}-{number}.wav" for number in range(2)]
    stored = json.loads((tmp_path / SETTINGS_FILE).read_text())["settings"]["clips_per_subset"]
    assert set(stored) == set(LAYOUTS[layout])


def test_numbers_of_the_layouts_of_2019_are_stored_as_before():
    content = Task4Simulator(Path("none"), SMALL, DatasetConfig()).content()
    names = ["weak", "unlabel_in_domain", "unlabel_out_of_domain", "synthetic", "validation"]
    assert list(content["clips_per_subset"]) == [*names, "test", "eval"]


def test_all_classes_and_subsets_can_be_simulated():
    assert set(CLASSES) <= set(ALL_SOUNDS)
    for preset in PRESETS.values():
        known = {name for layout in LAYOUTS.values() for name in layout}
        assert known - set(preset.clips) == {"test_dcase2018", "eval_dcase2018"}


def test_a_subset_without_classes_is_refused(tmp_path):
    few = dataset("desed2024").model_copy(update={"classes": ("Dog", "Cat")})
    simulator = Task4Simulator(tmp_path, SMALL, few, ["maestro_real_train"], seed=3)
    with pytest.raises(ConfigError, match="No class of maestro_real_train"):
        simulator.run(progress=False)
