"""Metadata of exported models, and models of audio made of runs on stored features."""

import json
import zipfile

import numpy as np
import pytest

from benchmarks.recordings import write_settings
from common.cli.export import main
from common.features.settings import as_frontend
from common.inference import load_run
from common.inference.export import ENDINGS, runner
from common.inference.export_metadata import read_metadata
from tests.runs import CNN, SELDNET, noises, task_of, write_run

RATE_HZ = 8000
CLIPS = CNN | {
    "dataset__sample_rate_hz": RATE_HZ,
    "features__n_fft": 512,
    "features__fmax_hz": 4000,
}
ARRAY = SELDNET | {
    "dataset__sample_rate_hz": RATE_HZ,
    "features__n_fft": 512,
    "training__augmentation": "none",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return write_run(task_of("cnn9-demo", folder, **CLIPS), folder / "run")


@pytest.mark.parametrize("target", ENDINGS)
def test_every_format_holds_the_same_metadata(run, tmp_path, target):
    if target == "onnx":
        pytest.importorskip("tf2onnx")
    path = tmp_path / f"model{ENDINGS[target]}"
    assert main([str(run), "--format", target, "--out", str(path)]) == 0
    found, task = read_metadata(path), task_of("cnn9-demo", tmp_path, **CLIPS)
    assert found["classes"] == list(task.dataset.classes)
    assert (found["sample_rate_hz"], found["family"], found["system"]) == (8000, "sed_task4", "cnn")
    assert found["hop_s"] == pytest.approx(task.features.hop_s)
    assert found["features"]["kind"] == task.features.kind and found["features"]["n_fft"] == 512
    assert found["input"]["axes"] == ["batch", "frames", "bands", "channels"]
    assert found["outputs"]["frames"]["axes"] == ["batch", "frames", "classes"]
    assert found["outputs"]["clip"]["unit"] == "probability"
    assert found["decoding"]["decoding.high_threshold"] == task.decoding.high_threshold


def test_archives_of_litert_are_read_without_this_project(run, tmp_path):
    path = tmp_path / "model.tflite"
    assert main([str(run), "--format", "litert", "--out", str(path)]) == 0
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("metadata.json")) == read_metadata(path)


@pytest.mark.parametrize(("task_id", "settings"), [("cnn9-demo", CLIPS), ("demo", ARRAY)])
def test_a_model_with_frontend_equals_features_and_model(tmp_path, task_id, settings):
    task = task_of(task_id, tmp_path, **settings)
    folder, path = write_run(task, tmp_path / "run"), tmp_path / "audio.tflite"
    options = ["--format", "litert", "--out", str(path), "--with-frontend"]
    assert main([str(folder), *options]) == 0
    channels = task.audio_channels or 1
    audio = np.round(noises(3.0, RATE_HZ, channels) * 32768) / 32768  # exact in 16 bits
    predictor = load_run(folder, fold=next(iter(task.fold_names), None)).predictor
    features = predictor.compute(audio.astype(np.float32))["features"].astype(np.float32)
    frontend = as_frontend(task.features, RATE_HZ, channels)
    pieces = frontend.pieces(audio, len(features)).reshape(1, -1, channels)
    expected = predictor.models.predict_on_batch(features[None])
    received = runner(path, "litert")(pieces)
    assert read_metadata(path)["input"]["axes"] == ["batch", "samples", "channels"]
    assert set(received) == set(expected)
    for name, values in expected.items():
        assert values.std() > 1e-3
        np.testing.assert_allclose(received[name], values, atol=5e-3, err_msg=name)


def test_features_that_models_cannot_compute_are_refused(tmp_path, capsys):
    settings = SELDNET | {"features__kind": "salsa_foa", "training__augmentation": "none"}
    task = task_of("demo", tmp_path, **settings)
    (tmp_path / "run").mkdir()
    write_settings(task, tmp_path / "run")
    options = ["--format", "litert", "--with-frontend", "--out", str(tmp_path / "a.tflite")]
    assert main([str(tmp_path / "run"), *options]) == 2
    assert "cannot compute salsa_foa" in capsys.readouterr().err
    assert not (tmp_path / "a.tflite").exists()
