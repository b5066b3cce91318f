"""Terminals of any encoding, and readers that go away: no command fails of them."""

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from common.cli import (
    base,
    check_dataset,
    compare,
    download,
    extract,
    import_torch,
    predict,
    report,
    simulate,
    tune,
)
from common.display.spectrogram import Spectrogram
from common.io import terminal
from common.io.files import load_json, write_json, write_text
from sed_task4 import cli as clips
from sed_task4 import score as clip_score
from sed_task4.segmentation import cli as segmentation
from sed_task4.segmentation import mixing
from seld import cli as seld
from seld import figures
from seld import score as seld_score
from tests.runs import CNN, PARAMS, noises, task_of, write_run

ROOT = Path(__file__).parents[3]
ODD = "Büro → 音"
CLASSES = ["Tür", "音"]
OTHER = 'name: "Löwe"'


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with settings, a run and event files whose names and texts are not ASCII."""
    folder = tmp_path_factory.mktemp("t") / "Grüße 音"
    folder.mkdir()
    tasks = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    for task in tasks["tasks"].values():
        task["description"] = ODD
    (folder / "params.yaml").write_text(yaml.safe_dump(tasks, allow_unicode=True), encoding="utf-8")
    classes = json.dumps(CLASSES, ensure_ascii=False)
    task = task_of(
        "cnn9-demo", folder, dataset__classes=classes, description=ODD, run__device="cpu", **CNN
    )
    write_run(task, folder / "lauf")
    soundfile.write(folder / "a.wav", noises(12.0, 32000, 1), 32000)
    rows = "filename\tonset\toffset\tevent_label\na.wav\t1.0\t2.0\tTür\n"
    (folder / "e.tsv").write_text(rows, encoding="utf-8")
    return folder


COMMANDS = {
    "list": (seld.main, ["--list"], 0),
    "help": (seld.main, ["--help"], 0),
    "train": (seld.main, ["1", "ü"], 2),
    "train clips": (clips.main, ["crnn", "ü"], 2),
    "train segmentation": (segmentation.main, ["segmentation", "ü"], 2),
    "extract": (extract.main, ["1", "--sets", "ü"], 2),
    "simulate": (simulate.main, ["demo", "--preset", "ü"], 2),
    "mix": (mixing.main, ["segmentation", "--set", "dataset_dir=ü"], 2),
    "check": (check_dataset.main, ["1"], 1),
    "search": (tune.main, ["1", "--over", "ü=1:2"], 2),
    "download": (download.main, ["cnn9", "--dry-run"], 0),
    "import": (import_torch.main, ["ü.pt", "--task", "cnn9", "--out", "ü.pt"], 2),
    "predict": (predict.main, ["lauf", "a.wav", "--out", "gefühl"], 0),
    "report": (report.main, ["lauf"], 2),
    "compare": (compare.main, ["lauf", "übung"], 2),
    "score clips": (clip_score.main, ["e.tsv", "e.tsv", "--classes", ",".join(CLASSES)], 0),
    "score recordings": (seld_score.main, ["ü", "ö"], 2),
    "figures": (figures.main, ["recording", "ü.wav", "--estimate", "ü.csv", "--out", "ü.png"], 2),
}


class Terminal(io.TextIOWrapper):
    """A terminal of another encoding, as Python opens it."""

    def __init__(self, encoding: str):
        super().__init__(io.BytesIO(), encoding=encoding, errors="strict", write_through=True)

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


def run(main, arguments, monkeypatch, encoding) -> tuple[int, str]:
    """Runs a command on such a terminal, log included; returns its status and all that it wrote."""
    written = Terminal(encoding)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, written)
    monkeypatch.setattr(logging.root, "handlers", [])
    try:
        status = main(arguments)
    except SystemExit as end:  # of argparse
        status = int(end.code or 0)
    return status, written.text()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_writes_to_a_terminal_of_any_encoding(name, encoding, place, monkeypatch):
    if encoding != "ascii" and name in ("predict", "download", "search"):
        pytest.skip("they take a second each")
    monkeypatch.chdir(place)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    main, arguments, expected = COMMANDS[name]
    status, text = run(main, arguments, monkeypatch, encoding)
    assert status == expected, text
    assert "Traceback" not in text and "Logging error" not in text
    if encoding == "ascii" and name not in ("help", "download", "report", "compare"):
        assert "\\xfc" in text or "\\u97f3" in text


def test_lines_of_json_on_an_ascii_terminal_are_json(monkeypatch, place):
    samples = (noises(12.0, 32000, 1) * 32767).astype("<i2")
    raw = io.BytesIO(samples.tobytes())
    monkeypatch.setattr(
        sys, "stdin", type("Pipe", (), {"buffer": type("Buffer", (), {"raw": raw})()})()
    )
    arguments = [str(place / "lauf"), "--live", "--json", "--rate", "32000"]
    status, text = run(predict.main, arguments, monkeypatch, "ascii")
    events = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert status == 0 and events and {event["label"] for event in events} <= set(CLASSES)


def test_half_of_a_character_in_a_text_stops_no_file(tmp_path):
    write_text(tmp_path / "a.txt", "x\udcff.wav")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "x\\udcff.wav"
    write_json(tmp_path / "a.json", {"name": "Löwe"})
    assert load_json(tmp_path / "a.json") == {"name": "Löwe"}


def test_the_command_of_a_run_is_text_for_any_bytes(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["seld.py", "a\udcff", "ü"])
    assert base.command_line() == ["seld.py", "'a\\xff'", "'ü'"]
    "".join(base.command_line()).encode("utf-8")


def test_settings_in_a_locale_without_utf8_are_read_as_utf8():
    assert terminal.typed_text("description=B\udcc3\udcbcro") == "description=Büro"
    assert terminal.typed_text("Büro \\udc") == "Büro \\udc"


def program(*command: str, **variables: str) -> subprocess.Popen:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *command], cwd=ROOT, env=env, stdout=pipe, stderr=pipe)


def test_a_name_the_locale_lacks_is_a_one_line_error(place):
    with program(
        "-m",
        "common.cli.check_dataset",
        "demo",
        "--set",
        f"dataset_dir={place}",
        "--set",
        "description=Büro",
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
    ) as process:
        _, errors = process.communicate()
    assert process.returncode == 2
    assert "`dataset_dir`: A file name or text has '\\xfc" in errors.decode("ascii")
    assert b"PYTHONUTF8=1" in errors and b"Traceback" not in errors


WRITING = """
import sys
from common.cli.base import run_safely
import logging

