"""Runs the models of a run, finished or in training, over recordings, or over audio from a pipe.

    python predict.py RUN_DIRECTORY AUDIO... [--out DIR] [--format NAMES] [--threshold X]
    python predict.py RUN_DIRECTORY AUDIO... --checkpoint best|last|N
    ... | python predict.py RUN_DIRECTORY --live [--format s16le|f32le] [--rate HZ]

Recordings may have any length and sample rate: files, folders or globs. Each gets a table of
events, the same and more as JSON, and a figure; several of a folder get a page, too. The exit
status is 0 if all recordings were predicted, 4 if only some were, 2 if none was.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from common.audio.stream import PcmFormat, PcmSource
from common.cli.base import add_checkpoint, add_overrides, base_parser, run_safely
from common.cli.steps.predict_files import Request, predict_files
from common.errors import ConfigError
from common.inference.formats import DEFAULT, NAMES, formats_of
from common.inference.inputs import find_inputs
from common.inference.loading import checked_checkpoint, load_predictor, settings_for
from common.io import terminal
from common.training.run_directory import read_settings

FOLDER = "predictions"
PCM_FORMATS = get_args(PcmFormat)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_safely(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    _check(options)
    if options.checkpoint is not None:
        options.checkpoint = checked_checkpoint(options.checkpoint)
    if options.live:
        _predict_live(options)
    else:
        _predict_files(options)


def _predict_files(options: argparse.Namespace) -> None:
    formats = formats_of(options.format or ",".join(DEFAULT))
    read_settings(options.run)  # is it a run?
    inputs = find_inputs(options.audio)  # before anything that takes seconds to load
    inputs.check()
    task = settings_for(options.run, options.overrides, options.threshold)
    inputs = inputs.with_channels(task.audio_channels)
    inputs.check()
    predictor = load_predictor(options.run, options.fold, checkpoint=options.checkpoint, task=task)
    folder = options.out or options.run / FOLDER
    predict_files(predictor, inputs, Request(options.run, folder, formats, options.frames))


def _predict_live(options: argparse.Namespace) -> None:
    terminal.log_to(sys.stderr, again=True)  # the events have standard output for themselves
    task = settings_for(options.run, options.overrides, options.threshold)
    predictor = load_predictor(
        options.run, options.fold, True, checkpoint=options.checkpoint, task=task
    )
    from common.inference.live import predict_live  # loads Keras, whose backend is chosen

    channels = options.channels or predictor.channels or 1
    rate_hz = options.rate or predictor.sample_rate_hz
    pcm_format: PcmFormat = "f32le" if options.format == "f32le" else "s16le"
    source = PcmSource(sys.stdin.buffer.raw, rate_hz, channels, pcm_format)  # type: ignore[union-attr]
    predict_live(predictor, source, sys.stdout, as_json=options.json)


def _check(options: argparse.Namespace) -> None:
    """Raises ConfigError where options do not fit together."""
    if options.live == bool(options.audio):
        received = "both" if options.live else "none"
        raise ConfigError(f"Expected: sound files, or --live for a pipe. Received: {received}.")
    given = {name: getattr(options, name) for name in ("rate", "channels")}
    only_live = [name for name, value in given.items() if value is not None]
    if not options.live and (only_live or options.json):
        raise ConfigError(f"--{(only_live or ['json'])[0]} belongs to --live, not to files.")
    if options.live and options.frames:
        raise ConfigError("--frames belongs to the JSON of files, not to --live.")
    if options.live and options.format not in (None, *PCM_FORMATS):
        expected = f"with --live, that of the samples, {' or '.join(PCM_FORMATS)}"
        raise ConfigError(f"--format: expected, {expected}. Received: {options.format!r}.")
    if not options.live and options.format in PCM_FORMATS:
        raise ConfigError(f"--format {options.format} belongs to --live, not to files.")
    for name, value in given.items():
        if value is not None and value < 1:
            raise ConfigError(f"--{name}: expected a number above 0. Received: {value}.")
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        received = options.threshold
        raise ConfigError(f"--threshold: expected a number from 0 to 1. Received: {received}.")


def _parser() -> argparse.ArgumentParser:
    parser = base_parser("Predicts the events of recordings, or of a pipe.", settings=False)
    parser.add_argument("run", type=Path, metavar="RUN_DIRECTORY", help="of a training")
    audio = "sound files of any length and rate, folders of them, globs in quotes"
    parser.add_argument("audio", type=Path, nargs="*", metavar="AUDIO", help=audio)
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"default: {FOLDER}/ in the run")
    parser.add_argument("--fold", metavar="NAME", help="this fold; default: the mean of all folds")
    add_checkpoint(parser)
    names = (
        f"some of {', '.join(NAMES)}, separated by commas (default: {','.join(DEFAULT)}); with"
        f" --live that of the samples, {' or '.join(PCM_FORMATS)}, little endian (default s16le)"
    )
    parser.add_argument("--format", metavar="NAMES", help=names)
    lower = "a class is active from here on, in place of the run's threshold"
    parser.add_argument("--threshold", type=float, metavar="X", help=lower)
    add_overrides(parser, "a setting of decoding for this prediction, e.g. decoding.salt_frames=4")
    frames = "the JSON file has the probabilities of all frames (SELD: it has its frames always)"
    parser.add_argument("--frames", action="store_true", help=frames)
    live = parser.add_argument_group("audio from a pipe")
    live.add_argument("--live", action="store_true", help="read raw samples from standard input")
    live.add_argument("--rate", type=int, metavar="HZ", help="sample rate; default: the model's")
    channels = "number of channels (default: the model's; 1 for mono)"
    live.add_argument("--channels", type=int, metavar="N", help=channels)
    live.add_argument("--json", action="store_true", help="print JSON, one object a line")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
