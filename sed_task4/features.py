"""Features of task 4: the table of their kinds, their settings, and their computation.

logmel_db: log-mel spectra in dB, for the CNNs.
log_magnitude_mel: natural logarithm of mel magnitudes, for the CRNN.
ln_mel_density: natural logarithm of mel magnitudes of whole windows, for segmentation.
"""

from typing import Literal

import numpy as np
from pydantic import Field

from common.audio.files import fit_length
from common.features import spectral
from common.features.kinds import FeatureKind, FeatureSizes, feature_kinds, mel_bands_per_channel
from common.features.settings import FeatureSettings, as_frontend
from common.features.spectral import frames_in
from sed_task4.labels import Rule

_DENSITY_FLOOR = 1e-8


def _logmel_db(audio: np.ndarray, sizes: FeatureSizes, n_frames: int, dtype: str) -> np.ndarray:
    return spectral.log_mel(audio, sizes.filters, sizes, n_frames).astype(dtype, copy=False)


def _log_magnitude_mel(
    audio: np.ndarray, sizes: FeatureSizes, n_frames: int, dtype: str
) -> np.ndarray:
    bands = spectral.log_magnitude_mel(audio, sizes.filters, sizes, n_frames)
    return bands.astype(dtype, copy=False)


def _ln_mel_density(
    audio: np.ndarray, sizes: FeatureSizes, n_frames: int, dtype: str
) -> np.ndarray:
    """Natural logarithm of `spectral.density_magnitude` in mel bands, of whole windows only.

    References:
        Kong, Xu, Wang, Plumbley, "Sound event detection and time-frequency segmentation from weakly
        labelled data", arXiv:1804.04715.
    """
    filled = np.pad(audio[:, 0], (0, max(0, sizes.window_samples - len(audio))))
    magnitude = spectral.density_magnitude(filled, sizes) @ sizes.filters  # (T, bands)
    return np.log(magnitude + _DENSITY_FLOOR)[..., None].astype(dtype, copy=False)


def _ln_to_db(features: np.ndarray) -> np.ndarray:
    return features[..., 0] * (20 / np.log(10))  # of magnitudes


KINDS = feature_kinds(
    FeatureKind(
        name="logmel_db",
        shape=mel_bands_per_channel,
        compute=_logmel_db,
        device=lambda layer, samples: layer.log_mel(samples),
        window="hann_symmetric",
    ),
    FeatureKind(
        name="log_magnitude_mel",
        shape=mel_bands_per_channel,
        compute=_log_magnitude_mel,
        device=lambda layer, samples: layer.log_magnitude_mel(samples),
        level_db=_ln_to_db,
        level_unit="ln",
        defaults={
            "window_s": 0.04,
            "hop_s": 0.02,
            "n_fft": 2048,
            "fmin_hz": 0.0,
            "fmax_hz": None,
            "label_rule": "half_open",
        },
        window="hamming",
        counts_the_end=True,
        ddof=1,
    ),
    FeatureKind(
        name="ln_mel_density",
        shape=mel_bands_per_channel,
        compute=_ln_mel_density,
        device=lambda layer, samples: layer.log_density_mel(samples, _DENSITY_FLOOR),
        level_db=_ln_to_db,
        level_unit="ln",
        defaults={
            "window_s": 0.064,
            "hop_s": 0.032,
            "n_fft": 2048,
            "fmax_hz": None,
            "label_rule": "kong2018",
        },
        window="hamming_symmetric",
        is_centred=False,
        is_for_masks=True,
    ),
)


