"""Simulated datasets: layout, content, restarts, given annotations, own recordings."""

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from common.audio.files import read_audio
from common.errors import ConfigError, DataError
from common.settings.parallel import ParallelConfig
from common.simulation.dataset_folder import SETTINGS_FILE
from common.simulation.sound_bank import SoundBank
from seld.dataset import DatasetConfig, find_recordings, read_labels
from seld.features import FeatureConfig
from seld.simulation import rendering
from seld.simulation.class_sounds import CLASS_SOUNDS
from seld.simulation.plans import POSITIONS, deal_recordings, name_recordings, plan_recording
from seld.simulation.rendering import (
    ROOMS,
    WIDE_DURATIONS,
    check_positions,
    fill_bank,
    plan_bank,
    select_sounds,
)
from seld.simulation.settings import SimulationConfig, scene_settings
from seld.simulation.simulator import SeldSimulator, run

DATASET = DatasetConfig()
ONE = ParallelConfig(jobs=1)
SMALL = SimulationConfig(preset="fixture", duration_s=3.0, recordings_per_split={0: 1, 1: 2})
HEADER = "sound_event_recording,start_time,end_time,ele,azi,dist\n"


def _checksums(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): hashlib.md5(path.read_bytes()).hexdigest() for path in files
    }


def _simulate(root, simulation=SMALL, overwrite=False, **options):
    simulator = SeldSimulator(root, simulation, **{"parallel": ONE, **options})
    return simulator.run(overwrite, progress=False)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    """Both formats of splits 0 and 1, made by one process; tests must not change it."""
    root = tmp_path_factory.mktemp("simulated")
    _simulate(root, splits=(0, 1), seed=5)
    return root


@pytest.fixture
def copied(simulated, tmp_path) -> Path:
    return Path(shutil.copytree(simulated, tmp_path / "copy"))


def test_layout_and_names_are_those_of_the_real_dataset(simulated):
    names = ["split1_ir0_ov1_1", "split1_ir0_ov2_11"]
    expected = {f"{folder}_dev/{name}.wav" for folder in ("foa", "mic") for name in names}
    expected |= {f"metadata_dev/{name}.csv" for name in names}
    expected |= {"foa_eval/split0_1.wav", "mic_eval/split0_1.wav", "metadata_eval/split0_1.csv"}
    assert set(_checksums(simulated)) == expected | {SETTINGS_FILE, "README.md"}
    assert "SIMULATED" in (simulated / "README.md").read_text()
    assert json.loads((simulated / SETTINGS_FILE).read_text())["simulated"] is True


def test_recordings_are_16_bit_48_khz_of_four_channels(simulated):
    for path in simulated.rglob("*.wav"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.frames, info.subtype) == (
            48000,
            4,
            144000,
            "PCM_16",
        )
        assert 0.1 < np.abs(read_audio(path)).max() < 1.0


@pytest.mark.parametrize(
    ("audio_format", "set_name", "n"), [("foa", "dev", 2), ("mic", "dev", 2), ("mic", "eval", 1)]
)
def test_the_dataset_reader_reads_them(simulated, audio_format, set_name, n):
    recordings = find_recordings(simulated, DatasetConfig(format=audio_format), set_name)
    assert len(recordings) == n
    for recording in recordings:
        events = read_labels(recording.metadata_path, DATASET, 3.0)
        assert len(events) and np.all(events.offset_s <= 3.0)
        assert np.all(np.isin(events.distance_m, [1, 2]))


def test_metadata_is_written_byte_for_byte_as_the_real_one(simulated):
    content = (simulated / "metadata_dev" / "split1_ir0_ov1_1.csv").read_bytes()
    assert content.startswith(HEADER.encode()) and content.endswith(b"\n") and b"\r" not in content
    for row in content.decode().splitlines()[1:]:
        name, onset, offset, elevation, azimuth, distance = row.split(",")
        assert name in DATASET.classes
        assert f"{float(onset):.12g}" == onset and f"{float(offset):.12g}" == offset
        assert (int(azimuth), int(elevation), int(distance)) in POSITIONS


def test_two_processes_write_the_same_files_as_one(simulated, tmp_path):
    _simulate(tmp_path, splits=(0, 1), seed=5, parallel=ParallelConfig(jobs=2))
    assert _checksums(tmp_path) == _checksums(simulated)


