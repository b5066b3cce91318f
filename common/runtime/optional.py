"""Packages that only some commands need."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from common.errors import ConfigError

_MOST_CHARACTERS = 300  # of the reason why a package cannot be imported
# Keras and TensorFlow import these, where they are installed, for scikit-learn's estimators,
# galleries of images, tables as input, and conversion of JAX functions to LiteRT.
_UNUSED = ("jax", "matplotlib", "matplotlib.pyplot", "pandas", "sklearn")
_process = {"leaves out": False}


def optional_module(name: str, purpose: str, remedy: str) -> ModuleType:
    """Imports a module of a package that may not be installed.

    Args:
        name: of the module, with dots.
        purpose: start of a sentence that names the user of the package.
        remedy: what to do without it, in sentences.

    Raises:
        ConfigError: it is not installed, or it is and fails while it is imported.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:  # libraries that a package loads fail with errors of many kinds
        package = name.partition(".")[0]
        if _is_missing(package, error):
            reason = f"which is not installed. {remedy}"
        else:
            problem = " ".join(str(error).split())[:_MOST_CHARACTERS]
            reason = (
                f"which is installed but cannot be imported ({type(error).__name__}: {problem})."
                f" Repair or reinstall it: pip install --force-reinstall {package}"
            )
        raise ConfigError(f"{purpose} needs the package {package}, {reason}") from error


def _is_missing(package: str, error: Exception) -> bool:
    """True if the package itself is missing, rather than one that it needs."""
    name = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    return name.partition(".")[0] == package


def leave_out_unused() -> None:
    """Lets this process load Keras and TensorFlow without packages for parts that no command uses.

    Programs that import this project keep these parts: only commands and their workers call this.
    """
    _process["leaves out"] = True


@contextmanager
def unused_left_out() -> Iterator[None]:
    """Hides packages of unused parts from Keras and TensorFlow, which are imported in the block.

    They are a third of all modules, and take a third of the time. Afterwards they can be imported
    as ever. Without `leave_out_unused`, nothing is hidden.
    """
    hidden = [name for name in _UNUSED if _process["leaves out"] and name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type] # Python takes them for missing
    try:
        yield
    finally:
        for name in hidden:
            if sys.modules.get(name, name) is None:
                del sys.modules[name]
