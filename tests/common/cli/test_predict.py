"""The command line: files of events from recordings, lines of events from a pipe."""

import io
import json
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
import soundfile

from common.audio.stream import PcmSource
from common.cli.predict import main
from common.inference.live import TimedSource
from common.inference.predictor import StreamingSession
from tests.runs import SELDNET, noises, task_of, write_run

RATE_HZ = 16000
SMALL = SELDNET | {
    "dataset__sample_rate_hz": RATE_HZ,
    "dataset__recording_s": 4.0,
    "features__n_fft": 1024,
    "pipeline__sequence_frames": 50,
    "training__augmentation": "none",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return write_run(task_of("demo", folder, **SMALL), folder / "run")


@pytest.fixture
def recording(tmp_path):
    soundfile.write(tmp_path / "a.wav", noises(4.2, RATE_HZ, 4), RATE_HZ)
    return tmp_path / "a.wav"


class StandardInput:
    """Stands for `sys.stdin` with a pipe behind it."""

    def __init__(self, raw):
        self.buffer = type("Buffer", (), {"raw": raw})()


def piped(content: bytes, monkeypatch, pause_s: float = 0.0) -> None:
    """Makes a pipe the standard input, and writes to it in pieces that are no whole samples."""
    reading, writing = os.pipe()

    def write():
        with open(writing, "wb", buffering=0) as target:
            for start in range(0, len(content), 50_001):
                target.write(content[start : start + 50_001])
                time.sleep(pause_s)

    threading.Thread(target=write, daemon=True).start()
    monkeypatch.setattr(sys, "stdin", StandardInput(open(reading, "rb", buffering=0)))  # noqa: SIM115


def test_a_pipe_gives_the_events_of_the_file_with_delays(
    run, recording, tmp_path, monkeypatch, capsys
):
    assert main([str(run), str(recording), "--out", str(tmp_path / "out")]) == 0
    of_file = [line.split("\t") for line in (tmp_path / "out" / "a.tsv").read_text().splitlines()]
    samples, _ = soundfile.read(recording, dtype="int16")
    piped(samples.astype("<i2").tobytes(), monkeypatch, pause_s=0.01)
    capsys.readouterr()
    assert main([str(run), "--live", "--rate", str(RATE_HZ)]) == 0
    captured = capsys.readouterr()
    of_pipe = [line.split("\t") for line in captured.out.splitlines()]
    assert of_pipe[0] == [*of_file[0], "latency"]
    assert len(of_pipe) > 10
    assert sorted(line[:6] for line in of_pipe[1:]) == sorted(of_file[1:])
    assert all(float(line[-1]) >= 0 for line in of_pipe[1:])
    assert (
        f"{len(of_pipe) - 1} events in 4.2 s; latency" in captured.err
        and "real-time factor" in captured.err
    )


def test_a_pipe_of_floats_at_another_rate_gives_json(run, monkeypatch, capsys):
    piped(noises(2.0, 24000, 4).astype("<f4").tobytes(), monkeypatch)
    assert main([str(run), "--live", "--rate", "24000", "--format", "f32le", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = {"onset", "offset", "label", "score", "azimuth", "elevation", "latency"}
    assert lines and all(
        set(line) == expected and 0 <= line["onset"] < line["offset"] <= 2 for line in lines
    )


@pytest.mark.parametrize("moment", ["waiting", "computing"])
def test_ctrl_c_ends_the_audio_but_keeps_its_events(run, monkeypatch, capsys, moment):
    piped(noises(3.0, RATE_HZ, 4).astype("<f4").tobytes(), monkeypatch, pause_s=0.02)
    feed, blocks, heard_s = StreamingSession.feed, TimedSource.blocks, [0.0]

    def interrupt():
        if heard_s[-1] > 2.0 > heard_s[-2]:
            signal.raise_signal(signal.SIGINT)

    def feed_computing(self, audio):
        heard_s.append(self.duration_s)
        if moment == "computing":
            interrupt()
        return feed(self, audio)

    def blocks_waiting(self):
        for block in blocks(self):
            if moment == "waiting" and len(heard_s) > 1:
                interrupt()
            yield block

    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # ignored where the tests run in the background
    monkeypatch.setattr(StreamingSession, "feed", feed_computing)
    monkeypatch.setattr(TimedSource, "blocks", blocks_waiting)
    try:
        assert main([str(run), "--live", "--format", "f32le"]) == 0
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    captured = capsys.readouterr()
    offsets = [float(line.split("\t")[1]) for line in captured.out.splitlines()[1:]]
    assert 2.0 < max(offsets) < 2.6
    assert f"{len(offsets)} events in 2." in captured.err


def test_samples_have_the_times_of_their_arrival():
    class Slow(io.BytesIO):
        def read(self, size=-1):
            time.sleep(0.05)
            return super().read(size)

    began = time.monotonic()
    source = TimedSource(PcmSource(Slow(bytes(2 * 400)), 1000, 1))
    assert sum(len(block) for block in source.blocks()) == 400
    arrivals = [source.arrival(time_s) - began for time_s in (0.05, 0.15, 0.35, 9.0)]
    assert (
        arrivals == sorted(arrivals)
        and arrivals[0] >= 0.05
        and arrivals[2] >= 0.2
        and arrivals[3] == arrivals[2]
    )


def test_an_error_of_the_pipe_is_reported(run, monkeypatch, capsys):
    piped(np.full(4000, np.nan, "<f4").tobytes(), monkeypatch)
    assert main([str(run), "--live", "--format", "f32le"]) == 2
    assert "error: Sample 0 of standard input is not a finite number" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", StandardInput(io.BytesIO()))
    assert main([str(run), "--live"]) == 2
    assert "error: No sample came from standard input" in capsys.readouterr().err


def test_options_that_do_not_fit_are_refused_before_loading(tmp_path, capsys):
    cases = {
        (): "Expected: sound files, or --live",
        ("a.wav", "--live"): "Received: both",
        ("a.wav", "--rate", "8000"): "--rate belongs to --live",
        ("a.wav", "--json"): "--json belongs to --live",
        ("--live", "--rate", "0"): "--rate: expected a number above 0",
        ("a.wav", "--format", "s16le"): "--format s16le belongs to --live",
        ("--live", "--format", "csv"): "with --live, that of the samples, s16le or f32le",
        ("--live", "--frames"): "--frames belongs to the JSON of files",
        ("a.wav", "--format", "csv,xml"): "Received: 'xml'",
        ("a.wav", "--threshold", "1.5"): "--threshold: expected a number from 0 to 1",
        ("a.wav",): "a run directory?",
    }
    for arguments, message in cases.items():
        assert main([str(tmp_path), *arguments]) == 2
        assert message in capsys.readouterr().err


def test_without_a_recording_that_fits_nothing_is_loaded(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("common.cli.predict.load_predictor", None)
    (tmp_path / "bad.wav").write_text("no sound")
    soundfile.write(tmp_path / "mono.wav", noises(1.0, RATE_HZ, 1), RATE_HZ)
    bad, mono, out = (str(tmp_path / name) for name in ("bad.wav", "mono.wav", "out"))
    assert main([str(run), bad, "--out", out]) == 2
    assert capsys.readouterr().err.startswith("error: Not a readable sound file")
    assert main([str(run), bad, mono, "--out", out]) == 2
    error = capsys.readouterr().err
    assert "None of 2 recordings can be used" in error and "Expected: 4, those of the" in error
    assert not (tmp_path / "out").exists()


def test_damage_within_a_recording_leaves_the_others_finished(run, recording, tmp_path, capsys):
    damaged = noises(4.0, RATE_HZ, 4)
    damaged[50_000] = np.nan
    soundfile.write(tmp_path / "damaged.wav", damaged, RATE_HZ, "FLOAT")
    assert (
        main(
            [
                str(run),
                str(recording),
                str(tmp_path / "damaged.wav"),
                "--out",
                str(tmp_path / "out"),
            ]
        )
        == 4
    )
    assert "50000" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.json",
        "a.png",
        "a.tsv",
    ]
