"""Results of a search: a table of its trials, the best settings for `params.yaml`, figures."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from matplotlib import rcdefaults

from common.io.files import atomic_path
from common.search.space import Space, yaml_values
from common.settings.tasks import merge, parse_overrides

if TYPE_CHECKING:
    import pandas as pd

FIGURES = ("optimization_history", "param_importances", "slice", "parallel_coordinate")
_KEY_INCHES = 2.4  # width of a figure for each key of a search
_STATES = {"COMPLETE": "finished", "FAIL": "failed", "RUNNING": "unfinished"}


@dataclass(frozen=True)
class Target:
    """The score that a search improves: its name in the history, and "min" or "max"."""

    metric: str
    mode: str

    def best(self, trials: list[Any]) -> Any | None:
        """Best finished trial, the first of equal ones; None if none is finished."""
        sign = 1.0 if self.mode == "min" else -1.0
        finished = [trial for trial in trials if trial.state.name == "COMPLETE"]
        return min(finished, key=lambda trial: sign * trial.value, default=None)


def known_trials(study: Any, space: Space) -> list[Any]:
    """Trials that have a run; one killed while its values were stored has too few of them."""
    trials = study.get_trials(deepcopy=False)
    return [trial for trial in trials if set(trial.params) == set(space)]


def trials_table(
    study: Any, space: Space, target: Target, run_name: Callable[[int], str]
) -> "pd.DataFrame":
    """Makes the table of a study: a row for each trial, a column for each key.

    Args:
        study: an `optuna.Study`.
        space: the keys.
        target: names the column of the score.
        run_name: from a trial's number to the name of its run directory.
    """
    names = {"number": "trial", "state": "state", "value": target.metric}
    names |= {f"params_{key}": key for key in space}
    table = study.trials_dataframe(attrs=("number", "state", "value", "params"))
    table = table.reindex(columns=list(names)).rename(columns=names)
    known = [trial.number for trial in known_trials(study, space)]
    table = table[table["trial"].isin(known)].replace({"state": _STATES})
    table.insert(3, "run", table["trial"].map(run_name))
    return table


def best_settings(trial: Any, space: Space, target: Target, run: str) -> str:
    """Writes the settings of a trial as in a task of `params.yaml`, below a comment with the score.

    Args:
        trial: an `optuna.trial.FrozenTrial`.
        space: the keys.
        target: names the score.
        run: name of the trial's run directory.
    """
    values = yaml_values(space, trial.params)
    parts = [parse_overrides([f"{key}={value}"]) for key, value in values.items()]
    settings: dict[str, Any] = reduce(merge, parts, {})
    text = yaml.safe_dump(settings, sort_keys=False)
    return f"# {target.metric} {trial.value:.4f}: {run}\n{text}"


def draw_study(study: Any, target: Target, folder: Path) -> None:
    """Draws Optuna's figures of a study, `<name>.png` for each of `FIGURES`.

    Args:
        study: an `optuna.Study` with a finished trial.
        target: names the score.
        folder: that the files are written to.
    """
    import optuna
    from matplotlib import pyplot  # Optuna draws with it: loaded only here, it has global state

    scores = {trial.value for trial in study.get_trials(deepcopy=False)} - {None}
    options: dict[str, dict[str, Any]] = {name: {"target_name": target.metric} for name in FIGURES}
    # A seed, so that the same trials give the same figure.
    options["param_importances"]["evaluator"] = optuna.importance.FanovaImportanceEvaluator(seed=0)
    rcdefaults()  # the same figures whatever the user's matplotlibrc
    for name in FIGURES:
        if name == "param_importances" and len(scores) < 2:
            continue  # nothing varies yet
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the functions are marked as experimental
            axes = getattr(optuna.visualization.matplotlib, f"plot_{name}")(study, **options[name])
        figure = np.ravel(axes)[0].figure
        _part_ticks(figure, len(study.best_trial.params))
        with atomic_path(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, format="png", dpi=120, bbox_inches="tight")
        pyplot.close(figure)


def _part_ticks(figure: Any, n_keys: int) -> None:
    """Widens a figure with its keys, and turns labels below an axis upright where they overlap."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(max(width, _KEY_INCHES * n_keys), height)
    figure.canvas.draw()
    for axes in figure.axes:
        labels = [label for label in axes.get_xticklabels() if label.get_text()]
        boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
        if any(left.x1 > right.x0 for left, right in pairwise(boxes)):
            axes.tick_params(axis="x", labelrotation=90)
