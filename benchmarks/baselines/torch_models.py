"""Networks of the five systems at their published sizes, as in the published PyTorch code.

Imports only torch: it is loaded by an interpreter without this project's packages.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

FILTERS = (64, 128, 256, 512)


class ConvBlock(nn.Module):
    """Two convolutions without bias, each with batch normalisation and ReLU, then one pooling.

    Args:
        n_inputs: channels that come in.
        n_filters: channels that go out.
        pool: frames and bands of a pool; None: nothing is pooled.
        pooling: "average" or "max".
    """

    def __init__(
        self, n_inputs: int, n_filters: int, pool: tuple[int, int] | None, pooling: str = "average"
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(n_inputs, n_filters, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_filters)
        self.conv2 = nn.Conv2d(n_filters, n_filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_filters)
        self.pool, self.pooling = pool, pooling

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, T, F) to (B, filters, T', F')."""
        x = functional.relu_(self.bn1(self.conv1(x)))
        x = functional.relu_(self.bn2(self.conv2(x)))
        return x if self.pool is None else pooled(x, self.pool, self.pooling)


class Conv5(nn.Module):
    """Block of CNN5: 5 x 5 convolution without bias, batch normalisation, ReLU, pooling."""

    def __init__(self, n_inputs: int, n_filters: int, pool: tuple[int, int] | None):
        super().__init__()
        self.conv = nn.Conv2d(n_inputs, n_filters, 5, padding=2, bias=False)
        self.bn = nn.BatchNorm2d(n_filters)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, T, F) to (B, filters, T', F')."""
        x = functional.relu_(self.bn(self.conv(x)))
        return x if self.pool is None else pooled(x, self.pool, "average")


def pooled(x: Tensor, pool: tuple[int, int], pooling: str) -> Tensor:
    """Pools frames and bands of (B, C, T, F) by the mean or the maximum."""
    return (
        functional.avg_pool2d(x, pool) if pooling == "average" else functional.max_pool2d(x, pool)
    )


class Cnn(nn.Module):
    """CNN5, CNN9 or CNN13: blocks that halve time and frequency except the last, one sigmoid layer.

    Args:
        blocks: makes a block from inputs, filters and pool.
        filters: of each block.
        over_bands: reduces the last axis of (B, C, T, F).
    """

    def __init__(
        self,
        blocks: Callable[..., nn.Module],
        filters: Sequence[int],
        over_bands: Callable,
        n_classes: int,
    ):
        super().__init__()
        inputs = (1, *filters[:-1])
        pools = [(2, 2)] * (len(filters) - 1) + [None]
        self.blocks = nn.Sequential(*map(blocks, inputs, filters, pools))
        self.fc = nn.Linear(filters[-1], n_classes)
        self.over_bands, self.ratio = over_bands, 2 ** (len(filters) - 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps (B, C, T, F) to probabilities of the clip (B, K) and of the frames (B, T, K)."""
        x = self.over_bands(self.blocks(x))  # (B, C, T')
        frames = torch.sigmoid(self.fc(x.transpose(1, 2)))  # (B, T', K)
        clip = torch.sigmoid(self.fc(x.amax(2)))  # (B, K)
        return {"clip": clip, "frames": frames.repeat_interleave(self.ratio, 1)}


class TwoStage(nn.Module):
    """CRNN10 with the heads of both stages: four blocks, mean over frequency, bidirectional GRU."""

    def __init__(self, n_channels: int = 10, n_classes: int = 11, recurrent: bool = True):
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                ConvBlock(n, m, (2, 2))
                for n, m in zip((n_channels, *FILTERS), FILTERS, strict=False)
            )
        )
        self.gru = nn.GRU(512, 256, batch_first=True, bidirectional=True) if recurrent else None
        self.event, self.azimuth, self.elevation = (nn.Linear(512, n_classes) for _ in range(3))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps (B, C, T, F) to {"sed": (B, T', K), "doa": (B, T', 2K)}."""
        x = self.blocks(x).mean(3).transpose(1, 2)  # (B, T // 16, 512)
        x = x if self.gru is None else self.gru(x)[0]
        sed = torch.sigmoid(self.event(x))
        doa = torch.cat([self.azimuth(x), self.elevation(x)], -1)
        return {"sed": sed.repeat_interleave(16, 1), "doa": doa.repeat_interleave(16, 1)}


class Segmentation(nn.Module):
    """Time-frequency segmentation: blocks without pooling, a mask for each class, GWRP."""

    def __init__(
        self,
        n_classes: int = 41,
        decay: float = 0.9998,
        filters: Sequence[int] = (32, 64, 128, 128),
    ):
        super().__init__()
        self.blocks = nn.Sequential(
            *(ConvBlock(n, m, None) for n, m in zip((1, *filters), filters, strict=False))
        )
        self.final = nn.Conv2d(filters[-1], n_classes, 1)
        self.decay = decay

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps (B, C, T, F) to {"clip": (B, K), "masks": (B, K, T, F)}."""
        masks = torch.sigmoid(self.final(self.blocks(x)))
        ranked = masks.flatten(2).sort(2, descending=True).values  # (B, K, T * F)
        weights = self.decay ** torch.arange(ranked.shape[2], device=x.device, dtype=masks.dtype)
        return {"clip": (ranked * weights).sum(2) / weights.sum(), "masks": masks}


