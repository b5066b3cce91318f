"""Writes a trained system in a form that other programs run: SavedModel, ONNX or LiteRT.

The statistics of the training data are inside: the model takes raw features, or 16-bit audio if it
computes them itself. Stages that are scored together, such as those of the two-stage system,
become one model with all outputs.
"""

import contextlib
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from common.errors import ConfigError, DataError
from common.features.frontend import AUDIO, Frontend
from common.inference.export_metadata import EXTRA, FILE, json_of, texts_of, with_archive
from common.io.files import storage_error, write_bytes
from common.runtime.optional import optional_module
from common.runtime.quiet import stderr_discarded

if TYPE_CHECKING:
    from common.training.ensemble import Ensemble

logger = logging.getLogger(__name__)
Format = Literal["saved_model", "onnx", "litert"]
ENDINGS: dict[Format, str] = {"saved_model": "_saved_model", "onnx": ".onnx", "litert": ".tflite"}
INPUTS = {"int16": "audio", "float32": "features"}  # names of the input by its type
_OPSET = 18
_ONNX_PACKAGES = ("onnx", "onnxruntime", "tf2onnx")
Runner = Callable[[np.ndarray], dict[str, np.ndarray]]


def in_float32(model: Any) -> Any:
    """The same Keras model with layers that compute in float32."""
    import keras

    text = model.to_json()
    plain = text.replace('"mixed_bfloat16"', '"float32"').replace('"mixed_float16"', '"float32"')
    if plain == text:
        return model
    copy = keras.models.model_from_json(plain)
    copy.set_weights(model.get_weights())
    return copy


def export(
    system: "Ensemble", path: Path, target: Format, metadata: Mapping[str, Any] | None = None
) -> None:
    """Writes a system, finished or not at all.

    Args:
        system: its models; nothing of them is changed.
        path: file, or folder of a SavedModel, which must not be there yet.
        target: the format.
        metadata: see `common.inference.export_metadata.metadata_of`; None: none are written.

    Raises:
        ConfigError: a package is missing, or the format cannot hold the system.
        DataError: the disk is full, the folder exists or cannot be written to.
    """
    check_packages(target)
    if target == "saved_model":
        with _new_folder(path) as folder:
            _save(_function(system), folder)
            if metadata is not None:
                (folder / EXTRA).mkdir()
                (folder / EXTRA / FILE).write_text(json_of(metadata), encoding="utf-8")
    elif target == "onnx":
        write_bytes(path, _onnx(system, metadata or {}))
    else:
        content = _litert(system)
        write_bytes(path, content if metadata is None else with_archive(content, metadata))


def of_audio(system: "Ensemble", frontend: Frontend) -> "Ensemble":
    """The same system with the features before it: it takes 16-bit audio (B, S, C).

    Args:
        system: models of features (B, T, F, C).
        frontend: the features.
    """
    import keras

    from common.models.audio_features import FRONTEND, AudioFeatures
    from common.training.ensemble import Ensemble

    def joined(model: Any) -> Any:
        audio = keras.Input((None, frontend.channels), name=AUDIO, dtype="int16")
        return keras.Model(audio, model(AudioFeatures(frontend, name=FRONTEND)(audio)))

    return Ensemble([[(stage, joined(model)) for stage, model in system.stages]])


def runner(path: Path, target: Format) -> Runner:
    """Opens an exported system with the program it is meant for.

    Returns:
        From features (B, T, F, C), or audio (B, S, C), to outputs by name.
    """
    if target == "saved_model":
        return _run_saved_model(path)
    return _run_onnx(path) if target == "onnx" else _run_litert(path)


def describe(system: "Ensemble") -> str:
    """Input and outputs in one line."""
    (_, model), *_ = system.stages
    kind = model.inputs[0].dtype
    shape = ", ".join("any" if size is None else str(size) for size in model.input_shape)
    return f"`{INPUTS[kind]}` {kind} ({shape}) to {', '.join(sorted(_outputs(system)))}"


def output_errors(system: "Ensemble", path: Path, target: Format, seed: int = 0) -> str:
    """Largest difference of each output between a system and its exported form, on noise."""
    (_, model), *_ = system.stages
    rng, tail = np.random.default_rng(seed), model.input_shape[2:]
    batch: np.ndarray
    if model.inputs[0].dtype == "int16":
        batch = rng.integers(-3000, 3000, (1, 100_000, *tail)).astype(np.int16)
    else:
        batch = rng.normal(*_statistics(model), (1, 256, *tail)).astype(np.float32)
        batch = 10 ** (batch / 20) if _takes_magnitudes(model) else batch
    expected, received = system.predict_on_batch(batch), runner(path, target)(batch)
    found = {name: np.abs(received[name] - expected[name]).max() for name in sorted(received)}
    return ", ".join(f"{name} {value:.1e}" for name, value in found.items())


def check_packages(target: Format) -> None:
    """Raises ConfigError if a package that a format needs cannot be imported."""
    if target == "onnx":
        remedy = 'Install the extra `export`: pip install ".[export]".'
        with stderr_discarded():  # TensorFlow announces itself
            for name in _ONNX_PACKAGES:
                optional_module(name, "ONNX", remedy)