class FeatureConfig(FeatureSettings):
    """Kind of features and their sizes; the defaults are those published for the kind."""

    KINDS = KINDS

    kind: str = Field(
        "logmel_db",
        description="Kind of features. logmel_db: of the CNNs; log_magnitude_mel: of the CRNN;"
        " ln_mel_density: of segmentation.",
    )
    window_s: float = Field(
        0.032,
        gt=0,
        description="Window length in seconds. Default of log_magnitude_mel: 0.04, of"
        " ln_mel_density: 0.064.",
    )
    hop_s: float = Field(
        0.015625,
        gt=0,
        description="Hop length in seconds. Default of log_magnitude_mel: 0.02, of ln_mel_density:"
        " 0.032.",
    )
    n_fft: int = Field(
        1024,
        ge=2,
        multiple_of=2,
        description="FFT size in samples. Default of log_magnitude_mel and ln_mel_density: 2048.",
    )
    n_mels: int = Field(64, ge=1, description="Number of mel bands.")
    fmin_hz: float = Field(
        50.0,
        ge=0,
        description="Lower edge of the lowest mel band in Hz. Default of log_magnitude_mel: 0.",
    )
    fmax_hz: float | None = Field(
        14000.0,
        gt=0,
        description="Upper edge of the highest mel band in Hz; null: half the sample rate. Default"
        " of log_magnitude_mel and ln_mel_density: null.",
    )
    dtype: Literal["float16", "float32"] = Field("float32", description="Type of stored features.")
    label_rule: Rule = Field(
        "kong2019",
        description="Rule for the frames that an event covers in labels. Default of"
        " log_magnitude_mel: half_open, of ln_mel_density: kong2018.",
    )

    @property
    def frames_per_s(self) -> float:
        """Frame rate."""
        return 1.0 / self.hop_s

    @property
    def ddof(self) -> int:
        """ddof of the standard deviation: 1 as published for the CRNN, else 0."""
        return self.entry.ddof

    def n_frames(self, clip_s: float) -> int:
        """Frames of a whole clip: 640, 500 and 311 for ten seconds with the published sizes."""
        overlap_s = 0.0 if self.entry.is_centred else self.window_s - self.hop_s
        return frames_in(clip_s - overlap_s, self.hop_s)

    def frames_inside(self, n_samples: int, sample_rate_hz: int, clip_s: float) -> int:
        """Frames of a clip whose centres lie in its recording, at least one."""
        inside = -(-n_samples // self.hop_samples(sample_rate_hz))
        return min(max(inside, 1), self.n_frames(clip_s))

    def content(self) -> dict[str, object]:
        """Settings that the stored numbers depend on."""
        return self.model_dump(mode="json", exclude={"dtype"} if self.on_device else {"frontend"})


def extract_features(
    audio: np.ndarray, features: FeatureConfig, sample_rate_hz: int, clip_s: float | None = None
) -> np.ndarray:
    """Computes the features of one clip.

    Args:
        audio: float (S, 1) in [-1, 1].
        features: kind and sizes.
        sample_rate_hz: sample rate of the audio.
        clip_s: longer audio is cut to this length; shorter audio is padded with digital silence, as
            published for logmel_db, except for kinds that count the end, whose missing frames the
            pipeline pads when the mean is known. None: the audio keeps its length.

    Returns:
        (T, bands, 1) of the stored type: dB, not below -100, or the natural logarithm of
        magnitudes. With `clip_s` T is at most `features.n_frames(clip_s)`. Without, see
        `common.features.kinds.FeatureKind.n_frames`; audio is padded to at least one window.

    Raises:
        ConfigError: window or hop length do not fit the sample rate.
    """
    prepared = prepare_audio(audio, features, sample_rate_hz, clip_s)
    return compute_features(prepared, features, sample_rate_hz, clip_s)


def prepare_audio(
    audio: np.ndarray, features: FeatureConfig, sample_rate_hz: int, clip_s: float | None = None
) -> np.ndarray:
    """Brings a clip (S, 1) to the length for its features; see `extract_features`."""
    if clip_s is None:
        return audio
    samples = round(clip_s * sample_rate_hz)
    if features.entry.counts_the_end:
        samples = max(1, min(samples, len(audio)))
    return fit_length(audio, samples)


def compute_features(
    audio: np.ndarray, features: FeatureConfig, sample_rate_hz: int, clip_s: float | None = None
) -> np.ndarray:
    """Computes the features of audio from `prepare_audio`; see `extract_features`."""
    sizes = as_frontend(features, sample_rate_hz)
    n_frames = features.entry.n_frames(len(audio), sizes)
    if clip_s is not None:
        n_frames = min(n_frames, features.n_frames(clip_s))
    return features.entry.compute(audio, sizes, n_frames, features.dtype)
