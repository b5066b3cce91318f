"""Features of the published code: SELDnet, the two-stage systems, the CNNs of task 4."""

import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sed_task4.features import FeatureConfig as ClipFeatureConfig
from seld.features import FeatureConfig


def extract_seldnet(recordings: Sequence[Path], raw_folder: Path, duration_s: float) -> None:
    """Transforms recordings and saves their spectra whole, complex128 (T, 1024 * 4) each.

    Args:
        recordings: WAV files of 48 kHz with four channels.
        raw_folder: output folder of the spectra; it must exist.
        duration_s: recordings are padded or cut to this length.
    """
    import scipy.io.wavfile

    for path in recordings:
        rate_hz, samples = scipy.io.wavfile.read(path)
        n_samples = round(duration_s * rate_hz)
        audio = samples[:n_samples, :4] / 32768.0 + np.finfo(np.float64).eps
        audio = np.pad(audio, ((0, n_samples - len(audio)), (0, 0)))
        np.save(raw_folder / f"{path.stem}.npy", seldnet_spectra(audio, round(duration_s / 0.02)))


def seldnet_spectra(audio: np.ndarray, n_frames: int) -> np.ndarray:
    """Transforms one channel after the other: complex128 (T, 1024 * C) of float64 (S, C)."""
    import librosa

    spectra = np.zeros((n_frames, 1024, audio.shape[1]), complex)
    for channel in range(audio.shape[1]):
        signal = np.asfortranarray(audio[:, channel])
        spectrum = librosa.stft(
            signal,
            n_fft=2048,
            hop_length=960,
            win_length=1920,
            window="hann",
            pad_mode="reflect",
            dtype=np.complex64,
        )
        spectra[:, :, channel] = spectrum[1:, :n_frames].T
    return spectra.reshape(n_frames, -1)


def normalise_seldnet(raw_folder: Path, normalised_folder: Path) -> Any:
    """Fits scikit-learn's scaler to all spectra, and saves them normalised, float64 (T, 8192).

    Args:
        raw_folder: holds the files of `extract_seldnet`.
        normalised_folder: output folder of the normalised features; it must exist.

    Returns:
        The fitted `sklearn.preprocessing.StandardScaler`.
    """
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    paths = sorted(raw_folder.glob("*.npy"))
    for path in paths:
        scaler.partial_fit(magnitude_phase(np.load(path, allow_pickle=False)))
    for path in paths:
        np.save(
            normalised_folder / path.name,
            scaler.transform(magnitude_phase(np.load(path, allow_pickle=False))),
        )
    return scaler


def magnitude_phase(spectra: np.ndarray) -> np.ndarray:
    """All magnitudes, then all phases: float64 (T, 2 N) of complex (T, N)."""
    return np.concatenate((np.abs(spectra), np.angle(spectra)), axis=1)


def two_stage(audio: np.ndarray, features: FeatureConfig, rate_hz: int) -> np.ndarray:
    """Computes log-mel and GCC-PHAT: two FFTs and, in each frame, an inverse one for each pair.

    Args:
        audio: float32 (S, C).
        features: sizes.
        rate_hz: rate of the audio.

    Returns:
        float32 (T, bands, C + pairs).
    """
    import librosa

    hop_samples, n_mels = features.hop_samples(rate_hz), features.n_mels
    stft = partial(librosa.stft, hop_length=hop_samples, pad_mode="reflect")
    filters = librosa.filters.mel(
        sr=rate_hz, n_fft=features.n_fft, n_mels=n_mels, fmin=features.fmin_hz
    )
    levels, correlations = [], []
    for channel in audio.T:
        power = np.abs(stft(channel, n_fft=features.n_fft)) ** 2  # (F, T)
        levels.append(librosa.power_to_db(filters @ power, amin=1e-10, top_db=None).T)
    for first, second in itertools.combinations(audio.T, 2):
        cross = stft(second, n_fft=features.gcc_n_fft) * np.conj(
            stft(first, n_fft=features.gcc_n_fft)
        )
        frames = []
        for spectrum in cross.T:
            lags = np.fft.irfft(np.exp(1j * np.angle(spectrum)))
            frames.append(np.concatenate([lags[-n_mels // 2 :], lags[: n_mels // 2]]))
        correlations.append(np.stack(frames))
    return np.stack(levels + correlations, axis=-1).astype(np.float32)


def clip_log_mel(
    path: Path, features: ClipFeatureConfig, rate_hz: int, clip_s: float
) -> np.ndarray:
    """Computes the features of a clip as published for the CNNs of task 4, with librosa throughout.

    Args:
        path: a sound file.
        features: sizes.
        rate_hz: rate that the clip is resampled to.
        clip_s: length to which the clip is padded or cut.

    Returns:
        float32 (T, bands, 1).
    """
    import librosa
    import soundfile

    recorded, recorded_hz = soundfile.read(path)
    mono = recorded if recorded.ndim == 1 else recorded.mean(axis=1)
    audio = librosa.resample(mono, orig_sr=recorded_hz, target_sr=rate_hz, res_type="soxr_hq")
    audio = librosa.util.fix_length(audio, size=round(clip_s * rate_hz))
    window_samples, hop_samples = features.window_samples(rate_hz), features.hop_samples(rate_hz)
    spectra = librosa.stft(
        audio,
        n_fft=features.n_fft,
        hop_length=hop_samples,
        window=np.hanning(window_samples),
        pad_mode="reflect",
        dtype=np.complex64,
    )
    filters = librosa.filters.mel(
        sr=rate_hz,
        n_fft=features.n_fft,
        n_mels=features.n_mels,
        fmin=features.fmin_hz,
        fmax=features.fmax_hz,
    )
    power = np.abs(spectra[:, : features.n_frames(clip_s)].T) ** 2  # (T, F)
    levels = librosa.power_to_db(power @ filters.T, ref=1.0, amin=1e-10, top_db=None)
    return levels[..., None].astype(np.float32)
