"""Evaluations of finished runs, compared with the runs' own tests."""

import json
from pathlib import Path

from common.cli.evaluate import main as evaluate


def check_own_scores(run: Path, *options: str) -> Path:
    """Evaluates a run on its own test data: tables and submission files are the run's, byte for
    byte, and its models are not changed; returns the folder of the evaluation."""
    models = {path: path.stat().st_mtime_ns for path in run.rglob("*.keras")}
    assert evaluate([str(run), "--name", "own", *options]) == 0
    found = run / "evaluations" / "own"
    files = [
        path.relative_to(found) for path in found.rglob("*") if path.suffix in (".csv", ".tsv")
    ]
    names = ["scores.json", "scores.txt", *files]
    assert all((found / name).read_bytes() == (run / name).read_bytes() for name in names)
    assert files and (found / "report.html").is_file()
    assert models == {
        path: path.stat().st_mtime_ns
        for path in run.rglob("*.keras")
        if "evaluations" not in path.parts
    }
    return found


def first_scores(folder: Path) -> dict:
    """The scores of the system in a run, or in an evaluation."""
    return json.loads((folder / "scores.json").read_text())["rows"][0]
