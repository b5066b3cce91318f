"""Small networks and batches for tests of the mean teacher; on any backend."""

import keras
import numpy as np

from common.models.losses import MaskedBinaryCrossentropy
from common.settings.batch_augmentation import BatchAugmentation
from common.settings.mean_teacher import MeanTeacherConfig
from common.training.mean_teacher import MeanTeacher, build_augmented

PARTS = {"strong": 2, "weak": 2, "unlabelled": 4}
BANDS, CLASSES, STRIDE = 8, 3, 4
ALL_CHANGES = {
    "frame_shift": {"std_frames": 5.0},
    "mixup": {"groups": [["strong"], ["weak"]], "probability": 1.0},
    "time_mask": {"parts": ["strong"]},
    "filter_augment": {"max_bands": 2},
    "band_mask": {"max_share": 0.25},
    "noise": {},
    "spec_augment": {"frame_length": 4, "band_length": 2},
}
QUIET = {"decay": 0.9, "noise": {"kind": "none"}, "ramp_epochs": 0.0}
LOSSES = {"clip": MaskedBinaryCrossentropy(-100.0), "frames": MaskedBinaryCrossentropy(-100.0)}


def network(dropout: float = 0.0, norm: bool = True, embeddings: int = 0) -> keras.Model:
    """A network from spectra (B, T, BANDS, 1) to outputs at every fourth frame."""
    layers = keras.layers
    x = spectra = keras.Input((None, BANDS, 1), name="features")
    x = layers.Conv2D(4, 3, padding="same", name="conv", data_format="channels_last")(x)
    if norm:
        x = layers.BatchNormalization(name="norm")(x)
    x = layers.AveragePooling2D((STRIDE, BANDS), data_format="channels_last")(x)
    x = layers.Reshape((-1, 4))(x)
    inputs = {"features": spectra}
    if embeddings:
        inputs["embeddings"] = keras.Input((None, embeddings), name="embeddings")
        x = layers.Concatenate()([x, inputs["embeddings"]])
    x = layers.Dropout(dropout, name="drop")(x)
    frames = layers.Dense(CLASSES, "sigmoid", name="head")(x)
    clip = layers.GlobalAveragePooling1D(name="mean")(frames)
    given = inputs if embeddings else spectra
    return keras.Model(given, {"clip": clip, "frames": frames})


def teacher_model(
    config: dict | None = None,
    augmentation: dict | None = None,
    dropout: float = 0.0,
    eagerly: bool = False,
) -> MeanTeacher:
    """A mean teacher of two small networks, compiled; a graph takes longer to build than a step."""
    model = build_augmented(
        lambda: network(dropout),
        config=MeanTeacherConfig.model_validate(config or {"noise": {"kind": "none"}}),
        augmentation=BatchAugmentation.model_validate(augmentation or {}),
        parts=PARTS,
        stride=STRIDE,
        iterations_per_epoch=2,
    )
    weights = {"clip": 0.5, "frames": 1.0}
    model.compile(keras.optimizers.SGD(0.5), LOSSES, weights, run_eagerly=eagerly)
    return model


def batch(seed: int, n_frames: int = 24) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A batch of the parts: strongly labelled, weakly labelled and unlabelled clips."""
    rng = np.random.default_rng(seed)
    x = rng.random((8, n_frames, BANDS, 1)).astype(np.float32)
    frames = (rng.random((8, n_frames // STRIDE, CLASSES)) > 0.6).astype(np.float32)
    clip = frames.max(axis=1)
    frames[2:], clip[4:], clip[:2] = -1.0, -1.0, -1.0
    return x, {"clip": clip, "frames": frames}


def two_batches() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The clips and labels of two batches."""
    (first, labels), (second, others) = batch(0), batch(1)
    joined = {name: np.concatenate([labels[name], others[name]]) for name in labels}
    return np.concatenate([first, second]), joined
