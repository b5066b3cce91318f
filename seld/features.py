"""Features of SELD: the table of their kinds, their settings, and their computation.

- `magnitude_phase`: spectra, as published for SELDnet.
- `logmel_intensity`: log-mel spectra and intensity vectors of first-order Ambisonics (FOA).
- `logmel`: log-mel spectra.
- `logmel_gcc`: log-mel spectra and cross-correlations (GCC-PHAT) of all pairs of channels, as in
  the published two-stage systems.

Those of the DCASE baselines and of other systems from 2020 on:

- `logmel_intensity_2020`, `_2021`, `_2022`: log-mel spectra and intensity vectors, normalised bin
  by bin, each year by another rule; 2023 and 2024 are as 2022.
- `logmel_gcc_2020`: log-mel spectra and GCC-PHAT of one transform, 2020 to 2024.
- `salsa_lite_2022`: SALSA-Lite as in the baselines of 2022 to 2024.
- `logmel_2025`: log-mel spectra of stereo recordings.
- `einv2`: log-mel spectra and intensity vectors of EINV2. It divides 16-bit samples by 32767 and
  not 32768; the 0.0003 dB are left out here.
- `salsa_foa`, `salsa_mic`, `salsa_lite`, `salsa_ipd`: SALSA's features, see
  `common.features.salsa`; `melspeciv`, `linspeciv`, `melspecgcc`, `linspecgcc`: its baselines.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from common.audio.files import fit_length, resample
from common.errors import ConfigError
from common.features import salsa, spectral
from common.features.channel_transforms import Tables
from common.features.intensity import XYZ, YZX, BinNorm, levels_and_intensity, linear_bands
from common.features.kinds import (
    MEL_BANDS,
    FeatureKind,
    FeatureSizes,
    LiveCompute,
    feature_kinds,
    level_titles,
    mel_bands_per_channel,
)
from common.features.levels import RunningPeak, limit_range
from common.features.settings import FeatureSettings, as_frontend
from common.features.spectral import frames_in
from common.settings.stft import Edges
from seld.augmentation import (
    audio_tables,
    gcc_tables,
    level_tables,
    logmel_intensity_tables,
    magnitude_phase_tables,
    phase_difference_tables,
)

_TWO_STAGE = {
    "sample_rate_hz": 32000,
    "window_s": 0.032,
    "hop_s": 0.01,
    "n_fft": 1024,
    "n_mels": 96,
    "label_rule": "two_stage",
}
_BASELINE = {
    "sample_rate_hz": 24000,
    "window_s": 0.04,
    "hop_s": 0.02,
    "n_fft": 1024,
    "n_mels": 64,
    "fmin_hz": 0.0,
}
_EINV2 = {**_BASELINE, "window_s": 1024 / 24000, "hop_s": 0.025, "n_mels": 256, "fmin_hz": 20.0}
_SALSA = {
    "sample_rate_hz": 24000,
    "window_s": 512 / 24000,
    "hop_s": 0.0125,
    "n_fft": 512,
    "n_mels": 128,
}
_LINEAR = ("fmax_spectra_hz",)
_BINS = ("fmin_doa_hz", "fmax_doa_hz", "fmax_spectra_hz")
# Settings that only kinds which name them take.
_OF_KINDS = (
    *("top_db", "edges", "fmin_doa_hz", "fmax_doa_hz", "fmax_spectra_hz"),
    *("published_phase_range", "wrap_around"),
)


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


def _linear_filters(sizes: FeatureSizes) -> np.ndarray:
    return linear_bands(sizes.sample_rate_hz, sizes.n_fft, sizes.fmax_spectra_hz)


def _intensity_of_bins(
    audio: np.ndarray,
    sizes: FeatureSizes,
    n_frames: int,
    dtype: str,
    rule: BinNorm,
    linear: bool = False,
) -> np.ndarray:
    filters = _linear_filters(sizes) if linear else sizes.filters
    return levels_and_intensity(audio, filters, sizes, n_frames, rule, dtype)


def _intensity_kind(name: str, rule: BinNorm, linear: bool = False, **fields: Any) -> FeatureKind:
    """Log spectra of Ambisonics, and intensities normalised bin by bin."""
    letters = ["xyz"[XYZ.index(channel)] for channel in rule.axes]

    def shape(sizes: FeatureSizes) -> tuple[int, int]:
        return (_linear_filters(sizes).shape[1] if linear else sizes.n_mels), 7

    def device(layer: Any, samples: Any) -> Any:
        filters = _linear_filters(layer.frontend) if linear else layer.frontend.filters
        return layer.levels_and_intensity(samples, filters, rule)

    return FeatureKind(
        name=name,
        shape=shape,
        compute=partial(_intensity_of_bins, rule=rule, linear=linear),
        device=device,
        titles=lambda names: [*level_titles(names), *(f"intensity along {a}" for a in letters)],
        audio_format="foa",
        audio_channels=4,
        channel_swaps=partial(logmel_intensity_tables, axes=rule.axes),
        **fields,
    )


def _phase_titles(names: Sequence[str], unit: str = "path difference / m") -> list[str]:
    return [*level_titles(names), *(f"{name} against {names[0]}, {unit}" for name in names[1:])]


def _phase_kind(name: str, unit: salsa.PhaseUnit, **fields: Any) -> FeatureKind:
    """Log spectra of microphones, and phases against the first of them."""
    label = {"metres": "path difference / m", "half_turns": "phase / pi"}[unit]

    def compute(audio: np.ndarray, sizes: FeatureSizes, n_frames: int, dtype: str) -> np.ndarray:
        return salsa.phase_differences(audio, sizes, n_frames, unit, dtype)

    return FeatureKind(
        name=name,
        shape=lambda sizes: (salsa.BinRange.of(sizes).n_spectra, 2 * sizes.channels - 1),
        compute=compute,
        device=lambda layer, samples: layer.phase_differences(samples, unit),
        titles=partial(_phase_titles, unit=label),
        audio_format="mic",
        microphone_swaps=phase_difference_tables,
        settings=(*_BINS, "published_phase_range"),
        **fields,
    )


def _salsa_kind(audio_format: str, fmax_doa_hz: float, **fields: Any) -> FeatureKind:
    """SALSA of Ambisonics or of microphones; not on the device, where it would need a loop."""

    def compute(audio: np.ndarray, sizes: FeatureSizes, n_frames: int, dtype: str) -> np.ndarray:
        return salsa.salsa(audio, sizes, n_frames, audio_format, dtype)

    def live() -> LiveCompute:
        floor = salsa.NoiseFloor()

        def compute_new(
            audio: np.ndarray, sizes: FeatureSizes, n_frames: int, dtype: str, new: slice
        ) -> np.ndarray:
            return salsa.salsa(audio, sizes, n_frames, audio_format, dtype, floor, new)

        return compute_new

    return FeatureKind(
        name=f"salsa_{audio_format}",
        shape=lambda sizes: (_linear_filters(sizes).shape[1], 2 * sizes.channels - 1),
        compute=compute,
        audio_format=audio_format,
        defaults={**_SALSA, "fmax_doa_hz": fmax_doa_hz},
        settings=(*_BINS, "wrap_around"),
        counts_the_end=True,
        neighbours=salsa.NEIGHBOURS,
        is_local=False,
        live=live,
        **fields,
    )


def _gcc_kind(name: str, times: int, linear: bool = False, **fields: Any) -> FeatureKind:
    """Log spectra, and cross-correlations of `times` their FFT size with the same window."""

    def filters(sizes: FeatureSizes) -> np.ndarray:
        return _linear_filters(sizes) if linear else sizes.filters

    def compute(audio: np.ndarray, sizes: FeatureSizes, n_frames: int, dtype: str) -> np.ndarray:
        gcc = times * sizes.n_fft, dtype, sizes.window_samples
        return spectral.logmel_gcc(audio, filters(sizes), sizes, n_frames, *gcc)

    def device(layer: Any, samples: Any) -> Any:
        sizes = layer.frontend
        return layer.logmel_gcc(samples, times * sizes.n_fft, sizes.window_samples, filters(sizes))

    def shape(sizes: FeatureSizes) -> tuple[int, int]:
        n_bands, n_channels = _mel_bands_and_pairs(sizes)
        return (_linear_filters(sizes).shape[1] if linear else n_bands), n_channels

    return FeatureKind(
        name=name,
        shape=shape,
        compute=compute,
        device=device,
        titles=_logmel_gcc_titles,
        has_lags=True,
        lags_n_fft=lambda sizes: times * sizes.n_fft,
        microphone_swaps=gcc_tables,
        **fields,
    )


def _mel_bands_and_pairs(sizes: FeatureSizes) -> tuple[int, int]:
    return sizes.n_mels, sizes.channels * (sizes.channels + 1) // 2


_BASELINE_2020: dict[str, Any] = {
    "defaults": {**_BASELINE, "top_db": 80.0},
    "settings": (*MEL_BANDS, "top_db"),
    "peak": "channel",
}

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
        microphone_swaps=magnitude_phase_tables,
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
        microphone_swaps=level_tables,
    ),
    FeatureKind(
        name="logmel_gcc",
        shape=_mel_bands_and_pairs,
        compute=_logmel_gcc,
        device=lambda layer, samples: layer.logmel_gcc(samples),
        titles=_logmel_gcc_titles,
        defaults=_TWO_STAGE,
        settings=(*MEL_BANDS, "gcc_n_fft"),
        counts_the_end=True,
        has_lags=True,
        microphone_swaps=gcc_tables,
    ),
    _intensity_kind(
        "logmel_intensity_2020", BinNorm("length", XYZ), can_interleave=True, **_BASELINE_2020
    ),
    _intensity_kind("logmel_intensity_2021", BinNorm("half_energy", XYZ), **_BASELINE_2020),
    _intensity_kind("logmel_intensity_2022", BinNorm("energy", YZX), **_BASELINE_2020),
    _gcc_kind("logmel_gcc_2020", 1, can_interleave=True, **_BASELINE_2020),
    _phase_kind("salsa_lite_2022", "metres", defaults=_BASELINE),
    FeatureKind(
        name="logmel_2025",
        shape=mel_bands_per_channel,
        compute=_logmel,
        device=lambda layer, samples: layer.log_mel(samples),
        defaults={**_BASELINE, "top_db": 80.0, "edges": "zeros"},
        settings=(*MEL_BANDS, "top_db", "edges"),
        peak="all",
        counts_the_end=True,
    ),
    _intensity_kind(
        "einv2", BinNorm("length", YZX, floor=1.2e-7), defaults=_EINV2, counts_the_end=True
    ),
    _salsa_kind(
        "foa",
        9000.0,
        audio_channels=4,
        titles=lambda names: [*level_titles(names), *(f"eigenvector along {a}" for a in "yzx")],
        channel_swaps=partial(logmel_intensity_tables, axes=YZX),
    ),
    _salsa_kind("mic", 4000.0, titles=_phase_titles, microphone_swaps=phase_difference_tables),
    _phase_kind("salsa_lite", "metres", defaults=_SALSA, counts_the_end=True),
    _phase_kind("salsa_ipd", "half_turns", defaults=_SALSA, counts_the_end=True),
    _intensity_kind("melspeciv", BinNorm("length", YZX), defaults=_SALSA, counts_the_end=True),
    _intensity_kind(
        "linspeciv",
        BinNorm("length", YZX),
        linear=True,
        defaults=_SALSA,
        settings=_LINEAR,
        counts_the_end=True,
    ),
    _gcc_kind("melspecgcc", 2, defaults=_SALSA, counts_the_end=True),
    _gcc_kind("linspecgcc", 2, linear=True, defaults=_SALSA, settings=_LINEAR, counts_the_end=True),
)


class FeatureConfig(FeatureSettings):
    """Kind, sizes and storage of features; the defaults are those published for the kind."""

    KINDS = KINDS

    kind: str = Field(
        "magnitude_phase",
        description="Kind of features. magnitude_phase: as in SELDnet; logmel_intensity: log-mel"
        " spectra and intensity vectors, of Ambisonics only; logmel: log-mel spectra; logmel_gcc:"
        " log-mel spectra and cross-correlations of microphones. As in the DCASE baselines:"
        " logmel_intensity_2020, logmel_intensity_2021, logmel_intensity_2022 (to 2024),"
        " logmel_gcc_2020 (to 2024), salsa_lite_2022 (to 2024), logmel_2025 of stereo. einv2: as in"
        " EINV2. salsa_foa, salsa_mic, salsa_lite, salsa_ipd: as in SALSA, with its baselines"
        " melspeciv, linspeciv, melspecgcc, linspecgcc.",
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
    top_db: float | None = Field(
        None,
        gt=0,
        description="Range of levels in dB below the peak of the recording; null: no limit but -100"
        " dB. Peak of each channel, for logmel_2025 of both. Features then depend on the whole"
        " recording: extraction only, and streams use the peak so far. Default of the baselines of"
        " 2020 to 2025 with mel bands: 80.",
    )
    edges: Edges = Field(
        "reflect",
        description="Samples before and after a recording. reflect: its mirror image; zeros:"
        " silence, the default of logmel_2025 and for it alone.",
    )
    fmin_doa_hz: float = Field(
        50.0, ge=0, description="Lowest frequency of salsa_foa, salsa_mic, salsa_lite, salsa_ipd."
    )
    fmax_doa_hz: float = Field(
        2000.0,
        gt=0,
        description="Frequency from which on the spatial features of salsa_lite, salsa_ipd,"
        " salsa_mic (default: 4000) and salsa_foa (9000) are zero.",
    )
    fmax_spectra_hz: float = Field(
        9000.0,
        gt=0,
        description="Frequency at which the spectra of salsa_lite and salsa_ipd end, and from which"
        " on those of salsa_foa, salsa_mic, linspeciv and linspecgcc are averaged over 8 bins.",
    )
    published_phase_range: bool = Field(
        False,
        description="Quirk of the published salsa_lite and salsa_ipd: phases reach beyond"
        " `fmax_doa_hz` by as many bins as there are below `fmin_doa_hz`.",
    )
    wrap_around: bool = Field(
        False,
        description="Quirk of the published SALSA: the first and last frames of salsa_foa and"
        " salsa_mic include frames of the other end of the recording; false: reflected ones.",
    )
    dtype: Literal["float16", "float32"] | None = Field(
        None,
        description="Type of features in shards; null: float16 for magnitude_phase, float32 for"
        " the others.",
    )
    interleaved_channels: bool = Field(
        False,
        description="Quirk of the published SELDnet of 2019 and 2020: neighbouring bins packed into"
        " channels, for magnitude_phase, logmel_intensity_2020 and logmel_gcc_2020 only.",
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
        if "gcc_n_fft" in self.entry.settings and self.n_mels > self.gcc_n_fft:
            raise ValueError(
                "`n_mels`, which is also the number of lags, must not exceed `gcc_n_fft`. "
                f"Received: {self.n_mels} > {self.gcc_n_fft}."
            )
        if self.entry.has_lags and self.n_mels > self.n_fft and "n_mels" in self.entry.settings:
            raise ValueError(
                "`n_mels`, which is also the number of lags, must not exceed `n_fft`. "
                f"Received: {self.n_mels} > {self.n_fft}."
            )
        return self

    @model_validator(mode="after")
    def _settings_belong_to_the_kind(self) -> "FeatureConfig":
        fields = type(self).model_fields
        for name in _OF_KINDS:
            if name not in self.entry.settings and getattr(self, name) != fields[name].default:
                kinds = " or ".join(each for each, kind in KINDS.items() if name in kind.settings)
                raise ValueError(f"`{name}` belongs to {kinds}. Received: kind {self.kind}.")
        if "fmax_doa_hz" in self.entry.settings:
            doa_hz, highest_hz = (self.fmin_doa_hz, self.fmax_doa_hz), self.fmax_spectra_hz
            if not doa_hz[0] < doa_hz[1] <= highest_hz:
                raise ValueError(
                    "Expected: `fmin_doa_hz` < `fmax_doa_hz` <= `fmax_spectra_hz`. Received:"
                    f" {doa_hz[0]:g}, {doa_hz[1]:g}, {highest_hz:g}."
                )
        if self.on_device and self.top_db is not None:
            raise ValueError(
                "`frontend: device` computes sequences, whose peak is not that of the recording."
                f" Expected: `top_db: null`, or `frontend: extraction`. Received: {self.top_db:g}."
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

    @property
    def microphone_swaps(self) -> Callable[[np.ndarray, np.ndarray], Tables] | None:
        """The same for microphones."""
        return audio_tables if self.on_device else self.entry.microphone_swaps

    def packed_channels(self, channels: int) -> int:
        """First channels of interleaved features, of recordings with `channels`; 0: not packed."""
        return channels if self.interleaved_channels else 0

    def rate_hz(self, recorded_hz: int) -> int:
        """Sample rate of the audio that features are computed from."""
        return self.sample_rate_hz or recorded_hz

    def check(self, recorded_hz: int) -> None:
        """Compares the sizes with the sample rate of the recordings, as for all families."""
        super().check(recorded_hz)
        rate_hz = self.rate_hz(recorded_hz)
        if "fmax_spectra_hz" in self.entry.settings and self.fmax_spectra_hz > rate_hz / 2:
            raise ConfigError(
                f"The spectra reach {self.fmax_spectra_hz:g} Hz. Expected: at most half the sample"
                f" rate, {rate_hz / 2:g} Hz. Set `features.fmax_spectra_hz` or the sample rate."
            )

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
        see `spectral.gcc_phat`. Those of the other kinds: `common.features.intensity` and
        `common.features.salsa`.

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
    entry = features.entry
    computed = entry.compute(audio, sizes, n_frames, dtype or features.stored_dtype)
    return limit_range(computed, audio.shape[1], features.top_db, entry.peak == "all")


class LiveFeatures:
    """Features of a live stream, block by block: what depends on a recording depends on it so far.

    Levels are limited below the peak so far, see `RunningPeak`; SALSA's noise floor, which follows
    the frames in any case, is that of the whole recording.

    Args:
        features: kind and sizes.
        rate_hz: sample rate of the audio.
        channels: channels of the audio.

    Raises:
        ConfigError: the features depend on the end of the recording.
    """

    def __init__(self, features: FeatureConfig, rate_hz: int, channels: int):
        check_live(features)
        entry, top_db = features.entry, features.top_db
        self._features, self._sizes = features, as_frontend(features, rate_hz, channels)
        self._compute = None if entry.live is None else entry.live()
        self._peak = None if top_db is None else RunningPeak(top_db, entry.peak == "all")

    def compute(self, audio: np.ndarray, new: slice) -> np.ndarray:
        """Computes the features of a block of audio.

        Args:
            audio: float32 (S, C).
            new: its frames that follow those of the blocks before; only they are valid.

        Returns:
            (T, F, C') of the stored type.
        """
        entry, sizes = self._features.entry, self._sizes
        facts = audio, sizes, entry.n_frames(len(audio), sizes), self._features.stored_dtype
        computed = entry.compute(*facts) if self._compute is None else self._compute(*facts, new)
        if self._peak is not None:
            self._peak.limit(computed[new], audio.shape[1])
        return computed


def check_live(features: FeatureConfig) -> None:
    """Refuses features that a live stream cannot compute.

    Raises:
        ConfigError: they depend on the end of the recording.
    """
    if features.wrap_around:
        raise ConfigError(
            f"`features.kind: {features.kind}` with `features.wrap_around: true`, a quirk of the"
            " published code, begins with frames of the recording's end. Expected: a run with"
            " `features.wrap_around: false` for live prediction; files can be predicted."
        )
