"""Complete runs on a GPU: simulates recordings, trains systems of published size for one fold.

    python -m benchmarks.gpu_runs [--tasks ID ...] [--epochs N|ID=N ...] [--folder runs/gpu]
        [--markdown FILE] [--json FILE]

The programs are those that a user starts. A killed benchmark resumes when it is started again with
the same options. JAX needs its own wheels for CUDA; TensorFlow then only reads the data, on the
CPU.
"""

import argparse
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu_sampler import GpuSampler, GpuUse, gpu_names, gpu_use
from benchmarks.measure import ROOT, Figure, machine, pivot_table, replace_between, table, wall_s
from benchmarks.run import section
from common.cli.base import run_safely
from common.cli.steps.prepare import run_folder
from common.errors import ConfigError
from common.io.files import write_json, write_text
from common.metrics.score_table import format_score
from common.settings.tasks import RunConfig, load_task
from common.training.run_directory import read_json

TITLE = "Systems at their published sizes, trained for one fold on simulated recordings"
TASKS = ("seldnet-foa", "two-stage")
PROGRAMS = {
    "simulation": "simulate.py",
    "extraction": "batch_feature_extraction.py",
    "training": "seld.py",
}
DATA_STEPS = ("simulation", "extraction")
FINISHED = "training.json"  # of a stage, see `common.training.stage`
NO_GPU = "no GPU found: nvidia-smi is missing or names none"
SCORES = {
    "er": "ER",
    "f": "F",
    "doa_error_deg": "DOA error",
    "frame_recall": "frame recall",
    "seld_error": "SELD",
}
LINES = {"all": "trained", "always silent": "always silent"}
PUBLISHED = "published, real recordings"
# Settings that simulation and extraction depend on.
DATA_SETTINGS = ("seed", "dataset", "feature", "simulation", "parallel")
# A minimal amount of work, which only shows that everything works.
QUICK_DATA = ("dataset.recording_s=6",)
QUICK_TRAINING = ("training={epochs: 2, iterations_per_epoch: 2}", "run.device=cpu")
QUICK_SYSTEM = {
    "seldnet": (
        "pipeline={sequence_frames: 32, batch_size: 2}",
        "network={n_filters: 4, gru_units: [4], dense_units: [4]}",
    ),
    "two_stage": (
        "pipeline={sequence_frames: 64, sequence_hop_frames: 32, batch_size: 2}",
        "network={filters: [4, 4], gru_units: 4}",
        "training={validation_recordings: 1, training_recordings: 1}",
    ),
}
ENVIRONMENT = {
    # Otherwise JAX reserves three quarters of the memory, TensorFlow all of it.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
}


@dataclass(frozen=True)
class Plan:
    """One task and how it is run.

    Attributes:
        task_id: id in params.yaml.
        job_id: names the run.
        data: settings, `key=value`, that recordings and features depend on.
        training: those that only the training has.
        task: all settings, resolved and checked.
    """

    task_id: str
    job_id: str
    data: tuple[str, ...]
    training: tuple[str, ...]
    task: Any

    @property
    def run(self) -> Path:
        """Folder of the run."""
        return run_folder(self.task, self.task_id, self.job_id)

    @property
    def fold(self) -> Path:
        """Folder of the one fold."""
        return self.run / self.task.folds[0].name

    def command(self, step: str) -> list[str]:
        """The command line of a program, without the interpreter."""
        is_training = step == "training"
        settings = [*self.data, *(self.training if is_training else ())]
        options = [option for setting in settings for option in ("--set", setting)]
        return [PROGRAMS[step], self.task_id, *([self.job_id] if is_training else []), *options]


def make_plan(task_id: str, options: argparse.Namespace, folder: Path) -> Plan:
    """Puts the settings of one task together: its first fold, folders, limits.

    Args:
        task_id: id in params.yaml.
        options: of the command line.
        folder: output folder.

    Raises:
        ConfigError: there is no such task, it is of another family, or a setting is wrong.
    """
    given: Any = load_task(ROOT / "params.yaml", task_id)
    if given.family != "seld":
        raise ConfigError(
            f"Expected: tasks of the family seld. Received: {task_id!r}, of {given.family}."
        )
    preset = options.preset or ("fixture" if options.quick else "gpu")
    places = [
        f"{name}_dir={json.dumps(str(folder / preset / name))}"
        for name in ("dataset", "feature", "output")
    ]
    data = [*places, f"simulation.preset={preset}", *(QUICK_DATA if options.quick else ())]
    fold = json.dumps([given.folds[0].model_dump(mode="json")])
    quick = [*QUICK_TRAINING, *QUICK_SYSTEM.get(given.system, ())] if options.quick else []
    training = [
        f"folds={fold}",
        f"run.backend={options.backend}",
        *quick,
        *_limits(options, task_id),
    ]
    for setting in options.overrides:
        (data if setting.startswith(DATA_SETTINGS) else training).append(setting)
    task = load_task(ROOT / "params.yaml", task_id, [*data, *training])
    return Plan(task_id, options.backend, tuple(data), tuple(training), task)


