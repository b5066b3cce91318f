"""The training loop: what a killed job keeps, and what early stopping and checkpoints remember."""

import csv
import itertools
import json
import math
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from common.errors import CheckpointError, ConfigError, TrainingError
from common.features.levels import LevelConfig
from common.models.layers import STATISTICS
from common.models.levels import MelLevels
from common.settings.tasks import AtIteration, RunConfig, TrainingConfig
from common.training.callbacks import TIMES, latest_state, restore_variables, save_variables
from common.training.early_finish import REQUEST
from common.training.evaluation import predict_recordings
from common.training.run_directory import scored_epoch, stop_text
from common.training.stage import (
    BEST,
    CHOSEN,
    Goal,
    ScoredSets,
    StageData,
    finished_epochs,
    goes_on,
    iterations_per_epoch,
    load_model,
    load_trained,
    make_means,
    train_stage,
)
from common.training.system import Stage
from tests.histories import finished_text, history_rows

SHAPE = (None, 6, 2)
TRAINING = TrainingConfig(epochs=5, passes_per_epoch=2, patience_epochs=0, learning_rate=0.01)


class Killed(Exception):
    """Stands for the end of the process."""


class MeanOutput:
    """Scores a set by the distance of its mean output from one half."""

    def __init__(self):
        self.sums, self.frames = 0.0, 0

    def update(self, prediction):
        self.sums += float(prediction.outputs["sed"].mean()) * prediction.frames
        self.frames += prediction.frames

    def result(self):
        return {"error": abs(self.sums / self.frames - 0.5)}


class ScriptedScore:
    """Gives the scores of a list, one for each epoch."""

    def __init__(self, scores):
        self.scores = scores

    def update(self, prediction):
        pass

    def result(self):
        return {"error": next(self.scores)}


def build(shape):
    inputs = keras.Input(shape)
    x = keras.layers.Reshape((-1, shape[1] * shape[2]))(inputs)
    x = keras.layers.Dropout(0.5)(x)
    sed = keras.layers.Dense(3, activation="sigmoid", name="sed")(x)
    return keras.Model(inputs, {"sed": sed})


def batches(trained):
    for number in itertools.count(trained):
        rng = np.random.default_rng((7, number))
        yield (
            rng.standard_normal((4, 5, 6, 2)).astype("float32"),
            {"sed": np.ones((4, 5, 3), "float32")},
        )


def recordings():
    rng = np.random.default_rng(0)
    return [
        {
            "name": np.array(b"a"),
            "features": rng.standard_normal((2, 5, 6, 2)).astype("float16"),
            "targets": {"sed": np.ones((2, 5, 3), "float32")},
            "events": np.zeros((0, 6)),
            "labelled": 1,
            "frames": 8,
            "sequence_frames": 8,
        }
    ]


def squared_error(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_pred - y_true))


STAGE = Stage("sed", build, {"sed": ("activity",)}, {"sed": squared_error}, {"sed": 1.0})


def data(source=batches, scored=None):
    sets = {"val": recordings()} | ({} if scored is None else {"train": scored})
    return StageData(
        source, 2, ScoredSets(lambda draw: sets), SHAPE, np.zeros((6, 2)), np.ones((6, 2))
    )


def train(folder, *, source=batches, training=TRAINING, new_scorer=MeanOutput, seed=3, scored=None):
    goal = Goal("val_error", "min", new_scorer, panels=[])
    return train_stage(STAGE, data(source, scored), goal, training, RunConfig(), folder, seed)


