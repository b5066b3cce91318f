"""Features of SELD: the table of their kinds, their settings, and their computation.

- `magnitude_phase`: spectra, as published for SELDnet.
- `logmel_intensity`: log-mel spectra and intensity vectors of first-order Ambisonics (FOA).
- `logmel`: log-mel spectra.
- `logmel_gcc`: log-mel spectra and cross-correlations (GCC-PHAT) of all pairs of channels, as in
  the published two-stage systems.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from common.audio.files import fit_length, resample
from common.errors import ConfigError
from common.features import spectral
from common.features.kinds import (
    MEL_BANDS,
    FeatureKind,
    FeatureSizes,
    feature_kinds,
    level_titles,
    mel_bands_per_channel,
)
from common.features.settings import FeatureSettings, as_frontend
from common.features.spectral import frames_in
from seld.augmentation import Tables, audio_tables, logmel_intensity_tables, magnitude_phase_tables

_TWO_STAGE = {
    "sample_rate_hz": 32000,
    "window_s": 0.032,
    "hop_s": 0.01,
    "n_fft": 1024,
    "n_mels": 96,
    "label_rule": "two_stage",
}


def _magnitude_phase_titles(names: Sequence[str]) -> list[str]:
    magnitudes = [f"{name}, magnitude" for name in names]
    return [*magnitudes, *(f"{name}, phase / rad" for name in names)]


def _magnitude_db(features: np.ndarray) -> np.ndarray:
    magnitude = features[..., 0].astype(np.float32)  # (T, F)
    return 20.0 * np.log10(np.maximum(magnitude, 1e-5))


def _logmel_intensity(
    audio: np.ndarray, sizes: FeatureSizes, n_frames: int, dtype: str
) -> np.ndarray:
    return spectral.logmel_intensity(audio, sizes.filters, sizes, n_frames, dtype)


def _logmel(audio: np.ndarray, sizes: FeatureSizes, n_frames: int, dtype: str) -> np.ndarray:
    return spectral.log_mel(audio, sizes.filters, sizes, n_frames).astype(dtype, copy=False)


def _logmel_gcc(audio: np.ndarray, sizes: FeatureSizes, n_frames: int, dtype: str) -> np.ndarray:
    return spectral.logmel_gcc(audio, sizes.filters, sizes, n_frames, sizes.gcc_n_fft, dtype)


def _logmel_gcc_titles(names: Sequence[str]) -> list[str]:
    pairs = itertools.combinations(names, 2)
    return [*level_titles(names), *(f"GCC-PHAT of {a} and {b}, lag" for a, b in pairs)]


KINDS = feature_kinds(
    FeatureKind(
        name="magnitude_phase",
        shape=lambda sizes: (sizes.n_fft // 2, 2 * sizes.channels),
        compute=spectral.magnitude_phase,
        device=lambda layer, samples: layer.magnitude_phase(samples),
        titles=_magnitude_phase_titles,
        level_db=_magnitude_db,
        settings=(),
        dtype="float16",
        can_interleave=True,
        channel_swaps=magnitude_phase_tables,
    ),
    FeatureKind(
        name="logmel_intensity",
        shape=lambda sizes: (sizes.n_mels, 7),
        compute=_logmel_intensity,
        device=lambda layer, samples: layer.logmel_intensity(samples),
        titles=lambda names: [*level_titles(names), *(f"intensity along {a}" for a in "xyz")],
        audio_format="foa",
        audio_channels=4,
        channel_swaps=logmel_intensity_tables,
    ),
    FeatureKind(
        name="logmel",
        shape=mel_bands_per_channel,
        compute=_logmel,
        device=lambda layer, samples: layer.log_mel(samples),
        defaults=_TWO_STAGE,
        counts_the_end=True,
    ),
    FeatureKind(
        name="logmel_gcc",
        shape=lambda sizes: (sizes.n_mels, sizes.channels * (sizes.channels + 1) // 2),
        compute=_logmel_gcc,
        device=lambda layer, samples: layer.logmel_gcc(samples),
        titles=_logmel_gcc_titles,
        defaults=_TWO_STAGE,
        settings=(*MEL_BANDS, "gcc_n_fft"),
        counts_the_end=True,
        has_lags=True,
    ),
)


class FeatureConfig(FeatureSettings):
    """Kind, sizes and storage of features; the defaults are those published for the kind."""

    KINDS = KINDS

    kind: str = Field(
        "magnitude_phase",
        description="Kind of features. magnitude_phase: as in SELDnet; logmel_intensity: log-mel"
        " spectra and intensity vectors, of Ambisonics only; logmel: log-mel spectra; logmel_gcc:"
        " log-mel spectra and cross-correlations of microphones.",
    )
    sample_rate_hz: int | None = Field(
        None,
        gt=0,
        description="Sample rate that recordings are resampled to; null: no resampling. Default of"
        " logmel and logmel_gcc: 32000.",
    )
    window_s: float = Field(
        0.04, gt=0, description="Window length in seconds. Default of logmel and logmel_gcc: 0.032."
    )
    hop_s: float = Field(
        0.02, gt=0, description="Hop length in seconds. Default of logmel and logmel_gcc: 0.01."
    )
    n_fft: int = Field(
        2048,
        ge=2,
        multiple_of=2,
        description="FFT size in samples. Default of logmel and logmel_gcc: 1024.",
    )
    gcc_n_fft: int = Field(
        2048,
        ge=2,
        multiple_of=2,
        description="FFT size and window length in samples of the correlations of logmel_gcc.",
    )
    n_mels: int = Field(
        64,
        ge=1,
        description="Number of mel bands, and of lags for logmel_gcc; unused by magnitude_phase."
        " Default of logmel and logmel_gcc: 96.",
    )
    fmin_hz: float = Field(50.0, ge=0, description="Lower edge of the lowest mel band in Hz.")
    fmax_hz: float | None = Field(
        None,
        gt=0,
        description="Upper edge of the highest mel band in Hz; null: half the sample rate.",
    )
    dtype: Literal["float16", "float32"] | None = Field(
        None,
        description="Type of features in shards; null: float16 for magnitude_phase, float32 for"
        " the others.",
    )
    interleaved_channels: bool = Field(
        False,
        description="Quirk of the published SELDnet: neighbouring bins packed into channels, for"
        " magnitude_phase only.",
    )
    scaler_splits: Literal["train", "all"] = Field(
        "train",
        description="Splits from which mean and standard deviation of the features are computed.",
    )
    label_rule: Literal["dcase2019", "two_stage"] = Field(
        "dcase2019",
        description="Rule for the frames that an event covers in training labels. Default of"
        " logmel and logmel_gcc: two_stage.",
    )

    @model_validator(mode="after")
    def _settings_fit_the_kind(self) -> "FeatureConfig":
        if self.hop_s > self.window_s:
            raise ValueError(
                f"`hop_s` must not exceed `window_s`, or samples are lost. Received: {self.hop_s} >"
                f" {self.window_s}."
            )
        if self.interleaved_channels and not self.entry.can_interleave:
            kinds = " or ".join(name for name, kind in KINDS.items() if kind.can_interleave)
            raise ValueError(
                f"`interleaved_channels` belongs to {kinds}. Received: kind {self.kind}."
            )
        if self.entry.has_lags and self.n_mels > self.gcc_n_fft:
            raise ValueError(
                "`n_mels`, which is also the number of lags, must not exceed `gcc_n_fft`. "
                f"Received: {self.n_mels} > {self.gcc_n_fft}."
            )
        return self

    @property
    def counts_the_end(self) -> bool:
        """True if a frame is centred on the end of a recording, and short ones are not padded."""
        return self.entry.counts_the_end

    @property
    def stored_dtype(self) -> str:
        """Type of the features in shards and batches."""
        return self.dtype or self.entry.dtype

    @property
    def channel_swaps(self) -> Callable[[np.ndarray, np.ndarray], Tables] | None:
        """Tables of swapped channels of the model's input; None: its channels cannot be swapped."""
        return audio_tables if self.on_device else self.entry.channel_swaps

    def rate_hz(self, recorded_hz: int) -> int:
        """Sample rate of the audio that features are computed from."""
        return self.sample_rate_hz or recorded_hz

    def content(self) -> dict[str, object]:
        """Settings that the stored numbers depend on."""
        names = ["kind", "window_s", "hop_s", "n_fft", *self.entry.settings]
        content = {name: getattr(self, name) for name in names}
        if self.sample_rate_hz is not None:
            content["sample_rate_hz"] = self.sample_rate_hz
        on_device = {"frontend": self.frontend}
        return content | (on_device if self.on_device else {"dtype": self.stored_dtype})


