"""Recordings and metadata to shards and back: contents, size, sharing between tasks, bad input."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from common.data.augmentation import transform_features
from common.data.feature_store import FeatureStore
from common.data.pipeline import evaluation_stream
from common.data.selection import Selection
from common.data.sequences import SequenceFormat
from common.data.tfrecord import read_shard
from common.errors import ConfigError, DataError
from common.settings.parallel import ParallelConfig
from common.settings.pipeline import PipelineConfig
from seld.augmentation import AZIMUTH_OFFSETS_DEG, audio_transform, foa_transforms
from seld.dataset import DatasetConfig, Events, read_labels
from seld.extraction import is_extracted, open_store, run, store_folder
from seld.features import KINDS, FeatureConfig, extract_features
from seld.labels import regression_labels

RATE = 16000
DATASET = DatasetConfig(classes=("knock", "drawer", "cough"), sample_rate_hz=RATE, recording_s=2.0)
SMALL = {"n_fft": 1024, "window_s": 0.04}
HEADER = "sound_event_recording,start_time,end_time,ele,azi,dist\n"


@dataclass(frozen=True)
class Task:
    dataset_dir: Path
    feature_dir: Path
    dataset: DatasetConfig = DATASET
    features: FeatureConfig = field(
        default_factory=lambda: FeatureConfig(kind="logmel_intensity", **SMALL)
    )
    pipeline: PipelineConfig = field(default_factory=PipelineConfig)
    parallel: ParallelConfig = field(default_factory=lambda: ParallelConfig(jobs=1))


def write_recording(
    root: Path, name: str, set_name: str = "dev", seconds: float = 2.0, seed: int = 0
) -> None:
    audio = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * RATE), 4))
    for folder in (f"foa_{set_name}", f"metadata_{set_name}"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    soundfile.write(root / f"foa_{set_name}" / f"{name}.wav", audio, RATE, subtype="PCM_16")
    rows = "knock,0.10,0.50,10,-30,1\ncough,1.20,2.69,-40,170,2\n" if seed % 2 else ""
    (root / f"metadata_{set_name}" / f"{name}.csv").write_text(HEADER + rows)


NAMES = ["split1_ir0_ov1_1", "split1_ir1_ov2_3", "split2_ir0_ov1_2", "split3_ir4_ov2_9"]


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("tau")
    for seed, name in enumerate(NAMES):
        write_recording(root, name, seconds=[2.0, 1.83, 2.4, 2.0][seed], seed=seed)
    write_recording(root, "split0_1", "eval", seed=7)
    (root / "metadata_eval" / "split0_1.csv").unlink()
    return root


@pytest.fixture(scope="module")
def task(dataset_dir, tmp_path_factory) -> Task:
    task = Task(dataset_dir, tmp_path_factory.mktemp("features"))
    run(task, ["dev", "eval"], progress=False)
    return task


def test_records_hold_features_labels_and_events_of_their_recordings(task):
    store = open_store(task, "dev")
    examples = [example for path in store.shards() for example in read_shard(path, store.schema)]
    assert [example["name"] for example in examples] == NAMES == store.names()
    for example in examples:
        audio, _ = soundfile.read(
            task.dataset_dir / "foa_dev" / f"{example['name']}.wav", dtype="float32"
        )
        events = read_labels(
            task.dataset_dir / "metadata_dev" / f"{example['name']}.csv", DATASET, 2.0
        )
        expected = extract_features(audio, task.features, RATE, 2.0)
        np.testing.assert_allclose(
            example["features"], expected, atol=1e-4
        )  # here with more threads
        for key, labels in regression_labels(events, 100, 0.02, 3, "dcase2019").items():
            np.testing.assert_array_equal(example[key], labels)
        np.testing.assert_array_equal(
            Events.from_array(example["events"]).offset_s, events.offset_s
        )
        assert example["labelled"] == 1
    assert store.groups == ["1", "2", "3"]
    assert store.frames([1, 3]) == [100, 100, 100]


def test_statistics_are_only_of_the_chosen_splits(task):
    store = open_store(task, "dev")
    for splits in ([1], [2, 3]):
        examples = [
            example for path in store.shards(splits) for example in read_shard(path, store.schema)
        ]
        frames = np.concatenate([example["features"] for example in examples])
        mean, std = store.statistics(splits)
        assert mean.shape == std.shape == (64, 7)
        np.testing.assert_allclose(
            mean, frames.astype(np.float64).mean(axis=0), rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(std, frames.astype(np.float64).std(axis=0), rtol=1e-4)


def test_recordings_of_the_evaluation_set_need_no_labels(task):
    store = open_store(task, "eval")
    stream = evaluation_stream(
        Selection(store, ("0",)),
        SequenceFormat({"sed": ("activity",)}),
        PipelineConfig(sequence_frames=40),
    )
    (element,) = stream.as_numpy_iterator()
    assert element["name"] == b"split0_1" and not element["labelled"]
    assert element["features"].shape == (3, 40, 64, 7)
    assert (element["targets"]["sed"] == -1).all()


def test_two_processes_write_the_same_shards_as_one(task, tmp_path):
    other = Task(task.dataset_dir, tmp_path, parallel=ParallelConfig(jobs=2))
    (store,) = run(other, ["dev"], progress=False)
    for path in store.shards():
        assert path.read_bytes() == (store_folder(task, "dev") / path.name).read_bytes()


def test_interleaved_tasks_share_shards_and_statistics_follow(dataset_dir, tmp_path):
    plain = Task(dataset_dir, tmp_path, features=FeatureConfig(**SMALL))
    published = FeatureConfig(**SMALL, interleaved_channels=True, scaler_splits="all")
    packed = Task(dataset_dir, tmp_path, features=published)
    assert not is_extracted(plain, "dev")
    run(plain, progress=False)
    assert is_extracted(packed, "dev")
    store = open_store(packed, "dev")
    mean, _ = store.statistics([1])
    mean_packed, _ = store.statistics([1], interleaved_channels=True)
    magnitudes, phases = mean[:, :4].reshape(256, 8), mean[:, 4:].reshape(256, 8)
    np.testing.assert_array_equal(mean_packed, np.concatenate([magnitudes, phases]))


@pytest.mark.parametrize("kind", ["magnitude_phase", "logmel_intensity"])
def test_turned_features_are_those_of_turned_audio(kind):
    audio = (0.1 * np.random.default_rng(0).standard_normal((RATE // 2, 4))).astype(np.float32)
    features = FeatureConfig(kind=kind, dtype="float32", **SMALL)
    plain = extract_features(audio, features, RATE)
    transforms = foa_transforms(KINDS[kind].channel_swaps)
    turned = transform_features(
        tf.stack([plain] * len(transforms)), transforms, tf.range(len(transforms))
    ).numpy()
    moves = itertools.product((1.0, -1.0), (1.0, -1.0), AZIMUTH_OFFSETS_DEG)
    for received, (elevation_sign, azimuth_sign, offset_deg) in zip(turned, moves, strict=True):
        taken, signs = audio_transform(azimuth_sign, offset_deg, elevation_sign)
        expected = extract_features(audio[:, taken] * np.float32(signs), features, RATE)
        difference = received - expected
        if kind == "magnitude_phase":  # phases near +-pi may land on either side
            difference[..., 4:] = np.angle(np.exp(1j * difference[..., 4:]))
            difference[..., 4:][expected[..., :4] < 1e-3] = 0
        assert np.abs(difference).max() < 1e-3


def test_a_minute_of_magnitudes_and_phases_is_below_50_mb(tmp_path):
    minute = DatasetConfig()
    audio = np.random.default_rng(0).integers(-3000, 3000, (60 * 48000, 4), dtype=np.int16)
    for folder in ("foa_dev", "metadata_dev"):
        (tmp_path / folder).mkdir()
    soundfile.write(tmp_path / "foa_dev/split1_ir0_ov1_1.wav", audio, 48000)
    (tmp_path / "metadata_dev/split1_ir0_ov1_1.csv").write_text(HEADER)
    task = Task(tmp_path, tmp_path / "features", dataset=minute, features=FeatureConfig())
    run(task, progress=False)
    n_bytes = sum(path.stat().st_size for path in store_folder(task, "dev").iterdir())
    assert 49e6 < n_bytes < 50e6
    assert open_store(task, "dev", verify=True).frames() == [3000]


def test_other_settings_are_refused_with_their_names(task):
    features = FeatureConfig(kind="logmel_intensity", n_mels=32, **SMALL)
    narrow = Task(task.dataset_dir, task.feature_dir, features=features)
    with pytest.raises(DataError, match=r"features\.n_mels: 64 there, 32 now"):
        open_store(narrow, "dev")
    with pytest.raises(DataError, match=r"features\.n_mels: 64 there, 32 now"):
        run(narrow, progress=False)
    shown = DatasetConfig(
        **DATASET.model_dump() | {"azimuth_range_deg": (-180, 180), "mode": "eval"}
    )
    assert isinstance(
        open_store(Task(task.dataset_dir, task.feature_dir, dataset=shown), "dev"), FeatureStore
    )


def test_stores_of_earlier_kinds_are_described_as_before(task):
    assert open_store(task, "dev").settings == {
        "form": 1,
        "label_rule": "dcase2019",
        "dataset": {
            "format": "foa",
            "classes": ["knock", "drawer", "cough"],
            "sample_rate_hz": RATE,
            "channels": 4,
            "recording_s": 2.0,
            "label_hop_s": 0.02,
        },
        "features": {
            "kind": "logmel_intensity",
            "window_s": 0.04,
            "hop_s": 0.02,
            "n_fft": 1024,
            "n_mels": 64,
            "fmin_hz": 50.0,
            "fmax_hz": None,
            "dtype": "float32",
        },
        "recordings_per_shard": 1,
    }


TWO_STAGE = {
    "sample_rate_hz": 8000,
    "window_s": 0.064,
    "n_fft": 512,
    "gcc_n_fft": 1024,
    "n_mels": 32,
}


@pytest.mark.parametrize(("kind", "channels"), [("logmel_gcc", 10), ("logmel", 4)])
def test_two_stage_records_have_labels_at_the_features_hop(dataset_dir, tmp_path, kind, channels):
    task = Task(dataset_dir, tmp_path, features=FeatureConfig(kind=kind, **TWO_STAGE))
    (store,) = run(task, progress=False)
    examples = [example for path in store.shards() for example in read_shard(path, store.schema)]
    assert store.frames() == [
        201,
        184,
        201,
        201,
    ]  # the second recording is shorter, the third is cut
    for example in examples:
        n_frames = len(example["features"])
        events = read_labels(dataset_dir / "metadata_dev" / f"{example['name']}.csv", DATASET, 2.0)
        audio, _ = soundfile.read(
            dataset_dir / "foa_dev" / f"{example['name']}.wav", dtype="float32"
        )
        assert example["features"].shape == (n_frames, 32, channels)
        np.testing.assert_allclose(
            example["features"], extract_features(audio, task.features, RATE, 2.0), atol=1e-4
        )
        for key, labels in regression_labels(events, n_frames, 0.01, 3, "two_stage").items():
            np.testing.assert_array_equal(example[key], labels)
        np.testing.assert_array_equal(Events.from_array(example["events"]).onset_s, events.onset_s)
    assert store.statistics()[0].shape == (32, channels)
    assert open_store(task, "dev").settings["label_rule"] == "two_stage"


def test_recordings_of_another_rate_are_refused_although_features_are_resampled(tmp_path):
    write_recording(tmp_path, "split1_ir0_ov1_1")
    slower = DatasetConfig(**DATASET.model_dump() | {"sample_rate_hz": 8000})
    task = Task(tmp_path, tmp_path / "features", slower, FeatureConfig(kind="logmel", **TWO_STAGE))
    with pytest.raises(
        DataError, match=r"Wrong sample rate in .*Expected: 8000 Hz. Received: 16000 Hz"
    ):
        run(task, progress=False)


def write_silence(path: Path) -> None:
    soundfile.write(path, np.zeros((2 * RATE, 4)), RATE, subtype="PCM_16")


def test_silent_recordings_are_left_out_and_listed_on_request(tmp_path, caplog):
    for name in NAMES[:3]:
        write_recording(tmp_path, name, seed=1)
    silent = NAMES[1]
    write_silence(tmp_path / "foa_dev" / f"{silent}.wav")
    assert run(Task(tmp_path, tmp_path / "all"), progress=False)[0].names() == sorted(NAMES[:3])
    skipping = DatasetConfig(**DATASET.model_dump() | {"skip_silent": True})
    task = Task(tmp_path, tmp_path / "sounding", dataset=skipping)
    for _ in range(2):
        caplog.clear()
        (store,) = run(task, progress=False)
        assert (
            list(store.skipped) == [silent]
            and "all of its samples are zero" in store.skipped[silent]
        )
        assert f"{silent} is left out" in caplog.text
    opened = open_store(task, "dev", verify=True)
    assert opened.names() == [NAMES[0], NAMES[2]] and opened.skipped == store.skipped
    with pytest.raises(DataError, match=r"dataset\.skip_silent: absent there, true now"):
        open_store(Task(tmp_path, tmp_path / "all", dataset=skipping), "dev")


def test_damaged_recordings_are_refused_where_silent_ones_are_left_out(tmp_path):
    for name in NAMES[:2]:
        write_recording(tmp_path, name)
    (tmp_path / "foa_dev" / f"{NAMES[0]}.wav").write_text("no sound")
    write_silence(tmp_path / "foa_dev" / f"{NAMES[1]}.wav")
    skipping = DatasetConfig(**DATASET.model_dump() | {"skip_silent": True})
    with pytest.raises(DataError, match=f"Not a readable sound file.*{NAMES[0]}"):
        run(Task(tmp_path, tmp_path / "features", dataset=skipping), progress=False)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("foa_dev/{}.wav", np.zeros((90, 2)), "Wrong number of channels in"),
        ("foa_dev/{}.wav", "no sound", "Not a readable sound file"),
        ("metadata_dev/{}.csv", HEADER + "bark,0,1,0,0,1\n", r"(?s)split1_ir0_ov1_2\.csv.*2.*bark"),
    ],
)
def test_bad_recordings_are_named_and_nothing_half_written_stays(tmp_path, file, content, message):
    write_recording(tmp_path, "split1_ir0_ov1_1")
    write_recording(tmp_path, "split1_ir0_ov1_2")
    path = tmp_path / file.format("split1_ir0_ov1_2")
    path.write_text(content) if isinstance(content, str) else soundfile.write(path, content, RATE)
    task = Task(tmp_path, tmp_path / "features")
    with pytest.raises(DataError, match=message) as caught:
        run(task, progress=False)
    assert "split1_ir0_ov1_2" in str(caught.value)
    names = sorted(path.name for path in store_folder(task, "dev").iterdir())
    assert names == ["settings.json", "split1_ir0_ov1_1.npz", "split1_ir0_ov1_1.tfrecord"]
    assert not is_extracted(task, "dev")


def test_settings_that_cannot_stand_together_are_refused_before_work_starts(task, tmp_path):
    mic = DatasetConfig(**DATASET.model_dump() | {"format": "mic"})
    with pytest.raises(ConfigError, match=r"needs `dataset\.format: foa` with 4 channels"):
        run(Task(task.dataset_dir, tmp_path, dataset=mic), progress=False)
    with pytest.raises(
        ConfigError, match=r"one hop with `features.label_rule: dcase2019`.*0\.01.*0\.02"
    ):
        run(
            Task(task.dataset_dir, tmp_path, features=FeatureConfig(hop_s=0.01, **SMALL)),
            progress=False,
        )
    with pytest.raises(ConfigError, match="one hop"):
        run(
            Task(
                task.dataset_dir,
                tmp_path,
                features=FeatureConfig(kind="logmel", label_rule="dcase2019"),
            )
        )
    assert not list(tmp_path.iterdir())


def test_a_missing_dataset_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="foa_dev"):
        run(Task(tmp_path / "none", tmp_path / "features"), progress=False)
    assert not (tmp_path / "features").exists()