@pytest.mark.parametrize("frames", [5, None])
def test_the_first_step_makes_no_variables_and_is_traced_once(frames):
    made, traced = {"sed": (3,), "doa": (2, 3)}, []

    class Counted(keras.layers.Layer):
        def call(self, x):
            traced.append(x)
            return x

    x, outputs = keras.Input((frames, 4)), {}
    for name, sizes in made.items():
        flat = keras.layers.Dense(math.prod(sizes))(x)
        outputs[name] = Counted(name=name)(keras.layers.Reshape((-1, *sizes))(flat))
    model = keras.Model(x, outputs)
    losses = dict.fromkeys(made, squared_error)
    model.compile("sgd", losses, metrics={"sed": [keras.metrics.MeanSquaredError(name="error")]})
    y = {name: np.ones((8, 5, *sizes), "float32") for name, sizes in made.items()}
    batch = tf.data.Dataset.from_tensors((np.ones((8, 5, 4), "float32"), y)).repeat()
    make_means(model, batch)
    assert all(value == 0.0 for value in model.get_metrics_result().values())
    model.optimizer.build(model.trainable_variables)
    traced.clear()
    model.fit(batch, steps_per_epoch=2, shuffle=False, verbose=0)
    assert len(traced) == len(made)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a finished stage, whose training data was scored too."""
    folder = tmp_path_factory.mktemp("trained")
    train(folder, scored=recordings())  # those of the validation
    return folder


def killed_in_epoch(number, new_scorer):
    """A maker of scorers that ends the job after the batches of the given epoch of this start."""
    made = itertools.count(1)

    def new():
        if next(made) == number:
            raise Killed
        return new_scorer()

    return new


def test_a_killed_job_resumes_to_the_same_history_and_weights(tmp_path):
    whole = train(tmp_path / "whole")
    for epoch in (3, 2):  # the first part ends in epoch 3, the second in epoch 4
        with pytest.raises(Killed):
            train(tmp_path / "parts", new_scorer=killed_in_epoch(epoch, MeanOutput))
    parts = train(tmp_path / "parts")
    assert history_rows(tmp_path / "parts") == history_rows(tmp_path / "whole")
    assert [row["epoch"] for row in history_rows(tmp_path / "parts")] == ["0", "1", "2", "3", "4"]
    assert finished_text(tmp_path / "parts") == finished_text(tmp_path / "whole")
    for expected, received in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)


def test_levels_stand_between_features_and_statistics(tmp_path):
    levels = [MelLevels(LevelConfig(), name="levels")]
    short = TRAINING.model_copy(update={"epochs": 1, "passes_per_epoch": 1})
    goal = Goal("val_error", "min", MeanOutput, panels=[])
    given = replace(data(), levels=lambda: levels)
    model = train_stage(STAGE, given, goal, short, RunConfig(), tmp_path, seed=3)
    assert [layer.name for layer in model.layers][1:3] == ["levels", STATISTICS]


def test_times_and_training_scores_are_logged_in_each_epoch(trained):
    history = finished_epochs(trained)["history"]
    assert (
        history["train_error"] == history["val_error"]
        and history["train_sed_loss"] == history["val_sed_loss"]
    )
    assert history["train_loss"] != history["loss"]  # the latter is of the batches, with dropout
    for name in TIMES:
        assert len(history[name]) == 5 and min(history[name]) > 0
    with (trained / "history.csv").open(newline="") as file:
        assert {"train_error", *TIMES} <= set(csv.DictReader(file).fieldnames)
    events = b"".join(path.read_bytes() for path in (trained / "tensorboard").rglob("*tfevents*"))
    assert all(name.encode() in events for name in TIMES)


def test_a_finished_stage_is_not_trained_again(tmp_path, trained):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    before = (tmp_path / "history.csv").read_bytes()
    second = train(tmp_path, new_scorer=killed_in_epoch(1, MeanOutput))
    assert (tmp_path / "history.csv").read_bytes() == before
    assert same_weights(second, trained / BEST)


def test_patience_is_remembered_over_a_restart(tmp_path):
    scores = [0.5, 0.4, 0.6, 0.6, 0.6, 0.6, 0.6]
    training = replace_config(TRAINING, epochs=7, patience_epochs=3)
    stream, rest = iter(scores), iter(scores[3:])
    with pytest.raises(Killed):
        train(
            tmp_path,
            training=training,
            new_scorer=killed_in_epoch(4, lambda: ScriptedScore(stream)),
        )
    train(tmp_path, training=training, new_scorer=lambda: ScriptedScore(rest))
    assert (
        finished_epochs(tmp_path)["epochs"] == 5
    )  # the best was epoch 2, three more without a better one
    assert finished_epochs(tmp_path)["best_epoch"] == 2


def test_a_restart_keeps_the_best_model_from_worse_ones(tmp_path):
    scores = [0.1, 0.5]
    training = replace_config(TRAINING, epochs=2)
    stream, rest = iter(scores), iter(scores[1:])
    with pytest.raises(Killed):
        train(
            tmp_path,
            training=training,
            new_scorer=killed_in_epoch(2, lambda: ScriptedScore(stream)),
        )
    best = (tmp_path / BEST).read_bytes()
    (tmp_path / BEST).write_bytes(best[:100])  # killed while the file was written
    train(tmp_path, training=training, new_scorer=lambda: ScriptedScore(rest))
    assert (tmp_path / BEST).read_bytes() == best


def replace_config(config, **changes):
    return type(config).model_validate({**config.model_dump(), **changes})


def test_a_loss_of_nan_ends_training_with_advice(tmp_path):
    def source(trained):
        while True:
            yield np.full((4, 5, 6, 2), np.nan, "float32"), {"sed": np.ones((4, 5, 3), "float32")}

    with pytest.raises(TrainingError, match=r"Lower `training.learning_rate`"):
        train(tmp_path, source=source)


def test_a_damaged_state_names_the_folder_to_delete(tmp_path, trained):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    (tmp_path / "training.json").unlink()
    state = next((tmp_path / "resume").glob("epoch-*")) / "state.json"
    state.write_text("{")
    with pytest.raises(CheckpointError, match="Delete the folder"):
        train(tmp_path)


def test_weights_of_another_model_are_refused(tmp_path):
    save_variables(tmp_path / "v.npz", [keras.Variable(np.zeros((2, 3)))])
    with pytest.raises(CheckpointError, match="another model"):
        restore_variables(tmp_path / "v.npz", [keras.Variable(np.zeros((2, 4)))])


def test_a_truncated_checkpoint_is_refused(tmp_path, trained):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    (tmp_path / BEST).write_bytes((tmp_path / BEST).read_bytes()[:200])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        train(tmp_path)


def test_no_state_means_a_start_at_epoch_nought(tmp_path):
    assert latest_state(tmp_path / "none").epochs == 0


def test_padding_is_cut_off_predictions():
    model = build(SHAPE)
    prediction = next(iter(predict_recordings(model, recordings())))
    assert prediction.name == "a" and prediction.outputs["sed"].shape == (8, 3)
    assert prediction.targets["sed"].shape == (8, 3)


def test_the_history_is_also_plain_json(trained):
    content = json.loads((trained / "training.json").read_text())
    assert len(content["history"]["val_error"]) == 5 and len(content["history"]["loss"]) == 5


def test_models_are_kept_at_the_given_interval(tmp_path):
    train(tmp_path, training=replace_config(TRAINING, checkpoint_every_epochs=2))
    kept = sorted(path.name for path in (tmp_path / "models").iterdir())
    assert kept == ["epoch-00002.keras", "epoch-00004.keras"]
    assert load_model(tmp_path / "models" / kept[0]).count_params() > 0


def test_an_epoch_may_be_a_number_of_iterations(tmp_path):
    assert iterations_per_epoch(replace_config(TRAINING, iterations_per_epoch=7), 2) == 7
    assert iterations_per_epoch(TRAINING, 10) == 20
    assert iterations_per_epoch(replace_config(TRAINING, batches_per_pass=3), 10) == 6


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 1e300),
        ("epochs", "5"),
        ("epochs", 4),
        ("history", {"loss": [0.5] * 9}),
        ("history", {"loss": 1}),
        ("callbacks", []),
        ("callbacks", {"KeepBest": {"best": "x"}}),
        ("callbacks", {"CSVLogger": {"best": 1}}),
        ("callbacks", {"KeepBest": {"best": 0.5, "filepath": "../../x"}}),
    ],
)
def test_a_state_with_other_attributes_is_refused(tmp_path, trained, key, value):
    shutil.copytree(trained / "resume", tmp_path / "resume")
    path = next((tmp_path / "resume").glob("epoch-*")) / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(CheckpointError, match=r"state\.json is damaged"):
        latest_state(tmp_path / "resume")


@pytest.mark.parametrize("content", ["npy", "text", "pickle", b"", b"PK\x05\x06" + bytes(18)])
def test_variables_that_are_no_arrays_of_numbers_are_refused(tmp_path, content):
    path, variable = tmp_path / "v.npz", keras.Variable(np.ones((2, 3)))
    with path.open("wb") as file:
        if content == "npy":
            np.save(file, np.zeros((2, 3)))
        elif content == "text":
            np.savez(file, np.full((2, 3), "x"))
        elif content == "pickle":
            np.savez(file, np.full((2, 3), None))
        else:
            file.write(content)
    with pytest.raises(CheckpointError, match=r"v\.npz (is damaged|holds the weights)"):
        restore_variables(path, [variable])
    np.testing.assert_array_equal(variable, 1)


@pytest.mark.parametrize("content", [b"\xff\xfe", b'"' + b"x" * 200_000])
def test_a_damaged_log_is_named(tmp_path, content):
    (tmp_path / "history.csv").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"history\.csv is damaged.*Delete it"):
        train(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '{"epochs": 1, "history": {"loss": "x"}}', "[" * 9999, '{"epochs": NaN}'],
)
def test_a_training_record_of_another_form_is_refused(tmp_path, content):
    (tmp_path / "training.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"training\.json (is damaged|cannot be read)"):
        finished_epochs(tmp_path)


def choosing(choose, **changes):
    """Settings in which an epoch is 4 iterations long."""
    return replace_config(TRAINING, checkpoint_every_epochs=1, choose=choose, **changes)


def same_weights(model, path):
    return all(map(np.array_equal, model.get_weights(), load_model(path).get_weights()))


@pytest.mark.parametrize(
    "choose, epoch",
    [("best", 2), ("last", 5), (AtIteration(iteration=12), 3), (AtIteration(iteration=20), 5)],
)
def test_the_model_that_the_settings_choose_is_returned(tmp_path, choose, epoch):
    scores = iter([3.0, 1.0, 2.0, 4.0, 5.0])
    model = train(tmp_path, training=choosing(choose), new_scorer=lambda: ScriptedScore(scores))
    assert same_weights(model, tmp_path / "models" / f"epoch-{epoch:05d}.keras")
    assert same_weights(load_trained(tmp_path), tmp_path / "models" / f"epoch-{epoch:05d}.keras")
    finished = finished_epochs(tmp_path)
    assert (finished["best_epoch"], scored_epoch(finished)) == (2, epoch)


def test_a_killed_job_keeps_the_model_of_the_chosen_iteration(tmp_path):
    training = choosing(AtIteration(iteration=8))
    whole = train(tmp_path / "whole", training=training)
    for epoch in (3, 1):  # after the chosen epoch 2, and in epoch 3 once more
        with pytest.raises(Killed):
            train(
                tmp_path / "parts", training=training, new_scorer=killed_in_epoch(epoch, MeanOutput)
            )
    parts = train(tmp_path / "parts", training=training)
    assert all(map(np.array_equal, whole.get_weights(), parts.get_weights()))
    assert finished_text(tmp_path / "parts") == finished_text(tmp_path / "whole")


@pytest.mark.parametrize("choose, epoch", [("last", 5), (AtIteration(iteration=12), 3)])
def test_a_model_that_scores_do_not_choose_needs_none(tmp_path, choose, epoch):
    train(
        tmp_path,
        training=choosing(choose),
        new_scorer=lambda: ScriptedScore(itertools.repeat(float("nan"))),
    )
    assert scored_epoch(finished_epochs(tmp_path)) == epoch


@pytest.mark.parametrize("iteration", [10, 24])  # within an epoch, after the last one
def test_an_iteration_within_an_epoch_is_refused_before_any_work(tmp_path, iteration):
    with pytest.raises(ConfigError, match=rf"multiple of 4.*up to 20. Received: {iteration}"):
        train(tmp_path / "run", training=choosing(AtIteration(iteration=iteration)))
    assert not (tmp_path / "run").exists()


def test_early_stopping_and_a_chosen_iteration_exclude_each_other():
    with pytest.raises(ValueError, match="patience_epochs: 0"):
        TrainingConfig(patience_epochs=2, choose=AtIteration(iteration=8))


def test_the_last_epoch_is_chosen_when_training_stops_early(tmp_path):
    scores = iter([1.0, 2.0, 3.0, 4.0])
    training = choosing("last", patience_epochs=2)
    model = train(tmp_path, training=training, new_scorer=lambda: ScriptedScore(scores))
    assert same_weights(model, tmp_path / "models" / "epoch-00003.keras")
    assert scored_epoch(finished_epochs(tmp_path)) == 3


def stopped(folder, epochs, **settings):
    """Trains with a model of each epoch kept, and is killed once some epochs have ended."""
    with pytest.raises(Killed):
        train(folder, new_scorer=killed_in_epoch(epochs + 1, settings.pop("scorer")), **settings)


def scripted(*scores):
    stream = iter(scores)
    return lambda: ScriptedScore(stream)


@pytest.mark.parametrize(
    "choose, epoch",
    [("best", 2), ("last", 3), (AtIteration(iteration=4), 1), (AtIteration(iteration=16), 2)],
)
def test_a_stopped_training_that_shall_end_scores_its_model_so_far(tmp_path, choose, epoch, caplog):
    training = choosing(choose)
    stopped(tmp_path, 3, training=training, scorer=scripted(3.0, 1.0, 2.0))
    (tmp_path / REQUEST).touch()
    if choose == "last":  # killed when the file of a later epoch was written
        (tmp_path / CHOSEN).write_bytes(b"of epoch 4")
    with caplog.at_level("INFO"):
        model = train(tmp_path, training=training, new_scorer=killed_in_epoch(1, MeanOutput))
    assert same_weights(model, tmp_path / "models" / f"epoch-{epoch:05d}.keras")
    finished = finished_epochs(tmp_path)
    assert (finished["epochs"], finished["best_epoch"], scored_epoch(finished)) == (3, 2, epoch)
    assert stop_text(finished) == "stopped after epoch 3 of 5 on request"
    assert ("16 was not reached" in caplog.text) == (choose == AtIteration(iteration=16))
    assert not (tmp_path / REQUEST).exists()


def test_a_running_training_ends_after_the_epoch_in_which_it_was_asked_to(tmp_path, caplog):
    scores, asked = iter([3.0, 1.0, 2.0]), itertools.count(1)

    def new_scorer():
        if next(asked) == 3:
            (tmp_path / REQUEST).touch()
        return ScriptedScore(scores)

    with caplog.at_level("INFO"):
        model = train(tmp_path, training=choosing("best"), new_scorer=new_scorer)
    assert same_weights(model, tmp_path / "models" / "epoch-00002.keras")
    assert "stopped after epoch 3 of 5 on request" in caplog.text
    assert "no longer gets better" not in caplog.text
    assert len(history_rows(tmp_path)) == 3 and not (tmp_path / REQUEST).exists()


def test_a_training_ended_on_request_goes_on_with_more_epochs_only(tmp_path):
    more = replace_config(TRAINING, epochs=6)
    stopped(tmp_path, 2, scorer=MeanOutput)
    (tmp_path / REQUEST).touch()
    train(tmp_path)
    assert not goes_on(tmp_path, TRAINING) and goes_on(tmp_path, more)
    train(tmp_path, training=more)
    assert finished_epochs(tmp_path)["epochs"] == 6 and not stop_text(finished_epochs(tmp_path))


def test_more_epochs_go_on_to_what_a_training_of_this_length_gives(tmp_path):
    for choose in ("best", "last"):
        training = choosing(choose)
        whole = train(tmp_path / choose / "whole", training=training)
        parts = tmp_path / choose / "parts"
        train(parts, training=replace_config(training, epochs=3))
        found = train(parts, training=training)
        assert history_rows(parts) == history_rows(tmp_path / choose / "whole")
        assert finished_text(parts) == finished_text(tmp_path / choose / "whole")
        assert all(map(np.array_equal, whole.get_weights(), found.get_weights()))


@pytest.mark.parametrize("patience, epochs", [(3, 4), (0, 7)])
def test_more_patience_goes_on_after_an_early_stop(tmp_path, patience, epochs):
    scores = [0.4, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
    short = replace_config(TRAINING, epochs=7, patience_epochs=2)
    train(tmp_path, training=short, new_scorer=scripted(*scores))
    assert finished_epochs(tmp_path)["epochs"] == 3
    assert not goes_on(tmp_path, replace_config(short, epochs=9)), "it was the patience that ended"
    longer = replace_config(short, patience_epochs=patience)
    train(tmp_path, training=longer, new_scorer=scripted(*scores[3:]))
    assert finished_epochs(tmp_path)["epochs"] == epochs


def test_a_stage_without_the_state_of_its_last_epoch_stays_finished(tmp_path, trained):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "resume")
    assert not goes_on(tmp_path, replace_config(TRAINING, epochs=9))