def check_audio(features: FeatureConfig, audio_format: str, channels: int) -> None:
    """Compares the kind of features with the recordings.

    Raises:
        ConfigError: the kind is not defined for their format or number of channels.
    """
    kind = features.entry
    expected = kind.audio_format or audio_format, kind.audio_channels or channels
    if (audio_format, channels) != expected:
        raise ConfigError(
            f"`features.kind: {kind.name}` needs `dataset.format: {expected[0]}` with {expected[1]}"
            f" channels. Received: {audio_format} with {channels}. Set `features.kind` to another."
        )


def extract_features(
    audio: np.ndarray, features: FeatureConfig, sample_rate_hz: int, duration_s: float | None = None
) -> np.ndarray:
    """Computes the features of one recording.

    Args:
        audio: float (S, C) in [-1, 1].
        features: kind and sizes.
        sample_rate_hz: sample rate of the audio, which is resampled to `features.sample_rate_hz`
            unless that is None.
        duration_s: longer audio is cut to this length; shorter audio is padded with zeros, as in
            the published SELDnet, except for kinds that count the end, whose missing frames the
            pipeline masks. None: the audio keeps its length.

    Returns:
        (T, F, C) of the stored type. T = duration / hop, at least 1; 1 + samples // hop for kinds
        that count the end. Channels of magnitude_phase: all magnitudes, then all phases in radians;
        of logmel_intensity: W, Y, Z, X in dB, then intensity x, y, z; of logmel: all channels in
        dB; of logmel_gcc: the same, then the correlations of pairs (0, 1), (0, 2) ... (1, 2) ...,
        see `spectral.gcc_phat`.

    Raises:
        ConfigError: window, hop length or mel bands do not fit the sample rate, or the audio has
            another number of channels than the kind needs.
    """
    prepared = prepare_audio(audio, features, sample_rate_hz, duration_s)
    return compute_features(prepared, features, features.rate_hz(sample_rate_hz), duration_s)


def prepare_audio(
    audio: np.ndarray, features: FeatureConfig, sample_rate_hz: int, duration_s: float | None = None
) -> np.ndarray:
    """Brings a recording to the length and sample rate that its features are computed from.

    Arguments as for `extract_features`.

    Returns:
        float32 (S, C).
    """
    features.check(sample_rate_hz)
    expected = features.entry.audio_channels
    if expected is not None and audio.shape[1] != expected:
        raise ConfigError(
            f"{features.kind} needs `dataset.format: {features.entry.audio_format}`. Expected:"
            f" {expected} channels. Received: {audio.shape[1]}. Set `features.kind` to another."
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
    """Computes the features of prepared audio; arguments and result as for `extract_features`.

    Args:
        audio: float32 (S, C), from `prepare_audio`.
        rate_hz: its sample rate.
        dtype: type of the features; None: the stored type.
    """
    sizes = as_frontend(features, rate_hz, audio.shape[1])
    n_frames = features.entry.n_frames(len(audio), sizes)
    if duration_s is not None and not features.counts_the_end:
        n_frames = frames_in(duration_s, features.hop_s)
    return features.entry.compute(audio, sizes, n_frames, dtype or features.stored_dtype)
