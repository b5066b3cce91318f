"""Runs the models of a run, finished or in training, over recordings, or over audio from a pipe.

    python predict.py RUN_DIRECTORY AUDIO... [--out DIR] [--fold NAME] [--checkpoint best|last|N]
    ... | python predict.py RUN_DIRECTORY --live [--format s16le|f32le] [--rate HZ]

Recordings may have any length and sample rate. Each gets a table of events, the same and more as
JSON, and a figure.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from common.audio.files import EmptyRecordingError
from common.audio.stream import FileSource, PcmSource, check_channels
from common.cli.base import add_checkpoint, base_parser, do_each, run_safely
from common.errors import ConfigError
from common.inference.loading import checked_checkpoint, load_predictor
from common.io import terminal

logger = logging.getLogger(__name__)
FOLDER = "predictions"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_safely(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    _check(options)
    if options.live:  # the events have standard output for themselves
        terminal.log_to(sys.stderr, again=True)
    wanted = options.checkpoint and checked_checkpoint(options.checkpoint)
    predictor = load_predictor(options.run, options.fold, options.live, checkpoint=wanted)
    if options.live:
        from common.inference.live import predict_live  # loads Keras, whose backend is chosen

        channels = options.channels or predictor.channels or 1
        rate_hz = options.rate or predictor.sample_rate_hz
        source = PcmSource(sys.stdin.buffer.raw, rate_hz, channels, options.format)  # type: ignore[union-attr]
        predict_live(predictor, source, sys.stdout, as_json=options.json)
        return
    from common.inference.outputs import predict_file  # the same

    folder = options.out or options.run / FOLDER
    for path in options.audio:  # all of them, before the first one takes its time
        with suppress(EmptyRecordingError):  # reported when its turn comes
            check_channels(FileSource.open(path), predictor.channels)

    def predict(path: Path) -> None:
        source, target = FileSource.open(path), folder / path.stem
        logger.info("%s", predict_file(predictor, source, target, options.run))

    do_each(options.audio, predict)


def _check(options: argparse.Namespace) -> None:
    """Raises ConfigError where options do not fit together."""
    if options.live == bool(options.audio):
        received = "both" if options.live else "none"
        raise ConfigError(f"Expected: sound files, or --live for a pipe. Received: {received}.")
    given = {name: getattr(options, name) for name in ("rate", "format", "channels")}
    only_live = [name for name, value in given.items() if value is not None]
    if not options.live and (only_live or options.json):
        raise ConfigError(f"--{(only_live or ['json'])[0]} belongs to --live, not to files.")
    for name in ("rate", "channels"):
        if given[name] is not None and given[name] < 1:
            raise ConfigError(f"--{name}: expected a number above 0. Received: {given[name]}.")
    options.format = options.format or "s16le"
    names = [path.stem for path in options.audio]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        received = f"{', '.join(twice)} more than once"
        raise ConfigError(f"Expected: recordings with different names. Received: {received}.")


def _parser() -> argparse.ArgumentParser:
    parser = base_parser("Predicts the events of recordings, or of a pipe.", settings=False)
    parser.add_argument("run", type=Path, metavar="RUN_DIRECTORY", help="of a training")
    audio = "sound files of any length and rate"
    parser.add_argument("audio", type=Path, nargs="*", metavar="AUDIO", help=audio)
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"default: {FOLDER}/ in the run")
    parser.add_argument("--fold", metavar="NAME", help="this fold; default: the mean of all folds")
    add_checkpoint(parser)
    live = parser.add_argument_group("audio from a pipe")
    live.add_argument("--live", action="store_true", help="read raw samples from standard input")
    form = "of the samples, little endian (default s16le)"
    live.add_argument("--format", choices=["s16le", "f32le"], help=form)
    live.add_argument("--rate", type=int, metavar="HZ", help="sample rate; default: the model's")
    channels = "number of channels (default: the model's; 1 for mono)"
    live.add_argument("--channels", type=int, metavar="N", help=channels)
    live.add_argument("--json", action="store_true", help="print JSON, one object a line")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
