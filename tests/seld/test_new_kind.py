"""A new kind of features is one entry of the table: settings, shards, training, figures, report."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.audio.files import from_int16, to_int16
from common.cli.report import main as report
from common.errors import ConfigError
from common.features import spectral
from common.features.kinds import (
    FeatureKind,
    FeatureSizes,
    feature_kinds,
    kind_named,
    mel_bands_per_channel,
)
from common.features.settings import as_frontend
from common.models.audio_features import AudioFeatures
from common.settings.tasks import load_task
from seld.cli import main
from seld.features import KINDS, FeatureConfig, extract_features
from tests.documents import ROOT, blocks

PARAMS = ROOT / "params.yaml"
SMALL = {
    "features.kind": "root_mel",
    "simulation.preset": "fixture",
    "simulation.duration_s": 2.0,
    "simulation.overlaps": "[1]",
    "simulation.recordings_per_split": "{1: 1, 2: 1}",
    "folds": "[{name: fold1, train: [1], validate_on: [], test: [2]}]",
    "dataset.recording_s": 2.0,
    "dataset.classes": "[knock, speech]",
    "network.n_filters": 4,
    "network.pool_bands": "[8]",
    "network.pool_frames": "[5]",
    "network.gru_units": "[]",
    "network.dense_units": "[8]",
    "pipeline.sequence_frames": 25,
    "pipeline.batch_size": 4,
    "training.augmentation": "none",
    "training.epochs": 1,
    "parallel.jobs": 1,
}


def root_mel(audio: np.ndarray, sizes: FeatureSizes, n_frames: int, dtype: str) -> np.ndarray:
    """Cube root of the power in mel bands of audio (S, C): (T, bands, C)."""
    power = np.abs(spectral.stft(audio, sizes, n_frames)) ** 2  # (T, F, C)
    bands = np.einsum("tfc,fb->tbc", power, sizes.filters)  # (T, bands, C)
    return np.cbrt(bands).astype(dtype)


def root_mel_on_device(layer: Any, samples: Any) -> Any:
    """The same in the model, of samples (B, C, S): (B, C, T, bands)."""
    real, imag = layer.spectra(samples)
    return layer.mel_bands(real**2 + imag**2) ** (1 / 3)


ROOT_MEL = FeatureKind(
    name="root_mel",
    shape=mel_bands_per_channel,
    compute=root_mel,
    device=root_mel_on_device,
    titles=lambda names: [f"{name}, cube root of power" for name in names],
    level_db=lambda features: 30 * np.log10(np.maximum(features[..., 0], 1e-3)),
    defaults={"n_fft": 2048, "n_mels": 32},
)


@pytest.fixture
def root_mel_kind(monkeypatch):
    monkeypatch.setitem(KINDS, "root_mel", ROOT_MEL)


def test_a_kind_in_one_entry_is_extracted_trained_and_drawn(tmp_path, root_mel_kind):
    folders = {f"{name}_dir": tmp_path / name for name in ("dataset", "feature", "output")}
    options = [f"--set={key}={value}" for key, value in (SMALL | folders).items()]
    assert main(["demo", "new", *options, "--params", str(PARAMS)]) == 0
    run = tmp_path / "output" / "demo_new"
    assert (tmp_path / "feature" / "foa_dev_root_mel").is_dir()
    assert len(list(run.glob("**/features.png"))) and (run / "scores.json").is_file()
    assert report([str(run)]) == 0
    assert "root_mel" in (run / "report.html").read_text(encoding="utf-8")


def test_the_page_shows_the_entry_and_all_fields():
    page = (ROOT / "docs" / "adding-features.md").read_text(encoding="utf-8")
    assert dict(blocks(page))["python"] in Path(__file__).read_text(encoding="utf-8")
    fields = {each.name for each in dataclasses.fields(FeatureKind)}
    rows = re.findall(r"^\| (`\w.*?`) \|", page, re.M)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == fields


def test_the_model_computes_a_new_kind_as_extraction_does(root_mel_kind):
    features = FeatureConfig(kind="root_mel", frontend="device")
    assert (features.n_mels, features.stored_dtype) == (32, "float32")
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (24000, 4))
    audio = from_int16(to_int16(noise))
    expected, frontend = extract_features(audio, features, 48000), as_frontend(features, 48000, 4)
    pieces = frontend.pieces(audio, len(expected)).reshape(1, -1, 4)
    np.testing.assert_allclose(AudioFeatures(frontend)(pieces)[0], expected, rtol=1e-3)


@pytest.mark.parametrize("part", ["shape", "compute"])
def test_a_kind_that_lacks_a_required_part_is_named(part):
    parts = {"shape": mel_bands_per_channel, "compute": root_mel}
    del parts[part]
    with pytest.raises(ConfigError, match=f"'incomplete' lacks `{part}`"):
        FeatureKind(name="incomplete", **parts)


def test_a_kind_without_a_device_part_is_refused_there(monkeypatch):
    extracted = FeatureKind(name="extracted", shape=mel_bands_per_channel, compute=root_mel)
    monkeypatch.setitem(KINDS, "extracted", extracted)
    assert FeatureConfig(kind="extracted").entry is extracted
    with pytest.raises(ValueError, match="`frontend: device` cannot compute extracted"):
        FeatureConfig(kind="extracted", frontend="device")


def test_two_kinds_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="Two kinds of features have the name 'logmel'"):
        feature_kinds(FeatureKind(name="logmel", shape=mel_bands_per_channel, compute=root_mel))


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"features\.kind.*logmel_intensity.*Received: 'mfcc'"):
        load_task(PARAMS, "1", ["features.kind=mfcc"])
    of_both = r"(?=.*logmel_gcc)(?=.*log_magnitude_mel).*Received: 'mfcc'"  # in any order
    with pytest.raises(ConfigError, match=of_both):
        kind_named("mfcc")


def test_the_schema_lists_the_kinds_of_the_table(root_mel_kind):
    assert FeatureConfig.model_json_schema()["properties"]["kind"]["enum"] == list(KINDS)
