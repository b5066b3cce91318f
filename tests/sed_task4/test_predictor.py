"""Predictions of task-4 runs: a clip as the run's own evaluation sees it, longer recordings clip after clip."""

import json

import numpy as np
import pytest
import soundfile

from common.audio import read_mono
from common.audio_stream import FileSource
from common.errors import ConfigError
from common.extraction import Item
from common.frontend import context_frames
from common.pipeline import evaluation_stream
from common.predict import load_predictor
from common.prediction import predict_recordings
from common.prediction_files import predict_file
from common.tfrecord import write_shard
from common.training import BEST, load_model
from sed_task4.dataset import Clip
from sed_task4.experiment import THRESHOLDS, Experiment
from sed_task4.extraction import ExampleMaker, example_schema
from sed_task4.segmentation.separate import Segmenter
from tests.runs import CNN, CRNN, SEGMENTATION, noises, task_of, write_run

RATE_HZ = 8000
SIZES = {"dataset__sample_rate_hz": RATE_HZ, "dataset__clip_s": 2.0, "features__fmax_hz": "null"}
MIXTURES = {"dataset__event_s": 0.5, "dataset__events_per_mixture": 1}
SMALL = {
    "crnn": ("crnn-demo", CRNN | SIZES | {"pipeline__sequence_frames": 100, "decoding__median_frames": 5}),
    "cnn": ("cnn9-demo", CNN | SIZES | {"pipeline__sequence_frames": 128, "features__n_fft": 512}),
    "cnn, audio": ("cnn9-demo", CNN | SIZES | {"pipeline__sequence_frames": 128, "features__frontend": "device"}),
    "segmentation": ("segmentation-demo", SEGMENTATION | SIZES | MIXTURES | {"pipeline__sequence_frames": 30}),
}  # fmt: skip
EASY = {"decoding__tag_threshold": 0.3, "decoding__high_threshold": 0.5, "decoding__low_threshold": 0.45}
EASY |= {"decoding__smooth_frames": 2, "decoding__salt_frames": 1}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each system."""
    folder, found = tmp_path_factory.mktemp("runs"), {}
    for name, (task_id, settings) in SMALL.items():
        settings = settings | ({} if name == "crnn" else EASY)
        task = task_of(task_id, folder, **settings)
        mean, deviation = (-3.0, 2.0) if name == "crnn" else (-30.0, 15.0)
        found[name] = task, write_run(task, folder / name, mean=mean, deviation=deviation)
    thresholds = dict.fromkeys(found["crnn"][0].dataset.classes, 0.2)
    for stage in ("pass1", "pass2"):
        (found["crnn"][1] / stage / THRESHOLDS).write_text(json.dumps(thresholds))
    return found


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
    stream = evaluation_stream(
        [shard], schema, stage.targets, sequence_frames=task.pipeline.sequence_frames, padding=padding,
        target_stride=stage.target_stride, context_frames=context_frames(experiment.frontend),
    )  # fmt: skip
    (prediction,) = predict_recordings(model, stream)
    clip = experiment.clip_result(prediction, {path.name: soundfile.info(path).duration})
    thresholds = np.full(task.dataset.n_classes, 0.2)
    return experiment.new_clip_scorer(thresholds).update(clip.name, clip.frames, clip.clip, duration_s=clip.duration_s)


@pytest.mark.parametrize(("name", "seconds"), [("crnn", 2.0), ("crnn", 1.1), ("cnn", 1.1), ("cnn, audio", 2.0)])
def test_a_clip_is_decoded_as_its_own_evaluation_does(runs, tmp_path, name, seconds):
    task, run = runs[name]
    path = write_recording(tmp_path / "a.wav", seconds)
    stage = Experiment.prepare(task).system.stages(task)[-1]
    expected = evaluated(task, run, stage, path)
    predict_file(load_predictor(run), FileSource.open(path), tmp_path / "out" / "a", run)
    written = json.loads((tmp_path / "out" / "a.json").read_text())
    classes = list(task.dataset.classes)
    found = [(classes.index(each["label"]), each["onset"], each["offset"]) for each in written["events"]]
    assert len(found) > 2
    np.testing.assert_allclose(sorted(found), sorted(map(tuple, expected.tolist())), atol=1e-5)
    assert set(written["tags"]) == set(classes) and "frames" not in written
    assert (tmp_path / "out" / "a.png").stat().st_size
    assert (tmp_path / "out" / "a.tsv").read_text().startswith("onset\toffset\tlabel\tscore\n0")


@pytest.mark.parametrize("name", ["crnn", "cnn, audio"])
def test_a_long_recording_that_comes_in_small_pieces_gives_the_same_events(runs, name):
    _, run = runs[name]
    predictor, audio, found = load_predictor(run), noises(9.3, RATE_HZ, 1), []
    for live, block in ((True, 500), (False, 80_000)):
        listener = predictor.listen(live)
        parts = [listener.feed(audio[start : start + block]) for start in range(0, len(audio), block)]
        heard = [each for part in [*parts, listener.finish()] for each in part]
        found.append(sorted((e.onset_s, e.offset_s, e.label, e.score) for each in heard for e in each.events))
    assert len(found[0]) > 5
    assert [each[:3] for each in found[0]] == [each[:3] for each in found[1]]
    np.testing.assert_allclose([each[3] for each in found[0]], [each[3] for each in found[1]], atol=1e-4)


def test_segmentation_finds_what_it_separates(runs, tmp_path):
    task, run = runs["segmentation"]
    path = write_recording(tmp_path / "a.wav", 9.3, 16000, 3)
    segmented = Segmenter.load(run)(read_mono(path, RATE_HZ)[:, 0])
    predict_file(load_predictor(run), FileSource.open(path), tmp_path / "a", run)
    written = json.loads((tmp_path / "a.json").read_text())
    classes = list(task.dataset.classes)
    found = [(classes.index(each["label"]), each["onset"], each["offset"]) for each in written["events"]]
    assert len(found) > 2
    np.testing.assert_allclose(sorted(found), sorted(map(tuple, segmented.events.tolist())), atol=1e-5)
    np.testing.assert_allclose(list(written["tags"].values()), segmented.tags, atol=1e-4)


def test_runs_without_folds_have_none_to_choose(runs):
    with pytest.raises(ConfigError, match="--fold: expected nothing, since this run has none"):
        load_predictor(runs["cnn"][1], "fold1")
