"""One volume through a bundle in INT8 and in FP32: how far the results agree, and what each costs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from automedsam.bundle import Bundle
from automedsam.contract.backends import Backend
from automedsam.core.events import Event, Finished, RunReport, Stage
from automedsam.core.mask_agreement import dice, surface_distance
from automedsam.core.memory import peak_memory_mb, reset_peak_memory
from automedsam.core.segmentation import Segment, Segmentation
from automedsam.core.volume import Plane, Volume
from automedsam.errors import AutoMedSAMError
from automedsam.pipeline.run import SegmentationRun

INT8_ONLY, FP32_ONLY, OTHER_LABEL = 1, 2, 3
DIFFERENCE_SEGMENTS = (
    Segment(INT8_ONLY, "INT8 only", (0.90, 0.45, 0.10), ""),
    Segment(FP32_ONLY, "FP32 only", (0.15, 0.45, 0.85), ""),
    Segment(OTHER_LABEL, "Other label", (0.65, 0.25, 0.70), ""),
)


@dataclass(frozen=True)
class ComparisonRow:
    """One line of the table of a comparison; what a line does not have is None.

    Attributes:
        measure: what was measured.
        segment: of which segment; empty for the whole run.
        unit: "mm", "ml", "s", "MB", or empty.
        int8: of the INT8 run.
        fp32: of the FP32 run.
        between: of the two together: their agreement, their distance, or for volumes INT8 minus FP32.
    """

    measure: str
    segment: str
    unit: str
    int8: float | None = None
    fp32: float | None = None
    between: float | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a comparison gives.

    Attributes:
        reference: the backend of the FP32 run.
        rows: the table.
        difference: where the two differ, on the volume's grid; see `DIFFERENCE_SEGMENTS`.
    """

    reference: Backend
    rows: list[ComparisonRow]
    difference: Segmentation


@dataclass(frozen=True)
class _Measured:
    segmentation: Segmentation
    report: RunReport
    peak_memory_mb: float | None


def reference_backend(bundle: Bundle) -> Backend:
    """The FP32 backend that a bundle has the files of: ONNX Runtime, else PyTorch where it is installed.

    Raises:
        AutoMedSAMError: If INT8 or FP32 files are missing, or PyTorch is.
    """
    if not bundle.has(Backend.INT8):
        todo = f"make them with '{bundle.int8_command}'" if bundle.int8_command else "choose another model"
        message = f"The model {bundle.name} has no INT8 files here, so there is nothing to compare: {todo}."
        raise AutoMedSAMError(message)
    if bundle.has(Backend.FP32_ONNX):
        return Backend.FP32_ONNX
    if not bundle.has(Backend.FP32_TORCH):
        message = (
            f"The model {bundle.name} has no FP32 files here to compare INT8 with: choose a model "
            "that has both, or install this one again."
        )
        raise AutoMedSAMError(message)
    if find_spec("torch") is None or find_spec("sam2") is None:
        message = (
            f"The FP32 files of the model {bundle.name} need PyTorch, which is not installed: "
            "pip install 'automedsam[fp32]'."
        )
        raise AutoMedSAMError(message)
    return Backend.FP32_TORCH


