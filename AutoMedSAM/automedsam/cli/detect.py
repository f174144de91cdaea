"""`automedsam detect`: files in, boxes as JSON out."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from automedsam.bundle import load_bundle
from automedsam.cli import terms
from automedsam.cli.console import RunProgress
from automedsam.cli.terminal import say
from automedsam.contract.backends import Backend
from automedsam.core.volume import Plane
from automedsam.io.atomic import atomic_write
from automedsam.io.role_reader import files_of, parse_input, read_modalities
from automedsam.pipeline.run import SegmentationRun

_FRAMES = {
    Plane.AXIAL: "slices inferior to superior, rows anterior to posterior, columns right to left",
    Plane.CORONAL: "slices anterior to posterior, rows superior to inferior, columns right to left",
    Plane.SAGITTAL: "slices right to left, rows superior to inferior, columns anterior to posterior",
}


def detect_files(
    inputs: list[Path],
    output: Path | None,
    *,
    model: str,
    backend: Backend,
    threshold: float | None,
    plane: Plane | None,
    series: int | None = None,
) -> None:
    """Detects on every slice and writes JSON, to standard output if `output` is None.

    `series` is the volume of a DICOM folder that holds several, from 1.

    Raises:
        AutoMedSAMError: If an input, an option or the output is not what it should be; nothing is written.
    """
    images = [parse_input(one) for one in inputs]
    inputs = [one.path for one in images]
    with nullcontext() if output is None else atomic_write(output, files_of(images)) as unfinished:
        bundle = load_bundle(model)
        volume = read_modalities(images, bundle.roles, bundle.name, series=series)
        run = SegmentationRun(volume, bundle, backend=backend, threshold=threshold, plane=plane)
        terms.ask(bundle)
        with RunProgress() as progress:
            for event in run.detect():
                progress.show(event)
        say(*volume.notes, *(warning.sentence for warning in run.input_warnings))
        text = json.dumps(_as_json(run, [str(path) for path in inputs]), indent=2)
        if unfinished is None:
            sys.stdout.write(f"{text}\n")
        else:
            unfinished.write_text(f"{text}\n", encoding="utf-8")
    if line := terms.notice(bundle):
        say(line)


def _as_json(run: SegmentationRun, files: list[str]) -> dict[str, Any]:
    """Boxes from the threshold up; `x` and `y` are the upper left corner, in pixels of the slice."""
    names = {segment.value: segment.name for segment in run.bundle.segments}
    boxes = [
        {
            "slice": index,
            "x": round(box.x, 2),
            "y": round(box.y, 2),
            "width": round(box.width, 2),
            "height": round(box.height, 2),
            "score": round(box.score, 4),
            "label": box.label,
            "label_name": names[box.label],
        }
        for index, found in enumerate(run.detections)
        for box in found
        if box.score >= run.linking.threshold
    ]
    return {
        "files": files,
        "model": f"{run.bundle.name} {run.bundle.version}",
        "threshold": run.linking.threshold,
        "plane": run.plane.value,
        "orientation": _FRAMES[run.plane],
        "slice_count": len(run.slices),
        "input_warnings": [warning.sentence for warning in run.input_warnings],
        "boxes": boxes,
    }
