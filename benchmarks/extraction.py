"""Features of SELDnet from recordings to disk: ours and the published route, on one core.

python -m benchmarks.extraction [--quick]
"""

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import scipy.fft

from benchmarks.baselines.features import extract_seldnet, normalise_seldnet
from benchmarks.cores import one_core
from benchmarks.measure import Figure, Goal, Timing, in_turns, run_alone, task, timed, wall_s
from common.data.tfrecord import read_shard
from seld.config import TaskConfig
from seld.extraction import example_schema, open_store, run
from seld.simulation.settings import SimulationConfig
from seld.simulation.simulator import SeldSimulator

TITLE = (
    "Extraction: features of 60-second ambisonic recordings of 48 kHz, on one core. Ours are"
    " flushed shards and the statistics that a network's first layer applies; the published route"
    " saves spectra, then reads and saves them normalised"
)
Kind = Literal["magnitude_phase", "logmel_intensity"]
KINDS: tuple[Kind, ...] = ("magnitude_phase", "logmel_intensity")


def dataset(folder: Path, recordings: int, recording_s: float) -> None:
    """Writes the recordings that are extracted."""
    simulation = SimulationConfig(
        preset="fixture", recordings_per_split={1: recordings}, duration_s=recording_s
    )
    SeldSimulator(folder, simulation, formats=("foa",), splits=(1,)).run(progress=False)


class Routes:
    """Both routes from recordings to features; each call starts again and keeps its files.

    Args:
        folder: holds the dataset, and the features below `features/`.
        recordings: number of recordings.
        recording_s: length of each.
    """

    def __init__(self, folder: Path, recordings: int, recording_s: float) -> None:
        self.folder, self.recordings, self.recording_s = folder, recordings, recording_s
        self.published_mean_std: tuple[np.ndarray, ...] = ()

    def settings(self, kind: Kind) -> TaskConfig:
        """The task whose features are extracted."""
        settings = task(
            "seldnet-foa",
            self.folder,
            f"features.kind={kind}",
            f"dataset.recording_s={self.recording_s}",
        )
        return settings.model_copy(update={"feature_dir": self.folder / "features" / kind})

    def ours(self, kind: Kind) -> float:
        """Seconds per recording."""
        settings = self.settings(kind)
        shutil.rmtree(settings.feature_dir, ignore_errors=True)
        os.sync()  # else ours, which flushes its files, waits for those of the other route
        with one_core():
            return (
                wall_s(partial(run, settings, ["dev"], progress=False, whole_task=False))
                / self.recordings
            )

    def published(self) -> float:
        """Seconds per recording."""
        raw, normalised = (self.folder / "features" / name for name in ("raw", "normalised"))
        for path in (raw, normalised):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
        recordings = sorted((self.folder / "dataset").rglob("*.wav"))
        os.sync()

        def extract_and_normalise() -> None:
            extract_seldnet(recordings, raw, self.recording_s)
            scaler = normalise_seldnet(raw, normalised)
            self.published_mean_std = scaler.mean_, scaler.scale_

        with one_core():
            return wall_s(extract_and_normalise) / self.recordings

    def megabytes(self, *names: str) -> float:
        """Size of features per recording."""
        files = [
            path
            for name in names
            for path in (self.folder / "features" / name).rglob("*")
            if path.is_file()
        ]
        return sum(path.stat().st_size for path in files) / 1e6 / self.recordings

    def check_equal(self) -> None:
        """Compares the files of both routes.

        Raises:
            ArithmeticError: spectra are further apart than the stored numbers are rounded, or
                statistics differ.
        """
        settings = self.settings("magnitude_phase")
        store = open_store(settings, "dev")
        schema = example_schema(settings.dataset, settings.features)
        difference = 0.0
        for shard in store.shards():
            for example in read_shard(shard, schema):
                # (T, 1024, 4) each
                magnitude, phase = np.split(example["features"].astype(np.float32), 2, axis=2)
                path = self.folder / "features" / "raw" / f"{example['name']}.npy"
                spectra = np.load(path, allow_pickle=False).reshape(magnitude.shape)
                apart = np.abs(magnitude * np.exp(1j * phase) - spectra) / (np.abs(spectra) + 1e-3)
                difference = max(difference, float(apart.max()))
        # half precision: 0.0005 of a magnitude, 0.001 of a phase near 3 radians
        if not difference <= 2e-3:
            raise ArithmeticError(
                f"Ours and the published spectra are {difference:.3g} of their size apart."
            )
        # rounding decides whether a phase is pi or -pi, in a few frames
        flips = 4 * 2 * np.pi / sum(store.frames())
        for ours, published in zip(store.statistics(), self.published_mean_std, strict=True):
            # all magnitudes, then all phases
            flat = np.concatenate(np.split(ours, 2, axis=1)).ravel()
            allowed = np.repeat([1e-4, flips], flat.size // 2) + 1e-3 * np.abs(published)
            if not (np.abs(flat - published) <= allowed).all():
                raise ArithmeticError(
                    f"Mean or standard deviation differ by {np.abs(flat - published).max():.3g}."
                )


def floors(folder: Path, recording_s: float) -> list[Figure]:
    """Lower bounds of any route: only the FFTs, and the bytes written and flushed."""
    n_frames = round(recording_s / 0.02)
    block = np.random.default_rng(0).standard_normal((32, 2048, 4)).astype(np.float32)
    content = bytes(n_frames * 1024 * 8 * 2)

    def transform() -> None:
        for _ in range(0, n_frames, len(block)):
            scipy.fft.rfft(block, axis=1)

    def write() -> None:
        with (folder / "content").open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    with one_core():
        timings = in_turns({"transforms": timed(transform), "disk": timed(write)}, 5)
    return [
        Figure("floor: FFTs only, per recording", timings["transforms"].median, "s"),
        Figure(
            "floor: the same bytes written and flushed, per recording", timings["disk"].median, "s"
        ),
    ]


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures both ways in turns; the first turn, which loads libraries, is not counted."""
    recordings, recording_s, repeats = (1, 2.0, 1) if quick else (4, 60.0, 5)
    dataset(folder / "dataset", recordings, recording_s)
    routes = Routes(folder, recordings, recording_s)
    timings = in_turns(
        {
            "ours": partial(routes.ours, "magnitude_phase"),
            "published": routes.published,
            "intensity": partial(routes.ours, "logmel_intensity"),
        },
        repeats,
    )
    routes.check_equal()
    return [
        *_goals(timings, routes),
        Figure("logmel_intensity: per recording", timings["intensity"].median, "s"),
        Figure(
            "logmel_intensity: on disk per recording", routes.megabytes("logmel_intensity"), "MB"
        ),
        *floors(folder, recording_s),
    ]


def _goals(timings: dict[str, Timing], routes: Routes) -> list[Goal]:
    ours, published = timings["ours"], timings["published"]
    size = routes.megabytes("magnitude_phase")
    size_published = routes.megabytes("raw", "normalised")
    return [
        Goal(
            "SELDnet features of a 60 s recording, from reading to normalised on disk, one core",
            published.median / ours.median,
            4.0,
            "times faster",
            at_least=True,
            details=f"ours {ours.text()}, published route {published.text()}",
            reason="see the floors in the benchmark's own table",
        ),
        Goal(
            "SELDnet features of a 60 s recording on disk",
            size,
            50.0,
            "MB",
            at_least=False,
            details=f"ours {size:.3g} MB, published route {size_published:.3g} MB",
        ),
    ]


if __name__ == "__main__":
    run_alone(TITLE, measure)
