"""Spectra and correlations of multichannel recordings, in float32 on small blocks of frames that
stay in the cache.

A frame t is centred on sample `t * hop_samples`; the edges are reflected, as the published SELD
features were (librosa's default before 0.10).
"""

import itertools
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view

_BLOCK_FRAMES = (
    32  # 32 frames x 4 channels x 2048 samples are 1 MB: they stay in the second-level cache
)
POWER_FLOOR = 1e-10  # -100 dB
_MAGNITUDE_FLOOR = float(np.spacing(1.0))  # 2.2e-16

Window = Literal["hann", "hann_symmetric", "hamming", "hamming_symmetric"]
_COSINE_SHARE = {"hann": 0.5, "hamming": 0.46}


def analysis_window(window_samples: int, n_fft: int, window: Window = "hann") -> np.ndarray:
    """A window, zero-padded on both sides to the length of the transform.

    Args:
        window_samples: length of the window.
        n_fft: length of the transform.
        window: Hann or Hamming; they are periodic (one sample short of symmetric, as for
            overlapping frames) unless they are called symmetric, `numpy.hanning` and
            `numpy.hamming`.

    Returns:
        float64 (n_fft,).

    Raises:
        ValueError: another window, or one longer than the transform.
    """
    if window not in get_args(Window) or window_samples > n_fft:
        raise ValueError(
            f"Expected: a window among {', '.join(get_args(Window))}, not longer than the"
            f" transform, {n_fft}. Received: {window!r} of {window_samples} samples."
        )
    kind, _, symmetric = window.partition("_")
    share = _COSINE_SHARE[kind]
    phase = 2 * np.pi * np.arange(window_samples) / max(window_samples - bool(symmetric), 1)
    padded = np.zeros(n_fft)
    start = (n_fft - window_samples) // 2
    padded[start : start + window_samples] = (1 - share) - share * np.cos(
        phase
    )  # scipy.signal imports for 1.5 s
    return padded


def frames_in(duration_s: float, hop_s: float) -> int:
    """Whole frames in a duration, at least one; 60 s at 20 ms are 3000."""
    return max(1, int(duration_s / hop_s + 1e-6))  # 60 / 0.02 must not become 2999


