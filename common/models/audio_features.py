"""The features of `common.features.spectral` as a Keras layer: computed where the model runs, from audio, on
any backend."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import combinations
from typing import Any

import keras
import numpy as np

from common.audio.files import FULL_SCALE
from common.features import spectral
from common.features.frontend import AUDIO, Frontend
from common.models.layers import PACKAGE

FRONTEND = "frontend"  # name of the layer in trained models
Spectra = tuple[Any, Any]  # real and imaginary parts, (B, C, T, F) each


@keras.saving.register_keras_serializable(package=PACKAGE)
class AudioFeatures(keras.layers.Layer):
    """Computes features of 16-bit audio, in float32 under any precision policy.

    They equal those that extraction stores within float32: log-mel to 0.01 dB and phases and
    correlations to 1e-3 wherever the bins are above the rounding of 16-bit samples.

    Args:
        frontend: kind and sizes, as `Frontend` or its fields.
    """

    def __init__(self, frontend: Frontend | Mapping[str, Any], **options: Any) -> None:
        options.setdefault(
            "dtype", "float32"
        )  # the logarithm of a power needs more than half precision
        super().__init__(**options)
        self.frontend = frontend if isinstance(frontend, Frontend) else Frontend(**frontend)
        self.trainable = False
        self.by_convolution = False  # for programs that have no Fourier transform

    def call(self, audio: Any) -> Any:
        """Computes the features of pieces of recordings.

        Args:
            audio: int16 (B, S, C), S = (T + context) * hop samples from the first one of the first
                frame on, see `Frontend.pieces`.

        Returns:
            float32 (B, T, F, C'), see `Frontend.bands_channels`.
        """
        ops = keras.ops
        samples = ops.cast(audio, "float32") / FULL_SCALE
        features = getattr(self, f"_{self.frontend.kind}")(
            ops.transpose(samples, (0, 2, 1))
        )  # (B, C', T, F)
        features = ops.transpose(features, (0, 2, 3, 1))
        if self.frontend.interleaved_channels:
            return self._interleaved(features)
        # Changes nothing: LiteRT loses the number of channels on the way through a transform,
        # unless it is said.
        return ops.reshape(features, (*ops.shape(features)[:2], *self.frontend.bands_channels))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns (B, T, F, C'); T is None where the number of samples is."""
        frontend, samples = self.frontend, input_shape[1]
        frames = (
            None if samples is None else 1 + (samples - frontend.longest) // frontend.hop_samples
        )
        return (input_shape[0], frames, *frontend.bands_channels)

    def get_config(self) -> dict[str, Any]:
        """Returns what is needed to build the layer again."""
        return {**super().get_config(), "frontend": asdict(self.frontend)}

    def _spectra(self, samples: Any, window: np.ndarray) -> Spectra:
        """Transforms samples (B, C, S); windows shorter than the longest one are centred on the
        same samples."""
        frontend, n_fft = self.frontend, len(window)
        spare = (frontend.longest - n_fft) // 2
        n_samples = keras.ops.shape(samples)[2]
        inner = samples[:, :, spare : n_samples - spare] if spare else samples
        if self.by_convolution:
            return _convolved(inner, window, frontend.hop_samples)
        return keras.ops.stft(
            inner, n_fft, frontend.hop_samples, n_fft, window.astype(np.float32), center=False
        )

    def _analysis_window(self) -> np.ndarray:
        frontend = self.frontend
        if frontend.is_centred:
            return spectral.analysis_window(
                frontend.window_samples, frontend.n_fft, frontend.window
            )
        short = spectral.analysis_window(
            frontend.window_samples, frontend.window_samples, frontend.window
        )
        return np.pad(short, (0, frontend.n_fft - frontend.window_samples))

    def _bands(self, spectrum: Any) -> Any:
        """Sums values (..., F) of bins to mel bands."""
        frontend = self.frontend
        filters = spectral.mel_filters(
            frontend.sample_rate_hz,
            frontend.n_fft,
            frontend.n_mels,
            frontend.fmin_hz,
            frontend.fmax_hz,
        )
        return keras.ops.matmul(spectrum, filters)

    def _magnitude_phase(self, samples: Any) -> Any:
        real, imag = (part[..., 1:] for part in self._spectra(samples, self._analysis_window()))
        return keras.ops.concatenate(
            [_magnitude(real, imag), keras.ops.arctan2(imag, real)], axis=1
        )

    def _logmel(self, samples: Any) -> Any:
        real, imag = self._spectra(samples, self._analysis_window())
        return _decibels(self._bands(real**2 + imag**2))

    def _logmel_intensity(self, samples: Any) -> Any:
        ops = keras.ops
        real, imag = self._spectra(samples, self._analysis_window())
        energy = self._bands(real**2 + imag**2)  # (B, 4, T, bands)
        order = [3, 1, 2]  # X, Y, Z
        velocity = [
            ops.stack([part[:, channel] for channel in order], axis=1) for part in (real, imag)
        ]
        intensity = self._bands(
            real[:, :1] * velocity[0] + imag[:, :1] * velocity[1]
        )  # (B, 3, T, bands)
        scale = ops.sqrt(energy[:, :1] * ops.sum(energy[:, 1:], axis=1, keepdims=True))
        intensity = intensity / ops.maximum(scale, float(np.finfo(np.float32).tiny))
        return ops.concatenate([_decibels(energy), ops.clip(intensity, -1.0, 1.0)], axis=1)

    def _logmel_gcc(self, samples: Any) -> Any:
        frontend = self.frontend
        window = spectral.analysis_window(frontend.gcc_n_fft, frontend.gcc_n_fft)
        lags = _correlations(*self._spectra(samples, window), frontend.n_mels)
        return keras.ops.concatenate([self._logmel(samples), lags], axis=1)

    def _log_magnitude_mel(self, samples: Any) -> Any:
        floor = float(np.spacing(1.0))
        real, imag = self._spectra(samples + floor, self._analysis_window())
        return keras.ops.log(self._bands(_magnitude(real, imag)) + floor)

    def _ln_mel_density(self, samples: Any) -> Any:
        window = self._analysis_window()
        magnitude = _magnitude(*self._spectra(samples, window)) / float(np.sqrt(np.sum(window**2)))
        return keras.ops.log(self._bands(magnitude) + 1e-8)

    def _interleaved(self, features: Any) -> Any:
        """`common.features.spectral.interleave_channels` for (B, T, F, 2C)."""
        ops, (n_bins, n_channels) = keras.ops, self.frontend.bands_channels
        shape = ops.shape(features)
        halves = ops.reshape(features, (shape[0], shape[1], n_bins, 2, n_channels // 2))
        return ops.reshape(ops.transpose(halves, (0, 1, 3, 2, 4)), shape)


def features_of(record: Mapping[str, np.ndarray], frontend: Frontend | None) -> np.ndarray:
    """The features (T, F, C) of a record as extraction stores them, computed where it holds
    audio."""
    if frontend is None:
        return record["features"]
    layer = AudioFeatures(replace(frontend, interleaved_channels=False))
    return keras.ops.convert_to_numpy(layer(record[AUDIO].reshape(1, -1, frontend.channels)))[0]


def _convolved(samples: Any, window: np.ndarray, hop_samples: int) -> Spectra:
    """The transform of samples (B, C, S) as a convolution with windowed waves."""
    ops, n_fft, n_channels = keras.ops, len(window), samples.shape[1]
    n_bins = n_fft // 2 + 1
    angle = 2 * np.pi / n_fft * (np.outer(np.arange(n_fft), np.arange(n_bins)) % n_fft)
    waves = np.concatenate([np.cos(angle), -np.sin(angle)], axis=1) * window[:, None]  # (n_fft, 2F)
    rows = ops.reshape(samples, (-1, ops.shape(samples)[2], 1))  # (B * C, S, 1)
    kernel = waves[:, None].astype(np.float32)
    both = ops.conv(
        rows, kernel, strides=hop_samples, padding="valid", data_format="channels_last"
    )  # (B * C, T, 2F)
    both = ops.reshape(both, (-1, n_channels, ops.shape(both)[1], 2 * n_bins))
    return both[..., :n_bins], both[..., n_bins:]


def _magnitude(real: Any, imag: Any) -> Any:
    return keras.ops.sqrt(real**2 + imag**2)


def _decibels(power: Any) -> Any:
    return 10.0 * keras.ops.log10(keras.ops.maximum(power, spectral.POWER_FLOOR))


def _correlations(real: Any, imag: Any, n_lags: int) -> Any:
    """`common.features.spectral.gcc_phat` of spectra (B, C, T, F): (B, pairs, T, n_lags)."""
    ops = keras.ops
    magnitude = _magnitude(real, imag)
    silent = magnitude == 0.0
    safe = ops.where(silent, 1.0, magnitude)
    cosine, sine = (
        ops.where(silent, 1.0, real / safe),
        imag / safe,
    )  # the phase of silence counts as 0
    pairs = list(combinations(range(real.shape[1]), 2))
    first, second = ([pair[place] for pair in pairs] for place in (0, 1))
    (a, b), (c, d) = ((_channels(part, first), _channels(part, second)) for part in (cosine, sine))
    either = ops.logical_or(_channels(silent, first), _channels(silent, second))
    real_part, imag_part = (
        ops.where(either, 1.0, a * b + c * d),
        ops.where(either, 0.0, a * d - c * b),
    )
    longest = -(-n_lags // 2)
    cosines, sines = spectral.lag_waves(2 * (real.shape[3] - 1), longest)
    even, odd = (
        ops.matmul(real_part, cosines),
        ops.matmul(imag_part, sines),
    )  # (B, pairs, T, longest + 1)
    return ops.concatenate(
        [ops.flip((even + odd)[..., 1:], axis=-1), (even - odd)[..., : n_lags - longest]], axis=-1
    )


def _channels(array: Any, chosen: list[int]) -> Any:
    """Channels of (B, C, T, F) in the order given."""
    return keras.ops.stack([array[:, channel] for channel in chosen], axis=1)
