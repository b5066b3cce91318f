"""Exports the model of a run as SavedModel, ONNX or LiteRT.

python -m common.cli.export RUN_DIRECTORY --format saved_model|onnx|litert [--out PATH]
    [--fold NAME] [--stage NAME] [--checkpoint best|last|N] [--with-frontend]
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from common.cli.base import add_checkpoint, base_parser, run_safely
from common.family import load
from common.features.frontend import Frontend
from common.features.settings import as_frontend
from common.inference.export import (
    ENDINGS,
    Format,
    check_packages,
    describe,
    export,
    in_float32,
    of_audio,
    output_errors,
)
from common.inference.export_metadata import metadata_of, takes_audio
from common.inference.loading import checked_checkpoint
from common.runtime.backend import choose_backend, start_backend
from common.settings.tasks import RunConfig, check_task, merge
from common.training.run_directory import read_settings

if TYPE_CHECKING:
    from common.training.ensemble import Ensemble

logger = logging.getLogger(__name__)
_EXPORTING = RunConfig(device="cpu")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_safely(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    parser = base_parser("Exports the model of a run.", settings=False)
    parser.add_argument("run", type=Path, metavar="RUN_DIRECTORY", help="of a training")
    parser.add_argument("--format", choices=get_args(Format), required=True, help="file format")
    parser.add_argument(
        "--out", type=Path, metavar="PATH", help="default: model.onnx and the like in RUN_DIRECTORY"
    )
    parser.add_argument("--fold", metavar="NAME", help="default: the first")
    parser.add_argument("--stage", metavar="NAME", help="only this stage; default: all stages")
    add_checkpoint(parser)
    about = "the model takes 16-bit audio and computes the features that the run stored"
    parser.add_argument("--with-frontend", action="store_true", help=about)
    options = parser.parse_args(arguments)
    wanted = options.checkpoint and checked_checkpoint(options.checkpoint)
    choose_backend(_EXPORTING)  # packages of the formats load TensorFlow
    check_packages(options.format)
    frontend = device_frontend(options.run) if options.with_frontend else None
    system = load_ensemble(options.run, options.fold, options.stage, wanted)
    if frontend is not None and not takes_audio(system):
        system = of_audio(system, frontend)
    metadata = described(system, options.run, options.fold, frontend)
    path = options.out or options.run / f"model{ENDINGS[options.format]}"
    export(system, path, options.format, metadata)
    logger.info("Wrote %s, a model from %s.", path, describe(system))
    logger.info("Largest difference to Keras: %s.", output_errors(system, path, options.format))


def described(
    system: "Ensemble", run: Path, fold: str | None, frontend: Frontend | None
) -> dict[str, Any]:
    """Metadata of the models of a run, see `common.inference.export_metadata.metadata_of`.

    Args:
        system: the models.
        run: its directory.
        fold: name of a fold; None: the first.
        frontend: features that models compute in place of the extraction; None: those of the run.
    """
    from common.training.ensemble import chosen_folds  # with Keras, whose backend is chosen

    task: Any = check_task(read_settings(run), f"the settings of {run}")
    family: Any = load(task.family, "experiment")
    experiment = family.Experiment.of(task)
    channels = task.audio_channels or 1
    sizes = frontend or as_frontend(task.features, task.dataset.sample_rate_hz, channels)
    stage = run / chosen_folds(task, fold)[0] / system.stages[-1][0].name
    facts = getattr(experiment, "decoding_facts", None)  # of families that do not have it, none
    return metadata_of(system, experiment, sizes, facts(stage) if facts else {})


def device_frontend(run: Path) -> Frontend:
    """Features of a run as its models would compute them of audio.

    Args:
        run: its directory.

    Raises:
        CheckpointError: there is no run.
        ConfigError: models cannot compute these features, with the reason.
    """
    changed = merge(read_settings(run), {"features": {"frontend": "device"}})
    start_backend(_EXPORTING)
    task: Any = check_task(changed, f"--with-frontend: the settings of {run} with a frontend")
    experiment: Any = load(task.family, "experiment").Experiment
    found: Frontend = experiment.of(task).frontend
    return found


def load_ensemble(
    run: Path, fold: str | None = None, stage: str | None = None, checkpoint: str | None = None
) -> "Ensemble":
    """Loads models of a run on TensorFlow's CPU, in float32 whatever they were trained in.

    Args:
        run: its directory.
        fold: name of a fold; None: the first.
        stage: name of a stage; None: all that are scored together.
        checkpoint: which models, see `common.training.ensemble.load_models`.

    Raises:
        CheckpointError: there is no run, or a model is not there or damaged.
        ConfigError: there is no such fold or stage.
    """
    task = check_task(read_settings(run), f"the settings of {run}")
    start_backend(_EXPORTING)
    # Not before the backend is chosen.
    from common.training.ensemble import Ensemble, chosen_folds, load_models, one_of, scored_stages
    from common.training.system import load_system

    stages = load_system(task.family, task.system).stages(task)
    wanted = scored_stages(stages)
    if stage is not None:
        chosen = one_of([each.name for each in stages], stage, "--stage")
        wanted = [each for each in stages if each.name == chosen]
    folds = chosen_folds(task, fold)
    if len(folds) > 1:
        names = ", ".join(folds)
        logger.info("The run has folds %s; --fold chooses one. Exporting %s.", names, folds[0])
    loaded = load_models(run, task, wanted, folds[0] or None, checkpoint=checkpoint)
    return Ensemble([[(each, in_float32(model)) for each, model in loaded.stages]])


if __name__ == "__main__":
    raise SystemExit(main())
