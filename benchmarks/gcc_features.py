"""Features of the two-stage systems: our way to log-mel and GCC-PHAT beside that of the published code.

python -m benchmarks.gcc_features [--quick]
"""

import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.measure import Figure, run_alone
from seld.features import FeatureConfig, extract_features

TITLE = "Log-mel and GCC-PHAT features of 60-second recordings with four channels, on one core"
RATE_HZ = 32000
FEATURES = FeatureConfig(kind="logmel_gcc")


def published_route(audio: np.ndarray) -> np.ndarray:
    """Computes the features as the published code does: two transforms a pair, an inverse one a pair and frame.

    Args:
        audio: float32 (S, C) at 32 kHz.

    Returns:
        float32 (T, 96, C + pairs).
    """
    import librosa

    hop_samples, n_mels = FEATURES.hop_samples(RATE_HZ), FEATURES.n_mels
    stft = partial(librosa.stft, hop_length=hop_samples, pad_mode="reflect")
    filters = librosa.filters.mel(sr=RATE_HZ, n_fft=FEATURES.n_fft, n_mels=n_mels, fmin=FEATURES.fmin_hz)
    levels, correlations = [], []
    for channel in audio.T:
        power = np.abs(stft(channel, n_fft=FEATURES.n_fft)) ** 2  # (F, T)
        levels.append(librosa.power_to_db(filters @ power, amin=1e-10, top_db=None).T)
    for first, second in itertools.combinations(audio.T, 2):
        cross = stft(second, n_fft=FEATURES.gcc_n_fft) * np.conj(stft(first, n_fft=FEATURES.gcc_n_fft))
        frames = []
        for spectrum in cross.T:
            lags = np.fft.irfft(np.exp(1j * np.angle(spectrum)))
            frames.append(np.concatenate([lags[-n_mels // 2 :], lags[: n_mels // 2]]))
        correlations.append(np.stack(frames))
    return np.stack(levels + correlations, axis=-1).astype(np.float32)


def cpu_s(work: Callable[[], object], repeats: int) -> float:
    """Median of the processor's seconds that `work` takes in one thread; what else the machine does counts little."""
    seconds = []
    with threadpool_limits(limits=1):
        for _ in range(repeats):
            start = time.process_time()
            work()
            seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def check_equal(ours: np.ndarray, published: np.ndarray) -> None:
    """Raises ArithmeticError where the two ways do not lead to the same features."""
    apart = float(np.abs(ours - published).max())
    if ours.shape != published.shape or not apart <= 1e-3:
        raise ArithmeticError(f"Ours and the published features are {apart:.3g} apart. Expected: at most 1e-3.")


def measure(quick: bool, folder: Path) -> list[Figure]:
    """Measures both ways on the same noise, checks that they agree, and gives the ratio; `folder` is not needed."""
    duration_s, repeats = (2.0, 1) if quick else (60.0, 5)
    rng = np.random.default_rng(0)
    audio = 0.1 * rng.standard_normal((round(duration_s * RATE_HZ), 4)).astype(np.float32)
    recorded = 0.1 * rng.standard_normal((round(duration_s * 48000), 4)).astype(np.float32)
    ours = partial(extract_features, audio, FEATURES, RATE_HZ)
    published = partial(published_route, audio)
    check_equal(ours(), published())
    seconds, seconds_published = cpu_s(ours, repeats), cpu_s(published, min(repeats, 3))
    resampled_s = cpu_s(partial(extract_features, recorded, FEATURES, 48000), repeats)
    levels_s = cpu_s(partial(extract_features, audio, FeatureConfig(kind="logmel"), RATE_HZ), repeats)
    return [
        Figure("logmel_gcc: per recording", seconds, "s"),
        Figure("logmel_gcc: as in the published code", seconds_published, "s"),
        Figure("logmel_gcc: times faster", seconds_published / seconds, "", "at least 6, equal to 0.001"),
        Figure("logmel_gcc: with resampling from 48 kHz", resampled_s, "s"),
        Figure("logmel: per recording", levels_s, "s"),
    ]


if __name__ == "__main__":
    run_alone(TITLE, measure)
