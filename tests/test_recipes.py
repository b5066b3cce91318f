"""docs/export.md: recipes of features, and a script that runs ONNX models without this project."""

import subprocess
import sys
import types

import numpy as np
import pytest
import soundfile

import sed_task4.features
import seld.features
from common.cli.export import main
from common.features.settings import as_frontend
from common.inference import load_run
from common.inference.export_metadata import feature_facts
from tests.documents import ROOT, blocks
from tests.patience import PATIENCE_S
from tests.runs import CNN, SELDNET, noises, task_of, write_run

RECIPES, SCRIPT = (
    content
    for language, content in blocks((ROOT / "docs" / "export.md").read_text(encoding="utf-8"))
    if language == "python"
)
MODULES = {"seld": seld.features, "sed_task4": sed_task4.features}
KINDS = [(family, kind) for family, module in MODULES.items() for kind in module.KINDS]


PHASES = ("magnitude_phase", "salsa_lite_2022", "salsa_lite", "salsa_ipd")
# Of each bin, also of those with almost no energy, which extraction computes in float32.
OF_QUIET_BINS = ("magnitude_phase", "logmel_intensity_2020", "einv2", "melspeciv", "linspeciv")
ONNX_CASES = [
    ("cnn9-demo", ["--with-frontend"]),
    pytest.param("demo", [], marks=pytest.mark.soak),
    pytest.param("cnn9-demo", [], marks=pytest.mark.soak),
    pytest.param("demo", ["--with-frontend"], marks=pytest.mark.soak),
]


@pytest.fixture(scope="module")
def recipes():
    module = types.ModuleType("feature_recipes")
    exec(RECIPES, module.__dict__)
    return module


@pytest.mark.parametrize(("family", "kind"), KINDS)
def test_recipes_equal_the_features_of_extraction(recipes, family, kind):
    module = MODULES[family]
    features, rate_hz = module.FeatureConfig(kind=kind), 24000 if family == "seld" else 16000
    rate_hz = 44100 if kind == "mel_2019" else rate_hz
    if features.fmax_hz is not None and features.fmax_hz > rate_hz / 2:
        features = module.FeatureConfig(kind=kind, fmax_hz=rate_hz / 2)
    channels = 4 if family == "seld" else 1
    audio = np.random.default_rng(3).normal(0, 0.1, (rate_hz, channels)).astype(np.float32)
    arguments = {"dtype": "float32"} if family == "seld" else {}
    expected = module.compute_features(audio, features, rate_hz, **arguments)
    facts = feature_facts(as_frontend(features, rate_hz, channels))
    found = recipes.features_of(audio, facts)
    assert found.shape == expected.shape
    largest = np.maximum(np.abs(expected).max(axis=(0, 1)), 1e-9)
    difference = np.abs(found - expected.astype(np.float32))
    if kind in PHASES:  # the phases of symmetric frames are pi or -pi, as rounding has it
        turn = np.full((expected.shape[1], 1), 2 * np.pi if kind == "magnitude_phase" else 2.0)
        if kind != "salsa_ipd" and kind != "magnitude_phase":  # a wavelength at 343 m/s
            lower = recipes.bin_range(facts)[0]
            bins = lower + np.arange(expected.shape[1])[:, None]
            turn = 343 * facts["n_fft"] / (rate_hz * bins)
        spatial = difference[..., channels:]
        difference[..., channels:] = np.minimum(spatial, np.abs(turn - spatial))
    difference = difference / largest
    assert np.mean(difference <= 1e-4) > 0.999
    assert difference.max() <= (5e-4 if kind in OF_QUIET_BINS else 1e-4)


@pytest.mark.parametrize(("task_id", "options"), ONNX_CASES)
def test_the_script_runs_an_onnx_model_as_keras(tmp_path, task_id, options):
    for name in ("tf2onnx", "onnxruntime"):
        pytest.importorskip(name)
    sizes = {"dataset__sample_rate_hz": 8000, "features__n_fft": 512}
    own = SELDNET | {"training__augmentation": "none"}
    settings = own if task_id == "demo" else CNN | {"features__fmax_hz": 4000}
    task = task_of(task_id, tmp_path, **settings, **sizes)
    run, channels = write_run(task, tmp_path / "run"), task.audio_channels or 1
    exported = ["--format", "onnx", "--out", str(tmp_path / "model.onnx")]
    assert main([str(run), *exported, *options]) == 0
    audio = np.round(noises(2.0, 8000, channels) * 32768) / 32768
    soundfile.write(tmp_path / "a.wav", audio, 8000, "PCM_16")
    for name, text in (("feature_recipes", RECIPES), ("run_onnx", SCRIPT)):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "run_onnx.py", "model.onnx", "a.wav", "out.npz"]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert result.returncode == 0, result.stderr
    predictor = load_run(run, fold=next(iter(task.fold_names), None)).predictor
    features = predictor.prepare(predictor.compute(audio.astype(np.float32))["features"])
    expected = predictor.models.predict_on_batch(features[None].astype(np.float32))
    with np.load(tmp_path / "out.npz") as found:
        assert set(found) == set(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=5e-3, err_msg=name)