class Recurrent(nn.Module):
    """Shared layers of SELDnet and the CRNN: convolutions pooled over frequency, then GRUs.

    Args:
        n_channels: channels of the features.
        pools: bands pooled after each of the convolutions, which have 64 filters.
        n_inputs: channels by bands that are left.
        units: of each recurrent layer.
        product: the directions are multiplied, otherwise put side by side.
        dropout: after each convolution, and before each recurrent layer.
    """

    def __init__(
        self,
        n_channels: int,
        pools: Sequence[int],
        n_inputs: int,
        units: Sequence[int],
        product: bool,
        dropout: float,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        for number, pool in enumerate(pools):
            layers += [
                nn.Conv2d(64 if number else n_channels, 64, 3, padding=1),
                nn.BatchNorm2d(64),
                nn.ReLU(),
            ]
            layers += [nn.MaxPool2d((1, pool)), nn.Dropout(dropout)]
        self.convolutions = nn.Sequential(*layers)
        sizes = [n_inputs, *(n if product else 2 * n for n in units)]
        self.grus = nn.ModuleList(
            nn.GRU(n, m, batch_first=True, bidirectional=True)
            for n, m in zip(sizes, units)  # noqa: B905
        )
        self.product, self.dropout = product, nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, T, F) to (B, T, D)."""
        x = self.convolutions(x).permute(0, 2, 1, 3).flatten(2)  # (B, T, 64 * F')
        for gru in self.grus:
            x, _ = gru(self.dropout(x))
            if self.product:
                forward, backward = x.chunk(2, 2)
                x = forward * backward
        return x


class Seldnet(nn.Module):
    """SELDnet: convolutions, recurrent layers, a dense layer before each of two outputs."""

    def __init__(self, n_classes: int = 11, recurrent: bool = True):
        super().__init__()
        units = (128, 128) if recurrent else ()
        self.body = Recurrent(8, (8, 8, 4), 256, units, product=True, dropout=0.0)
        n_inputs = 128 if recurrent else 256
        self.sed = nn.Sequential(nn.Linear(n_inputs, 128), nn.Linear(128, n_classes), nn.Sigmoid())
        self.doa = nn.Sequential(nn.Linear(n_inputs, 128), nn.Linear(128, 2 * n_classes))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps (B, C, T, F) to {"sed": (B, T, K), "doa": (B, T, 2K)}."""
        x = self.body(x)
        return {"sed": self.sed(x), "doa": self.doa(x)}


class TwoPass(nn.Module):
    """CRNN in two passes: convolutions, a recurrent layer, a sigmoid layer, its mean over time."""

    def __init__(self, n_classes: int = 10):
        super().__init__()
        self.body = Recurrent(1, (4, 4, 4), 64, (64,), product=False, dropout=0.3)
        self.out = nn.Linear(128, n_classes)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps (B, C, T, F) to {"clip": (B, K), "frames": (B, T, K)}."""
        frames = torch.sigmoid(self.out(self.body(x)))
        return {"clip": frames.mean(1), "frames": frames}


def _mean(x: Tensor) -> Tensor:
    return x.mean(3)


def _maximum(x: Tensor) -> Tensor:
    return x.amax(3)


MODELS: dict[str, Callable[..., nn.Module]] = {
    "cnn5": lambda: Cnn(Conv5, FILTERS, _mean, 10),
    "cnn9": lambda: Cnn(ConvBlock, FILTERS, _maximum, 10),
    "cnn13": lambda: Cnn(ConvBlock, (*FILTERS, 1024, 2048), _maximum, 10),
    "crnn10": TwoStage,
    "vgg9": lambda: TwoStage(recurrent=False),
    "segmentation": Segmentation,
    "seldnet": Seldnet,
    "crnn": TwoPass,
}


def tags_loss(outputs: dict[str, Tensor], target: Tensor) -> Tensor:
    """Binary cross-entropy of the tags."""
    return functional.binary_cross_entropy(outputs["clip"].float(), target)


def seldnet_loss(outputs: dict[str, Tensor], target: Tensor) -> Tensor:
    """Binary cross-entropy of the activity plus 50 times the mean squared error of the angles.

    Args:
        outputs: of the network.
        target: (B, T, 3K): activity, azimuths, elevations.
    """
    activity, angles = target.split((target.shape[2] // 3, 2 * target.shape[2] // 3), 2)
    sed = functional.binary_cross_entropy(outputs["sed"].float(), activity)
    return sed + 50.0 * functional.mse_loss(outputs["doa"].float(), angles)


def two_stage_loss(outputs: dict[str, Tensor], target: Tensor) -> Tensor:
    """0.8 times the cross-entropy plus 0.2 times the absolute angle errors of active classes.

    Args:
        outputs: of the network, (B, T', ...).
        target: (B, T, 3K): activity, azimuths, elevations; frames beyond the outputs do not count.
    """
    n_frames = outputs["sed"].shape[1]
    activity, azimuth, elevation = target[:, :n_frames].chunk(3, 2)
    azimuths, elevations = outputs["doa"].float().chunk(2, 2)
    errors = (azimuths - azimuth).abs() + (elevations - elevation).abs()
    sed = functional.binary_cross_entropy(outputs["sed"].float(), activity)
    return 0.8 * sed + 0.2 * (errors * activity).sum() / activity.sum()


LOSSES = {"seldnet": seldnet_loss, "crnn10": two_stage_loss, "vgg9": two_stage_loss}


def target_shape(name: str, examples: int, frames: int) -> tuple[int, ...]:
    """Shape of the targets of a network's loss; see `LOSSES` and `tags_loss`."""
    if name in LOSSES:
        return examples, frames, 33
    return examples, 41 if name == "segmentation" else 10


def n_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
