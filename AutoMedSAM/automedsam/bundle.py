"""Model bundles: a folder with `bundle.json` and model files, the only thing that passes from the lab to the engine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from automedsam.contract.manifest import MANIFEST_NAME, SCHEMA_VERSION, read_manifest
from automedsam.core.expected_input import ExpectedInput
from automedsam.core.segmentation import Segment
from automedsam.core.volume import Plane
from automedsam.detection.detector import DetectorSettings, FlipAugmentation, ResizeMode
from automedsam.detection.linking import LinkSettings
from automedsam.errors import AutoMedSAMError
from automedsam.io.models_folder import installed_folders
from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.propagation import SegmenterSettings
from automedsam.tracking.settings import TrackingSettings

__all__ = [
    "MANIFEST_NAME",
    "SCHEMA_VERSION",
    "Bundle",
    "TrackingSettings",
    "faulty_bundles",
    "file_hash",
    "list_bundles",
    "load_bundle",
]

BUILT_IN = Path(__file__).parent / "bundles"

# By precision: the backend that a person asks for, and which of the detector's files it takes.
_BACKENDS = {"int8": "int8", "fp32": "fp32-onnx", "torch": "fp32"}
_DETECTOR_OF = {"int8": "int8", "fp32": "fp32", "torch": "fp32"}


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model for one task, as its manifest describes it.

    Attributes:
        folder: where the manifest lies.
        manifest: the JSON of the manifest.
    """

    folder: Path
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        """The short name that a person types."""
        return str(self.manifest["name"])

    @property
    def version(self) -> str:
        """The bundle's own version."""
        return str(self.manifest["version"])

    @property
    def task(self) -> str:
        """What it finds, in a few words."""
        return str(self.manifest["task"])

    @property
    def licence(self) -> str:
        """The terms of the weights, which those of the training data decide."""
        return str(self.manifest["license"])

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the volume's channels must be."""
        return tuple(self.manifest["modalities"])

    @property
    def measured(self) -> dict[str, Any]:
        """Held-out figures, with their cases."""
        return dict(self.manifest.get("measured", {}))

    @cached_property
    def plane(self) -> Plane:
        """The plane in which the detector learnt."""
        return Plane(self.manifest["plane"])

    @cached_property
    def window(self) -> tuple[float, float] | None:
        """The grey levels that become 0 and 255; None takes the volume's own percentiles."""
        window = self.manifest["window"]
        return None if window is None else (float(window[0]), float(window[1]))

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The labels that it writes."""
        return tuple(
            Segment(int(s["value"]), str(s["name"]), (s["color"][0], s["color"][1], s["color"][2]), s["terminology"])
            for s in self.manifest["segments"]
        )

    @cached_property
    def detector(self) -> DetectorSettings:
        """How the detector is fed and read."""
        d = self.manifest["detector"]
        rows, columns = d["input_size"]
        mirror = None if d["mirror"] is None else FlipAugmentation(d["mirror"])
        return DetectorSettings(
            (rows, columns),
            tuple(d["labels"]),
            d["context_mm"],
            d["score_threshold"],
            d["nms_iou"],
            mirror,
            ResizeMode(d.get("fit", ResizeMode.STRETCH.value)),
        )

    @cached_property
    def expected_input(self) -> ExpectedInput | None:
        """What its training images looked like; None where the manifest does not describe them."""
        section = self.manifest.get("expected_input")
        return None if section is None else ExpectedInput.from_manifest(section)

    @cached_property
    def linking(self) -> LinkSettings:
        """How boxes become objects, at the detector's own threshold."""
        return LinkSettings(threshold=self.detector.score_threshold, **self.manifest["linking"])

    @cached_property
    def tracking(self) -> TrackingSettings:
        """How objects become prompts."""
        return TrackingSettings(**self.manifest["tracking"])

    @cached_property
    def architecture(self) -> Sam2Architecture:
        """The segmenter's network."""
        return Sam2Architecture.from_manifest(self.manifest["segmenter"]["architecture"])

    @property
    def segmenter(self) -> SegmenterSettings:
        """How the segmenter is run."""
        segmenter = self.manifest["segmenter"]
        return SegmenterSettings.of(
            self.architecture,
            box_as_mask=bool(segmenter["box_as_mask"]),
            memories=segmenter.get("memories"),
            memory_stride=segmenter.get("memory_stride", 1),
        )

    def golden(self, precision: str) -> dict[str, Any] | None:
        """What the segmenter's files of a precision answered where they were made; None if nobody took it down."""
        golden: dict[str, Any] | None = self.manifest["segmenter"].get("golden", {}).get(precision)
        return golden

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of its manifest, which names the SHA-256 of every other file: two bundles alike agree in it."""
        return file_hash(self.folder / MANIFEST_NAME)

    @property
    def size_bytes(self) -> int:
        """The bytes of all its files that are here."""
        paths = (self.folder / relative for relative in self.manifest["files"])
        return sum(path.stat().st_size for path in paths if path.is_file())

    @property
    def has_detector(self) -> bool:
        """Whether it finds objects by itself; one without a detector tracks objects from boxes that a user draws."""
        return bool(self.manifest["detector"]["files"])

    @property
    def no_detector_message(self) -> str:
        """The sentence for a bundle that is asked to find objects and has no detector."""
        return (
            f"The bundle {self.name} has no detector (its {MANIFEST_NAME} names no file under detector.files), so it "
            "segments only inside boxes that a user gives it: convert or download it again with --detector, or choose "
            "another model."
        )

    def has(self, precision: str) -> bool:
        """Whether the files of a precision ("int8", "fp32" or "torch") are here."""
        return all((self.folder / relative).is_file() for relative in self._named(precision).values())

    def files(self, precision: str, *, detector: bool = True) -> dict[str, Path]:
        """The files of a precision by part, each checked against its hash.

        Args:
            precision: "int8" or "fp32" for ONNX, "torch" for the checkpoint and the FP32 detector.
            detector: whether the detector is needed as well.

        Raises:
            AutoMedSAMError: if a file is missing, or is not the one that the manifest names.
        """
        checked = {}
        for part, relative in self._named(precision, detector=detector).items():
            path = (self.folder / relative).resolve()
            if not path.is_relative_to(self.folder.parent.resolve()):
                message = f"The bundle {self.name} names a file outside its folder ({relative}): do not use it."
                raise AutoMedSAMError(message)
            if not path.is_file():
                todo = (
                    "install the bundle again"
                    if precision == "int8"
                    else "choose the INT8 backend, or build them with 'automedsam-lab starter'"
                )
                message = (
                    f"The bundle {self.name} has no {precision.upper()} files here ({relative} is missing): {todo}."
                )
                raise AutoMedSAMError(message)
            if file_hash(path) != self.manifest["files"][relative]["sha256"]:
                message = f"The file {path} of bundle {self.name} is damaged or changed: install the bundle again."
                raise AutoMedSAMError(message)
            checked[part] = path
        return checked

    def _named(self, precision: str, *, detector: bool = True) -> dict[str, str]:
        detectors, segmenters = self.manifest["detector"]["files"], self.manifest["segmenter"]["files"]
        segmenter = segmenters.get(precision)
        if not detector and segmenter is not None:
            return dict(segmenter)
        if not detectors:
            raise AutoMedSAMError(self.no_detector_message)
        detector_file = self._detector_file(precision)
        if segmenter is None or detector_file is None:
            lacks = "detector" if segmenter is not None else "segmenter" if detector_file is not None else "model"
            others = [name for other, name in _BACKENDS.items() if other in segmenters and self._detector_file(other)]
            todo = f"choose the backend {' or '.join(others)}" if others else "install the bundle again"
            message = f"The bundle {self.name} has no {_BACKENDS[precision].upper()} {lacks}: {todo}."
            raise AutoMedSAMError(message)
        return {"detector": detector_file, **segmenter}

    def _detector_file(self, precision: str) -> str | None:
        files: dict[str, str] = self.manifest["detector"]["files"]
        # Beside a checkpoint, a detector of another bundle may come in INT8 alone.
        return files.get(_DETECTOR_OF[precision], files.get("int8") if precision == "torch" else None)


def load_bundle(name_or_path: str | Path) -> Bundle:
    """Loads a built-in or installed bundle by its name, or any bundle by its folder.

    Raises:
        AutoMedSAMError: if there is none, or its manifest cannot be read.
    """
    folder = Path(name_or_path)
    if not _is_bundle(folder):
        folder = BUILT_IN / str(name_or_path)
    if not _is_bundle(folder):
        folder = installed_folders().get(str(name_or_path), folder)
    if Path(name_or_path).name in ("", "..") or not _is_bundle(folder):
        known = ", ".join(bundle.name for bundle in list_bundles())
        message = (
            f"There is no model {name_or_path!s:.200}: choose one of {known}, give a bundle's folder, or download one "
            "('automedsam models list' shows which)."
        )
        raise AutoMedSAMError(message)
    return _read(folder)


def list_bundles(*, installed: bool = True) -> list[Bundle]:
    """The built-in bundles by name, then those that were downloaded or imported.

    Args:
        installed: Whether downloaded and imported bundles are included. Those with a faulty manifest are left out;
            `faulty_bundles` gives them.
    """
    built_in = [_read(path.parent) for path in sorted(BUILT_IN.glob(f"*/{MANIFEST_NAME}"))]
    return built_in + (_read_installed()[0] if installed else [])


def faulty_bundles() -> dict[str, str]:
    """The installed bundles that cannot be used: folder name to one sentence with the reason."""
    return _read_installed()[1]


def _read_installed() -> tuple[list[Bundle], dict[str, str]]:
    good, faulty = [], {}
    for name, folder in installed_folders().items():
        try:
            good.append(_read(folder))
        except AutoMedSAMError as error:
            faulty[name] = str(error)
    return good, faulty


def file_hash(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_bundle(folder: Path) -> bool:
    try:
        return (folder / MANIFEST_NAME).is_file()
    except (OSError, ValueError):
        # A name that the system cannot have, such as one of a thousand letters.
        return False


def _read(folder: Path) -> Bundle:
    bundle = Bundle(folder, read_manifest(folder))
    try:
        # What is more than types and ranges, such as more memories than the network has, fails here, not in a run.
        _ = bundle.architecture, bundle.segmenter, bundle.linking, bundle.tracking, bundle.detector, bundle.segments
    except (AutoMedSAMError, ValueError, KeyError, TypeError) as error:
        message = f"The bundle in {folder} has a faulty {MANIFEST_NAME}: {error}"
        raise AutoMedSAMError(message) from error
    return bundle
