"""Embeddings of another model: HDF5 and .npz files, their faults, and their way into batches."""

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pytest

from common.audio.files import write_wav
from common.data.pipeline import train_stream
from common.data.selection import Selection
from common.data.sequences import SequenceFormat
from common.errors import DataError
from common.settings.parallel import ParallelConfig
from common.settings.pipeline import PipelineConfig
from sed_task4.clips.embeddings import EmbeddingsConfig, find_embeddings, read_embeddings
from sed_task4.clips.layouts import MAESTRO_CLASSES
from sed_task4.clips.published import CHALLENGE_CLASSES
from sed_task4.dataset import DatasetConfig
from sed_task4.extraction import open_store, run, store_folder
from sed_task4.features import FeatureConfig

STEMS = ["Ya_0.000_10.000", "Yb_30.000_40.000", "c"]
L, D = 5, 3
VALUES = np.arange(len(STEMS) * L * D).reshape(len(STEMS), L, D).astype(np.float32) / 8


def config(folder: Path, **changes) -> EmbeddingsConfig:
    return EmbeddingsConfig(**{"folder": folder, "width": D, "frames": L} | changes)


def write_hdf5(path: Path, stems=STEMS, values=VALUES, names="filenames", suffix=".wav"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file[names] = [stem + suffix for stem in stems]
        file["frame_embeddings"] = values
    return path


@pytest.mark.parametrize("order", ["published", "by_frame"])
@pytest.mark.parametrize("name", ["weak.hdf5", "weak.h5", "weak_train.hdf5"])
def test_hdf5_files_of_a_subset_are_read_by_name(tmp_path, order, name):
    stored = VALUES.transpose(0, 2, 1) if order == "published" else VALUES
    write_hdf5(tmp_path / name, STEMS[::-1], stored[::-1], suffix="" if "h5" in name else ".wav")
    settings = config(tmp_path)
    places = find_embeddings(settings, "weak", STEMS)
    for stem, expected in zip(STEMS, VALUES, strict=True):
        found = read_embeddings(places[stem], settings)
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, expected)


def test_npz_files_of_clips_are_read_by_name(tmp_path):
    (tmp_path / "weak").mkdir()
    for stem, values in zip(STEMS, VALUES, strict=True):
        np.savez(tmp_path / "weak" / f"{stem}.npz", frame_embeddings=values.T)
    settings = config(tmp_path, dtype="float32")
    places = find_embeddings(settings, "weak", STEMS)
    found = [read_embeddings(places[stem], settings) for stem in STEMS]
    np.testing.assert_array_equal(found, VALUES)
    assert found[0].dtype == np.float32


def test_two_files_of_a_divided_subset_are_read_together(tmp_path):
    write_hdf5(tmp_path / "weak_train.hdf5", STEMS[:2], VALUES[:2])
    write_hdf5(tmp_path / "weak_val.hdf5", STEMS[2:], VALUES[2:])
    settings = config(tmp_path)
    places = find_embeddings(settings, "weak", STEMS)
    np.testing.assert_array_equal(read_embeddings(places["c"], settings), VALUES[2])


def test_square_embeddings_are_in_the_published_order(tmp_path):
    square = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    write_hdf5(tmp_path / "weak.hdf5", STEMS[:1], square)
    settings = config(tmp_path, frames=3)
    (place,) = find_embeddings(settings, "weak", STEMS[:1]).values()
    np.testing.assert_array_equal(read_embeddings(place, settings), square[0].T)


def test_clips_without_embeddings_are_named_and_counted(tmp_path):
    write_hdf5(tmp_path / "weak.hdf5", STEMS[:1], VALUES[:1])
    with pytest.raises(DataError, match=r"weak: 2 of 3 clips .* Yb_30\.000_40\.000, c\. Expected"):
        find_embeddings(config(tmp_path), "weak", STEMS)
    (tmp_path / "validation").mkdir()
    with pytest.raises(DataError, match="validation: 3 of 3 clips"):
        find_embeddings(config(tmp_path), "validation", STEMS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 4}, r"another length or width\. Expected: 5 frames of 4.*Received: \(5, 3\)"),
        ({"frames": 6}, r"Expected: 6 frames of 3 numbers.*Received: \(5, 3\)"),
    ],
)
def test_another_length_or_width_is_refused(tmp_path, changes, message):
    write_hdf5(tmp_path / "weak.hdf5")
    with pytest.raises(DataError, match=message):
        find_embeddings(config(tmp_path, **changes), "weak", STEMS)
    (tmp_path / "own/weak").mkdir(parents=True)
    np.savez(tmp_path / "own/weak/c.npz", frame_embeddings=VALUES[0])
    settings = config(tmp_path / "own", **changes)
    (place,) = find_embeddings(settings, "weak", ["c"]).values()
    with pytest.raises(DataError, match=message):
        read_embeddings(place, settings)


