"""Features of SELD of 2022 to 2024 and of SALSA as their papers describe them, step by step."""

import itertools
from typing import Any

import numpy as np

N_FFT, HOP, RATE_HZ = 512, 300, 24000  # of SALSA


def spectra_of(audio: np.ndarray, n_fft: int, hop: int, window: int) -> np.ndarray:
    """Transforms one channel after the other: complex64 (F, T, C) of float32 (S, C)."""
    import librosa

    options: dict[str, Any] = {"n_fft": n_fft, "hop_length": hop, "win_length": window}
    channels = [librosa.stft(np.asfortranarray(c), pad_mode="reflect", **options) for c in audio.T]
    return np.stack(channels, axis=-1)


def salsa(audio: np.ndarray, audio_format: str, fmax_doa_hz: float) -> np.ndarray:
    """SALSA with a singular value decomposition for each audible bin of each frame.

    Args:
        audio: float32 (S, 4), at least seven frames.
        audio_format: "foa" or "mic".
        fmax_doa_hz: frequency from which on spatial features are zero.

    Returns:
        float32 (T, 200, 7).
    """
    import librosa

    spectra = spectra_of(audio, N_FFT, HOP, N_FFT)  # (F, T, 4)
    n_frames, single = spectra.shape[1], int(9000 * N_FFT / RATE_HZ)
    bands = np.zeros((200, N_FFT // 2))
    bands[:single, :single] = np.eye(single)
    for band in range(single, 200):
        first = single + 8 * (band - single)
        bands[band, first : first + 8] = 1 / 8
    features = np.zeros((n_frames, 200, 7), np.float32)
    for channel in range(4):
        power = bands @ np.abs(spectra[1:, :, channel]) ** 2
        features[:, :, channel] = librosa.power_to_db(power, amin=1e-10, top_db=None).T
    upper = int(fmax_doa_hz * N_FFT / RATE_HZ)
    padded = np.pad(spectra[1:upper], ((0, 0), (3, 3), (0, 0)), mode="reflect")
    squares = np.abs(padded[:, :, 0]) ** 2
    averages = np.sqrt((squares[:, 1:-5] + squares[:, 2:-4] + squares[:, 3:-3]) / 3)
    wave_number = 2 * np.pi * RATE_HZ / (N_FFT * 343)
    floors, rising = 0.5 * averages[:, :5].mean(axis=1), np.zeros(len(padded), int)
    for t in range(n_frames):
        for number in range(len(padded)):
            floors[number], rising[number] = _floor(
                averages[number, t], floors[number], rising[number]
            )
            if averages[number, t] <= 1.5 * floors[number]:
                continue
            window = padded[number, t : t + 7].T
            u, s, _ = np.linalg.svd(window @ window.conj().T)
            if s[0] <= 5 * s[1]:
                continue
            if audio_format == "foa":
                direction = np.real(u[1:, 0] / u[0, 0])
                spatial = direction / np.linalg.norm(direction)
            else:
                phases = np.angle(u[1:, 0] * np.conj(u[0, 0]))
                spatial = phases / (wave_number * (number + 1))
            features[t, number, 4:] = spatial
    return features


def _floor(average: float, floor: float, rising: int) -> tuple[float, int]:
    """Noise floor of a bin after a frame, and the number of frames in a row above it."""
    if average > floor:
        return max(floor * (1.02 if rising < 3 else 1.002), 1e-6), rising + 1
    return max(floor * 0.98, 1e-6), 0


def salsa_lite(audio: np.ndarray) -> np.ndarray:
    """Log spectra and scaled phase differences of float32 (S, 4): float32 (T, 191, 7)."""
    import librosa

    spectra = spectra_of(audio, N_FFT, HOP, N_FFT)  # (F, T, 4)
    cutoff, upper = int(9000 * N_FFT / RATE_HZ), int(2000 * N_FFT / RATE_HZ)
    levels = librosa.power_to_db(np.abs(spectra) ** 2, ref=1.0, amin=1e-10, top_db=None)
    phases = np.angle(spectra[..., 1:] * np.conj(spectra[..., :1]))
    phases /= (
        2 * np.pi * RATE_HZ / (N_FFT * 343) * np.maximum(np.arange(len(phases)), 1)[:, None, None]
    )
    phases[upper:] = 0
    both = np.concatenate([levels, phases], axis=-1)[1:cutoff]  # (191, T, 7)
    return both.transpose(1, 0, 2).astype(np.float32)


def baseline_2024(audio: np.ndarray, audio_format: str) -> np.ndarray:
    """Log-mel spectra, and intensities or correlations, channel by channel and pair by pair.

    Args:
        audio: float32 (S, 4).
        audio_format: "foa" or "mic".

    Returns:
        float32 (T, 64, 7 or 10).
    """
    import librosa

    n_frames = len(audio) // 480
    spectra = spectra_of(audio, 1024, 480, 960)[:, :n_frames]  # (F, T, 4)
    filters = librosa.filters.mel(sr=RATE_HZ, n_fft=1024, n_mels=64)
    features = []
    for channel in range(4):
        power = np.abs(spectra[..., channel]) ** 2
        features.append(librosa.power_to_db(filters @ power, amin=1e-10, top_db=80.0).T)
    if audio_format == "foa":
        w, others = spectra[..., :1], spectra[..., 1:]
        energy = np.abs(w) ** 2 + (np.abs(others) ** 2).sum(axis=-1, keepdims=True) / 3
        intensity = np.real(np.conj(w) * others) / (1e-8 + energy)  # (F, T, 3)
        features += [(filters @ intensity[..., axis]).T for axis in range(3)]
        return np.stack(features, axis=-1).astype(np.float32)
    for first, second in itertools.combinations(range(4), 2):
        cross = np.conj(spectra[..., first]) * spectra[..., second]
        lags = np.fft.irfft(np.exp(1j * np.angle(cross)), axis=0)
        features.append(np.concatenate([lags[-32:], lags[:32]]).T)
    return np.stack(features, axis=-1).astype(np.float32)
