"""The student: encoder, SAM 2's prompt encoder and mask decoder, for one image at a time or many.

The parts bear the names that they have in `SAM2Base`, and prompts are given as the engine gives them there (a box is
its two corners and, filled, a mask prompt): the weights are those of the image part of a SAM 2 video model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from automedsam.errors import AutoMedSAMError
from automedsam.sam2.efficient_blocks import LinearAttention
from automedsam.sam2.efficient_trunk import EfficientTrunk
from automedsam.sam2.propagation import IMAGENET_MEAN, IMAGENET_STD
from automedsam_lab.checkpoints.matching import compare, read_state_dict, read_stored, shapes_of
from automedsam_lab.models.student.architecture import StudentArchitecture

SIDE, STRIDE = 256, 16
BOX_LABELS, NO_POINT = (2, 3), -1


@dataclass(frozen=True)
class Prompts:
    """Prompts of n objects, each by a box or by points.

    Attributes:
        points: `(n, p, 2)` of `x, y` in frame pixels; a box is its two corners.
        labels: `(n, p)`: 1 on the object, 0 off it, 2 and 3 the corners of a box, -1 none.
        masks: `(n, 1, 256, 256)`, the filled boxes.
        has_mask: `(n,)`, 1 where a box was given, else 0.
    """

    points: Tensor
    labels: Tensor
    masks: Tensor
    has_mask: Tensor


@dataclass(frozen=True)
class Levels:
    """What the encoder makes of B images.

    Attributes:
        fine: `(B, d / 8, 64, 64)`, for the mask decoder.
        middle: `(B, d / 4, 32, 32)`, for the mask decoder.
        coarse: `(B, d, 16, 16)`, the embedding.
        shared: `(B, d, 32, 32)`, the pyramid at stride 8, which is compared with a teacher's embedding.
    """

    fine: Tensor
    middle: Tensor
    coarse: Tensor
    shared: Tensor

    def repeated(self, times: int) -> Levels:
        """Each image so many times in a row."""
        return Levels(
            *(level.repeat_interleave(times, 0) for level in (self.fine, self.middle, self.coarse, self.shared))
        )


class Lateral(nn.Module):
    """A 1 x 1 convolution under the name that it has in SAM 2's neck."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 1)

    def forward(self, level: Tensor) -> Tensor:
        result: Tensor = self.conv(level)
        return result