def test_absent_damaged_and_odd_files_are_refused(tmp_path):
    settings = config(tmp_path)
    with pytest.raises(DataError, match=r"no embeddings in .*weak\.hdf5 or a folder weak/.*empty"):
        find_embeddings(settings, "weak", STEMS)
    with pytest.raises(DataError, match="no such folder"):
        find_embeddings(config(tmp_path / "none"), "weak", STEMS)
    path = tmp_path / "weak.hdf5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(DataError, match=r"weak\.hdf5 cannot be used\. Expected: an HDF5 file"):
        find_embeddings(settings, "weak", STEMS)
    write_hdf5(path, names="other")
    with pytest.raises(DataError, match="cannot be used"):
        find_embeddings(settings, "weak", STEMS)
    write_hdf5(path, [*STEMS[:2], STEMS[0]])
    with pytest.raises(DataError, match=r"1 clip\(s\) are in it more than once: Ya_0"):
        find_embeddings(settings, "weak", STEMS[:2])
    write_hdf5(path, STEMS[:2])
    with pytest.raises(DataError, match="2 names, 3 rows"):
        find_embeddings(settings, "weak", STEMS)


@pytest.mark.parametrize("value", [np.nan, 1e6])
def test_values_that_cannot_be_stored_are_refused(tmp_path, value):
    write_hdf5(tmp_path / "weak.hdf5", values=np.full_like(VALUES, value))
    settings = config(tmp_path)
    place = find_embeddings(settings, "weak", STEMS)["c"]
    with pytest.raises(DataError, match="not finite, or too large for float16"):
        read_embeddings(place, settings)


FEATURES = FeatureConfig(fmax_hz=8000, n_fft=512, window_s=0.032, n_mels=8, hop_s=0.02)


@dataclass(frozen=True)
class Task:
    dataset_dir: Path
    feature_dir: Path
    dataset: DatasetConfig
    features: FeatureConfig = FEATURES
    pipeline: PipelineConfig = field(default_factory=lambda: PipelineConfig(recordings_per_shard=2))
    parallel: ParallelConfig = field(default_factory=lambda: ParallelConfig(jobs=1))


@pytest.mark.parametrize("form", ["hdf5", "npz"])
def test_extraction_stores_them_and_batches_hold_them(tmp_path, form):
    root, folder = tmp_path / "data", tmp_path / "beats"
    for number, stem in enumerate(STEMS):
        audio = np.random.default_rng(number).uniform(-0.1, 0.1, (16000, 1))
        (root / "audio/train/weak").mkdir(parents=True, exist_ok=True)
        write_wav(root / "audio/train/weak" / f"{stem}.wav", audio, 16000)
    rows = "".join(f"{stem}.wav\tDog\n" for stem in STEMS)
    (root / "metadata/train").mkdir(parents=True)
    (root / "metadata/train/weak.tsv").write_text("filename\tevent_labels\n" + rows)
    if form == "hdf5":
        write_hdf5(folder / "weak_train.hdf5")
    for stem, values in zip(STEMS, VALUES, strict=True):
        (folder / "weak").mkdir(parents=True, exist_ok=True)
        np.savez(folder / "weak" / f"{stem}.npz", frame_embeddings=values)
    dataset = DatasetConfig(
        layout="desed2024",
        classes=(*CHALLENGE_CLASSES, *MAESTRO_CLASSES),
        sample_rate_hz=16000,
        clip_s=1.0,
        embeddings=config(folder),
    )
    task = Task(root, tmp_path / "features", dataset)
    (store,) = run(task, ["weak"], progress=False)
    assert store_folder(task, "weak").name == "desed2024_weak_logmel_db_with_beats"
    assert open_store(task, "weak").names() == store.names()
    n_frames = store.frames()[0]
    form_of = SequenceFormat({"clip": ("tags",)}, inputs=("embeddings", "valid_classes"))
    settings = PipelineConfig(sequence_frames=n_frames, batch_size=1)
    seen = set()
    stream = train_stream(Selection(store), form_of, settings, seed=0)
    for inputs, targets in stream.take(3).as_numpy_iterator():
        (row,) = [n for n, values in enumerate(VALUES) if (values == inputs["embeddings"][0]).all()]
        seen.add(row)
        assert inputs["valid_classes"][0].tolist() == [1] * 10 + [0] * 17
        assert (targets["clip"][0, 10:] == -1).all() and targets["clip"][0, 4] == 1
    assert seen == {0, 1, 2}
    if form == "npz":
        np.savez(folder / "weak" / "c.npz", frame_embeddings=VALUES[0])
    else:
        write_hdf5(folder / "weak_train.hdf5", [*STEMS, "d"], VALUES[[0, 1, 2, 2]])
    with pytest.raises(DataError, match="made of other recordings"):
        open_store(task, "weak")
