"""The four kinds of features of SELD.

magnitude_phase: spectra, as published for SELDnet.
logmel_intensity: log-mel spectra and intensity vectors of first-order Ambisonics.
logmel_gcc: log-mel spectra and correlations of all pairs of channels, as published for the
two-stage systems.
logmel: log-mel spectra alone.
"""

from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from common.audio.files import fit_length, resample
from common.errors import ConfigError
from common.features import spectral
from common.features.frontend import Frontend
from common.features.spectral import frames_in
from common.settings.stft import FramingConfig

Kind = Literal["magnitude_phase", "logmel_intensity", "logmel", "logmel_gcc"]
# The sizes that the published two-stage systems differ in from SELDnet, whose sizes are the
# defaults of the fields.
_TWO_STAGE_SIZES = {
    "sample_rate_hz": 32000,
    "window_s": 0.032,
    "hop_s": 0.01,
    "n_fft": 1024,
    "n_mels": 96,
    "label_rule": "two_stage",
}
_TWO_STAGE_KINDS = ("logmel", "logmel_gcc")


class FeatureConfig(FramingConfig):
    """Which features are computed, how they are stored and read; sizes not given are those
    published for the kind."""

    kind: Kind = Field(
        "magnitude_phase",
        description="Kind of features; logmel_intensity: only for FOA; logmel_gcc: with GCC-PHAT.",
    )
    sample_rate_hz: int | None = Field(
        None,
        gt=0,
        description=(
            "Rate the recordings are resampled to; null: as recorded. logmel, logmel_gcc: 32000."
        ),
    )
    window_s: float = Field(
        0.04, gt=0, description="Length of the window; logmel, logmel_gcc: 0.032."
    )
    hop_s: float = Field(0.02, gt=0, description="Distance of frames; logmel, logmel_gcc: 0.01.")
    n_fft: int = Field(
        2048, ge=2, multiple_of=2, description="Length of the transform; logmel, logmel_gcc: 1024."
    )
    gcc_n_fft: int = Field(
        2048,
        ge=2,
        multiple_of=2,
        description="Length of the transform and of its window for the lags of logmel_gcc.",
    )
    n_mels: int = Field(
        64,
        ge=1,
        description=(
            "Mel bands, of logmel_gcc also lags; logmel, logmel_gcc: 96. Not for magnitude_phase."
        ),
    )
    fmin_hz: float = Field(50.0, ge=0, description="Lower edge of the lowest mel band.")
    fmax_hz: float | None = Field(
        None, gt=0, description="Upper edge of the highest; null: half the sample rate."
    )
    dtype: Literal["float16", "float32"] | None = Field(
        None,
        description=(
            "Type in the shards; null: float16 for magnitude_phase, float32 for the others."
        ),
    )
    interleaved_channels: bool = Field(
        False, description="Read the channels packed as the published code did."
    )
    scaler_splits: Literal["train", "all"] = Field(
        "train", description="Splits that mean and deviation come from."
    )
    label_rule: Literal["dcase2019", "two_stage"] = Field(
        "dcase2019",
        description=(
            "Frames that an event covers in training labels; logmel, logmel_gcc: two_stage."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _published_sizes(cls, values: Any) -> Any:
        is_two_stage = isinstance(values, dict) and values.get("kind") in _TWO_STAGE_KINDS
        return _TWO_STAGE_SIZES | values if is_two_stage else values

    @model_validator(mode="after")
    def _check(self) -> "FeatureConfig":
        if self.hop_s > self.window_s:
            raise ValueError(
                f"`hop_s` must not exceed `window_s`, or samples are lost. Received: {self.hop_s} >"
                f" {self.window_s}."
            )
        if self.fmax_hz is not None and self.fmax_hz <= self.fmin_hz:
            raise ValueError(
                f"`fmax_hz` must exceed `fmin_hz`. Received: {self.fmax_hz} <= {self.fmin_hz}."
            )
        if self.interleaved_channels and self.kind != "magnitude_phase":
            raise ValueError(
                f"`interleaved_channels` belongs to magnitude_phase. Received: kind {self.kind}."
            )
        if self.kind == "logmel_gcc" and self.n_mels > self.gcc_n_fft:
            raise ValueError(
                "`n_mels`, which is also the number of lags, must not exceed `gcc_n_fft`. "
                f"Received: {self.n_mels} > {self.gcc_n_fft}."
            )
        return self

    @property
    def counts_the_end(self) -> bool:
        """Whether a frame is centred on the end of a recording, as published for logmel and
        logmel_gcc."""
        return self.kind in _TWO_STAGE_KINDS

    @property
    def stored_dtype(self) -> str:
        """Type of the features in shards and batches."""
        return self.dtype or ("float16" if self.kind == "magnitude_phase" else "float32")

    def rate_hz(self, recorded_hz: int) -> int:
        """Rate of the audio that the features of recordings of `recorded_hz` are computed of."""
        return self.sample_rate_hz or recorded_hz

    def check(self, recorded_hz: int) -> None:
        """Compares the sizes with the rate of the recordings.

        Raises:
            ConfigError: window, hop or the highest band do not fit it.
        """
        rate_hz = self.rate_hz(recorded_hz)
        self.window_samples(rate_hz)
        self.hop_samples(rate_hz)
        highest_hz = self.fmin_hz if self.fmax_hz is None else self.fmax_hz
        if self.kind != "magnitude_phase" and highest_hz > rate_hz / 2:
            raise ConfigError(
                f"The mel bands reach {highest_hz:g} Hz. Expected: at most half the sample rate,"
                f" {rate_hz / 2:g} Hz. Set `features.fmax_hz` or `features.sample_rate_hz`."
            )

    def content(self) -> dict[str, object]:
        """The settings that the stored numbers depend on (not those that only change how they are
        read)."""
        content: dict[str, object] = {
            "kind": self.kind,
            "window_s": self.window_s,
            "hop_s": self.hop_s,
            "n_fft": self.n_fft,
        }
        if self.kind != "magnitude_phase":
            content |= {"n_mels": self.n_mels, "fmin_hz": self.fmin_hz, "fmax_hz": self.fmax_hz}
        if self.kind == "logmel_gcc":
            content["gcc_n_fft"] = self.gcc_n_fft
        if self.sample_rate_hz is not None:
            content["sample_rate_hz"] = self.sample_rate_hz
        return content | (
            {"frontend": self.frontend} if self.on_device else {"dtype": self.stored_dtype}
        )


def feature_shape(features: FeatureConfig, channels: int = 4) -> tuple[int, int]:
    """Bands and channels, (F, C), of recordings with so many channels."""
    if features.kind == "logmel_intensity":
        return features.n_mels, 7
    if features.kind == "logmel":
        return features.n_mels, channels
    if features.kind == "logmel_gcc":
        return features.n_mels, channels * (channels + 1) // 2  # each channel, and each pair
    return features.n_fft // 2, 2 * channels


def extract_features(
    audio: np.ndarray, features: FeatureConfig, sample_rate_hz: int, duration_s: float | None = None
) -> np.ndarray:
    """Computes the features of one recording.

    Args:
        audio: float (S, C) in [-1, 1].
        features: kind and sizes.
        sample_rate_hz: rate of the audio; it is resampled to `features.sample_rate_hz` unless that
            is None.
        duration_s: longer audio is cut to this length first; shorter audio is filled up with zeros,
            as the published SELDnet does, but for logmel and logmel_gcc, whose missing frames the
            pipeline masks. None: the audio is taken as it is.

    Returns:
        (T, F, C) of the stored type. T = duration / hop, at least 1; for logmel and logmel_gcc the
        frame centred on the end counts too, 1 + samples // hop. The channels are for
        magnitude_phase all magnitudes, then all phases in radians; for logmel_intensity W, Y, Z, X
        in dB, then intensity x, y, z; for logmel all channels in dB; for logmel_gcc the same, then
        the correlations of pairs (0, 1), (0, 2) ... (1, 2) ..., see `spectral.gcc_phat`.

    Raises:
        ConfigError: window, hop or bands do not fit the sample rate, or intensity is asked of audio
            without four channels.
    """
    prepared = prepare_audio(audio, features, sample_rate_hz, duration_s)
    return compute_features(prepared, features, features.rate_hz(sample_rate_hz), duration_s)


def prepare_audio(
    audio: np.ndarray, features: FeatureConfig, sample_rate_hz: int, duration_s: float | None = None
) -> np.ndarray:
    """Brings a recording to the length and rate that its features are computed of; see
    `extract_features`.

    Returns:
        float32 (S, C).
    """
    features.check(sample_rate_hz)
    if features.kind == "logmel_intensity" and audio.shape[1] != 4:
        raise ConfigError(
            "logmel_intensity needs first-order Ambisonics, channels W, Y, Z, X. "
            f"Expected: 4 channels. Received: {audio.shape[1]}. Set `features.kind` to another."
        )
    if duration_s is not None:
        samples = round(duration_s * sample_rate_hz)
        audio = audio[:samples] if features.counts_the_end else fit_length(audio, samples)
    return resample(audio, sample_rate_hz, features.rate_hz(sample_rate_hz))


def compute_features(
    audio: np.ndarray,
    features: FeatureConfig,
    rate_hz: int,
    duration_s: float | None = None,
    dtype: str | None = None,
) -> np.ndarray:
    """Computes the features of what `prepare_audio` returned, of the rate `rate_hz`; see
    `extract_features`.

    They are of type `dtype`; None: of the stored type.
    """
    dtype = dtype or features.stored_dtype
    hop_samples = features.hop_samples(rate_hz)
    n_frames = None if duration_s is None else frames_in(duration_s, features.hop_s)
    if features.counts_the_end:
        n_frames = 1 + len(audio) // hop_samples
    sizes = features.window_samples(rate_hz), features.n_fft, hop_samples, n_frames
    if features.kind == "magnitude_phase":
        return spectral.magnitude_phase(audio, *sizes, dtype)
    filters = spectral.mel_filters(
        rate_hz, features.n_fft, features.n_mels, features.fmin_hz, features.fmax_hz
    )
    if features.kind == "logmel":
        return spectral.log_mel(audio, filters, *sizes).astype(dtype, copy=False)
    if features.kind == "logmel_gcc":
        return spectral.logmel_gcc(audio, filters, *sizes, features.gcc_n_fft, dtype)
    return spectral.logmel_intensity(audio, filters, *sizes, dtype)


def frontend_of(features: FeatureConfig, recorded_hz: int, channels: int) -> Frontend | None:
    """What the model computes of audio; None: the features are computed while they are extracted.

    Args:
        features: kind and sizes.
        recorded_hz: rate of the recordings.
        channels: of the recordings.
    """
    return as_frontend(features, recorded_hz, channels) if features.on_device else None


def as_frontend(features: FeatureConfig, recorded_hz: int, channels: int) -> Frontend:
    """Describes features as what a model computes of audio, wherever they are computed; arguments
    of `frontend_of`."""
    rate_hz = features.rate_hz(recorded_hz)
    return Frontend(
        kind=features.kind,
        channels=channels,
        sample_rate_hz=rate_hz,
        window="hann",
        window_samples=features.window_samples(rate_hz),
        n_fft=features.n_fft,
        hop_samples=features.hop_samples(rate_hz),
        n_mels=features.n_mels,
        fmin_hz=features.fmin_hz,
        fmax_hz=features.fmax_hz,
        gcc_n_fft=features.gcc_n_fft,
        interleaved_channels=features.interleaved_channels,
    )


def first_channel_db(features: np.ndarray, kind: str) -> np.ndarray:
    """The level of the first channel, (T, F) in dB, from features (T, F, C)."""
    level = features[..., 0].astype(np.float32)
    return 20.0 * np.log10(np.maximum(level, 1e-5)) if kind == "magnitude_phase" else level
