"""Search space: forms of `--over`, types and bounds of settings."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from common.errors import ConfigError
from common.search.space import (
    Choice,
    Range,
    checked_space,
    extracts,
    number_type,
    parse_space,
    setting_type,
)
from common.settings.section import Section
from common.settings.tasks import load_task

PARAMS = Path(__file__).parents[3] / "params.yaml"


class Network(Section):
    """A network's settings."""

    size: Annotated[int, Field(gt=0)] | tuple[int, ...] = 4
    sizes: tuple[int, ...] = (4,)
    dropout: float | None = None
    name: str = "a"


def checked(*over: str):
    task = load_task(PARAMS, "demo")
    sections = {"": type(task), "network": Network}
    return checked_space(
        parse_space(over), sections, lambda text: load_task(PARAMS, "demo", [text])
    )


def test_a_range_takes_its_type_from_the_setting():
    space = checked(
        "training.learning_rate=1e-4:1e-2:log",
        "training.epochs=2:10",
        "training.loss_weights.doa=1:50",
    )
    assert space["training.learning_rate"] == Range(1e-4, 1e-2, log=True)
    assert space["training.epochs"] == Range(2, 10, whole=True) and isinstance(
        space["training.epochs"].low, int
    )
    assert space["training.loss_weights.doa"] == Range(1.0, 50.0)


def test_lists_words_and_numbers_are_values_to_choose_from():
    over = [
        "network.gru_units=[64],[128, 128]",
        "training.doa_loss=mse,masked_mse",
        "training.clip_norm=null,1",
    ]
    values = [values.ends for values in parse_space(over).values()]
    assert values == [("[64]", "[128, 128]"), ("mse", "masked_mse"), ("null", "1")]


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        ("network.size", int),
        ("network.sizes", None),
        ("network.dropout", float),
        ("network.name", None),
        ("training.amsgrad", None),
        ("training.stage_epochs.sed", int),
        ("pipeline.batch_size", int),
        ("no.key", None),
    ],
)
def test_only_plain_numbers_have_ranges(annotation, kind):
    task = load_task(PARAMS, "demo")
    assert number_type(setting_type({"": type(task), "network": Network}, annotation)) is kind


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ("training.epochs", "key=low:high"),
        ("training.epochs=", "key=low:high"),
        ("training..epochs=1:2", "key=low:high"),
        ("training.epochs=10:2", "the lower one first"),
        ("training.epochs=2:many", "two numbers"),
        ("training.epochs=2:10:cubic", "two numbers"),
        ("training.epochs=nan:10", "two numbers"),
        ("training.learning_rate=0:1:log", "begins above 0"),
        ("training.epochs=5", "two or more values"),
        ("training.epochs=5,5", "two or more values"),
        ("training.epochs=[5", "not valid YAML"),
        ("training.epochs=1.5:3", "is an integer"),
        ("training.augmentation=1:3", "training.augmentation"),
        ("network.name=1:3", "is no number"),
        ("training.epocs=1:3", "Did you mean `training.epochs`"),
        ("training.epochs=0:3", "greater than 0. Received: 0"),
        ("training.doa_loss=mse,mze", "Received: 'mze'"),
        ("output_dir=a,b", "must be equal in all trials"),
        ("run.backend=tensorflow,jax", "must be equal in all trials"),
    ],
)
def test_keys_that_cannot_be_searched_are_refused(over, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.").replace("(", r"\(")):
        checked(over)


def test_a_key_is_given_once():
    with pytest.raises(ConfigError, match=r"names `seed` twice"):
        parse_space(["seed=0:3", "seed=1,2"])


def test_trials_that_differ_in_features_extract_their_own():
    assert extracts({"features.n_mels": Choice(("32", "64"))}) and not extracts(
        {"training.epochs": Range(1, 2)}
    )
