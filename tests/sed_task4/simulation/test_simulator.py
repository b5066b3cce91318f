"""Simulated datasets of task 4: layouts, content, restarts, given annotations, own recordings."""

import hashlib
import json
import logging
import shutil
from collections import Counter
from dataclasses import replace
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
from sed_task4.dataset import DatasetConfig, find_clips, find_metadata, parse_weak, read_strong
from sed_task4.features import FeatureConfig
from sed_task4.simulation.plans import (
    CLASS_SOUNDS,
    DOMAINS,
    SUBSETS,
    ClipPlan,
    PlannedEvent,
    name_clips,
    plan_clip,
)
from sed_task4.simulation.rendering import RenderContext, build_loops, render_clip
from sed_task4.simulation.settings import SimulationConfig, scene_settings
from sed_task4.simulation.simulator import Task4Simulator, run

RATE_HZ = 16000
DATASET = DatasetConfig(clip_s=3.0)
DATASET_2018 = DATASET.model_copy(update={"layout": "dcase2018"})
SMALL = SimulationConfig(
    preset="fixture",
    sample_rate_hz=RATE_HZ,
    clips_per_subset={
        "weak": 3,
        "unlabel_in_domain": 1,
        "synthetic": 2,
        "validation": 5,
        "test": 2,
        "eval": 1,
    },
)
SEEDED = {"seed": 5, "parallel": ParallelConfig(jobs=1)}
STRONG_HEADER = "filename\tonset\toffset\tevent_label\n"


def _checksums(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): hashlib.md5(path.read_bytes()).hexdigest() for path in files
    }


def _simulate(root, simulation=SMALL, dataset=DATASET, overwrite=False, **options):
    simulator = Task4Simulator(root, simulation, dataset, **{**SEEDED, **options})
    return simulator.run(overwrite, progress=False)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    """All subsets of 2019, made by one process; tests must not change it."""
    root = tmp_path_factory.mktemp("simulated")
    _simulate(root)
    return root


@pytest.fixture
def copied(simulated, tmp_path) -> Path:
    return Path(shutil.copytree(simulated, tmp_path / "copy"))


def test_layout_and_names_are_those_of_2019(simulated):
    real = {
        f"audio/validation/Ysim{number}_30.000_40.000.wav" for number in range(3000001, 3000006)
    }
    real |= {f"audio/train/weak/Ysim000000{number}_30.000_40.000.wav" for number in (1, 2, 3)}
    real |= {
        "audio/train/unlabel_in_domain/Ysim1000001_30.000_40.000.wav",
        "audio/eval/public/Ysim4000001_30.000_40.000.wav",
        "audio/train/synthetic/1.wav",
        "audio/train/synthetic/2.wav",
    }
    stems = [f"train/{name}" for name in ("weak", "unlabel_in_domain", "synthetic")] + [
        "eval/public"
    ]
    stems += [f"validation/{name}" for name in ("validation", "test_dcase2018", "eval_dcase2018")]
    real |= {f"metadata/{stem}{suffix}" for stem in stems for suffix in (".tsv", ".csv")}
    assert set(_checksums(simulated)) == real | {SETTINGS_FILE, "README.md"}
    assert "SIMULATED" in (simulated / "README.md").read_text()
    assert "DESED" in (simulated / "README.md").read_text()
    assert json.loads((simulated / SETTINGS_FILE).read_text())["simulated"] is True


def test_clips_are_16_bit_mono_of_the_exact_length(simulated):
    for path in simulated.rglob("*.wav"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.frames, info.subtype) == (
            RATE_HZ,
            1,
            3 * RATE_HZ,
            "PCM_16",
        )
        assert 0.04 < np.abs(read_audio(path)).max() < 0.95


@pytest.mark.parametrize(
    ("subset", "n", "kind"),
    [
        ("weak", 3, "tags"),
        ("unlabel_in_domain", 1, None),
        ("synthetic", 2, "events"),
        ("validation", 5, "events"),
        ("test_dcase2018", 2, "events"),
        ("eval_dcase2018", 3, "events"),
        ("eval", 1, "events"),
    ],
)
def test_the_dataset_reader_reads_them(simulated, subset, n, kind):
    clips, missing = find_clips(simulated, DATASET, subset)
    assert (len(clips), missing) == (n, [])
    assert all((clip.tags is not None) == (kind == "tags") for clip in clips)
    assert all((clip.events is not None) == (kind == "events") for clip in clips)


