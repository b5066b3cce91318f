"""Simulated datasets in the layouts of 2020 to 2025: files, labels, movement, interferers."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from common.errors import ConfigError
from common.settings.parallel import ParallelConfig
from common.simulation.trajectories import Trajectory, to_angles
from seld.dataset import DatasetConfig
from seld.features import FeatureConfig
from seld.recordings.csv_formats import format_rows, parse_rows
from seld.recordings.layouts import LAYOUTS
from seld.recordings.rows import AZIMUTH, CLASS, DISTANCE, ELEVATION, FRAME, ONSCREEN, SOURCE
from seld.simulation.class_sounds import LATER_SOUNDS, class_sounds, interferers
from seld.simulation.framewise import (
    active_frames,
    is_in_view,
    name_recordings,
    plan_scene,
    rows_of,
    source_space,
)
from seld.simulation.plans import PlannedEvent
from seld.simulation.rendering import ROOMS
from seld.simulation.settings import MovementConfig, SimulationConfig, scene_settings
from seld.simulation.simulator import SeldSimulator

ONE = ParallelConfig(jobs=1)
LATER = [name for name in LAYOUTS if name != "tau2019"]
FEW_CLASSES = ("knock", "male_speech", "footsteps")


def _dataset(layout, classes=FEW_CLASSES, **more):
    return DatasetConfig(
        classes=classes, sample_rate_hz=layout.sample_rate_hz, label_hop_s=0.1, **more
    )


def _simulate(root, name, formats, parallel=ONE, **changes):
    """One or two short recordings of three classes."""
    layout = LAYOUTS[name]
    settings = {"preset": "fixture", "duration_s": 2.0, "recordings_per_split": {1: 1, 4: 1}}
    simulator = SeldSimulator(
        root,
        SimulationConfig(**{**settings, **changes}),
        _dataset(layout),
        formats,
        tuple(settings["recordings_per_split"]),
        layout,
        parallel=parallel,
        seed=2,
    )
    return simulator.run(progress=False)


def _checksums(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): hashlib.md5(path.read_bytes()).hexdigest() for path in files
    }


@pytest.fixture(scope="module")
def starss(tmp_path_factory) -> Path:
    """Three formats of one dataset, made by one process; tests must not change it."""
    root = tmp_path_factory.mktemp("starss")
    _simulate(root, "starss2023", ("foa", "mic", "stereo"), rooms=(0, 1))
    return root


def test_folders_and_names_are_those_of_the_real_dataset(starss):
    found = {name for name in _checksums(starss) if "/" in name}
    recordings = ["dev-train-synth/fold1_room1_mix001", "dev-test-tau/fold4_room1_mix001"]
    kinds = {"foa": "wav", "mic": "wav", "stereo": "wav", "metadata": "csv"}
    assert found == {
        f"{kind}_dev/{name}.{suffix}" for kind, suffix in kinds.items() for name in recordings
    }


def test_recordings_have_any_length_within_the_range(starss):
    lengths_s = set()
    for path in starss.rglob("*.wav"):
        info = soundfile.info(path)
        assert info.samplerate == 24000 and info.subtype == "PCM_16"
        assert info.channels == (2 if "stereo" in str(path) else 4)
        lengths_s.add(info.duration)
    assert len(lengths_s) == 2 and 1.0 <= min(lengths_s) < max(lengths_s) <= 3.0


def test_stereo_is_made_of_the_same_scene(starss):
    for path in (starss / "foa_dev").rglob("*.wav"):
        w, y = soundfile.read(path)[0].T[:2]
        left, right = soundfile.read(str(path).replace("foa_dev", "stereo_dev"))[0].T
        assert np.allclose(left, (w + y) / 2, atol=2 / 32768)
        assert np.allclose(right, (w - y) / 2, atol=2 / 32768)


def test_two_processes_and_fewer_formats_write_the_same_files(starss, tmp_path):
    _simulate(tmp_path, "starss2023", ("stereo", "mic"), ParallelConfig(jobs=2), rooms=(0, 1))
    expected = {name: each for name, each in _checksums(starss).items() if "foa_dev" not in name}
    assert _checksums(tmp_path) == expected and len(expected) == 8


def test_a_task_chooses_layout_and_format(tmp_path):
    dataset = DatasetConfig(layout="stereo2025")
    given = SimpleNamespace(
        dataset_dir=tmp_path,
        dataset=dataset,
        simulation=SimulationConfig(preset="fixture"),
        folds=None,
        features=FeatureConfig(),
        seed=0,
        parallel=ONE,
    )
    simulator = SeldSimulator.of_task(given)
    assert simulator.layout is LAYOUTS["stereo2025"] and simulator.formats == ("stereo",)
    assert simulator.written_splits == (1, 3, 4) and simulator.settings.duration_s == 5.0
    given.dataset = DatasetConfig(format="mic", mode="eval")
    assert SeldSimulator.of_task(given).written_splits == (1, 2, 3, 4, 0)


# ---- plans ----


def _plans(name="tau2021", n=8, **changes):
    """Settings, and plans of one split without any sound."""
    layout = LAYOUTS[name]
    settings = scene_settings(
        SimulationConfig(preset="demo", recordings_per_split={1: n}, **changes), 1, layout
    )
    sounds = class_sounds(settings)
    classes = layout.classes
    durations_s = {name: [sounds[name][1].at(q) for q in (0.1, 0.5, 0.9)] for name in classes}
    others = {name: [2.0, 4.0] for name in interferers(settings)}
    plans = []
    for slot in name_recordings(1, settings, layout):
        space = source_space(settings, ROOMS[slot.room][0])
        sizes = classes, durations_s, others
        plans.append((slot, plan_scene(slot, settings, layout, space, 24000, sizes), space))
    return settings, plans


def _rows(plan, name="tau2021"):
    return parse_rows(plan.metadata.decode(), LAYOUTS[name].metadata_format)


@pytest.mark.parametrize("name", LATER)
def test_every_class_of_a_layout_has_a_sound(name):
    settings = scene_settings(SimulationConfig(interferers=2), 0, LAYOUTS[name])
    assert set(LAYOUTS[name].classes) <= set(LATER_SOUNDS)
    kinds = interferers(settings)
    assert kinds and not set(kinds) & set(LAYOUTS[name].classes)
    assert set(kinds) <= set(class_sounds(settings))


@pytest.mark.parametrize(("name", "overlap"), [("tau2020", 2), ("tau2021", 3), ("starss2024", 3)])
def test_sources_at_a_time_are_as_many_as_the_overlap_allows(name, overlap):
    _, plans = _plans(name)
    counts = []
    for slot, plan, _ in plans:
        frames = _rows(plan, name)[:, FRAME].astype(int)
        counts.append(np.bincount(frames).max())
        assert counts[-1] <= slot.overlap <= overlap
    assert max(counts) == overlap


def test_events_of_one_class_overlap_with_sources_that_differ():
    _, plans = _plans()
    pairs = 0
    for _, plan, _ in plans:
        rows = _rows(plan)
        places = rows[:, [FRAME, CLASS]]
        _, counts = np.unique(places, axis=0, return_counts=True)
        pairs += int((counts > 1).sum())
        _, counts = np.unique(rows[:, [FRAME, CLASS, SOURCE]], axis=0, return_counts=True)
        assert counts.max() == 1
    assert pairs > 0
    _, plans = _plans(allow_same_class_overlap=False)
    for _, plan, _ in plans:
        events = [event for event in plan.events if event.is_labelled]
        for number, a in enumerate(events):
            for b in events[:number]:
                meets = a.onset_s < b.onset_s + b.duration_s
                meets &= b.onset_s < a.onset_s + a.duration_s
                assert not (meets and a.class_name == b.class_name)


def test_same_class_share_draws_the_classes_that_sound():
    def shares(**changes):
        begun = same = 0
        for _, plan, _ in _plans(n=8, **changes)[1]:
            events = [event for event in plan.events if event.is_labelled]
            for number, event in enumerate(events):
                sounding = {
                    other.class_name
                    for other in events[:number]
                    if 0 <= event.onset_s - other.onset_s < other.duration_s
                }
                begun += bool(sounding)
                same += event.class_name in sounding
        return begun, same

    begun, same = shares(same_class_share=1.0)
    assert begun == same > 50
    begun, same = shares(same_class_share=0.0)
    assert (begun, same) == shares()  # no more than by chance
    assert same < 0.8 * begun
    with pytest.raises(ValidationError, match="needs `allow_same_class_overlap: true`"):
        SimulationConfig(same_class_share=0.5, allow_same_class_overlap=False)


def test_datasets_without_a_same_class_share_keep_their_settings(tmp_path):
    contents = [
        SeldSimulator(
            tmp_path,
            SimulationConfig(preset="fixture", same_class_share=share),
            _dataset(LAYOUTS["starss2023"]),
            ("foa",),
            layout=LAYOUTS["starss2023"],
        ).content()
        for share in (None, 0.25)
    ]
    assert "same_class_share" not in contents[0] and contents[1].pop("same_class_share") == 0.25
    assert contents[0] == contents[1]


def test_interferers_sound_and_have_no_label():
    _, plans = _plans()
    for _, plan, _ in plans:
        hidden = [event for event in plan.events if not event.is_labelled]
        assert len(hidden) == 6 and {event.class_name for event in hidden} <= {"engine", "fire"}
        shown = [event for event in plan.events if event.is_labelled]
        starts = {(round(e.azimuth_deg), round(e.elevation_deg)) for e in shown}
        named = {(round(r[AZIMUTH]), round(r[ELEVATION])) for r in _rows(plan)}
        assert starts & named
        frames = sum(
            len(active_frames(e.onset_s, e.onset_s + e.duration_s, 0.1, 60)) for e in shown
        )
        assert frames == len(_rows(plan))


@pytest.mark.parametrize("path", ["sphere", "straight"])
def test_labels_keep_the_speed_limit_and_the_room(path):
    movement = MovementConfig(moving_share=1.0, speed_deg_per_s=(20.0, 30.0), path=path)
    _, plans = _plans("starss2023", n=4, movement=movement)
    fastest = 0.0
    for slot, plan, _ in plans:
        room = ROOMS[slot.room][0]
        rows = rows_of(plan.events, LAYOUTS["starss2023"].classes, LAYOUTS["starss2023"], 90.0)
        azimuth, elevation = np.radians(rows[:, AZIMUTH]), np.radians(rows[:, ELEVATION])
        units = np.stack(
            [
                np.cos(azimuth) * np.cos(elevation),
                np.sin(azimuth) * np.cos(elevation),
                np.sin(elevation),
            ],
            1,
        )
        places_m = np.array(room.receiver_m) + rows[:, [DISTANCE]] * units
        assert rows[:, DISTANCE].min() >= 0.5
        assert (places_m >= 0.29).all() and (places_m <= np.array(room.size_m) - 0.29).all()
        for source in range(slot.overlap):
            mine = rows[:, SOURCE] == source
            frames, mine = rows[mine, FRAME], units[mine]
            # Between events of a layer are gaps of 0.5 s and more.
            steps = np.diff(frames) == 1
            cosines = np.sum(mine[1:] * mine[:-1], axis=1)[steps]
            moved_deg = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
            fastest = max(fastest, 10 * moved_deg.max())
    assert 15.0 < fastest <= 30.01


def test_the_moving_share_decides_how_many_move():
    for share in (0.0, 0.5, 1.0):
        _, plans = _plans(movement=MovementConfig(moving_share=share))
        moving = [event.trajectory is not None for _, plan, _ in plans for event in plan.events]
        assert np.mean(moving) == pytest.approx(share, abs=0.1 * (share == 0.5))


def test_a_label_is_the_position_in_the_middle_of_its_frame():
    path = Trajectory("straight", (2.0, 0.0, 0.0), (0.0, 1.0, 0.0), 1.0, (0.0, 9.0))
    event = PlannedEvent("knock", 0, 0.32, 1.0, 0.0, 0.0, 2.0, 0.0, path, 1)
    rows = rows_of([event], ("dog", "knock"), LAYOUTS["starss2023"], 60.0)
    assert rows[:, FRAME].tolist() == [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]  # middles 0.35 ... 1.25
    positions_m = path.positions_m(rows[:, FRAME] * 0.1 + 0.05 - 0.32)
    azimuth_deg, elevation_deg, distance_m = to_angles(positions_m)
    assert np.allclose(
        rows[:, [AZIMUTH, ELEVATION, DISTANCE]].T, [azimuth_deg, elevation_deg, distance_m]
    )
    assert set(rows[:, CLASS]) == {1} and set(rows[:, SOURCE]) == {1}
    assert np.isnan(rows[:, ONSCREEN]).all()


@pytest.mark.parametrize(
    ("onset_s", "offset_s", "frames"),
    [
        (0.0, 0.3, [0, 1, 2]),
        (0.05, 0.15, [0]),
        (0.051, 0.16, [1]),
        (0.06, 0.09, [0]),
        (1.85, 3.0, [18, 19]),
    ],
)
def test_frames_are_active_where_their_middle_is(onset_s, offset_s, frames):
    assert active_frames(onset_s, offset_s, 0.1, 2.0).tolist() == frames


def test_the_picture_shows_100_degrees_to_the_front():
    azimuth_deg = np.array([0, 49, 51, -49, 180, 0, 0, 45])
    elevation_deg = np.array([0, 0, 0, 0, 0, 33, 35, 33])
    shown = [True, True, False, True, False, True, False, False]
    assert is_in_view(azimuth_deg, elevation_deg).tolist() == shown
    event = PlannedEvent("knock", 0, 0.0, 0.5, 120.0, 0.0, 2.0, 0.0)
    rows = rows_of([event], ("knock",), LAYOUTS["stereo2025"], 5.0)
    assert set(rows[:, ONSCREEN]) == {0.0}
    text = format_rows(rows, LAYOUTS["stereo2025"].metadata_format)
    assert text.splitlines()[:2] == [
        "frame,class,source,azimuth,distance,onscreen",
        "0,0,0,120,200,0",
    ]


def test_recordings_are_counted_in_each_room_and_named_by_site():
    settings = scene_settings(
        SimulationConfig(recordings_per_split={3: 6, 0: 2}, rooms=(0, 1, 2)),
        0,
        LAYOUTS["starss2022"],
    )
    slots = name_recordings(3, settings, LAYOUTS["starss2022"])
    assert [(slot.name, slot.site) for slot in slots] == [
        ("fold3_room1_mix001", 0),
        ("fold3_room22_mix001", 1),
        ("fold3_room3_mix001", 0),
        ("fold3_room1_mix002", 0),
        ("fold3_room22_mix002", 1),
        ("fold3_room3_mix002", 0),
    ]
    evaluation = name_recordings(0, settings, LAYOUTS["starss2022"])
    assert [slot.name for slot in evaluation] == ["mix001", "mix002"]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("tau2019", {"movement": {"moving_share": 0.5}}, "moving_share"),
        ("tau2019", {"interferers": 3}, "simulation.interferers"),
        ("tau2019", {"recordings_per_split": {6: 1}}, "tau2019 has the splits"),
        ("starss2023", {"recordings_per_split": {5: 1}}, "starss2023 has the splits"),
        ("tau2021", {"duration_range_s": (10.0, 20.0)}, "recordings of one length"),
    ],
)
def test_settings_that_a_layout_lacks_are_refused(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        scene_settings(SimulationConfig(**changes), 0, LAYOUTS[name])


@pytest.mark.parametrize(
    "wrong",
    [
        {"movement": {"speed_deg_per_s": (5.0, 50.0)}},
        {"movement": {"path": "spiral"}},
        {"distance_m": (3.0, 1.0)},
        {"interferers": -1},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        SimulationConfig(**wrong)


def test_given_annotations_need_the_layout_of_2019(tmp_path):
    layout = LAYOUTS["tau2020"]
    simulator = SeldSimulator(
        tmp_path / "out", dataset=_dataset(layout), layout=layout, annotations=tmp_path
    )
    with pytest.raises(ConfigError, match="layout tau2019 only"):
        simulator.run(progress=False)
