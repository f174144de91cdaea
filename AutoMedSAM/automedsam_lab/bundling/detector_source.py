"""The detectors that a user may have: a YOLO-NAS checkpoint, an exported ONNX file, or that of another bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from automedsam.bundle import MANIFEST_NAME, Bundle, load_bundle
from automedsam.contract.backends import Backend
from automedsam.core.volume import Plane
from automedsam.detection.detector import ANCHOR_STRIDES, ResizeMode
from automedsam.errors import AutoMedSAMError
from automedsam_lab.checkpoints.matching import (
    MetaTensorMode,
    Mismatch,
    compare,
    read_state_dict,
    read_stored,
    shapes_of,
)
from automedsam_lab.models.yolo_nas import SIZES

LAB_KEYS = frozenset({"settings", "average", "model"})
DEFAULT_INPUT = (640, 640)
_CLASSES = "heads.head1.cls_pred.weight"


@dataclass(frozen=True)
class DetectorMetadata:
    """What the lab's detectors tell of the data that they learnt from; None where one does not.

    Attributes:
        segments: the name of each class by its label value, in the order of the scores; empty if unknown.
        modality: in a bundle's words.
        window: grey levels that became 0 and 255.
        plane: in which volumes were cut.
        license: the terms of the data, which the weights inherit.
    """

    segments: Mapping[int, str] = field(default_factory=dict)
    modality: str | None = None
    window: tuple[float, float] | None = None
    plane: Plane | None = None
    license: str | None = None


@dataclass(frozen=True)
class DetectorSource:
    """A detector that was looked at, and is exported when asked.

    Attributes:
        about: what it is, in words.
        classes: how many classes it scores.
        input_size: height and width of its input in pixels.
        context_mm: see `automedsam.detection.detector.DetectorSettings`.
        write_fp32: writes the FP32 ONNX file; None where `ready` has the files.
        ready: files by precision that are taken as they are.
        bundle: the bundle that it comes from, whose settings it keeps.
        fit: how slices are brought to its input.
        training: the metadata of its training.
    """

    about: str
    classes: int
    input_size: tuple[int, int]
    context_mm: float
    write_fp32: Callable[[Path], None] | None
    ready: Mapping[str, Path]
    bundle: Bundle | None = None
    fit: ResizeMode = ResizeMode.STRETCH
    training: DetectorMetadata = field(default_factory=DetectorMetadata)


def open_detector_source(
    given: str, input_size: tuple[int, int] | None = None, fit: ResizeMode | None = None
) -> DetectorSource:
    """Looks at a detector without writing anything.

    Args:
        given: a checkpoint (of the lab, of super-gradients' trainer, or a bare state dict of YOLO-NAS S, M or L),
            an ONNX file as `automedsam-lab export detector` writes it, or a bundle's name or folder.
        input_size: height and width in pixels, for a checkpoint that does not tell its own.
        fit: how slices are brought to that size, for a file that does not tell; stretched if None.

    Raises:
        AutoMedSAMError: if it is none of these, or does not fit.
    """
    path = Path(given)
    if (path / MANIFEST_NAME).is_file() or not path.suffix:
        source = _of_bundle(load_bundle(given))
        _check_fit(path, source.fit, fit)
        return source
    if not path.is_file():
        message = f"There is no detector {given}: give a checkpoint, an ONNX file, or a model of 'automedsam models'."
        raise AutoMedSAMError(message)
    if path.suffix.lower() == ".onnx":
        return _of_onnx(path, input_size, fit)
    return _of_checkpoint(path, input_size, fit)


def _of_bundle(bundle: Bundle) -> DetectorSource:
    there = [backend for backend in Backend if _has_detector(bundle, backend)]
    ready = {backend.detector_key: bundle.file("detector", backend) for backend in there}
    if Backend.INT8 not in there:
        message = f"The bundle {bundle.name} has no INT8 detector here: choose another, or give a checkpoint."
        raise AutoMedSAMError(message)
    settings = bundle.detector
    about = f"the detector of {bundle.name} {bundle.version}"
    return DetectorSource(
        about, len(settings.labels), settings.input_size, settings.context_mm, None, ready, bundle, settings.fit
    )


def _has_detector(bundle: Bundle, backend: Backend) -> bool:
    paths = bundle.paths(backend)
    return "detector" in paths and len(paths) > 1 and paths["detector"].is_file()


def _of_checkpoint(path: Path, input_size: tuple[int, int] | None, fit: ResizeMode | None) -> DetectorSource:
    from automedsam_lab.export.detector import export_detector, export_model
    from automedsam_lab.models.yolo_nas import build_yolo_nas

    stored = read_stored(path)
    if isinstance(stored, Mapping) and stored.keys() >= LAB_KEYS:
        settings: Mapping[str, Any] = stored["settings"]

        def export(out: Path) -> None:
            export_detector(path, out)

        return _of_settings(path, settings, export, input_size, fit)
    state = read_state_dict(path)
    letter, classes = _recognise(path, state)
    chosen = input_size or DEFAULT_INPUT

    def write(out: Path) -> None:
        model = build_yolo_nas(letter, classes)
        model.load_state_dict(state)
        export_model(model.eval(), chosen, out, str(path))

    about = f"YOLO-NAS-{letter.upper()}"
    return DetectorSource(about, classes, chosen, 0.0, write, {}, fit=fit or ResizeMode.STRETCH)


def _of_settings(
    path: Path,
    settings: Mapping[str, Any],
    write: Callable[[Path], None],
    input_size: tuple[int, int] | None,
    fit: ResizeMode | None,
) -> DetectorSource:
    """A detector, by the metadata that the lab's training stored with it.

    Raises:
        AutoMedSAMError: if required metadata are missing, or contradict the user's options.
    """
    try:
        height, width = (int(side) for side in settings["input_size"])
        names = [str(name) for name in settings["classes"]]
        own = ResizeMode(settings.get("fit", ResizeMode.STRETCH.value))
        source = DetectorSource(
            about=f"the lab's detector for {settings['task']}",
            classes=len(names),
            input_size=(height, width),
            context_mm=float(settings["context_mm"]),
            write_fp32=write,
            ready={},
            fit=own,
            training=_training_metadata(settings, names),
        )
    except (KeyError, TypeError, ValueError) as error:
        message = f"{path} has missing or faulty detector metadata ({error!r}): train it again."
        raise AutoMedSAMError(message) from error
    _check_input(path, source.input_size, input_size)
    _check_fit(path, own, fit)
    return source


def _training_metadata(settings: Mapping[str, Any], names: list[str]) -> DetectorMetadata:
    """What the poster's recipe writes; the starter detectors' labels are their tasks' business."""
    if "values" not in settings:
        return DetectorMetadata()
    window, plane, terms = (settings.get(name) for name in ("window", "plane", "licence"))
    return DetectorMetadata(
        segments=dict(zip((int(value) for value in settings["values"]), names, strict=True)),
        modality=settings.get("modality"),
        window=None if window is None else (float(window[0]), float(window[1])),
        plane=None if plane is None else Plane(plane),
        license=terms,
    )


def _recognise(path: Path, state: Mapping[str, Tensor]) -> tuple[str, int]:
    """The size and the class count that a state dict's shapes tell.

    Raises:
        AutoMedSAMError: if it is no YOLO-NAS of super-gradients 3.7.
    """
    from automedsam_lab.models.yolo_nas import build_yolo_nas

    if _CLASSES not in state:
        message = (
            f"{path} is no YOLO-NAS checkpoint ({_CLASSES} is missing, the first key is {next(iter(state))}): give "
            "one of super-gradients, before its blocks are fused."
        )
        raise AutoMedSAMError(message)
    classes, found = len(state[_CLASSES]), shapes_of(state)
    mismatches: dict[str, Mismatch] = {}
    for letter in SIZES:
        with MetaTensorMode():
            wanted = shapes_of(build_yolo_nas(letter, classes).state_dict())
        mismatches[letter] = compare(found, wanted)
        if not mismatches[letter]:
            return letter, classes
    nearest = min(SIZES, key=lambda letter: len(mismatches[letter].lines()))
    message = (
        f"{path} fits no YOLO-NAS of super-gradients 3.7; the nearest is {nearest.upper()} with {classes} classes: "
        f"{mismatches[nearest].summary()}."
    )
    raise AutoMedSAMError(message)


def _of_onnx(path: Path, input_size: tuple[int, int] | None, fit: ResizeMode | None) -> DetectorSource:
    import onnx

    from automedsam_lab.export.detector import read_settings

    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's and onnx's exceptions share no public base class.
        message = f"{path} is no ONNX model, or a damaged one ({type(error).__name__}): export it again."
        raise AutoMedSAMError(message) from error
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear", "QLinearConv") for node in model.graph.node):
        message = f"{path} is quantized already: give the FP32 export."
        raise AutoMedSAMError(message)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {node.name: _dimensions(node) for node in model.graph.input if node.name not in weights}
    outputs = {node.name: _dimensions(node) for node in model.graph.output}
    if list(inputs) != ["image"] or list(outputs) != ["boxes", "scores"]:
        message = (
            f"{path} takes {', '.join(inputs)} and gives {', '.join(outputs)}, not the image and the boxes and scores "
            "of all anchors that the engine reads: export it without NMS, as 'automedsam-lab export detector' does."
        )
        raise AutoMedSAMError(message)
    batch, channels, *sides = inputs["image"]
    if batch is not None or channels != 3 or len(sides) != 2:
        shape = tuple(inputs["image"])
        message = f"{path} takes images {shape}: export it for 3 channels with the number of images free."
        raise AutoMedSAMError(message)
    height, width = (side or chosen for side, chosen in zip(sides, input_size or DEFAULT_INPUT, strict=True))
    _check_input(path, (height, width), input_size)
    classes = _check_outputs(path, (height, width))

    def write(out: Path) -> None:
        onnx.save(model, out)  # with weights that lay in files beside it

    if settings := read_settings(model):
        return _of_settings(path, settings, write, input_size, fit)
    return DetectorSource(
        "an exported detector", classes, (height, width), 0.0, write, {}, fit=fit or ResizeMode.STRETCH
    )


def _dimensions(value: Any) -> list[int | None]:
    return [dimension.dim_value or None for dimension in value.type.tensor_type.shape.dim]


def _check_outputs(path: Path, size: tuple[int, int]) -> int:
    """Runs the file on two empty images, and returns the number of classes.

    Raises:
        AutoMedSAMError: if it gives other than boxes `(2, A, 4)` and scores `(2, A, classes)` of YOLO-NAS's anchors.
    """
    import numpy as np

    from automedsam.runtime.session import open_session

    session = open_session(path, threads=1)
    try:
        boxes, scores = session.run(["boxes", "scores"], {"image": np.zeros((2, 3, *size), np.float32)})
    except Exception as error:  # ONNX Runtime's exceptions share no public base class.
        message = f"{path} cannot be run on images of {size[0]} x {size[1]} pixels ({type(error).__name__})."
        raise AutoMedSAMError(message) from error
    anchors = sum((size[0] // stride) * (size[1] // stride) for stride in ANCHOR_STRIDES)
    if boxes.shape != (2, anchors, 4) or scores.shape[:2] != (2, anchors) or scores.ndim != 3:
        message = (
            f"{path} gives boxes {boxes.shape} and scores {scores.shape} for 2 images, not (2, {anchors}, 4) and "
            f"(2, {anchors}, classes): export a YOLO-NAS without NMS."
        )
        raise AutoMedSAMError(message)
    return int(scores.shape[2])


def _check_input(path: Path, own: tuple[int, int], requested: tuple[int, int] | None) -> None:
    if requested is not None and requested != own:
        message = (
            f"{path} was made for {own[0]} x {own[1]} pixels, not {requested[0]} x {requested[1]}: leave the size out."
        )
        raise AutoMedSAMError(message)


def _check_fit(path: Path, own: ResizeMode, requested: ResizeMode | None) -> None:
    if requested is not None and requested is not own:
        message = f"{path} learnt from images fitted by {own.value}, not {requested.value}: leave --detector-fit out."
        raise AutoMedSAMError(message)
