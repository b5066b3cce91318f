"""Networks and losses whose tracks have no order, for PyTorch: multi-ACCDOA of 2023, and EINV2.

Imports only torch: it is loaded by an interpreter without this project's packages.
"""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_models import ConvBlock  # lies beside this file

DUMMY_TRACKS = ((0,), (1, 2), (3, 4, 5))  # of a class with one, two or three sources
ORDERS = tuple(itertools.permutations(range(2)))  # of the tracks of EINV2


class MultiAccdoa(nn.Module):
    """SELDnet of 2023: convolutions, bidirectional GRUs, self-attention, vectors of three tracks.

    Args:
        n_channels: channels of the features, of 64 bands.
        n_classes: event classes, K.
        dropout: of whole channels after convolutions, between GRUs, and of attention weights.
    """

    def __init__(self, n_channels: int = 7, n_classes: int = 13, dropout: float = 0.05):
        super().__init__()
        layers: list[nn.Module] = []
        for n_inputs, pool in zip((n_channels, 64, 64), ((5, 4), (1, 4), (1, 2)), strict=True):
            layers += [nn.Conv2d(n_inputs, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()]
            layers += [nn.MaxPool2d(pool), nn.Dropout2d(dropout)]
        self.convolutions = nn.Sequential(*layers)
        self.gru = nn.GRU(128, 128, 2, batch_first=True, bidirectional=True, dropout=dropout)
        self.attentions = nn.ModuleList(
            nn.MultiheadAttention(128, 8, dropout=dropout, batch_first=True) for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(128) for _ in range(2))
        self.ends = nn.Sequential(nn.Linear(128, 128), nn.Linear(128, 3 * 3 * n_classes), nn.Tanh())
        self.n_classes = n_classes

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps (B, C, T, F) to {"accdoa": (B, T // 5, 3, 3, K)}: tracks, then x, y, z."""
        x = self.convolutions(x).transpose(1, 2).flatten(2)  # (B, T', 64 * F')
        x, _ = self.gru(x)
        forward, backward = torch.tanh(x).chunk(2, 2)
        x = forward * backward  # (B, T', 128)
        for attention, norm in zip(self.attentions, self.norms, strict=True):
            x = norm(x + attention(x, x, x, need_weights=False)[0])
        return {"accdoa": self.ends(x).unflatten(2, (3, 3, self.n_classes))}


class Einv2(nn.Module):
    """EINV2: two branches that exchange maps, and for each of two tracks an encoder in both.

    Args:
        n_channels: channels of the features; detection sees the first `sed_channels`.
        sed_channels: channels of spectra.
        n_classes: event classes, K.
        filters: of each block of two convolutions.
        dropout: of the encoders.
    """

    def __init__(
        self,
        n_channels: int = 7,
        sed_channels: int = 4,
        n_classes: int = 14,
        filters: Sequence[int] = (64, 128, 256, 512),
        dropout: float = 0.2,
    ):
        super().__init__()
        pools = ((2, 2), (2, 2), (1, 2), (1, 2))
        self.sed, self.doa = (
            nn.ModuleList(map(ConvBlock, (n, *filters[:-1]), filters, pools))
            for n in (sed_channels, n_channels)
        )
        stitches = (torch.empty(n, 2, 2).uniform_(0.1, 0.9) for n in filters[:-1])
        self.stitches = nn.ParameterList(stitches)
        self.encoders = nn.ModuleList(
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(filters[-1], 8, 1024, dropout, batch_first=True), 2
            )
            for _ in range(4)
        )  # of detection in both tracks, then of direction
        sizes = (n_classes, n_classes, 3, 3)
        self.ends = nn.ModuleList(nn.Linear(filters[-1], n) for n in sizes)
        self.sed_channels = sed_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps (B, C, T, F) to {"sed": logits (B, T // 4, 2, K), "doa": (B, T // 4, 2, 3)}."""
        sed, doa = x[:, : self.sed_channels], x
        for number, blocks in enumerate(zip(self.sed, self.doa, strict=True)):
            sed, doa = blocks[0](sed), blocks[1](doa)
            if number < len(self.stitches):
                weights = self.stitches[number][..., None, None]  # (C, 2, 2, 1, 1)
                sed = weights[:, 0, 0] * sed + weights[:, 0, 1] * doa
                doa = (
                    weights[:, 1, 0] * sed + weights[:, 1, 1] * doa
                )  # of the new map, as published
        frames = [branch.mean(3).transpose(1, 2) for branch in (sed, sed, doa, doa)]  # (B, T', C)
        layers = zip(self.encoders, self.ends, frames, strict=True)
        tracks = [end(encoder(each)) for encoder, end, each in layers]
        return {"sed": torch.stack(tracks[:2], 2), "doa": torch.tanh(torch.stack(tracks[2:], 2))}


def candidates() -> list[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
    """For each number of sources, the assignment that stands for all, and all of them: 13."""
    found = []
    for group in DUMMY_TRACKS:
        every = [each for each in itertools.product(group, repeat=3) if set(each) == set(group)]
        found.append((every[0], every))
    return found


def adpit_loss(outputs: dict[str, Tensor], target: Tensor) -> Tensor:
    """Mean squared error under the best of 13 assignments, frame by frame and class by class.

    Only one group of dummy tracks of a class is active in a frame. A candidate of another group is
    completed by an assignment of the active one, so that it cannot win wrongly.

    Args:
        outputs: of `MultiAccdoa`.
        target: (B, T', 6, 4, K): activity, x, y, z of the dummy tracks.
    """
    estimate = outputs["accdoa"].float()
    dummies = target[:, :, :, :1] * target[:, :, :, 1:]  # (B, T', 6, 3, K)
    groups = candidates()
    stand_ins = [dummies[:, :, list(first)] for first, _ in groups]  # (B, T', 3, 3, K) each
    errors = []
    for number, (_, every) in enumerate(groups):
        rest = sum(each for other, each in enumerate(stand_ins) if other != number)
        for chosen in every:
            difference = estimate - (dummies[:, :, list(chosen)] + rest)
            errors.append(difference.square().mean((2, 3)))  # (B, T', K)
    return torch.stack(errors).min(0).values.mean()


def tracks_loss(outputs: dict[str, Tensor], target: Tensor) -> Tensor:
    """Half the cross-entropy and half the squared error, tracks in the best order of each frame.

    Args:
        outputs: of `Einv2`.
        target: (B, T', 2, K + 3): multi-hot classes and a unit vector of each track.
    """
    logits, vectors = outputs["sed"].float(), outputs["doa"].float()
    classes, directions = target.split((logits.shape[3], 3), 3)
    sed, doa = [], []
    for order in map(list, ORDERS):
        crossentropy = functional.binary_cross_entropy_with_logits(
            logits, classes[:, :, order], reduction="none"
        )
        sed.append(crossentropy.mean((2, 3)))  # (B, T')
        doa.append((vectors - directions[:, :, order]).square().mean((2, 3)))
    of_orders = torch.stack(sed), torch.stack(doa)  # (orders, B, T')
    best = (of_orders[0] + of_orders[1]).argmin(0, keepdim=True)
    chosen = (each.gather(0, best).mean() for each in of_orders)
    return 0.5 * sum(chosen)


MODELS: dict[str, Callable[..., nn.Module]] = {"multi_accdoa": MultiAccdoa, "einv2": Einv2}
LOSSES = {"multi_accdoa": adpit_loss, "einv2": tracks_loss}


def target_shape(name: str, examples: int, frames: int) -> tuple[int, ...]:
    """Shape of the targets of a network's loss, for so many frames of features."""
    if name == "einv2":
        return examples, frames // 4, 2, 17
    return examples, frames // 5, 6, 4, 13
