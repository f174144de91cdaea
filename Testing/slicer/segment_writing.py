"""What the tests of the segment writer share: runs that write labels, and edits by hand."""

from typing import Any

import numpy as np

SHAPE = (12, 20, 24)
OBLIQUE = np.array([[0.9, -0.1, 0.3, -20.0], [0.12, 0.8, -0.5, 5.0], [-0.1, 0.2, 2.8, 33.0], [0.0, 0.0, 0.0, 1.0]])


def planes(labels: np.ndarray, axis: int = 0) -> dict[int, np.ndarray]:
    return dict(enumerate(np.moveaxis(labels, axis, 0)))


def writer_for(node: Any, model: Any, axis: int = 0, mode: str = "beside", **settings: Any) -> Any:
    """A writer for the volume whose geometry the segmentation has."""
    from AutoMedSAMLib.scene.segment_writer import SegmentWriter

    volume = settings.pop("volume", None) or node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
    return SegmentWriter(node, model, volume, axis, mode=mode, **settings)


def write(node: Any, model: Any, labels: np.ndarray, axis: int = 0, mode: str = "beside", **settings: Any) -> Any:
    """A whole run's writing."""
    writer = writer_for(node, model, axis, mode, **settings)
    first, last = settings.get("slices") or (0, len(planes(labels, axis)) - 1)
    writer.write({number: plane for number, plane in planes(labels, axis).items() if first <= number <= last})
    writer.install()
    writer.finish({"model": model.name})
    return writer


def draw_by_hand(node: Any, volume: Any, name: str, where: tuple[slice, ...]) -> str:
    import slicer

    segment_id = node.GetSegmentation().AddEmptySegment(name, name, (0.2, 0.4, 0.6))
    mask = np.zeros(SHAPE, np.uint8)
    mask[where] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment_id, volume)
    return segment_id
