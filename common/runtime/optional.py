"""Packages that only some commands need."""

import importlib
from types import ModuleType

from common.errors import ConfigError

_MOST_CHARACTERS = 300  # of the reason why a package cannot be imported


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
