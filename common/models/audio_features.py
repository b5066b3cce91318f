"""Features of `common.features.spectral` as a Keras layer, from audio on any backend."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import combinations
from typing import Any

import keras
import numpy as np

from common.audio.files import FULL_SCALE
from common.features import spectral
from common.features.frontend import AUDIO, Frontend
from common.features.intensity import SHARES, BinNorm
from common.features.salsa import BinRange, PhaseUnit, phase_scale
from common.models.layers import PACKAGE

FRONTEND = "frontend"  # name of the layer in trained models
Spectra = tuple[Any, Any]  # real and imaginary parts, (B, C, T, F) each


@keras.saving.register_keras_serializable(package=PACKAGE)
class AudioFeatures(keras.layers.Layer):
    """Computes features of 16-bit audio, in float32 under any precision policy.

    They equal those of extraction within float32: log-mel to 0.01 dB, phases and correlations to
    1e-3 wherever the bins are above the rounding of 16-bit samples.

    The methods below, each from samples (B, C, S) to features (B, C', T, F), are those that
    `common.features.kinds.FeatureKind.device` can use.

    Args:
        frontend: kind and sizes, as `Frontend` or its fields.
    """

    def __init__(self, frontend: Frontend | Mapping[str, Any], **options: Any) -> None:
        options.setdefault("dtype", "float32")  # half precision is too coarse for log powers
        super().__init__(**options)
        self.frontend = frontend if isinstance(frontend, Frontend) else Frontend(**frontend)
        self.trainable = False
        self.by_convolution = False  # for exported programs without an FFT

    def call(self, audio: Any) -> Any:
        """Computes the features of pieces of recordings.

        Args:
            audio: int16 (B, S, C), S = (T + context) * hop samples from the first sample of the
                first frame on, see `Frontend.pieces`.

        Returns:
            float32 (B, T, F, C'), see `Frontend.bands_channels`.
        """
        ops, compute = keras.ops, self.frontend.entry.device
        if compute is None:
            raise ValueError(f"A model cannot compute features of kind {self.frontend.kind}.")
        samples = ops.transpose(ops.cast(audio, "float32") / FULL_SCALE, (0, 2, 1))  # (B, C, S)
        features = ops.transpose(compute(self, samples), (0, 2, 3, 1))  # (B, T, F, C')
        if self.frontend.interleaved_channels:
            return self._interleaved(features)
        # Changes nothing, but LiteRT loses the number of channels in an FFT unless it is given.
        return ops.reshape(features, (*ops.shape(features)[:2], *self.frontend.bands_channels))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns (B, T, F, C'); T is None if the number of samples is."""
        sizes, samples = self.frontend, input_shape[1]
        frames = None if samples is None else 1 + (samples - sizes.longest) // sizes.hop_samples
        return (input_shape[0], frames, *sizes.bands_channels)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the layer again."""
        return {**super().get_config(), "frontend": asdict(self.frontend)}

    def spectra(self, samples: Any, window: np.ndarray | None = None) -> Spectra:
        """Short-time Fourier transform of samples (B, C, S).

        Args:
            samples: (B, C, S).
            window: (n_fft,), shorter ones centred on the same samples; None: `analysis_window`.
        """
        window = self.analysis_window() if window is None else window
        n_fft, hop = len(window), self.frontend.hop_samples
        spare = (self.frontend.longest - n_fft) // 2
        inner = samples[:, :, spare : keras.ops.shape(samples)[2] - spare] if spare else samples
        if self.by_convolution:
            return _convolved(inner, window, hop)
        return keras.ops.stft(inner, n_fft, hop, n_fft, window.astype(np.float32), center=False)

    def analysis_window(self) -> np.ndarray:
        """Window function of the settings, zero-padded to the FFT size, float64 (n_fft,)."""
        sizes = self.frontend
        if sizes.entry.is_centred:
            return spectral.analysis_window(sizes.window_samples, sizes.n_fft, sizes.window)
        short = spectral.analysis_window(sizes.window_samples, sizes.window_samples, sizes.window)
        return np.pad(short, (0, sizes.n_fft - sizes.window_samples))

    def levels_and_intensity(self, samples: Any, filters: np.ndarray, rule: BinNorm) -> Any:
        """Spectra in dB and intensities of bins, see `intensity.levels_and_intensity`."""
        ops = keras.ops
        real, imag = self.spectra(samples)
        power = real**2 + imag**2  # (B, 4, T, F)
        x, y = (_channels(part, list(rule.axes)) for part in (real, imag))
        intensity = real[:, :1] * x + imag[:, :1] * y  # (B, 3, T, F)
        if rule.norm == "length":
            norm = ops.sqrt(ops.sum(intensity**2, axis=1, keepdims=True))
        else:
            of_w, of_others = SHARES[rule.norm]
            others = ops.sum(power[:, 1:], axis=1, keepdims=True)
            norm = of_w * power[:, :1] + of_others * others
        intensity = ops.matmul(intensity / (norm + rule.floor), filters)
        return ops.concatenate([decibels(ops.matmul(power, filters)), intensity], axis=1)

    def phase_differences(self, samples: Any, unit: PhaseUnit) -> Any:
        """Spectra in dB and phases against the first microphone, see `salsa.phase_differences`."""
        ops, bins = keras.ops, BinRange.of(self.frontend)
        real, imag = self.spectra(samples)
        levels = decibels((real**2 + imag**2)[..., bins.lower : bins.cutoff])
        a, b = (part[..., bins.spatial] for part in (real, imag))  # (B, C, T, bins)
        first = a[:, :1], b[:, :1]
        cosine = a[:, 1:] * first[0] + b[:, 1:] * first[1]
        sine = b[:, 1:] * first[0] - a[:, 1:] * first[1]
        phases = ops.arctan2(sine, cosine) * phase_scale(self.frontend, unit, bins.spatial)
        above = ((0, 0), (0, 0), (0, 0), (0, bins.n_spectra - bins.n_spatial))
        return ops.concatenate([levels, ops.pad(phases, above)], axis=1)

    def mel_bands(self, spectrum: Any) -> Any:
        """Sums values (..., F) of bins to mel bands."""
        return keras.ops.matmul(spectrum, self.frontend.filters)

    def magnitude_phase(self, samples: Any) -> Any:
        """Magnitudes, then phases in radians, without the constant component."""
        real, imag = (part[..., 1:] for part in self.spectra(samples))
        phase = keras.ops.arctan2(imag, real)
        return keras.ops.concatenate([magnitude(real, imag), phase], axis=1)

    def log_mel(self, samples: Any) -> Any:
        """Mel spectra in dB."""
        real, imag = self.spectra(samples)
        return decibels(self.mel_bands(real**2 + imag**2))

    def logmel_intensity(self, samples: Any) -> Any:
        """Mel spectra in dB and intensity vectors, see `spectral.logmel_intensity`."""
        ops = keras.ops
        real, imag = self.spectra(samples)
        energy = self.mel_bands(real**2 + imag**2)  # (B, 4, T, bands)
        x, y = (_channels(part, [3, 1, 2]) for part in (real, imag))  # X, Y, Z
        intensity = self.mel_bands(real[:, :1] * x + imag[:, :1] * y)  # (B, 3, T, bands)
        scale = ops.sqrt(energy[:, :1] * ops.sum(energy[:, 1:], axis=1, keepdims=True))
        intensity = intensity / ops.maximum(scale, float(np.finfo(np.float32).tiny))
        return ops.concatenate([decibels(energy), ops.clip(intensity, -1.0, 1.0)], axis=1)

    def logmel_gcc(
        self,
        samples: Any,
        gcc_n_fft: int | None = None,
        gcc_window_samples: int | None = None,
        filters: np.ndarray | None = None,
    ) -> Any:
        """Spectra in dB and cross-correlations, see `spectral.logmel_gcc`; default: mel bands."""
        sizes, ops = self.frontend, keras.ops
        n_fft, filters = gcc_n_fft or sizes.gcc_n_fft, sizes.filters if filters is None else filters
        window = spectral.analysis_window(gcc_window_samples or n_fft, n_fft)
        lags = gcc_phat(*self.spectra(samples, window), filters.shape[1])
        real, imag = self.spectra(samples)
        return ops.concatenate([decibels(ops.matmul(real**2 + imag**2, filters)), lags], axis=1)

    def mel_magnitude(self, samples: Any) -> Any:
        """Magnitudes in mel bands, linear."""
        return self.mel_bands(magnitude(*self.spectra(samples)))

    def log_magnitude_mel(self, samples: Any) -> Any:
        """Natural logarithm of magnitudes in mel bands, see `spectral.log_magnitude_mel`."""
        floor = float(np.spacing(1.0))
        real, imag = self.spectra(samples + floor)
        return keras.ops.log(self.mel_bands(magnitude(real, imag)) + floor)

    def log_density_mel(self, samples: Any, floor: float) -> Any:
        """Natural logarithm of `spectral.density_magnitude` in mel bands plus `floor`."""
        energy = np.sum(self.analysis_window() ** 2)
        density = magnitude(*self.spectra(samples)) / float(np.sqrt(energy))
        return keras.ops.log(self.mel_bands(density) + floor)

    def _interleaved(self, features: Any) -> Any:
        """`common.features.spectral.interleave_channels` for (B, T, F, C')."""
        ops, n_first = keras.ops, self.frontend.channels
        batch, frames, *bands_channels = ops.shape(features)
        flat = [
            ops.reshape(part, (batch, frames, bands_channels[0] * part.shape[-1]))
            for part in (features[..., :n_first], features[..., n_first:])
        ]
        return ops.reshape(ops.concatenate(flat, axis=-1), (batch, frames, *bands_channels))


def features_of(record: Mapping[str, np.ndarray], frontend: Frontend | None) -> np.ndarray:
    """Features (T, F, C) of a record as extraction stores them, computed if it holds audio."""
    if frontend is None:
        return record["features"]
    layer = AudioFeatures(replace(frontend, interleaved_channels=False))
    return keras.ops.convert_to_numpy(layer(record[AUDIO].reshape(1, -1, frontend.channels)))[0]


def _convolved(samples: Any, window: np.ndarray, hop_samples: int) -> Spectra:
    """Short-time Fourier transform of samples (B, C, S) as a convolution with windowed waves."""
    ops, n_fft, n_channels = keras.ops, len(window), samples.shape[1]
    n_bins = n_fft // 2 + 1
    angle = 2 * np.pi / n_fft * (np.outer(np.arange(n_fft), np.arange(n_bins)) % n_fft)
    waves = np.concatenate([np.cos(angle), -np.sin(angle)], axis=1) * window[:, None]  # (n_fft, 2F)
    rows = ops.reshape(samples, (-1, ops.shape(samples)[2], 1))  # (B * C, S, 1)
    kernel = waves[:, None].astype(np.float32)
    options = {"strides": hop_samples, "padding": "valid", "data_format": "channels_last"}
    both = ops.conv(rows, kernel, **options)  # (B * C, T, 2F)
    both = ops.reshape(both, (-1, n_channels, ops.shape(both)[1], 2 * n_bins))
    return both[..., :n_bins], both[..., n_bins:]


def magnitude(real: Any, imag: Any) -> Any:
    """Magnitude of a complex spectrum."""
    return keras.ops.sqrt(real**2 + imag**2)


def decibels(power: Any) -> Any:
    """`common.features.spectral.decibels` on any backend."""
    return 10.0 * keras.ops.log10(keras.ops.maximum(power, spectral.POWER_FLOOR))


def gcc_phat(real: Any, imag: Any, n_lags: int) -> Any:
    """`common.features.spectral.gcc_phat` of spectra (B, C, T, F): (B, pairs, T, n_lags)."""
    ops, size = keras.ops, magnitude(real, imag)
    silent = size == 0.0
    safe = ops.where(silent, 1.0, size)
    cosine, sine = ops.where(silent, 1.0, real / safe), imag / safe  # the phase of silence is 0
    pairs = list(combinations(range(real.shape[1]), 2))
    first, second = ([pair[place] for pair in pairs] for place in (0, 1))
    (a, b), (c, d) = ((_channels(part, first), _channels(part, second)) for part in (cosine, sine))
    either = ops.logical_or(_channels(silent, first), _channels(silent, second))
    real_part = ops.where(either, 1.0, a * b + c * d)
    imag_part = ops.where(either, 0.0, a * d - c * b)
    longest = -(-n_lags // 2)
    cosines, sines = spectral.lag_waves(2 * (real.shape[3] - 1), longest)
    # (B, pairs, T, longest + 1) each
    even, odd = ops.matmul(real_part, cosines), ops.matmul(imag_part, sines)
    negative = ops.flip((even + odd)[..., 1:], axis=-1)
    return ops.concatenate([negative, (even - odd)[..., : n_lags - longest]], axis=-1)


def _channels(array: Any, chosen: list[int]) -> Any:
    """Channels of (B, C, T, F) in the order given."""
    return keras.ops.stack([array[:, channel] for channel in chosen], axis=1)
