"""Counts the multiplications and additions of a network from the shapes of its layers."""

import math
from typing import Any


def operations(network: Any) -> int:
    """Operations of one example's forward pass in convolutions, dense and recurrent layers.

    Training takes three times as many: the derivatives by inputs and by weights are products of the
    same size.

    Args:
        network: a `keras.Model` on inputs of known size.

    Returns:
        Multiplications plus additions.

    Raises:
        ValueError: a size is not known.
    """
    total = 0
    for layer in network.layers:
        # none of an input's own
        nodes = [node for node in layer._inbound_nodes if node.input_tensors]
        for node in nodes:  # a layer may be used more than once
            total += _of_layer(layer, node.input_tensors[0].shape, node.output_tensors[0].shape)
    return total


def _of_layer(layer: Any, inputs: tuple, outputs: tuple) -> int:
    """Operations of one use of a layer; shapes begin with the batch, which does not count."""
    kind = type(layer).__name__
    if kind == "Bidirectional":
        return 2 * _of_layer(layer.forward_layer, inputs, outputs)
    if kind not in ("Conv2D", "Dense", "GRU"):
        return 0
    if None in (*inputs[1:], *outputs[1:]):
        raise ValueError(
            f"Expected: sizes without None. Received: {layer.name} from {inputs} to {outputs}."
        )
    if kind == "GRU":
        return 2 * inputs[1] * 3 * layer.units * (inputs[2] + layer.units)
    taps = math.prod(layer.kernel_size) if kind == "Conv2D" else 1
    return 2 * taps * inputs[-1] * math.prod(outputs[1:])
