"""Model bundles: a folder with `bundle.json` and model files, the only thing that passes from the lab to the engine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from automedsam.contract.backend_files import can_make_int8, named_for, required_for
from automedsam.contract.backends import Backend
from automedsam.contract.channels import detector_channels, enclosing_segments, label_channels, segmenter_channels
from automedsam.contract.manifest import MANIFEST_NAME, SCHEMA_VERSION, manifest_hash, read_manifest
from automedsam.contract.roles import Role
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


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model for one task, as its manifest describes it.

    Attributes:
        folder: the folder of the manifest.
        manifest: the JSON of the manifest.

    Example:
        >>> bundle = load_bundle("glioma")
        >>> bundle.modalities, bundle.plane.value, [backend.value for backend in bundle.backends()]
        (('FLAIR',), 'axial', ['int8', 'fp32'])
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
    def license(self) -> str:
        """The terms of the weights, which those of the training data decide."""
        return str(self.manifest["license"])

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the volume's channels must be."""
        return tuple(self.manifest["modalities"])

    @cached_property
    def roles(self) -> tuple[Role, ...]:
        """The modalities, and by which other words the names and DICOM tags of images tell them."""
        return Role.of_manifest(self.manifest)

    @cached_property
    def inside(self) -> dict[int, int]:
        """For each label that lies inside another, that label."""
        return enclosing_segments(self.manifest["segments"])

    @cached_property
    def segmenter_channels(self) -> tuple[int, ...]:
        """The index of the modality in each of the segmenter's three input channels."""
        return segmenter_channels(self.manifest)

    @cached_property
    def label_channels(self) -> dict[int, tuple[int, ...]]:
        """The same for each label that is segmented on a modality of its own."""
        return label_channels(self.manifest)

    def window_of(self, modality: int) -> tuple[float, float] | None:
        """The intensities of a modality that become 0 and 255; None takes the volume's own percentiles."""
        window = self.manifest.get("windows", {}).get(self.modalities[modality], self.window)
        return None if window is None else (float(window[0]), float(window[1]))

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
            Segment(
                int(s["value"]),
                str(s["name"]),
                (s["color"][0], s["color"][1], s["color"][2]),
                s["terminology"],
                s.get("inside"),
            )
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
            detector_channels(self.manifest),
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
            knows_points=segmenter.get("knows_points"),
            memories=segmenter.get("memories"),
            memory_stride=segmenter.get("memory_stride", 1),
        )

    @property
    def caution(self) -> str:
        """Why no result of this model is to be trusted, as a clause; empty if that is not so."""
        return str(self.manifest.get("caution", ""))

    @property
    def training_split(self) -> dict[str, tuple[str, ...]]:
        """The patients by split ("train", "validation", "test"), as far as the manifest lists them."""
        split = self.manifest.get("training", {}).get("split", {})
        return {str(name): tuple(map(str, patients)) for name, patients in split.items()}

    def golden(self, backend: Backend) -> dict[str, Any] | None:
        """What the segmenter's files of a backend computed where they were made; None if it was not recorded."""
        golden: dict[str, Any] | None = self.manifest["segmenter"].get("golden", {}).get(backend.files_key)
        return golden

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of its manifest as it was installed, which names that of each file; see `manifest_hash`."""
        return manifest_hash(self.folder, self.manifest)

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
        """The error message for a bundle without a detector where objects are to be found."""
        return (
            f"The bundle {self.name} has no detector (its {MANIFEST_NAME} names no file under detector.files), so it "
            "segments only inside boxes that a user gives it: convert or download it again with --detector, or choose "
            "another model."
        )

    @property
    def int8_command(self) -> str:
        """The command that makes the INT8 files of a bundle with PyTorch weights; empty where there is none to make."""
        if not can_make_int8(self.manifest):
            return ""
        known = installed_folders().get(self.name) == self.folder
        return f"automedsam models int8 {self.name if known else self.folder} --volume FILE"

    def with_memories(self, memories: int, stride: int) -> Bundle:
        """The same model, propagating with another number of memories and another stride between them."""
        segmenter = {**self.manifest["segmenter"], "memories": memories, "memory_stride": stride}
        return Bundle(self.folder, {**self.manifest, "segmenter": segmenter})

    def backends(self) -> list[Backend]:
        """The backends whose files the manifest names and that are all here."""
        return [backend for backend in Backend if self.has(backend)]

    def has(self, backend: Backend) -> bool:
        """Whether the files that a run on a backend needs are named and here.

        A bundle with a detector needs that and the segmenter; one without any needs the segmenter alone.
        """
        required = required_for(self.manifest, backend)
        return required is not None and all((self.folder / relative).is_file() for relative in required.values())

    def paths(self, backend: Backend) -> dict[str, Path]:
        """The files that the manifest names for a backend, by component: "detector" and those of the segmenter.

        They are neither checked nor known to exist; a component that the manifest does not name is left out.
        """
        return {component: self.folder / relative for component, relative in named_for(self.manifest, backend).items()}

    def size_mb(self, backend: Backend) -> float | None:
        """The size of a backend's files in millions of bytes by the manifest; None if it names none."""
        named = set(named_for(self.manifest, backend).values())
        return sum(self.manifest["files"][relative]["bytes"] for relative in named) / 1e6 if named else None

    def file(self, component: str, backend: Backend) -> Path:
        """One file of a backend, checked against its hash; see `files` for the errors."""
        return self._checked(self._named(backend)[component], backend)

    def files(self, backend: Backend, *, detector: bool = True) -> dict[str, Path]:
        """The files of a backend by component ("detector" and those of the segmenter), checked against their hashes.

        Args:
            backend: the backend.
            detector: whether the detector is needed as well.

        Raises:
            AutoMedSAMError: if a file is missing, or is not the one that the manifest names.
        """
        named = self._named(backend, detector=detector)
        return {component: self._checked(relative, backend) for component, relative in named.items()}

    def _checked(self, relative: str, backend: Backend) -> Path:
        path = (self.folder / relative).resolve()
        if not path.is_relative_to(self.folder.parent.resolve()):
            message = f"The bundle {self.name} names a file outside its folder ({relative}): do not use it."
            raise AutoMedSAMError(message)
        if not path.is_file():
            todo = (
                "install the bundle again"
                if backend is Backend.INT8
                else "choose the INT8 backend, or install the bundle again"
            )
            kind = backend.value.upper()
            message = f"The bundle {self.name} has no {kind} files here ({relative} is missing): {todo}."
            raise AutoMedSAMError(message)
        if file_hash(path) != self.manifest["files"][relative]["sha256"]:
            message = f"The file {path} of bundle {self.name} is damaged or changed: install the bundle again."
            raise AutoMedSAMError(message)
        return path

    def _named(self, backend: Backend, *, detector: bool = True) -> dict[str, str]:
        named = named_for(self.manifest, backend)
        if not detector and named.keys() - {"detector"}:
            return {component: relative for component, relative in named.items() if component != "detector"}
        if detector and not self.has_detector:
            raise AutoMedSAMError(self.no_detector_message)
        if "detector" not in named or len(named) < 2:
            lacks = "model" if not named else "segmenter" if "detector" in named else "detector"
            others = [other.value for other in Backend if required_for(self.manifest, other)]
            todo = f"choose the backend {' or '.join(others)}" if others else "install the bundle again"
            if backend is Backend.INT8 and self.int8_command:
                todo = f"make it with '{self.int8_command}', or {todo}"
            message = f"The bundle {self.name} has no {backend.value.upper()} {lacks}: {todo}."
            raise AutoMedSAMError(message)
        return named


def load_bundle(name_or_path: str | Path) -> Bundle:
    """Loads a built-in or installed bundle by its name, or any bundle by its folder.

    Raises:
        AutoMedSAMError: if there is none, or its manifest cannot be read.

    Example:
        >>> load_bundle("hippocampus").task
        'Anterior and posterior hippocampus in a T1 MR crop around it'
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
    """The built-in bundles, then those that were downloaded or imported.

    Of the built-in ones those with a detector come first, and those of one volume before those of several. Models
    with a `caution` are last.

    Args:
        installed: whether downloaded and imported bundles are included. Those with a faulty manifest are left out;
            `faulty_bundles` gives them.

    Example:
        >>> [bundle.name for bundle in list_bundles(installed=False)]
        ['glioma', 'hippocampus', 'polyp', 'brats', 'anything', 'chest-xray']
    """
    built_in = [_read(path.parent) for path in BUILT_IN.glob(f"*/{MANIFEST_NAME}")]
    built_in.sort(key=lambda one: (bool(one.caution), not one.has_detector, len(one.modalities), one.name))
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
