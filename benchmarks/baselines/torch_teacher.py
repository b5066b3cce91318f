"""Mean teacher of 2019 and of 2023 (without mixup), for PyTorch: two networks, levels, losses.

Imports only torch: it is loaded by an interpreter without this project's packages.
"""

import copy
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

N_CLASSES = 10
DECAY, CONSISTENCY = 0.999, 2.0
FLOOR = 1e-5  # of magnitudes
# Quarters of a batch with labels of frames and of clips; half of it has none.
STRONG_QUARTER = {"teacher_2019": 3, "teacher_2023": 0}
WEAK_QUARTER = {"teacher_2019": 0, "teacher_2023": 1}
TIME_POOLING = {"teacher_2019": 8, "teacher_2023": 4}


class Glu(nn.Module):
    """Gated linear unit: a linear layer over the channels times the sigmoid of its input."""

    def __init__(self, n_channels: int):
        super().__init__()
        self.linear = nn.Linear(n_channels, n_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, T, F) to the same shape."""
        return self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) * torch.sigmoid(x)


class Crnn(nn.Module):
    """Gated convolutions, bidirectional GRUs, and clip-level probabilities by attention.

    Args:
        filters: of each convolution.
        pools: frames and bands of each average pooling; they leave one band.
        gru_units: of each direction of two layers.
        dropout: after each activation and after the GRUs.
    """

    def __init__(
        self,
        filters: Sequence[int],
        pools: Sequence[tuple[int, int]],
        gru_units: int,
        dropout: float = 0.5,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        for n_inputs, n_filters, pool in zip((1, *filters[:-1]), filters, pools, strict=True):
            layers += [nn.Conv2d(n_inputs, n_filters, 3, padding=1)]
            layers += [nn.BatchNorm2d(n_filters, eps=1e-3, momentum=0.99), Glu(n_filters)]
            layers += [nn.Dropout(dropout), nn.AvgPool2d(pool)]
        self.convolutions = nn.Sequential(*layers)
        self.gru = nn.GRU(filters[-1], gru_units, 2, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.frames = nn.Linear(2 * gru_units, N_CLASSES)
        self.scores = nn.Linear(2 * gru_units, N_CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, 1, T, F) to probabilities of frames (B, T', K) and of clips (B, K)."""
        x, _ = self.gru(self.convolutions(x).squeeze(3).transpose(1, 2))
        x = self.dropout(x)
        frames = torch.sigmoid(self.frames(x))
        weights = torch.softmax(self.scores(x), 2).clamp(1e-7, 1.0)
        return frames, (frames * weights).sum(1) / weights.sum(1)


def levels_2019(magnitudes: Tensor) -> Tensor:
    """Levels within 80 dB of each clip's peak."""
    level_db = 20 * torch.log10(magnitudes.clamp_min(FLOOR))
    return torch.maximum(level_db, level_db.amax((1, 2, 3), keepdim=True) - 80.0)


def levels_2023(magnitudes: Tensor) -> Tensor:
    """Levels from -50 to 80 dB, of which each clip's range becomes -1 to 1."""
    level_db = (20 * torch.log10(magnitudes.clamp_min(FLOOR))).clamp(-50.0, 80.0)
    low, high = (each((2, 3), keepdim=True) for each in (level_db.amin, level_db.amax))
    return 2 * (level_db - low) / (high - low + 1e-8) - 1


class MeanTeacher(nn.Module):
    """A student, and a teacher that is the running mean of its weights.

    Args:
        network: the student.
        levels: from magnitudes to levels.
        noise: standard deviation of the noise on the teacher's magnitudes.
    """

    def __init__(self, network: nn.Module, levels: Callable[[Tensor], Tensor], noise: float):
        super().__init__()
        self.student, self.teacher = network, copy.deepcopy(network)
        self.teacher.requires_grad_(False)
        self.levels, self.noise, self.steps = levels, noise, 0

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps magnitudes (B, 1, T, F) to the probabilities of both networks."""
        frames, clip = self.student(self.levels(x))
        with torch.no_grad():
            heard = x + self.noise * torch.randn_like(x) if self.noise else x
            teacher_frames, teacher_clip = self.teacher(self.levels(heard))
        theirs = {"teacher_frames": teacher_frames, "teacher_clip": teacher_clip}
        return {"frames": frames, "clip": clip, **theirs}

    @torch.no_grad()
    def after_step(self) -> None:
        """Moves the teacher's weights towards the student's."""
        self.steps += 1
        decay = min(1 - 1 / (self.steps + 1), DECAY)
        pairs = zip(self.teacher.parameters(), self.student.parameters(), strict=True)
        for theirs, ours in pairs:
            theirs.mul_(decay).add_(ours, alpha=1 - decay)


def teacher_loss(outputs: dict[str, Tensor], target: Tensor, name: str) -> Tensor:
    """Cross-entropy of labelled quarters of the batch, and the squared error to the teacher.

    Args:
        outputs: of `MeanTeacher`.
        target: (B, T', K) of frames; a clip has the classes of its frames.
        name: of the network.
    """
    outputs = {output: each.float() for output, each in outputs.items()}
    strong, weak = (quarter(len(target), which[name]) for which in (STRONG_QUARTER, WEAK_QUARTER))
    loss = functional.binary_cross_entropy(outputs["frames"][strong], target[strong])
    loss = loss + functional.binary_cross_entropy(outputs["clip"][weak], target[weak].amax(1))
    for each in ("frames", "clip"):
        loss = loss + CONSISTENCY * functional.mse_loss(outputs[each], outputs[f"teacher_{each}"])
    return loss


def quarter(examples: int, number: int) -> slice:
    """Rows of a quarter of the batch."""
    return slice(examples * number // 4, examples * (number + 1) // 4)


def teacher_2019() -> MeanTeacher:
    """The baseline of 2019."""
    network = Crnn((64, 64, 64), ((2, 4),) * 3, 64)
    return MeanTeacher(network, levels_2019, noise=0.25)


def teacher_2023() -> MeanTeacher:
    """The baseline of 2023."""
    pools = ((2, 2), (2, 2), *((1, 2),) * 5)
    network = Crnn((16, 32, 64, 128, 128, 128, 128), pools, 128)
    return MeanTeacher(network, levels_2023, noise=0.0)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "teacher_2019": teacher_2019,
    "teacher_2023": teacher_2023,
}
LOSSES: dict[str, Callable[[dict[str, Tensor], Tensor], Tensor]] = {
    name: partial(teacher_loss, name=name) for name in MODELS
}


def target_shape(name: str, examples: int, frames: int) -> tuple[int, ...]:
    """Shape of the targets of a network's loss, for so many frames of features."""
    return examples, frames // TIME_POOLING[name], N_CLASSES
