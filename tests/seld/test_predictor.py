"""Predictions of SELD runs, block by block, equal its evaluation of whole recordings."""

import copy
import json
import math

import numpy as np
import pytest
import soundfile

from common.audio.stream import FileSource
from common.cli.predict import load_predictor
from common.data.extraction import Item
from common.data.pipeline import evaluation_stream
from common.data.selection import Selection
from common.data.tfrecord import write_shard
from common.errors import CheckpointError, ConfigError, DataError
from common.inference.outputs import predict_file
from common.inference.windows import Window, Windows
from common.training.ensemble import Ensemble
from common.training.evaluation import predict_recordings
from common.training.stage import BEST, FINISHED, load_model
from common.training.stage_data import ModelInput
from common.training.system import parts
from seld.averages import average_outputs
from seld.dataset import Recording
from seld.experiment import Experiment
from seld.extraction import ExampleMaker, example_schema
from seld.predictor import RowOutputs, TrackDecoder
from tests.runs import SELDNET, TWO_STAGE, noises, task_of, write_run

RATE_HZ, SECONDS = 16000, 13.3
COMMON = {
    "dataset__sample_rate_hz": RATE_HZ,
    "dataset__recording_s": SECONDS,
    "features__n_fft": 1024,
}
SMALL_SELDNET = COMMON | SELDNET | {"pipeline__sequence_frames": 50}
SMALL_TWO_STAGE = (
    COMMON
    | TWO_STAGE
    | {
        "features__sample_rate_hz": 8000,
        "features__n_fft": 512,
        "features__gcc_n_fft": 512,
        "features__n_mels": 16,
        "pipeline__sequence_frames": 102,
        "network__round_to_deg": 0.01,
    }
)
DEVICE = {"features__frontend": "device"}
PUBLISHED = {"features__window_s": 0.04, "network__pool_bands": "[8, 8, 4]"}


def write_recording(path, seconds=SECONDS, rate_hz=RATE_HZ, channels=4):
    soundfile.write(path, noises(seconds, rate_hz, channels), rate_hz)
    return path


def evaluated(task, run, path):
    """Rows of the recording as the run's evaluation of test recordings makes them, from a shard."""
    experiment = Experiment.prepare(task)
    recording = Recording(path.stem, 1, None, None, path, None)
    arrays = ExampleMaker(task.dataset, task.features)(Item(path.stem, "1", (path,), recording))
    schema, shard = example_schema(task.dataset, task.features), path.with_suffix(".tfrecord")
    write_shard(shard, [(path.stem, {name: arrays[name] for name in schema.arrays})], schema)
    stages = next(iter(parts(experiment.system.stages(task)).values()))
    trained = [(stage, load_model(run / "fold1" / stage.name / BEST)) for stage in stages]
    stage = stages[-1]
    inputs = ModelInput(experiment.frontend, task.features.interleaved_channels)
    selection = Selection.of_shards([shard], schema)
    stream = evaluation_stream(selection, inputs.sequence_format(stage), task.pipeline)
    (prediction,) = predict_recordings(Ensemble([trained]), stream)
    return experiment.decode(prediction, stage)


def predicted(run, path, target, **options):
    """Files that `predict_file` writes for a recording."""
    predict_file(load_predictor(run, **options), FileSource.open(path), target, run)
    return json.loads(target.with_suffix(".json").read_text())