def test_a_format_added_later_equals_the_one_written_together(simulated, tmp_path):
    for formats in (["mic"], ["foa"]):
        _simulate(tmp_path, formats=formats, splits=(0, 1), seed=5)
    assert _checksums(tmp_path) == _checksums(simulated)


def test_only_sounds_of_the_recordings_are_synthesised(copied, monkeypatch):
    made = []
    synthesise = rendering.synthesise

    def count(*args):
        made.append(args)
        return synthesise(*args)

    monkeypatch.setattr(rendering, "synthesise", count)
    (copied / "mic_dev" / "split1_ir0_ov1_1.wav").unlink()
    _simulate(copied, splits=(0, 1), seed=5)
    events = (copied / "metadata_dev" / "split1_ir0_ov1_1.csv").read_text().splitlines()[1:]
    assert 0 < len(made) <= len(events)


def test_a_killed_simulation_resumes_with_missing_files(simulated, copied):
    (copied / "mic_dev" / "split1_ir0_ov2_11.wav").unlink()
    (copied / "foa_dev" / ".split1_ir0_ov2_11.wav.77.tmp").write_bytes(b"half a recording")
    report = _simulate(copied, splits=(0, 1), seed=5)
    assert report.written == ("split1_ir0_ov2_11",) and len(report.skipped) == 2
    assert _checksums(copied) == _checksums(simulated)


def test_finished_work_is_not_repeated(copied):
    report = _simulate(copied, splits=(0, 1), seed=5)
    assert report.written == () and report.audio_s == 0 and len(report.skipped) == 3


def test_other_settings_in_the_same_folder_are_named(copied):
    with pytest.raises(DataError, match=r"seed: 5 there, 6 wanted.*--overwrite"):
        _simulate(copied, splits=(1,), seed=6)
    assert (copied / "foa_dev" / "split1_ir0_ov1_1.wav").exists()


def test_overwriting_with_other_settings_leaves_nothing_of_the_old_ones(copied):
    fewer = SMALL.model_copy(update={"recordings_per_split": {1: 1}, "duration_s": 2.0})
    _simulate(copied, fewer, formats=["foa"], splits=(1,), seed=5, overwrite=True)
    files = sorted(path.name for path in copied.rglob("*") if path.is_file())
    assert files == ["README.md", SETTINGS_FILE, "split1_ir0_ov1_1.csv", "split1_ir0_ov1_1.wav"]


def test_nothing_is_written_among_recordings_that_were_not_simulated(tmp_path):
    (tmp_path / "foa_dev").mkdir()
    real = tmp_path / "foa_dev" / "split1_ir0_ov1_1.wav"
    real.write_bytes(b"a real recording")
    for overwrite in (False, True):
        with pytest.raises(DataError, match="not simulated"):
            _simulate(tmp_path, splits=(1,), overwrite=overwrite)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [real]


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> SoundBank:
    selections = select_sounds(DATASET.classes, (1, 2), scene_settings(SMALL, 0), None)
    settings, path = scene_settings(SMALL, 0), tmp_path_factory.mktemp("bank") / "bank.npy"
    bank, own = plan_bank(selections, settings, 16000, path, ONE)
    fill_bank(bank, own, dict.fromkeys(selections, range(4)), settings, 16000, ONE)
    return bank


def test_no_example_is_shared_between_splits(bank):
    digests = [hashlib.md5(x.tobytes()).digest() for key in bank.spans for x in bank.examples(*key)]
    assert len(digests) == len(set(digests)) == 11 * 2 * 4


@pytest.mark.parametrize("class_name", CLASS_SOUNDS)
def test_durations_of_a_class_have_their_real_median(bank, class_name):
    durations = CLASS_SOUNDS[class_name][1]
    lengths_s = [len(x) / 16000 for split in (1, 2) for x in bank.examples(class_name, split)]
    assert (
        durations.shortest_s - 0.001 <= min(lengths_s)
        and max(lengths_s) <= durations.longest_s + 0.001
    )
    assert np.median(lengths_s) == pytest.approx(durations.median_s, rel=0.15)


WIDE = SMALL.model_copy(
    update={"recipes": "wide", "synthetic_examples": 9, "snr_range_db": (0.0, 20.0)}
)


