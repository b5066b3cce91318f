"""python -m tests.soak.targets NAME --kills 50 --seed 0 --folder DIR: kills one kind of job.

Extraction, simulation, mixing and training in the smallest settings that have all of their parts.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras

from common.runtime.quiet import stderr_discarded
from common.training.stage import BEST, FINISHED
from tests.soak.files import contents, run_contents
from tests.soak.kills import Target, new_process, survive

Run = Callable[[list[str]], None]  # runs a command to its end
REPORT = "report.json"
_COPIES = 12  # of each recording, under other names: extraction is to take as long as its start
SELD = {
    "simulation.preset": "fixture",
    "simulation.duration_s": 3,
    "dataset.recording_s": 3,
    "parallel.jobs": 1,
}
CLIPS = {"simulation.preset": "fixture", "pipeline.recordings_per_shard": 2}
SOUNDS = {
    "simulation.preset": "fixture",
    "simulation.files_per_class": 6,
    "dataset.mixtures_per_fold": 12,
}


def options(*settings: dict[str, Any], **folders: Path) -> list[str]:
    """Arguments that set all of these settings."""
    joined = {key: value for each in (*settings, folders) for key, value in each.items()}
    return [part for key, value in joined.items() for part in ("--set", f"{key}={value}")]


def recordings_extracted(data: Path, run: Run, copies: int = _COPIES) -> Target:
    """Features of SELD recordings, by one process."""
    dataset = data / "recordings"
    run(["simulate.py", "demo", *options(SELD, dataset_dir=dataset)])
    for path in [*dataset.glob("foa_dev/*.wav"), *dataset.glob("metadata_dev/*.csv")]:
        for copy in range(1, copies):
            os.link(path, path.with_stem(f"{path.stem}{copy:02d}"))
    command = ["batch_feature_extraction.py", "demo", *options(SELD, dataset_dir=dataset)]
    return Target(
        "extraction of recordings",
        lambda folder: [*command, *options(feature_dir=folder)],
        contents,
        once=("*/split*.npz",),
        lasting=("*/*.tfrecord",),
    )


def clips_extracted(data: Path, run: Run) -> Target:
    """Features of task-4 clips, by two processes."""
    common = options(CLIPS, {"parallel.jobs": 2}, dataset_dir=data / "clips")
    run(["simulate.py", "crnn-demo", *common])
    return Target(
        "extraction of clips",
        lambda folder: [
            "batch_feature_extraction.py",
            "crnn-demo",
            *common,
            *options(feature_dir=folder),
        ],
        contents,
        once=("*/*--*.npz",),
        lasting=("*/*.tfrecord",),
        workers=True,
    )


def simulated(
    task_id: str,
    settings: dict[str, Any],
    what: str,
    once: str,
    data: Path,
    run: Run,
    jobs: int = 2,
) -> Target:
    """A simulated dataset, by two processes."""
    command = ["simulate.py", task_id, *options(settings, {"parallel.jobs": jobs})]
    return Target(
        f"simulation of {what}",
        lambda folder: [*command, *options(dataset_dir=folder)],
        contents,
        once=(once,),
        lasting=("**/*.wav",),
        workers=jobs > 1,
    )


def mixed(data: Path, run: Run, jobs: int = 2) -> Target:
    """Mixtures of simulated sounds and scenes, by two processes."""
    common = options(SOUNDS, {"parallel.jobs": jobs}, dataset_dir=data / "sounds")
    run(["simulate.py", "segmentation-demo", *common])
    command = ["-m", "sed_task4.segmentation.mixing", "segmentation-demo", *common]
    return Target(
        "mixing",
        lambda folder: [*command, "--set", f"dataset.mixtures_dir={folder}"],
        contents,
        once=("**/*.wav",),
        workers=jobs > 1,
    )


def seldnet_trained(data: Path, run: Run, epochs: int = 8) -> Target:
    """SELDnet with dropout, rotations and patience, one fold."""
    settings = SELD | {
        "network.n_filters": 4,
        "network.gru_units": "[6]",
        "network.dense_units": "[8]",
        "network.dropout": 0.2,
        "pipeline.sequence_frames": 25,
        "pipeline.batch_size": 4,
        "training.epochs": epochs,
        "training.patience_epochs": epochs - 1,
        "training.passes_per_epoch": 2,
        "training.checkpoint_every_epochs": 3,
    }
    common = options(settings, dataset_dir=data / "recordings", feature_dir=data / "features")
    run(["simulate.py", "demo", *common])
    run(["batch_feature_extraction.py", "demo", *common])
    return trained(
        "training of SELDnet", ["seld.py", "demo", "a", *common], ["fold1/seld"], "val_seld_error"
    )


def multi_accdoa_trained(data: Path, run: Run, epochs: int = 5) -> Target:
    """Multi-ACCDOA with distance, attention, exchanged axes and cutouts; targets from events."""
    settings = {
        "dataset.layout": "starss2024",
        "simulation.preset": "fixture",
        "simulation.recordings_per_split": "{1: 3, 2: 2, 3: 1, 4: 2}",
        "simulation.duration_s": 4,
        "parallel.jobs": 1,
        "network.n_filters": 4,
        "network.gru_units": "[8]",
        "network.dense_units": "[8]",
        "network.attention": 2023,
        "network.attention_layers": 1,
        "network.distance": "true",
        "network.end_activation": "linear",
        "network.dropout": 0.2,
        "pipeline.sequence_frames": 50,
        "pipeline.batch_size": 4,
        "scoring.scorer": "dcase2024",
        "training.augmentation": "foa_axes",
        "training.feature_augmentation.cutout_probability": 0.5,
        "training.epochs": epochs,
        "training.patience_epochs": epochs - 1,
    }
    common = options(settings, dataset_dir=data / "scenes", feature_dir=data / "features")
    run(["simulate.py", "multi-accdoa-demo", *common])
    run(["batch_feature_extraction.py", "multi-accdoa-demo", *common])
    command = ["seld.py", "multi-accdoa-demo", "a", *common]
    return trained("training of multi-ACCDOA", command, ["fold1/seld"], "val_seld_error")


def crnn_trained(data: Path, run: Run) -> Target:
    """CRNN in two passes with dropout: thresholds, pseudo-labels, second pass from the first."""
    settings = CLIPS | {
        "parallel.jobs": 1,
        "network.n_filters": 4,
        "network.gru_units": "[4]",
        "network.dropout": 0.3,
        "pipeline.batch_size": 2,
        "training.epochs": 4,
        "training.patience_epochs": 4,
        "second_pass.epochs": 4,
        "second_pass.batch_size": 2,
    }
    common = options(settings, dataset_dir=data / "clips", feature_dir=data / "features")
    run(["simulate.py", "crnn-demo", *common])
    run(["batch_feature_extraction.py", "crnn-demo", *common])
    command = ["task4_crnn.py", "crnn-demo", "a", *common]
    return trained("training of the CRNN", command, ["pass1", "pass2"], "val_clip_macro_f")


def trained(name: str, command: list[str], stages: Sequence[str], monitor: str) -> Target:
    """A training of some stages, whose folders in the run's are given."""
    run_name = "_".join(command[1:3])
    return Target(
        name,
        lambda folder: [*command, *options(output_dir=folder)],
        lambda folder: run_contents(folder / run_name),
        lasting=tuple(f"{run_name}/{stage}/{BEST}" for stage in stages),
        place=lambda folder: place(folder / run_name, stages),
        comparison=lambda whole, killed: comparison(
            whole / run_name, killed / run_name, stages, monitor
        ),
    )


