"""Predictions of segmentation runs for recordings of any length; see also `segmenter`."""

from pathlib import Path

from common.training.ensemble import load_models, scored_stages
from sed_task4.predictor import ClipPredictor, features_of
from sed_task4.segmentation.config import TaskConfig
from sed_task4.segmentation.experiment import Experiment
from sed_task4.segmentation.segmenter import clip_windows

__all__ = ["features_of", "load_predictor"]


def load_predictor(
    run: Path,
    task: TaskConfig,
    fold: str | None = None,
    live: bool = False,
    checkpoint: str | None = None,
) -> ClipPredictor:
    """Loads the networks of a run with its first pooling.

    Args:
        run: its directory.
        task: its settings.
        fold: name of a fold; None: the mean of all folds.
        live: no effect, since the network decides on whole clips.
        checkpoint: which models, see `common.training.ensemble.load_models`.

    Raises:
        CheckpointError: a model is missing, unfinished or damaged.
        ConfigError: there is no such fold.
    """
    experiment = Experiment.prepare(task)
    stages = scored_stages(experiment.system.stages(task))
    models = load_models(run, task, stages, fold, checkpoint=checkpoint)
    return ClipPredictor(experiment, models, clip_windows(task.pipeline.sequence_frames))