def test_settings_of_wide_sounds_count_only_where_they_differ():
    stored = SeldSimulator(Path("x"), SMALL, DATASET).content()
    assert not {"recipes", "synthetic_examples", "snr_range_db"} & set(stored)
    stored = SeldSimulator(Path("x"), WIDE, DATASET).content()
    assert (stored["recipes"], stored["synthetic_examples"]) == ("wide", 9)
    assert tuple(stored["snr_range_db"]) == (0.0, 20.0)


def test_more_wide_examples_last_up_to_twice_as_long_and_differ(tmp_path):
    settings = scene_settings(WIDE, 0)
    (selection,) = [
        each
        for each in select_sounds(DATASET.classes, (1,), settings, None)
        if each.class_name == "cough"
    ]
    bank, own = plan_bank([selection], settings, 16000, tmp_path / "bank.npy", ONE)
    fill_bank(bank, own, {selection: range(9)}, settings, 16000, ONE)
    examples, durations = bank.examples("cough", 1), CLASS_SOUNDS["cough"][1]
    assert len(examples) == len({x.tobytes() for x in examples}) == 9
    lengths_s = np.array([len(x) / 16000 for x in examples])
    low, high = WIDE_DURATIONS
    assert lengths_s.min() >= low * durations.shortest_s - 0.001
    assert lengths_s.max() <= high * durations.longest_s + 0.001
    assert np.ptp(np.log(lengths_s)) > np.log(1.5)


