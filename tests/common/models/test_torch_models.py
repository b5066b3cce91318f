"""Published networks in PyTorch, compared with ours of the same weights; needs PyTorch."""

from pathlib import Path

import keras
import numpy as np
import pytest

from common.cli.import_torch import main

torch = pytest.importorskip("torch")
nn, relu = torch.nn, torch.nn.functional.relu
PARAMS = Path(__file__).parents[3] / "params.yaml"
FILTERS, GRU_UNITS = (4, 5, 6, 7), 6
REDUCED = {"average": lambda x, axis: x.mean(axis), "max": lambda x, axis: x.amax(axis)}
POOLS = {"average": nn.functional.avg_pool2d, "max": nn.functional.max_pool2d}


def blocks(n_channels: int) -> dict[str, nn.Module]:
    """Blocks of two convolutions, each with batch normalisation."""
    found = {}
    for number, (before, n_filters) in enumerate(
        zip((n_channels, *FILTERS), FILTERS, strict=False), start=1
    ):
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

    def __init__(self, pooling: str):
        head = nn.Conv2d(FILTERS[-1], 41, 1)
        super().__init__(
            {"bottleneck": nn.ModuleDict({**blocks(n_channels=1), "final_conv": head})}
        )
        self.decay = {"gwrp": 0.9998, "gmp": 0.0, "gap": 1.0}[pooling]

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        for number in range(1, 5):
            x = convolved(self["bottleneck"][f"conv_block{number}"], x)
        masks = torch.sigmoid(self["bottleneck"]["final_conv"](x))  # (B, K, T, F)
        ranked = masks.flatten(2).sort(descending=True).values
        weights = self.decay ** torch.arange(ranked.shape[2])
        return {
            "clip": (ranked * weights).sum(2) / weights.sum(),
            "masks": masks.permute(0, 2, 3, 1),
        }


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


def assert_same_outputs(
    model: keras.Model, network: nn.Module, shape: tuple[int, int, int, int]
) -> None:
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
    (*case, pooling)
    for *case, poolings in (
        ("two-stage", lambda pooling: TwoStage(True, pooling), (2, 70, 96, 10), ("average", "max")),
        (
            "two-stage-vgg9",
            lambda pooling: TwoStage(False, pooling),
            (2, 70, 96, 10),
            ("average", "max"),
        ),
        ("cnn9", Cnn9, (2, 48, 64, 1), ("average", "max")),
        ("segmentation", Segmentation, (2, 20, 64, 1), ("gwrp", "gmp", "gap")),
    )
    for pooling in poolings
]


def options(task: str, pooling: str) -> list[str]:
    settings = [f"network.filters={list(FILTERS)}", f"network.pooling={pooling}"]
    settings += [f"network.gru_units={GRU_UNITS}"] * task.startswith("two-stage")
    return [
        "--task",
        task,
        "--params",
        str(PARAMS),
        *(part for each in settings for part in ("--set", each)),
    ]


@pytest.mark.parametrize(("task", "build", "shape", "pooling"), CASES)
def test_a_published_network_gives_the_same_outputs_both_ways(
    tmp_path, task, build, shape, pooling
):
    network = trained(build(pooling))
    torch.save(
        {"iterations": 5000, "model_state_dict": network.state_dict()}, tmp_path / "published.pth"
    )
    arguments = options(task, pooling)
    assert (
        main([str(tmp_path / "published.pth"), "--out", str(tmp_path / "model.keras"), *arguments])
        == 0
    )
    assert_same_outputs(keras.saving.load_model(tmp_path / "model.keras"), network, shape)

    assert (
        main(
            [
                "--export",
                str(tmp_path / "model.keras"),
                "--out",
                str(tmp_path / "back.pt"),
                *arguments,
            ]
        )
        == 0
    )
    other = build(pooling).eval()
    other.load_state_dict(
        torch.load(tmp_path / "back.pt", weights_only=True)["model_state_dict"], strict=True
    )
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(other.state_dict()[name], tensor), name