def _limits(options: argparse.Namespace, task_id: str) -> Iterator[str]:
    """Parses `--epochs` or `--iterations`: a number for all tasks, `<task-id>=<number>` for one."""
    for key, values in (("epochs", options.epochs), ("iterations_per_epoch", options.iterations)):
        for value in values:
            named, _, number = value.rpartition("=")
            if named not in ("", *options.tasks):
                raise ConfigError(
                    f"Expected: a number, or one of --tasks, `=` and a number. Received: {value!r}."
                )
            if named in ("", task_id):
                yield f"training.{key}={number}"


def carry_out(plan: Plan, steps: Path) -> None:
    """Runs the three programs of a task one after another.

    Args:
        plan: the task.
        steps: file of the finished steps and their seconds.
    """
    for step in DATA_STEPS:
        _timed(steps, plan.command(step))
    stage = partial(stage_under_way, plan.fold, time.time())
    with GpuSampler(samples_file(plan), stage) if uses_gpu(plan.task.run) else nullcontext():
        _start(plan.command("training"))  # if it is finished, only the settings are compared


def _timed(steps: Path, command: Sequence[str]) -> None:
    """Runs a program unless it is finished; keeps its seconds unless it was resumed."""
    name = shlex.join(command)
    noted = read_json(steps) if steps.exists() else {}
    if noted.get(name, {}).get("finished"):
        return
    write_json(steps, noted | {name: {"finished": False, "seconds": None}})
    seconds = wall_s(partial(_start, command))
    taken = None if name in noted else seconds
    write_json(steps, noted | {name: {"finished": True, "seconds": taken}})


def _start(command: Sequence[str]) -> None:
    environment = {**ENVIRONMENT, **os.environ}
    environment.pop("KERAS_BACKEND", None)  # the settings name the backend
    subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=True)


def stage_under_way(fold: Path, since_s: float) -> str | None:
    """Names the stage in training: its log was begun since then, and it is not finished."""
    begun = [path.parent for path in fold.glob("*/history.csv") if path.stat().st_mtime >= since_s]
    return next((folder.name for folder in begun if not (folder / FINISHED).exists()), None)


def samples_file(plan: Plan) -> Path:
    """File of the GPU's samples."""
    return plan.task.output_dir / f"{plan.run.name}_gpu.csv"


def uses_gpu(run: RunConfig) -> bool:
    """True if a run uses a GPU where there is one."""
    return run.device != "cpu"


def step_figures(plan: Plan, steps: Path) -> list[Figure]:
    """Seconds of simulation and extraction, where measured."""
    noted = read_json(steps)
    seconds = {step: noted[shlex.join(plan.command(step))]["seconds"] for step in DATA_STEPS}
    return [
        Figure(f"{plan.task_id}: {step}", taken, "s")
        for step, taken in seconds.items()
        if taken is not None
    ]


def stage_figures(plan: Plan) -> list[Figure]:
    """Times of each stage of a finished run, and the use of the GPU meanwhile."""
    figures = []
    for path in sorted(plan.fold.glob(f"*/{FINISHED}"), key=lambda path: path.stat().st_mtime):
        stage = path.parent.name
        name = f"{plan.task_id}, {stage}"
        figures += _time_figures(name, read_json(path), plan.task.pipeline.batch_size)
        figures += _gpu_figures(name, gpu_use(samples_file(plan), stage))
    return figures


def _time_figures(name: str, record: Mapping[str, Any], batch_size: int) -> list[Figure]:
    iterations, history = record["iterations_per_epoch"], record["history"]
    training_s, scoring_s = history["training_s"], history["scoring_s"]
    # The first epoch compiles; it counts only if there is no other.
    step_s = statistics.median(training_s[1:] or training_s) / iterations
    return [
        Figure(f"{name}: epochs", record["epochs"], ""),
        Figure(f"{name}: iterations", record["epochs"] * iterations, ""),
        Figure(f"{name}: one step", 1000 * step_s, "ms"),
        Figure(f"{name}: examples", batch_size / step_s, "1/s"),
        Figure(
            f"{name}: scores after an epoch", statistics.median(scoring_s[1:] or scoring_s), "s"
        ),
        Figure(f"{name}: in all", (sum(training_s) + sum(scoring_s)) / 60, "min"),
    ]


def _gpu_figures(name: str, use: GpuUse | None) -> list[Figure]:
    if use is None:
        return []
    return [
        Figure(f"{name}: GPU busy, mean", use.mean_percent, "%"),
        Figure(f"{name}: GPU busy, peak", use.peak_percent, "%"),
        Figure(f"{name}: GPU memory, mean", use.mean_gb, "GB"),
        Figure(f"{name}: GPU memory, peak", use.peak_gb, "GB"),
    ]


def scores_of(plan: Plan) -> dict[str, dict[str, float | None]]:
    """Official scores of a finished run by line of the table: trained, baselines, published."""
    rows = read_json(plan.run / "scores.json")["rows"]
    found = {}
    for row in rows:
        if row["group"] == "published":
            found[PUBLISHED] = row["scores"]["dcase2019"]
        elif row["label"] in LINES or row["group"] == "system":
            found[LINES.get(row["label"], row["label"])] = row["scores"]["dcase2019"]
    return found


