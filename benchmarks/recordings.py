"""Time and peak memory of predictions of whole recordings, as `predict.py` makes them.

python -m benchmarks.recordings [--quick]
"""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from benchmarks.measure import Figure, Goal, peak_megabytes, pivot_table, run_alone, task, wall_s
from common.family import load
from common.settings.tasks import BaseTask

SYSTEMS = {
    "SELDnet": "seldnet-foa",
    "two-stage": "two-stage",
    "CRNN": "crnn",
    "CNN9": "cnn9",
    "segmentation": "segmentation",
}
MINUTES = (1, 10)
TITLE = (
    "Predictions of noise by networks of published size with first weights, tables and figures"
    " included, each in a process of its own; loading the run is not in the time"
)


def write_noise(path: Path, minutes: float, rate_hz: int, channels: int) -> None:
    """Writes a recording of 16 bits, a second at a time."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", rate_hz, channels) as file:
        for _ in range(round(60 * minutes)):
            file.write(rng.normal(0.0, 0.05, (rate_hz, channels)))


def write_run(settings: BaseTask, folder: Path) -> str:
    """Writes the first fold of a run, untrained; returns its name, empty if there are no folds."""
    from common.models.layers import with_statistics
    from common.training.ensemble import scored_stages

    experiment = load(settings.family, "experiment").Experiment.prepare(settings)
    shape = experiment.new_network().input_shape[1:]
    fold = next(iter(settings.fold_names), "")
    for stage in scored_stages(experiment.system.stages(settings)):
        model = with_statistics(stage.build(shape), np.zeros(shape[1:]), np.ones(shape[1:]))
        write_stage(model, folder / fold / stage.name)
    write_settings(settings, folder)
    return fold


def write_stage(model: Any, folder: Path) -> None:
    """Writes a model as a finished training leaves it."""
    from common.training.stage import BEST, FINISHED

    folder.mkdir(parents=True)
    model.save(folder / BEST)
    finished = {"epochs": 1, "iterations_per_epoch": 1, "best_epoch": 1, "history": {}}
    (folder / FINISHED).write_text(json.dumps(finished), encoding="utf-8")


def write_settings(settings: BaseTask, folder: Path) -> None:
    """Writes the settings of a run."""
    text = yaml.safe_dump(settings.model_dump(mode="json"))
    (folder / "settings.yaml").write_text(text, encoding="utf-8")


def predicted(task_id: str, folder: Path, minutes: float) -> tuple[float, float]:
    """Predicts a recording; returns seconds, and the peak of memory in MB."""
    from common.audio.stream import FileSource
    from common.inference.loading import load_predictor
    from common.runtime import distribution

    settings = task(task_id, folder)
    distribution.prepare(settings.run)
    run, recording = folder / "run", folder / "noise.wav"
    fold = write_run(settings, run)
    predictor = load_predictor(run, fold or None)
    write_noise(recording, minutes, settings.dataset.sample_rate_hz, predictor.channels or 1)

    from common.inference.outputs import predict_file

    predictor.warm_up()
    seconds = wall_s(
        lambda: predict_file(predictor, FileSource.open(recording), folder / "found", run)
    )
    return seconds, peak_megabytes()


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures all systems; with `quick` only the CRNN, without meaningful memory."""
    results: list[Figure | Goal] = []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=None if quick else 1) as pool:
        for name, task_id in {"CRNN": SYSTEMS["CRNN"]}.items() if quick else SYSTEMS.items():
            lengths = (0.25, 0.5) if quick else MINUTES
            places = [folder / f"{task_id}-{minutes:g}" for minutes in lengths]
            pairs = zip(places, lengths, strict=True)
            short, long = (
                pool.submit(predicted, task_id, place, minutes).result() for place, minutes in pairs
            )
            results += _results(name, lengths, short, long)
    return results


def _results(
    name: str, minutes: tuple[float, float], short: tuple[float, float], long: tuple[float, float]
) -> list[Figure | Goal]:
    """Goal and figures of one system; of both recordings seconds and MB."""
    details = f"{short[1]:,.0f} MB for {minutes[0]:g} min, {long[1]:,.0f} MB for {minutes[1]:g} min"
    work = f"memory of predictions of {name}, {minutes[1]:g} minutes against {minutes[0]:g}"
    return [
        Goal(work, long[1] / short[1], 1.1, "times", at_least=False, details=details),
        *(
            Figure(f"{name}: {length:g} min", seconds, "s")
            for length, (seconds, _) in zip(minutes, (short, long), strict=True)
        ),
        Figure(f"{name}: share of real time", long[0] / (60 * minutes[1]), "s/s"),
    ]


if __name__ == "__main__":
    run_alone(TITLE, measure, to_table=lambda figures: pivot_table(figures, "system"))