class Pyramid(nn.Module):
    """SAM 2's neck (Lin et al., 2017): each level plus the coarser one, enlarged; the coarsest is not handed on."""

    def __init__(self, widths: tuple[int, ...], d_model: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Lateral(width, d_model) for width in widths[::-1])

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Levels from fine to coarse; those at strides 4, 8 and 16, all `d_model` wide."""
        merged = self.convs[0](levels[-1])
        out = []
        for conv, level in zip(self.convs[1:], levels[-2::-1], strict=True):
            merged = conv(level) + F.interpolate(merged, scale_factor=2.0, mode="nearest")
            out.append(merged)
        return out[::-1]


class ImageEncoder(nn.Module):
    """Trunk and pyramid."""

    def __init__(self, architecture: StudentArchitecture, trunk: EfficientTrunk | None = None) -> None:
        super().__init__()
        self.trunk = trunk or EfficientTrunk(architecture.widths, architecture.stages)
        self.neck = Pyramid(architecture.widths, architecture.d_model)

    def forward(self, image: Tensor) -> list[Tensor]:
        """`(B, 3, 256, 256)` to the pyramid at strides 4, 8 and 16."""
        result: list[Tensor] = self.neck(self.trunk(image))
        return result


class Student(nn.Module):
    """The promptable segmenter.

    Args:
        architecture: its numbers.
        trunk: in place of the architecture's own, as a search has it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: StudentArchitecture, trunk: EfficientTrunk | None = None) -> None:
        from sam2.modeling.sam.mask_decoder import MaskDecoder
        from sam2.modeling.sam.prompt_encoder import PromptEncoder
        from sam2.modeling.sam.transformer import TwoWayTransformer

        super().__init__()
        self.architecture, width, cells = architecture, architecture.d_model, SIDE // STRIDE
        self.image_encoder = ImageEncoder(architecture, trunk)
        self.mask_downsample = nn.Conv2d(1, 1, 4, 4)
        self.sam_prompt_encoder = PromptEncoder(width, (cells, cells), (SIDE, SIDE), 16)
        self.sam_mask_decoder = MaskDecoder(
            transformer_dim=width,
            transformer=TwoWayTransformer(2, width, 8, architecture.decoder_feedforward),
            use_high_res_features=True,
            iou_prediction_use_sigmoid=True,
        )
        self.register_buffer("mean", torch.from_numpy(IMAGENET_MEAN).reshape(1, 3, 1, 1).float(), persistent=False)
        self.register_buffer("std", torch.from_numpy(IMAGENET_STD).reshape(1, 3, 1, 1).float(), persistent=False)
        with torch.no_grad():
            # A fresh mask prompt has a tenth of the image's contrast; so the decoder notices it from the first step.
            self.mask_downsample.weight.fill_(0.25)
            nn.init.constant_(self.mask_downsample.bias, -2.0)  # type: ignore[arg-type]
            self.sam_prompt_encoder.mask_downscaling[-1].weight.mul_(10.0)

    def encode(self, image: Tensor) -> Levels:
        """Reads images `(B, 3, 256, 256)` in 0..1."""
        fine, middle, coarse = self.image_encoder((image - self.mean) / self.std)
        decoder: Any = self.sam_mask_decoder
        return Levels(decoder.conv_s0(fine), decoder.conv_s1(middle), coarse, middle)

    def decode(self, levels: Levels, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Masks of n prompts, one of each of n images (see `Levels.repeated`).

        Returns:
            Logits `(n, 64, 64)` and the IoU that the model expects, `(n,)`.
        """
        encoder: Any = self.sam_prompt_encoder
        # bfloat16 has 8 bits: a coordinate would be off by a pixel.
        with torch.autocast(prompts.points.device.type, enabled=False):
            sparse, position = encoder._embed_points(prompts.points, prompts.labels, pad=False), encoder.get_dense_pe()
        given = prompts.has_mask.reshape(-1, 1, 1, 1)
        dense = given * encoder._embed_masks(self.mask_downsample(prompts.masks))
        dense = dense + (1 - given) * encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        decoder: Any = self.sam_mask_decoder
        logits, ious, _, _ = decoder.predict_masks(
            levels.coarse, position, sparse, dense, False, [levels.fine, levels.middle]
        )
        return logits[:, 0], ious[:, 0]

    def attention(self) -> Tensor | None:
        """How much tokens were attended to, `(B, h, w)` of the last attention of the last forward; None without."""
        found = [one.received for one in self.modules() if isinstance(one, LinearAttention)]
        return found[-1] if found else None


def box_prompts(boxes: Tensor) -> Prompts:
    """Prompts of half-open boxes `(n, 4)` of `x0, y0, x1, y1` in frame pixels."""
    count = len(boxes)
    # The engine appends one point that is none, as SAM does.
    labels = torch.tensor([*BOX_LABELS, NO_POINT], dtype=torch.int32).expand(count, 3)
    points = F.pad(boxes.reshape(count, 2, 2), (0, 0, 0, 1))
    return Prompts(points, labels, filled_boxes(boxes)[:, None], torch.ones(count))


def point_prompts(points: Tensor, labels: Tensor) -> Prompts:
    """Prompts of points `(n, p, 2)` of `x, y` in frame pixels, labels `(n, p)`: 1 on the object, 0 off it, -1 none."""
    count = len(points)
    blank = torch.zeros(count, 1, SIDE, SIDE)
    padded = F.pad(labels.to(torch.int32), (0, 1), value=NO_POINT)
    return Prompts(F.pad(points, (0, 0, 0, 1)), padded, blank, torch.zeros(count))


def filled_boxes(boxes: Tensor, side: int = SIDE) -> Tensor:
    """Each pixel's share `(n, side, side)` that lies in half-open boxes `(n, 4)`."""
    edge = torch.arange(side, dtype=boxes.dtype)
    low, high = boxes[:, :2, None], boxes[:, 2:, None]
    share = (torch.minimum(edge + 1, high) - torch.maximum(edge, low)).clamp(0, 1)
    return share[:, 1, :, None] * share[:, 0, None, :]


def load_student(path: Path) -> Student:
    """Reads a `student.pt`.

    Raises:
        AutoMedSAMError: if the file is damaged or no student's.
    """
    stored = read_stored(path)
    if not isinstance(stored, dict) or "architecture" not in stored or "model" not in stored:
        message = f"{path} is no student of this lab: give the student.pt that `automedsam-lab train efficient` wrote."
        raise AutoMedSAMError(message)
    student = Student(StudentArchitecture.from_json(stored["architecture"]))
    weights = read_state_dict(path)
    if mismatch := compare(shapes_of(weights), shapes_of(student.state_dict())):
        message = f"The weights in {path} are not of the architecture that it names ({mismatch.summary()})."
        raise AutoMedSAMError(message)
    student.load_state_dict(weights)
    return student.eval()
