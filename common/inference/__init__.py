"""Predictions of finished runs; `load_run` is the entry for programs, and loads Keras."""

from common.inference.loading import Prediction, Run, load_run

__all__ = ["Prediction", "Run", "load_run"]
