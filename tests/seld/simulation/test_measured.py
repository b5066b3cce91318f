"""Simulated datasets in measured rooms: directions, onsets, splits, formats, refusals."""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from common.audio.files import read_audio
from common.cli.check_dataset import check_dataset
from common.errors import ConfigError, DataError
from common.settings.parallel import ParallelConfig
from common.settings.tasks import load_task
from seld.dataset import DatasetConfig, read_labels
from seld.recordings.csv_formats import read_rows
from seld.recordings.layouts import LAYOUTS
from seld.recordings.rows import AZIMUTH, CLASS, DISTANCE, ELEVATION, FRAME
from seld.simulation.settings import MovementConfig, SimulationConfig
from seld.simulation.simulator import SeldSimulator
from tests.common.simulation.response_files import (
    RATE_HZ,
    anechoic_folder,
    angle_deg,
    as_fuma,
    as_n3d,
    pulse_response,
    write_responses,
)

ONE = ParallelConfig(jobs=1)
PARAMS = Path(__file__).parents[3] / "params.yaml"
ON_GRID = [(30, 20), (-120, -40), (90, 0), (0, 40), (-60, 10), (170, -20)]
STILL = MovementConfig(moving_share=0.0)


def _simulator(root: Path, rir_dir: Path | None, layout="tau2019", **changes) -> SeldSimulator:
    options = {
        name: changes.pop(name)
        for name in ("formats", "parallel", "seed", "annotations")
        if name in changes
    }
    classes = ("knock", "phone" if layout == "tau2019" else "male_speech")
    dataset = {"layout": layout, "sample_rate_hz": RATE_HZ, "classes": classes}
    dataset |= changes.pop("dataset", {})
    settings = {
        "preset": "fixture",
        "duration_s": 2.0,
        "recordings_per_split": {1: 2, 4: 1},
        "overlaps": (1,),
        "snr_db": 80.0,
        "rir_dir": rir_dir,
    }
    simulation = SimulationConfig(**{**settings, **changes})
    kinds = options.pop("formats", ("foa",))
    splits = tuple(simulation.recordings_per_split or ())
    given = {"parallel": ONE, "seed": 4, **options}
    config = DatasetConfig(**dataset, format=kinds[0], channels=2 if "stereo" in kinds else 4)
    return SeldSimulator(root, simulation, config, kinds, splits, LAYOUTS[layout], **given)


def _simulate(root: Path, rir_dir: Path | None, layout="tau2019", **changes) -> SeldSimulator:
    simulator = _simulator(root, rir_dir, layout, **changes)
    simulator.run(progress=False)
    return simulator


def _checksums(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): hashlib.md5(path.read_bytes()).hexdigest() for path in files
    }


def _events(root: Path, dataset: DatasetConfig):
    """Yields the audio of each recording (samples, 4) and its events (onset, ..., azimuth ...)."""
    for path in sorted(root.glob("foa_*/*.wav")):
        metadata = root / path.parent.name.replace("foa", "metadata") / f"{path.stem}.csv"
        yield read_audio(path), read_labels(metadata, dataset, 2.0)


def _intensity(audio: np.ndarray, onset_s: float, offset_s: float) -> np.ndarray:
    part = audio[round(onset_s * RATE_HZ) : round(offset_s * RATE_HZ)].astype(np.float64)
    return (part[:, :1] * part[:, [3, 1, 2]]).sum(axis=0)


@pytest.fixture(scope="module")
def rirs(tmp_path_factory) -> Path:
    """Six places without a room, on the grid of 2019; tests must not change it."""
    return anechoic_folder(tmp_path_factory.mktemp("measured") / "rirs", ON_GRID)


@pytest.mark.parametrize("rotate", [False, True])
def test_sounds_come_from_their_labels(rirs, tmp_path, rotate):
    simulator = _simulate(tmp_path, rirs, rir_rotate=rotate)
    directions = set()
    for audio, events in _events(tmp_path, simulator.dataset):
        for event in zip(
            events.onset_s, events.offset_s, events.azimuth_deg, events.elevation_deg, strict=True
        ):
            assert angle_deg(_intensity(audio, *event[:2]), *event[2:]) < 1
            directions.add(event[2:])
        assert np.all(events.distance_m == 2)
    assert (directions <= set(ON_GRID)) is not rotate