def test_metadata_are_written_byte_for_byte_as_the_real_ones(simulated):
    weak = (simulated / "metadata/train/weak.tsv").read_bytes().decode()
    assert weak.startswith("filename\tevent_labels\n") and weak.endswith("\n") and "\r" not in weak
    for labels in parse_weak(weak, DATASET.classes).values():
        assert labels and list(labels) == sorted(labels)
    strong = (simulated / "metadata/validation/validation.tsv").read_text().splitlines()
    assert strong[0] == STRONG_HEADER.strip()
    assert "Ysim3000005_30.000_40.000.wav\t\t\t" in strong
    for row in strong[1:]:
        _, onset, offset, label = row.split("\t")
        assert label == "" or (f"{float(onset):.3f}", f"{float(offset):.3f}") == (onset, offset)
    synthetic = (simulated / "metadata/train/synthetic.tsv").read_text().splitlines()[1:]
    assert all(repr(float(time)) == time for row in synthetic for time in row.split("\t")[1:3])
    assert (simulated / "metadata/train/weak.csv").read_text() == weak


def test_the_layout_of_2018_has_all_its_files_below_dataset(tmp_path):
    report = _simulate(tmp_path, dataset=DATASET_2018, subsets=("weak", "test"))
    assert len(report.written) == 5 and report.skipped == ()
    metadata = {
        path.name for path in (tmp_path / "dataset" / "metadata").rglob("*") if path.is_file()
    }
    assert metadata == {
        f"{n}.csv" for n in ("weak", "unlabel_in_domain", "unlabel_out_of_domain", "test", "eval")
    }
    assert len(find_clips(tmp_path, DATASET_2018, "test")[0]) == 2
    assert find_clips(tmp_path, DATASET_2018, "unlabel_out_of_domain") == ([], [])
    _simulate(tmp_path, dataset=DATASET_2018, subsets=("unlabel_out_of_domain",))
    assert len(find_clips(tmp_path, DATASET_2018, "unlabel_out_of_domain")[0]) == 2


def test_two_processes_write_the_same_files_as_one(simulated, tmp_path):
    _simulate(tmp_path, parallel=ParallelConfig(jobs=2))
    assert _checksums(tmp_path) == _checksums(simulated)


def test_subsets_added_later_equal_those_written_together(simulated, tmp_path):
    for subsets in (
        ["validation", "eval"],
        ["synthetic", "weak"],
        ["unlabel_in_domain", "test_dcase2018"],
    ):
        _simulate(tmp_path, subsets=subsets)
    assert _checksums(tmp_path) == _checksums(simulated)


def test_a_killed_simulation_resumes_with_missing_files(simulated, copied):
    (copied / "audio/train/synthetic/2.wav").unlink()
    (copied / "audio/train/synthetic/.2.wav.77.tmp").write_bytes(b"half a clip")
    (copied / "metadata/train/synthetic.tsv").unlink()
    report = _simulate(copied)
    assert report.written == ("2.wav",) and len(report.skipped) == 11
    assert _checksums(copied) == _checksums(simulated)


def test_other_settings_in_the_same_folder_are_named(copied):
    with pytest.raises(DataError, match=r"seed: 5 there, 6 wanted.*--overwrite"):
        _simulate(copied, seed=6)
    with pytest.raises(DataError, match=r"layout: dcase2019 there, dcase2018 wanted"):
        _simulate(copied, dataset=DATASET_2018)


def test_overwriting_with_other_settings_leaves_nothing_of_the_old_ones(copied):
    one = SMALL.model_copy(update={"clips_per_subset": {"weak": 1}})
    _simulate(copied, one, subsets=["weak"], overwrite=True)
    names = sorted(path.name for path in copied.rglob("*") if path.is_file())
    assert names == [
        "README.md",
        "Ysim0000001_30.000_40.000.wav",
        SETTINGS_FILE,
        "weak.csv",
        "weak.tsv",
    ]


def test_nothing_is_written_among_clips_that_were_not_simulated(tmp_path):
    real = tmp_path / "metadata" / "train" / "weak.tsv"
    real.parent.mkdir(parents=True)
    real.write_text("filename\tevent_labels\n")
    for overwrite in (False, True):
        with pytest.raises(DataError, match="not simulated"):
            _simulate(tmp_path, overwrite=overwrite)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [real]


def _plans(subset, n=600, **changes):
    settings = scene_settings(SimulationConfig(**changes), 0)
    return [
        plan_clip(slot, settings, DatasetConfig().classes, {}) for slot in name_clips(subset, n)
    ]


