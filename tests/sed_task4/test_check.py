"""Checker on clips with one fault each; other classes and rates need no code."""

from pathlib import Path

import numpy as np
import pytest

from common.audio.files import write_wav
from common.cli.check_dataset import check_dataset
from common.settings.tasks import load_task

PARAMS = Path(__file__).parents[2] / "params.yaml"
SETTINGS = (
    "dataset={classes: [a, b], sample_rate_hz: 16000, clip_s: 1.0}",
    "parallel.jobs=1",
    "features.fmax_hz=8000",
)
WEAK, VALIDATION = "metadata/train/weak.tsv", "metadata/validation/validation.tsv"


@pytest.fixture
def root(tmp_path) -> Path:
    """Two weakly and two strongly labelled clips of a second, in the layout of 2019."""
    texts = {
        WEAK: "filename\tevent_labels\nw1.wav\ta\nw2.wav\ta,b\n",
        VALIDATION: (
            "filename\tonset\toffset\tevent_label\nv1.wav\t0\t0.5\ta\nv1.wav\t0.2\t1\tb\nv2.wav\t0\t1\tb\n"
        ),
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for number, name in enumerate(
        ("train/weak/w1", "train/weak/w2", "validation/v1", "validation/v2")
    ):
        audio = np.random.default_rng(number).uniform(-0.1, 0.1, (8000, 1))
        write_wav(tmp_path / "audio" / f"{name}.wav", audio, 8000)
    return tmp_path


def findings(root: Path, *overrides: str, deep: bool = False) -> list[tuple[str, str]]:
    task = load_task(PARAMS, "cnn9", [*SETTINGS, f"dataset_dir={root}", *overrides])
    return [(each.level, each.text) for each in check_dataset(task, deep).findings]


@pytest.mark.parametrize("deep", [False, True])
def test_a_good_dataset_has_no_finding(root, deep):
    assert findings(root, deep=deep) == []


@pytest.mark.parametrize(
    ("path", "text", "level", "message"),
    [
        (WEAK, "filename\tevent_labels\nw1.wav\tc\n", "error", "line 2: unknown class 'c'"),
        (
            WEAK,
            "filename\tevent_labels\nw1.wav\ta\nw2.wav\t\n",
            "warning",
            "1 clip(s) are listed without any event",
        ),
        (
            WEAK,
            "filename\tevent_labels\nw1.wav\ta\nw2.wav\ta\n",
            "warning",
            "weak: no event of 1 class(es)",
        ),
        (
            WEAK,
            "filename\tevent_labels\nw1.wav\ta,b\nw3.wav\ta\n",
            "warning",
            "1 clips in the metadata have no audio",
        ),
        (
            WEAK,
            "filename\tevent_labels\nw1.wav\ta,b\n",
            "warning",
            "are in no metadata that the task reads: w2.wav",
        ),
        (
            VALIDATION,
            "filename\tonset\toffset\tevent_label\nv1.wav\t0\t1\ta\nv1.wav\t0.5\t1\ta\nv2.wav\t0\t1\tb\n",
            "warning",
            "1 clip(s) have events of one class at the same time: v1.wav",
        ),
        (
            VALIDATION,
            "filename\tonset\toffset\tevent_label\nv1.wav\t0.5\t0.2\ta\n",
            "error",
            "onset <= offset",
        ),
    ],
)
def test_wrong_or_odd_labels_are_reported(root, path, text, level, message):
    (root / path).write_text(text)
    assert any(each == level and message in sentence for each, sentence in findings(root))


def test_a_clip_in_training_and_test_is_an_error(root):
    (root / "audio/validation/w1.wav").write_bytes((root / "audio/train/weak/w1.wav").read_bytes())
    with (root / VALIDATION).open("a") as file:
        file.write("w1.wav\t0\t1\ta\n")
    reported = findings(root, deep=True)
    assert any(
        level == "error" and "1 clip(s) are in the training and in the validation data" in text
        for level, text in reported
    )
    assert any(
        level == "error" and "w1.wav (validation) = w1.wav (weak)" in text
        for level, text in reported
    )


@pytest.mark.parametrize(("skips", "level"), [("false", "error"), ("true", "warning")])
def test_an_unreadable_clip_is_an_error_unless_left_out(root, skips, level):
    (root / "audio/train/weak/w2.wav").write_bytes(b"no sound")
    reported = findings(root, f"dataset.skip_unreadable={skips}")
    assert [(each, "1 file(s) cannot be read" in text) for each, text in reported] == [
        (level, True)
    ]


def test_a_missing_dataset_is_an_error_with_a_remedy(tmp_path):
    assert all(
        level == "error" and "There is no dataset" in text for level, text in findings(tmp_path)
    )
    assert len(findings(tmp_path)) == 2
