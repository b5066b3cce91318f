"""Predictions of finished runs; `load_run` is the entry for programs, and loads Keras."""

from common.inference.loading import Run, load_run

__all__ = ["Run", "load_run"]
