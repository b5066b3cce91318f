"""Log-mel and GCC-PHAT features of the two-stage systems: ours and those of the published code.

python -m benchmarks.gcc_features [--quick]
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import scipy.fft

from benchmarks.baselines.features import two_stage
from benchmarks.cores import one_core
from benchmarks.measure import Figure, Goal, in_turns, run_alone
from seld.features import FeatureConfig, extract_features

TITLE = "Log-mel and GCC-PHAT features of 60-second recordings with four channels, on one core"
RATE_HZ = 32000
FEATURES = FeatureConfig(kind="logmel_gcc")


def cpu_s(work: Callable[[], object]) -> float:
    """Processor time of `work` in seconds on one core, hardly affected by other processes."""
    with one_core():
        start = time.process_time()
        work()
        return time.process_time() - start


def check_equal(ours: np.ndarray, published: np.ndarray) -> None:
    """Raises ArithmeticError if the features of both routes differ.

    The noise that they are computed of fills every bin. Where bins are all but silent, as those
    that a resampler cuts off, their phase is rounding: the published route transforms in double
    precision, ours in single. See `apart_db`.
    """
    apart = float(np.abs(ours - published).max())
    if ours.shape != published.shape or not apart <= 1e-3:
        raise ArithmeticError(
            f"Ours and the published features are {apart:.3g} apart. Expected: at most 1e-3."
        )


def apart_db(noise_db: float | None) -> float:
    """Largest difference of the correlations (peak 1) of two seconds without content above 12 kHz.

    Args:
        noise_db: level of noise in all bins, against full scale; None: the upper quarter of the
            bins is empty.
    """
    import soxr

    rng = np.random.default_rng(0)
    audio = soxr.resample(0.1 * rng.standard_normal((48000, 4)), 24000, RATE_HZ, quality="HQ")
    if noise_db is not None:
        audio += 10 ** (noise_db / 20) * rng.standard_normal(audio.shape)
    audio = audio.astype(np.float32)
    apart = np.abs(extract_features(audio, FEATURES, RATE_HZ) - two_stage(audio, FEATURES, RATE_HZ))
    return float(apart[..., 4:].max())


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures both routes in turns on the same noise, and checks that they agree."""
    duration_s, repeats = (2.0, 1) if quick else (60.0, 5)
    rng = np.random.default_rng(0)
    audio = 0.1 * rng.standard_normal((round(duration_s * RATE_HZ), 4)).astype(np.float32)
    recorded = 0.1 * rng.standard_normal((round(duration_s * 48000), 4)).astype(np.float32)
    works = {
        "ours": partial(extract_features, audio, FEATURES, RATE_HZ),
        "published": partial(two_stage, audio, FEATURES, RATE_HZ),
        "resampled": partial(extract_features, recorded, FEATURES, 48000),
        "levels": partial(extract_features, audio, FeatureConfig(kind="logmel"), RATE_HZ),
    }
    check_equal(works["ours"](), works["published"]())
    timings = in_turns({name: partial(cpu_s, work) for name, work in works.items()}, repeats)
    ours, published = timings["ours"], timings["published"]
    return [
        Goal(
            "log-mel and GCC-PHAT of 60 s with four channels, one core, equal to 0.001",
            published.median / ours.median,
            6.0,
            "times faster",
            at_least=True,
            details=f"ours {ours.text()}, published route {published.text()}",
            reason="see the floor in the benchmark's own table",
        ),
        Figure("logmel_gcc: with resampling from 48 kHz", timings["resampled"].median, "s"),
        Figure("logmel: per recording", timings["levels"].median, "s"),
        Figure(
            "GCC-PHAT, ours from published: a quarter of the bins empty",
            apart_db(None),
            "of the peak",
        ),
        Figure(
            "GCC-PHAT, ours from published: noise at -100 dB in all bins",
            apart_db(-100),
            "of the peak",
        ),
        Figure("floor: FFTs only", floor_s(duration_s, repeats), "s"),
    ]


def floor_s(duration_s: float, repeats: int) -> float:
    """Seconds of the two transforms of each channel and frame, which no route can do without."""
    blocks = [
        np.random.default_rng(0).standard_normal((4, 32, n_fft)).astype(np.float32)
        for n_fft in (FEATURES.n_fft, FEATURES.gcc_n_fft)
    ]
    n_blocks = round(duration_s / FEATURES.hop_s) // 32

    def transform() -> None:
        for _ in range(n_blocks):
            for block in blocks:
                scipy.fft.rfft(block)

    return in_turns({"transforms": partial(cpu_s, transform)}, repeats)["transforms"].median


if __name__ == "__main__":
    run_alone(TITLE, measure)