def test_each_recording_has_a_ratio_of_its_own_from_the_range(tmp_path):
    def background_db(simulation, name):
        root = tmp_path / name
        _simulate(root, simulation.model_copy(update={"recordings_per_split": {1: 5}}), splits=(1,))
        levels = []
        for path in sorted(root.glob("foa_dev/*.wav")):
            x = soundfile.read(path)[0][:, 0]
            blocks = np.sqrt(np.mean(np.square(x[: len(x) // 960 * 960].reshape(-1, 960)), axis=1))
            levels.append(20 * np.log10(np.percentile(blocks, 2) / np.percentile(blocks, 90)))
        return np.array(levels)

    assert np.ptp(background_db(WIDE, "wide")) > 6
    narrow = WIDE.model_copy(update={"snr_range_db": (0.0, 0.0)})
    assert background_db(narrow, "narrow").min() > -12


def _plans(bank, **changes):
    simulation = SimulationConfig(preset="demo", recordings_per_split={1: 20}, **changes)
    settings = scene_settings(simulation, 0)
    durations_s = {
        name: [len(x) / 16000 for x in bank.examples(name, 1)] for name in DATASET.classes
    }
    return [
        (slot, plan_recording(slot, settings, 16000, durations_s))
        for slot in name_recordings(1, settings)
    ]


def test_layers_have_gaps_and_events_never_exceed_the_overlap(bank):
    for slot, plan in _plans(bank):
        onsets = np.array([event.onset_s for event in plan.events])
        ends = onsets + [event.duration_s for event in plan.events]
        assert max(np.sum((onsets <= onset) & (onset < ends)) for onset in onsets) <= slot.overlap
        layers = np.split(np.arange(len(onsets)), np.flatnonzero(np.diff(onsets) < 0) + 1)
        assert len(layers) == slot.overlap
        for layer in layers:
            gaps = onsets[layer][1:] - ends[layer][:-1]
            assert 0.1 <= onsets[layer[0]] <= 1.0 and gaps.min() >= 0.5 and gaps.max() <= 1.5


def test_a_minute_holds_as_many_events_as_a_real_one(bank):
    counts = {overlap: [] for overlap in (1, 2)}
    for slot, plan in _plans(bank):
        counts[slot.overlap].append(len(plan.events))
    assert 20 <= np.mean(counts[1]) <= 30 and 42 <= np.mean(counts[2]) <= 60


def test_events_of_one_class_overlap_only_where_allowed(bank):
    def n_pairs(**changes):
        pairs = 0
        for _, plan in _plans(bank, **changes):
            for number, a in enumerate(plan.events):
                for b in plan.events[:number]:
                    meets = (
                        a.onset_s < b.onset_s + b.duration_s
                        and b.onset_s < a.onset_s + a.duration_s
                    )
                    pairs += meets and a.class_name == b.class_name
        return pairs

    assert n_pairs() > 0
    assert n_pairs(allow_same_class_overlap=False) == 0


def test_labels_end_with_the_recording_unless_it_is_ragged(bank):
    def last_offset(plan):
        return max(float(row.split(",")[2]) for row in plan.metadata.decode().splitlines()[1:])

    exact, ragged = _plans(bank), _plans(bank, ragged=True)
    assert {plan.n_samples for _, plan in exact} == {60 * 16000}
    assert max(last_offset(plan) for _, plan in exact) == 60.0
    assert len({plan.n_samples for _, plan in ragged}) > 10
    assert max(last_offset(plan) for _, plan in ragged) > 60.0


def test_every_position_of_the_grid_lies_in_every_room(bank):
    (_, plan), *_ = _plans(bank)
    for room in range(len(ROOMS)):
        for azimuth, elevation, distance in POSITIONS:
            moved = {"azimuth_deg": azimuth, "elevation_deg": elevation, "distance_m": distance}
            event = type(plan.events[0])(**{**vars(plan.events[0]), **moved})
            check_positions(type(plan)(**{**vars(plan), "room": room, "events": (event,)}))
    assert len(POSITIONS) == len(set(POSITIONS)) == 504


def test_the_full_preset_has_the_numbers_of_the_real_dataset():
    settings = scene_settings(SimulationConfig(preset="full"), 0)
    names = {slot.name for split in (1, 2, 3, 4) for slot in name_recordings(split, settings)}
    real = {
        f"split{split}_ir{room}_ov{overlap}_{20 * room + 10 * (overlap - 1) + k}"
        for split in (1, 2, 3, 4)
        for room in range(5)
        for overlap in (1, 2)
        for k in range(1, 11)
    }
    assert names == real
    assert {slot.name for slot in name_recordings(0, settings)} == {
        f"split0_{n}" for n in range(1, 101)
    }


@pytest.mark.parametrize("n_rooms", [1, 4, 5])
def test_recordings_are_dealt_evenly_over_rooms_and_overlaps(n_rooms):
    dealt = deal_recordings(6 * n_rooms, range(n_rooms), (1, 2))
    cells = [(room, overlap) for room, overlap, _ in dealt]
    assert all(cells.count((room, overlap)) == 3 for room in range(n_rooms) for overlap in (1, 2))
    assert len(set(dealt)) == len(dealt)
    assert len({room for room, _ in cells[:n_rooms]}) == n_rooms


def test_more_recordings_than_the_real_dataset_still_have_different_names():
    settings = scene_settings(
        SimulationConfig(recordings_per_split={1: 150}, overlaps=(1, 2, 3)), 0
    )
    assert len({slot.name for slot in name_recordings(1, settings)}) == 150


ANNOTATED = HEADER + "speech,0.5,1.7,-10,-100,2\nknock,2.25,2.75,40,30,1\nphone,2.5,3.6,0,170,2\n"


@pytest.fixture
def annotations(tmp_path) -> Path:
    folder = tmp_path / "annotations"
    folder.mkdir()
    (folder / "split2_ir3_ov2_71.csv").write_text(ANNOTATED)
    (folder / "split0_7.csv").write_text(HEADER)
    return folder


def test_given_annotations_are_rendered_at_their_times(annotations, tmp_path):
    root = tmp_path / "rendered"
    report = _simulate(root, annotations=annotations)
    assert report.written == ("split0_7", "split2_ir3_ov2_71")
    assert (root / "metadata_dev" / "split2_ir3_ov2_71.csv").read_text() == ANNOTATED
    assert (root / "metadata_eval" / "split0_7.csv").read_text() == HEADER
    for audio_format in ("foa", "mic"):
        x = read_audio(root / f"{audio_format}_dev" / "split2_ir3_ov2_71.wav", 48000, 4)
        assert len(x) == 3 * 48000
        before, speech = x[: int(0.48 * 48000)], x[int(0.52 * 48000) : int(1.7 * 48000)]
        assert 10 * np.log10(np.mean(speech**2) / np.mean(before**2)) > 20
    w, y, _, front = read_audio(root / "foa_dev" / "split2_ir3_ov2_71.wav")[24000 : 24000 + 4800].T
    azimuth = np.rad2deg(np.arctan2(np.sum(w * y), np.sum(w * front)))
    assert abs(azimuth + 100) < 20


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("split1_ir7_ov1_1.csv", ANNOTATED, "room 7.*ir0 to ir4"),
        ("split9_ir0_ov1_1.csv", ANNOTATED, "split 9"),
        ("kitchen.csv", ANNOTATED, "kitchen"),
        ("split1_ir0_ov1_1.csv", HEADER + "speech,0.5,1.7,-10,-100,40\n", "Event 1 .*40 m"),
        ("split1_ir0_ov1_1.csv", HEADER + "barking,0.5,1.7,-10,-100,1\n", "line 2.*barking"),
        ("notes.txt", "", "no metadata"),
    ],
)
def test_impossible_annotations_are_refused_before_anything_is_written(
    tmp_path, name, content, message
):
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / name).write_text(content)
    with pytest.raises(DataError, match=message):
        _simulate(tmp_path / "out", SMALL, annotations=tmp_path / "given")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def own_recordings(tmp_path) -> Path:
    t = np.arange(8000) / 16000
    for number in range(6):
        path = tmp_path / "own" / "speech" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.3 * np.sin(2 * np.pi * (300 + 100 * number) * t), 16000)
    return tmp_path / "own"


