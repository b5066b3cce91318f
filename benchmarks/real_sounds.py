"""Learns from synthetic and from real sounds, scores both on real ones; tables in BENCHMARKS.md.

    python -m benchmarks.real_sounds --sounds DIR [--clips DIR] [--rooms DIR] [--backgrounds DIR]
        [--seeds N ...] [--only NAME ...] [--folder runs/real] [--markdown FILE] [--published]
        [--quick]

The sounds are those of the user: folders with the halves `train/<class>/` and `test/<class>/`, and
a `metadata.csv` that names the source of each file (docs/own-data.md). The programs are those that
a user starts. A killed benchmark goes on where it was when it is started again.
"""

import argparse
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import ROOT, machine, replace_between
from benchmarks.real_studies import (
    DETECTION,
    LOCATION,
    Bench,
    Experiment,
    Mean,
    MeasuredRooms,
    Rebuilt,
    Study,
)
from benchmarks.run import machine_text
from common.cli.base import run_safely
from common.errors import ConfigError
from common.io.files import write_text

TITLE = "Learns from synthetic and from real sounds, and scores both on real ones."

# All together are the settings of the task demo-wide.
MEANS: tuple[Mean, ...] = (
    Mean(
        "more of them: 60 of each class a split, twice as many recordings",
        (
            "simulation.synthetic_examples=60",
            "simulation.recordings_per_split={1: 40, 2: 40, 3: 10, 4: 10}",
            "training.schedule={fall: half_cosine, fall_from_epoch: 10}",
        ),
    ),
    Mean("wide recipes", ("simulation.recipes=wide",)),
    Mean(
        "random gains and equalisers",
        ("training.feature_augmentation={max_gain_db: 6, max_equaliser_db: 8}",),
    ),
)
# All together are the settings of the task crnn-wide-demo.
TASK4_MEANS: tuple[Mean, ...] = (
    Mean(
        "four times as many weakly labelled clips, lower thresholds",
        (
            "simulation.clips_per_subset={weak: 1600, unlabel_in_domain: 400}",
            "sets.validation_fraction=0.1",
            "training.schedule={fall: half_cosine, fall_from_epoch: 8}",
            "run.mixed_precision=mixed_bfloat16",
            "decoding={threshold: 0.1, tag_threshold: 0.35, search_thresholds: false}",
        ),
    ),
    Mean("wide recipes and surroundings", ("simulation.recipes=wide",)),
    Mean(
        "random gains and equalisers",
        ("training.feature_augmentation={max_gain_db: 6, max_equaliser_db: 8}",),
    ),
)
PUBLISHED_SIZE = (
    "network.n_filters=64",
    "network.gru_units=[128, 128]",
    "network.dense_units=[128]",
    "training.epochs=50",
)
# A minimal amount of work, which only shows that everything works.
QUICK = (
    "simulation.preset=fixture",
    "parallel.jobs=1",
    "run.device=cpu",
    "training.epochs=1",
    "training.schedule.fall=none",
    "network.n_filters=4",
    "network.gru_units=[4]",
    "pipeline.batch_size=2",
)
QUICK_SELD = (
    *QUICK,
    "dataset.recording_s=6",
    "network.dense_units=[4]",
    "pipeline.sequence_frames=50",
)
QUICK_REBUILT = (
    *QUICK_SELD,
    "folds=[{name: fold1, train: [3], validate_on: [2], test: [1]},"
    " {name: fold2, train: [4], validate_on: [3], test: [2]}]",
)
QUICK_CLIPS = (
    *QUICK,
    "second_pass={epochs: 1, batch_size: 2}",
    "pipeline.recordings_per_shard=4",
    "scoring.sed_eval=false",
)


