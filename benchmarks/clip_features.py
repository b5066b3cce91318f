"""Log-mel features of task 4 clips with resampling: ours and librosa's, one process and two.

python -m benchmarks.clip_features [--quick]
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import joblib
import numpy as np

from benchmarks.baselines.features import clip_log_mel
from benchmarks.cores import one_core
from benchmarks.measure import Figure, Goal, Timing, in_turns, run_alone, wall_s
from common.audio.files import read_mono, write_wav
from common.runtime.memory import keep_freed_memory
from common.settings.parallel import ParallelConfig
from sed_task4.features import FeatureConfig, extract_features

TITLE = "Features of clips: 10 seconds of 44.1 kHz, read, resampled to 32 kHz, 64 mel bands in dB"
RATE_HZ, RECORDED_HZ, CLIP_S = 32000, 44100, 10.0
FEATURES = FeatureConfig(kind="logmel_db")


def write_clips(folder: Path, n_clips: int) -> list[Path]:
    """Writes clips of one channel of noise."""
    rng = np.random.default_rng(0)
    paths = [folder / f"clip{number}.wav" for number in range(n_clips)]
    for path in paths:
        write_wav(path, 0.1 * rng.standard_normal((round(CLIP_S * RECORDED_HZ), 1)), RECORDED_HZ)
    return paths


def ours(path: Path) -> np.ndarray:
    """Features float32 (T, 64, 1) of one clip."""
    return extract_features(read_mono(path, RATE_HZ), FEATURES, RATE_HZ, CLIP_S)


def sum_of(path: Path) -> float:
    """Sum of a clip's features: a small result, so that its transfer is not measured."""
    keep_freed_memory()  # as the processes of an extraction do
    return float(ours(path).sum())


def all_of(route: Callable[[Path], object], paths: list[Path]) -> None:
    """Computes the features of all clips, one after the other."""
    for path in paths:
        route(path)


def clip_s(route: Callable[[Path], object], paths: list[Path]) -> float:
    """Seconds per clip on one core."""
    with one_core():
        return wall_s(partial(all_of, route, paths)) / len(paths)


def throughput(paths: list[Path], processes: int) -> float:
    """Clips per second of running processes with one thread each, without their start.

    One process is this one, on one core.
    """
    with joblib.parallel_config("loky", n_jobs=processes, inner_max_num_threads=1):
        pool = joblib.Parallel(batch_size=8)
        pool(joblib.delayed(sum_of)(path) for path in paths[: 8 * processes])
        start = time.perf_counter()
        if processes == 1:
            with one_core():
                all_of(sum_of, paths)
        else:
            pool(joblib.delayed(sum_of)(path) for path in paths)
        return len(paths) / (time.perf_counter() - start)


def check_equal(path: Path) -> None:
    """Raises ArithmeticError if the features of both routes differ."""
    apart = float(np.abs(ours(path) - clip_log_mel(path, FEATURES, RATE_HZ, CLIP_S)).max())
    if not apart <= 1e-2:
        raise ArithmeticError(
            f"Ours and librosa's features are {apart:.3g} dB apart. Expected: at most 0.01."
        )


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures both ways in turns, and one process against two in turns."""
    n_clips, n_many, repeats = (2, 4, 1) if quick else (40, 800, 5)
    paths = write_clips(folder, n_clips)
    check_equal(paths[0])
    many = (paths * n_many)[:n_many]
    timings = in_turns(
        {"ours": partial(clip_s, ours, paths), "librosa": partial(clip_s, librosa_route, paths)},
        repeats,
    )
    rates = in_turns(
        {"one": partial(throughput, many, 1), "two": partial(throughput, many, 2)}, repeats
    )
    return [_speed_goal(timings), _throughput_goal(rates)]


def librosa_route(path: Path) -> np.ndarray:
    """The published way for one clip."""
    return clip_log_mel(path, FEATURES, RATE_HZ, CLIP_S)


def _speed_goal(timings: dict[str, Timing]) -> Goal:
    own, librosa = timings["ours"], timings["librosa"]
    return Goal(
        "log-mel of a clip of 10 s with resampling, one core, equal to 0.01 dB",
        librosa.median / own.median,
        1.0,
        "times faster",
        at_least=True,
        details=f"ours {own.text('ms', 1e3)}, librosa with soxr {librosa.text('ms', 1e3)}",
        reason="both spend most of their time in soxr",
    )


def _throughput_goal(rates: dict[str, Timing]) -> Goal:
    enough = ParallelConfig().n_jobs >= 2
    return Goal(
        "log-mel of clips with two processes instead of one",
        rates["two"].median / rates["one"].median if enough else None,
        1.9,
        "times the throughput",
        at_least=True,
        details=f"one {rates['one'].text('clips/s')}, two {rates['two'].text('clips/s')}",
        reason=(
            "both cores share the bandwidth of the memory"
            if enough
            else "this machine has one core"
        ),
    )


if __name__ == "__main__":
    run_alone(TITLE, measure)
