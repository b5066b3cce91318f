"""Recordings of one source: in one split of a simulation, and in one part of a fold."""

import random
from pathlib import Path

import numpy as np
import pytest
import soundfile

from common.audio.files import write_wav
from common.cli.check_dataset import check_dataset
from common.cli.extract import main as extract
from common.errors import DataError
from common.settings.parallel import ParallelConfig
from common.settings.tasks import load_task
from common.simulation.dataset_folder import SETTINGS_FILE, read_settings
from seld.cli import main
from seld.dataset import DatasetConfig
from seld.extraction import open_store, place_of, stored_members
from seld.recording_list import read_list
from seld.simulation.rendering import select_sounds
from seld.simulation.settings import SimulationConfig, scene_settings
from seld.simulation.simulator import SeldSimulator

PARAMS = Path(__file__).parents[2] / "params.yaml"
RATE = 16000
HEADER = "sound_event_recording,start_time,end_time,ele,azi,dist\n"
SETTINGS = (
    "dataset={format: mic, channels: 2, sample_rate_hz: 16000, recording_s: 1.0, classes: [a, b]}",
    "parallel.jobs=1",
    "folds=[{name: only, train: [1, 2], validate_on: [3], test: [4]}]",
    "features.n_fft=1024",
    "pipeline={sequence_frames: 20, batch_size: 2}",
    "network={n_filters: 4, gru_units: [4], dense_units: [4]}",
    "training={epochs: 1, passes_per_epoch: 1}",
)
SMALL = SimulationConfig(preset="fixture", duration_s=2.0)


def write_dataset(root: Path, groups: list[str] | None) -> Path:
    """A recording of a second in each of the splits 1 to 4, of the given sources."""
    rows = ["filename,split,overlap" + (",group" if groups else "")]
    for number in range(4):
        audio = np.random.default_rng(number).uniform(-0.1, 0.1, (RATE, 2))
        write_wav(root / f"r{number}.wav", audio, RATE)
        (root / f"r{number}.csv").write_text(HEADER + f"{'ab'[number % 2]},0.1,0.9,0,0,1\n")
        rows.append(f"r{number}.wav,{number + 1},1" + (f",{groups[number]}" if groups else ""))
    (root / "recordings.csv").write_text("\n".join(rows) + "\n")
    return root


def options(root: Path) -> list[str]:
    folders = [
        f"{name}_dir={root / place}"
        for name, place in (("dataset", ""), ("feature", "f"), ("output", "o"))
    ]
    return [
        "--params",
        str(PARAMS),
        *(part for setting in (*SETTINGS, *folders) for part in ("--set", setting)),
    ]


@pytest.mark.parametrize(
    "groups", [["x", "y", "z", "x"], ["x", "y", "x", "z"], ["x", "y", "z", "z"]]
)
def test_checker_extraction_and_training_refuse_a_group_in_two_parts(tmp_path, capsys, groups):
    write_dataset(tmp_path, groups)
    task = load_task(PARAMS, "1", options(tmp_path)[3::2])
    errors = [each.text for each in check_dataset(task).findings if each.level == "error"]
    assert len(errors) == 1 and "fold 'only': 1 group(s) are in two splits" in errors[0]
    for command in (
        lambda: extract(["1", *options(tmp_path)]),
        lambda: main(["1", "a", *options(tmp_path)]),
    ):
        capsys.readouterr()
        assert command() == 2
        assert f"error: {errors[0]}" in capsys.readouterr().err
    assert not (tmp_path / "o").exists() or not any(tmp_path.glob("o/*/only"))


@pytest.mark.parametrize("groups", [["x", "x", "y", "z"], None])
def test_groups_within_one_part_are_kept_with_the_features(tmp_path, groups):
    write_dataset(tmp_path, groups)
    task = load_task(PARAMS, "1", options(tmp_path)[3::2])
    report = check_dataset(task)
    assert report.usable
    tables = [each.rows for each in report.tables if each.title.startswith("groups")]
    assert tables == (
        [[["a", "1", "0", "1", "0"], ["b", "0", "1", "0", "1"], ["all", "1", "1", "1", "1"]]]
        if groups
        else []
    )
    assert extract(["1", *options(tmp_path)]) == 0
    store = open_store(task, "dev")
    told = {1: {"x": "r0"}, 2: {"x": "r1"}, 3: {"y": "r2"}, 4: {"z": "r3"}}
    assert stored_members([store]) == (told if groups else {})
    assert place_of(store, "r2", DatasetConfig()) == (3, None, 1)


