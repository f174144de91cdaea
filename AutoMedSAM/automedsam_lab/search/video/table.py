"""What the video part costs on each propagated slice: memory attention, mask decoder and memory encoder in INT8.

The parts are exported and quantized as a bundle's are when nothing else was measured (dynamic matrix products), and run
in ONNX Runtime on one thread; the least CPU time of many runs counts. The image encoder is not counted: its neck, too,
grows with `d_model`.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import torch

from automedsam.errors import AutoMedSAMError
from automedsam.quantization.export import Graph, part_graphs
from automedsam.quantization.memory_attention import FusedMemoryAttention
from automedsam.quantization.quantizer import PartPlan, Quantizer, Scheme
from automedsam.quantization.segmenter import quantize_part
from automedsam.runtime.session import open_session
from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.build import build_sam2
from automedsam_lab.distillation.cost import macs
from automedsam_lab.distillation.export import export_graph
from automedsam_lab.search.latency_table import REPEATS, least_ms, measure_table, read_table
from automedsam_lab.search.video.space import VideoChoice, VideoSpace

ATTENTION, DECODER, MEMORY_ENCODER = "memory_attention", "mask_decoder", "memory_encoder"


def slice_keys(space: VideoSpace, choice: VideoChoice) -> list[str]:
    """The entries of a table that make up a propagated slice."""
    network = space.network(choice)
    place = f"{network.d_model}@{network.feature_size}"
    return [
        f"{ATTENTION} {place} layers {choice.memory_layers} memories {choice.memories}",
        f"{DECODER} {place} feedforward {network.decoder_feedforward}",
        f"{MEMORY_ENCODER} {place}",
    ]


def measure_video_table(space: VideoSpace, path: Path, *, repeats: int = REPEATS) -> None:
    """Measures what a table lacks of a space; see `measure_table`.

    Raises:
        AutoMedSAMError: if the file is no table, is one of the encoder's search, or was measured on another machine.
    """
    if path.exists():
        others = [
            key for key in read_table(path)["entries"] if key.split()[0] not in (ATTENTION, DECODER, MEMORY_ENCODER)
        ]
        if others:
            message = f"{path} is the table of another search space (it has {others[0]}): give another --latency."
            raise AutoMedSAMError(message)
    wanted = {key: (key.split()[0], choice) for choice in space.choices for key in slice_keys(space, choice)}
    measure_table(wanted, path, repeats=repeats, measure=lambda key, times: _measure(space, *wanted[key], times))


def _measure(space: VideoSpace, part: str, choice: VideoChoice, repeats: int) -> dict[str, float]:
    network = space.network(choice)
    # Networks that differ in the number of memories alone have the same graph, which leaves it free.
    most = replace(network, num_maskmem=1 + space.memories[-1])
    counts = space.memories if part == ATTENTION else (space.memories[-1],)
    ms = _least(part, most, counts, repeats)[choice.memories if part == ATTENTION else counts[0]]
    graph = _graph(part, most, choice.memories)
    return {"ms": round(ms, 4), "macs": macs(lambda: graph.module.eval()(*graph.inputs.values())) / 1e6}


@lru_cache(maxsize=4)
def _least(part: str, network: Sam2Architecture, memories: tuple[int, ...], repeats: int) -> dict[int, float]:
    """The least milliseconds of a part with random weights in INT8, by the number of memories, which take turns."""
    graph = _graph(part, network, memories[-1])
    with tempfile.TemporaryDirectory() as work:
        source, target = Path(work) / f"{part}.onnx", Path(work) / f"{part}.int8.onnx"
        export_graph(graph.module, graph.inputs, graph.outputs, source, graph.free_axes)
        plan = PartPlan(Scheme.DYNAMIC, scores=part == ATTENTION)
        quantize_part(Quantizer(source, (), Path(work)), source, target, plan, ())
        session = open_session(target, threads=1)
    known = {node.name for node in session.get_inputs()}
    runs = []
    for count in memories:
        inputs = _graph(part, network, count).inputs
        runs.append(partial(session.run, None, {name: inputs[name].numpy() for name in known}))
    return dict(zip(memories, least_ms(runs, repeats), strict=True))


def _graph(part: str, network: Sam2Architecture, memories: int) -> Graph:
    """A part as a slice far from the prompt runs it: with all its memories, the prompted slice's, and all pointers."""
    torch.manual_seed(0)
    counts = {"memories": 1 + memories, "pointers": network.max_obj_ptrs_in_encoder, "points": 1}
    return part_graphs(build_sam2(network).eval(), FusedMemoryAttention, **counts)[part]
