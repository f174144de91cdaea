"""Segments a volume with a bundle: `segment` returns the result, `SegmentationRun` yields events on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.bundle import Bundle
from automedsam.contract.backends import Backend
from automedsam.contract.channels import values_within
from automedsam.core.boxes import Box, Tracklet
from automedsam.core.choices import choice
from automedsam.core.events import (
    Event,
    Finished,
    InputChecked,
    RunReport,
    SliceDetected,
    Stage,
    StageStarted,
    TrackletsLinked,
)
from automedsam.core.fingerprint import volume_sha256
from automedsam.core.ijk_boxes import IjkBoxConverter
from automedsam.core.intensity import check_finite_and_varied
from automedsam.core.memory import peak_memory_mb
from automedsam.core.segmentation import Segmentation
from automedsam.core.volume import Plane, Volume
from automedsam.detection.channels import detector_frames, segmenter_slices
from automedsam.detection.detector import Detector
from automedsam.detection.linking import LinkSettings, link
from automedsam.errors import AutoMedSAMError
from automedsam.measure.objects import Measures, measure_with_segments
from automedsam.pipeline.backends import LoadedModel, load_model, open_detector
from automedsam.pipeline.confidence import SliceConfidence, object_confidence, slice_confidence
from automedsam.pipeline.input_check import UNTRUSTED, check_input
from automedsam.pipeline.provenance import made_here, prompts_of, versions
from automedsam.pipeline.run_inputs import check_channels, frames_within, gray_levels, label_rules
from automedsam.sam2.propagation import CropBox
from automedsam.tracking.tracker import ObjectTracker, TrackedObject


class SegmentationRun:
    """One volume through one bundle.

    Iterate over `events()`. Stopping early, or closing the generator, cancels the run; `result()` then has
    every slice that was finished.

    Args:
        volume: one channel for each of the bundle's modalities.
        bundle: the model.
        backend: what computes.
        threshold: the confidence, 0 to 1, from which an object is accepted; the bundle's own if None.
        plane: the plane of the slices; if None, that of acquisition, or the bundle's own if isotropic.
        device: "auto", "cpu", "cuda" or "mps".
        slices: the first and the last frame of the plane in which to detect and segment, both included; all if
            None. The neighbours that the detector looks at, and the grey levels, are the whole volume's.
        engine: the bundle, already loaded for this backend and device; loaded when needed if None.

    Raises:
        AutoMedSAMError: if the volume is not what the bundle takes, the threshold is not within 0 to 1, or the
            slices are not in the volume.

    Example:
        >>> from automedsam import load_bundle, read_volume
        >>> run = SegmentationRun(read_volume("head.nii.gz"), load_bundle("glioma"))
        >>> for event in run.events():
        ...     if isinstance(event, SliceDetected) and event.boxes:
        ...         print(f"slice {event.index}: {len(event.boxes)} boxes")
        slice ...
        >>> int(run.result().labels.max())
        1
    """

    def __init__(  # noqa: PLR0913  each is an option of its own to a caller
        self,
        volume: Volume,
        bundle: Bundle,
        *,
        backend: Backend | str = Backend.INT8,
        threshold: float | None = None,
        plane: Plane | str | None = None,
        device: str = "auto",
        slices: tuple[int, int] | None = None,
        engine: LoadedModel | None = None,
    ) -> None:
        check_threshold(threshold)
        check_channels(volume, bundle)
        check_finite_and_varied(volume)
        self.input_warnings = check_input(volume, bundle)
        self.volume, self.bundle, self.backend, self.device = volume, bundle, choice(Backend, backend), device
        self.plane = volume.default_plane(bundle.plane) if plane is None else choice(Plane, plane)
        self.spacing = volume.frame_spacing(self.plane)[0]
        self.channels = gray_levels(volume, bundle, self.plane)
        self.frames = frames_within(slices, self.channels.shape[1])
        self.linking = bundle.linking if threshold is None else replace(bundle.linking, threshold=threshold)
        self.detections: list[list[Box]] = []
        self.tracklets: list[Tracklet] = []
        self.tracker = ObjectTracker(
            segmenter_slices(self.channels, bundle.segmenter_channels),
            volume.frame_spacing(self.plane),
            bundle.segmenter,
            bundle.tracking,
            self.frames,
            label_rules(self.channels, bundle),
        )
        self._engine = engine
        # The voxels may be released before they are asked for.
        self._input_sha256 = volume_sha256(volume)
        self._is_prompted = self._is_finished = False
        self._seconds: dict[str, float] = {}

    @property
    def slices(self) -> NDArray[np.uint8]:
        """Gray levels `(N, H, W)` of the first modality, on which a result may be drawn."""
        first: NDArray[np.uint8] = self.channels[0]
        return first

    def events(self, detector: Detector | None = None) -> Iterator[Event]:
        """Checks the input, detects, links, segments; ends with `Finished`.

        Args:
            detector: Finds the boxes instead of the bundle's own detector.

        Raises:
            AutoMedSAMError: If there is neither.
        """
        if detector is None and not self.bundle.has_detector:
            raise AutoMedSAMError(self.bundle.no_detector_message)
        yield InputChecked(self.input_warnings)
        self._is_prompted = False
        self._load()
        yield from self.detect(detector or self.engine.detector)
        yield from self._track()

    def propagate(self, tracklets: Sequence[Tracklet], crops: Mapping[str, CropBox] | None = None) -> Iterator[Event]:
        """Segments these objects and no others, without detection; ends with `Finished`.

        What this run has computed already is not computed again: an object whose boxes, seed and reach are as they
        were keeps its masks, voxel for voxel, even if its neighbors change. See `ObjectTracker.track`.

        Args:
            tracklets: the objects, with boxes and slices in frames of `plane`; boxes, points or masks tell where
                they are.
            crops: `crops` of an earlier run of the same volume and model, so that objects that have not
                changed since come out as they did there.
        """
        self._is_prompted = True
        self._load()
        self.tracklets = list(tracklets)
        yield from self._track(crops)

    @property
    def engine(self) -> LoadedModel:
        """The loaded bundle; loads it when it is first asked for."""
        if self._engine is None:
            self._engine = load_model(self.bundle, self.backend, self.device)
        return self._engine

    def _load(self) -> None:
        began = time.perf_counter()
        _ = self.engine
        self._seconds = {"load": time.perf_counter() - began}

    def _track(self, crops: Mapping[str, CropBox] | None = None) -> Iterator[Event]:
        began = time.perf_counter()
        self._is_finished = False
        yield from self.tracker.track(self.engine.networks, self.tracklets, crops)
        self._is_finished = True
        self._seconds[Stage.SEGMENT.value] = time.perf_counter() - began
        yield Finished(self.result(), self._report())

    def detect(self, detector: Detector | None = None) -> Iterator[Event]:
        """Finds boxes on every slice and links them to tracklets; segments nothing."""
        began = time.perf_counter()
        detector = detector or open_detector(self.bundle, self.backend)
        settings = self.bundle.detector
        frames = detector_frames(self.channels, self.spacing, settings.context_mm, settings.channels)
        first, last = self.frames
        yield StageStarted(Stage.DETECT, last - first + 1)
        self.detections = [[] for _ in self.slices]
        for index, boxes in enumerate(detector.detect(frames[first : last + 1]), first):
            self.detections[index] = boxes
            yield SliceDetected(index, boxes)
        self._seconds[Stage.DETECT.value] = time.perf_counter() - began

        began = time.perf_counter()
        self.tracklets = link_frames(self.detections, self.spacing, self.linking, self.frames)
        self._seconds[Stage.LINK.value] = time.perf_counter() - began
        yield TrackletsLinked(self.tracklets)

    @property
    def crops(self) -> dict[str, CropBox]:
        """The crop in which each object was segmented, by the object's key; for `propagate` of a later run."""
        return self.tracker.crops

    def resume_from(self, labels: NDArray[np.uint8]) -> None:
        """Continues from labels that are shown already, whoever wrote them.

        Args:
            labels: `(K, J, I)` on the volume's grid; copied.
        """
        self.tracker.labels = np.array(replace(self.volume, array=labels).to_frames(self.plane)[0], order="C")

    def release_voxels(self) -> None:
        """Lets go of the volume's voxels, which are not needed once the run is made: a mapped file can be removed."""
        self.volume = replace(self.volume, array=np.broadcast_to(np.uint8(0), self.volume.array.shape))

    def result(self) -> Segmentation:
        """What is finished so far, on the volume's own grid; empty if nothing was found."""
        return Segmentation(
            # A copy: the run may go on, and what it gave back stays as it was.
            labels=self.volume.from_frames(self.tracker.labels.copy(), self.plane),
            volume=self.volume,
            segments=list(self.bundle.segments),
            boxes={index: boxes for index, boxes in enumerate(self.detections) if boxes},
            provenance=self._provenance(),
            plane=self.plane,
        )

    def _provenance(self) -> dict[str, Any]:
        """What `automedsam.pipeline.replay` needs to run it again, and to tell what differs."""
        loaded, undetected = self._engine, self._is_prompted and not self.detections
        return {
            "model": self.bundle.name,
            "model_version": self.bundle.version,
            "model_hash": self.bundle.hash,
            "backend": self.backend.value,
            "plane": self.plane.value,
            "slices": list(self.frames),
            # Nothing was detected where a user marked the objects.
            **({"prompted_objects": len(self.tracklets)} if undetected else {"threshold": self.linking.threshold}),
            "licence": self.bundle.license,
            "input_sha256": self._input_sha256,
            **made_here(self.bundle.manifest, self.backend),
            **versions(self.backend),
            **({} if loaded is None else {"device": loaded.device, "threads": loaded.threads}),
            **({"prompts": prompts_of(self.tracklets, self.crops)} if self._is_prompted else {}),
            **({} if self._is_finished else {"stopped": True}),
            **({"input_warnings": [one.sentence for one in self.input_warnings]} if self.input_warnings else {}),
        }

    def confidence(self) -> list[SliceConfidence]:
        """How certain each slice of the result is; see `slice_confidence`."""
        return slice_confidence(self.tracker.objects, self.spacing, self._untrusted)

    def object_numbers(self) -> NDArray[np.uint16]:
        """The number of the object at each voxel of the result.

        Returns:
            `(K, J, I)` on the volume's own grid: 1 for the first of `tracklets`, and so on; 0 for none.
        """
        order = {id(tracked): self._number(tracked) for tracked in self.tracker.objects}
        numbers = np.array([0, *order.values()], np.uint16)
        frames = np.stack([numbers[self.tracker.owners(index)] for index in range(len(self.slices))])
        return self.volume.from_frames(frames, self.plane)

    def measure(self, objects: NDArray[np.uint16] | None = None) -> list[Measures]:
        """Measures of each segment, then of each object, on the slices of `plane`.

        Args:
            objects: What `object_numbers` returns, if it is known already.

        Returns:
            Segments in the bundle's order, then objects in the order of `tracklets`; those without voxels are empty.
        """
        objects = self.object_numbers() if objects is None else objects
        slice_index = IjkBoxConverter(self.volume, self.plane).slice_index
        confidence = {
            self._number(tracked): {
                slice_index(at): share
                for at, share in object_confidence(tracked, self.spacing, self._untrusted).items()
            }
            for tracked in self.tracker.objects
        }
        names = {segment.value: segment.name for segment in self.bundle.segments}
        labels_of = {number: (one.label, names[one.label]) for number, one in enumerate(self.tracklets, 1)}
        return measure_with_segments(objects, labels_of, list(names.items()), self.volume, self.plane, confidence)

    def _number(self, tracked: TrackedObject) -> int:
        return self.tracklets.index(tracked.reach.tracklet) + 1

    @property
    def _untrusted(self) -> str:
        return next((one.sentence for one in self.input_warnings if one.code in UNTRUSTED), self.bundle.caution)

    def _report(self) -> RunReport:
        # Slice by slice, since `bincount` makes integers of eight bytes of what it counts.
        counts = np.sum([np.bincount(labels.ravel(), minlength=256) for labels in self.tracker.labels], axis=0)
        millilitres = self.volume.voxel_volume_ml
        inside = self.bundle.inside
        return RunReport(
            seconds=dict(self._seconds),
            slices=len(self.slices),
            segmented_slices=len({index for followed in self.tracker.objects for index in followed.masks}),
            objects=len(self.tracklets),
            volume_ml={
                s.name: float(counts[list(values_within(inside, s.value))].sum()) * millilitres
                for s in self.bundle.segments
            },
            peak_memory_mb=peak_memory_mb(),
            device=self.engine.device,
        )


