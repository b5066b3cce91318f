"""Settings: inheritance, overrides, and one clear error for each kind of mistake."""

from pathlib import Path

import pytest
import yaml

from common.errors import ConfigError
from common.settings.tasks import (
    load_task,
    merge,
    parse_overrides,
    read_aliases,
    read_tasks,
    resolve,
)
from common.training.system import Stage, stages_to_redo
from tests.fuzz.damage import yaml_bomb

PARAMS = Path(__file__).parents[3] / "params.yaml"


def write(folder: Path, tasks: dict, **parts: object) -> Path:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump({"tasks": tasks, **parts}))
    return path


@pytest.fixture(scope="module")
def all_tasks():
    return {name: load_task(PARAMS, name) for name in read_tasks(PARAMS)}


def test_every_task_of_params_yaml_is_valid(all_tasks):
    assert all(task.description for task in all_tasks.values())


@pytest.mark.parametrize("task_id", ["1", "2", "3", "4", "5"])
def test_published_ids_carry_the_published_sizes_and_quirks(task_id):
    task = load_task(PARAMS, f"{task_id}-published")
    plain = load_task(PARAMS, task_id)
    assert task.pipeline.sequence_frames == 128 and task.pipeline.batch_size == 16
    assert (
        task.training.loss_weights == {"sed": 1.0, "doa": 50.0}
        and task.training.passes_per_epoch == 5
    )
    assert task.features.interleaved_channels and not plain.features.interleaved_channels
    assert task.features.scaler_splits == "all" and plain.features.scaler_splits == "train"
    assert (
        task.network["batch_norm_over"] == "bands"
        and plain.network["batch_norm_over"] == "channels"
    )
    assert task.folds == plain.folds and task.dataset == plain.dataset


def test_folds_of_the_development_set_are_the_published_ones():
    folds = load_task(PARAMS, "1").folds
    assert [fold.test for fold in folds] == [(1,), (2,), (3,), (4,)]
    assert [fold.validate_on for fold in folds] == [(2,), (3,), (4,), (1,)]
    assert [set(fold.train) for fold in folds] == [{3, 4}, {4, 1}, {1, 2}, {2, 3}]


def test_only_seldnet_quick_is_quick(all_tasks):
    quick = [name for name, task in all_tasks.items() if task.training.batches_per_pass]
    assert quick == ["seldnet-quick"]


def test_a_task_lays_its_own_keys_over_the_inherited_ones():
    tasks = {"1": {"a": {"x": 1, "y": [1, 2]}, "b": 3}, "2": {"inherits": 1, "a": {"y": [9]}}}
    assert resolve(tasks, "2") == {"a": {"x": 1, "y": [9]}, "b": 3}


def test_sizes_of_another_systems_network_are_not_inherited():
    tasks = {"1": {"system": "a", "network": {"x": 1}, "b": 3}}
    tasks["2"] = {"inherits": 1, "system": "c", "network": {"y": 2}}
    assert resolve(tasks, "2") == {"system": "c", "network": {"y": 2}, "b": 3}
    tasks["2"]["system"] = "a"
    assert resolve(tasks, "2")["network"] == {"x": 1, "y": 2}


def test_published_scores_are_those_of_one_task_alone():
    tasks = {
        "1": {"published": {"f": 0.2, "er": 0.5}, "published_on": "a", "published_dataset": "A"},
        "2": {"inherits": "1", "published": {"f": 0.3}},
        "3": {"inherits": "2", "b": 3},
        "4": {"inherits": "3", "published": None},
    }
    assert resolve(tasks, "2")["published"] == resolve(tasks, "3")["published"] == {"f": 0.3}
    assert resolve(tasks, "4")["published"] is None
    assert not {"published_on", "published_dataset"} & set(resolve(tasks, "2"))  # not those of "1"


@pytest.mark.parametrize(
    ("alias", "task_id"), [("1", "seldnet-foa"), ("4", "seldnet-foa"), ("999", "seldnet-quick")]
)
def test_an_alias_loads_the_task_that_it_names(alias, task_id):
    assert load_task(PARAMS, alias) == load_task(PARAMS, task_id)
    assert read_aliases(PARAMS)[alias] == task_id and alias not in read_tasks(PARAMS)


