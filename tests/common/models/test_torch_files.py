"""Files of PyTorch, written by PyTorch itself; skipped where it is not installed."""

import numpy as np
import pytest

from common.errors import CheckpointError
from common.models.torch_files import read_checkpoint, write_checkpoint

torch = pytest.importorskip("torch")


def tensors() -> dict:
    return {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.tensor([1.5, -2.0])}


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


def assert_same(state, expected=None):
    expected = (
        {name: tensor.numpy() for name, tensor in tensors().items()}
        if expected is None
        else expected
    )
    assert set(state) == set(expected)
    for name, array in state.items():
        np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {
            "iterations": 7,
            "model_state_dict": state,
            "optimizer_state_dict": {"state": {}, "lr": 0.1},
        },
        lambda state: {
            "iteration": 7,
            "model": state,
            "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}},
        },
        lambda state: {"epoch": 7, "state_dict": state, "model": "CRNN10"},
        lambda state: {
            "model_state_dict": {f"module.{name}": tensor for name, tensor in state.items()}
        },
        lambda state: {f"module.module.{name}": tensor for name, tensor in state.items()},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_the_state_dict_is_found_in_all_published_forms(tmp_path, wrap, zipped):
    path = saved(tmp_path / "c.pth", wrap(tensors()), _use_new_zipfile_serialization=zipped)
    assert_same(read_checkpoint(path))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (lambda state: {"model": {"name": "CRNN", "state_dict": state}}, "model.state_dict"),
        (
            lambda state: {"state_dict": {f"sed_teacher.{n}": each for n, each in state.items()}},
            "state_dict.sed_teacher",
        ),
    ],
)
def test_a_part_of_a_file_is_read_by_its_name(tmp_path, content, part):
    whole = content(tensors()) | {"other": {"fc.bias": torch.ones(3)}, "epoch": 7}
    path = saved(tmp_path / "c.pth", whole)
    assert_same(read_checkpoint(path, part))
    with pytest.raises(CheckpointError, match=r"no tensor in the part 'teacher'.*other\.fc"):
        read_checkpoint(path, "teacher")


def test_a_prefix_of_some_names_is_part_of_them(tmp_path):
    state = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    assert set(read_checkpoint(saved(tmp_path / "c.pth", state))) == {"module.a", "b"}


def test_parameters_and_half_precision_become_plain_arrays(tmp_path):
    state = {
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "half": torch.tensor([1.5], dtype=torch.float16),
        "brain": torch.tensor([1.5], dtype=torch.bfloat16),
        "double": torch.tensor([0.1], dtype=torch.float64),
        "count": torch.tensor(3),
    }
    found = read_checkpoint(saved(tmp_path / "c.pth", state))
    assert {name: array.dtype.name for name, array in found.items()} == {
        "parameter": "float32",
        "half": "float32",
        "brain": "float32",
        "double": "float64",
        "count": "int64",
    }
    assert found["brain"] == 1.5 and found["count"] == 3


def test_a_network_reads_the_written_weights(tmp_path):
    write_checkpoint(
        tmp_path / "new" / "c.pt", {name: tensor.numpy() for name, tensor in tensors().items()}
    )
    network = torch.nn.ModuleDict({"fc": torch.nn.Linear(3, 2)})
    content = torch.load(tmp_path / "new" / "c.pt", weights_only=True)
    network.load_state_dict(content["model_state_dict"], strict=True)
    assert_same({name: tensor.numpy() for name, tensor in network.state_dict().items()})


class Code:
    """Writes a file as soon as it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_a_file_is_named_and_not_run(tmp_path):
    path = saved(
        tmp_path / "c.pth", {"model_state_dict": tensors(), "extra": Code(tmp_path / "written")}
    )
    with pytest.raises(
        CheckpointError, match=r"c\.pth is not loaded: it asks for \w+\.open, and nothing .* is run"
    ):
        read_checkpoint(path)
    assert not (tmp_path / "written").exists()


def test_a_whole_network_is_refused_with_advice(tmp_path):
    path = saved(tmp_path / "c.pth", torch.nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match=r"asks for torch\.nn\..*save only its state dict"):
        read_checkpoint(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0, 1, 4, 100, 400, -20])
def test_a_damaged_file_is_a_clear_error(tmp_path, zipped, kept):
    path = saved(tmp_path / "c.pth", tensors(), _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"c\.pth cannot be read"):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "content", [b"RIFF0000WAVEfmt ", b"\x89PNG\r\n", b"text\n" * 99, b"\x80\x04.", b"(((.", b"PK"]
)
def test_files_of_other_kinds_are_a_clear_error(tmp_path, content):
    (tmp_path / "c.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"c\.pth cannot be read|c\.pth is not loaded"):
        read_checkpoint(tmp_path / "c.pth")


@pytest.mark.parametrize(("name", "reason"), [("", "Is a directory"), ("c.pth", "No such file")])
def test_a_missing_file_and_a_folder_are_a_clear_error(tmp_path, name, reason):
    with pytest.raises(CheckpointError, match=reason):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "received"),
    [
        ([torch.zeros(1)], "Received: list"),
        (torch.zeros(1), "Received: Tensor"),
        ({}, "Received: a dict of nothing"),
        ({"epoch": 3, "weights": {"a": torch.zeros(1)}}, "Received: a dict of epoch, weights"),
        (
            {"state_dict": {"a": torch.zeros(1)}, "model": {"b": torch.zeros(1)}},
            "a dict of state_dict, model",
        ),
        ({str(n): n for n in range(12)}, "a dict of 0, 1, 2, 3, 4, 5, 6, 7 and 4 more"),
    ],
)
def test_contents_without_one_state_dict_are_described(tmp_path, content, received):
    path = saved(tmp_path / "c.pth", content)
    with pytest.raises(
        CheckpointError, match="expected a state dict, or a dict with one under .*" + received
    ):
        read_checkpoint(path)


def test_values_that_are_no_plain_tensors_are_all_named(tmp_path):
    state = {"a": torch.zeros(1), "step": 3, "sparse": torch.eye(2).to_sparse()}
    with pytest.raises(CheckpointError, match=r"These are none: step, sparse\."):
        read_checkpoint(saved(tmp_path / "c.pth", {"model": state}))
