"""The one road: a volume and a bundle in, events out, a segmentation on the volume's own grid at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from automedsam.backends import Backend, open_detector, open_engine
from automedsam.boxes import Box, Tracklet
from automedsam.bundle import Bundle
from automedsam.detector import Detector, context_frames
from automedsam.errors import AutoMedSAMError
from automedsam.events import (
    Event,
    Finished,
    RunReport,
    SliceDetected,
    SliceSegmented,
    Stage,
    StageStarted,
    TrackletsLinked,
)
from automedsam.intensity import check_finite_and_varied, to_uint8
from automedsam.linking import LinkSettings, link
from automedsam.segmentation import Segmentation
from automedsam.segmenter.propagation import Prompt, Sam2Segmenter
from automedsam.views import Reach, share_views
from automedsam.volume import Plane, Volume


class Run:
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

    Raises:
        AutoMedSAMError: if the volume is not what the bundle takes, or the threshold is not within 0 to 1.
    """

    def __init__(
        self,
        volume: Volume,
        bundle: Bundle,
        *,
        backend: Backend = Backend.INT8,
        threshold: float | None = None,
        plane: Plane | None = None,
        device: str = "auto",
    ) -> None:
        if threshold is not None and not 0 < threshold <= 1:
            message = f"The threshold {threshold} is not a confidence: give a number above 0 and at most 1."
            raise AutoMedSAMError(message)
        _check_channels(volume, bundle)
        check_finite_and_varied(volume)
        self.volume, self.bundle, self.backend, self.device = volume, bundle, backend, device
        self.plane = plane or volume.default_plane(bundle.plane)
        self.spacing = volume.frame_spacing(self.plane)[0]
        self.slices: NDArray[np.uint8] = np.ascontiguousarray(to_uint8(volume.to_frames(self.plane)[0], bundle.window))
        self.linking = bundle.linking if threshold is None else replace(bundle.linking, threshold=threshold)
        self.detections: list[list[Box]] = []
        self.tracklets: list[Tracklet] = []
        self._labels = np.zeros(self.slices.shape, np.uint8)
        self._seconds: dict[str, float] = {}
        self._device_text = ""

    def events(self, detector: Detector | None = None) -> Iterator[Event]:
        """Detects, links, segments; ends with `Finished`. A detector other than the bundle's may be given."""
        began = time.perf_counter()
        engine = open_engine(self.bundle, self.backend, self.device)
        self._device_text = engine.device
        self._seconds["load"] = time.perf_counter() - began

        yield from self.detect(detector or engine.detector)

        began = time.perf_counter()
        views = share_views(self._reaches(), self.bundle.following.fill, self._size)
        yield StageStarted(Stage.SEGMENT, sum(o.last - o.first + 1 for view in views for o in view.objects))
        strongest: dict[int, NDArray[np.float16]] = {}
        for view in views:
            segmenter = Sam2Segmenter(engine.parts, self.bundle.segmenter, self.slices, view.region)
            for number, found in enumerate(view.objects):
                self._prompt(segmenter, number, found.tracklet)
                for index, logits in segmenter.propagate(number, found.tracklet.seed, found.first, found.last):
                    near = found.tracklet.box_at(index).grown(self.bundle.following.margin)
                    self._merge(index, near, logits, strongest)
                    yield SliceSegmented(index, self._labels[index].copy())
        self._seconds[Stage.SEGMENT.value] = time.perf_counter() - began
        yield Finished(self.result(), self._report(len(strongest)))

    def detect(self, detector: Detector | None = None) -> Iterator[Event]:
        """The first half of the road: boxes on every slice, linked to tracklets."""
        began = time.perf_counter()
        detector = detector or open_detector(self.bundle, self.backend)
        frames = context_frames(self.slices, self.spacing, self.bundle.detector.context_mm)
        yield StageStarted(Stage.DETECT, len(frames))
        self.detections = []
        for index, boxes in enumerate(detector.detect(frames)):
            self.detections.append(boxes)
            yield SliceDetected(index, boxes)
        self._seconds[Stage.DETECT.value] = time.perf_counter() - began

        began = time.perf_counter()
        # A volume thinner than the shortest believable object, such as a single image, is not held against it.
        extent = min(self.linking.min_extent_mm, self.spacing * len(self.slices))
        settings: LinkSettings = replace(self.linking, min_extent_mm=extent)
        self.tracklets = link(self.detections, self.spacing, settings)
        self._seconds[Stage.LINK.value] = time.perf_counter() - began
        yield TrackletsLinked(self.tracklets)

    def result(self) -> Segmentation:
        """What is finished so far, on the volume's own grid; empty if nothing was found."""
        return Segmentation(
            labels=self.volume.from_frames(self._labels, self.plane),
            volume=self.volume,
            segments=list(self.bundle.segments),
            boxes={index: boxes for index, boxes in enumerate(self.detections) if boxes},
            provenance={
                "model": self.bundle.name,
                "model_version": self.bundle.version,
                "backend": self.backend.value,
                "plane": self.plane.value,
                "threshold": self.linking.threshold,
                "licence": self.bundle.licence,
            },
            plane=self.plane,
        )

    @property
    def _size(self) -> tuple[int, int]:
        height, width = self.slices.shape[1:]
        return height, width

    def _reaches(self) -> list[Reach]:
        """How far each tracklet may be followed: a little beyond its first and last box."""
        beyond = round(self.bundle.following.reach_mm / self.spacing)
        end = len(self.slices) - 1
        return [Reach(t, max(0, t.first - beyond), min(end, t.last + beyond)) for t in self.tracklets]

    def _prompt(self, segmenter: Sam2Segmenter, number: int, tracklet: Tracklet) -> None:
        """The seed's box, and every other box that is sure enough."""
        for index, box in tracklet.boxes.items():
            if index == tracklet.seed or box.score >= self.bundle.following.prompt_score:
                segmenter.prompt(index, number, Prompt(box=box))

    def _merge(
        self, index: int, near: Box, logits: NDArray[np.float32], strongest: dict[int, NDArray[np.float16]]
    ) -> None:
        """Where objects overlap, the surer one has the pixel; outside its grown box none has any."""
        left, top, right, bottom = (max(0, round(edge)) for edge in near.corners)
        inside = (slice(top, bottom), slice(left, right))
        before = strongest.setdefault(index, np.zeros(logits.shape, np.float16))[inside]
        wins = logits[inside] > before
        self._labels[index][inside][wins] = near.label
        before[wins] = logits[inside][wins]

    def _report(self, segmented: int) -> RunReport:
        counts = np.bincount(self._labels.ravel(), minlength=256)
        millilitres = self.volume.voxel_volume_ml
        return RunReport(
            seconds=dict(self._seconds),
            slices=len(self.slices),
            segmented_slices=segmented,
            objects=len(self.tracklets),
            volume_ml={s.name: float(counts[s.value]) * millilitres for s in self.bundle.segments},
            peak_memory_mb=peak_memory_mb(),
            device=self._device_text,
        )


def segment(
    volume: Volume,
    bundle: Bundle,
    *,
    backend: Backend = Backend.INT8,
    threshold: float | None = None,
    plane: Plane | None = None,
    device: str = "auto",
) -> Iterator[Event]:
    """Segments a volume; see `Run` for the arguments and the errors. The last event is `Finished`."""
    return Run(volume, bundle, backend=backend, threshold=threshold, plane=plane, device=device).events()


def peak_memory_mb() -> float:
    """The most memory that this process has had in RAM, in MB; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def _check_channels(volume: Volume, bundle: Bundle) -> None:
    wanted = bundle.modalities
    if volume.channels != len(wanted):
        message = (
            f"The model {bundle.name} takes {len(wanted)} modality ({', '.join(wanted)}), and the input has "
            f"{volume.channels}: give just {'that one' if len(wanted) == 1 else 'those'}."
        )
        raise AutoMedSAMError(message)
