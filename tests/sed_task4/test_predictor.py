"""Predictions of task-4 runs: single clips as in the evaluation, longer recordings in windows."""

import json
from functools import cache

import numpy as np
import pytest
import soundfile

from common.audio.files import read_mono
from common.audio.stream import FileSource
from common.cli.predict import load_predictor
from common.cli.predict import main as predict
from common.data.extraction import Item
from common.data.pipeline import evaluation_stream
from common.data.selection import Selection
from common.data.tfrecord import write_shard
from common.errors import ConfigError, DataError
from common.inference.outputs import predict_file
from common.training.evaluation import predict_recordings
from common.training.stage import BEST, load_model
from common.training.stage_data import ModelInput
from sed_task4.dataset import Clip
from sed_task4.experiment import MEDIANS, THRESHOLDS, Experiment
from sed_task4.extraction import ExampleMaker, example_schema
from sed_task4.segmentation.segmenter import Segmenter
from sed_task4.segmentation.segmenter import main as separate
from tests.runs import CNN, CRNN, SEGMENTATION, noises, task_of, write_run

RATE_HZ = 8000
SIZES = {"dataset__sample_rate_hz": RATE_HZ, "dataset__clip_s": 2.0, "features__fmax_hz": "null"}
# Magnitudes, levels scaled clip by clip, and output frames decoded as in 2023.
LEVELS = {
    "features__kind": "mel_desed",
    "features__n_mels": 64,
    "pipeline__sequence_frames": 126,
    "pipeline__padding": "repeat",
    "network__pool_frames": "[2, 1, 1]",
    "decoding__median_edges": "reflect",
    "decoding__threshold_rule": "exceeded",
    "decoding__median_of": "scores",
    "decoding__frame_stride": 2,
    "decoding__search_medians": "true",
}
MIXTURES = {"dataset__event_s": 0.5, "dataset__events_per_mixture": 1}
SMALL = {
    "crnn": (
        "crnn-demo",
        CRNN | SIZES | {"pipeline__sequence_frames": 100, "decoding__median_frames": 5},
    ),
    "cnn": ("cnn9-demo", CNN | SIZES | {"pipeline__sequence_frames": 128, "features__n_fft": 512}),
    "cnn, audio": (
        "cnn9-demo",
        CNN | SIZES | {"pipeline__sequence_frames": 128, "features__frontend": "device"},
    ),
    "crnn, 0 dB": ("crnn-demo", CRNN | SIZES | LEVELS | {"features__pad_value": "zero_db"}),
    "crnn, levels of audio": (
        "crnn-demo",
        CRNN | SIZES | LEVELS | {"features__frontend": "device"},
    ),
    "segmentation": (
        "segmentation-demo",
        SEGMENTATION | SIZES | MIXTURES | {"pipeline__sequence_frames": 30},
    ),
}
MEDIAN_FRAMES = (1, 3, 5, 7, 9, 3, 3, 5, 1, 3)
EASY = {
    "decoding__tag_threshold": 0.3,
    "decoding__high_threshold": 0.5,
    "decoding__low_threshold": 0.45,
}
EASY |= {"decoding__smooth_frames": 2, "decoding__salt_frames": 1}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each system."""
    folder, found = tmp_path_factory.mktemp("runs"), {}
    for name, (task_id, settings) in SMALL.items():
        settings = settings | ({} if name.startswith("crnn") else EASY)
        task = task_of(task_id, folder, **settings)
        mean, std = (-3.0, 2.0) if name == "crnn" else (-30.0, 15.0)
        mean, std = (0.0, 0.4) if task.features.entry.is_linear else (mean, std)
        run = write_run(task, folder / name, mean=mean, std=std)
        found[name] = task, run
        for stage in ("pass1", "pass2") if name.startswith("crnn") else ():
            (run / stage / THRESHOLDS).write_text(json.dumps(named([0.2] * 10, task)))
            (run / stage / MEDIANS).write_text(json.dumps(named(MEDIAN_FRAMES, task)))
    return found


def named(values, task):
    return dict(zip(task.dataset.classes, values, strict=True))


@pytest.fixture(scope="module")
def predictor_of(runs):
    """Returns a function from the name of a run to its predictor, which is loaded once."""
    return cache(lambda name: load_predictor(runs[name][1]))


@pytest.fixture
def predictor(predictor_of):
    """Of the CNN."""
    return predictor_of("cnn")


@pytest.fixture
def no_figures(monkeypatch):
    """No figures, which take most of the time: other tests look at them."""
    monkeypatch.setattr("common.inference.outputs.save_figure", lambda _, path: path.touch())


def write_recording(path, seconds, rate_hz=RATE_HZ, channels=1):
    soundfile.write(path, noises(seconds, rate_hz, channels), rate_hz)
    return path


def evaluated(task, run, stage, path):
    """Events of a clip as the run's evaluation finds them, from a shard."""
    experiment = Experiment.prepare(task)
    item = Item(path.name, "x", (path,), Clip(path.name, "x", path, None, None))
    arrays = ExampleMaker(task.dataset, task.features)(item)
    schema, shard = example_schema(task.dataset, task.features), path.with_suffix(".tfrecord")
    write_shard(shard, [(path.name, {name: arrays[name] for name in schema.arrays})], schema)
    model = load_model(run / stage.name / BEST)
    padding = np.full((64, 1), -3.0, np.float32) if task.pipeline.padding == "mean" else None
    sequence_format = ModelInput(experiment.frontend).sequence_format(stage, padding)
    pipeline = task.pipeline.model_copy(update={"whole_recordings": False})
    stream = evaluation_stream(Selection.of_shards([shard], schema), sequence_format, pipeline)
    (prediction,) = predict_recordings(model, stream)
    clip = experiment.clip_result(prediction, {path.name: soundfile.info(path).duration})
    thresholds, decoding = np.full(task.dataset.n_classes, 0.2), task.clip_decoding
    if decoding.search_medians:
        decoding = decoding.model_copy(update={"median_frames": MEDIAN_FRAMES})
    return experiment.new_clip_scorer(thresholds, decoding).update(
        clip.name, clip.frames, clip.clip, duration_s=clip.duration_s
    )


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("crnn", 2.0),
        ("crnn", 1.1),
        ("cnn", 1.1),
        ("cnn, audio", 2.0),
        ("crnn, 0 dB", 1.1),
        ("crnn, levels of audio", 1.1),
    ],
)
def test_a_clip_is_decoded_as_its_own_evaluation_does(runs, predictor_of, tmp_path, name, seconds):
    task, run = runs[name]
    path = write_recording(tmp_path / "a.wav", seconds)
    stage = Experiment.prepare(task).system.stages(task)[-1]
    expected = evaluated(task, run, stage, path)
    predict_file(predictor_of(name), FileSource.open(path), tmp_path / "out" / "a", run)
    written = json.loads((tmp_path / "out" / "a.json").read_text())
    classes = list(task.dataset.classes)
    found = [
        (classes.index(each["label"]), each["onset"], each["offset"]) for each in written["events"]
    ]
    assert len(found) > 2
    np.testing.assert_allclose(sorted(found), sorted(map(tuple, expected.tolist())), atol=1e-5)
    assert set(written["tags"]) == set(classes) and "frames" not in written
    assert (tmp_path / "out" / "a.tsv").read_text().startswith("onset\toffset\tlabel\tscore\n0")


