"""Runs the commands of README and `docs/` with small tasks on simulated recordings.

    python -m tests.document_runs

runs those that take too long for the tests, one after another. Each command of the pages is in one
of the three lists.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import yaml

from common.settings.tasks import merge, read_aliases, resolve
from tests.documents import ROOT, Command, all_tasks, commands, program_of

LIMIT_S = 900  # of one command, `make demo` in a fresh environment included


@dataclass(frozen=True)
class Long:
    """A command that `make docs-check` runs.

    Attributes:
        pattern: of the command, without what starts Python.
        reason: why it is not among the tests.
        before: commands that make what it needs.
        changes: what is written otherwise, to end sooner.
    """

    pattern: str
    reason: str
    before: tuple[str, ...] = ()
    changes: tuple[tuple[str, str], ...] = ()


# Run in the tests, in this order, one after another in one folder.
SHORT = (
    r"simulate\.py demo",
    r"batch_feature_extraction\.py demo",
    r"seld\.py demo a",
    r"seld\.py --list",
    r"seld\.py small a",
    r"-m seld\.score runs/demo_a/fold1/submissions .*",
    r"-m docs\.settings_page docs/settings\.md",
)
TRAINS = "a training of its own"
LONG = (
    Long(r"make demo", "three minutes, in the checkout itself"),
    Long(r"seld\.py demo-wide a", "the demo's training on twice as many recordings"),
    Long(
        r"batch_feature_extraction\.py seldnet-foa --set dataset_dir=.*",
        "needs recordings",
        ("simulate.py seldnet-foa --set dataset_dir=data/tau2019",),
    ),
    Long(r"seld\.py (seldnet-foa|two-stage) (first|audio) --set dataset_dir=.*", TRAINS),
    Long(r"seld\.py demo b .*", TRAINS),
    Long(
        r"seld\.py demo a (--finish|--set training\.epochs=60)",
        TRAINS,
        ("seld.py demo a",),
        changes=(("epochs=60", "epochs=2"),),
    ),
    Long(r"seld\.py (seldnet20\S+|multi-accdoa-demo|accdoa-demo|einv2|salsa-foa) a", TRAINS),
    Long(r"task4_(crnn|cnn)\.py (?!kitchen|office)\S+ \S+( .*)?", TRAINS),
    Long(
        r"-m sed_task4\.segmentation\.mixing .*",
        "needs recordings",
        ("simulate.py segmentation --set dataset_dir=data/segmentation",),
    ),
    Long(r"task4_segmentation\.py segmentation first .*", TRAINS),
    Long(r"-m sed_task4\.segmentation\.segmenter .*", "needs a run of segmentation"),
    Long(r"-m sed_task4\.score runs/.*", "needs a run of the CNN", ("task4_cnn.py cnn9-demo a",)),
    Long(
        r"-m common\.cli\.evaluate runs/demo_a .*",
        "needs a run and recordings",
        tuple(
            f"simulate.py demo --set dataset_dir=recordings/{place}" for place in ("office", "home")
        ),
    ),
    Long(
        r"-m common\.cli\.compare runs/cnn9_first .*",
        "needs two runs",
        ("task4_cnn.py cnn9-synthetic-weak first --set dataset_dir=data/task4_2019",),
    ),
    Long(
        r"-m common\.cli\.tune demo .*",
        "a training for each trial",
        changes=(("--trials 30", "--trials 3"),),
    ),
    Long(
        r"-m common\.cli\.tune mean-teacher-demo .*",
        "a training for each trial",
        changes=(("--trials 6", "--trials 2"),),
    ),
    Long(
        r"-m common\.cli\.compare runs/mean-teacher-demo_a .*",
        "needs runs of the mean teacher",
        (
            "task4_crnn.py mean-teacher-demo a",
            "task4_crnn.py mean-teacher-demo b",
            "task4_crnn.py crnn-supervised-demo a",
        ),
    ),
    Long(
        r"-m common\.cli\.compare runs/multi-accdoa-demo_a .*",
        "needs runs of three systems",
        tuple(f"seld.py {task} a" for task in ("multi-accdoa-demo", "accdoa-demo", "einv2-demo")),
    ),
    Long(r"-m (common\.cli\.schema|docs\.draw_systems) .*", "loads every system"),
    Long(
        r"-m common\.cli\.check_dataset seldnet-foa .*",
        "needs recordings",
        ("simulate.py seldnet-foa --set dataset_dir=data/tau2019",),
    ),
    Long(r"predict\.py runs/demo_a (?!--live).*", "needs a run", ("seld.py demo a",)),
    Long(r"-m common\.cli\.export runs/demo_a .*", "needs a run", ("seld.py demo a",)),
    Long(r"-m common\.cli\.report runs/demo_a.*", "needs a run", ("seld.py demo a",)),
    Long(r"-m common\.cli\.compare runs/demo_a runs/demo_b.*", "two runs", ("seld.py demo a",)),
)
# Run neither there nor here.
ELSEWHERE = {
    r"make( PYTHON=\S+)? (setup|demo|test|check|bench|torch|lock|docs|docs-check|soak)": (
        "the checks themselves, or hours"
    ),
    r"-m benchmarks\.real_sounds .*": "own sounds: tests/test_real_sounds.py",
    r"-m benchmarks\..*": "tests/test_benchmarks.py runs each with --quick",
    r"(\S*/)?pip install .*": "tests/test_wheel.py installs the package",
    r"-m venv .*": "tests/test_wheel.py makes an environment",
    r"dcase train --write-params": "tests/seld/test_cli.py",
    r"dcase (--help|[a-z-]+)": "names only the program",
    r"conformance\.py .*": "test vectors that are not in the repository",
    r"-m common\.cli\.import_torch .*": "needs PyTorch: tests/common/cli/test_import_torch.py",
    r"-m (common\.cli\.(check_dataset|compare|tune)|sed_task4\.segmentation\.mixing)": (
        "names only the program"
    ),
    r"-m common\.cli\.download .*": "nothing is downloaded in tests",
    r"predict\.py .* --live( .*)?": "sound from a pipe: tests of predict.py",
    r".* (parallel\.address|run\.distribution)=.*": "a cluster: tests of several machines",
    r"-m (common\.cli\.check_dataset|seld\.score) .*\b(office|walks)\b.*": "own data",
    r"(batch_feature_extraction|seld)\.py .*\b(office|walks)\b.*": "own data",
    r"(simulate|batch_feature_extraction|task4_crnn)\.py (kitchen|office-clips)\b.*": "own data",
    r"(simulate|seld)\.py .* simulation\.source_dir=/data/.*": "own sounds",
    r"(-m common\.cli\.evaluate|predict\.py) runs/(demo_ours|demo-wide_a) .*": "own sounds",
    r"-m sed_task4\.score their/scores .*": "tests/sed_task4/scores/test_score_files.py",
    r"-m (sed_task4|seld)\.score found/dcase.*": "tests/common/cli/test_predict_files.py",
    r"-m tests\.(fuzz|soak)( .*)?": "`make soak`",
    r"-m tests\.architecture": "tests/test_layering.py",
    r"simulate\.py": "names only the program",
    r"-m dask( .*)?": "a cluster: tests of several machines",
}


def without_python(text: str) -> str:
    """A command without what starts Python, and without a pipe before it."""
    return re.sub(r"^(.* \| )?(\S*/)?python3?(\.\d+)? ", "", text)


def long_run(text: str) -> Long | None:
    """The entry of `LONG` for a command."""
    return next((entry for entry in LONG if re.fullmatch(entry.pattern, text)), None)


def is_listed(command: Command) -> bool:
    """True if a command is in one of the lists; forms of commands are not run."""
    text = without_python(command.text)
    patterns = [*SHORT, *(entry.pattern for entry in LONG), *ELSEWHERE]
    return command.is_form or any(re.fullmatch(pattern, text) for pattern in patterns)


SMALL_CLIPS = {
    "pipeline": {"batch_size": 2, "recordings_per_shard": 4},
    "scoring": {"sed_eval": False},
}
SMALL: dict[str, dict] = {
    "seldnet": {
        "dataset": {"recording_s": 6.0},
        "network": {"n_filters": 4, "gru_units": [6], "dense_units": [8]},
        "pipeline": {"sequence_frames": 50, "batch_size": 4},
        "training": {"passes_per_epoch": 1},
    },
    "two_stage": {
        "dataset": {"recording_s": 6.0},
        "network": {"filters": [4, 4], "gru_units": 4},
        "pipeline": {"sequence_frames": 104, "batch_size": 4},
        "training": {"iterations_per_epoch": 2, "stage_epochs": {"sed": 1, "doa": 1, "seld": 1}},
    },
    "accdoa": {
        "network": {"n_filters": 4, "gru_units": [8], "dense_units": [8], "attention_layers": 1},
        "pipeline": {"sequence_frames": 50, "batch_size": 2},
        "simulation": {"recordings_per_split": None},
    },
    "einv2": {
        "network": {"filters": [4, 4, 4, 8], "encoder_layers": 1, "encoder_units": 8},
        "pipeline": {"sequence_frames": 40, "batch_size": 2},
        "simulation": {"recordings_per_split": None},
    },
    "salsa_resnet": {
        "network": {"filters": [4, 4, 4, 8], "gru_units": 8},
        "pipeline": {"sequence_frames": 80, "sequence_hop_frames": None, "batch_size": 2},
        "simulation": {"recordings_per_split": None},
    },
    "small_cnn": {
        "dataset": {"recording_s": 6.0},
        "pipeline": {"sequence_frames": 50, "batch_size": 4},
    },
    "crnn_two_pass": {
        **SMALL_CLIPS,
        "network": {"n_filters": 4, "gru_units": [4]},
        "second_pass": {"epochs": 1, "batch_size": 2},
    },
    "mean_teacher": {
        **SMALL_CLIPS,
        "simulation": {"clips_per_subset": None},
        "network": {"n_filters": 4, "gru_units": [4]},
    },
    "cnn": {
        **SMALL_CLIPS,
        "network": {"filters": [2, 2, 2, 2]},
        "training": {"iterations_per_epoch": 2},
    },
    "tf_segmentation": {
        "dataset": (
            {"classes": ["Bark", "Knock", "Meow"], "clip_s": 3.0, "events_per_mixture": 1}
            | {"mixtures_per_fold": 4, "n_folds": 3}
        ),
        "folds": [{"name": "fold1", "train": [2], "validate_on": [3], "test": [1]}],
        "features": {"window_s": 0.128, "hop_s": 0.064, "n_fft": 4096, "n_mels": 32},
        "network": {"filters": [2, 2, 2, 2], "gwrp_decay": 0.99},
        "pipeline": {"sequence_frames": 45, "batch_size": 2},
        "training": {"iterations_per_epoch": 2, "training_recordings": 2},
    },
}
EVERYWHERE = {
    "simulate_missing_dataset": True,
    "simulation": {"preset": "fixture"},
    "parallel": {"jobs": 1},  # a process more takes longer to start than this work
    "training": {"epochs": 1, "schedule": {"fall": "none"}},
}


def prepare_folder(folder: Path) -> None:
    """Makes a folder to run commands in: a `params.yaml` of small tasks, and recordings."""
    tasks = all_tasks()
    small = {}
    for name in tasks:
        task = resolve(tasks, name)
        # Features of one kind have stores of one name, whatever the dataset.
        own = {"feature_dir": f"features/{Path(task['dataset_dir']).name}"}
        small[name] = merge(merge(task, EVERYWHERE | own), SMALL[task["system"]])
    settings = {"aliases": read_aliases(ROOT / "params.yaml"), "tasks": small}
    (folder / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    noise = np.random.default_rng(0).normal(0.0, 0.05, (4 * 48000, 4))
    soundfile.write(folder / "kitchen.wav", noise[:, 0], 48000)
    for name in ("kitchen.flac", "street.wav", "city/monday/a.flac", "city/tuesday/a.flac"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, noise, 48000)


def in_folder(text: str) -> str:
    """A command as it is run in such a folder: data are in it, not at the top of the disk."""
    return text.replace("/data/", "data/")


def run_command(text: str, folder: Path) -> subprocess.CompletedProcess:
    """Runs a command of the project in a folder, as a process of its own."""
    if text.startswith("make "):
        return subprocess.run(
            text.split(), cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    program, arguments = program_of(Command(ROOT, f"python {in_folder(text)}").words)
    start = [str(ROOT / program[0])] if program[0].endswith(".py") else list(program)
    variables = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    return subprocess.run(
        [sys.executable, *start, *arguments],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def planned(found: Sequence[Command]) -> list[str]:
    """The long commands of the pages, deduplicated, with those that must run first."""
    plan: list[str] = []
    for text in (without_python(command.text) for command in found if not command.is_form):
        entry = long_run(text)
        if entry is not None:
            for old, new in entry.changes:
                text = text.replace(old, new)
            plan += [*entry.before, text]
    return list(dict.fromkeys(plan))


def main() -> int:
    """Runs all long commands; returns 1 if one fails."""
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare_folder(folder)
        for text in planned(commands()):
            start_s = time.monotonic()
            result = run_command(text, folder)
            failed += result.returncode != 0
            verdict = "ok" if not result.returncode else f"FAILED with status {result.returncode}"
            print(f"{time.monotonic() - start_s:6.1f} s  {verdict}: {text}", flush=True)
            if result.returncode:
                print(f"{result.stdout[-2000:]}\n{result.stderr[-2000:]}", flush=True)
    print(f"{failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
