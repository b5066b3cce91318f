"""Searches for better settings: an Optuna study whose trials are ordinary runs.

Each trial is a program of its own, so that it finds the memory and the library as a single run
would, and one that is killed by the system does not take the search with it. It trains to its end:
stages and folds follow one another, so an early score does not predict the last one.
"""

import logging
import math
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from common.errors import CheckpointError, ConfigError, DataError, TrainingError
from common.io.files import write_text
from common.runtime.optional import optional_module
from common.search.results import Target, best_settings, draw_study, known_trials, trials_table
from common.search.space import Range, Space, as_yaml, extracts, yaml_values
from common.settings.tasks import BaseTask
from common.training.run_directory import FINISHED, Finished, read_form, scored_epoch

logger = logging.getLogger(__name__)
STORAGE, TABLE, BEST, TRIALS = "search.sqlite3", "trials.csv", "best.yaml", "trials"


@dataclass(frozen=True)
class Search:
    """A search over settings of a task.

    Attributes:
        task: its settings; trials differ from them in the keys of `space`.
        command: arguments of the training: task id, settings file, overrides; no job id.
        space: the keys that vary, with their values.
        target: the score to improve.
        stage: name of the stage with that score.
        folder: holds the study and, in `trials/`, the runs.
    """

    task: BaseTask
    command: tuple[str, ...]
    space: Space
    target: Target
    stage: str
    folder: Path

    def run_name(self, number: int) -> str:
        """Name of a trial's run directory."""
        return f"{self.command[0]}_{number:03d}"

    def best_settings(self, study: Any) -> str | None:
        """Settings of the best trial as in `params.yaml`; None if no trial is finished."""
        trial = self.target.best(known_trials(study, self.space))
        if trial is None:
            return None
        return best_settings(trial, self.space, self.target, self.run_name(trial.number))

    def run_trial(self, number: int, values: dict[str, str]) -> float:
        """Trains with these settings, or resumes a killed trial.

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
        train = [sys.executable, "-m", "common.cli.train", task_id, f"{number:03d}"]
        log = runs / f"{self.run_name(number)}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            call, errors = [*train, *rest, *options], subprocess.STDOUT
            status = subprocess.run(call, stdout=file, stderr=errors, check=False).returncode
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
    reason = f"killed by signal {-status}" if status < 0 else reason or f"exit status {status}"
    return f"Trial {number} stopped: {reason}. Its output is in {log}. The same command repeats it."


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


def run_search(search: Search, trials: int) -> Any:
    """Runs the open trials; writes table, figures and best settings after each.

    A trial's suggestion depends only on the seed, its number and the scores before it, so that a
    search that was killed suggests what it would have suggested.

    Returns:
        The `optuna.Study`.
    """
    optuna = optuna_library()
    study = _study(optuna, search)
    while True:
        known = known_trials(study, search.space)
        _write(search, study)
        open_trials = [trial for trial in known if not trial.state.is_finished()]
        if not open_trials and len(known) >= trials:
            return study
        if open_trials:
            trial = open_trials[0]
        else:
            seed = np.random.SeedSequence([search.task.seed, len(known)]).generate_state(1)[0]
            study.sampler = optuna.samplers.TPESampler(seed=int(seed))
            trial = study.ask(_distributions(optuna, search.space))
        values = yaml_values(search.space, trial.params)
        settings = ", ".join(f"{key}={value}" for key, value in values.items())
        logger.info("Trial %d: %s", trial.number, settings)
        score = search.run_trial(trial.number, values)
        failed = optuna.trial.TrialState.FAIL if math.isnan(score) else None
        study.tell(trial.number, None if failed else score, state=failed)
        result = "failed" if failed else f"{search.target.metric} {score:.4f}"
        logger.info("Trial %d: %s", trial.number, result)


def _write(search: Search, study: Any) -> None:
    table = trials_table(study, search.space, search.target, search.run_name)
    write_text(search.folder / TABLE, table.to_csv(index=False))
    best = search.best_settings(study)
    if best is not None:
        write_text(search.folder / BEST, best)
        draw_study(study, search.target, search.folder)


def _study(optuna: ModuleType, search: Search) -> Any:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = (search.folder / STORAGE).resolve()
    direction = "minimize" if search.target.mode == "min" else "maximize"
    options = {"study_name": "search", "direction": direction, "load_if_exists": True}
    try:
        return optuna.create_study(storage=f"sqlite:///{path}", **options)
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


def optuna_library() -> ModuleType:
    """Imports Optuna.

    Raises:
        ConfigError: it is not installed.
    """
    return optional_module("optuna", "A search", 'Install the extra `tune`: pip install ".[tune]".')
