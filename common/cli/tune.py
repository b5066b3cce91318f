"""Searches for the settings of a task with the best score on its validation split.

python -m common.cli.tune TASK --over KEY=LOW:HIGH[:log] --over KEY=A,B,C ... [--trials N]
    [--job ID] [--metric NAME]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.cli.base import base_parser, command_line, params_path, run_safely
from common.cli.steps.prepare import all_items, data_of, prepare_data, run_folder
from common.data.provenance import keep_to
from common.errors import ConfigError
from common.family import load
from common.io.locks import only_one
from common.io.terminal import typed_text
from common.runtime.backend import load_keras
from common.search.results import Target, trials_table
from common.search.space import FORMS, Space, checked_space, extracts, parse_space
from common.search.study import Search, optuna_library, run_search
from common.settings.tasks import BaseTask, load_task
from common.training.run_directory import open_run, record_data

RECORDINGS = "recordings.json"  # that the trials extract features of, where each has its own
LOWER_IS_BETTER = {"loss", "er", "error"}  # words in the names of scores


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_safely(_run, arguments, resumes=True)


def _run(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    if options.trials < 1:
        raise ConfigError(f"--trials expects a number above 0. Received: {options.trials}.")
    optuna_library()
    space = parse_space(options.over)
    path = params_path(options.params)
    task = load_task(path, options.task_id, options.overrides)
    load_keras(task.run)  # without devices, which the trials want for themselves
    experiments = load(task.family, "experiment")
    search = _prepare(task, experiments.Experiment, space, path, options)
    with only_one(search.folder, "use another --job"):
        over = {key: list(values.ends) for key, values in search.space.items()}
        searched = {"over": over, **vars(search.target)}
        open_run(search.folder, task.model_dump(mode="json") | {"search": searched}, command_line())
        if extracts(space):
            # Each trial has features of its own, and compares them with their recordings.
            keep_to(search.folder / RECORDINGS, all_items(task))
        else:
            record_data(search.folder, *data_of(task, prepare_data(task)))
        study = run_search(search, options.trials)
    table = trials_table(study, search.space, search.target, search.run_name)
    print(table.to_string(index=False))
    best = search.best_settings(study)
    if best is not None:
        print(f"\nBest settings, for {path}:\n\n{best}")
    print(f"Table, figures and settings are in {search.folder}/.")


def _parser() -> argparse.ArgumentParser:
    parser = base_parser("Searches for the settings of a task with the best validation score.")
    parser.add_argument("task_id", help="id in params.yaml")
    parser.add_argument(
        "--over", action="append", required=True, metavar="KEY=VALUES", type=typed_text, help=FORMS
    )
    trials = "trials in all, those of an earlier start included"
    parser.add_argument("--trials", type=int, default=20, help=trials)
    parser.add_argument("--job", default="tune", help="any name for this search (default tune)")
    metric = "score to improve, such as val_f; default: the one that decides in training"
    parser.add_argument("--metric", help=metric)
    return parser


def _prepare(
    task: BaseTask, experiment: Any, space: Space, path: Path, options: argparse.Namespace
) -> Search:
    """Checks every end of every range by the task's own settings, before any work.

    Raises:
        ConfigError: one is wrong.
    """

    def prepared(*assignments: str) -> Any:
        overrides = [*options.overrides, *assignments]
        found = experiment.prepare(load_task(path, options.task_id, overrides))
        if options.metric:
            _check_metric(options.metric, found, assignments)
        return found

    base = prepared()
    space = checked_space(space, {"": type(task), "network": type(base.network)}, prepared)
    stage = _last_stage(base)
    target = Target(*base.decisive_score(stage))
    if options.metric:
        lower = LOWER_IS_BETTER & set(options.metric.split("_"))
        target = Target(f"val_{options.metric.removeprefix('val_')}", "min" if lower else "max")
    overrides = [part for assignment in options.overrides for part in ("--set", assignment)]
    command = (options.task_id, "--params", str(path), *overrides)
    folder = run_folder(task, options.task_id, options.job)
    return Search(task, command, space, target, stage.name, folder)


def _last_stage(experiment: Any) -> Any:
    """The last stage of the system itself, not of one that is only compared with it."""
    stages = experiment.system.stages(experiment.task)
    return [each for each in stages if each.part_of == stages[0].part_of][-1]


def _check_metric(metric: str, experiment: Any, assignments: Sequence[str]) -> None:
    """Raises ConfigError unless the last stage has a score.

    Of a family that cannot name its scores, only the first trial tells.
    """
    stage = _last_stage(experiment)
    scores = experiment.score_names(stage)
    known = ["loss", *(f"{output}_loss" for output in stage.losses), *scores]
    if scores and metric.removeprefix("val_") not in known:
        where = f" with {', '.join(assignments)}" if assignments else ""
        raise ConfigError(
            f"--metric: expected one of {', '.join(known)}. Received{where}: {metric!r}."
        )


if __name__ == "__main__":
    raise SystemExit(main())
