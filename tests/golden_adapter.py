"""Calls the project's functions on the vectors of `conformance.py`; renames and reshapes, computes nothing."""

import re
from collections.abc import Callable

import numpy as np

Arrays = dict[str, np.ndarray]


# Filled in by the groups of cases below: pattern of the case's name -> function of (inputs, settings).
CASES: dict[str, Callable[[Arrays, dict], dict[str, object]]] = {}


def run(case: str, inputs: Arrays, settings: dict) -> dict[str, object]:
    """Returns the outputs of one case under the names of the manifest."""
    for pattern, function in CASES.items():
        if re.fullmatch(pattern, case):
            return function(inputs, settings)
    raise KeyError(f"No function for the case {case!r}. Known patterns: {sorted(CASES)}.")
