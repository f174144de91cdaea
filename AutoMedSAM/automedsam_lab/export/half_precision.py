"""Weights as 16-bit floats, for half the bytes; what computes with them turns them into 32 bits first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write

# Fewer numbers are not worth a node of the graph.
MIN_ELEMENTS = 64
_TOO_LARGE = "{} of {} does not fit 16-bit floats: its greatest value is {:g}; ship the weights of 32 bits."


def write_half_precision_segmenter(weights: Path, out: Path) -> None:
    """Writes a trained segmenter's weights as safetensors of 16-bit floats, with its architecture.

    Args:
        weights: `segmenter.pt` of `train segmenter`.
        out: the `.safetensors` file.

    Raises:
        AutoMedSAMError: if the weights cannot be read, or are too large for 16 bits.
    """
    import torch
    from safetensors.torch import save

    from automedsam.sam2.torch_networks import load_model

    model, architecture = load_model(weights)
    state = {}
    for name, tensor in model.state_dict().items():
        half = tensor.half() if tensor.is_floating_point() else tensor
        if not bool(torch.isfinite(half.float()).all()):
            message = (
                f"{name} of {weights} does not fit 16-bit floats: its greatest value is {float(tensor.abs().max()):g}."
            )
            raise AutoMedSAMError(message)
        state[name] = half.contiguous()
    # `save_file` would make a file that only its owner can read.
    content = save(state, metadata={"architecture": json.dumps(architecture.to_manifest())})
    with atomic_write(out) as unfinished:
        unfinished.write_bytes(content)


def write_half_precision_graph(graph: Path, out: Path) -> None:
    """Writes an ONNX graph whose 32-bit weights are stored as 16-bit floats and cast when the graph is loaded.

    ONNX Runtime folds the casts into constants, so that it computes in 32 bits and as fast as before.

    Args:
        graph: with 32-bit weights.
        out: the file to write.

    Raises:
        AutoMedSAMError: if a weight is too large for 16 bits.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(graph)
    casts, kept = [], []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size < MIN_ELEMENTS:
            kept.append(weight)
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            message = (
                f"{weight.name} of {graph} does not fit 16-bit floats: its greatest value is {abs(values).max():g}."
            )
            raise AutoMedSAMError(message)
        kept.append(numpy_helper.from_array(half, f"{weight.name}_half"))
        casts.append(helper.make_node("Cast", [f"{weight.name}_half"], [weight.name], to=TensorProto.FLOAT))
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    with atomic_write(out) as unfinished:
        onnx.save(model, str(unfinished))
