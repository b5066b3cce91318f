"""The two kinds of features of SELD: magnitudes and phases (published), log-mel spectra and intensity vectors."""

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from common import spectral
from common.audio import fit_length
from common.errors import ConfigError
from common.framing import FramingConfig
from common.spectral import frames_in


class FeatureConfig(FramingConfig):
    """Which features are computed, and how they are stored and read."""

    kind: Literal["magnitude_phase", "logmel_intensity"] = "magnitude_phase"
    n_mels: int = Field(64, ge=1, description="Mel bands of logmel_intensity.")
    fmin_hz: float = Field(50.0, ge=0, description="Lower edge of the lowest mel band.")
    fmax_hz: float | None = Field(None, gt=0, description="Upper edge of the highest; null: half the sample rate.")
    dtype: Literal["float16", "float32"] | None = Field(
        None, description="Type in the shards; null: float16 for magnitude_phase, float32 for logmel_intensity."
    )
    interleaved_channels: bool = Field(False, description="Read the channels packed as the published code did.")
    scaler_splits: Literal["train", "all"] = Field("train", description="Splits that mean and deviation come from.")

    @model_validator(mode="after")
    def _check(self) -> "FeatureConfig":
        if self.hop_s > self.window_s:
            raise ValueError(
                f"`hop_s` must not exceed `window_s`, or samples are lost. Received: {self.hop_s} > {self.window_s}."
            )
        if self.fmax_hz is not None and self.fmax_hz <= self.fmin_hz:
            raise ValueError(f"`fmax_hz` must exceed `fmin_hz`. Received: {self.fmax_hz} <= {self.fmin_hz}.")
        if self.interleaved_channels and self.kind != "magnitude_phase":
            raise ValueError(f"`interleaved_channels` belongs to magnitude_phase. Received: kind {self.kind}.")
        return self

    @property
    def stored_dtype(self) -> str:
        """Type of the features in shards and batches."""
        return self.dtype or ("float16" if self.kind == "magnitude_phase" else "float32")

    def content(self) -> dict[str, object]:
        """The settings that the stored numbers depend on (not those that only change how they are read)."""
        shared = {"kind": self.kind, "window_s": self.window_s, "hop_s": self.hop_s, "n_fft": self.n_fft}
        mel = {"n_mels": self.n_mels, "fmin_hz": self.fmin_hz, "fmax_hz": self.fmax_hz}
        return shared | (mel if self.kind == "logmel_intensity" else {}) | {"dtype": self.stored_dtype}


def feature_shape(features: FeatureConfig, channels: int = 4) -> tuple[int, int]:
    """Bands and channels, (F, C), of recordings with so many channels."""
    if features.kind == "logmel_intensity":
        return features.n_mels, 7
    return features.n_fft // 2, 2 * channels


def extract_features(
    audio: np.ndarray, features: FeatureConfig, sample_rate_hz: int, duration_s: float | None = None
) -> np.ndarray:
    """Computes the features of one recording.

    Args:
        audio: float (S, C) in [-1, 1].
        features: kind and sizes.
        sample_rate_hz: rate of the audio.
        duration_s: the audio is padded with zeros or cut to this length first, as the published code does; None: it
            is taken as it is.

    Returns:
        (T, F, C) of the stored type, T = duration / hop, at least 1. For magnitude_phase the channels are all
        magnitudes, then all phases in radians; for logmel_intensity W, Y, Z, X in dB, then intensity x, y, z.

    Raises:
        ConfigError: window or hop do not fit the sample rate, or intensity is asked of audio without four channels.
    """
    if features.kind == "logmel_intensity" and audio.shape[1] != 4:
        raise ConfigError(
            "logmel_intensity needs first-order Ambisonics, channels W, Y, Z, X. "
            f"Expected: 4 channels. Received: {audio.shape[1]}. Set `features.kind: magnitude_phase`."
        )
    window_samples, hop_samples = features.window_samples(sample_rate_hz), features.hop_samples(sample_rate_hz)
    n_frames = None
    if duration_s is not None:
        audio = fit_length(audio, round(duration_s * sample_rate_hz))
        n_frames = frames_in(duration_s, features.hop_s)
    if features.kind == "magnitude_phase":
        return spectral.magnitude_phase(
            audio, window_samples, features.n_fft, hop_samples, n_frames, features.stored_dtype
        )
    filters = spectral.mel_filters(sample_rate_hz, features.n_fft, features.n_mels, features.fmin_hz, features.fmax_hz)
    return spectral.logmel_intensity(
        audio, filters, window_samples, features.n_fft, hop_samples, n_frames, features.stored_dtype
    )
