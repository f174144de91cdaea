"""A student as ONNX graphs, in FP32 and in INT8 (static QDQ, unsigned activations, weights per channel)."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_folder
from automedsam.quantization.quantizer import Method, PartPlan, Quantizer, Scheme
from automedsam.runtime.session import open_session
from automedsam.sam2.efficient_blocks import reparameterized
from automedsam.sam2.propagation import IMAGENET_MEAN, IMAGENET_STD
from automedsam_lab.data.sets.images import Part
from automedsam_lab.distillation.pack import Pack, unit_range
from automedsam_lab.models.student.network import SIDE, Levels, Prompts, Student

ENCODER, DECODER = "image_encoder", "mask_decoder"
OPSET, TOLERANCE = 17, 1e-3
CALIBRATION_IMAGES = 48
PRECISIONS = ("fp32", "int8")
# Layer norms and softmax lose much in 8 bits; convolutions and matrix products are where the time goes.
ENCODER_OPERATORS = ("Conv", "Relu", "Add", "MatMul", "Resize")


class EncoderGraph(nn.Module):
    """An image `(1, 3, 256, 256)` with ImageNet's mean and deviation to the three maps that the decoder reads."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        levels = self.student.encode(image * self.student.std + self.student.mean)
        return levels.fine, levels.middle, levels.coarse


class DecoderGraph(nn.Module):
    """The maps, points `(1, p, 2)`, labels `(1, p)`, a filled box `(1, 1, 256, 256)` and whether it is given."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(  # noqa: PLR0913 - the inputs of an ONNX graph
        self,
        features: Tensor,
        high_res_0: Tensor,
        high_res_1: Tensor,
        points: Tensor,
        labels: Tensor,
        mask: Tensor,
        has_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        levels = Levels(high_res_0, high_res_1, features, high_res_1)
        logits, ious = self.student.decode(levels, Prompts(points, labels, mask, has_mask))
        return logits, ious


def export_student(student: Student, pack: Pack, out: Path) -> Path:
    """Writes both graphs in both precisions.

    The encoder's INT8 is static; the decoder's products are quantized as they come (dynamic), as a bundle's are.

    Args:
        student: with its weights.
        pack: whose training images the activations are calibrated with.
        out: a new folder.

    Returns:
        `out`.

    Raises:
        AutoMedSAMError: if a graph differs from torch, or the folder cannot be written.
    """
    merged = reparameterized(student)
    assert isinstance(merged, Student)
    with atomic_folder(out) as unfinished, tempfile.TemporaryDirectory() as work:
        export_graph(
            EncoderGraph(merged),
            _encoder_inputs(),
            ("high_res_0", "high_res_1", "features"),
            unfinished / f"{ENCODER}.fp32.onnx",
        )
        export_graph(
            DecoderGraph(merged),
            _decoder_inputs(student.architecture.d_model),
            ("logits", "ious"),
            unfinished / f"{DECODER}.fp32.onnx",
            {"points": {1: "points"}, "labels": {1: "points"}},
        )
        feeds = [{"image": image} for image in calibration_images(pack)]
        quantize_encoder(unfinished / f"{ENCODER}.fp32.onnx", feeds, unfinished / f"{ENCODER}.int8.onnx", Path(work))
        decoder = Quantizer(unfinished / f"{DECODER}.fp32.onnx", (), Path(work))
        decoder.write(unfinished / f"{DECODER}.int8.onnx", PartPlan(Scheme.DYNAMIC))
        student.architecture.write(unfinished / "architecture.json")
    return out


def quantize_encoder(
    source: Path, feeds: Sequence[dict[str, NDArray[np.float32]]], out: Path, work: Path, method: Method = Method.MINMAX
) -> None:
    """Writes a convolutional graph in static INT8: QDQ, activations U8, weights S8 per channel."""
    Quantizer(source, feeds, work).write(out, PartPlan(Scheme.STATIC, method, ENCODER_OPERATORS))


def calibration_images(pack: Pack, count: int = CALIBRATION_IMAGES) -> Iterator[NDArray[np.float32]]:
    """Training images of all sets in turn, as the encoder's graph takes them."""
    by_set = {name: [row for row in pack.of_part(Part.TRAIN) if pack.images[row].set == name] for name in pack.sets}
    chosen: list[int] = []
    for turn in range(count):
        chosen += [rows[turn] for rows in by_set.values() if turn < len(rows)]
        if len(chosen) >= count:
            break
    for row in chosen[:count]:
        yield network_input(pack.pixels[row], pack.images[row].content)


def network_input(framed: NDArray[np.uint8], content: tuple[int, int]) -> NDArray[np.float32]:
    """A picture of a pack as `(1, 3, 256, 256)` with ImageNet's mean and deviation."""
    normalized = (unit_range(framed, content) - IMAGENET_MEAN) / IMAGENET_STD
    return np.asarray(normalized[None], np.float32)


def export_graph(
    module: nn.Module,
    inputs: dict[str, Tensor],
    outputs: Sequence[str],
    path: Path,
    free_axes: dict[str, dict[int, str]] | None = None,
) -> None:
    """Writes a module in evaluation mode as ONNX, and holds it against torch.

    Raises:
        AutoMedSAMError: if they differ by more than a thousandth of the greatest value.
    """
    with warnings.catch_warnings(), torch.inference_mode():
        # The legacy exporter says that it is old; it needs no onnxscript and knows every operator here.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=free_axes or {},
            opset_version=OPSET,
            dynamo=False,
        )
        expected = module(*inputs.values())
    expected = expected if isinstance(expected, tuple) else (expected,)
    session = open_session(path)
    known = {node.name for node in session.get_inputs()}
    found = session.run(None, {name: value.numpy() for name, value in inputs.items() if name in known})
    for name, one, other in zip(outputs, found, expected, strict=True):
        reference = other.numpy()
        apart = float(np.abs(one - reference).max() / max(1.0, np.abs(reference).max()))
        if not apart <= TOLERANCE:
            message = f"The export of {path.stem} differs from torch by {apart:.2g} in {name}: check torch's version."
            raise AutoMedSAMError(message)


def _encoder_inputs() -> dict[str, Tensor]:
    return {"image": torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))}


def _decoder_inputs(width: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "features": torch.randn(1, width, 16, 16, generator=generator),
        "high_res_0": torch.randn(1, width // 8, 64, 64, generator=generator),
        "high_res_1": torch.randn(1, width // 4, 32, 32, generator=generator),
        "points": torch.tensor([[[20.0, 30.0], [100.0, 120.0], [0.0, 0.0]]]),
        "labels": torch.tensor([[2, 3, -1]], dtype=torch.int32),
        "mask": torch.ones(1, 1, SIDE, SIDE),
        "has_mask": torch.ones(1),
    }