def segment(  # noqa: PLR0913  each is an option of its own to a caller
    volume: Volume,
    bundle: Bundle,
    *,
    backend: Backend | str = Backend.INT8,
    threshold: float | None = None,
    plane: Plane | str | None = None,
    device: str = "auto",
    progress: Callable[[Event], None] | None = None,
    prompts: Sequence[Tracklet] | None = None,
) -> Segmentation:
    """Segments a volume. `SegmentationRun` does the same step by step, and can be cancelled.

    Args:
        volume: One channel for each of the bundle's modalities.
        bundle: The model.
        backend: What computes: a `Backend`, or its value, such as "int8".
        threshold: The minimum confidence of an object, 0 to 1; the bundle's own if None.
        plane: The plane of the slices, a `Plane` or its value, such as "axial"; if None, that of acquisition, or the
            bundle's own if isotropic.
        device: "auto", "cpu", "cuda" or "mps"; only the FP32 backend uses others than the CPU.
        progress: Called with each event, `InputChecked` first; see `automedsam.core.events`.
        prompts: Segments these objects, without detection; from `read_prompts`, or made of `Tracklet`.

    Returns:
        Labels `(K, J, I)`, uint8, on the volume's own grid; all 0 if nothing was found. Warnings of the input check
        are in its provenance.

    Raises:
        AutoMedSAMError: If the volume is not what the bundle takes, the threshold is not within 0 to 1 or is given
            with prompts, there is no such backend or plane, or the backend or its files are missing.

    Example:
        >>> import automedsam
        >>> from automedsam.demo.phantom import phantom_head
        >>> volume, reference = phantom_head()
        >>> segmentation = automedsam.segment(volume, automedsam.load_bundle("glioma"))
        >>> segmentation.labels.shape == volume.shape
        True
        >>> [segment.name for segment in segmentation.segments]
        ['Glioma, whole tumour']
    """
    check_prompted(prompts, threshold)
    run = SegmentationRun(volume, bundle, backend=backend, threshold=threshold, plane=plane, device=device)
    for event in run.events() if prompts is None else run.propagate(prompts):
        if progress is not None:
            progress(event)
    return run.result()


