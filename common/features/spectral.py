"""Spectra and cross-correlations of multichannel recordings, in float32.

The short-time Fourier transform (STFT) works on blocks of frames that fit the processor's cache.
Frame t is centred on sample `t * hop_samples`; edges are reflected, as in most published SELD
features (librosa's default before 0.10), or zeros (its default since then), as `Stft.edges` says.
"""

import itertools
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view

from common.settings.stft import Edges, Stft, Window

MelScale = Literal["slaney", "htk"]
MelNorm = Literal["area", "peak"]
_BLOCK_FRAMES = 32  # x 4 channels x 2048 samples are 1 MB, which fits the second-level cache
POWER_FLOOR = 1e-10  # -100 dB
_MAGNITUDE_FLOOR = float(np.spacing(1.0))  # 2.2e-16

_COSINE_SHARE = {"hann": 0.5, "hamming": 0.46}


def analysis_window(window_samples: int, n_fft: int, window: Window = "hann") -> np.ndarray:
    """Window function, zero-padded on both sides to the FFT size.

    Args:
        window_samples: window length.
        n_fft: FFT size.
        window: Hann or Hamming; periodic (one sample short of symmetric, as for overlapping
            frames), or symmetric as `numpy.hanning` and `numpy.hamming`.

    Returns:
        float64 (n_fft,).

    Raises:
        ValueError: an unknown window function, or a window longer than the FFT.
    """
    if window not in get_args(Window) or window_samples > n_fft:
        raise ValueError(
            f"Expected: a window among {', '.join(get_args(Window))}, not longer than the"
            f" FFT, {n_fft}. Received: {window!r} of {window_samples} samples."
        )
    shape, _, symmetric = window.partition("_")
    share = _COSINE_SHARE[shape]
    phase = 2 * np.pi * np.arange(window_samples) / max(window_samples - bool(symmetric), 1)
    padded = np.zeros(n_fft)
    start = (n_fft - window_samples) // 2
    # Not from scipy.signal, whose import takes 1.5 s.
    padded[start : start + window_samples] = (1 - share) - share * np.cos(phase)
    return padded


def frames_in(duration_s: float, hop_s: float) -> int:
    """Number of whole hops in a duration, at least 1; 60 s at 20 ms are 3000."""
    return max(1, int(duration_s / hop_s + 1e-6))  # 60 / 0.02 must not become 2999


