"""Kinds of features: one entry of a table describes all properties of a kind.

The families define the entries, in `seld/features.py` and `sed_task4/features.py`. A new kind is
one more entry there: settings, extraction, training, prediction, figures and reports follow.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from common.errors import ConfigError
from common.family import families, load
from common.features.channel_transforms import Tables
from common.features.spectral import MelNorm, MelScale, mel_filters
from common.settings.stft import Stft, Window

MEL_BANDS = ("n_mels", "fmin_hz", "fmax_hz")
LEVELS = "levels"  # in dB, of linear magnitudes: what statistics are of
LiveCompute = Callable[[np.ndarray, "FeatureSizes", int, str, slice], np.ndarray]
_MISSING: Any = None
_TABLES: list[Mapping[str, "FeatureKind"]] = []


@dataclass(frozen=True, kw_only=True)
class FeatureSizes(Stft):
    """Kind of features and its sizes, for audio of one sample rate and number of channels.

    Attributes:
        kind: name of a `FeatureKind`.
        channels: channels of the audio.
        sample_rate_hz: sample rate of the audio.
        n_mels: number of mel bands; unused by kinds without mel bands, as are both edges.
        fmin_hz: lower edge of the lowest mel band.
        fmax_hz: upper edge of the highest mel band; None: half the sample rate.
        gcc_n_fft: FFT size and Hann window length of cross-correlations.
        interleaved_channels: see `common.features.spectral.interleave_channels`.
        top_db: see `common.features.levels.limit_range`; None: levels are not limited.
        fmin_doa_hz: lowest frequency of spatial features bin by bin.
        fmax_doa_hz: frequency from which on they are zero.
        fmax_spectra_hz: frequency at which linear spectra end, or from which on they are averaged.
        published_phase_range: see `common.features.salsa.BinRange`.
        wrap_around: see `common.features.salsa.salsa`.
        mel_scale: see `common.features.spectral.mel_filters`.
        mel_norm: as well.
    """

    kind: str
    channels: int
    sample_rate_hz: int
    n_mels: int = 64
    fmin_hz: float = 0.0
    fmax_hz: float | None = None
    gcc_n_fft: int = 2048
    interleaved_channels: bool = False
    top_db: float | None = None
    fmin_doa_hz: float = 50.0
    fmax_doa_hz: float = 2000.0
    fmax_spectra_hz: float = 9000.0
    published_phase_range: bool = False
    wrap_around: bool = False
    mel_scale: MelScale = "slaney"
    mel_norm: MelNorm = "area"

    @property
    def filters(self) -> np.ndarray:
        """Mel filters, float32 (n_fft // 2 + 1, n_mels), read-only."""
        edges = self.fmin_hz, self.fmax_hz
        form = self.mel_scale, self.mel_norm
        return mel_filters(self.sample_rate_hz, self.n_fft, self.n_mels, *edges, *form)


def level_titles(names: Sequence[str]) -> list[str]:
    """Titles of log-mel spectra, from the names of the audio's channels."""
    return [f"{name}, level / dB" for name in names]


def first_channel(features: np.ndarray) -> np.ndarray:
    """First channel of features (T, F, C) that are in dB: float32 (T, F)."""
    return features[..., 0].astype(np.float32)


def mel_bands_per_channel(sizes: FeatureSizes) -> tuple[int, int]:
    """Shape of features with one mel spectrum for each channel of the audio."""
    return sizes.n_mels, sizes.channels


@dataclass(frozen=True, kw_only=True)
class FeatureKind:
    """One kind of features; the first channel of its features is the spectrogram that is drawn.

    Attributes:
        name: value of the setting `features.kind`.
        shape: bands and channels (F, C') of the features.
        compute: features float (T, F, C') from audio float32 (S, C) in [-1, 1], the sizes, the
            number of frames T, and the type of the result.
        device: the same in the model, float32 (B, C', T, F) from an
            `common.models.audio_features.AudioFeatures` and samples (B, C, S); None: only
            extraction can compute them.
        titles: titles of the features' channels from the names of the audio's channels.
        level_db: spectrogram of the first channel in dB, (T, F), from features (T, F, C').
        level_unit: unit of the features' first channel, for axes.
        defaults: published values of settings, which hold where `params.yaml` gives no other.
        settings: settings that the numbers depend on besides those of the STFT.
        dtype: type in shards where the setting `dtype` is null.
        window: window function.
        is_centred: True: frame t is centred on sample t * hop; False: it begins there, and only
            whole windows count.
        counts_the_end: True: the frame centred on the end of a recording counts too, and short
            recordings stay short; False: they are padded with silence.
        fills_clips: True: a clip has the frame at its end, too, and short ones are padded all the
            same, where the end counts.
        is_linear: True: features are magnitudes, which a model turns into levels and scales, see
            `common.models.levels`, so that augmentation can work on magnitudes.
        has_lags: True: bands are also lags of cross-correlations.
        lags_n_fft: FFT size of the cross-correlations, from the sizes.
        peak: channels among which the peak counts that `top_db` refers to: "channel", each for
            itself, or "all" together; None: the setting does not apply.
        neighbours: frames on either side that a frame depends on besides its own samples.
        is_local: False: frames depend on all earlier ones, so that blocks of a recording differ
            from the whole.
        live: makes a `compute` for one live stream that is not local: it remembers the frames so
            far, and gets as last argument which of the block's frames are new, a slice. None: a
            stream cannot be computed, unless it is local.
        can_interleave: True: the setting `interleaved_channels` applies.
        is_for_masks: True: masks over the bands can separate sounds.
        ddof: divisor of the variance is the number of frames minus this.
        audio_format: the one `dataset.format` with which the kind works; None: any.
        audio_channels: the one number of channels with which it works; None: any.
        channel_swaps: tables of swapped channels of Ambisonics for augmentation: from (R, C) source
            channels and signs of the audio to `common.features.channel_transforms.Tables` of the
            features. None: the features do not contain the signs of channels.
        microphone_swaps: the same for microphones, whose channels are only reordered.
    """

    name: str
    shape: Callable[[FeatureSizes], tuple[int, int]] = _MISSING
    compute: Callable[[np.ndarray, FeatureSizes, int, str], np.ndarray] = _MISSING
    device: Callable[[Any, Any], Any] | None = None
    titles: Callable[[Sequence[str]], list[str]] = level_titles
    level_db: Callable[[np.ndarray], np.ndarray] = first_channel
    level_unit: str = "dB"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    settings: tuple[str, ...] = MEL_BANDS
    dtype: str = "float32"
    window: Window = "hann"
    is_centred: bool = True
    counts_the_end: bool = False
    fills_clips: bool = False
    is_linear: bool = False
    has_lags: bool = False
    lags_n_fft: Callable[[FeatureSizes], int] = lambda sizes: sizes.gcc_n_fft
    peak: Literal["channel", "all"] | None = None
    neighbours: int = 0
    is_local: bool = True
    live: Callable[[], LiveCompute] | None = None
    can_interleave: bool = False
    is_for_masks: bool = False
    ddof: int = 0
    audio_format: str | None = None
    audio_channels: int | None = None
    channel_swaps: Callable[[np.ndarray, np.ndarray], Tables] | None = None
    microphone_swaps: Callable[[np.ndarray, np.ndarray], Tables] | None = None

    def __post_init__(self) -> None:
        for part in ("shape", "compute", "titles", "level_db"):
            if not callable(getattr(self, part)):
                text = f"The kind of features {self.name!r} lacks `{part}`. Expected: a function"
                raise ConfigError(f"{text}, see `common.features.kinds.FeatureKind`.")

    @property
    def statistics_of(self) -> str:
        """Array of an example whose mean and standard deviation are stored."""
        return LEVELS if self.is_linear else "features"

    @property
    def level_per_db(self) -> float | None:
        """Change of the levels in the first channels for one dB; None: they are not logarithmic."""
        if self.level_unit == "ln":  # of magnitudes
            return float(np.log(10) / 20)
        return 1.0 if self.level_db is first_channel and not self.is_linear else None

    @property
    def has_mel_bands(self) -> bool:
        """True if the bands are mel bands."""
        return "n_mels" in self.settings

    def n_frames(self, n_samples: int, stft: Stft) -> int:
        """Number of frames of a recording of `n_samples`."""
        if not self.is_centred:
            return 1 + max(0, n_samples - stft.window_samples) // stft.hop_samples
        hops = n_samples // stft.hop_samples
        return 1 + hops if self.counts_the_end else max(1, hops)


def feature_kinds(*kinds: FeatureKind) -> dict[str, FeatureKind]:
    """Table of a family's kinds by name, registered for saved models.

    Raises:
        ConfigError: two kinds have one name.
    """
    table: dict[str, FeatureKind] = {}
    for kind in kinds:
        if any(kind.name in known for known in (table, *_TABLES)):
            raise ConfigError(f"Two kinds of features have the name {kind.name!r}.")
        table[kind.name] = kind
    _TABLES.append(table)
    return table


def kind_named(name: str) -> FeatureKind:
    """Entry of a kind of any family.

    Raises:
        ConfigError: no family has it.
    """
    for _ in range(2):
        for table in _TABLES:
            if name in table:
                return table[name]
        for family in families():  # models can be loaded without the settings of their family
            load(family, "config")
    raise unknown_kind(name, [known for table in _TABLES for known in table])


def unknown_kind(name: str, known: Sequence[str]) -> ConfigError:
    """Error for a kind that is in no table."""
    expected = f"one of {', '.join(known)}"
    return ConfigError(f"Unknown kind of features. Expected: {expected}. Received: {name!r}.")