def _statistics(model: Any) -> tuple[np.ndarray, np.ndarray]:
    from common.models.layers import STATISTICS

    mean, std = model.get_layer(STATISTICS).get_weights()
    return mean, std


def _takes_magnitudes(model: Any) -> bool:
    from common.models.levels import LEVELS

    return any(layer.name == LEVELS for layer in model.layers)


def _outputs(system: "Ensemble") -> dict[str, int]:
    """Number of the stage that gives each output."""
    names: dict[str, int] = {}
    for number, (stage, model) in enumerate(system.stages):
        names |= dict.fromkeys(stage.outputs_used or model.output, number)
    return names


def _function(system: "Ensemble", n_batch: int | None = None) -> Any:
    """TensorFlow function from one input to a dict of outputs; the weights are constants."""
    import keras
    import tensorflow as tf

    models = [model for _, model in system.stages]
    pairs = [(model.trainable_variables, model.non_trainable_variables) for model in models]
    weights = [[[*map(keras.ops.convert_to_numpy, each)] for each in pair] for pair in pairs]
    kind = models[0].inputs[0].dtype

    def serve(inputs: Any) -> dict[str, Any]:
        each = zip(models, weights, strict=True)
        predicted = [m.stateless_call(*values, inputs, training=False)[0] for m, values in each]
        return {name: predicted[number][name] for name, number in _outputs(system).items()}

    spec = tf.TensorSpec((n_batch, *models[0].input_shape[1:]), kind, name=INPUTS[kind])
    return tf.function(serve, input_signature=[spec], autograph=False)


def _save(function: Any, folder: Path) -> None:
    import tensorflow as tf

    tf.get_logger().setLevel(logging.WARNING)  # it names folders that are temporary
    module = tf.Module()
    module.serve = function
    signatures = {"serving_default": function.get_concrete_function()}
    tf.saved_model.save(module, str(folder), signatures=signatures)


def _onnx(system: "Ensemble", metadata: Mapping[str, Any]) -> bytes:
    """Converts by tf2onnx, which has no FFT: models of audio convolve in its place."""
    import onnx
    import onnxruntime
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # what it cannot convert is found below
    with _convolving(system):
        function = _function(system)
        model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=_OPSET)
    _name_free_sizes(model.graph)
    onnx.helper.set_model_props(model, texts_of(metadata))
    content = model.SerializeToString()
    try:
        onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # of the kinds of onnxruntime, which it does not name
        raise ConfigError(
            f"ONNX cannot hold this model: {error}. Export it as saved_model or litert."
        ) from error
    return content


@contextlib.contextmanager
def _convolving(system: "Ensemble") -> Iterator[None]:
    """Layers that compute features transform audio by convolutions inside the block."""
    from common.models.audio_features import AudioFeatures

    layers = [layer for _, model in system.stages for layer in model.layers]
    layers = [layer for layer in layers if isinstance(layer, AudioFeatures)]
    for layer in layers:
        layer.by_convolution = True
    try:
        yield
    finally:
        for layer in layers:
            layer.by_convolution = False


def _name_free_sizes(graph: Any) -> None:
    """Names the free sizes of an ONNX graph: batch first, then time."""
    for number, value in enumerate([*graph.input, *graph.output]):
        names = ("batch", "time" if number < len(graph.input) else f"{value.name}_time")
        for size, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
            if not size.HasField("dim_value"):
                size.dim_param = name


def _litert(system: "Ensemble") -> bytes:
    """Converts a SavedModel, which keeps the names; with recurrent layers the batch size is 1."""
    import tensorflow as tf

    n_batch = 1 if any(map(_is_recurrent, system.stages)) else None
    with tempfile.TemporaryDirectory() as folder, stderr_discarded():
        _save(_function(system, n_batch), Path(folder))
        try:
            return tf.lite.TFLiteConverter.from_saved_model(folder).convert()
        except Exception as error:  # of a kind that TensorFlow keeps to itself
            raise ConfigError(
                f"LiteRT cannot hold this model: {error}. Export it as saved_model or onnx."
            ) from error


def _is_recurrent(trained: Any) -> bool:
    import keras

    _, model = trained
    layers = model._flatten_layers(recursive=True)
    return any(isinstance(layer, keras.layers.RNN) for layer in layers)


def _run_saved_model(path: Path) -> Runner:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))

    def run(batch: np.ndarray) -> dict[str, np.ndarray]:
        inputs = {INPUTS[str(batch.dtype)]: tf.constant(batch)}
        outputs = loaded.signatures["serving_default"](**inputs)
        return {name: value.numpy() for name, value in outputs.items()}

    return run


def _run_onnx(path: Path) -> Runner:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda batch: dict(
        zip(names, session.run(None, {INPUTS[str(batch.dtype)]: batch}), strict=True)
    )


def _run_litert(path: Path) -> Runner:
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow announces a move of its interpreter
        interpreter = tf.lite.Interpreter(str(path))
    run = interpreter.get_signature_runner()
    return lambda batch: run(**{INPUTS[str(batch.dtype)]: batch})


@contextlib.contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Lends a temporary name for a folder that gets its own once it is complete.

    Raises:
        DataError: there is something of that name, or the disk is full or cannot be written to.
    """
    if path.exists():
        raise DataError(f"{path} exists and is not overwritten. Move it, or set another --out.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