def test_two_processes_write_the_same_files_as_one(rirs, tmp_path):
    for name, jobs in (("one", 1), ("two", 2)):
        _simulate(tmp_path / name, rirs, rir_rotate=True, parallel=ParallelConfig(jobs=jobs))
    assert _checksums(tmp_path / "one") == _checksums(tmp_path / "two")


def test_splits_share_no_place(rirs, tmp_path):
    _simulate(tmp_path, rirs, recordings_per_split={0: 2, 1: 3, 2: 3, 4: 3}, duration_s=1.6)
    rooms: dict[str, set[str]] = {}
    for path in tmp_path.glob("foa_dev/*.wav"):
        split, room = path.stem.split("_")[:2]
        rooms.setdefault(split, set()).add(room)
    assert sorted(rooms) == ["split1", "split2", "split4"]
    together = [room for names in rooms.values() for room in names]
    assert len(set(together)) == len(together)
    assert all(int(room.removeprefix("ir")) >= 5 for room in together)


def test_more_written_splits_leave_the_others_alone(rirs, tmp_path):
    counts = {"recordings_per_split": {0: 1, 1: 2, 4: 1}, "duration_s": 1.6}
    _simulate(tmp_path / "all", rirs, **counts)
    some = _simulator(tmp_path / "some", rirs, **counts)
    replace(some, splits=(1, 4)).run(progress=False)
    found = _checksums(tmp_path / "all")
    assert all(found[name] == each for name, each in _checksums(tmp_path / "some").items())


