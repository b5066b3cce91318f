"""The features of task 4: log-mel spectra in dB (the CNNs), logarithms of mel magnitudes (the CRNN,
segmentation)."""

from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from common.audio.files import fit_length
from common.errors import ConfigError
from common.features import spectral
from common.features.frontend import Frontend
from common.features.spectral import frames_in
from common.settings.stft import FramingConfig
from sed_task4.labels import Rule

Kind = Literal["logmel_db", "log_magnitude_mel", "ln_mel_density"]
# The sizes that the others differ in from the published CNNs, whose sizes are the defaults of the
# fields.
_SIZES: dict[str, dict[str, Any]] = {
    "log_magnitude_mel": {
        "window_s": 0.04,
        "hop_s": 0.02,
        "n_fft": 2048,
        "fmin_hz": 0.0,
        "fmax_hz": None,
        "label_rule": "half_open",
    },
    "ln_mel_density": {
        "window_s": 0.064,
        "hop_s": 0.032,
        "n_fft": 2048,
        "fmax_hz": None,
        "label_rule": "kong2018",
    },
}
_WINDOWS: dict[Kind, spectral.Window] = {
    "logmel_db": "hann_symmetric",
    "log_magnitude_mel": "hamming",
    "ln_mel_density": "hamming_symmetric",
}
_DENSITY_FLOOR = 1e-8