class ComparisonRun:
    """INT8 first, then FP32, with the same settings. Closing the generator of `events` cancels it.

    Args:
        volume: one channel for each of the bundle's modalities.
        bundle: a model that has files of both precisions.
        threshold: the confidence from which an object is accepted; the bundle's own if None.
        plane: the plane of the slices; see `SegmentationRun`.
        slices: the first and the last frame to look at, both included; all if None.
        device: where PyTorch computes, if it does.

    Attributes:
        reference: the backend of the FP32 run.
        input_warnings: what the input check found.

    Raises:
        AutoMedSAMError: As `reference_backend` and `SegmentationRun` do.
    """

    def __init__(
        self,
        volume: Volume,
        bundle: Bundle,
        *,
        threshold: float | None = None,
        plane: Plane | None = None,
        slices: tuple[int, int] | None = None,
        device: str = "auto",
    ) -> None:
        self.reference = reference_backend(bundle)
        self._volume, self._bundle, self._threshold = volume, bundle, threshold
        self._plane, self._slices, self._device = plane, slices, device
        self._measured: dict[Backend, _Measured] = {}
        # Whatever is wrong with the input is found before the first run.
        self._first: SegmentationRun | None = self._run(Backend.INT8)
        self.input_warnings = self._first.input_warnings

    def events(self) -> Iterator[tuple[Backend, Event]]:
        """Runs both; yields each run's events with its backend. `result` is there after the last."""
        for backend in (Backend.INT8, self.reference):
            can_measure = reset_peak_memory()
            run, self._first = self._first or self._run(backend), None
            report = RunReport()
            for event in run.events():
                if isinstance(event, Finished):
                    report = event.report
                yield backend, event
            peak = peak_memory_mb() if can_measure else None
            self._measured[backend] = _Measured(run.result(), report, peak)
            # One model at a time, so that the second run's memory is its own.
            del run
            gc.collect()

    def result(self) -> Comparison:
        """The table, and where the two differ."""
        int8, fp32 = self._measured[Backend.INT8], self._measured[self.reference]
        difference = replace(
            int8.segmentation,
            labels=difference_labels(int8.segmentation.labels, fp32.segmentation.labels),
            segments=list(DIFFERENCE_SEGMENTS),
            boxes={},
            provenance=int8.segmentation.provenance | {"backend": f"int8 and {self.reference.value}"},
        )
        changed = int(np.count_nonzero(difference.labels)) * self._volume.voxel_volume_ml
        rows = [
            *self._segment_rows(int8.segmentation, fp32.segmentation),
            ComparisonRow("Disagreement", "", "ml", between=changed),
            ComparisonRow("Objects", "", "", int8.report.objects, fp32.report.objects),
            *_cost_rows(int8, fp32),
            ComparisonRow(
                "Size on disk", "", "MB", self._bundle.size_mb(Backend.INT8), self._bundle.size_mb(self.reference)
            ),
        ]
        return Comparison(self.reference, rows, difference)

    def _run(self, backend: Backend) -> SegmentationRun:
        return SegmentationRun(
            self._volume,
            self._bundle,
            backend=backend,
            threshold=self._threshold,
            plane=self._plane,
            device=self._device if backend is Backend.FP32_TORCH else "auto",
            slices=self._slices,
        )

    def _segment_rows(self, int8: Segmentation, fp32: Segmentation) -> Iterator[ComparisonRow]:
        millilitres, axes = self._volume.voxel_volume_ml, self._volume.affine[:3, :3]
        for segment in int8.segments:
            one, other = int8.mask(segment.value), fp32.mask(segment.value)
            volumes = [float(np.count_nonzero(mask)) * millilitres for mask in (one, other)]
            apart = surface_distance(one, other, axes)
            yield ComparisonRow("Dice", segment.name, "", between=dice(one, other))
            hd95, mean = (None, None) if apart is None else (apart.hd95_mm, apart.mean_mm)
            yield ComparisonRow("HD95", segment.name, "mm", between=hd95)
            yield ComparisonRow("Mean surface distance", segment.name, "mm", between=mean)
            yield ComparisonRow("Volume", segment.name, "ml", volumes[0], volumes[1], volumes[0] - volumes[1])


def difference_labels(int8: NDArray[np.integer], fp32: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Where two label maps of one shape differ, as values of `DIFFERENCE_SEGMENTS`; 0 where they agree."""
    labels = np.zeros(int8.shape, np.uint8)
    labels[int8 != fp32] = OTHER_LABEL
    labels[(int8 > 0) & (fp32 == 0)] = INT8_ONLY
    labels[(int8 == 0) & (fp32 > 0)] = FP32_ONLY
    return labels


def _cost_rows(int8: _Measured, fp32: _Measured) -> list[ComparisonRow]:
    loading, running = zip(*(_seconds(one.report) for one in (int8, fp32)), strict=True)
    return [
        ComparisonRow("Loading time", "", "s", *loading),
        ComparisonRow("Run time", "", "s", *running),
        ComparisonRow("Peak memory", "", "MB", int8.peak_memory_mb, fp32.peak_memory_mb),
    ]


def _seconds(report: RunReport) -> tuple[float, float]:
    """Seconds to load the model, and all others."""
    load = report.seconds.get("load", 0.0)
    return load, sum(report.seconds.get(stage.value, 0.0) for stage in Stage)
