"""Published networks written in PyTorch, beside ours with their weights; skipped where PyTorch is not installed."""

from pathlib import Path

import keras
import numpy as np
import pytest

from common.import_torch import main
from common.torch_files import read_checkpoint, write_checkpoint
from common.torch_weights import load_state, torch_state
from sed_task4.segmentation.systems import tf_segmentation

torch = pytest.importorskip("torch")
nn, relu = torch.nn, torch.nn.functional.relu
PARAMS = Path(__file__).parents[2] / "params.yaml"
FILTERS, GRU_UNITS = (4, 5, 6, 7), 6
REDUCED = {"average": lambda x, axis: x.mean(axis), "max": lambda x, axis: x.amax(axis)}
POOLS = {"average": nn.functional.avg_pool2d, "max": nn.functional.max_pool2d}


def blocks(n_channels: int) -> dict[str, nn.Module]:
    """Blocks of two convolutions, each with batch normalisation."""
    found = {}
    for number, (before, n_filters) in enumerate(zip((n_channels, *FILTERS), FILTERS, strict=False), start=1):
        found[f"conv_block{number}"] = nn.ModuleDict(
            {
                "conv1": nn.Conv2d(before, n_filters, 3, padding=1, bias=False),
                "bn1": nn.BatchNorm2d(n_filters),
                "conv2": nn.Conv2d(n_filters, n_filters, 3, padding=1, bias=False),
                "bn2": nn.BatchNorm2d(n_filters),
            }
        )
    return found


def convolved(block: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    for n in "12":
        x = relu(block[f"bn{n}"](block[f"conv{n}"](x)))
    return x


def repeated(x: torch.Tensor, times: int) -> torch.Tensor:
    return x.repeat_interleave(times, dim=1)


class TwoStage(nn.ModuleDict):
    """CRNN10 or VGG9 of the two-stage system."""

    def __init__(self, recurrent: bool, pooling: str):
        super().__init__(blocks(n_channels=10))
        self.pooling = pooling
        if recurrent:
            self["gru"] = nn.GRU(FILTERS[-1], GRU_UNITS, batch_first=True, bidirectional=True)
        for head in ("event_fc", "azimuth_fc", "elevation_fc"):
            self[head] = nn.Linear(2 * GRU_UNITS if recurrent else FILTERS[-1], 11)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        for number in range(1, 5):
            x = POOLS[self.pooling](convolved(self[f"conv_block{number}"], x), 2)
        x = REDUCED[self.pooling](x, 3).transpose(1, 2)  # (B, T', C)
        if "gru" in self:
            x, _ = self["gru"](x)
        doa = torch.cat([self["azimuth_fc"](x), self["elevation_fc"](x)], dim=2)
        return {"sed": repeated(torch.sigmoid(self["event_fc"](x)), 16), "doa": repeated(doa, 16)}


class Cnn9(nn.ModuleDict):
    """CNN9 of the baseline for DCASE 2019 task 4, for tags."""

    def __init__(self, pooling: str):
        super().__init__({**blocks(n_channels=1), "fc": nn.Linear(FILTERS[-1], 10)})
        self.pooling = pooling

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        for number in range(1, 5):
            x = convolved(self[f"conv_block{number}"], x)
            x = POOLS[self.pooling](x, 2) if number < 4 else x
        x = x.amax(3)  # (B, C, T')
        clip, frames = (torch.sigmoid(self["fc"](each)) for each in (x.amax(2), x.transpose(1, 2)))
        return {"clip": clip, "frames": repeated(frames, 8)}


class Segmentation(nn.ModuleDict):
    """Time-frequency segmentation with global weighted rank pooling."""

    def __init__(self, decay: float):
        super().__init__({"bottleneck": nn.ModuleDict({**blocks(n_channels=1), "final_conv": nn.Conv2d(7, 5, 1)})})
        self.decay = decay

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        for number in range(1, 5):
            x = convolved(self["bottleneck"][f"conv_block{number}"], x)
        masks = torch.sigmoid(self["bottleneck"]["final_conv"](x))  # (B, K, T, F)
        ranked = masks.flatten(2).sort(descending=True).values
        weights = self.decay ** torch.arange(ranked.shape[2])
        return {"clip": (ranked * weights).sum(2) / weights.sum(), "masks": masks.permute(0, 2, 3, 1)}


def trained(network: nn.Module) -> nn.Module:
    """Gives a network the statistics and scales that training would have left."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.weight.data, layer.running_var):
                values.uniform_(0.5, 1.5)
            for values in (layer.bias.data, layer.running_mean):
                values.normal_(0.0, 0.1)
            layer.num_batches_tracked += 500
    return network.eval()


def assert_same_outputs(model: keras.Model, network: nn.Module, shape: tuple[int, int, int, int]) -> None:
    """Compares on random features (B, T, F, C)."""
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(x.transpose(0, 3, 1, 2)))
    found = model(x)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert tensor.std() > 1e-3  # the comparison says something
        np.testing.assert_allclose(np.asarray(found[name]), tensor.numpy(), atol=1e-5)


@pytest.fixture(autouse=True)
def fixed_weights():
    torch.manual_seed(0)


CASES = [
    ("two-stage", lambda pooling: TwoStage(True, pooling), (2, 70, 96, 10)),
    ("two-stage-vgg9", lambda pooling: TwoStage(False, pooling), (2, 70, 96, 10)),
    ("cnn9", Cnn9, (2, 48, 64, 1)),
]


def options(task: str, pooling: str) -> list[str]:
    settings = [f"network.filters={list(FILTERS)}", f"network.pooling={pooling}"]
    settings += [f"network.gru_units={GRU_UNITS}"] * task.startswith("two-stage")
    return ["--task", task, "--params", str(PARAMS), *(part for each in settings for part in ("--set", each))]


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize(("task", "build", "shape"), CASES)
def test_a_published_network_gives_the_same_outputs_here_and_after_the_way_back(tmp_path, task, build, shape, pooling):
    network = trained(build(pooling))
    torch.save({"iterations": 5000, "model_state_dict": network.state_dict()}, tmp_path / "published.pth")
    arguments = options(task, pooling)
    assert main([str(tmp_path / "published.pth"), "--out", str(tmp_path / "model.keras"), *arguments]) == 0
    assert_same_outputs(keras.saving.load_model(tmp_path / "model.keras"), network, shape)

    assert main(["--export", str(tmp_path / "model.keras"), "--out", str(tmp_path / "back.pt"), *arguments]) == 0
    other = build(pooling).eval()
    other.load_state_dict(torch.load(tmp_path / "back.pt", weights_only=True)["model_state_dict"], strict=True)
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(other.state_dict()[name], tensor), name


def test_a_segmentation_network_gives_the_same_outputs_here_and_after_the_way_back(tmp_path):
    settings = tf_segmentation.NetworkConfig(filters=FILTERS, gwrp_decay=0.99)
    model, names = tf_segmentation.build_model((None, 16, 1), 5, settings), tf_segmentation.torch_names(settings)
    network = trained(Segmentation(0.99))
    torch.save(network.state_dict(), tmp_path / "published.pth")
    load_state(model, read_checkpoint(tmp_path / "published.pth"), names)
    assert_same_outputs(model, network, (2, 20, 16, 1))

    write_checkpoint(tmp_path / "back.pt", torch_state(model, names))
    content = torch.load(tmp_path / "back.pt", weights_only=True)
    Segmentation(0.99).load_state_dict(content["model_state_dict"], strict=True)