@pytest.mark.parametrize("name", ["crnn", "cnn, audio"])
def test_streaming_in_small_pieces_gives_the_same_events(predictor_of, name):
    predictor, audio, found = predictor_of(name), noises(9.3, RATE_HZ, 1), []
    for live, block in ((True, 500), (False, 80_000)):
        session = predictor.stream(live)
        parts = [
            session.feed(audio[start : start + block]) for start in range(0, len(audio), block)
        ]
        outputs = [each for part in [*parts, session.finish()] for each in part]
        found.append(
            sorted(
                (e.onset_s, e.offset_s, e.label, e.score) for each in outputs for e in each.events
            )
        )
    assert len(found[0]) > 5
    assert [each[:3] for each in found[0]] == [each[:3] for each in found[1]]
    np.testing.assert_allclose(
        [each[3] for each in found[0]], [each[3] for each in found[1]], atol=1e-4
    )


@pytest.mark.usefixtures("no_figures")
def test_segmentation_detects_the_separated_classes(runs, predictor_of, tmp_path):
    task, run = runs["segmentation"]
    path = write_recording(tmp_path / "a.wav", 9.3, 16000, 3)
    segmented = Segmenter.load(run)(read_mono(path, RATE_HZ)[:, 0])
    predict_file(predictor_of("segmentation"), FileSource.open(path), tmp_path / "a", run)
    written = json.loads((tmp_path / "a.json").read_text())
    classes = list(task.dataset.classes)
    found = [
        (classes.index(each["label"]), each["onset"], each["offset"]) for each in written["events"]
    ]
    assert len(found) > 2
    np.testing.assert_allclose(
        sorted(found), sorted(map(tuple, segmented.events.tolist())), atol=1e-5
    )
    np.testing.assert_allclose(list(written["tags"].values()), segmented.tags, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in SMALL if name != "crnn, levels of audio"])
