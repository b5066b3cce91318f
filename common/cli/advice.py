"""Commands that messages advise: of the family and the system of a task, as they are called where
this runs."""

import re
from pathlib import Path

from common.errors import UserError
from common.family import load
from common.settings.tasks import BaseTask, read_tasks, resolve

# Scripts of a checkout, and what they are called where the project is installed.
_INSTALLED = {
    "batch_feature_extraction.py": "dcase-extract",
    "simulate.py": "dcase-simulate",
    "predict.py": "dcase-predict",
}
_TOP = Path(__file__).resolve().parents[2]


def in_checkout() -> bool:
    """Whether this runs from a checkout, which has the scripts, or is installed, with commands in
    place of them."""
    return (_TOP / "batch_feature_extraction.py").is_file()


def as_called_here(text: str) -> str:
    """Replaces the scripts that a message names by the installed commands, outside a checkout."""
    if in_checkout():
        return text
    return re.sub(r"\bpython ([\w]+\.py)", lambda found: _INSTALLED.get(found[1], found[0]), text)


def training_command(family: str, system: str) -> str:
    """The command that trains a system, without task and job; a family names its own in
    `<family>/cli.py`."""
    line = load(family, "cli")
    return (
        f"python {line.SCRIPTS.get(system, line.SCRIPT)}" if in_checkout() else str(line.INSTALLED)
    )


def demo_command(task: BaseTask, params: Path) -> str | None:
    """A command that works without a dataset: the first task of the same system that simulates its
    own.

    Args:
        task: settings of a task that lacks its dataset.
        params: the settings file that the command would read.

    Returns:
        The command; None where the file has no such task.
    """
    try:
        tasks = read_tasks(params)
        resolved = {name: resolve(tasks, name) for name in tasks}
    except UserError:
        return None
    demos = [
        name for name, each in resolved.items() if each.get("simulate_missing_dataset") is True
    ]
    own = [name for name in demos if resolved[name].get("family") == task.family]
    same = [name for name in own if resolved[name].get("system") == task.system]
    chosen = next(iter([*same, *own]), None)
    return chosen and f"{training_command(task.family, str(resolved[chosen]['system']))} {chosen} a"
