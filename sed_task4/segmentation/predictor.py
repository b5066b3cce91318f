"""Recordings of any length through the networks of a segmentation run; `separate` makes sound files
besides."""

from pathlib import Path

from common.inference.predictor import Predictor
from common.training.ensemble import answering, load_models
from sed_task4.predictor import clip_predictor
from sed_task4.segmentation.config import TaskConfig
from sed_task4.segmentation.experiment import Experiment
from sed_task4.segmentation.segmenter import clip_windows


def load_predictor(
    run: Path, task: TaskConfig, fold: str | None = None, live: bool = False
) -> Predictor:
    """Loads the networks of a run with its first pooling.

    Args:
        run: its directory.
        task: its settings.
        fold: name of a fold; None: the folds answer together.
        live: without influence: a clip is what the network decides on.

    Raises:
        CheckpointError: a model is not there, not finished, or damaged.
        ConfigError: there is no such fold.
    """
    experiment = Experiment.prepare(task)
    models = load_models(run, task, answering(experiment.system.stages(task)), fold)
    return clip_predictor(experiment, models, clip_windows(task.pipeline.sequence_frames))