def n_frames_of(audio: np.ndarray, sizes: Stft) -> int:
    """Number of frames that begin in audio (S, C): S // hop, at least 1."""
    return max(1, len(audio) // sizes.hop_samples)


def stft_blocks(
    audio: np.ndarray,
    sizes: Stft,
    n_frames: int | None = None,
    dtype: str = "float32",
    channels_last: bool = False,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Short-time Fourier transform, a few frames at a time.

    Args:
        audio: float (S, C), at least one sample.
        sizes: window length, FFT size and hop length.
        n_frames: number of frames, at most 1 + S // hop; None: `n_frames_of`.
        dtype: float32, or float64 where bands far below the loudest one matter.
        channels_last: a little faster for computations bin by bin, without sums over bins.

    Yields:
        Frame numbers as a slice, and complex64 or complex128 (C, t, n_fft // 2 + 1), not scaled;
        with `channels_last` (t, n_fft // 2 + 1, C).
    """
    n_frames = n_frames_of(audio, sizes) if n_frames is None else n_frames
    n_fft, hop, n_channels = sizes.n_fft, sizes.hop_samples, audio.shape[1]
    weights = analysis_window(sizes.window_samples, n_fft, sizes.window).astype(dtype)
    if channels_last:
        weights = np.repeat(weights, n_channels)
    for start in range(0, n_frames, _BLOCK_FRAMES):
        block = slice(start, min(start + _BLOCK_FRAMES, n_frames))
        samples = _extended(
            audio, start * hop - n_fft // 2, (block.stop - 1) * hop + n_fft // 2, sizes.edges
        )
        if channels_last:  # all channels in one row, so that a window is one piece of memory
            flat = np.ascontiguousarray(samples, dtype).ravel()
            frames = sliding_window_view(flat, n_fft * n_channels)[:: hop * n_channels]
            windowed = (frames * weights).reshape(-1, n_fft, n_channels)  # (t, n_fft, C)
            yield block, scipy.fft.rfft(windowed, axis=1)
        else:
            signal = np.ascontiguousarray(samples.T, dtype)  # (C, samples)
            frames = sliding_window_view(signal, n_fft, axis=1)[:, ::hop]  # (C, t, n_fft)
            yield block, scipy.fft.rfft(frames * weights, axis=-1)


def _extended(audio: np.ndarray, first: int, end: int, edges: Edges) -> np.ndarray:
    """Samples `first` ... `end - 1` of audio (S, C), reflected at both ends as often as needed."""
    if first >= 0 and end <= len(audio):
        return audio[first:end]
    if edges == "zeros":
        before, after = max(-first, 0), max(end - len(audio), 0)
        return np.pad(audio[max(first, 0) : end], ((before, after), (0, 0)))
    period = max(2 * (len(audio) - 1), 1)  # one sample repeats itself
    index = np.arange(first, end) % period
    return audio[np.minimum(index, period - index)]


def stft(audio: np.ndarray, sizes: Stft, n_frames: int | None = None) -> np.ndarray:
    """Short-time Fourier transform of whole recordings; arguments as for `stft_blocks`.

    Returns:
        complex64 (T, n_fft // 2 + 1, C), not scaled.
    """
    blocks = stft_blocks(audio, sizes, n_frames)
    return np.concatenate([spectra.transpose(1, 2, 0) for _, spectra in blocks])


def magnitude_phase(
    audio: np.ndarray, sizes: Stft, n_frames: int | None = None, dtype: str = "float32"
) -> np.ndarray:
    """Magnitudes and phases of all channels, without the constant component.

    In float16 nothing overflows: no magnitude exceeds the sum of the window, 960 for 1920 samples
    (largest float16: 65504). Below 6.1e-5 the resolution shrinks, below 3e-8 a magnitude becomes 0;
    rounding to 16 bits makes magnitudes around 2e-4.

    Args:
        audio: float (S, C) in [-1, 1].
        sizes: see `stft_blocks`, as `n_frames`.
        dtype: float32, or float16 to store.

    Returns:
        (T, n_fft // 2, 2C): C magnitudes, then C phases in radians, in (-pi, pi]; 0 where the
        magnitude is 0.
    """
    n_bins, n_channels = sizes.n_fft // 2, audio.shape[1]
    n_frames = n_frames_of(audio, sizes) if n_frames is None else n_frames
    features = np.empty((n_frames, n_bins, 2 * n_channels), dtype)
    both = np.empty((_BLOCK_FRAMES, n_bins, 2 * n_channels), np.float32)
    # Group: the magnitudes or phases of one bin, copied as one element.
    group = np.dtype((np.void, 4 * n_channels))
    blocks = stft_blocks(audio, sizes, n_frames, channels_last=True)
    for block, spectra in blocks:  # (t, F, C)
        n = len(spectra)
        target = features[block] if features.dtype == np.float32 else both[:n]
        bins = spectra[:, 1:]
        target.view(group)[..., 0] = np.abs(bins).view(group)[..., 0]
        phase = np.arctan2(bins.imag.copy(), bins.real.copy())  # fastest on contiguous memory
        target.view(group)[..., 1] = phase.view(group)[..., 0]
        if features.dtype != np.float32:
            features[block] = target  # rounding, too, is fastest on contiguous memory
    return features


@lru_cache(maxsize=8)
def mel_filters(
    sample_rate_hz: int,
    n_fft: int,
    n_mels: int,
    fmin_hz: float,
    fmax_hz: float | None,
    scale: MelScale = "slaney",
    norm: MelNorm = "area",
) -> np.ndarray:
    """Triangular filters on a mel scale.

    Args:
        sample_rate_hz: sample rate of the audio.
        n_fft: FFT size.
        n_mels: number of mel bands.
        fmin_hz: lower edge of the lowest mel band.
        fmax_hz: upper edge of the highest mel band; None: half the sample rate.
        scale: mel scale of Slaney (linear up to 1 kHz) or of HTK.
        norm: each filter has unit "area" over frequency in Hz, or a "peak" of 1.

    Returns:
        float32 (n_fft // 2 + 1, n_mels), read-only.
    """
    import librosa.filters  # slow to import, and needed by few features

    options: dict[str, Any] = {"fmin": fmin_hz, "fmax": fmax_hz, "dtype": np.float32}
    options |= {"htk": scale == "htk", "norm": "slaney" if norm == "area" else None}
    filters = librosa.filters.mel(sr=sample_rate_hz, n_fft=n_fft, n_mels=n_mels, **options).T
    filters = np.ascontiguousarray(filters)
    filters.flags.writeable = False
    return filters


def decibels(power: np.ndarray) -> np.ndarray:
    """10 log10 of a power, at least -100 dB; not normalised: recordings keep their levels."""
    return 10 * np.log10(np.maximum(power, POWER_FLOOR))


def _joined_bands(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Joins blocks (C, t, bands) in time: (T, bands, C)."""
    return np.concatenate([block.transpose(1, 2, 0) for block in blocks])


def log_mel(
    audio: np.ndarray, filters: np.ndarray, sizes: Stft, n_frames: int | None = None
) -> np.ndarray:
    """Mel spectra of all channels in dB.

    Args:
        audio: float (S, C).
        filters: float32 (n_fft // 2 + 1, bands), see `mel_filters`.
        sizes: see `stft_blocks`, as `n_frames`.

    Returns:
        float32 (T, bands, C).
    """
    blocks = stft_blocks(audio, sizes, n_frames)
    return _joined_bands(decibels(_power(spectra) @ filters) for _, spectra in blocks)


def mel_magnitude(
    audio: np.ndarray, filters: np.ndarray, sizes: Stft, n_frames: int | None = None
) -> np.ndarray:
    """Magnitudes (not the power) in mel bands of all channels, linear.

    Args:
        audio: float (S, C).
        filters: float32 (n_fft // 2 + 1, bands), see `mel_filters`.
        sizes: see `stft_blocks`, as `n_frames`.

    Returns:
        float32 (T, bands, C).
    """
    blocks = stft_blocks(audio, sizes, n_frames)
    return _joined_bands(np.abs(spectra) @ filters for _, spectra in blocks)


def log_magnitude_mel(
    audio: np.ndarray, filters: np.ndarray, sizes: Stft, n_frames: int | None = None
) -> np.ndarray:
    """Natural logarithm of the magnitudes (not the power) in mel bands.

    2.2e-16 is added to the samples and to the bands, as dcase_util does: digital silence gives
    around -36. The FFT is computed in float64, since the logarithm shows bands below a loud tone
    that float32 would round away.

    Args:
        audio: float (S, C).
        filters: float32 (n_fft // 2 + 1, bands), see `mel_filters`.
        sizes: see `stft_blocks`, as `n_frames`; its window is published as "hamming".

    Returns:
        float32 (T, bands, C).

    References:
        Serizel et al., "Large-scale weakly labeled semi-supervised sound event detection in
        domestic environments", DCASE 2018, arXiv:1807.10501.
    """
    signal = audio.astype(np.float64) + _MAGNITUDE_FLOOR
    blocks = stft_blocks(signal, sizes, n_frames, "float64")
    bands = (np.log(np.abs(spectra) @ filters + _MAGNITUDE_FLOOR) for _, spectra in blocks)
    return _joined_bands(bands).astype(np.float32)


def uncentred_stft(audio: np.ndarray, sizes: Stft) -> np.ndarray:
    """Short-time Fourier transform of whole windows only, without padding or reflection.

    Frame t begins at sample `t * hop_samples`; samples after the last whole window are left out.

    Args:
        audio: float (S,), at least one window.
        sizes: window length, FFT size and hop length.

    Returns:
        complex64 (T, n_fft // 2 + 1), not scaled, with T = 1 + (S - window_samples) // hop_samples.

    Raises:
        ValueError: not one channel, or less than one window.
    """
    signal, length = np.ascontiguousarray(audio, np.float32), sizes.window_samples
    if signal.ndim != 1 or len(signal) < length:
        expected = f"one channel of at least one window, {length} samples"
        raise ValueError(f"Expected: {expected}. Received: {signal.shape}.")
    weights = analysis_window(length, length, sizes.window).astype(np.float32)
    frames = sliding_window_view(signal, length)[:: sizes.hop_samples]  # (T, window_samples)
    blocks = [
        scipy.fft.rfft(frames[start : start + _BLOCK_FRAMES] * weights, sizes.n_fft, axis=-1)
        for start in range(0, len(frames), _BLOCK_FRAMES)
    ]
    return np.concatenate(blocks)


def density_magnitude(audio: np.ndarray, sizes: Stft) -> np.ndarray:
    """Magnitudes divided by the root of the window's energy; squares are a spectral density.

    Args:
        audio: float (S,), see `uncentred_stft`, as `sizes`.

    Returns:
        float32 (T, n_fft // 2 + 1), as from `scipy.signal.spectrogram` with mode "magnitude",
        scaling "density", a sample rate of 1 and no detrending.
    """
    spectra, length = uncentred_stft(audio, sizes), sizes.window_samples
    energy = np.sum(analysis_window(length, length, sizes.window) ** 2)
    return np.abs(spectra) * np.float32(1 / np.sqrt(energy))


def logmel_intensity(
    audio: np.ndarray,
    filters: np.ndarray,
    sizes: Stft,
    n_frames: int | None = None,
    dtype: str = "float32",
) -> np.ndarray:
    """Log-mel spectra and intensity vectors of first-order Ambisonics (FOA), in the same mel bands.

    The active intensity Re(W* [X, Y, Z]) is summed over each band and divided by the square root of
    the product of the band's energies of W and of (X, Y, Z). By the Cauchy-Schwarz inequality its
    length is at most 1; it is 1 for a single plane wave, and the same for N3D and SN3D recordings,
    since it does not change when (X, Y, Z) are scaled. Silence gives zeros.

    Args:
        audio: float (S, 4), channels W, Y, Z, X (ACN order).
        filters: float32 (n_fft // 2 + 1, bands), see `mel_filters`.
        sizes: see `stft_blocks`, as `n_frames`.
        dtype: type of the result.

    Returns:
        (T, bands, 7): W, Y, Z, X in dB, then the intensity along x (front), y (left) and z (up),
        which points at the source.

    References:
        Perotin et al., "CRNN-based multiple DoA estimation using acoustic intensity features for
        Ambisonics recordings", IEEE J. Sel. Topics Signal Process. 13(1), 2019. Cao et al., "An
        improved event-independent network for polyphonic sound event localization and detection",
        ICASSP 2021, arXiv:2010.13092 (mel bands; there normalised by the vectors' own length).
    """
    n_frames = n_frames_of(audio, sizes) if n_frames is None else n_frames
    features = np.empty((n_frames, filters.shape[1], 7), dtype)
    for block, spectra in stft_blocks(audio, sizes, n_frames):
        energy = _power(spectra) @ filters  # (4, t, bands)
        w, velocity = spectra[0], spectra[[3, 1, 2]]  # X, Y, Z
        intensity = (w.real * velocity.real + w.imag * velocity.imag) @ filters  # (3, t, bands)
        scale = np.sqrt(energy[0] * energy[1:].sum(axis=0))  # (t, bands)
        intensity /= np.maximum(scale, np.finfo(np.float32).tiny)
        features[block, :, :4] = decibels(energy).transpose(1, 2, 0)
        # Clips only rounding errors: |I| <= 1 holds.
        features[block, :, 4:] = np.clip(intensity, -1, 1).transpose(1, 2, 0)
    return features


def logmel_gcc(
    audio: np.ndarray,
    filters: np.ndarray,
    sizes: Stft,
    n_frames: int | None = None,
    gcc_n_fft: int = 2048,
    dtype: str = "float32",
    gcc_window_samples: int | None = None,
) -> np.ndarray:
    """Log-mel spectra of all channels, and cross-correlations (GCC-PHAT) of all channel pairs.

    There are as many lags as mel bands. Each channel is transformed once for its spectrum and once
    for all its pairs; only once if both have the same FFT size and window.

    Args:
        audio: float (S, C).
        filters: float32 (n_fft // 2 + 1, bands), see `mel_filters`.
        sizes: see `stft_blocks`, as `n_frames`.
        gcc_n_fft: FFT size for the correlations, even, at least `bands`.
        dtype: type of the result.
        gcc_window_samples: Hann window length for the correlations; None: `gcc_n_fft`.

    Returns:
        (T, bands, C + C (C - 1) / 2): dB, then the correlations of `gcc_phat`.

    References:
        Cao et al., "Polyphonic sound event detection and localization using a two-stage strategy",
        DCASE 2019, arXiv:1905.00268.
    """
    n_channels, n_bands = audio.shape[1], filters.shape[1]
    n_frames = n_frames_of(audio, sizes) if n_frames is None else n_frames
    features = np.empty((n_frames, n_bands, n_channels * (n_channels + 1) // 2), dtype)
    window_samples = gcc_window_samples or gcc_n_fft
    of_pairs = Stft(window_samples, gcc_n_fft, sizes.hop_samples, edges=sizes.edges)
    shared = of_pairs == Stft(
        sizes.window_samples, sizes.n_fft, sizes.hop_samples, sizes.window, sizes.edges
    )
    spectra_of_pairs = None if shared else stft_blocks(audio, of_pairs, n_frames)
    for block, spectra in stft_blocks(audio, sizes, n_frames):
        features[block, :, :n_channels] = decibels(_power(spectra) @ filters).transpose(1, 2, 0)
        _, longer = (block, spectra) if spectra_of_pairs is None else next(spectra_of_pairs)
        features[block, :, n_channels:] = gcc_phat(longer, n_bands)
    return features


def gcc_phat(spectra: np.ndarray, n_lags: int) -> np.ndarray:
    """Generalised cross-correlation with phase transform of all pairs of channels, around lag 0.

    The few lags come from two matrix products, of the cosines with the real and of the sines
    with the imaginary parts; for 96 of 2048 lags that takes half the time of an inverse FFT.

    Args:
        spectra: complex64 (C, t, n_fft // 2 + 1), see `stft_blocks`.
        n_lags: number of lags, at most n_fft; half of them, rounded up, are negative.

    Returns:
        float32 (t, n_lags, pairs) in [-1, 1], pairs (0, 1), (0, 2) ... (1, 2) ...; a channel that
        lags behind the first of its pair has its peak at a positive lag. The phase is 0 where one
        of the two spectra is zero, so that silence gives 1 at lag 0.

    Raises:
        ValueError: more lags than the FFT size.

    References:
        Knapp, Carter, "The generalized correlation method for estimation of time delay", IEEE
        Trans. Acoust. Speech Signal Process. 24(4), 1976.
    """
    n_channels, n_frames, n_bins = spectra.shape
    n_fft = 2 * (n_bins - 1)
    if n_lags > n_fft:
        raise ValueError(
            f"Expected: at most as many lags as the FFT size, {n_fft}. Received: {n_lags}."
        )
    pairs = list(itertools.combinations(range(n_channels), 2))
    longest = -(-n_lags // 2)
    cosines, sines = lag_waves(n_fft, longest)
    real, imag = _pair_phases(spectra, pairs)  # (pairs, t, F) each
    even = real.reshape(-1, n_bins) @ cosines  # (pairs * t, longest + 1)
    odd = imag.reshape(-1, n_bins) @ sines
    lags = np.concatenate([(even + odd)[:, :0:-1], (even - odd)[:, : n_lags - longest]], axis=1)
    return lags.reshape(len(pairs), n_frames, n_lags).transpose(1, 2, 0)


@lru_cache(maxsize=8)
def lag_waves(n_fft: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines that sum a half spectrum to its lags 0 ... longest.

    Returns:
        Two float32 arrays (n_fft // 2 + 1, longest + 1).
    """
    share = np.full(n_fft // 2 + 1, 2.0 / n_fft)
    share[[0, -1]] /= 2  # the constant and the highest frequency occur once, all others twice
    # Whole turns are removed before the product becomes an angle, which stays exact.
    turns = np.outer(np.arange(n_fft // 2 + 1), np.arange(longest + 1)) % n_fft
    angle = 2 * np.pi / n_fft * turns
    cosines, sines = (share[:, None] * wave(angle) for wave in (np.cos, np.sin))
    return cosines.astype(np.float32), sines.astype(np.float32)


def _pair_phases(
    spectra: np.ndarray, pairs: list[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of the phase of each pair's second channel against its first.

    Returns:
        Two float32 arrays (pairs, t, F).
    """
    real, imag = (np.ascontiguousarray(part) for part in (spectra.real, spectra.imag))  # (C, t, F)
    magnitude = np.sqrt(real**2 + imag**2)
    silent = magnitude == 0
    magnitude[silent] = 1
    real /= magnitude
    imag /= magnitude
    cosine = np.empty((len(pairs), *spectra.shape[1:]), np.float32)
    sine, product = np.empty_like(cosine), np.empty_like(real[0])
    # In place, since memory access is the bottleneck.
    for number, (first, second) in enumerate(pairs):
        np.multiply(real[first], real[second], out=cosine[number])
        cosine[number] += np.multiply(imag[first], imag[second], out=product)
        np.multiply(real[first], imag[second], out=sine[number])
        sine[number] -= np.multiply(imag[first], real[second], out=product)
        cosine[number][silent[first] | silent[second]] = 1
    return cosine, sine


def interleave_channels(features: np.ndarray, n_first: int | None = None) -> np.ndarray:
    """Packs neighbouring bins into channels, a quirk of the published SELDnet of 2019 and 2020.

    The published code of 2019 wrote all magnitudes of a frame before all phases and read the
    numbers as (bins, channels): the upper half of the rows are magnitudes, two bins in each, the
    lower phases. That of 2020 did the same with log-mel spectra and what follows them.

    Args:
        features: (..., F, C'), the first `n_first` channels of one sort, then those of the other.
        n_first: number of channels of the audio; None: half of C'.

    Returns:
        The same numbers, (..., F, C').
    """
    *leading, n_bins, n_channels = features.shape
    n_first = n_channels // 2 if n_first is None else n_first
    sorts = features[..., :n_first], features[..., n_first:]
    flat = [sort.reshape(*leading, n_bins * sort.shape[-1]) for sort in sorts]
    return np.concatenate(flat, axis=-1).reshape(features.shape)


def _power(spectra: np.ndarray) -> np.ndarray:
    return spectra.real**2 + spectra.imag**2
