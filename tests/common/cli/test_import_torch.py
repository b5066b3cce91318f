"""The command for weights from PyTorch, without PyTorch: its files are replaced by their arrays."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from common.cli import import_torch
from common.data.feature_store import FeatureStore, ShardEntry
from common.data.tfrecord import ArraySpec, ExampleSchema
from common.features.statistics import RunningStatistics
from common.models.torch_weights import load_state, torch_state
from common.settings.tasks import load_task
from sed_task4.systems import cnn

PARAMS = Path(__file__).parents[3] / "params.yaml"
FILTERS = (2, 3, 4, 5)
NETWORK = cnn.NetworkConfig(filters=FILTERS)
NAMES = cnn.torch_names(NETWORK)
TASK = ["--task", "cnn9", "--params", str(PARAMS), "--set", f"network.filters={list(FILTERS)}"]


def main(*arguments: object) -> int:
    return import_torch.main([*map(str, arguments), *TASK])


def network() -> keras.Model:
    return cnn.build_model((None, 64, 1), 10, NETWORK)


def random_state() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
        for name, array in torch_state(network(), NAMES).items()
    }


@pytest.fixture
def state(monkeypatch):
    """The arrays in the checkpoint that the command reads; tests may change them."""
    found = random_state()
    monkeypatch.setattr(import_torch, "read_checkpoint", lambda path, part: found)
    return found


@pytest.fixture
def written(monkeypatch):
    """State dicts that the command exports, by path."""
    files: dict[Path, dict[str, np.ndarray]] = {}
    monkeypatch.setattr(import_torch, "write_checkpoint", files.__setitem__)
    monkeypatch.setattr(import_torch, "torch_library", lambda: None)
    return files


@pytest.fixture
def store(tmp_path):
    """A store of two groups with the features of the task."""
    folder = tmp_path / "store"
    folder.mkdir()
    entries = [
        ShardEntry(f"{group}.tfrecord", group, (f"{group}.wav",), (4,), 1, 0)
        for group in ("a", "b")
    ]
    for entry in entries:
        (folder / entry.file).write_bytes(b"-")
    schema = ExampleSchema({"features": ArraySpec("float32", (None, 64, 1))})
    found = FeatureStore(folder, {"features": task().features.content()}, schema, entries)
    found.write({group: statistics_of(seed) for seed, group in enumerate("ab")})
    return found


def task():
    return load_task(PARAMS, "cnn9")


def statistics_of(seed: int) -> RunningStatistics:
    statistics = RunningStatistics.empty((64, 1))
    statistics.update(np.random.default_rng(seed).normal(-40, 5, (9, 64, 1)))
    return statistics


def output(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return np.asarray(model(x)["clip"])


def features() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(2, 16, 64, 1)).astype(np.float32)  # (B, T, F, C)


def test_without_statistics_the_model_takes_standardised_features(tmp_path, state, capsys):
    assert main("c.pth", "--out", tmp_path / "new" / "m.keras") == 0
    model = keras.saving.load_model(tmp_path / "new" / "m.keras")
    for name, array in torch_state(model, NAMES).items():
        np.testing.assert_array_equal(array, state[name])
    assert (
        "takes standardised features (B, T, F, C) = (None, None, 64, 1)" in capsys.readouterr().out
    )
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["m.keras"]


@pytest.mark.parametrize(
    "given, groups", [("folder", None), ("folder", ["a"]), ("file", ["a"]), ("own file", None)]
)
def test_with_statistics_it_takes_raw_ones(tmp_path, state, store, capsys, given, groups):
    mean, std = store.statistics(groups)
    source = {
        "folder": store.folder,
        "file": store.folder / "statistics.npz",
        "own file": tmp_path / "s.npz",
    }[given]
    np.savez(tmp_path / "s.npz", mean=mean, std=std)
    chosen = ["--groups", *groups] if groups else []
    assert main("c.pth", "--out", tmp_path / "raw.keras", "--statistics", source, *chosen) == 0
    assert "takes raw features" in capsys.readouterr().out
    standardised = network()
    load_state(standardised, state, NAMES)
    x, raw = features(), keras.saving.load_model(tmp_path / "raw.keras")
    np.testing.assert_allclose(output(raw, x * std + mean), output(standardised, x), atol=1e-5)


@pytest.mark.parametrize("with_statistics", [True, False])
def test_a_model_is_exported_with_or_without_statistics(
    tmp_path, state, written, store, with_statistics
):
    more = ["--statistics", store.folder] if with_statistics else []
    assert main("c.pth", "--out", tmp_path / "m.keras", *more) == 0
    assert main("--export", tmp_path / "m.keras", "--out", tmp_path / "c.pt") == 0
    (found,) = written.values()
    assert set(found) == set(state)
    for name, array in found.items():
        np.testing.assert_array_equal(array, state[name])


def test_tensors_that_do_not_fit_are_named_without_output(tmp_path, state, capsys):
    del state["fc.bias"]
    state["gru.weight_ih_l0"] = np.zeros(1)
    assert main("c.pth", "--out", tmp_path / "m.keras") == 2
    message = capsys.readouterr().err
    assert "missing: fc.bias; unknown: gru.weight_ih_l0" in message and "Traceback" not in message
    assert not list(tmp_path.iterdir())


def test_a_system_may_bring_a_checkpoint_to_the_published_names(tmp_path, state, monkeypatch):
    asked, renamed = [], dict(state)
    monkeypatch.setattr(import_torch, "read_checkpoint", lambda path, part: {part: path})

    def published_state(given, network):
        asked.append((given, network.filters))
        return renamed

    monkeypatch.setattr(cnn, "published_state", published_state, raising=False)
    assert main("c.pth", "--out", tmp_path / "m.keras", "--part", "state_dict.teacher") == 0
    assert asked == [({"state_dict.teacher": Path("c.pth")}, FILTERS)]
    model = keras.saving.load_model(tmp_path / "m.keras")
    for name, array in torch_state(model, NAMES).items():
        np.testing.assert_array_equal(array, state[name])


def test_a_model_of_another_network_is_not_exported(tmp_path, state, written, capsys):
    assert main("c.pth", "--out", tmp_path / "m.keras") == 0
    other = ["--set", "network.architecture=cnn5"]
    assert main("--export", tmp_path / "m.keras", "--out", tmp_path / "c.pt", *other) == 2
    message = capsys.readouterr().err
    assert "not a model of this task" in message and "block1_conv1/kernel" in message
    assert not written


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text", None])
def test_a_damaged_model_is_a_clear_error(tmp_path, written, capsys, content):
    path = tmp_path / "m.keras"
    path.mkdir() if content is None else path.write_bytes(content)
    assert main("--export", path, "--out", tmp_path / "c.pt") == 2
    message = capsys.readouterr().err
    assert "m.keras cannot be loaded as a Keras model" in message and "Traceback" not in message


def test_a_system_not_published_in_pytorch_is_an_error(tmp_path, state, capsys):
    arguments = [
        "c.pth",
        "--task",
        "1",
        "--params",
        str(PARAMS),
        "--out",
        str(tmp_path / "m.keras"),
    ]
    assert import_torch.main(arguments) == 2
    assert "`system: seldnet` was not published in PyTorch" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["c.pth", "--out", "m.keras"], ["--export", "m.keras", "--out", "c.pt"]]
)
def test_without_pytorch_the_extra_is_named(monkeypatch, capsys, arguments):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(*arguments) == 2
    assert "Install the extra `torch`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["c.pth", "--out", "m.pt"], "must end in .keras"),
        (["m.keras", "--out", "./m.keras"], "must be another file"),
        (["--export", "m.keras", "--out", "c.pt", "--statistics", "s.npz"], "not to --export"),
        (["--export", "m.keras", "--out", "c.pt", "--part", "model"], "not to --export"),
        (["c.pth", "--out", "m.keras", "--groups", "1"], "give it with --statistics"),
    ],
)
def test_options_that_contradict_each_other_are_named_before_any_work(capsys, arguments, message):
    assert main(*arguments) == 2
    assert message in capsys.readouterr().err


def test_statistics_of_other_features_are_refused(tmp_path, state, store, capsys):
    arguments = ["c.pth", "--out", tmp_path / "m.keras", "--statistics"]
    assert main(*arguments, store.folder, "--set", "features.fmin_hz=20") == 2
    assert "fmin_hz: 50.0 there, 20.0 now" in capsys.readouterr().err
    np.savez(tmp_path / "s.npz", mean=np.zeros((64, 10)), std=np.ones((64, 10)))
    assert main(*arguments, tmp_path / "s.npz") == 2
    assert "Expected: (64, 1). Received: (64, 10)" in capsys.readouterr().err
    np.savez(tmp_path / "s.npz", mean=np.full((64, 1), np.nan), std=np.ones((64, 1)))
    assert main(*arguments, tmp_path / "s.npz") == 2
    assert "must be finite" in capsys.readouterr().err
    assert not (tmp_path / "m.keras").exists()


def test_unknown_groups_and_groups_of_a_file_are_refused(tmp_path, state, store, capsys):
    arguments = ["c.pth", "--out", tmp_path / "m.keras", "--groups", "c", "--statistics"]
    assert main(*arguments, store.folder) == 2
    assert "No features of group c" in capsys.readouterr().err
    assert main(*arguments, tmp_path / "s.npz") == 2
    assert "Received: the file" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text", "npy", "npz", None])
def test_a_file_without_statistics_is_a_clear_error(tmp_path, state, capsys, content):
    path = tmp_path / "s.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        with path.open("wb") as file:
            np.save(file, np.zeros(3)) if content == "npy" else np.savez(file, mean=np.array(["a"]))
    assert main("c.pth", "--out", tmp_path / "m.keras", "--statistics", path) == 2
    message = capsys.readouterr().err
    assert "No statistics in" in message and "mean and std" in message


def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path, state, capsys):
    (tmp_path / "file").write_text("")
    assert main("c.pth", "--out", tmp_path / "file" / "m.keras") == 2
    assert "Cannot write" in capsys.readouterr().err
    (tmp_path / "taken.keras").mkdir()
    assert main("c.pth", "--out", tmp_path / "taken.keras") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken.keras"]