def test_a_task_may_inherit_from_an_alias(tmp_path):
    tasks = {"base": {"a": 1}, "own": {"inherits": 1, "b": 2}}
    path = write(tmp_path, tasks, aliases={1: "base"})
    assert resolve(read_tasks(path), "own") == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("aliases", "message"),
    [
        ({1: "none"}, "the alias '1' must name a task id. Received: 'none'"),
        ({1: "base", 2: 1}, "the alias '2' must name a task id. Received: '1'"),
        ({"base": "base"}, "'base' is a task id and an alias"),
        (["base"], "mapping `aliases:` from alias to task id"),
    ],
)
def test_an_alias_of_nothing_or_of_itself_is_refused(tmp_path, aliases, message):
    with pytest.raises(ConfigError, match=message):
        read_tasks(write(tmp_path, {"base": {"a": 1}}, aliases=aliases))


def test_merging_changes_neither_side():
    base, over = {"a": {"x": 1}}, {"a": {"y": 2}}
    assert merge(base, over) == {"a": {"x": 1, "y": 2}}
    assert base == {"a": {"x": 1}} and over == {"a": {"y": 2}}


def test_a_circle_of_inheritance_is_named():
    with pytest.raises(ConfigError, match="1 -> 2 -> 1"):
        resolve({"1": {"inherits": 2}, "2": {"inherits": "1"}}, "1")


def test_an_unknown_id_of_a_short_file_lists_the_known_ones(tmp_path):
    path = write(tmp_path, {"mine": {}, "other": {}})
    with pytest.raises(ConfigError, match=r"Expected: one of mine, other. Received: '17'"):
        load_task(path, "17")


def test_an_unknown_id_of_a_long_file_names_those_that_look_like_it():
    with pytest.raises(ConfigError, match=r"Did you mean `crnn-demo` or `.*Received: 'crn-demo'"):
        load_task(PARAMS, "crn-demo")


def test_overrides_reach_nested_keys_and_read_values_as_yaml():
    assert parse_overrides(["training.epochs=3", "network.gru_units=[8, 8]"]) == {
        "training": {"epochs": 3},
        "network": {"gru_units": [8, 8]},
    }
    assert load_task(PARAMS, "1", ["training.epochs=3"]).training.epochs == 3


@pytest.mark.parametrize("text", ["training.epochs", "=3", "training..epochs=3"])
def test_an_override_without_key_and_value_is_refused(text):
    with pytest.raises(ConfigError, match="key=value"):
        parse_overrides([text])


def test_a_misspelt_key_names_the_nearest_known_one():
    with pytest.raises(
        ConfigError, match=r"unknown key `training.epocs`. Did you mean `training.epochs`"
    ):
        load_task(PARAMS, "1", ["training.epocs=3"])


def test_a_misspelt_key_in_a_fold_names_the_nearest():
    folds = "folds=[{name: a, trian: [3], validate_on: [2], test: [1]}]"
    with pytest.raises(ConfigError, match=r"Did you mean `folds.0.train`"):
        load_task(PARAMS, "1", [folds])


def test_a_wrong_type_is_named_with_the_received_value():
    with pytest.raises(ConfigError, match=r"`training.epochs`.*integer.*Received: 'many'"):
        load_task(PARAMS, "1", ["training.epochs=many"])


def test_a_missing_key_is_named(tmp_path):
    tasks = read_tasks(PARAMS)
    del tasks["seldnet-foa"]["dataset_dir"]
    with pytest.raises(ConfigError, match="`dataset_dir` is missing"):
        load_task(write(tmp_path, tasks), "seldnet-foa")


def test_folds_that_share_a_split_are_refused():
    with pytest.raises(ConfigError, match=r"fold 'a' uses split 2 more than once"):
        load_task(PARAMS, "1", ["folds=[{name: a, train: [2, 3], validate_on: [2], test: [1]}]"])


def test_validation_on_test_splits_needs_the_setting_for_it():
    fold = "{name: a, train: [2, 3, 4], validate_on: [1], test: [1], validate_on_test: true}"
    assert load_task(PARAMS, "1", [f"folds=[{fold}]"]).folds[0].decisive == (1,)
    with pytest.raises(ConfigError, match="with `validate_on_test` both must name the same splits"):
        load_task(PARAMS, "1", [f"folds=[{fold.replace('validate_on: [1]', 'validate_on: [2]')}]"])
    with pytest.raises(ConfigError, match="uses split 1 more than once"):
        load_task(PARAMS, "1", [f"folds=[{fold.replace('[2, 3, 4]', '[1, 2]')}]"])