class FeatureConfig(FramingConfig):
    """Which features are computed; sizes that are not given are those published for the kind."""

    kind: Kind = Field(
        "logmel_db",
        description=(
            "logmel_db: of the CNNs; log_magnitude_mel: of the CRNN; ln_mel_density: of"
            " segmentation, whole windows alone."
        ),
    )
    window_s: float = Field(
        0.032, gt=0, description="Length of the window; CRNN: 0.04, segmentation: 0.064."
    )
    hop_s: float = Field(
        0.015625, gt=0, description="Distance of frames; CRNN: 0.02, segmentation: 0.032."
    )
    n_fft: int = Field(
        1024,
        ge=2,
        multiple_of=2,
        description="Length of the transform; CRNN and segmentation: 2048.",
    )
    n_mels: int = Field(64, ge=1, description="Mel bands.")
    fmin_hz: float = Field(50.0, ge=0, description="Lower edge of the lowest band; CRNN: 0.")
    fmax_hz: float | None = Field(
        14000.0,
        gt=0,
        description="Upper edge of the highest; null (CRNN, segmentation): half the sample rate.",
    )
    dtype: Literal["float16", "float32"] = Field("float32", description="Type in the shards.")
    label_rule: Rule = Field(
        "kong2019",
        description=(
            "Frames that an event covers in labels; CRNN: half_open, segmentation: kong2018."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _published_sizes(cls, values: Any) -> Any:
        return (
            _SIZES.get(str(values.get("kind")), {}) | values if isinstance(values, dict) else values
        )

    @model_validator(mode="after")
    def _check(self) -> "FeatureConfig":
        if self.fmax_hz is not None and self.fmax_hz <= self.fmin_hz:
            raise ValueError(
                f"`fmax_hz` must exceed `fmin_hz`. Received: {self.fmax_hz} <= {self.fmin_hz}."
            )
        return self

    @property
    def frames_per_s(self) -> float:
        """Frame rate."""
        return 1.0 / self.hop_s

    @property
    def ddof(self) -> int:
        """What the deviation's divisor is less than the number of frames: 1 as published for the
        CRNN, else 0."""
        return 1 if self.kind == "log_magnitude_mel" else 0

    def n_frames(self, clip_s: float) -> int:
        """Frames of a whole clip: 640, 500 and 311 for ten seconds with the published sizes."""
        overlap_s = self.window_s - self.hop_s if self.kind == "ln_mel_density" else 0.0
        return frames_in(clip_s - overlap_s, self.hop_s)

    def frames_inside(self, n_samples: int, sample_rate_hz: int, clip_s: float) -> int:
        """Frames of a clip whose centres lie in its recording, at least one."""
        inside = -(-n_samples // self.hop_samples(sample_rate_hz))
        return min(max(inside, 1), self.n_frames(clip_s))

    def check(self, sample_rate_hz: int) -> None:
        """Compares the sizes with the sample rate.

        Raises:
            ConfigError: window, hop or the highest band do not fit it.
        """
        self.window_samples(sample_rate_hz)
        self.hop_samples(sample_rate_hz)
        highest_hz = self.fmin_hz if self.fmax_hz is None else self.fmax_hz
        if highest_hz > sample_rate_hz / 2:
            raise ConfigError(
                f"The mel bands reach {highest_hz:g} Hz. Expected: at most half the sample rate, "
                f"{sample_rate_hz / 2:g} Hz. Set `features.fmax_hz` or `dataset.sample_rate_hz`."
            )

    def content(self) -> dict[str, object]:
        """The settings that the stored numbers depend on."""
        return self.model_dump(mode="json", exclude={"dtype"} if self.on_device else {"frontend"})


def feature_shape(features: FeatureConfig) -> tuple[int, int]:
    """Bands and channels, (F, C)."""
    return features.n_mels, 1


def extract_features(
    audio: np.ndarray, features: FeatureConfig, sample_rate_hz: int, clip_s: float | None = None
) -> np.ndarray:
    """Computes the features of one clip.

    Args:
        audio: float (S, 1) in [-1, 1].
        features: kind and sizes.
        sample_rate_hz: rate of the audio.
        clip_s: a longer recording is cut to this length. A shorter one is filled up with digital
            silence for logmel_db, as published, and ln_mel_density; log_magnitude_mel leaves the
            missing frames to the pipeline, which fills them after the mean is known. None: the
            recording is taken as it is.

    Returns:
        (T, bands, 1) of the stored type: dB, not below -100, or the natural logarithm of
        magnitudes. With `clip_s` T is at most `features.n_frames(clip_s)`. Without, the last frame
        is centred on the last sample or before it; for log_magnitude_mel on the end of the
        recording, where that is a multiple of the hop. Frames of ln_mel_density begin at multiples
        of the hop and end within the recording, which is filled up to one window.

    Raises:
        ConfigError: window or hop do not fit the sample rate.
    """
    return compute_features(
        prepare_audio(audio, features, sample_rate_hz, clip_s), features, sample_rate_hz, clip_s
    )


def prepare_audio(
    audio: np.ndarray, features: FeatureConfig, sample_rate_hz: int, clip_s: float | None = None
) -> np.ndarray:
    """Brings a clip (S, 1) to the length that its features are computed of; see
    `extract_features`."""
    if clip_s is None:
        return audio
    samples = round(clip_s * sample_rate_hz)
    return fit_length(
        audio, max(1, min(samples, len(audio))) if features.kind == "log_magnitude_mel" else samples
    )


def compute_features(
    audio: np.ndarray, features: FeatureConfig, sample_rate_hz: int, clip_s: float | None = None
) -> np.ndarray:
    """Computes the features of what `prepare_audio` returned; see `extract_features`."""
    if features.kind == "ln_mel_density":
        magnitude = mel_density(audio[:, 0], features, sample_rate_hz)
        return np.log(magnitude + _DENSITY_FLOOR)[..., None].astype(features.dtype, copy=False)
    window_samples, hop_samples = (
        features.window_samples(sample_rate_hz),
        features.hop_samples(sample_rate_hz),
    )
    silence_filled = features.kind == "logmel_db"
    n_frames = (
        max(1, len(audio) // hop_samples) if silence_filled else 1 + len(audio) // hop_samples
    )
    if clip_s is not None:
        n_frames = min(n_frames, features.n_frames(clip_s))
    filters = mel_filters_of(features, sample_rate_hz)
    compute = spectral.log_mel if silence_filled else spectral.log_magnitude_mel
    window = _WINDOWS[features.kind]
    bands = compute(audio, filters, window_samples, features.n_fft, hop_samples, n_frames, window)
    return bands.astype(features.dtype, copy=False)


def mel_filters_of(features: FeatureConfig, sample_rate_hz: int) -> np.ndarray:
    """The filters of the settings, float32 (n_fft // 2 + 1, bands), read-only."""
    return spectral.mel_filters(
        sample_rate_hz, features.n_fft, features.n_mels, features.fmin_hz, features.fmax_hz
    )


def mel_density(audio: np.ndarray, features: FeatureConfig, sample_rate_hz: int) -> np.ndarray:
    """Computes magnitudes in mel bands, frame by frame, of whole windows alone.

    Args:
        audio: float (S,); shorter than one window, it is filled up with digital silence.
        features: sizes; their kind has no influence.
        sample_rate_hz: rate of the audio.

    Returns:
        float32 (T, bands), see `common.features.spectral.density_magnitude`; ln_mel_density is the logarithm
        of this.

    Raises:
        ConfigError: window or hop do not fit the sample rate.

    References:
        Kong, Xu, Wang, Plumbley, "Sound event detection and time-frequency segmentation from weakly
        labelled data", arXiv:1804.04715.
    """
    sizes = (
        features.window_samples(sample_rate_hz),
        features.n_fft,
        features.hop_samples(sample_rate_hz),
    )
    filled = np.pad(audio, (0, max(0, sizes[0] - len(audio))))
    magnitude = spectral.density_magnitude(
        filled, *sizes, _WINDOWS["ln_mel_density"]
    )  # (T, n_fft // 2 + 1)
    return magnitude @ mel_filters_of(features, sample_rate_hz)


def frontend_of(features: FeatureConfig, sample_rate_hz: int) -> Frontend | None:
    """What the model computes of mono audio of a rate; None: the features are computed while they
    are extracted."""
    return as_frontend(features, sample_rate_hz) if features.on_device else None


def as_frontend(features: FeatureConfig, sample_rate_hz: int) -> Frontend:
    """Describes features as what a model computes of mono audio of a rate, wherever they are
    computed."""
    return Frontend(
        kind="logmel" if features.kind == "logmel_db" else features.kind,
        channels=1,
        sample_rate_hz=sample_rate_hz,
        window=_WINDOWS[features.kind],
        window_samples=features.window_samples(sample_rate_hz),
        n_fft=features.n_fft,
        hop_samples=features.hop_samples(sample_rate_hz),
        n_mels=features.n_mels,
        fmin_hz=features.fmin_hz,
        fmax_hz=features.fmax_hz,
    )
