"""Searches for better settings: an Optuna study whose trials are ordinary runs.

    python -m common.search.study TASK --over KEY=LOW:HIGH[:log] --over KEY=A,B,C ... [--trials N] [--job
    ID] [--metric NAME]

Each trial is a program of its own, so that it finds the memory and the library as a single run
would, and one that is killed by the system does not take the search with it. It trains to its end:
stages and folds follow one another, so an early score says little of the last one.
"""

import argparse
import logging
import math
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from common.cli.train import (
    all_items,
    base_parser,
    command_line,
    data_of,
    params_path,
    prepare_data,
    run_folder,
    run_safely,
)
from common.data.provenance import keep_to
from common.display.plotting import save_figure
from common.errors import CheckpointError, ConfigError, DataError, TrainingError
from common.family import Experiment, load
from common.io.files import write_text
from common.io.locks import only_one
from common.io.tables import to_csv, to_text
from common.io.terminal import typed_text
from common.runtime.backend import load_keras
from common.runtime.optional import optional_module
from common.search.results import Target, TrialRow, best_settings, search_figure, trials_table
from common.search.space import FORMS, Range, Space, as_yaml, checked_space, extracts, parse_space
from common.settings.tasks import BaseTask, load_task
from common.training.run_directory import (
    FINISHED,
    Finished,
    open_run,
    read_form,
    record_data,
    scored_epoch,
)

logger = logging.getLogger(__name__)
STORAGE = "search.sqlite3"
TRIALS = "trials"
RECORDINGS = "recordings.json"  # that the trials extract features of, where each has its own
LOWER_IS_BETTER = {"loss", "er", "error"}  # words in the names of scores


@dataclass(frozen=True)
class Search:
    """A task, what is searched over, and where.

    Attributes:
        task: its settings; trials differ from them in the keys of `space`.
        command: of the task's own script: task id, settings file and overrides, without the job id.
        space: what is searched over.
        target: the score to improve.
        stage: the stage whose score that is.
        folder: holds the study and, in `trials/`, the runs.
    """

    task: BaseTask
    command: tuple[str, ...]
    space: Space
    target: Target
    stage: str
    folder: Path

    def run_name(self, number: int) -> str:
        """The name of a trial's run directory."""
        return f"{self.command[0]}_{number:03d}"

    def run_trial(self, number: int, values: dict[str, str]) -> float:
        """Trains with these settings, or goes on where a killed trial was.

        Returns:
            The score of the kept model on the validation split, the mean over the folds; NaN where
            training diverged.

        Raises:
            DataError: the trial stopped for another reason.
        """
        runs = self.folder / TRIALS
        features = self.folder / "features" / self.run_name(number)
        places = {"output_dir": runs} | ({"feature_dir": features} if extracts(self.space) else {})
        settings = {key: as_yaml(str(path)) for key, path in places.items()} | values
        options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        task_id, *rest = self.command
        call = [
            sys.executable,
            "-m",
            f"{self.task.family}.cli",
            task_id,
            f"{number:03d}",
            *rest,
            *options,
        ]
        log = runs / f"{self.run_name(number)}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            status = subprocess.run(
                call, stdout=file, stderr=subprocess.STDOUT, check=False
            ).returncode
        if status == TrainingError.status:
            return math.nan
        if status:
            raise DataError(_stopped(number, status, log))
        score = score_of(runs / self.run_name(number), self.stage, self.target.metric)
        shutil.rmtree(features, ignore_errors=True)
        return score


