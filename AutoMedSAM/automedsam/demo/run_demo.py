"""The demo: a synthetic head, segmented and compared with the known shape of its lesions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from automedsam.bundle import load_bundle
from automedsam.core.events import Event, Finished, RunReport
from automedsam.core.mask_agreement import dice
from automedsam.core.memory import peak_memory_mb
from automedsam.demo.phantom import phantom_head
from automedsam.io.atomic import atomic_write
from automedsam.io.nifti import write_nifti
from automedsam.io.segmentation_writer import check_output, write_segmentation
from automedsam.io.volume_reader import read_volume
from automedsam.pipeline.run import SegmentationRun
from automedsam.visualization.montage import montage, write_png

BUNDLE = "glioma"


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Attributes:
        dice: against the known shape, 0 to 1.
        report: of the run.
        files: the volume, the segmentation and the picture.
    """

    dice: float
    report: RunReport
    files: tuple[Path, Path, Path]


def run_demo(folder: Path, watch: Callable[[Event], None] = lambda event: None) -> DemoResult:
    """Makes a phantom head, segments it with INT8, and writes volume, segmentation and picture.

    Args:
        folder: Where `phantom.nii.gz`, `phantom.seg.nrrd` and `phantom.png` go.
        watch: Called with each event of the run.

    Raises:
        AutoMedSAMError: If the folder cannot be written, or the bundle is missing or damaged.
    """
    result = folder / "phantom.seg.nrrd"
    check_output(result)
    head, truth = phantom_head()
    source = folder / "phantom.nii.gz"
    with atomic_write(source) as unfinished:
        write_nifti(head.array, head, unfinished, packed=True)
    run = SegmentationRun(read_volume(source), load_bundle(BUNDLE))
    report = RunReport()
    for event in run.events():
        watch(event)
        if isinstance(event, Finished):
            report = event.report
    segmentation = run.result()
    write_segmentation(segmentation, result)
    picture = folder / "phantom.png"
    write_png(montage(segmentation, min_score=run.linking.threshold), picture)
    report = replace(report, peak_memory_mb=peak_memory_mb())
    return DemoResult(dice(segmentation.labels > 0, truth > 0), report, (source, result, picture))