@pytest.mark.parametrize(
    ("subset", "events_per_clip", "class_shares"),
    [
        ("weak", None, (0.62, 0.33, 0.05)),
        ("synthetic", 2.9, (0.33, 0.48, 0.17)),
        ("validation", 3.7, (0.51, 0.42, 0.06)),
    ],
)
def test_clips_hold_as_many_events_and_classes_as_real_ones(subset, events_per_clip, class_shares):
    plans = _plans(subset)
    counts = Counter(len({event.class_name for event in plan.events}) for plan in plans)
    assert [counts[n] / 600 for n in (1, 2, 3)] == pytest.approx(class_shares, abs=0.06)
    if events_per_clip is not None:
        assert np.mean([len(plan.events) for plan in plans]) == pytest.approx(
            events_per_clip, rel=0.12
        )
    clips = Counter(name for plan in plans for name in {event.class_name for event in plan.events})
    assert clips.most_common(1)[0][0] == "Speech" and len(clips) == 10
    assert clips["Speech"] > 3 * min(clips.values())


@pytest.mark.parametrize("subset", ["weak", "synthetic", "validation"])
def test_events_of_a_class_lie_apart_within_the_clip(subset):
    for plan in _plans(subset, 300):
        assert [event.onset_s for event in plan.events] == sorted(
            event.onset_s for event in plan.events
        )
        for name in {event.class_name for event in plan.events}:
            spans = np.array([(e.onset_s, e.offset_s) for e in plan.events if e.class_name == name])
            assert spans.min() >= 0 and spans.max() <= 10
            assert np.diff(spans, axis=1).min() >= 0.248  # 0.25 s, times rounded to milliseconds
            assert (spans[1:, 0] - spans[:-1, 1] > 0.15).all()


@pytest.mark.parametrize("name", CLASS_SOUNDS)
def test_durations_have_the_quantiles_of_the_real_ones(name):
    durations = CLASS_SOUNDS[name].durations
    rng = np.random.default_rng(0)
    drawn = [durations.draw(rng) for _ in range(4000)]
    expected = durations.p10_s, durations.median_s, durations.p90_s
    assert np.quantile(drawn, [0.1, 0.5, 0.9]) == pytest.approx(expected, rel=0.12)
    assert min(drawn) >= 0.25


def test_some_real_clips_are_empty_and_no_weak_one_is():
    empty = [plan for plan in _plans("validation", 300) if not plan.events]
    assert len(empty) == 4
    assert all(plan.events for subset in ("weak", "synthetic") for plan in _plans(subset, 300))


def test_longer_simulations_begin_with_the_clips_of_shorter_ones():
    assert _plans("weak", 5) == _plans("weak", 9, clips_per_subset={"weak": 9})[:5]


def _rendered(plan, tmp_path, **changes):
    settings = scene_settings(
        SimulationConfig(preset="fixture", sample_rate_hz=RATE_HZ, **changes), 1
    )
    if not any(tmp_path.iterdir()):
        build_loops([plan.set_number], settings, tmp_path, ParallelConfig(jobs=1))
    return render_clip(plan, RenderContext(tmp_path, "dcase2019", settings, None, tmp_path))


def _level_db(x, onset_s, offset_s):
    return 10 * np.log10(
        np.mean(np.square(x[round(onset_s * RATE_HZ) : round(offset_s * RATE_HZ)]))
    )


@pytest.mark.parametrize("name", CLASS_SOUNDS)
def test_events_have_their_annotated_times_and_snr(name, tmp_path):
    spans = (1.0, 1.6), (2.5, 4.5), (6.0, 7.0)
    plan = ClipPlan("synthetic", "1.wav", tuple(PlannedEvent(name, *span) for span in spans))
    x = _rendered(plan, tmp_path, synthetic_snr_db=(20.0, 20.0))
    assert x.shape == (10 * RATE_HZ,) and x.dtype == np.float32
    background_db = np.mean(
        [_level_db(x, *span) for span in ((0, 0.99), (1.61, 2.49), (4.51, 5.99), (7.01, 10))]
    )
    for span in spans:
        assert _level_db(x, *span) - background_db == pytest.approx(20.0, abs=1.5)


