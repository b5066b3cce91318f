"""Exported systems predict as Keras does, in every format."""

import sys

import numpy as np
import pytest

from common.cli.export import main
from common.inference.export import ENDINGS, export, in_float32, runner
from common.training.ensemble import Ensemble, scored_stages
from tests.runs import (
    CNN,
    CRNN,
    SEGMENTATION,
    SELDNET,
    TWO_STAGE,
    task_of,
    untrained_stages,
    write_run,
)

DEVICE = {"features__frontend": "device"}
# Long transforms take long to convert to ONNX.
SHORT_AUDIO = {"dataset__sample_rate_hz": 8000, "features__n_fft": 512, "features__fmax_hz": 4000}
SHORT_TRANSFORMS = {
    "features__sample_rate_hz": 8000,
    "features__n_fft": 512,
    "features__gcc_n_fft": 512,
    "features__n_mels": 16,
    "network__architecture": "vgg9",
}
SMALL_SELDNET = SELDNET | {
    "dataset__sample_rate_hz": 16000,
    "features__n_fft": 1024,
    "network__pool_bands": "[8]",
    "network__pool_frames": "[5]",
}
SYSTEMS = {
    "seldnet": ("demo", SMALL_SELDNET | {"training__augmentation": "none"}, {"sed", "doa"}),
    "crnn": ("crnn-demo", CRNN, {"clip", "frames"}),
    "cnn": ("cnn9-demo", CNN, {"clip", "frames"}),
    "segmentation": ("segmentation-demo", SEGMENTATION, {"clip", "masks"}),
    "seldnet, audio": ("demo", SELDNET | DEVICE | SHORT_AUDIO, {"sed", "doa"}),
    "two stages, audio": ("two-stage-demo", TWO_STAGE | DEVICE | SHORT_TRANSFORMS, {"sed", "doa"}),
    "crnn, audio": (
        "crnn-demo",
        CRNN | DEVICE | SHORT_AUDIO | {"pipeline__padding": "repeat"},
        {"clip", "frames"},
    ),
    "cnn, audio": ("cnn9-demo", CNN | DEVICE | SHORT_AUDIO, {"clip", "frames"}),
    "segmentation, audio": (
        "segmentation-demo",
        SEGMENTATION | DEVICE | SHORT_AUDIO | {"features__n_fft": 1024},
        {"clip", "masks"},
    ),
}
RECURRENT = {"seldnet", "crnn", "seldnet, audio", "crnn, audio"}
# Their networks are exported in the suite too, with the other input or by another system.
LONG = {"cnn", "seldnet, audio", "crnn, audio", "segmentation, audio"}


def batch_of(system: Ensemble, n: int, frames: int, seed: int) -> np.ndarray:
    """Noise around the statistics of the features, or of 16 bits."""
    (_, model), *_ = system.stages
    rng, tail = np.random.default_rng(seed), model.input_shape[2:]
    if model.inputs[0].dtype == "int16":
        return rng.integers(-3000, 3000, (n, 400 * frames, *tail)).astype(np.int16)
    return rng.normal(-40, 20, (n, frames, *tail)).astype(np.float32)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.soak) if name in LONG else name for name in SYSTEMS],
)
def test_an_exported_system_predicts_as_keras_for_any_size(tmp_path, name):
    task_id, settings, outputs = SYSTEMS[name]
    trained = untrained_stages(task_of(task_id, tmp_path, **settings))
    wanted = [stage.name for stage in scored_stages([stage for stage, _ in trained])]
    system = Ensemble([[(stage, model) for stage, model in trained if stage.name in wanted]])
    batches = [batch_of(system, n, frames, n) for n, frames in ((1, 64), (2, 96))]
    for target in ENDINGS:
        export(system, tmp_path / target, target)
        run = runner(tmp_path / target, target)
        for batch in batches[: 1 if target == "litert" and name in RECURRENT else None]:
            expected, received = system.predict_on_batch(batch), run(batch)
            assert set(received) == outputs
            for output in outputs:
                assert expected[output].std() > 1e-3
                np.testing.assert_allclose(
                    received[output], expected[output], atol=2e-4, err_msg=f"{target} {output}"
                )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return write_run(task_of("cnn9-demo", folder, **CNN), folder / "run")


def test_the_command_logs_the_difference_to_keras(run, capsys, caplog):
    with caplog.at_level("INFO"):
        assert main([str(run), "--format", "litert"]) == 0
    assert (run / "model.tflite").stat().st_size > 1000
    assert "`features` float32 (any, any, 64, 1) to clip, frames" in caplog.text
    assert "Largest difference to Keras: clip " in caplog.text


def test_a_failed_export_gives_the_reason_and_leaves_nothing(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "there").mkdir()
    cases = {
        (
            "--format",
            "saved_model",
            "--out",
            str(tmp_path / "there"),
        ): "exists and is not overwritten",
        ("--format", "litert", "--stage", "doa"): "--stage: expected one of cnn. Received: doa",
        ("--format", "litert", "--fold", "fold1"): "--fold: expected nothing",
    }
    for options, message in cases.items():
        assert main([str(run), *options]) == 2
        assert message in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # Python then takes it for missing
    assert main([str(run), "--format", "onnx", "--out", str(tmp_path / "a.onnx")]) == 2
    assert 'pip install ".[export]"' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_models_of_mixed_precision_are_exported_in_float32():
    import keras

    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((None, 4), dtype="float32")
        model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(inputs))
    finally:
        keras.config.set_dtype_policy("float32")
    plain = in_float32(model)
    assert (
        model.get_layer("dense").compute_dtype == "bfloat16"
        and plain.get_layer("dense").compute_dtype == "float32"
    )
    np.testing.assert_array_equal(plain.get_layer("dense").kernel, model.get_layer("dense").kernel)
    assert in_float32(plain) is plain
