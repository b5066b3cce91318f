"""`load_run`, the entry for programs: the same events as the files of predict.py."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from common.audio.stream import FileSource
from common.errors import CheckpointError, ConfigError, DataError
from common.inference import load_run
from common.inference.formats import fields
from common.inference.outputs import predict_file
from common.training.stage import FINISHED
from tests.patience import PATIENCE_S
from tests.runs import CNN, SEGMENTATION, SHORT_SELDNET, noises, task_of, write_run

RATE_HZ = 8000
CLIPS = {"dataset__sample_rate_hz": RATE_HZ, "dataset__clip_s": 2.0, "features__fmax_hz": "null"}
EASY = {
    "decoding__tag_threshold": 0.3,
    "decoding__high_threshold": 0.5,
    "decoding__low_threshold": 0.45,
    "decoding__smooth_frames": 2,
    "decoding__salt_frames": 1,
}
MIXTURES = {"dataset__event_s": 0.5, "dataset__events_per_mixture": 1}
FAMILIES = {
    "seld": ("demo", SHORT_SELDNET, 4),
    "task 4": (
        "cnn9-demo",
        CNN | CLIPS | EASY | {"pipeline__sequence_frames": 128, "features__n_fft": 512},
        1,
    ),
    "segmentation": (
        "segmentation-demo",
        SEGMENTATION | CLIPS | EASY | MIXTURES | {"pipeline__sequence_frames": 30},
        1,
    ),
}


@pytest.fixture(scope="module", params=FAMILIES)
def case(request, tmp_path_factory):
    """A run of each family, and a recording for it."""
    folder = tmp_path_factory.mktemp("case")
    task_id, settings, channels = FAMILIES[request.param]
    statistics = {} if request.param == "seld" else {"mean": -30.0, "std": 15.0}
    run = write_run(task_of(task_id, folder, **settings), folder / "run", **statistics)
    audio = noises(4.3, RATE_HZ, channels)
    soundfile.write(folder / "a.wav", audio, RATE_HZ, "FLOAT")
    return run, folder / "a.wav", audio


def test_events_are_those_of_the_files_of_predict(case, tmp_path):
    folder, path, audio = case
    run = load_run(str(folder))
    predict_file(run.predictor, FileSource.open(path), tmp_path / "a", folder)
    written = json.loads((tmp_path / "a.json").read_text())["events"]
    of_file, of_array = run.predict(str(path)), run.predict(audio, rate_hz=RATE_HZ)
    assert len(of_file) > 2 and list(of_array) == list(of_file)
    assert [fields(event, run.predictor) for event in of_file] == [
        list(event.values()) for event in written
    ]
    has_directions = run.predictor.has_directions
    assert all((event.azimuth_deg is not None) == has_directions for event in of_file)
    assert all((event.elevation_deg is not None) == has_directions for event in of_file)
    assert {event.label for event in of_file} <= set(run.classes)


def test_arrays_of_another_rate_and_type_are_converted(case):
    folder, _, audio = case
    run = load_run(folder)
    integers = np.round(np.repeat(audio, 2, axis=0) * 32767).astype(np.int16)
    events = run.predict(integers, rate_hz=2 * RATE_HZ)
    assert events and all(0 <= event.onset_s < event.offset_s <= 4.31 for event in events)


def test_mistakes_are_refused_with_their_remedy(case, tmp_path):
    folder, path, audio = case
    with pytest.raises(CheckpointError, match=r"is .* a run directory"):
        load_run(tmp_path / "none")
    run = load_run(folder)
    with pytest.raises(ConfigError, match="`rate_hz`: expected with arrays"):
        run.predict(audio)
    with pytest.raises(ConfigError, match="`rate_hz`: expected with arrays"):
        run.predict(path, rate_hz=RATE_HZ)
    with pytest.raises(DataError, match=r"none\.wav"):
        run.predict(tmp_path / "none.wav")
    if run.channels is not None:
        soundfile.write(tmp_path / "mono.wav", audio[:, :1], RATE_HZ)
        for given in ({"audio": tmp_path / "mono.wav"}, {"audio": audio[:, :1], "rate_hz": 8000}):
            with pytest.raises(DataError, match=r"Expected: .*4"):
                run.predict(**given)


def test_unfinished_runs_are_refused(tmp_path):
    task_id, settings, _ = FAMILIES["task 4"]
    folder = write_run(task_of(task_id, tmp_path, **settings), tmp_path / "run")
    (folder / "cnn" / FINISHED).unlink()
    with pytest.raises(CheckpointError, match="no finished training"):
        load_run(folder)


def test_keras_is_loaded_with_a_run_not_the_module():
    code = "import sys, common.inference; print({'keras', 'tensorflow'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert result.stdout.strip() == "set()", result.stderr