SELD = Study(
    task_id="demo",
    program="seld.py",
    columns=LOCATION,
    means=MEANS,
    splits="4",
    test_set="split 4",
    quick=QUICK_SELD,
)
EXPERIMENTS: dict[str, Experiment] = {
    "seld": SELD,
    "measured-rooms": MeasuredRooms(study=SELD, needs=("sounds", "rooms")),
    "rebuilt": Rebuilt(
        task_id="tau2019-rebuilt", published_size=PUBLISHED_SIZE, quick=QUICK_REBUILT
    ),
    "rebuilt-mic": Rebuilt(
        task_id="tau2019-rebuilt-mic",
        by_default=False,
        published_size=PUBLISHED_SIZE,
        quick=QUICK_REBUILT,
    ),
    "task4": Study(
        needs=("clips",),
        wants=("backgrounds",),
        task_id="crnn-demo",
        program="task4_crnn.py",
        columns=DETECTION,
        means=TASK4_MEANS,
        splits="test",
        test_set="validation and test",
        # Some recordings of cats and dogs end here: a class must not be known by its bandwidth.
        settings=("features.fmax_hz=8000",),
        quick=QUICK_CLIPS,
        leaves_out=True,
    ),
}
MATERIAL = {
    "sounds": "events of the classes of TAU 2019: train/<class>/, test/<class>/, metadata.csv",
    "clips": "the same of classes of task 4, for the experiment task4",
    "rooms": "measured room responses with metadata.csv, for the experiment measured-rooms",
    "backgrounds": "ambiences, train/ and test/, for the experiment task4",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=TITLE)
    for name, meaning in MATERIAL.items():
        parser.add_argument(
            f"--{name}", type=Path, metavar="DIR", help=meaning, required=name == "sounds"
        )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[], help="default: 0 1 2, of rebuilt ones 0"
    )
    parser.add_argument(
        "--only", nargs="+", choices=[*EXPERIMENTS], help="default: all that have their folders"
    )
    parser.add_argument(
        "--folder", type=Path, help="of all runs; default: runs/real, none with --quick"
    )
    parser.add_argument("--markdown", type=Path, help="default: BENCHMARKS.md, none with --quick")
    parser.add_argument(
        "--published", action="store_true", help="rebuilt with the published network, for a GPU"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only shows that it works")
    return parser


def chosen_experiments(options: argparse.Namespace) -> list[str]:
    """Names of the experiments to run.

    Raises:
        ConfigError: a named one lacks its folder, or none has a published size.
    """
    given = {name for name in MATERIAL if getattr(options, name) is not None}
    if options.only is None:
        names = [n for n, e in EXPERIMENTS.items() if e.by_default and set(e.needs) <= given]
    else:
        names = list(dict.fromkeys(options.only))
    for name in names:
        missing = [f"--{each}" for each in EXPERIMENTS[name].needs if each not in given]
        if missing:
            raise ConfigError(f"The experiment {name} needs {', '.join(missing)} DIR.")
    if options.published and not any(EXPERIMENTS[name].published_size for name in names):
        sized = [name for name, each in EXPERIMENTS.items() if each.published_size]
        raise ConfigError(
            f"--published expects one of the experiments {', '.join(sized)}. Received:"
            f" {', '.join(names)}."
        )
    return names


def bench_of(options: argparse.Namespace, folder: Path) -> Bench:
    """Work that the command line asks for.

    Raises:
        ConfigError: a folder is not there, or a seed is negative.
    """
    material = {}
    for name in MATERIAL:
        path = getattr(options, name)
        if path is not None and not path.is_dir():
            raise ConfigError(f"--{name}: expected a folder. Received: {path}, which is none.")
        if path is not None:
            material[name] = path.resolve()
    if any(seed < 0 for seed in options.seeds):
        raise ConfigError(f"--seeds: expected whole numbers from 0 on. Received: {options.seeds}.")
    seeds = tuple(dict.fromkeys(options.seeds))
    return Bench(folder, seeds, material, options.quick, options.published)


def marker(name: str, published: bool) -> str:
    """Name of the place of a table in BENCHMARKS.md."""
    is_larger = published and EXPERIMENTS[name].published_size
    return f"real-{name}{'-published' if is_larger else ''}"


def command_text(name: str, options: argparse.Namespace) -> str:
    """The command line of one experiment, without the places of files."""
    experiment = EXPERIMENTS[name]
    folders = dict.fromkeys(("sounds", *experiment.needs, *experiment.wants))
    given = [f"--{each} DIR" for each in folders if getattr(options, each) is not None]
    words = ["python -m benchmarks.real_sounds", *given, f"--only {name}"]
    words += [f"--seeds {shlex.join(map(str, options.seeds))}"] if options.seeds else []
    words += ["--published"] if options.published and experiment.published_size else []
    words += ["--quick"] if options.quick else []
    return " ".join(words)


def _check_markers(markdown: Path, names: Sequence[str]) -> None:
    """Refuses a text without a place for the tables now, not after hours."""
    try:
        text = markdown.read_text(encoding="utf-8")
        for name in names:
            replace_between(text, name, "")
    except (OSError, ValueError) as error:
        raise ConfigError(f"--markdown {markdown}: {error}") from error


def measure(options: argparse.Namespace, folder: Path, markdown: Path | None) -> None:
    """Checks everything, then does the work; each table is written when it is finished.

    Raises:
        ConfigError, DataError: something given cannot be used.
    """
    names = chosen_experiments(options)
    if markdown is not None:
        _check_markers(markdown, [marker(name, options.published) for name in names])
    bench = bench_of(options, folder)
    plans = {name: EXPERIMENTS[name].plan(bench) for name in names}
    for plan in plans.values():  # minutes that show what a check cannot
        plan.simulate()
    for name, plan in plans.items():
        content = f"{plan.text()}\n\n    {command_text(name, options)}\n\n{machine_text(machine())}"
        print(f"\n{content}\n", flush=True)
        if markdown is not None:
            text = markdown.read_text(encoding="utf-8")
            place = marker(name, options.published)
            write_text(markdown, replace_between(text, place, content))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the experiments and writes their tables."""
    options = _parser().parse_args(arguments)
    markdown = options.markdown or (None if options.quick else ROOT / "BENCHMARKS.md")
    with tempfile.TemporaryDirectory() as scratch:
        default = Path(scratch) if options.quick else ROOT / "runs" / "real"
        measure(options, (options.folder or default).resolve(), markdown)


if __name__ == "__main__":
    # so that the program under way is ended, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(run_safely(main, None, resumes=True))