def place(run: Path, stages: Sequence[str]) -> str:
    """Progress of a training: an epoch of a stage, or the work before and after."""
    for stage in stages:
        if not (run / stage / FINISHED).exists():
            kept = [int(path.name[-5:]) for path in run.glob(f"{stage}/resume/epoch-*")]
            started = (
                bool(kept)
                or (run / stage / "history.csv").exists()
                or (run / stage / "tensorboard").exists()
            )
            return (
                f"{Path(stage).name}, epoch {max(kept, default=0) + 1}"
                if started
                else f"before {Path(stage).name}"
            )
    return "test"


def comparison(whole: Path, killed: Path, stages: Sequence[str], monitor: str) -> str:
    """The histories of two runs side by side."""
    lines = []
    for stage in stages:
        histories = [
            json.loads((run / stage / FINISHED).read_text())["history"] for run in (whole, killed)
        ]
        names = ("loss", "val_loss", monitor)
        title = "".join(f"{name:>18}" for name in names)
        lines += [
            f"{Path(stage).name:>8}{'uninterrupted':>54} |{'killed and resumed':>54}",
            f"   epoch{title} |{title}",
        ]
        for epoch in range(max(len(history["loss"]) for history in histories)):
            one, other = (
                "".join(_cell(history[name], epoch) for name in names) for history in histories
            )
            lines.append(f"{epoch + 1:>8}{one} |{other}")
    return "\n".join(lines)


def _cell(values: Sequence[float], epoch: int) -> str:
    return (
        f"{values[epoch]:>18.9f}"
        if epoch < len(values) and values[epoch] is not None
        else f"{'-':>18}"
    )


TARGETS: dict[str, Callable[..., Target]] = {
    "extraction-recordings": recordings_extracted,
    "extraction-clips": clips_extracted,
    "simulation-recordings": partial(simulated, "demo", SELD, "recordings", "metadata_dev/*.csv"),
    "simulation-clips": partial(simulated, "crnn-demo", CLIPS, "clips", "**/*.wav"),
    "simulation-sounds": partial(
        simulated, "segmentation-demo", SOUNDS, "sounds and scenes", "**/*.wav"
    ),
    "mixing": mixed,
    "training-seldnet": seldnet_trained,
    "training-multi-accdoa": multi_accdoa_trained,
    "training-crnn": crnn_trained,
}


def main() -> None:
    """Kills one target, and writes what it went through to `report.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=TARGETS)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True, help="an empty folder")
    given = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = (
        "-1"  # on a graphics card, equal runs give nearly equal numbers
    )
    with stderr_discarded():  # TensorFlow looks for cards when it is first used, and complains
        keras.ops.zeros(1)
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)

    def say(text: str) -> None:
        print(f"{given.name}: {text}", flush=True)

    def run(command: list[str]) -> None:
        log = folder / "preparation.txt"
        if new_process(command, log).wait() != 0:
            raise SystemExit(f"{command} failed:\n{log.read_text()}")

    target = TARGETS[given.name](folder / "data", run)
    report = survive(target, folder, given.kills, given.seed, say=say)
    (folder / REPORT).write_text(json.dumps(vars(report)))
    if report.comparison:
        say(f"\n{report.comparison}")


if __name__ == "__main__":
    sys.exit(main())