def test_an_event_begins_at_its_labelled_onset(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "own" / "knock").mkdir(parents=True)
    for number in range(4):
        noise = rng.uniform(-0.5, 0.5, RATE_HZ // 4)
        soundfile.write(tmp_path / "own" / "knock" / f"{number}.wav", noise, RATE_HZ)
    late = {f"{name}.wav": pulse_response([(900, 0.4, 90, 0)]) for name in "ab"}
    rows = [f"{name}.wav,90,0,15,{name},," for name in "ab"]
    folder = write_responses(tmp_path / "rirs", late, rows)
    root, classes = tmp_path / "out", {"dataset": {"classes": ("knock",)}}
    simulator = _simulate(root, folder, source_dir=tmp_path / "own", **classes)
    for audio, events in _events(root, simulator.dataset):
        loud = np.abs(audio[:, 0]) > 0.02
        for onset_s in events.onset_s[events.class_index == 0]:
            start = round(onset_s * RATE_HZ)
            assert not loud[start - 200 : start].any() and loud[start : start + 30].any()


@pytest.mark.parametrize(("convert", "words"), [(as_n3d, "acn,n3d"), (as_fuma, "fuma,fuma")])
def test_other_conventions_give_the_same_scenes(tmp_path, convert, words):
    audio = pulse_response([(300, 0.4, 30, 10), (420, 0.2, -100, 20)])
    for name, files, columns in (("as is", audio, "acn,sn3d"), ("other", convert(audio), words)):
        rows = [f"{file}.wav,30,10,2,{file},{columns}" for file in "ab"]
        folder = write_responses(tmp_path / f"{name} rirs", {"a.wav": files, "b.wav": files}, rows)
        _simulate(tmp_path / name, folder, rir_rotate=True)
    for path in (tmp_path / "as is").rglob("*.wav"):
        other = read_audio(tmp_path / "other" / path.relative_to(tmp_path / "as is"))
        assert np.abs(read_audio(path) - other).max() <= 1.5 / 32768
    names = [path.name for path in (tmp_path / "as is").rglob("*.csv")]
    assert len(names) == 3


def test_directions_off_the_grid_get_the_nearest_label(tmp_path, caplog):
    folder = anechoic_folder(tmp_path / "rirs", [(33, 20), (-176, -41.5), (62, -2), (-62, -2)])
    simulator = _simulate(tmp_path / "out", folder)
    labels = set()
    for _, events in _events(tmp_path / "out", simulator.dataset):
        labels |= set(zip(events.azimuth_deg, events.elevation_deg, strict=True))
    assert labels <= {(30, 20), (-180, -40), (60, 0), (-60, 0)}
    assert "4 response(s) are off the grid" in caplog.text and "up to 3.4 degrees" in caplog.text


def test_directions_outside_the_annotations_are_refused(tmp_path):
    folder = anechoic_folder(tmp_path / "rirs", [(0, 0), (0, 60)])
    with pytest.raises(DataError, match=r"line 3: azimuth 0 and elevation 60 .* outside the range"):
        _simulate(tmp_path / "out", folder)
    assert not (tmp_path / "out").exists()


def test_places_with_one_direction_are_counted(rirs, tmp_path, caplog):
    _simulate(tmp_path, rirs, duration_s=1.6)
    assert "6 place(s) have one direction only" in caplog.text


def test_a_share_of_the_recordings_is_in_measured_rooms(rirs, tmp_path):
    counts = {"recordings_per_split": {1: 4}, "rooms": (0, 1), "duration_s": 1.6}
    _simulate(tmp_path / "half", rirs, rir_share=0.5, **counts)
    _simulate(tmp_path / "none", None, **counts)
    names = {path.stem for path in (tmp_path / "half").rglob("*.wav")}
    assert sorted(name.split("_")[1] for name in names) == ["ir0", "ir1", "ir5", "ir6"]
    computed = "foa_dev/split1_ir1_ov1_21.wav"
    assert _checksums(tmp_path / "half")[computed] == _checksums(tmp_path / "none")[computed]


def test_moving_sources_are_heard_where_their_labels_are(rirs, tmp_path):
    movement = MovementConfig(moving_share=1.0, speed_deg_per_s=(30.0, 40.0))
    rotated = {"rir_rotate": True, "movement": movement}
    _simulate(tmp_path, rirs, "starss2023", **rotated)
    angles, moved = [], 0.0
    for path in sorted(tmp_path.rglob("*.wav")):
        audio = read_audio(path).astype(np.float64)
        metadata = Path(str(path.with_suffix(".csv")).replace("foa_dev", "metadata_dev"))
        rows = read_rows(metadata, "metadata2023")
        assert np.all(rows[:, DISTANCE] == 2)
        power = np.square(audio[:, 0]).sum()
        for row in rows:
            start_s = row[FRAME] * 0.1
            part = audio[round(start_s * RATE_HZ) : round((start_s + 0.1) * RATE_HZ)]
            if np.square(part[:, 0]).sum() > 0.01 * power:
                vector = _intensity(audio, start_s, start_s + 0.1)
                angles.append(angle_deg(vector, row[AZIMUTH], row[ELEVATION]))
        moved = max(
            moved, *(np.ptp(rows[rows[:, CLASS] == k, AZIMUTH]) for k in set(rows[:, CLASS]))
        )
    assert len(angles) > 10 and np.median(angles) < 1 and max(angles) < 4
    assert moved > 10


def test_still_sources_of_later_layouts_have_exact_directions(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    folder = anechoic_folder(tmp_path / "rirs", [(33, 61), (-147, -70)])
    _simulate(tmp_path / "out", folder, "starss2023")
    found = set()
    for path in (tmp_path / "out").rglob("*.csv"):
        rows = read_rows(path, "metadata2023")
        found |= set(map(tuple, rows[:, [AZIMUTH, ELEVATION, DISTANCE]]))
    assert found == {(33, 61, 2), (-147, -70, 2)}
    assert "Sources move in computed rooms only, in 0 recordings" in caplog.text


def test_microphone_responses_are_used_as_they_are(tmp_path):
    gains = np.array([1.0, 0.5, -0.8, 0.3])
    pulse = np.zeros((2400, 4))
    pulse[300] = 0.5 * gains
    rows = [f"{name}.wav,30,10,2,{name},mic," for name in "ab"]
    folder = write_responses(tmp_path / "rirs", {"a.wav": pulse, "b.wav": pulse}, rows)
    _simulate(tmp_path / "out", folder, formats=("mic",))
    for path in (tmp_path / "out" / "mic_dev").glob("*.wav"):
        audio = read_audio(path).astype(np.float64)
        powers = audio.T @ audio[:, 0] / np.sum(audio[:, 0] ** 2)
        assert powers == pytest.approx(gains, abs=0.01)


def test_stereo_is_made_of_measured_ambisonics(rirs, tmp_path):
    _simulate(tmp_path, rirs, "stereo2025", formats=("stereo",), movement=STILL)
    assert all(soundfile.info(path).channels == 2 for path in tmp_path.rglob("*.wav"))


@pytest.mark.parametrize(
    ("layout", "changes", "message"),
    [
        ("tau2019", {"formats": ("foa", "mic")}, "ambisonic, or of the four microphones"),
        ("tau2019", {"formats": ("mic",), "rir_rotate": True}, "microphones cannot be turned"),
        ("starss2023", {"movement": {"moving_share": 0.5}}, "measured rooms stand still"),
        (
            "starss2023",
            {"movement": {"path": "straight"}, "rir_rotate": True},
            "paths in measured rooms are arcs",
        ),
        ("starss2023", {"distance_m": (1.0, 2.0)}, "Distances in measured rooms are those"),
        ("tau2019", {"annotations": Path("given")}, "rendered in computed rooms"),
        ("tau2019", {"recordings_per_split": {1: 1, 2: 1, 3: 1}}, "none for split"),
        ("tau2019", {"rir_share": 0.1}, "No recording would be in a measured room"),
    ],
)
def test_what_measured_rooms_cannot_do_is_refused(tmp_path, layout, changes, message):
    folder = anechoic_folder(tmp_path / "rirs", ON_GRID[:2])
    with pytest.raises((ConfigError, DataError), match=message):
        _simulate(tmp_path / "out", folder, layout, **changes)
    assert not (tmp_path / "out").exists()


def test_a_layout_with_distances_needs_them(tmp_path):
    pulse = pulse_response([(300, 0.4, 30, 10)])
    rows = ["a.wav,30,10,2,a,,", "b.wav,30,10,,b,,"]
    folder = write_responses(tmp_path / "rirs", {"a.wav": pulse, "b.wav": pulse}, rows)
    with pytest.raises(DataError, match=r"line 3: the distance is unknown, as of 1 response"):
        _simulate(tmp_path / "out", folder, "starss2023")
    _simulate(tmp_path / "without", folder, "starss2022", duration_s=1.6)


def test_unknown_distances_of_2019_are_annotated_with_one_metre(tmp_path, caplog):
    pulse = pulse_response([(300, 0.4, 30, 10)])
    rows = ["a.wav,30,10,,a,,", "b.wav,30,10,,b,,"]
    folder = write_responses(tmp_path / "rirs", {"a.wav": pulse, "b.wav": pulse}, rows)
    simulator = _simulate(tmp_path / "out", folder, duration_s=1.6)
    for _, events in _events(tmp_path / "out", simulator.dataset):
        assert np.all(events.distance_m == 1)
    assert "2 response(s) without distance are annotated with 1 m" in caplog.text


def test_another_folder_or_none_is_noticed(tmp_path):
    folder = anechoic_folder(tmp_path / "rirs", ON_GRID[:2])
    simulator = _simulate(tmp_path / "out", folder, duration_s=1.6)
    simulator.check()
    with pytest.raises(DataError, match=r"measured: .* there, None wanted"):
        _simulator(tmp_path / "out", None, duration_s=1.6).check()
    with (folder / "metadata.csv").open("a") as table:
        table.write("\n")
    with pytest.raises(DataError, match=r"room_responses: .* wanted"):
        simulator.check()


def test_the_checker_counts_files_by_place(rirs, tmp_path):
    given = [f"simulation.rir_dir={rirs}", f"dataset_dir={tmp_path}/none"]
    report = check_dataset(load_task(PARAMS, "demo", given))
    (table,) = [each for each in report.tables if "measured rooms" in each.title]
    assert [list(row) for row in table.rows] == [[f"place{n}", "1"] for n in range(6)]
    missing = [f"simulation.rir_dir={tmp_path}", f"dataset_dir={tmp_path}/none"]
    findings = check_dataset(load_task(PARAMS, "demo", missing)).findings
    assert any("`simulation.rir_dir`: There is no table" in each.text for each in findings)


def test_a_share_of_none_equals_computed_rooms(rirs, tmp_path):
    for name, given in (
        ("share", {"rir_dir": rirs, "rir_share": 0.0}),
        ("null", {"rir_dir": None}),
    ):
        _simulate(tmp_path / name, given.pop("rir_dir"), duration_s=1.6, **given)
    assert _checksums(tmp_path / "share") == _checksums(tmp_path / "null")