CASES = {
    "published": ("1-published", SMALL_SELDNET | PUBLISHED),
    "audio": ("demo", SMALL_SELDNET | DEVICE),
    "two stages": ("two-stage-demo", SMALL_TWO_STAGE | {"network__architecture": "vgg9"}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_recording_in_blocks_is_decoded_as_in_evaluation(tmp_path, case):
    task_id, settings = CASES[case]
    task = task_of(
        task_id,
        tmp_path,
        folds="[{name: fold1, train: [1], validate_on: [2], test: [3]}]",
        **settings,
    )
    run = write_run(
        task, tmp_path / "run", **({"mean": 0.5, "std": 1.0} if case == "published" else {})
    )
    path = write_recording(tmp_path / "a.wav")
    expected = evaluated(task, run, path)
    written = predicted(run, path, tmp_path / "out" / "a")
    assert len(expected) > 100 and len(written["events"]) > 10
    np.testing.assert_allclose(np.array(written["frames"]), np.round(expected, 2), atol=0.02)
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [
        "a.json",
        "a.png",
        "a.tsv",
    ]
    lines = (tmp_path / "out" / "a.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["onset", "offset", "label", "score", "azimuth", "elevation"]
    assert [line.split("\t")[2] for line in lines[1:]] == [
        event["label"] for event in written["events"]
    ]


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory):
    """A two-stage run with recurrent layers in two folds."""
    folder = tmp_path_factory.mktemp("recurrent")
    folds = (
        "[{name: a, train: [1], validate_on: [2], test: [3]}, {name: b, train: [2], validate_on:"
        " [3], test: [1]}]"
    )
    task = task_of("two-stage-demo", folder, folds=folds, **SMALL_TWO_STAGE)
    return write_run(task, folder / "run")


@pytest.fixture(scope="module")
def of_fold_a(recurrent):
    return load_predictor(recurrent, "a")


@pytest.fixture(scope="module")
def seldnet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seldnet")
    return load_predictor(write_run(task_of("demo", folder, **SMALL_SELDNET), folder / "run"))


def changed(predictor, **attributes):
    """A predictor with other attributes or methods."""
    changed = copy.copy(predictor)
    for name, value in attributes.items():
        setattr(changed, name, value)
    return changed


def outputs_of(predictor, audio, live=False):
    """The outputs that count, of all windows one after another."""
    found = []

    class Collector:
        def push(self, window, outputs, duration_s):
            part = slice(window.first - window.start, window.end - window.start)
            found.append({name: value[part] for name, value in outputs.items()})
            return []

        def finish(self, n_frames, duration_s):
            return []

    session = changed(predictor, new_decoder=Collector).stream(live)
    for start in range(0, len(audio), 5000):
        session.feed(audio[start : start + 5000])
    session.finish()
    return {name: np.concatenate([each[name] for each in found]) for name in found[0]}


def test_recurrent_layers_need_less_context_than_the_windows_give(recurrent, of_fold_a):
    """Windows of longer recordings are approximate with recurrent layers: bounds of the error."""
    audio = noises(3 * SECONDS, 8000, 4)
    for live, tolerance in (
        (False, 2e-3),
        (True, 1e-2),
    ):  # outputs are of about 1; live windows have less context
        predictor = load_predictor(recurrent, "a", live) if live else of_fold_a
        whole = outputs_of(changed(predictor, windows=Windows(10_000)), audio)
        found = outputs_of(predictor, audio, live)
        for name in ("sed", "doa"):
            assert len(whole[name]) > 2 * predictor.windows.frames
            assert whole[name].std() > 0.01
            np.testing.assert_allclose(found[name], whole[name], atol=tolerance)


def test_recordings_of_the_datasets_length_are_one_window(of_fold_a):
    audio = noises(SECONDS, 8000, 4)
    found = [
        outputs_of(each, audio) for each in (of_fold_a, changed(of_fold_a, windows=Windows(10_000)))
    ]
    np.testing.assert_array_equal(found[0]["doa"], found[1]["doa"])


def test_folds_are_averaged_or_chosen(recurrent, of_fold_a):
    run = recurrent
    of_fold = {
        fold: outputs_of(predictor, noises(3, 8000, 4))["sed"]
        for fold, predictor in (("a", of_fold_a), ("b", load_predictor(run, "b")))
    }
    together = outputs_of(load_predictor(run), noises(3, 8000, 4))["sed"]
    np.testing.assert_allclose(together, (of_fold["a"] + of_fold["b"]) / 2, atol=1e-5)
    assert np.abs(of_fold["a"] - of_fold["b"]).max() > 0.01
    with pytest.raises(ConfigError, match=r"--fold: expected one of a, b\. Received: c"):
        load_predictor(run, "c")


def test_azimuths_of_folds_are_averaged_on_the_circle():
    sed = np.array([[0.2, 0.4]])
    east, west = (
        {"sed": sed * n, "doa": np.array([[n * 3.0, 0.1, 0.2 * n, 0.4]])} for n in (1, -1)
    )
    mean = average_outputs([east, west])
    np.testing.assert_allclose(np.abs(mean["doa"]), [[np.pi, 0.1, 0.0, 0.4]], atol=1e-12)
    vectors = [{"sed": sed, "doa": np.full((1, 6), value)} for value in (0.2, 0.4)]
    np.testing.assert_allclose(average_outputs(vectors)["doa"], 0.3)


def test_recordings_of_another_array_and_folds_without_models_are_refused(
    recurrent, tmp_path, caplog
):
    run = recurrent
    mono = write_recording(tmp_path / "mono.wav", 1, channels=1)
    with pytest.raises(DataError, match="Expected: 4, those of the array"):
        predicted(run, mono, tmp_path / "out" / "mono", fold="a")
    assert not list((tmp_path / "out").iterdir())
    (run / "b" / "doa" / FINISHED).unlink()
    with pytest.raises(CheckpointError, match="no finished training"):
        load_predictor(run, "b")
    assert len(load_predictor(run).models.folds) == 1
    assert "Folds without a trained model are left out: b." in caplog.text


def test_detection_only_gives_no_directions_and_directions_only_no_events(tmp_path):
    path = write_recording(tmp_path / "a.wav", 3)
    settings = SMALL_TWO_STAGE | {"network__architecture": "vgg9"}
    run = write_run(
        task_of("two-stage-demo", tmp_path, network__mode="sed_only", **settings), tmp_path / "run"
    )
    soundfile.write(tmp_path / "silence.wav", np.zeros((RATE_HZ, 4)), RATE_HZ)
    written = predicted(run, path, tmp_path / "a")
    assert "frames" in predicted(run, tmp_path / "silence.wav", tmp_path / "silence")
    assert set(written["events"][0]) == {"onset", "offset", "label", "score"}
    assert written["columns"] == ["frame", "class"] and len(written["frames"][0]) == 2
    text = (run / "settings.yaml").read_text().replace("mode: sed_only", "mode: doa_only")
    (run / "settings.yaml").write_text(text)
    with pytest.raises(ConfigError, match="learned directions only"):
        load_predictor(run)


@pytest.mark.parametrize("name", ["seldnet", "of_fold_a"])
def test_recordings_of_few_samples_have_table_and_figure(tmp_path, request, name):
    predictor = request.getfixturevalue(name)
    for samples, rate_hz in ((1, RATE_HZ), (7, RATE_HZ), (1, 48000), (100, 48000)):
        soundfile.write(tmp_path / "a.wav", np.full((samples, 4), 0.1), rate_hz)
        out = tmp_path / f"{samples}_{rate_hz}"
        predict_file(predictor, FileSource.open(tmp_path / "a.wav"), out / "a", tmp_path)
        assert sorted(path.name for path in out.iterdir()) == ["a.json", "a.png", "a.tsv"]


def test_arrays_must_have_the_channels_of_the_array(seldnet):
    for array, message in (
        (np.zeros((4, 100)), r"Expected: \(samples, 4\)\. Received: \(4, 100\)\. Turn it"),
        (np.zeros(100), r"Expected: \(samples, 4\)\. Received: \(100,\)"),
        (np.zeros((100, 2)), r"Received: \(100, 2\)"),
    ):
        with pytest.raises(DataError, match=message):
            seldnet.stream().feed(array)
    with pytest.raises(DataError, match="shorter than one sample"):
        seldnet.stream().finish()


def track_decoder(hop_ratio=1.0, stride=1, grid=2):
    """A decoder for two classes whose azimuths and elevations, in degrees, are the outputs."""

    def decode(outputs, n_frames):
        source = np.minimum(
            np.floor(np.arange(n_frames) * hop_ratio).astype(int) // stride, len(outputs["sed"]) - 1
        )
        frame, k = np.nonzero(outputs["sed"][source] > 0.5)
        at = source[frame]
        return np.column_stack([frame, k, outputs["doa"][at, k], outputs["doa"][at, k + 2]]).astype(
            float
        )

    return TrackDecoder(decode, stride, hop_ratio, 0.1, ("bark", "cough"), grid, RowOutputs())


def test_an_event_has_the_mean_direction_of_its_frames():
    sed = np.array([[0.9, 0], [0.7, 0], [0, 0], [0, 0.6], [0, 0.6], [0, 0.8]])
    doa = np.array([[170, 0, 10, 0], [-170, 0, 10, 0], *[[0, 45, 0, 20]] * 4])
    decoder = track_decoder()
    first = decoder.push(Window(0, 4, 0, 4), {"sed": sed[:4], "doa": doa[:4]})
    second = decoder.push(Window(4, 6, 4, 6), {"sed": sed[4:], "doa": doa[4:]})
    last = decoder.finish(6, 0.55)
    events = [event for part in (first, second, last) for event in part.events]
    assert [(event.label, event.onset_s, event.offset_s) for event in events] == [
        ("bark", 0.0, 0.2),
        ("cough", pytest.approx(0.3), 0.55),
    ]
    assert abs(events[0].azimuth_deg) == pytest.approx(180) and events[0].elevation_deg > 10
    assert events[0].score == pytest.approx(0.8) and events[1].score == pytest.approx(2 / 3)
    assert (events[1].azimuth_deg, events[1].elevation_deg) == (
        pytest.approx(45),
        pytest.approx(20),
    )
    assert np.concatenate([part.rows for part in (first, second, last)])[:, 0].tolist() == [
        0,
        1,
        3,
        4,
        5,
    ]


@pytest.mark.parametrize(
    ("hop_ratio", "stride", "grid"), [(1.0, 1, 2), (2.0, 1, 4), (1.0, 5, 10), (1.5, 3, 6)]
)
def test_outputs_in_pieces_give_the_rows_of_the_whole(hop_ratio, stride, grid):
    rng = np.random.default_rng(0)
    n_frames = 30 * stride * grid + 1
    outputs = {
        "sed": rng.uniform(size=(-(-n_frames // stride), 2)),
        "doa": rng.uniform(size=(n_frames, 4)),
    }
    decoder, rows = track_decoder(hop_ratio, stride, grid), []
    step = 3 * stride
    for start in range(0, n_frames, step):
        part = slice(start // stride, -(-min(start + step, n_frames) // stride))
        window = Window(start, start + step, start, min(start + step, n_frames))
        rows.append(
            decoder.push(window, {name: value[part] for name, value in outputs.items()}).rows
        )
    rows.append(decoder.finish(n_frames, n_frames * 0.1 / hop_ratio).rows)
    whole = track_decoder(hop_ratio, stride, grid)
    whole.push(Window(0, n_frames, 0, n_frames), outputs)
    expected = whole._decode(outputs, math.ceil(n_frames / hop_ratio))  # begun frames count
    np.testing.assert_array_equal(np.concatenate(rows), expected)
