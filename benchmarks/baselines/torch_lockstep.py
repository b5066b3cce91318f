"""Trains a PyTorch network from given weights on given batches; for any interpreter that has torch.

    python benchmarks/baselines/torch_lockstep.py GIVEN.npz RESULT.npz

GIVEN holds `model`, a name in `torch_models.MODELS`, and as JSON `options` that it is built with;
`rate`, `amsgrad` and `epsilon` of Adam; `gradients`, True to return them; `x` (steps, B, T, F, C)
and `y` (steps, B, ...), the batches; under "weights/<name>" the arrays of the state dict. RESULT
gets `losses` (steps,), in float32 as trained; and of the first batch the gradients,
"float32/<name>" and "float64/<name>", and the outputs in float32, "outputs/<name>".
"""

import json
import sys
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
import torch_models  # lies beside this file
from torch import Tensor, nn


class Given:
    """Weights and batches, and the network that they belong to.

    Args:
        arrays: of the file.
        kind: floating-point type of everything.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], kind: torch.dtype):
        name = str(arrays["model"])
        self.model: nn.Module = torch_models.MODELS[name](**json.loads(str(arrays["options"]))).to(
            kind
        )
        weights = {
            key.removeprefix("weights/"): array
            for key, array in arrays.items()
            if key.startswith("weights/")
        }
        missing, unexpected = self.model.load_state_dict(
            {k: torch.tensor(v) for k, v in weights.items()}, strict=False
        )
        if unexpected or any(not key.endswith("num_batches_tracked") for key in missing):
            raise ValueError(
                f"The weights are of another network. Missing: {missing}. Unexpected: {unexpected}."
            )
        self.model.to(kind).train()
        self.loss = torch_models.LOSSES.get(name, torch_models.tags_loss)
        self.x = torch.tensor(arrays["x"]).to(kind).permute(0, 1, 4, 2, 3)  # (steps, B, C, T, F)
        self.y = torch.tensor(arrays["y"]).to(kind)

    def loss_of(self, step: int) -> Tensor:
        """The loss of a batch, whose gradients are then those of the weights."""
        self.model.zero_grad()
        self.outputs = self.model(self.x[step])
        loss = self.loss({name: _Kept(value) for name, value in self.outputs.items()}, self.y[step])
        loss.backward()
        return loss

    def gradients(self) -> dict[str, np.ndarray]:
        """The gradients of the last loss by name of the weight, those that there are."""
        named = self.model.named_parameters()
        return {
            name: weight.grad.numpy().copy() for name, weight in named if weight.grad is not None
        }


class _Kept(Tensor):
    """Outputs that stay of the type they are of: the losses ask for float32."""

    @staticmethod
    def __new__(cls, value: Tensor) -> "_Kept":
        return value.as_subclass(cls)

    def float(self) -> Tensor:  # type: ignore[override]
        return self.as_subclass(Tensor)


def train(given: Given, rate: float, amsgrad: bool, epsilon: float) -> list[float]:
    """Trains on one batch after another; returns their losses."""
    optimizer = torch.optim.Adam(given.model.parameters(), rate, eps=epsilon, amsgrad=amsgrad)
    losses = []
    for step in range(len(given.x)):
        losses.append(given.loss_of(step).item())
        optimizer.step()
    return losses


def main(source: str, target: str) -> None:
    """Runs the program."""
    arrays = dict(np.load(source, allow_pickle=False))
    results: dict[str, np.ndarray] = {}
    kinds = {"float64": torch.float64, "float32": torch.float32} if arrays["gradients"] else {}
    for name, kind in kinds.items():
        given = Given(arrays, kind)
        given.loss_of(0)
        results |= {f"{name}/{key}": gradient for key, gradient in given.gradients().items()}
        results |= {
            f"outputs/{key}": output.detach().numpy() for key, output in given.outputs.items()
        }
    adam = float(arrays["rate"]), bool(arrays["amsgrad"]), float(arrays["epsilon"])
    results["losses"] = np.array(train(Given(arrays, torch.float32), *adam))
    np.savez(target, **cast(dict[str, Any], results))


if __name__ == "__main__":
    main(*sys.argv[1:])