def stft_blocks(
    audio: np.ndarray,
    window_samples: int,
    n_fft: int,
    hop_samples: int,
    n_frames: int | None = None,
    window: Window = "hann",
    dtype: str = "float32",
    channels_last: bool = False,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Short-time Fourier transform, a few frames at a time.

    Args:
        audio: float (S, C), at least one sample.
        window_samples: length of the window, at most `n_fft`.
        n_fft: length of the transform, even.
        hop_samples: distance of frames.
        n_frames: number of frames, at most 1 + S // hop_samples; None: S // hop_samples, at least
            one.
        window: its shape, see `analysis_window`.
        dtype: float32, or float64 where bands far below the loudest one matter.
        channels_last: a little faster, for what works bin by bin and sums nothing over them.

    Yields:
        The frames' numbers as a slice, and complex64 or complex128 (C, t, n_fft // 2 + 1), not
        scaled; with `channels_last` (t, n_fft // 2 + 1, C).
    """
    n_frames = max(1, len(audio) // hop_samples) if n_frames is None else n_frames
    n_channels = audio.shape[1]
    weights = analysis_window(window_samples, n_fft, window).astype(dtype)
    if channels_last:
        weights = np.repeat(weights, n_channels)
    for start in range(0, n_frames, _BLOCK_FRAMES):
        block = slice(start, min(start + _BLOCK_FRAMES, n_frames))
        samples = _reflected(
            audio, start * hop_samples - n_fft // 2, (block.stop - 1) * hop_samples + n_fft // 2
        )
        if (
            channels_last
        ):  # samples of all channels in one row, so that a window is one piece of memory
            flat = np.ascontiguousarray(samples, dtype).ravel()
            frames = sliding_window_view(flat, n_fft * n_channels)[
                :: hop_samples * n_channels
            ]  # (t, n_fft * C)
            yield block, scipy.fft.rfft((frames * weights).reshape(-1, n_fft, n_channels), axis=1)
        else:
            signal = np.ascontiguousarray(samples.T, dtype)  # (C, samples)
            frames = sliding_window_view(signal, n_fft, axis=1)[:, ::hop_samples]  # (C, t, n_fft)
            yield block, scipy.fft.rfft(frames * weights, axis=-1)


def _reflected(audio: np.ndarray, first: int, end: int) -> np.ndarray:
    """Samples `first` ... `end - 1` of audio (S, C), which is reflected at both ends as often as
    needed."""
    if first >= 0 and end <= len(audio):
        return audio[first:end]
    period = max(2 * (len(audio) - 1), 1)  # of one sample, all are that one
    index = np.arange(first, end) % period
    return audio[np.minimum(index, period - index)]


def stft(
    audio: np.ndarray,
    window_samples: int,
    n_fft: int,
    hop_samples: int,
    n_frames: int | None = None,
) -> np.ndarray:
    """Short-time Fourier transform with all bins; arguments as for `stft_blocks`.

    Returns:
        complex64 (T, n_fft // 2 + 1, C), not scaled.
    """
    blocks = stft_blocks(audio, window_samples, n_fft, hop_samples, n_frames)
    return np.concatenate([spectra.transpose(1, 2, 0) for _, spectra in blocks])


def magnitude_phase(
    audio: np.ndarray,
    window_samples: int,
    n_fft: int,
    hop_samples: int,
    n_frames: int | None = None,
    dtype: str = "float32",
) -> np.ndarray:
    """Magnitudes and phases of all channels, without the constant component.

    In float16 nothing overflows: no magnitude exceeds the sum of the window, 960 for 1920 samples
    (largest float16: 65504). Below 6.1e-5 the resolution shrinks, below 3e-8 a magnitude becomes 0;
    the rounding of 16-bit recordings alone makes magnitudes around 2e-4.

    Args:
        audio: float (S, C) in [-1, 1].
        window_samples: see `stft_blocks`, as are `n_fft`, `hop_samples` and `n_frames`.
        dtype: float32, or float16 to store.

    Returns:
        (T, n_fft // 2, 2C): C magnitudes, then C phases in radians, in (-pi, pi]; 0 where the
        magnitude is 0.
    """
    n_channels = audio.shape[1]
    n_frames = max(1, len(audio) // hop_samples) if n_frames is None else n_frames
    features = np.empty((n_frames, n_fft // 2, 2 * n_channels), dtype)
    both = np.empty((_BLOCK_FRAMES, n_fft // 2, 2 * n_channels), np.float32)
    # A group: the magnitudes, or the phases, of one bin. As one element it is copied whole, not
    # channel by channel.
    group = np.dtype((np.void, 4 * n_channels))
    blocks = stft_blocks(audio, window_samples, n_fft, hop_samples, n_frames, channels_last=True)
    for block, spectra in blocks:  # (t, F, C)
        n = len(spectra)
        target = features[block] if features.dtype == np.float32 else both[:n]
        bins = spectra[:, 1:]
        target.view(group)[..., 0] = np.abs(bins).view(group)[..., 0]
        phase = np.arctan2(
            bins.imag.copy(), bins.real.copy()
        )  # copied, since it is fastest on contiguous memory, too
        target.view(group)[..., 1] = phase.view(group)[..., 0]
        if features.dtype != np.float32:
            features[block] = target  # rounding is fastest on contiguous memory
    return features


@lru_cache(maxsize=8)
def mel_filters(
    sample_rate_hz: int, n_fft: int, n_mels: int, fmin_hz: float, fmax_hz: float | None
) -> np.ndarray:
    """Triangular filters on Slaney's mel scale, each with unit area.

    Args:
        sample_rate_hz: rate of the audio.
        n_fft: length of the transform.
        n_mels: number of bands.
        fmin_hz: lower edge of the lowest band.
        fmax_hz: upper edge of the highest band; None: half the sample rate.

    Returns:
        float32 (n_fft // 2 + 1, n_mels), read-only.
    """
    import librosa.filters  # here: it is slow to import and only these features need it

    filters = librosa.filters.mel(
        sr=sample_rate_hz, n_fft=n_fft, n_mels=n_mels, fmin=fmin_hz, fmax=fmax_hz, dtype=np.float32
    ).T
    filters = np.ascontiguousarray(filters)
    filters.flags.writeable = False
    return filters


def decibels(power: np.ndarray) -> np.ndarray:
    """10 log10 of a power, no lower than -100 dB; no upper reference, so that recordings keep their
    levels."""
    return 10 * np.log10(np.maximum(power, POWER_FLOOR))


def log_mel(
    audio: np.ndarray,
    filters: np.ndarray,
    window_samples: int,
    n_fft: int,
    hop_samples: int,
    n_frames: int | None = None,
    window: Window = "hann",
) -> np.ndarray:
    """Mel spectra of all channels in dB.

    Args:
        audio: float (S, C).
        filters: float32 (n_fft // 2 + 1, bands), see `mel_filters`.
        window_samples: see `stft_blocks`, as are `n_fft`, `hop_samples`, `n_frames` and `window`.

    Returns:
        float32 (T, bands, C).
    """
    blocks = stft_blocks(audio, window_samples, n_fft, hop_samples, n_frames, window)
    bands = [
        decibels(_power(spectra) @ filters).transpose(1, 2, 0) for _, spectra in blocks
    ]  # (t, bands, C) each
    return np.concatenate(bands)


def log_magnitude_mel(
    audio: np.ndarray,
    filters: np.ndarray,
    window_samples: int,
    n_fft: int,
    hop_samples: int,
    n_frames: int | None = None,
    window: Window = "hamming",
) -> np.ndarray:
    """Natural logarithm of the magnitudes (not the power) in mel bands.

    2.2e-16 is added to the samples and to the bands, as dcase_util does: digital silence gives
    around -36. The transform is computed in float64, since the logarithm shows what float32 rounds
    away beneath a loud tone.

    Args:
        audio: float (S, C).
        filters: float32 (n_fft // 2 + 1, bands), see `mel_filters`.
        window_samples: see `stft_blocks`, as are `n_fft`, `hop_samples`, `n_frames` and `window`.

    Returns:
        float32 (T, bands, C).

    References:
        Serizel et al., "Large-scale weakly labeled semi-supervised sound event detection in
        domestic environments", DCASE 2018, arXiv:1807.10501.
    """
    signal = audio.astype(np.float64) + _MAGNITUDE_FLOOR
    blocks = stft_blocks(signal, window_samples, n_fft, hop_samples, n_frames, window, "float64")
    bands = [
        np.log(np.abs(spectra) @ filters + _MAGNITUDE_FLOOR).transpose(1, 2, 0)
        for _, spectra in blocks
    ]
    return np.concatenate(bands).astype(np.float32)


def uncentred_stft(
    audio: np.ndarray,
    window_samples: int,
    n_fft: int,
    hop_samples: int,
    window: Window = "hamming_symmetric",
) -> np.ndarray:
    """Short-time Fourier transform of whole windows alone: the signal is neither padded nor
    reflected.

    Frame t starts at sample `t * hop_samples`; samples after the last whole window are left out.

    Args:
        audio: float (S,), at least one window.
        window_samples: length of the window, at most `n_fft`.
        n_fft: length of the transform, even.
        hop_samples: distance of frames.
        window: its shape, see `analysis_window`.

    Returns:
        complex64 (T, n_fft // 2 + 1), not scaled, with T = 1 + (S - window_samples) // hop_samples.

    Raises:
        ValueError: not one channel, or less than one window.
    """
    signal = np.ascontiguousarray(audio, np.float32)
    if signal.ndim != 1 or len(signal) < window_samples:
        raise ValueError(
            f"Expected: one channel of at least one window, {window_samples} samples. Received:"
            f" {signal.shape}."
        )
    weights = analysis_window(window_samples, window_samples, window).astype(np.float32)
    frames = sliding_window_view(signal, window_samples)[::hop_samples]  # (T, window_samples)
    blocks = [
        scipy.fft.rfft(frames[start : start + _BLOCK_FRAMES] * weights, n_fft, axis=-1)
        for start in range(0, len(frames), _BLOCK_FRAMES)
    ]
    return np.concatenate(blocks)


def density_magnitude(
    audio: np.ndarray,
    window_samples: int,
    n_fft: int,
    hop_samples: int,
    window: Window = "hamming_symmetric",
) -> np.ndarray:
    """Magnitudes whose squares are a spectral density per sample: divided by the root of the
    window's energy.

    Args:
        audio: float (S,), see `uncentred_stft`, as are the others.

    Returns:
        float32 (T, n_fft // 2 + 1), what `scipy.signal.spectrogram` gives for mode "magnitude",
        scaling "density", a sample rate of 1 and no detrending.
    """
    spectra = uncentred_stft(audio, window_samples, n_fft, hop_samples, window)
    energy = np.sum(analysis_window(window_samples, window_samples, window) ** 2)
    return np.abs(spectra) * np.float32(1 / np.sqrt(energy))


def logmel_intensity(
    audio: np.ndarray,
    filters: np.ndarray,
    window_samples: int,
    n_fft: int,
    hop_samples: int,
    n_frames: int | None = None,
    dtype: str = "float32",
) -> np.ndarray:
    """Log-mel spectra of first-order Ambisonics and the direction their energy comes from, in the
    same bands.

    The active intensity Re(W* [X, Y, Z]) is summed over each band and divided by the square root of
    the product of the band's energies of W and of (X, Y, Z). By the inequality of Cauchy and
    Schwarz its length is at most 1, it is 1 for a single plane wave, and it does not change when
    (X, Y, Z) are scaled against W: N3D and SN3D recordings give the same vectors. Silence gives
    zeros.

    Args:
        audio: float (S, 4), channels W, Y, Z, X (ACN order).
        filters: float32 (n_fft // 2 + 1, bands), see `mel_filters`.
        window_samples: see `stft_blocks`, as are `n_fft`, `hop_samples` and `n_frames`.
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
    n_frames = max(1, len(audio) // hop_samples) if n_frames is None else n_frames
    features = np.empty((n_frames, filters.shape[1], 7), dtype)
    for block, spectra in stft_blocks(audio, window_samples, n_fft, hop_samples, n_frames):
        energy = _power(spectra) @ filters  # (4, t, bands)
        velocity = spectra[[3, 1, 2]]  # X, Y, Z
        intensity = (
            spectra[0].real * velocity.real + spectra[0].imag * velocity.imag
        ) @ filters  # (3, t, bands)
        scale = np.sqrt(energy[0] * energy[1:].sum(axis=0))  # (t, bands)
        intensity /= np.maximum(scale, np.finfo(np.float32).tiny)
        features[block, :, :4] = decibels(energy).transpose(1, 2, 0)
        features[block, :, 4:] = np.clip(intensity, -1, 1).transpose(
            1, 2, 0
        )  # rounding only: |I| <= 1 holds
    return features


def logmel_gcc(
    audio: np.ndarray,
    filters: np.ndarray,
    window_samples: int,
    n_fft: int,
    hop_samples: int,
    n_frames: int | None = None,
    gcc_n_fft: int = 2048,
    dtype: str = "float32",
) -> np.ndarray:
    """Log-mel spectra of all channels beside the correlations of all their pairs, as many lags as
    bands.

    Each channel is transformed once for its spectrum and once for all its pairs; only once where
    both transforms have one length and one window.

    Args:
        audio: float (S, C).
        filters: float32 (n_fft // 2 + 1, bands), see `mel_filters`.
        window_samples: see `stft_blocks`, as are `n_fft`, `hop_samples` and `n_frames`.
        gcc_n_fft: length of the transform and of its Hann window for the correlations, even, at
            least `bands`.
        dtype: type of the result.

    Returns:
        (T, bands, C + C (C - 1) / 2): dB, then the correlations of `gcc_phat`.

    References:
        Cao et al., "Polyphonic sound event detection and localization using a two-stage strategy",
        DCASE 2019, arXiv:1905.00268.
    """
    n_channels, n_bands = audio.shape[1], filters.shape[1]
    n_frames = max(1, len(audio) // hop_samples) if n_frames is None else n_frames
    features = np.empty((n_frames, n_bands, n_channels * (n_channels + 1) // 2), dtype)
    shared = window_samples == n_fft == gcc_n_fft
    spectra_of_pairs = (
        None if shared else stft_blocks(audio, gcc_n_fft, gcc_n_fft, hop_samples, n_frames)
    )
    for block, spectra in stft_blocks(audio, window_samples, n_fft, hop_samples, n_frames):
        features[block, :, :n_channels] = decibels(_power(spectra) @ filters).transpose(1, 2, 0)
        _, longer = (block, spectra) if spectra_of_pairs is None else next(spectra_of_pairs)
        features[block, :, n_channels:] = gcc_phat(longer, n_bands)
    return features


def gcc_phat(spectra: np.ndarray, n_lags: int) -> np.ndarray:
    """Generalised cross-correlation with phase transform of all pairs of channels, around lag 0.

    The few lags wanted come from two matrix products, of the cosines with the real and of the sines
    with the imaginary parts; for 96 of 2048 lags that takes half the time of an inverse Fourier
    transform.

    Args:
        spectra: complex64 (C, t, n_fft // 2 + 1), see `stft_blocks`.
        n_lags: number of lags, at most n_fft; half of them, rounded up, are negative.

    Returns:
        float32 (t, n_lags, pairs) in [-1, 1], pairs (0, 1), (0, 2) ... (1, 2) ...; a channel that
        is late against the first of its pair has its peak at a positive lag. Where one of the two
        spectra is zero the phase counts as 0, so that silence gives 1 at lag 0.

    Raises:
        ValueError: more lags than the transform has.

    References:
        Knapp, Carter, "The generalized correlation method for estimation of time delay", IEEE
        Trans. Acoust. Speech Signal Process. 24(4), 1976.
    """
    n_channels, n_frames, n_bins = spectra.shape
    n_fft = 2 * (n_bins - 1)
    if n_lags > n_fft:
        raise ValueError(
            f"Expected: at most as many lags as the transform is long, {n_fft}. Received: {n_lags}."
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
    """Cosines and sines that sum a half spectrum to its lags 0 ... longest, float32 (n_fft // 2 +
    1, longest + 1)."""
    share = np.full(n_fft // 2 + 1, 2.0 / n_fft)
    share[[0, -1]] /= 2  # the constant and the highest frequency occur once, all others twice
    # whole turns are taken off before the product becomes an angle, which then stays exact
    angle = (
        2 * np.pi / n_fft * (np.outer(np.arange(n_fft // 2 + 1), np.arange(longest + 1)) % n_fft)
    )
    return (share[:, None] * np.cos(angle)).astype(np.float32), (
        share[:, None] * np.sin(angle)
    ).astype(np.float32)


def _pair_phases(
    spectra: np.ndarray, pairs: list[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of the phase of each pair's second channel against its first, float32 (pairs,
    t, F) each."""
    real, imag = (
        np.ascontiguousarray(spectra.real),
        np.ascontiguousarray(spectra.imag),
    )  # (C, t, F) each
    magnitude = np.sqrt(real**2 + imag**2)
    silent = magnitude == 0
    magnitude[silent] = 1
    real /= magnitude
    imag /= magnitude
    cosine = np.empty((len(pairs), *spectra.shape[1:]), np.float32)
    sine, product = np.empty_like(cosine), np.empty_like(real[0])
    for number, (first, second) in enumerate(
        pairs
    ):  # in place: memory, not arithmetic, is what takes the time
        np.multiply(real[first], real[second], out=cosine[number])
        cosine[number] += np.multiply(imag[first], imag[second], out=product)
        np.multiply(real[first], imag[second], out=sine[number])
        sine[number] -= np.multiply(imag[first], real[second], out=product)
        cosine[number][silent[first] | silent[second]] = 1
    return cosine, sine


def interleave_channels(features: np.ndarray) -> np.ndarray:
    """Reads magnitudes and phases as the published SELDnet did, neighbouring bins packed into
    channels.

    The published code wrote all magnitudes of a frame before all phases and then read the numbers
    back as (bins, channels): the upper half of the rows holds magnitudes, each row those of two
    bins, the lower half phases.

    Args:
        features: (..., F, 2C), C magnitudes then C phases, F even.

    Returns:
        The same numbers, (..., F, 2C).
    """
    *leading, n_bins, n_channels = features.shape
    halves = features.reshape(*leading, n_bins, 2, n_channels // 2)
    return np.moveaxis(halves, -2, -3).reshape(features.shape)


def _power(spectra: np.ndarray) -> np.ndarray:
    return spectra.real**2 + spectra.imag**2
