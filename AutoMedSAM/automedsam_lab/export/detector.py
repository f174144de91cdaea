"""Export a trained detector to one self-contained ONNX file, and check that it computes the same."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write
from automedsam_lab.models.onnx_predictor import onnx_predictor
from automedsam_lab.models.yolo_nas import fuse, load_detector

OPSET = 17
# How slices are fitted and which classes there are is stored in the file itself, under this name.
_SETTINGS = "automedsam_detector"
_CLASS_BIAS = "cls_pred.bias"
_BOX_TOLERANCE = 0.02
_SCORE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ExportCheck:
    """The largest differences between torch and ONNX Runtime on the same slices.

    Attributes:
        boxes: In input pixels.
        scores: In score, 0 to 1.
        megabytes: Size of the file.
    """

    boxes: float
    scores: float
    megabytes: float


class _RawOutput(torch.nn.Module):
    """Boxes `(B, A, 4)` xyxy in input pixels and scores `(B, A, C)`; suppression stays outside."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> Any:
        output = self.model(image)
        # While it is traced YOLO-NAS returns the decoded pair alone.
        return output if torch.jit.is_tracing() else output[0]  # type: ignore[attr-defined]


def export_detector(checkpoint: Path, out_onnx: Path) -> ExportCheck:
    """Write a checkpoint's averaged weights as ONNX: input `image`, outputs `boxes` and `scores`.

    Args:
        checkpoint: A file that `train_detector` wrote.
        out_onnx: The file to write; the batch size stays free, height and width are the trained ones.

    Returns:
        How closely ONNX Runtime agrees with torch.

    Raises:
        AutoMedSAMError: The checkpoint cannot be read, or the exported file computes something else.
    """
    model, settings = load_detector(checkpoint)
    height, width = settings["input_size"]
    return export_model(model, (height, width), out_onnx, str(checkpoint), settings)


def export_model(
    model: torch.nn.Module,
    size: tuple[int, int],
    out_onnx: Path,
    called: str,
    settings: Mapping[str, Any] | None = None,
) -> ExportCheck:
    """Write a YOLO-NAS as ONNX; see `export_detector`.

    Args:
        model: In evaluation mode; its blocks are fused in place.
        size: Height and width of the input, multiples of 32.
        out_onnx: The file to write.
        called: What to call the model in an error.
        settings: The checkpoint's metadata, which the file then carries too; see `read_settings`.

    Returns:
        How closely ONNX Runtime agrees with torch.

    Raises:
        AutoMedSAMError: The exported file computes something else.
    """
    height, width = size
    images = torch.rand(3, 3, height, width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        (boxes, scores), _ = model(images)
    out_onnx.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / out_onnx.name
        _write(model, (height, width), exported)
        found_boxes, found_scores = onnx_predictor(exported)(images.numpy())
        check = ExportCheck(
            float(np.abs(found_boxes - boxes.numpy()).max()),
            float(np.abs(found_scores - scores.numpy()).max()),
            exported.stat().st_size / 1e6,
        )
        if check.boxes > _BOX_TOLERANCE or check.scores > _SCORE_TOLERANCE:
            message = (
                f"The export of {called} differs from torch by {check.boxes:.3g} px and {check.scores:.3g} "
                "in score; check the versions of torch and onnx."
            )
            raise AutoMedSAMError(message)
        if settings is not None:
            _add_settings(exported, settings)
        with atomic_write(out_onnx) as unfinished:
            shutil.copyfile(exported, unfinished)
    return check


def shift_scores(exported: Path, offsets: Sequence[float]) -> None:
    """Adds to the logits of a detector's classes, in place.

    Args:
        exported: A file of `export_detector`.
        offsets: One for each class.

    Raises:
        AutoMedSAMError: If the file has no biases of that many classes.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(exported)
    biases = [one for one in model.graph.initializer if one.name.endswith(_CLASS_BIAS)]
    if not biases or any(list(one.dims) != [len(offsets)] for one in biases):
        message = f"{exported} scores no {len(offsets)} classes as a YOLO-NAS does: export it again."
        raise AutoMedSAMError(message)
    for bias in biases:
        shifted = numpy_helper.to_array(bias) + np.asarray(offsets, np.float32)
        bias.CopyFrom(numpy_helper.from_array(shifted, bias.name))
    onnx.save(model, exported)


def read_settings(model: Any) -> dict[str, Any]:
    """The settings that `export_detector` put into an ONNX model; empty for another's."""
    stored = next((entry.value for entry in model.metadata_props if entry.key == _SETTINGS), "{}")
    try:
        settings = json.loads(stored)
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}


def _add_settings(path: Path, settings: Mapping[str, Any]) -> None:
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {_SETTINGS: json.dumps(dict(settings))})
    onnx.save(model, path)


def _write(model: torch.nn.Module, size: tuple[int, int], path: Path) -> None:
    """Fuse the re-parametrized blocks of a model in place and trace it."""
    fuse(model, size)
    with warnings.catch_warnings():
        # The legacy exporter is the one proven on YOLO-NAS, and needs no onnxscript; it warns of its age.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            _RawOutput(model).eval(),
            (torch.zeros(1, 3, *size),),
            str(path),
            opset_version=OPSET,
            input_names=["image"],
            output_names=["boxes", "scores"],
            dynamic_axes={name: {0: "n"} for name in ("image", "boxes", "scores")},
            dynamo=False,
        )