def link_frames(
    detections: Sequence[list[Box]], spacing: float, settings: LinkSettings, frames: tuple[int, int]
) -> list[Tracklet]:
    """Links the boxes of a volume to objects.

    Args:
        detections: the boxes of each frame of the volume.
        spacing: between slices in mm.
        settings: thresholds.
        frames: the first and the last frame that were looked at.
    """
    # A volume thinner than the shortest believable object, such as a single image, is not held against it.
    extent = min(settings.min_extent_mm, spacing * (frames[1] - frames[0] + 1))
    return link(detections, spacing, replace(settings, min_extent_mm=extent))


def check_prompted(prompts: Sequence[Tracklet] | Path | None, threshold: float | None) -> None:
    """Checks that nobody expects a detector's threshold to change objects that are given.

    Raises:
        AutoMedSAMError: If there are both.
    """
    if prompts is not None and threshold is not None:
        message = "With prompts nothing is detected, so a threshold has no effect: omit the threshold or the prompts."
        raise AutoMedSAMError(message)


def check_threshold(threshold: float | None) -> None:
    """Checks a confidence that a user gives; None stands for the bundle's own.

    Raises:
        AutoMedSAMError: If it is not above 0 and at most 1.
    """
    if threshold is not None and not 0 < threshold <= 1:
        message = f"The threshold {threshold} is not a score: give a number above 0 and at most 1."
        raise AutoMedSAMError(message)