def test_recordings_of_a_few_samples_are_predicted(predictor_of, tmp_path, name):
    predictor = predictor_of(name)
    for samples, rate_hz in ((7, RATE_HZ), (1, 48000)):
        soundfile.write(tmp_path / "a.wav", np.full((samples, 1), 0.1), rate_hz)
        out = tmp_path / f"{samples}_{rate_hz}"
        predict_file(predictor, FileSource.open(tmp_path / "a.wav"), out / "a", tmp_path)
        assert sorted(path.name for path in out.iterdir()) == ["a.json", "a.png", "a.tsv"]
        assert (out / "a.png").stat().st_size
        events = json.loads((out / "a.json").read_text())["events"]
        assert all(event["offset"] <= samples / rate_hz + 1 / RATE_HZ for event in events)


def test_unusable_recordings_do_not_stop_the_others(runs, tmp_path, capsys):
    damaged = noises(2.0, RATE_HZ, 1)
    damaged[9000] = np.nan
    soundfile.write(tmp_path / "a.wav", damaged, RATE_HZ, "FLOAT")
    soundfile.write(tmp_path / "b.wav", np.zeros((0, 1)), RATE_HZ)
    soundfile.write(tmp_path / "c.wav", np.full((1, 1), 0.1), RATE_HZ)
    write_recording(tmp_path / "d.wav", 1.0)
    recordings = [str(tmp_path / f"{name}.wav") for name in "abcd"]
    for program, run in ((predict, "cnn"), (separate, "segmentation")):
        out = tmp_path / f"{program.__module__}_{run}"
        assert program([str(runs[run][1]), *recordings, "--out", str(out)]) == 4
        errors = capsys.readouterr().err
        assert "not finite" in errors and "Empty recording" in errors
        made = sorted(path.name for path in out.iterdir())
        predicted = [f"{name}.{kind}" for name in "cd" for kind in ("json", "png", "tsv")]
        assert made == (["d"] if program is separate else predicted)


def events_of(predictor, arrays, **options):
    """Labels and times of the events in arrays that are fed one after another."""
    session = predictor.stream(**options)
    parts = [*(session.feed(array) for array in arrays), session.finish()]
    events = [event for part in parts for output in part for event in output.events]
    return [(event.label, round(event.onset_s, 3), round(event.offset_s, 3)) for event in events]


FORMS = "flat", "float64", "int16", ">i2", "int32", "list", "stereo", "pieces", "noncontiguous"


