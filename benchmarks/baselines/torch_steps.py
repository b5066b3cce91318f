"""Runs steps of the PyTorch networks, one for each line of JSON on standard input.

    python benchmarks/baselines/torch_steps.py

Commands, each with one line of JSON as reply: {"do": "load", "model", "shape": [B, T, F, C],
"precision", "training", "amsgrad", "epsilon", "device"}: number of parameters; {"do": "load_adpit",
"arrays"}: the loss of the arrays of a file; {"do": "step"}: seconds.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch_models  # lies beside this file
import torch_teacher
import torch_tracks
from torch import Tensor, nn

FILES = torch_models, torch_tracks, torch_teacher
MODELS = {name: model for file in FILES for name, model in file.MODELS.items()}
LOSSES: dict[str, Callable] = {name: loss for file in FILES for name, loss in file.LOSSES.items()}


class Steps:
    """A network with a batch of random data."""

    def __init__(self, request: dict):
        torch.manual_seed(0)
        self.device = torch.device(request.get("device", "cpu"))
        self.precision = request["precision"]
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = (
            self.precision == "tf32"
        )
        examples, frames, bands, channels = request["shape"]
        name = request["model"]
        self.model: nn.Module = MODELS[name]().to(self.device)
        self.loss = LOSSES.get(name, torch_models.tags_loss)
        self.x = torch.randn(examples, channels, frames, bands).to(self.device)
        own = next(file for file in FILES if name in file.MODELS)
        shape = own.target_shape(name, examples, frames)
        self.y = torch.randint(0, 2, shape).float().to(self.device)
        self.training = request["training"]
        self.model.train(self.training)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            1e-3,
            eps=request.get("epsilon", 1e-8),
            amsgrad=request.get("amsgrad", False),
        )

    def forward(self) -> dict[str, Tensor]:
        """Runs the network, in bfloat16 if requested."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            return self.model(self.x)

    def step(self) -> float:
        """Runs one step and returns its seconds."""
        start = time.perf_counter()
        if self.training:
            self.optimizer.zero_grad()
            loss = self.loss(self.forward(), self.y)
            loss.backward()
            self.optimizer.step()
            if hasattr(self.model, "after_step"):
                self.model.after_step()
            loss.item()
        else:
            with torch.inference_mode():
                for value in self.forward().values():
                    value.float().cpu().numpy()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start


class Adpit:
    """ADPIT of the `target` and `output` of a file, and its gradient."""

    def __init__(self, path: str):
        arrays = np.load(path, allow_pickle=False)
        self.target, self.output = (torch.tensor(arrays[name]) for name in ("target", "output"))

    def forward_backward(self) -> float:
        """Computes both; returns the loss."""
        output = self.output.detach().requires_grad_()
        loss = torch_tracks.adpit_loss({"accdoa": output}, self.target)
        loss.backward()
        return loss.item()

    def step(self) -> float:
        """Computes both and returns the seconds."""
        start = time.perf_counter()
        self.forward_backward()
        return time.perf_counter() - start


def main() -> None:
    """Serves requests until the input ends; output of libraries is kept out of the replies."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    steps: Steps | Adpit | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "load":
            steps = None  # lets the memory of the one before go
            steps = Steps(request)
            reply: dict = {"parameters": torch_models.n_parameters(steps.model)}
        elif request["do"] == "load_adpit":
            steps = Adpit(request["arrays"])
            reply = {"loss": steps.forward_backward()}
        elif steps is None:
            raise ValueError(
                "There is no network to run. Expected: a request to load one before this."
            )
        else:
            reply = {"seconds": steps.step()}
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
