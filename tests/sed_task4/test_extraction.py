"""Clips to shards and back: labels, lengths, rates, missing and unreadable clips."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile

from common.audio.files import read_mono
from common.data.feature_store import FeatureStore
from common.data.tfrecord import read_shard
from common.errors import ConfigError, DataError
from common.features.levels import magnitude_db
from common.settings.parallel import ParallelConfig
from common.settings.pipeline import PipelineConfig
from sed_task4.dataset import DatasetConfig, read_names
from sed_task4.extraction import ACCESS_ERRORS, is_extracted, open_store, run, store_folder
from sed_task4.features import FeatureConfig, extract_features

RATE = 16000
CLASSES = ("Cat", "Dog", "Speech")
SIZES = {"n_fft": 512, "window_s": 0.032, "n_mels": 20, "hop_s": 0.02}
DATASET = DatasetConfig(classes=CLASSES, sample_rate_hz=RATE, clip_s=2.0)
CNN = FeatureConfig(fmax_hz=8000, **SIZES)
CRNN = FeatureConfig(kind="log_magnitude_mel", **SIZES)


@dataclass(frozen=True)
class Task:
    dataset_dir: Path
    feature_dir: Path
    dataset: DatasetConfig = DATASET
    features: FeatureConfig = CNN
    pipeline: PipelineConfig = field(default_factory=lambda: PipelineConfig(recordings_per_shard=3))
    parallel: ParallelConfig = field(default_factory=lambda: ParallelConfig(jobs=1))


def write_clip(path, seconds=2.0, rate=RATE, channels=1, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    soundfile.write(path, audio, rate, subtype="PCM_16")


def write_metadata(root, name, text):
    path = root / "metadata" / f"{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# name: seconds, rate, channels; the last one has no audio
WEAK = {
    "a.wav": (2.0, RATE, 1),
    "b.wav": (2.0, 44100, 2),
    "c.wav": (1.3, RATE, 1),
    "d.wav": (2.6, 48000, 5),
    "e.wav": None,
}
WEAK_TSV = (
    "filename\tevent_labels\na.wav\tCat,Speech\nb.wav\tDog\nc.wav\tCat\nd.wav\tSpeech\ne.wav\tDog\n"
)
STRONG_TSV = (
    "filename\tonset\toffset\tevent_label\n"
    "v1.wav\t0.11\t0.5\tDog\nv1.wav\t1.0\t1.43\tCat\nv2.wav\t\t\t\nv3.wav\t0.2\t1.9\tSpeech\n"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("desed")
    for seed, (name, sizes) in enumerate(WEAK.items()):
        if sizes:
            write_clip(root / "audio/train/weak" / name, *sizes, seed=seed)
    for seed, seconds in enumerate((2.0, 2.0, 0.5), start=1):
        write_clip(root / f"audio/validation/v{seed}.wav", seconds, seed=10 + seed)
    write_clip(root / "audio/train/unlabel_in_domain/u.wav", seed=20)
    write_metadata(root, "train/weak", WEAK_TSV)
    write_metadata(root, "validation/validation", STRONG_TSV)
    write_metadata(root, "train/unlabel_in_domain", "filename\nu.wav\n")
    return root


@pytest.fixture
def task(root, tmp_path):
    return Task(root, tmp_path / "features")


def examples(store):
    return {
        example["name"]: example
        for path in store.shards()
        for example in read_shard(path, store.schema)
    }


def test_weak_clips_have_tags_and_no_activity(task, caplog):
    (store,) = run(task, ["weak"], progress=False)
    stored = examples(store)
    assert list(stored) == ["a.wav", "b.wav", "c.wav", "d.wav"]
    assert [len(entry.names) for entry in store.entries] == [3, 1] and store.groups == ["weak"]
    tags = [example["tags"] for example in stored.values()]
    np.testing.assert_array_equal(tags, [[1, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1]])
    for example in stored.values():
        assert example["features"].shape == (100, 20, 1)
        assert (
            (example["activity"] == -1).all()
            and example["labelled"] == 0
            and len(example["events"]) == 0
        )
    assert caplog.text.count("1 clips are left out") == 1


def test_features_are_those_of_the_resampled_mean_of_the_channels(task, root):
    stored = examples(run(task, ["weak"], progress=False)[0])
    for name in ("a.wav", "b.wav", "c.wav", "d.wav"):
        audio = read_mono(root / "audio/train/weak" / name, RATE)
        np.testing.assert_array_equal(
            stored[name]["features"], extract_features(audio, CNN, RATE, 2.0)
        )


def test_missing_clips_are_listed_in_a_readable_file(task, root):
    run(task, ["weak"], progress=False)
    path = store_folder(task, "weak") / ACCESS_ERRORS
    assert path.read_text() == "filename\treason\ne.wav\tno such file\n"
    assert read_names(path) == ["e.wav"]
    run(task, ["validation"], progress=False)
    assert not (store_folder(task, "validation") / ACCESS_ERRORS).exists()


def test_strong_clips_have_activity_events_and_tags(task):
    (store,) = run(task, ["validation"], progress=False)
    stored = examples(store)
    first = stored["v1.wav"]
    expected = np.zeros((100, 3))
    expected[round(0.11 * 50) : round(0.5 * 50) + 1, 1] = 1  # kong2019: both ends, halves to even
    expected[50:73, 0] = 1
    np.testing.assert_array_equal(first["activity"], expected)
    np.testing.assert_array_equal(first["events"], [[1, 0.11, 0.5], [0, 1.0, 1.43]])
    np.testing.assert_array_equal(first["tags"], [1, 1, 0])
    assert stored["v2.wav"]["labelled"] == 1
    assert not stored["v2.wav"]["activity"].any() and not stored["v2.wav"]["tags"].any()


@pytest.mark.parametrize("features", [CNN, CRNN], ids=["filled", "left"])
def test_padding_of_short_clips_is_masked(root, tmp_path, features):
    (store,) = run(Task(root, tmp_path, features=features), ["validation"], progress=False)
    activity = examples(store)["v3.wav"]["activity"]  # half a second: 25 frames
    assert len(activity) == (100 if features is CNN else 26)
    assert activity[10:25, 2].all() and (activity[25:] == -1).all() and (activity[:25] >= 0).all()


def test_unlabelled_clips_have_neither_tags_nor_activity(task):
    (store,) = run(task, ["unlabel_in_domain"], progress=False)
    example = examples(store)["u.wav"]
    assert (
        (example["tags"] == -1).all()
        and (example["activity"] == -1).all()
        and example["labelled"] == 0
    )


def test_clips_of_other_lengths_are_counted_in_the_log(task, caplog):
    with caplog.at_level(logging.INFO):
        run(task, ["weak"], progress=False)
    assert "weak: 1 clips are shorter, padded and masked to 2 s, such as c.wav" in caplog.text
    assert "weak: 1 clips are longer, cut to 2 s, such as d.wav" in caplog.text


def broken_copy(root, tmp_path):
    for name in ("a.wav", "b.wav"):
        write_clip(tmp_path / "audio/train/weak" / name)
    (tmp_path / "audio/train/weak/b.wav").write_bytes(b"no sound")
    write_metadata(
        tmp_path, "train/weak", "filename\tevent_labels\na.wav\tCat\nb.wav\tDog\nmissing.wav\tDog\n"
    )
    return tmp_path


def test_an_unreadable_clip_is_an_error_or_skipped(root, tmp_path, caplog):
    folder = broken_copy(root, tmp_path)
    strict = Task(folder, tmp_path / "features")
    with pytest.raises(DataError, match=r"Not a readable sound file: .*b\.wav"):
        run(strict, ["weak"], progress=False)
    assert not is_extracted(strict, "weak")
    lenient = DatasetConfig(**strict.dataset.model_dump() | {"skip_unreadable": True})
    task = Task(folder, tmp_path / "features", dataset=lenient)
    (store,) = run(task, ["weak"], progress=False)
    assert store.names() == ["a.wav"] and is_extracted(task, "weak")
    rows = (store_folder(task, "weak") / ACCESS_ERRORS).read_text().splitlines()
    assert [row.split("\t")[0] for row in rows] == ["filename", "b.wav", "missing.wav"]
    assert "Not a readable sound file" in rows[1] and "b.wav is left out" in caplog.text


def test_changed_labels_renew_only_their_shards(tmp_path):
    for name in "abcdef":
        write_clip(tmp_path / f"audio/train/weak/{name}.wav")
    rows = "".join(f"{name}.wav\tCat\n" for name in "abcde")
    write_metadata(tmp_path, "train/weak", f"filename\tevent_labels\n{rows}f.wav\tCat\n")
    task = Task(tmp_path, tmp_path / "features")
    run(task, ["weak"], progress=False)
    before = {
        path: path.stat().st_mtime_ns for path in store_folder(task, "weak").glob("*.wav.tfrecord")
    }
    write_metadata(tmp_path, "train/weak", f"filename\tevent_labels\n{rows}f.wav\tDog\n")
    (store,) = run(task, ["weak"], progress=False)
    assert [path.name for path in before if path.stat().st_mtime_ns != before[path]] == [
        "d.wav--f.wav.tfrecord"
    ]
    np.testing.assert_array_equal(examples(store)["f.wav"]["tags"], [0, 1, 0])


def test_a_store_is_refused_with_other_settings(task, root):
    run(task, ["weak", "validation"], progress=False)
    stores = [open_store(task, name, verify=True) for name in ("weak", "validation")]
    assert FeatureStore.joined(stores).groups == ["validation", "weak"]
    wide = Task(
        root, task.feature_dir, features=FeatureConfig(fmax_hz=8000, **SIZES | {"n_mels": 30})
    )
    with pytest.raises(DataError, match=r"features\.n_mels: 20 there, 30 now"):
        open_store(wide, "weak")


def test_settings_that_cannot_stand_together_are_refused_before_work_starts(root, tmp_path):
    with pytest.raises(ConfigError, match="mel bands reach 14000 Hz"):
        run(Task(root, tmp_path, features=FeatureConfig(**SIZES)), ["weak"], progress=False)
    short = DatasetConfig(classes=CLASSES, sample_rate_hz=RATE, clip_s=0.03)
    with pytest.raises(ConfigError, match="at least two frames"):
        run(Task(root, tmp_path, dataset=short), ["weak"], progress=False)
    assert not list(tmp_path.iterdir())


LINEAR = {"kind": "mel_desed", **SIZES, "hop_s": 0.016, "label_frames": 4}


@pytest.mark.parametrize("frontend", ["extraction", "device"])
def test_statistics_of_linear_kinds_are_those_of_levels(root, tmp_path, frontend):
    config = FeatureConfig(**LINEAR, frontend=frontend)
    task = Task(root, tmp_path, features=config)
    (store,) = run(task, ["validation"], progress=False)
    path = root / "audio/validation"
    clips = [
        magnitude_db(
            extract_features(read_mono(path / f"v{number}.wav", RATE), config, RATE, 2.0),
            config.levels,
        )
        for number in (1, 2, 3)
    ]
    mean, std = store.statistics()
    both = np.concatenate(clips).astype(np.float64)
    np.testing.assert_allclose(mean, both.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(std, both.std(axis=0), rtol=1e-4)
    record = store.record(["validation"], "v1.wav")
    assert ("features" in record, "audio" in record) == (frontend != "device", frontend == "device")
    assert "levels" not in record


def test_labels_are_held_for_the_frames_of_an_output(root, tmp_path):
    task = Task(root, tmp_path, features=FeatureConfig(**LINEAR))
    (store,) = run(task, ["validation"], progress=False)
    activity = store.record(["validation"], "v1.wav")["activity"]
    assert len(activity) == 126  # and the last frame, centred on the end, is padding
    dog = np.zeros(126, int)
    dog[4 * 1 : 4 * 8] = 1  # 0.11 to 0.5 s in frames of 64 ms
    dog[125] = -1
    np.testing.assert_array_equal(activity[:, 1], dog)