@pytest.mark.parametrize("form", FORMS)
def test_arrays_of_any_type_give_the_events_of_the_file(predictor, form):
    whole = np.round(noises(4.3, RATE_HZ, 1) * 32768) / 32768
    integers = np.round(whole * 32768).astype(np.int16)
    arrays = {
        "flat": [whole[:, 0]],
        "float64": [whole.astype(np.float64)],
        "int16": [integers],
        ">i2": [integers.astype(">i2")],
        "int32": [integers.astype(np.int32) * 65536],
        "list": [whole[:, 0].tolist()],
        "stereo": [np.repeat(whole, 2, 1)],
        "pieces": np.array_split(integers[:, 0], 70),
        "noncontiguous": [np.repeat(whole, 2, 0)[::2]],
    }[form]
    expected = events_of(predictor, [whole.astype(np.float32)])
    assert len(expected) > 2 and events_of(predictor, arrays) == expected


@pytest.mark.usefixtures("no_figures")
def test_quiet_16_bit_noise_has_the_level_of_a_file(predictor, tmp_path):
    integers = np.random.default_rng(0).integers(-2, 3, (4 * RATE_HZ, 1)).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", integers, RATE_HZ)
    predict_file(predictor, FileSource.open(tmp_path / "a.wav"), tmp_path / "a", tmp_path)
    expected = [event["label"] for event in json.loads((tmp_path / "a.json").read_text())["events"]]
    assert sorted(label for label, *_ in events_of(predictor, [integers])) == sorted(expected)


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("rate_hz", [44100, np.int64(48000), 8000.0])
def test_arrays_of_another_rate_are_resampled_as_files_are(predictor, tmp_path, rate_hz):
    audio = noises(4.3, int(rate_hz), 1)
    soundfile.write(tmp_path / "a.wav", audio, int(rate_hz), "FLOAT")
    predict_file(predictor, FileSource.open(tmp_path / "a.wav"), tmp_path / "a", tmp_path)
    written = json.loads((tmp_path / "a.json").read_text())["events"]
    found = events_of(predictor, np.array_split(audio, 33), sample_rate_hz=rate_hz)
    assert sorted(found) == sorted(
        (e["label"], round(e["onset"], 3), round(e["offset"], 3)) for e in written
    )


@pytest.mark.parametrize(
    ("array", "n_before", "message"),
    [
        (np.zeros((1, 8000)), 0, "Turn it"),
        (
            np.zeros((2, 3, 1)),
            0,
            r"Expected: \(samples, channels\) or \(samples,\)\. Received: \(2, 3, 1\)",
        ),
        (np.float32(0), 0, "Wrong shape"),
        ([[0.0], [0.0, 1.0]], 0, "Wrong shape"),
        (np.zeros(9, np.int64), 0, "Expected: floats in .*int16, int32 or uint8. Received: int64"),
        (np.zeros(9, np.uint16), 0, "Received: uint16"),
        (np.zeros(9, bool), 0, "Received: bool"),
        (np.zeros(9, complex), 0, "Received: complex128"),
        (np.array(["a"]), 0, "Wrong type"),
        (np.array([0.0, np.nan]), 100, r"not finite in the array, sample 101, channel 0"),
        (
            np.array([0.0, 0.0, 300.0]),
            100,
            r"outside \[-1, 1\] in the array, sample 102, channel 0",
        ),
        (np.zeros((9, 2)), 100, r"Expected: \(samples, 1\)"),
    ],
)
def test_arrays_that_are_no_audio_are_refused_with_the_reason(predictor, array, n_before, message):
    session = predictor.stream()
    if n_before:
        session.feed(np.zeros(n_before))
    with pytest.raises(DataError, match=message):
        session.feed(array)


@pytest.mark.parametrize("rate_hz", [0, 999, 2_000_000, 44100.5, True, "44100"])
def test_a_rate_that_no_sound_has_is_refused(predictor, rate_hz):
    with pytest.raises(ConfigError, match="`sample_rate_hz`: expected a whole number"):
        predictor.stream(sample_rate_hz=rate_hz)


def test_runs_without_folds_have_none_to_choose(runs):
    with pytest.raises(ConfigError, match="--fold: expected nothing, since this run has none"):
        load_predictor(runs["cnn"][1], "fold1")
