"""Features of task 4: the table of their kinds, their settings, and their computation.

logmel_db: log-mel spectra in dB, for the CNNs.
log_magnitude_mel: natural logarithm of mel magnitudes, for the CRNN.
ln_mel_density: natural logarithm of mel magnitudes of whole windows, for segmentation.
mel_2019, mel_2020, mel_desed: linear mel magnitudes of the baselines of 2019, 2020 and from 2021
on; the model turns them into levels in dB and scales these, see `common.models.levels`.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from common.audio.files import fit_length
from common.features import spectral
from common.features.kinds import (
    LEVELS,
    MEL_BANDS,
    FeatureKind,
    FeatureSizes,
    feature_kinds,
    mel_bands_per_channel,
)
from common.features.levels import LevelConfig, magnitude_db
from common.features.scaling import ScalingConfig
from common.features.settings import FeatureSettings, as_frontend
from common.features.spectral import MelNorm, MelScale, frames_in
from sed_task4.labels import LabelGrid, Rounding, Rule

_DENSITY_FLOOR = 1e-8
_LEVEL_FLOOR = LevelConfig()  # -100 dB, for spectrograms that are drawn
ZERO_DB = 1.0  # magnitude of padding that is louder than almost all sound, as published in 2019


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


def _mel_magnitude(audio: np.ndarray, sizes: FeatureSizes, n_frames: int, dtype: str) -> np.ndarray:
    bands = spectral.mel_magnitude(audio, sizes.filters, sizes, n_frames)
    return bands.astype(dtype, copy=False)


def _magnitude_to_db(features: np.ndarray) -> np.ndarray:
    return magnitude_db(features, _LEVEL_FLOOR)[..., 0]


def _linear_kind(name: str, defaults: Mapping[str, Any]) -> FeatureKind:
    """Mel magnitudes of a baseline: centred frames, the one at the end of the clip included."""
    common = {"n_fft": 2048, "fmin_hz": 0.0, "fmax_hz": None, "mel_norm": "peak"}
    return FeatureKind(
        name=name,
        shape=mel_bands_per_channel,
        compute=_mel_magnitude,
        device=lambda layer, samples: layer.mel_magnitude(samples),
        level_db=_magnitude_to_db,
        defaults={**common, **defaults},
        settings=(*MEL_BANDS, *FORM_SETTINGS),
        window="hamming_symmetric",
        counts_the_end=True,
        fills_clips=True,
        is_linear=True,
    )


FORM_SETTINGS = ("mel_scale", "mel_norm")
_OF_2019 = {
    "window_s": 2048 / 44100,
    "hop_s": 511 / 44100,
    "n_mels": 64,
    "levels": {"top_db": 80.0},
    "label_rule": "dcase2019",
}
_OF_2020 = {**_OF_2019, "window_s": 0.128, "hop_s": 255 / 16000, "n_mels": 128}
_OF_DESED = {
    "window_s": 0.128,
    "hop_s": 0.016,
    "n_mels": 128,
    "mel_scale": "htk",
    "levels": {"lowest_db": -50.0, "highest_db": 80.0},
    "scaling": {"of": "clip", "form": "minmax", "bands": "all"},
    "label_rule": "desed",
}

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
    _linear_kind("mel_2019", _OF_2019),
    _linear_kind("mel_2020", _OF_2020),
    _linear_kind("mel_desed", _OF_DESED),
)


class FeatureConfig(FeatureSettings):
    """Kind of features and their sizes; the defaults are those published for the kind."""

    KINDS = KINDS

    kind: str = Field(
        "logmel_db",
        description="Kind of features. logmel_db: of the CNNs; log_magnitude_mel: of the CRNN;"
        " ln_mel_density: of segmentation. mel_2019, mel_2020, mel_desed: linear magnitudes of the"
        " baselines of 2019, 2020 and from 2021 on.",
    )
    window_s: float = Field(
        0.032,
        gt=0,
        description="Window length in seconds. Default of log_magnitude_mel: 0.04, of"
        " ln_mel_density: 0.064, of mel_2019: 2048 / 44100, of mel_2020 and mel_desed: 0.128.",
    )
    hop_s: float = Field(
        0.015625,
        gt=0,
        description="Hop length in seconds. Default of log_magnitude_mel: 0.02, of ln_mel_density:"
        " 0.032, of mel_2019: 511 / 44100, of mel_2020: 255 / 16000, of mel_desed: 0.016.",
    )
    n_fft: int = Field(
        1024,
        ge=2,
        multiple_of=2,
        description="FFT size in samples. Default of all kinds but logmel_db: 2048.",
    )
    n_mels: int = Field(
        64, ge=1, description="Number of mel bands. Default of mel_2020 and mel_desed: 128."
    )
    fmin_hz: float = Field(
        50.0,
        ge=0,
        description="Lower edge of the lowest mel band in Hz. Default of log_magnitude_mel and of"
        " the linear kinds: 0.",
    )
    fmax_hz: float | None = Field(
        14000.0,
        gt=0,
        description="Upper edge of the highest mel band in Hz; null: half the sample rate. Default"
        " of all kinds but logmel_db: null.",
    )
    mel_scale: MelScale = Field(
        "slaney", description="Mel scale of Slaney, or htk. Default of mel_desed: htk."
    )
    mel_norm: MelNorm = Field(
        "area",
        description="Mel filters have unit area, or a peak of 1. Default of linear kinds: peak.",
    )
    levels: LevelConfig = Field(
        LevelConfig(), description="Linear kinds: levels in dB that the model makes of magnitudes."
    )
    scaling: ScalingConfig = Field(
        ScalingConfig(), description="Linear kinds: scaling of the levels before the network."
    )
    pad_value: Literal["floor", "zero_db"] = Field(
        "floor",
        description="Linear kinds: padding of short clips. floor: with digital silence; zero_db:"
        " with levels of 0 dB, louder than almost all sound, as published in 2019 and 2020.",
    )
    dtype: Literal["float16", "float32"] = Field("float32", description="Type of stored features.")
    label_rule: Rule = Field(
        "kong2019",
        description="Rule for the frames that an event covers in labels. Default of"
        " log_magnitude_mel: half_open, of ln_mel_density: kong2018, of mel_2019 and mel_2020:"
        " dcase2019, of mel_desed: desed.",
    )
    offset_rounding: Rounding | None = Field(
        None,
        description="Label rules dcase2019 and desed: offsets are rounded down (floor, published"
        " for dcase2019: events within one label frame vanish) or up (ceil, published for desed);"
        " null: as published for the rule.",
    )
    label_frames: int = Field(
        1,
        ge=1,
        description="Feature frames of one label frame: the time pooling of the network, where"
        " labels are published at its output frames. Labels are stored held for so many frames.",
    )

    @model_validator(mode="after")
    def _linear_settings_fit(self) -> Self:
        if self.on_device and self.pad_value == "zero_db":
            raise ValueError(
                "`pad_value: zero_db` pads features, but with `frontend: device` audio is padded,"
                " with silence. Set `pad_value: floor` or `frontend: extraction`."
            )
        unused = [] if self.entry.is_linear else [*_LINEAR & self.model_fields_set]
        changed = [name for name in sorted(unused) if getattr(self, name) != _default(name)]
        if changed:
            linear = ", ".join(name for name, kind in self.KINDS.items() if kind.is_linear)
            raise ValueError(
                f"{', '.join(f'`{name}`' for name in changed)} belong to linear kinds. Expected:"
                f" `kind` is one of {linear}. Received: {self.kind}."
            )
        if self.offset_rounding is not None and self.label_rule not in ("dcase2019", "desed"):
            raise ValueError(
                "`offset_rounding` belongs to the label rules dcase2019 and desed. Received:"
                f" {self.label_rule}."
            )
        return self

    @property
    def frames_per_s(self) -> float:
        """Frame rate."""
        return 1.0 / self.hop_s

    @property
    def ddof(self) -> int:
        """ddof of the standard deviation: 1 as published for the CRNN, else 0."""
        return self.entry.ddof

    @property
    def pads_audio(self) -> bool:
        """True if short clips are padded with silence before their features are computed."""
        entry = self.entry
        return not entry.counts_the_end or (entry.fills_clips and self.pad_value == "floor")

    def n_frames(self, clip_s: float) -> int:
        """Frames of a whole clip: for ten seconds with the published sizes, 640, 500, 311; of the
        linear kinds 864, 628, 626."""
        overlap_s = 0.0 if self.entry.is_centred else self.window_s - self.hop_s
        return frames_in(clip_s - overlap_s, self.hop_s) + self.entry.fills_clips

    def label_grid(self, sample_rate_hz: int) -> LabelGrid:
        """Frames of the labels in samples."""
        return LabelGrid(sample_rate_hz, self.hop_samples(sample_rate_hz), self.label_frames)

    def frames_inside(self, n_samples: int, sample_rate_hz: int, clip_s: float) -> int:
        """Frames of a clip whose centres lie in its recording, at least one."""
        inside = -(-n_samples // self.hop_samples(sample_rate_hz))
        return min(max(inside, 1), self.n_frames(clip_s))

    def content(self) -> dict[str, object]:
        """Settings that the stored numbers depend on."""
        form = {"dtype"} if self.on_device else {"frontend"}
        same = {name for name in _LATER if getattr(self, name) == _default(name)}
        # Scaling is the model's; a setting that came later does not change stores without it.
        return self.model_dump(mode="json", exclude=form | same | {"scaling"})


_LINEAR = {"levels", "scaling", "pad_value"}
_LATER = _LINEAR | {*FORM_SETTINGS, "offset_rounding", "label_frames"}


def _default(name: str) -> Any:
    return FeatureConfig.model_fields[name].default


def extract_features(
    audio: np.ndarray, features: FeatureConfig, sample_rate_hz: int, clip_s: float | None = None
) -> np.ndarray:
    """Computes the features of one clip.

    Args:
        audio: float (S, 1) in [-1, 1].
        features: kind and sizes.
        sample_rate_hz: sample rate of the audio.
        clip_s: longer audio is cut to this length; shorter audio is padded with digital silence, as
            published for logmel_db, except for log_magnitude_mel, whose missing frames the pipeline
            pads when the mean is known, and for `pad_value: zero_db`, whose frames have magnitudes
            of 1. None: the audio keeps its length.

    Returns:
        (T, bands, 1) of the stored type: dB, not below -100, the natural logarithm of magnitudes,
        or linear magnitudes. With `clip_s` T is at most `features.n_frames(clip_s)`. Without, see
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
    if not features.pads_audio:
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
    computed = features.entry.compute(audio, sizes, n_frames, features.dtype)
    if clip_s is None or not features.entry.fills_clips:
        return computed
    return fit_frames(computed, features.n_frames(clip_s), ZERO_DB)


def fit_frames(features: np.ndarray, n_frames: int, value: float) -> np.ndarray:
    """Cuts features (T, ...) to `n_frames`, or pads them with frames of one value."""
    missing = max(0, n_frames - len(features))
    pads = ((0, missing), *((0, 0) for _ in features.shape[1:]))
    return np.pad(features[:n_frames], pads, constant_values=value)


def level_statistics_array(features: np.ndarray, config: FeatureConfig) -> dict[str, np.ndarray]:
    """Levels in dB of a clip's magnitudes, of which statistics are; none for other kinds."""
    return {LEVELS: magnitude_db(features, config.levels)} if config.entry.is_linear else {}