def _stopped(number: int, status: int, log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    reason = next((line for line in reversed(lines) if line.startswith("error: ")), None)
    said = f"killed by signal {-status}" if status < 0 else reason or f"exit status {status}"
    return (
        f"Trial {number} stopped: {said}. All it printed is in {log}. The same command does it"
        " again."
    )


def score_of(run: Path, stage: str, metric: str) -> float:
    """Reads a score of the models that a run kept.

    Args:
        run: the run's directory.
        stage: whose model.
        metric: name in the history.

    Returns:
        Its value in the epoch of the best model, the mean over the folds.

    Raises:
        ConfigError: the history has no such score.
        CheckpointError: the run is not finished, or a file of it damaged.
    """
    paths = sorted(run.rglob(f"{stage}/{FINISHED}"))
    if not paths:
        raise CheckpointError(
            f"{run} holds no finished stage {stage!r}. Delete the folder and run the command again."
        )
    scores = []
    for path in paths:
        finished = read_form(path, Finished)
        known = [name for name in finished["history"] if name.startswith("val_")]
        if metric not in known:
            expected = ", ".join(known)
            raise ConfigError(
                f"--metric: expected one of {expected}. Received: {metric!r}. Use another --job"
                " for it."
            )
        scores.append(finished["history"][metric][scored_epoch(finished) - 1])
    return float(np.mean([math.nan if score is None else score for score in scores]))


def run_search(search: Search, trials: int) -> list[TrialRow]:
    """Does the trials that are not done yet, and writes table, figure and best settings after each.

    A trial's suggestion depends on the seed, its number and the scores before it alone, so that a
    search that was killed suggests what it would have suggested.

    Returns:
        The trials, in order.
    """
    optuna = optuna_library()
    study = _study(optuna, search)
    while True:
        # One killed while its values were stored has too few of them and no run.
        known = [
            trial
            for trial in study.get_trials(deepcopy=False)
            if set(trial.params) == set(search.space)
        ]
        rows = [_row(search, trial) for trial in known]
        _write(search, rows)
        open_trials = [trial for trial in known if not trial.state.is_finished()]
        if not open_trials and len(known) >= trials:
            return rows
        if open_trials:
            trial = open_trials[0]
        else:
            seed = np.random.SeedSequence([search.task.seed, len(known)]).generate_state(1)[0]
            study.sampler = optuna.samplers.TPESampler(seed=int(seed))
            trial = study.ask(_distributions(optuna, search.space))
        values = _values(search.space, trial.params)
        logger.info(
            "Trial %d: %s",
            trial.number,
            ", ".join(f"{key}={value}" for key, value in values.items()),
        )
        score = search.run_trial(trial.number, values)
        failed = optuna.trial.TrialState.FAIL if math.isnan(score) else None
        study.tell(trial.number, None if failed else score, state=failed)
        logger.info(
            "Trial %d: %s",
            trial.number,
            "failed" if failed else f"{search.target.metric} {score:.4f}",
        )


def _study(optuna: ModuleType, search: Search) -> Any:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = (search.folder / STORAGE).resolve()
    direction = "minimize" if search.target.mode == "min" else "maximize"
    try:
        return optuna.create_study(
            storage=f"sqlite:///{path}",
            study_name="search",
            direction=direction,
            load_if_exists=True,
        )
    except Exception as error:  # SQLAlchemy and Optuna raise many kinds for a damaged file
        raise CheckpointError(
            f"{path} cannot be read ({type(error).__name__}). Delete it: finished trials are found"
            " again by their runs."
        ) from error


def _distributions(optuna: ModuleType, space: Space) -> dict[str, Any]:
    def distribution(values: Any) -> Any:
        if not isinstance(values, Range):
            return optuna.distributions.CategoricalDistribution(values.ends)
        kinds = optuna.distributions
        kind = kinds.IntDistribution if values.whole else kinds.FloatDistribution
        return kind(values.low, values.high, log=values.log)

    return {key: distribution(values) for key, values in space.items()}


def _values(space: Space, params: dict[str, Any]) -> dict[str, str]:
    """What was suggested, as YAML, in the order of `space`."""
    return {
        key: as_yaml(params[key]) if isinstance(space[key], Range) else params[key] for key in space
    }


def _row(search: Search, trial: Any) -> TrialRow:
    score = trial.value if trial.state.name == "COMPLETE" else None
    state = {"COMPLETE": "finished", "FAIL": "failed"}.get(trial.state.name, "unfinished")
    values = _values(search.space, trial.params)
    return TrialRow(trial.number, state, score, values, search.run_name(trial.number))


def _write(search: Search, rows: Sequence[TrialRow]) -> None:
    write_text(search.folder / "trials.csv", to_csv(trials_table(rows, search.target)))
    best = search.target.best(rows)
    if best is not None:
        write_text(search.folder / "best.yaml", best_settings(best, search.target))
        save_figure(search_figure(rows, search.target, search.space), search.folder / "search.png")


def optuna_library() -> ModuleType:
    """Imports Optuna.

    Raises:
        ConfigError: it is not installed.
    """
    return optional_module("optuna", "A search", 'Install the extra `tune`: pip install ".[tune]".')


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_safely(_run, arguments, goes_on=True)


def _run(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    if options.trials < 1:
        raise ConfigError(f"--trials expects a number above 0. Received: {options.trials}.")
    optuna_library()
    space = parse_space(options.over)
    path = params_path(options.params)
    task = load_task(path, options.task_id, options.overrides)
    load_keras(task.run)  # without devices, which the trials want for themselves
    search = _prepare(task, load(task.family, "experiment").Experiment, space, path, options)
    with only_one(search.folder, "use another --job"):
        searched = {
            "over": {key: list(values.ends) for key, values in search.space.items()}
        } | vars(search.target)
        open_run(search.folder, task.model_dump(mode="json") | {"search": searched}, command_line())
        if extracts(
            space
        ):  # each trial has features of its own, and compares them with what it was begun with
            keep_to(search.folder / RECORDINGS, all_items(task))
        else:
            record_data(search.folder, *data_of(task, prepare_data(task)))
        rows = run_search(search, options.trials)
    print(to_text(trials_table(rows, search.target)))
    best = search.target.best(rows)
    if best is not None:
        print(f"\nBest settings, for {path}:\n\n{best_settings(best, search.target)}")
    print(f"Table, figure and settings are in {search.folder}/.")


def _parser() -> argparse.ArgumentParser:
    parser = base_parser(
        "Searches for the settings of a task with the best score on its validation split."
    )
    parser.add_argument("task_id", help="id in params.yaml")
    parser.add_argument(
        "--over", action="append", required=True, metavar="KEY=VALUES", type=typed_text, help=FORMS
    )
    parser.add_argument(
        "--trials", type=int, default=20, help="trials in all, those of an earlier start included"
    )
    parser.add_argument("--job", default="tune", help="any name for this search (default tune)")
    parser.add_argument(
        "--metric",
        help="score to improve, such as val_f; default: the one that decides in training",
    )
    return parser


def _prepare(
    task: BaseTask,
    experiment: type[Experiment],
    space: Space,
    path: Path,
    options: argparse.Namespace,
) -> Search:
    """Checks every end of every range by the task's own settings, before any work.

    Raises:
        ConfigError: one is wrong.
    """

    def prepared(*assignments: str) -> Experiment:
        return experiment.prepare(
            load_task(path, options.task_id, [*options.overrides, *assignments])
        )

    base = prepared()
    space = checked_space(space, {"": type(task), "network": type(base.network)}, prepared)
    stages = base.system.stages(task)
    stage = [each for each in stages if each.part_of == stages[0].part_of][
        -1
    ]  # the system itself, not one beside it
    target = Target(*base.decisive_score(stage))
    if options.metric:
        lower = LOWER_IS_BETTER & set(options.metric.split("_"))
        target = Target(f"val_{options.metric.removeprefix('val_')}", "min" if lower else "max")
    overrides = [part for assignment in options.overrides for part in ("--set", assignment)]
    command = (options.task_id, "--params", str(path), *overrides)
    return Search(
        task, command, space, target, stage.name, run_folder(task, options.task_id, options.job)
    )


if __name__ == "__main__":
    raise SystemExit(main())