def test_wide_sounds_have_the_annotated_times_and_snr_too(tmp_path):
    settings = {"synthetic_snr_db": (20.0, 20.0), "recipes": "wide"}
    plan = ClipPlan("synthetic", "1.wav", (PlannedEvent("Dog", 2.0, 3.0),))
    heard = _rendered(plan, tmp_path, **settings)
    alone = _rendered(replace(plan, events=()), tmp_path, **settings)
    background = alone * (heard[RATE_HZ] / alone[RATE_HZ])  # each clip has a level of its own
    event = heard - background
    outside = np.r_[event[: 2 * RATE_HZ], event[3 * RATE_HZ :]]
    assert np.abs(outside).max() < 1e-5 < np.abs(event).max()
    level_db = _level_db(event, 2.0, 3.0) - _level_db(background, 0.0, 10.0)
    assert level_db == pytest.approx(20.0, abs=0.1)


def test_levels_of_real_clips_differ_with_the_domain_gap_only(tmp_path):
    def peaks(subset, **changes):
        plans = [ClipPlan(subset, f"{n}.wav", (PlannedEvent("Dog", 1.0, 2.0),)) for n in range(12)]
        return np.array([np.abs(_rendered(plan, tmp_path, **changes)).max() for plan in plans])

    assert peaks("synthetic").min() >= 0.5 and peaks("synthetic").max() <= 0.9
    assert peaks("weak").min() < 0.3
    assert peaks("weak", domain_gap=False).min() >= 0.5


def test_subsets_that_must_not_share_sounds_do_not():
    sets = {name: SUBSETS[name].set_number for name in SUBSETS}
    assert sets["validation"] != sets["weak"] == sets["synthetic"] == sets["unlabel_in_domain"]
    assert sets["eval"] not in (sets["validation"], sets["weak"])
    assert SUBSETS["synthetic"].domain == "synthetic" and not DOMAINS["synthetic"].real
    weak, validation = (_plans(subset, 20) for subset in ("weak", "validation"))
    assert not {plan.name for plan in weak} & {plan.name for plan in validation}


ANNOTATED = (
    STRONG_HEADER
    + "Y00_350.000_360.000.wav\t0.500\t1.700\tSpeech\nempty.wav\t\t\t\n"
    + "Y00_350.000_360.000.wav\t1.0\t9.5\tFrying\n"
)


def _annotations(tmp_path, **texts) -> Path:
    folder = tmp_path / "annotations"
    folder.mkdir()
    for name, text in texts.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_given_annotations_are_rendered_at_their_times(tmp_path, caplog):
    folder = _annotations(
        tmp_path, validation__tsv=ANNOTATED, test_dcase2018__tsv=STRONG_HEADER + "empty.wav\t\t\t\n"
    )
    root = tmp_path / "rendered"
    loud = SMALL.model_copy(update={"real_snr_db": (20.0, 20.0), "domain_gap": False})
    with caplog.at_level(logging.INFO):
        report = _simulate(root, loud, annotations=folder)
    assert "1 event(s) end after the clip, cut at 3 s" in caplog.text
    assert report.written == ("Y00_350.000_360.000.wav", "empty.wav")
    assert (root / "metadata/validation/validation.tsv").read_text() == ANNOTATED
    assert (
        find_metadata(root, "dcase2019", "test_dcase2018").read_text().endswith("empty.wav\t\t\t\n")
    )
    x = read_audio(root / "audio/validation/Y00_350.000_360.000.wav", RATE_HZ, 1)[:, 0]
    assert _level_db(x, 0.5, 1.0) - _level_db(x, 0.0, 0.5) > 15
    assert _level_db(x, 2.0, 3.0) - _level_db(x, 0.0, 0.5) > 15


@pytest.mark.parametrize(
    ("layout", "where"), [("dcase2019", "audio/validation"), ("dcase2018", "dataset/audio/test")]
)
def test_annotations_of_other_names_become_test_data(tmp_path, layout, where):
    folder = _annotations(tmp_path, mine__csv=STRONG_HEADER + "a.wav\t0.5\t1\tDog\n")
    _simulate(
        tmp_path / "out", dataset=DATASET.model_copy(update={"layout": layout}), annotations=folder
    )
    assert [path.name for path in (tmp_path / "out" / where).iterdir()] == ["a.wav"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"notes__txt": "a"}, "has no metadata"),
        ({"mine__tsv": STRONG_HEADER + "a.wav\t1\t2\tHorse\n"}, r"line 2: unknown class 'Horse'"),
        ({"weak__tsv": "filename\tevent_labels\na.wav\tDog\n"}, "weak labels"),
        ({"mine__tsv": ANNOTATED, "yours__tsv": ANNOTATED}, "both become the subset validation"),
        (
            {
                "validation__tsv": ANNOTATED,
                "test_dcase2018__tsv": STRONG_HEADER + "empty.wav\t1\t2\tDog\n",
            },
            r"different events for empty\.wav",
        ),
    ],
)
def test_impossible_annotations_are_refused_before_anything_is_written(tmp_path, texts, message):
    folder = _annotations(tmp_path, **texts)
    with pytest.raises(DataError, match=message):
        _simulate(tmp_path / "out", annotations=folder)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def own_recordings(tmp_path) -> Path:
    t = np.arange(8000) / 16000
    for number in range(6):
        path = tmp_path / "own" / "Dog" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.3 * np.sin(2 * np.pi * (300 + 100 * number) * t), 16000)
    return tmp_path / "own"