def test_without_a_held_out_split_the_training_splits_decide():
    assert load_task(PARAMS, "two-stage-all-data").folds[0].decisive == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("features.hop_s=0.05", "`hop_s` must not exceed `window_s`"),
        ("features.n_fft=1024", "window must fit into the Fourier transform"),
        (
            "folds=[{name: a, train: [1], validate_on: [2], test: [0]}]",
            "needs `dataset.mode: eval`",
        ),
        ("family=song", "`family` must be one of: seld"),
        ("run.distribution=multi_host", "Expected: `backend: jax`. Received: tensorflow"),
        (
            "run={distribution: mirrored, backend: torch}",
            "Expected: `backend: tensorflow or jax`. Received: torch",
        ),
        (
            "run={distribution: mirrored, jit_compile: true}",
            "cannot share batches on TensorFlow. Set it to auto",
        ),
        (
            "run.multi_host={n_processes: 2, process: 2}",
            "Expected: 0 to 1, as `n_processes` is 2. Received: 2",
        ),
        ("run.multi_host.address=host", "`run.multi_host.address`: .*Received: 'host'"),
    ],
)
def test_settings_that_cannot_stand_together_are_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        load_task(PARAMS, "1", [override])


@pytest.mark.parametrize(
    "override", ["features.kind=logmel_intensity", "training.augmentation=foa_rotation"]
)
def test_methods_for_ambisonics_are_refused_for_microphones(override):
    with pytest.raises(ConfigError, match=r"needs `dataset.format: foa`"):
        load_task(PARAMS, "2", [override])


def test_a_missing_settings_file_is_named_with_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match=r"none.yaml.*--write-params"):
        load_task(tmp_path / "none.yaml", "1")


@pytest.mark.parametrize("text", ["tasks: [1, 2]", "a: 1", "tasks: {1: 2}", ""])
def test_a_file_of_another_form_is_refused(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="mapping"):
        read_tasks(path)


def test_text_that_is_not_yaml_is_refused_with_its_line(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("tasks:\n  1: {a: [}\n")
    with pytest.raises(ConfigError, match="line 2"):
        read_tasks(path)


def test_a_key_given_twice_is_refused(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("tasks:\n  1:\n    seed: 1\n    seed: 2\n")
    with pytest.raises(ConfigError, match=r"line 3: key given twice: seed"):
        read_tasks(path)


def test_yaml_cannot_run_code(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("tasks: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_tasks(path)


def test_a_stage_is_repeated_with_all_later_ones():
    stages = [Stage(name, lambda shape: None, {}, {}, {}) for name in ("pass1", "pass2", "pass3")]
    assert stages_to_redo(stages, ["pass2", "extraction"]) == ["pass2", "pass3"]
    assert stages_to_redo(stages, ["extraction"]) == []
    with pytest.raises(
        ConfigError, match=r"some of extraction, pass1, pass2, pass3. Received: pass4"
    ):
        stages_to_redo(stages, ["pass4"])


@pytest.mark.parametrize(
    "text",
    [
        yaml_bomb(),
        "tasks: &t {1: *t}",
        "tasks: !!timestamp x",
        "tasks: !!int ''",
        "tasks: 2001-99-99",
        "tasks: {[a]: 1}",
        "tasks: {? {a: 1} : 1}",
        "tasks:\n  <<: x",
        "[" * 5000,
    ],
)
def test_yaml_that_breaks_its_reader_or_memory_is_refused(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"params\.yaml is not valid YAML"):
        read_tasks(path)


def test_a_missing_parent_is_named_with_the_file(tmp_path):
    with pytest.raises(ConfigError, match=r"params\.yaml: Unknown task id.*Received: 'base'"):
        load_task(write(tmp_path, {"1": {"inherits": "base"}}), "1")


def test_a_mapping_of_many_keys_is_checked_in_one_go(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("tasks:\n" + "".join(f"  t{number}: {{seed: 1}}\n" for number in range(5000)))
    assert len(read_tasks(path)) == 5000


def test_a_value_as_long_as_a_file_is_shortened():
    with pytest.raises(ConfigError) as caught:
        load_task(PARAMS, "1", [f"training.epochs={'x' * 100_000}"])
    assert "training.epochs" in str(caught.value) and len(str(caught.value)) < 5000


@pytest.mark.parametrize("task_id", sorted(read_tasks(PARAMS)))
def test_published_scores_name_their_data(task_id):
    task = load_task(PARAMS, task_id)
    assert bool(task.published) <= bool(task.published_on)
    assert len(task.published_notes) == bool(task.published)


def test_published_scores_of_all_tasks_name_their_dataset_and_its_part():
    tasks = read_tasks(PARAMS)
    resolved = [resolve(tasks, name) for name in tasks]
    known = [task for task in resolved if task.get("published")]
    assert known and all(task["published_dataset"] and task["published_on"] for task in known)
