"""Packages that only some commands need."""

import importlib
from types import ModuleType

from common.errors import ConfigError


def optional_module(name: str, purpose: str, remedy: str) -> ModuleType:
    """Imports a module of a package that may not be installed.

    Args:
        name: of the module, with dots.
        purpose: what needs it, as a sentence begins.
        remedy: what to do without it, in sentences.

    Raises:
        ConfigError: it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ConfigError(
            f"{purpose} needs the package {package}, which cannot be imported here ({error}). {remedy}"
        ) from error
