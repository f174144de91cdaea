"""Export of a SAM 2 segmenter to four ONNX graphs, each checked against torch."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from automedsam.errors import AutoMedSAMError
from automedsam.quantization.hiera import for_export
from automedsam.quantization.memory_attention import FusedMemoryAttention
from automedsam.runtime.session import open_session
from automedsam.sam2.torch_networks import ImageEncoder, MaskDecoder, MemoryAttention, MemoryEncoder

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

OPSET = 17
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Graph:
    """One part: its module, inputs `(name -> example)`, output names and free axes."""

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    free_axes: dict[str, dict[int, str]]


def export_segmenter(model: SAM2Base, out: Path, begin: Callable[[str], object] = lambda _: None) -> dict[str, float]:
    """Writes `image_encoder.onnx`, `memory_attention.onnx`, `mask_decoder.onnx` and `memory_encoder.onnx`.

    The numbers of memories, pointers and points stay free. Each graph is compared with torch on random
    input, at several of those numbers.

    Args:
        model: a SAM 2 model in evaluation mode, on the CPU.
        out: the folder to write to; it is made if need be.
        begin: called with the name of each part before it is exported, and before it is compared; may raise to stop.

    Returns:
        The greatest difference of each part's outputs from torch, as a share of an output's greatest value where
        that is above 1 (trained features reach tens, and float32 rounds them accordingly).

    Raises:
        AutoMedSAMError: if a graph differs from torch by more than 1e-3.
        OSError: if a file cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    differences = {}
    graphs = part_graphs(for_export(model), FusedMemoryAttention, memories=2, pointers=3, points=2)
    for name, graph in graphs.items():
        begin(name)
        with tempfile.TemporaryDirectory(dir=out) as folder:
            exported = Path(folder) / f"{name}.onnx"
            with warnings.catch_warnings(), torch.inference_mode():
                # The legacy exporter warns that it is old; it needs no onnxscript and knows every operator here.
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    graph.module.eval(),
                    tuple(graph.inputs.values()),
                    str(exported),
                    input_names=list(graph.inputs),
                    output_names=list(graph.outputs),
                    dynamic_axes=graph.free_axes,
                    opset_version=OPSET,
                    dynamo=False,
                )
            begin(name)
            differences[name] = _difference(model, name, exported)
            if not differences[name] <= TOLERANCE:
                message = (
                    f"The export of {name} differs from torch by {differences[name]:.2g}: check the versions of "
                    "torch and onnxruntime."
                )
                raise AutoMedSAMError(message)
            exported.replace(out / exported.name)
    return differences


def _difference(model: SAM2Base, name: str, path: Path) -> float:
    session = open_session(path)
    wanted = [node.name for node in session.get_inputs()]
    worst = 0.0
    for memories, pointers, points in ((1, 1, 1), (2, 3, 2), (5, 4, 6)):
        graph = part_graphs(model, MemoryAttention, memories=memories, pointers=pointers, points=points)[name]
        with torch.inference_mode():
            expected = graph.module.eval()(*graph.inputs.values())
        expected = expected if isinstance(expected, tuple) else (expected,)
        found = session.run(None, {key: graph.inputs[key].numpy() for key in wanted})
        worst = max(worst, *(_apart(f, e.numpy()) for f, e in zip(found, expected, strict=True)))
    return worst


def _apart(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))


def part_graphs(
    model: SAM2Base, attention: type[MemoryAttention], *, memories: int, pointers: int, points: int
) -> dict[str, Graph]:
    """The four parts, with memory attention in the given form, and random example inputs of the given numbers."""
    generator = torch.Generator().manual_seed(memories)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    cells, width, size = model.sam_image_embedding_size, model.hidden_dim, model.image_size
    features = random(1, width, cells, cells)
    return {
        "image_encoder": Graph(
            ImageEncoder(model),
            {"image": random(1, 3, size, size)},
            ("high_res_0", "high_res_1", "features"),
            {},
        ),
        "memory_attention": Graph(
            attention(model),
            {
                "features": features,
                "memories": random(memories, model.mem_dim, cells, cells),
                "ages": torch.arange(memories) % model.num_maskmem,
                "pointers": random(pointers, width),
                "distances": torch.rand(pointers, generator=generator),
            },
            ("conditioned",),
            {
                "memories": {0: "memories"},
                "ages": {0: "memories"},
                "pointers": {0: "pointers"},
                "distances": {0: "pointers"},
            },
        ),
        "mask_decoder": Graph(
            MaskDecoder(model),
            {
                "features": features,
                "high_res_0": random(1, width // 8, 4 * cells, 4 * cells),
                "high_res_1": random(1, width // 4, 2 * cells, 2 * cells),
                "no_memory": torch.ones(1),
                "points": torch.rand(1, points, 2, generator=generator) * size,
                "labels": (torch.arange(points, dtype=torch.int32) % 5 - 1)[None],
                "mask": (random(1, 1, size, size) > 0).float(),
                "has_mask": torch.full((1,), float(points % 2)),
            },
            ("logits", "ious", "pointers", "presence"),
            {"points": {1: "points"}, "labels": {1: "points"}},
        ),
        "memory_encoder": Graph(
            MemoryEncoder(model),
            {
                "features": features,
                "logits": random(1, 1, 4 * cells, 4 * cells) * 5,
                "presence": random(1, 1),
                "binarise": torch.full((1,), float(points % 2)),
            },
            ("memory",),
            {},
        ),
    }
