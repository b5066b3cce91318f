"""Records of mixtures against their sound files and lists."""

from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from common.data.tfrecord import read_shard
from common.errors import DataError
from common.settings.parallel import ParallelConfig
from common.settings.pipeline import PipelineConfig
from sed_task4.features import FeatureConfig, extract_features
from sed_task4.segmentation.dataset import (
    DatasetConfig,
    Mixture,
    MixtureEvent,
    audio_folder,
    format_mixtures,
)
from sed_task4.segmentation.extraction import is_extracted, open_store, run, store_folder

RATE = 8000
DATASET = DatasetConfig(
    classes=("Bark", "Meow"),
    sample_rate_hz=RATE,
    clip_s=2.0,
    n_folds=2,
    events_per_mixture=1,
    event_s=1.0,
)


@pytest.fixture
def task(tmp_path):
    """Two given mixtures, one per fold, in a dataset without their sounds."""
    mixtures = [
        Mixture(
            "00000.wav",
            1,
            audio_folder(tmp_path, DATASET) / "00000.wav",
            "park.wav",
            (MixtureEvent("a.wav", "Meow", 0.5, 1.25),),
        ),
        Mixture("00001.wav", 2, audio_folder(tmp_path, DATASET) / "00001.wav", "park.wav", ()),
    ]
    audio_folder(tmp_path, DATASET).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for mixture in mixtures:
        soundfile.write(
            mixture.audio_path, 0.1 * rng.normal(size=(2 * RATE, 2)), RATE, subtype="PCM_16"
        )
    (tmp_path / "mixtures" / "mixture.yaml").write_text(format_mixtures(mixtures))
    return SimpleNamespace(
        dataset_dir=tmp_path,
        feature_dir=tmp_path / "features",
        dataset=DATASET,
        features=FeatureConfig(
            kind="ln_mel_density", window_s=0.064, hop_s=0.032, n_fft=512, n_mels=12
        ),
        pipeline=PipelineConfig(recordings_per_shard=4),
        parallel=ParallelConfig(jobs=1),
    )


@pytest.fixture
def store(task, monkeypatch):
    monkeypatch.setattr(
        "sed_task4.segmentation.mixing.run", lambda task: None
    )  # there is nothing to mix
    return run(task, progress=False)[0]


def test_each_fold_is_a_group_of_its_own(task, store):
    assert store.groups == ["1", "2"] and store.names(["1"]) == ["00000.wav"]
    assert store_folder(task, "mixtures").name == "mixtures_dcase2018_task1_snr0"
    assert is_extracted(task, "mixtures") and open_store(task, "mixtures").names() == [
        "00000.wav",
        "00001.wav",
    ]


def test_a_record_has_features_of_the_mean_and_all_labels(task, store):
    record = next(iter(read_shard(store.shards(["1"])[0], store.schema)))
    audio = soundfile.read(audio_folder(task.dataset_dir, DATASET) / "00000.wav", dtype="float32")[
        0
    ]
    expected = extract_features(audio.mean(axis=1, keepdims=True), task.features, RATE, 2.0)
    np.testing.assert_allclose(record["features"], expected)
    assert record["features"].shape == (61, 12, 1)  # (2 - 0.032) / 0.032
    assert record["tags"].tolist() == [0, 1] and record["events"].tolist() == [[1, 0.5, 1.25]]
    assert np.flatnonzero(record["activity"][:, 1]).tolist() == list(
        range(15, 40)
    )  # 0.5 and 1.25 s at 31.25 / s
    assert record["labelled"] == 1


def test_a_mixture_without_events_has_labels_too(store):
    record = next(iter(read_shard(store.shards(["2"])[0], store.schema)))
    assert (
        record["events"].shape == (0, 3)
        and not record["activity"].any()
        and record["labelled"] == 1
    )


def test_features_of_other_settings_are_refused(task, store):
    task.features = task.features.model_copy(update={"n_mels": 13})
    with pytest.raises(DataError, match=r"other settings: features\.n_mels: 12 there, 13 now"):
        open_store(task, "mixtures")