def main(arguments):
    sys.stdin.read()  # until the reader is gone
    {action}

sys.exit(run_safely(main, []))
"""
ACTIONS = {
    "print": "print('x', flush=True)",
    "buffer": "print('x')",
    "log": "logging.getLogger('a').info('x')",
    "error": "print('x'); from common.errors import DataError; raise DataError('wrong')",
    "exit": "print('x'); sys.exit(0)",
}


@pytest.mark.parametrize("action", ACTIONS)
def test_a_reader_that_goes_away_ends_a_command_quietly(action):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-c", WRITING.format(action=ACTIONS[action])]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        process.stdout.close()
        process.stdin.close()
        errors = process.stderr.read().decode()
    assert process.returncode == terminal.BROKEN_PIPE_STATUS
    assert errors == ("error: wrong\n" if action == "error" else "")


def test_another_broken_pipe_is_not_taken_for_the_terminal(capsys):
    def fail(_):
        raise BrokenPipeError("of a socket")

    with pytest.raises(BrokenPipeError, match="of a socket"):
        base.run_safely(fail, [])


def test_a_command_without_standard_output_ends_as_ever(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert base.run_safely(lambda _: print("nobody reads this"), []) == 0


def test_figures_draw_names_of_any_script(tmp_path):
    from sed_task4.figures import prediction_figure

    curves = np.zeros((10, 2))
    figure = prediction_figure(
        Spectrogram(np.zeros((10, 4)), 1.0),
        curves,
        np.zeros((0, 3)),
        CLASSES,
        ODD,
        tags=np.zeros(2),
    )
    figure.savefig(tmp_path / "a.png")


def test_bars_that_go_into_a_file_are_a_line_each_half_minute(monkeypatch):
    class Stream:
        def __init__(self, is_terminal):
            self.isatty = lambda: is_terminal

    monkeypatch.setattr("sys.stderr", Stream(False))
    assert terminal.bar_pace()["mininterval"] == 30.0
    monkeypatch.setattr("sys.stderr", Stream(True))
    assert terminal.bar_pace()["mininterval"] == 0.1


def test_the_width_of_tables_is_that_of_a_terminal_or_of_columns(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert terminal.columns() is None
    monkeypatch.setenv("COLUMNS", "72")
    assert terminal.columns() == 72
