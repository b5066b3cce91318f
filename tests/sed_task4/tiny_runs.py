"""Settings of tiny demos that are simulated, trained and scored within seconds."""

from pathlib import Path

PARAMS = Path(__file__).parents[2] / "params.yaml"
CLIP_S = 4.0
SMALL = {
    "parallel.jobs": "1",  # a process more takes longer to start than this work
    "simulation.preset": "fixture",
    "dataset.clip_s": str(CLIP_S),
    "pipeline.batch_size": "2",
    "pipeline.recordings_per_shard": "4",
    "scoring.sed_eval": "true",
}
CRNN = {
    "pipeline.sequence_frames": str(round(50 * CLIP_S)),
    "network.n_filters": "4",
    "network.gru_units": "[4]",
    "training.epochs": "2",
    "second_pass.epochs": "2",
    "second_pass.batch_size": "2",
}
CNN = {
    "pipeline.sequence_frames": str(round(64 * CLIP_S)),
    "network.filters": "[2, 2, 4, 4]",
    "training.epochs": "2",
    "training.iterations_per_epoch": "2",
}


def arguments(folder: Path, settings: dict[str, str]) -> list[str]:
    """Options of a command that set all of these, its data and runs below one folder."""
    folders = {f"{name}_dir": str(folder / name) for name in ("dataset", "feature", "output")}
    options = [
        part
        for key, value in (SMALL | folders | settings).items()
        for part in ("--set", f"{key}={value}")
    ]
    return [*options, "--params", str(PARAMS)]