def test_an_empty_group_is_refused_with_its_row(tmp_path):
    write_dataset(tmp_path, ["x", "", "y", "z"])
    with pytest.raises(DataError, match=r"recordings.csv, line 3: group is empty"):
        read_list(tmp_path)


def own_sounds(folder: Path, groups: dict[str, str]) -> Path:
    for file in groups:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        tone = 0.3 * np.sin(2 * np.pi * 500 * np.arange(4000) / RATE)
        soundfile.write(folder / file, tone, RATE)
    rows = random.Random(0).sample(sorted(groups.items()), len(groups))
    (folder / "metadata.csv").write_text(
        "file,group\n" + "".join(f"{file},{group}\n" for file, group in rows)
    )
    return folder


@pytest.mark.parametrize("seed", range(3))
def test_no_group_of_own_sounds_is_in_two_splits(tmp_path, seed):
    draw = random.Random(seed)
    files = [f"{name}/{n}.wav" for name in ("speech", "cough") for n in range(24)]
    groups = {file: f"person {draw.randint(0, 9)}" for file in files}
    own_sounds(tmp_path, groups)
    selections = select_sounds(("speech", "cough"), range(5), scene_settings(SMALL, seed), tmp_path)
    splits: dict[str, set[int]] = {}
    for selection in selections:
        assert selection.recordings and selection.n_groups == len(
            {groups[_name(path, tmp_path)] for path in selection.recordings}
        )
        for path in selection.recordings:
            splits.setdefault(groups[_name(path, tmp_path)], set()).add(selection.set_number)
    assert all(len(each) == 1 for each in splits.values())


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def test_four_groups_are_enough_for_the_development_splits(tmp_path):
    own_sounds(tmp_path, {f"speech/{n}.wav": f"person {n % 4}" for n in range(8)})
    selections = select_sounds(("speech",), (1, 2, 3, 4), scene_settings(SMALL, 0), tmp_path)
    assert [selection.n_groups for selection in selections] == [1, 1, 1, 1]
    with pytest.raises(
        DataError, match=r"speech has 4 group\(s\) .* none for split 0 \(evaluation\)"
    ):
        select_sounds(("speech",), range(5), scene_settings(SMALL, 0), tmp_path)


def test_two_processes_and_other_rows_simulate_the_same(tmp_path):
    groups = {f"speech/{n}.wav": f"person {n // 2}" for n in range(12)}
    written = []
    for jobs, name in ((1, "one"), (2, "two")):
        folder = own_sounds(
            tmp_path / f"own{jobs}", dict(random.Random(jobs).sample(sorted(groups.items()), 12))
        )
        simulation = SMALL.model_copy(update={"source_dir": folder})
        dataset, parallel = DatasetConfig(classes=("speech",)), ParallelConfig(jobs=jobs)
        root = tmp_path / name
        SeldSimulator(root, simulation, dataset, formats=["foa"], parallel=parallel).run(
            progress=False
        )
        files = sorted(path for path in root.rglob("*") if path.is_file())
        written.append([(_name(path, root), path.read_bytes()) for path in files])
    assert written[0] == written[1]
    assert read_settings(tmp_path / "one" / SETTINGS_FILE)["own_recordings"]


def test_the_checker_counts_own_sounds_by_class_and_split(tmp_path):
    own_sounds(tmp_path / "own", {f"speech/{n}.wav": f"person {n % 2}" for n in range(8)})
    overrides = [
        f"simulation.source_dir={tmp_path}/own",
        f"dataset_dir={tmp_path}/none",
        "simulation.preset=fixture",
    ]
    errors = [each.text for each in check_dataset(load_task(PARAMS, "demo", overrides)).findings]
    assert any(
        "speech has 2 group(s)" in each and "none for split 3, split 4" in each for each in errors
    )


def test_synthetic_sounds_have_no_groups():
    settings = scene_settings(SimulationConfig(), 0)
    assert all(
        selection.n_groups == 0 for selection in select_sounds(("speech",), (1,), settings, None)
    )