def test_own_recordings_are_disjoint_and_other_classes_synthetic(own_recordings):
    selections = select_sounds(DATASET.classes, range(5), scene_settings(SMALL, 0), own_recordings)
    speech = [
        path
        for selection in selections
        if selection.class_name == "speech"
        for path in selection.recordings
    ]
    assert sorted(path.name for path in speech) == [f"{number}.wav" for number in range(6)]
    assert not any(
        selection.recordings for selection in selections if selection.class_name != "speech"
    )


def test_a_missing_class_is_an_error_with_on_missing_error(own_recordings):
    strict = scene_settings(SMALL.model_copy(update={"on_missing": "error"}), 0)
    with pytest.raises(DataError, match="too few recordings of clearthroat, cough"):
        select_sounds(DATASET.classes, (1,), strict, own_recordings)


def test_a_folder_without_classes_is_refused_before_anything_is_written(tmp_path):
    simulation = SMALL.model_copy(update={"source_dir": tmp_path / "nowhere"})
    with pytest.raises(DataError, match="no recording of any class"):
        _simulate(tmp_path / "out", simulation)
    assert not (tmp_path / "out").exists()


def test_settings_without_any_recording_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="No recording is to be simulated"):
        _simulate(tmp_path, splits=(3,))


def test_a_class_without_a_sound_is_refused():
    with pytest.raises(ConfigError, match="no synthetic sound for barking"):
        select_sounds(("knock", "barking"), (1,), scene_settings(SMALL, 0), None)


def test_own_recordings_are_in_the_audio(own_recordings, tmp_path):
    simulation = SMALL.model_copy(
        update={"source_dir": own_recordings, "recordings_per_split": {1: 1}}
    )
    dataset = DatasetConfig(classes=("speech",))
    root = tmp_path / "out"
    _simulate(root, simulation, formats=["foa"], splits=(1,), dataset=dataset)
    x = read_audio(root / "foa_dev" / "split1_ir0_ov1_1.wav")[:, 0]
    power = np.abs(np.fft.rfft(x)) ** 2
    tones = sum(power[int(3 * hz - 30) : int(3 * hz + 30)].sum() for hz in range(300, 900, 100))
    assert tones > 0.9 * power.sum()


@pytest.mark.parametrize(
    ("mode", "folders"), [("dev", {"mic_dev"}), ("eval", {"mic_dev", "mic_eval"})]
)
def test_a_task_gets_the_format_and_the_sets_it_reads(tmp_path, mode, folders):
    task = SimpleNamespace(
        dataset_dir=tmp_path,
        dataset=DatasetConfig(format="mic", mode=mode),
        folds=None,
        features=FeatureConfig(),
        seed=1,
        parallel=ParallelConfig(jobs=1),
        simulation=SimulationConfig(
            preset="fixture", duration_s=1.6, recordings_per_split={0: 1, 1: 1}
        ),
    )
    run(task)
    assert {
        path.name for path in tmp_path.iterdir() if path.name.startswith(("foa", "mic"))
    } == folders


@pytest.mark.parametrize(
    "wrong", [{"rooms": [5]}, {"overlaps": [0]}, {"recordings_per_split": {7: 1}}, {"preset": "x"}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        SimulationConfig(**wrong)
