"""Peak memory of extraction and of training for datasets of several sizes.

python -m benchmarks.memory [--quick]
"""

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.measure import Figure, Goal, peak_megabytes, run_alone, task
from seld.simulation.settings import SimulationConfig
from seld.simulation.simulator import SeldSimulator

RECORDING_S, SPLITS = 2.0, (1, 2, 3, 4)
SETTINGS = (
    f"dataset.recording_s={RECORDING_S}",
    "pipeline.sequence_frames=64",
    "pipeline.batch_size=2",
    "training.epochs=1",
    "training.passes_per_epoch=1",
    "network.n_filters=4",
    "network.gru_units=[8]",
    "network.dense_units=[8]",
)
TITLE = (
    "Peak memory of SELDnet's extraction and training with a small network, recordings of"
    f" {RECORDING_S:g} seconds, each in a process of its own"
)


def simulate(folder: Path) -> None:
    """Writes one recording for each split in the official layout."""
    simulation = SimulationConfig(
        preset="fixture", recordings_per_split=dict.fromkeys(SPLITS, 1), duration_s=RECORDING_S
    )
    SeldSimulator(folder, simulation, formats=("foa",), splits=SPLITS).run(progress=False)


def link_dataset(simulated: Path, folder: Path, recordings: int) -> None:
    """Makes a dataset of links to the simulated recordings, any number of them, in all splits."""
    paths = sorted(path for path in simulated.rglob("split*_*") if path.suffix in (".wav", ".csv"))
    for number in range(recordings):
        own = f"split{SPLITS[number % len(SPLITS)]}_"
        for path in (path for path in paths if path.name.startswith(own)):
            link = folder / path.relative_to(simulated).with_stem(
                f"{path.stem.rpartition('_')[0]}_{number + 1}"
            )
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, link)


def settings_of(folder: Path) -> Any:
    """The task that is measured."""
    return task("seldnet-foa", folder, *SETTINGS)


def extraction_peak(folder: Path) -> float:
    """Extracts all recordings and gives the peak of memory, MB.

    Raises:
        ArithmeticError: the number of recordings is not the one in the folder's name.
    """
    from seld.extraction import run

    (store,) = run(settings_of(folder), ["dev"], progress=False)
    if len(store.frames(store.groups)) != int(folder.name):
        raise ArithmeticError(
            f"Expected: {folder.name} recordings. Received: {len(store.frames(store.groups))}."
        )
    return peak_megabytes()


def training_peak(folder: Path) -> float:
    """Trains one fold for an epoch, scores it, and gives the peak of memory, MB."""
    from common.runtime import distribution
    from seld.experiment import Experiment
    from seld.extraction import open_store

    settings = settings_of(folder)
    distribution.prepare(settings.run)
    experiment = Experiment.prepare(settings)
    experiment.run_fold(settings.folds[0], [open_store(settings, "dev")], folder / "run")
    return peak_megabytes()


WORK = {"extraction": extraction_peak, "training": training_peak}


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures both at all sizes; with `quick` in one process, without meaningful memory."""
    sizes = (4,) if quick else (10, 100, 1000)
    peaks: dict[str, list[float]] = {name: [] for name in WORK}
    spawn = multiprocessing.get_context("spawn")
    simulate(folder / "simulated")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=None if quick else 1) as pool:
        for size in sizes:
            own = folder / str(size)
            link_dataset(folder / "simulated", own / "dataset", size)
            for name, work in WORK.items():
                peaks[name].append(pool.submit(work, own).result())
    return [result for name, own in peaks.items() for result in _results(name, sizes, own)]


def _results(name: str, sizes: Sequence[int], peaks: Sequence[float]) -> list[Figure | Goal]:
    figures = [
        Figure(f"{name}, {size} recordings", peak, "MB")
        for size, peak in zip(sizes, peaks, strict=True)
    ]
    details = ", ".join(
        f"{peak:,.0f} MB for {size}" for size, peak in zip(sizes, peaks, strict=True)
    )
    work = f"memory of {name}, {sizes[-1]} recordings against {sizes[0]}"
    return [
        Goal(work, peaks[-1] / peaks[0], 1.1, "times", at_least=False, details=details),
        *figures,
    ]


if __name__ == "__main__":
    run_alone(TITLE, measure)
