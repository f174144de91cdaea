"""What is written of a single image: its mask, and an overlay, the image itself with outlines and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from automedsam.core.segmentation import Segmentation
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write, check_writable
from automedsam.io.image_reader import is_image_file
from automedsam.io.segmentation_writer import write_segmentation
from automedsam.io.volume_reader import read_image
from automedsam.pipeline.run import SegmentationRun
from automedsam.visualization.montage import write_png
from automedsam.visualization.overlay import draw

OVERLAY_SUFFIX = ".png"


def check_picture_overlay(path: Path, output: Path, inputs: Sequence[Path]) -> None:
    """Finds out before a run whether an overlay can be written.

    Args:
        path: the overlay.
        output: the mask, which is another file.
        inputs: what the run reads.

    Raises:
        AutoMedSAMError: if it is no PNG, is the mask or an input, or cannot be written.
    """
    if path.suffix.lower() != OVERLAY_SUFFIX:
        message = (
            f"The overlay of an image is a PNG file, but {path} does not end in {OVERLAY_SUFFIX}: choose another name."
        )
        raise AutoMedSAMError(message)
    if path.resolve() == output.resolve():
        message = f"The overlay and the mask have the same name, {path}: choose another name for one of them."
        raise AutoMedSAMError(message)
    check_writable(path, inputs)


def write_image_result(
    run: SegmentationRun, segmentation: Segmentation, output: Path, overlay: Path | None, sources: Sequence[Path]
) -> None:
    """Writes a mask and, if one is wanted, the image with its outlines and the boxes of the accepted objects.

    Both are written, or neither.

    Args:
        run: of the image.
        segmentation: what it found.
        output: see `automedsam.io.segmentation_writer.write_segmentation`.
        overlay: a PNG of the image's size. Where the image has more than 8 bits, or is DICOM, it shows what the
            network saw.
        sources: the image's files; the first is shown, with its colours.

    Raises:
        AutoMedSAMError: if the image cannot be read again, or a file not be written.
    """
    if overlay is None:
        write_segmentation(segmentation, output)
        return
    picture = read_image(sources[0]) if is_image_file(sources[0]) else run.slices[0]
    ground = picture if picture.dtype == np.uint8 else run.slices[0]
    boxes = [box for tracklet in run.tracklets for box in tracklet.boxes.values()]
    drawn = draw(ground, segmentation.labels[0], segmentation.segments, boxes)
    with atomic_write(overlay, sources) as unfinished:
        write_png(drawn, unfinished)
        write_segmentation(segmentation, output)
