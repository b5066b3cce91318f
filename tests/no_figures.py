"""Runs without figures and reports, which take a third of a tiny run: other tests look at them."""

import contextlib
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def no_figures(*modules: str, report: bool = False) -> Iterator[None]:
    """Writes no figures while it lasts.

    Args:
        modules: those that write figures of a run, beside the training itself.
        report: still write the report of a run.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in ("common.training.callbacks", *modules):
            patch.setattr(f"{module}.save_figure", lambda figure, path: None)
        patch.setattr("common.training.callbacks.learning_curves", lambda history, panels: None)
        if not report:
            patch.setattr("common.reports.run.report_finished_run", lambda folder, task: None)
        yield