def _loudest_hz(x):
    return float(np.argmax(np.abs(np.fft.rfft(x * np.hanning(len(x)))))) * RATE_HZ / len(x)


def test_own_recordings_and_backgrounds_are_used_in_disjoint_sets(own_recordings, tmp_path):
    backgrounds = tmp_path / "backgrounds" / "kitchen"
    backgrounds.mkdir(parents=True)
    for number in range(3):
        soundfile.write(backgrounds / f"{number}.wav", 0.1 * np.sin(np.arange(30000) * 0.02), 16000)
    simulation = SimulationConfig(
        preset="fixture",
        sample_rate_hz=RATE_HZ,
        source_dir=own_recordings,
        background_dir=backgrounds.parent,
        domain_gap=False,
        clips_per_subset={"weak": 4, "validation": 4},
        real_snr_db=(20.0, 20.0),
    )
    dataset = DatasetConfig(classes=("Dog",), clip_s=3.0)
    _simulate(tmp_path / "out", simulation, subsets=["validation", "weak"], dataset=dataset)
    events, _ = read_strong(tmp_path / "out/metadata/validation/validation.tsv", dataset)
    active = set()
    for name, onset, offset, _ in events.values.tolist():
        x = read_audio(tmp_path / "out/audio/validation" / name)[:, 0]
        assert offset - onset == pytest.approx(0.5, abs=0.02)
        active.add(round(_loudest_hz(x[round(onset * RATE_HZ) : round(offset * RATE_HZ)]) / 100))
    selections = Task4Simulator(tmp_path, simulation, dataset, seed=5).select_sounds(range(3))
    assert active <= {3 + int(path.stem) for path in selections[1].recordings}
    dealt = [path.name for selection in selections for path in selection.recordings]
    assert sorted(dealt) == [f"{number}.wav" for number in range(6)]


def test_a_missing_class_is_an_error_on_request(own_recordings, tmp_path):
    strict = SMALL.model_copy(update={"source_dir": own_recordings, "on_missing": "error"})
    with pytest.raises(DataError, match="too few recordings of Alarm_bell_ringing, Blender"):
        _simulate(tmp_path / "out", strict)
    assert not (tmp_path / "out").exists()


def test_classes_without_any_sound_are_refused(tmp_path):
    dataset = DatasetConfig(classes=("Dog", "Horse"))
    with pytest.raises(ConfigError, match="no synthetic sound for Horse"):
        _simulate(tmp_path, dataset=dataset)


def test_subsets_without_any_clip_are_refused(tmp_path):
    empty = SMALL.model_copy(update={"clips_per_subset": {"weak": 0}})
    with pytest.raises(ConfigError, match="No clip to simulate"):
        _simulate(tmp_path, empty, subsets=["weak"])
    with pytest.raises(ConfigError, match="no subset 'test' in the layout dcase2019"):
        _simulate(tmp_path, subsets=["test"])


@pytest.mark.parametrize(
    "settings",
    [
        {"clips_per_subset": {"kitchen": 3}},
        {"clips_per_subset": {"weak": -1}},
        {"real_snr_db": [20, 0]},
        {"snr": 3},
    ],
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ValidationError):
        SimulationConfig(**settings)


def test_a_task_writes_the_subsets_that_it_reads(tmp_path):
    task = SimpleNamespace(
        dataset_dir=tmp_path,
        simulation=SMALL,
        dataset=DATASET,
        set_names=["weak"],
        features=FeatureConfig(),
        seed=5,
        parallel=ParallelConfig(jobs=1),
    )
    assert len(run(task).written) == 3


def test_the_full_preset_has_the_numbers_of_the_real_dataset():
    clips = scene_settings(SimulationConfig(preset="full"), 0).clips_per_subset
    assert (clips["weak"], clips["unlabel_in_domain"], clips["synthetic"], clips["validation"]) == (
        1578,
        14412,
        2045,
        1168,
    )
