"""Models of stages that are finished or in training, and stages that learned from others."""

import json
import shutil

import numpy as np
import pytest

from common.errors import CheckpointError
from common.training.checkpoints import (
    EARLIER,
    Checkpoints,
    begin_anew_if_outdated,
    has_model,
    load_checkpoint,
    note_earlier_models,
)
from common.training.stage import FINISHED, load_model
from tests.common.training.test_stage import choosing, scripted, stopped, train

SCORES = (3.0, 1.0, 2.0)


@pytest.fixture(scope="module")
def in_training(tmp_path_factory):
    """The folder of a stage killed in epoch 4 of 5, whose best epoch is the second."""
    folder = tmp_path_factory.mktemp("in_training") / "sed"
    stopped(folder, 3, training=choosing("best"), scorer=scripted(*SCORES))
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished stage that keeps the model of every second epoch."""
    folder = tmp_path_factory.mktemp("finished") / "sed"
    training = choosing("best").model_copy(update={"checkpoint_every_epochs": 2})
    train(folder, training=training, new_scorer=scripted(*SCORES, 4.0, 5.0))
    return folder


def same(model, folder, epoch):
    expected = load_model(folder / "models" / f"epoch-{epoch:05d}.keras").get_weights()
    return all(map(np.array_equal, model.get_weights(), expected))


@pytest.mark.parametrize("wanted, epoch", [(None, 2), ("best", 2), ("last", 3), ("1", 1)])
def test_a_stage_in_training_gives_the_model_that_is_asked_for(in_training, wanted, epoch, caplog):
    kept = in_training / "models" / "epoch-00003.keras"
    aside = kept.rename(kept.with_suffix(".aside"))  # the last one is in the state, too
    with caplog.at_level("INFO"):
        model = load_checkpoint(in_training, wanted)
    aside.rename(kept)
    assert same(model, in_training, epoch)
    place = "best model after epoch 3 of 5, that of epoch 2"
    if wanted in ("last", "1"):
        place = f"model of epoch {epoch}, after epoch 3 of 5"
    assert f"run is in training: {place}" in caplog.text


def test_a_finished_stage_gives_its_scored_model_without_a_word(finished, caplog):
    with caplog.at_level("INFO"):
        assert same(load_checkpoint(finished), finished, 2)
    assert not caplog.records


def test_a_model_that_is_not_kept_is_refused_with_those_that_are(finished, tmp_path):
    with pytest.raises(CheckpointError, match=r"best \(epoch 2\), last \(epoch 5\), 2, 4, 5\. Rec"):
        load_checkpoint(finished, "3")
    shutil.copytree(finished, tmp_path / "sed", ignore=shutil.ignore_patterns("resume"))
    with pytest.raises(
        CheckpointError, match=r"no model of epoch 5. Expected: best \(epoch 2\), 2"
    ):
        load_checkpoint(tmp_path / "sed", "last")


def test_a_state_of_an_older_version_gives_its_best_model_too(in_training, tmp_path):
    shutil.copytree(in_training, tmp_path / "sed")
    (path,) = (tmp_path / "sed" / "resume").glob("epoch-*/state.json")
    state = json.loads(path.read_text())
    del state["of_epochs"], state["best_epoch"]
    path.write_text(json.dumps(state))
    found = Checkpoints.of(tmp_path / "sed")
    assert same(load_checkpoint(tmp_path / "sed"), in_training, 2)
    assert found.about(None) == "run is in training: best model after epoch 3"


def test_a_state_that_a_running_training_has_replaced_is_looked_for_again(
    in_training, tmp_path, monkeypatch
):
    shutil.copytree(in_training, tmp_path / "sed")
    (state,) = (tmp_path / "sed" / "resume").glob("epoch-*")
    older, find = state.with_name("epoch-00002"), Checkpoints.of
    known = [Checkpoints(older, False, 2, 5, 2, {}, older / "x.keras", older / "x.keras")]
    monkeypatch.setattr(Checkpoints, "of", lambda place: known.pop() if known else find(place))
    assert same(load_checkpoint(tmp_path / "sed"), in_training, 2)


def test_a_stage_without_an_epoch_has_no_model(tmp_path):
    (tmp_path / "resume").mkdir()
    assert not has_model(tmp_path)
    with pytest.raises(CheckpointError, match=r"no finished training, and no epoch of one has end"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("epoch, anew", [(2, False), (4, True)])
def test_a_stage_is_trained_anew_if_the_one_it_learned_from_has_another_model(
    tmp_path, epoch, anew
):
    def finish(best):
        content = {"epochs": 5, "iterations_per_epoch": 1, "best_epoch": best, "history": {}}
        (tmp_path / "sed").mkdir(exist_ok=True)
        (tmp_path / "sed" / FINISHED).write_text(json.dumps(content))

    finish(2)
    (tmp_path / "doa" / "resume").mkdir(parents=True)
    begin_anew_if_outdated(tmp_path / "doa", ["sed"])  # nothing is known: as in all other runs
    note_earlier_models(tmp_path, ["sed"], ["doa", "not_begun"])
    assert not (tmp_path / "not_begun").exists()
    finish(epoch)
    note_earlier_models(tmp_path, ["sed"], ["doa"])  # once more, as after a kill
    assert json.loads((tmp_path / "doa" / EARLIER).read_text()) == {"sed": 2}
    begin_anew_if_outdated(tmp_path / "doa", ["sed"])
    assert (tmp_path / "doa").exists() != anew
    assert sorted(path.name for path in tmp_path.iterdir()) == (["sed"] if anew else ["doa", "sed"])
