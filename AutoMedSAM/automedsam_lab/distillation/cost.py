"""What a segmenter costs: parameters, multiply-accumulates, milliseconds, bytes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from automedsam.runtime.session import open_session
from automedsam.sam2.efficient_blocks import reparameterized
from automedsam_lab.distillation.export import DECODER, ENCODER, export_graph
from automedsam_lab.distillation.segmenters import OnnxStudent
from automedsam_lab.distillation.teacher import LiteMedSam
from automedsam_lab.models.student.network import SIDE, Student

REPEATS = 30


@dataclass(frozen=True)
class Cost:
    """One segmenter.

    Attributes:
        name: for tables.
        parameters: of all parts that run.
        encoder_macs: multiply-accumulates of the image encoder, attention products included.
        decoder_macs: of one box.
        encoder_ms: CPU time on one thread, the least of many runs; by precision.
        prompt_ms: from the encoder's maps to the logits of one box, two threads; by precision.
        images_per_second: encoder and one box, two threads, the median of many runs; by precision.
        megabytes: of the graphs on disk; by precision.
    """

    name: str
    parameters: int
    encoder_macs: int
    decoder_macs: int
    encoder_ms: dict[str, float]
    prompt_ms: dict[str, float]
    images_per_second: dict[str, float]
    megabytes: dict[str, float]


def macs(run: Callable[[], Any]) -> int:
    """Multiply-accumulates of a call, as PyTorch's own counter has them (half of its operations)."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops()) // 2


def fastest(
    run: Callable[[], Any], repeats: int = REPEATS, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float]:
    """The least and the median milliseconds of a call, after two that are not counted.

    Args:
        run: the call.
        repeats: how often.
        clock: in seconds; `time.thread_time` for what runs on the calling thread alone, which other programs hardly
            lengthen.
    """
    times = []
    for turn in range(repeats + 2):
        began = clock()
        run()
        if turn > 1:
            times.append(1000 * (clock() - began))
    return min(times), float(np.median(times))


def student_cost(
    student: Student,
    folder: Path,
    precisions: tuple[str, ...] = ("fp32", "int8"),
    repeats: int = REPEATS,
    name: str = "",
) -> Cost:
    """Measures a student.

    Args:
        student: with or without trained weights.
        folder: of its export.
        precisions: to measure.
        repeats: runs of each measurement.
        name: for tables; made of the architecture's if empty.
    """
    from automedsam_lab.models.student.network import box_prompts

    merged = reparameterized(student)
    assert isinstance(merged, Student)
    image, box = torch.rand(1, 3, SIDE, SIDE), torch.tensor([[40.0, 50.0, 150.0, 160.0]])
    with torch.no_grad():
        levels = merged.encode(image)
    single, prompt, rate, size = {}, {}, {}, {}
    pixels, corners = image.numpy(), box[0].numpy()
    for precision in precisions:
        alone = OnnxStudent(folder, precision, threads=1)
        single[precision] = fastest(partial(alone.encode, pixels), repeats, time.thread_time)[0]
        both = OnnxStudent(folder, precision, threads=2)
        prompt[precision] = fastest(partial(both.decode_box, both.encode(pixels), corners), repeats)[0]
        whole = fastest(partial(both.segment_box, pixels, corners), repeats)[1]
        rate[precision] = 1000 / whole
        size[precision] = sum((folder / f"{part}.{precision}.onnx").stat().st_size for part in (ENCODER, DECODER)) / 1e6
    return Cost(
        name or f"Student {student.architecture.name}".strip(),
        sum(one.numel() for one in merged.parameters()),
        macs(lambda: merged.encode(image)),
        macs(lambda: merged.decode(levels, box_prompts(box))),
        single,
        prompt,
        rate,
        size,
    )


def teacher_cost(teacher: LiteMedSam, checkpoint: Path, repeats: int = 5) -> Cost:
    """Measures LiteMedSAM, its encoder and decoder in ONNX Runtime in FP32."""
    image, box = torch.rand(1, 3, SIDE, SIDE), torch.tensor([[40.0, 50.0, 150.0, 160.0]])
    features = teacher.embed(image)
    network: Any = teacher.network
    inputs = {"image": image}
    decoder = _TeacherDecoder(teacher)
    with tempfile.TemporaryDirectory() as work:
        path, other = Path(work) / "encoder.onnx", Path(work) / "decoder.onnx"
        export_graph(network.image_encoder, inputs, ("embedding",), path)
        export_graph(decoder, {"embedding": features.embedding, "box": box}, ("logits",), other)
        sessions = [open_session(path, 1), open_session(path, 2), open_session(other, 2)]
        feed = {"image": image.numpy()}
        prompt = {"embedding": features.embedding.numpy(), "box": box.numpy()}
        single = fastest(lambda: sessions[0].run(None, feed), repeats, time.thread_time)[0]
        decode = fastest(lambda: sessions[2].run(None, prompt), repeats)[0]
        whole = fastest(lambda: (sessions[1].run(None, feed), sessions[2].run(None, prompt)), repeats)[1]
    return Cost(
        teacher.name,
        sum(one.numel() for one in network.parameters()),
        macs(lambda: network.image_encoder(image)),
        macs(lambda: teacher.decode(features, box)),
        {"fp32": single},
        {"fp32": decode},
        {"fp32": 1000 / whole},
        {"fp32": checkpoint.stat().st_size / 1e6},
    )


class _TeacherDecoder(nn.Module):
    """Prompt encoder and mask decoder as one graph."""

    def __init__(self, teacher: LiteMedSam) -> None:
        super().__init__()
        self.network: Any = teacher.network

    def forward(self, embedding: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        sparse, dense = self.network.prompt_encoder(points=None, boxes=box[:, None], masks=None)
        logits, _ = self.network.mask_decoder(
            image_embeddings=embedding,
            image_pe=self.network.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        result: torch.Tensor = logits
        return result
