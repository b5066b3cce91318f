"""Commands in messages, as they are called where this runs: scripts, or the installed command."""

import importlib
import re
from pathlib import Path

_TOP = Path(__file__).resolve().parents[2]
_SCRIPT_VERBS = {
    "batch_feature_extraction": "extract",
    "simulate": "simulate",
    "predict": "predict",
}
_COMMAND = re.compile(r"\bpython (?:(\w+)\.py|-m common\.cli\.(\w+))")


def in_checkout() -> bool:
    """True in a checkout, which has the scripts; False where the package is installed."""
    return (_TOP / "batch_feature_extraction.py").is_file()


def as_called_here(text: str) -> str:
    """Replaces scripts and modules in a message by `dcase VERB`, outside a checkout."""

    def installed(found: re.Match[str]) -> str:
        script, module = found.groups()
        verb = module or _SCRIPT_VERBS.get(script, "train")
        return f"dcase {verb.replace('_', '-')}"

    return text if in_checkout() else _COMMAND.sub(installed, text)


def training_command(family: str, system: str) -> str:
    """Command that trains a system, without task and job; a checkout has a script for it."""
    line = importlib.import_module(f"{family}.cli")
    return as_called_here(f"python {line.SCRIPTS.get(system, line.SCRIPT)}")