def scores_table(scores: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> str:
    """One row for each line of each task."""
    rows = [
        [task_id, label, *(format_score(name, values.get(name)) for name in SCORES)]
        for task_id, lines in scores.items()
        for label, values in lines.items()
    ]
    return table(["task", "", *SCORES.values()], rows)


def device_text(run: RunConfig) -> str:
    """One sentence on the devices.

    Raises:
        ConfigError: there is a GPU, and the backend does not see it.
    """
    gpus = gpu_names()
    if not uses_gpu(run):
        return f"Backend {run.backend}, on the CPU as requested."
    if not gpus:
        return f"Backend {run.backend}, on the CPU: {NO_GPU}."
    seen = _devices(run.backend)
    if seen.startswith("cpu"):
        raise ConfigError(
            f"The backend {run.backend} does not see the GPU. Expected: {gpus}. Received: {seen}."
            " Install the backend with CUDA, or measure the CPU with --set run.device=cpu."
        )
    return f"Backend {run.backend}, on {seen}: {gpus}."


def _devices(backend: str) -> str:
    """Devices of a backend, listed in another process, which releases them again."""
    environment = {**ENVIRONMENT, **os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, "-c", "import keras; print(*keras.distribution.list_devices())"]
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return result.stdout.split("\n")[-2]


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Runs all tasks, or resumes them.

    Args:
        options: of the command line.
        folder: output folder.

    Returns:
        JSON of a benchmark, and the scores by task and line of their table.

    Raises:
        ConfigError: settings that cannot be used.
    """
    plans = [make_plan(task_id, options, folder) for task_id in options.tasks]
    device, steps = device_text(plans[0].task.run), folder / "steps.json"
    for plan in plans:
        carry_out(plan, steps)
    of_steps = [figure for plan in plans for figure in step_figures(plan, steps)]
    of_stages = [figure for plan in plans for figure in stage_figures(plan)]
    scores = {plan.task_id: scores_of(plan) for plan in plans}
    times = [(of_stages, "task, stage"), (of_steps, "task")]
    tables = [
        scores_table(scores),
        *(pivot_table(figures, heading) for figures, heading in times if figures),
    ]
    return {
        "title": TITLE,
        "figures": [asdict(figure) for figure in (*of_steps, *of_stages)],
        "scores": scores,
        "table": "\n\n".join([device, *tables]),
        "command": _command(options),
        "machine": machine() | {"gpu": gpu_names()},
    }


def _command(options: argparse.Namespace) -> str:
    """The command line, without the places of files."""
    words = ["python -m benchmarks.gpu_runs", f"--backend {options.backend}"]
    for name in ("tasks", "epochs", "iterations"):
        values = getattr(options, name)
        words += [f"--{name} {shlex.join(values)}"] if values else []
    words += [f"--preset {options.preset}"] if options.preset else []
    words += ["--quick"] if options.quick else []
    return " ".join([*words, *(f"--set {shlex.quote(setting)}" for setting in options.overrides)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=TITLE)
    parser.add_argument(
        "--tasks", nargs="+", default=list(TASKS), metavar="ID", help=f"default: {' '.join(TASKS)}"
    )
    parser.add_argument(
        "--preset", help="size of the simulated dataset; default: gpu, with --quick fixture"
    )
    for name, meaning in (
        ("--epochs", "number of epochs"),
        ("--iterations", "batches of an epoch"),
    ):
        meaning += ": in place of that of all tasks, or of one"
        parser.add_argument(name, nargs="+", default=[], metavar="N|ID=N", help=meaning)
    parser.add_argument(
        "--backend", default="jax", choices=["jax", "tensorflow"], help="of Keras (default jax)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="as ever"
    )
    parser.add_argument(
        "--folder", type=Path, help="output folder; default: runs/gpu, none with --quick"
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes on the CPU: only shows that it works"
    )
    parser.add_argument(
        "--json", type=Path, help="write figures, scores and machine to this file, too"
    )
    parser.add_argument(
        "--markdown", type=Path, help="put the tables into this file, as in BENCHMARKS.md"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints the tables and writes the files asked for."""
    options = _parser().parse_args(arguments)
    if options.markdown:  # a text without a place for the tables is refused now, not after hours
        replace_between(options.markdown.read_text(encoding="utf-8"), "gpu_runs", "")
    with tempfile.TemporaryDirectory() as scratch:
        default = Path(scratch) if options.quick else ROOT / "runs" / "gpu"
        result = measure(options, (options.folder or default).resolve())
    print(section("gpu_runs", result))
    if options.json:
        write_json(options.json, result)
    if options.markdown:
        text = options.markdown.read_text(encoding="utf-8")
        write_text(options.markdown, replace_between(text, "gpu_runs", section("gpu_runs", result)))


if __name__ == "__main__":
    # so that the program under way is ended, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(run_safely(main, None, resumes=True))
