"""FastSAM or MobileSAM in a process of its own, with the package ultralytics (AGPL-3.0)."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

from worker_io import Tell, WorkerError, choose_device, load_weights, refuse_network, run_job, size_mb

_SIZE = 1024
# As FastSAM's authors ask for in their own inference.
_EVERYTHING = {"conf": 0.4, "iou": 0.9, "retina_masks": True}


def work(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Segments the slices of each case inside the boxes that it is given.

    Args:
        job: `model` ("fastsam" or "mobilesam"), `network` (of FastSAM without weights), `weights`, `device`,
            `threads`, `cases` (see `automedsam_lab.baselines.slice_baseline`).
        tell: sends a line.
    """
    refuse_network()
    with tempfile.TemporaryDirectory(prefix="ultralytics-") as settings:
        # Read when it is imported; the folder, so that nobody's own settings are read or changed.
        os.environ.update(
            {
                "YOLO_OFFLINE": "true",
                "YOLO_AUTOINSTALL": "false",
                "YOLO_CONFIG_DIR": settings,
                "YOLO_VERBOSE": "false",
                "ULTRALYTICS_SAFE_LOAD": "true",
            }
        )
        import ultralytics

        ultralytics.settings.update({"sync": False})
        return _segment(job, tell, ultralytics.__version__)


def _segment(job: dict[str, Any], tell: Tell, version: str) -> dict[str, Any]:
    import numpy as np

    device = choose_device(job)
    network, segment = _fastsam(job, device) if job["model"] == "fastsam" else _mobilesam(job, device)
    warm = True
    for name, case in job["cases"].items():
        slices = np.load(case["frames"])
        found = np.zeros(slices.shape, np.uint8)
        if warm:
            segment(slices[0], {1: [0.0, 0.0, 8.0, 8.0]})  # The first slice pays for what is made once.
            warm = False
        began = time.monotonic()
        for index, gray in enumerate(slices):
            boxes = {int(label): by[str(index)] for label, by in case["boxes"].items() if str(index) in by}
            for label, mask in segment(gray, boxes).items():
                found[index][mask & (found[index] == 0)] = label
        tell({"done": name, "seconds": time.monotonic() - began, "images": len(slices)})
        np.save(case["output"], found)
    return {"version": f"ultralytics {version}", "size_mb": size_mb(job["weights"], network)}


Segment = Callable[[Any, dict[int, list[float]]], dict[int, Any]]


def _fastsam(job: dict[str, Any], device: str) -> tuple[Any, Segment]:
    """One pass a slice; each label's box then takes the segment that overlaps best with it."""
    import numpy as np
    from ultralytics.models.fastsam import FastSAMPredictor
    from ultralytics.nn.tasks import SegmentationModel

    predictor = FastSAMPredictor(overrides=_overrides(device) | _EVERYTHING)
    if job["weights"] is None:
        network = SegmentationModel(job["network"], nc=1, verbose=False).eval()
        predictor.setup_model(network, verbose=False)
    else:
        try:
            predictor.setup_model(job["weights"], verbose=False)
        except Exception as error:
            message = f"{job['weights']} does not hold FastSAM ({type(error).__name__}); give FastSAM-s.pt or -x.pt."
            raise WorkerError(message) from error
        network = predictor.model

    def segment(gray: Any, boxes: dict[int, list[float]]) -> dict[int, Any]:
        predictor.set_prompts({})
        everything = predictor(np.repeat(gray[..., None], 3, axis=2))[0]
        found = {}
        for label, box in boxes.items():
            if len(everything) == 0:
                continue
            best = predictor.prompt(everything, bboxes=[box])[0]
            if best.masks is not None and len(best.masks):
                found[label] = best.masks.data[0].cpu().numpy().astype(bool)
        return found

    return network, segment


def _mobilesam(job: dict[str, Any], device: str) -> tuple[Any, Segment]:
    """The image encoder once a slice, the decoder once a box."""
    import numpy as np
    from ultralytics.models.sam import Predictor
    from ultralytics.models.sam.build import build_mobile_sam

    network = build_mobile_sam()
    if job["weights"] is not None:
        load_weights(job["weights"], network, "MobileSAM")
    # Whatever the network thinks of its mask: somebody who draws a box wants one.
    predictor = Predictor(overrides=_overrides(device) | {"conf": 0.0})
    predictor.setup_model(network, verbose=False)

    def segment(gray: Any, boxes: dict[int, list[float]]) -> dict[int, Any]:
        predictor.set_image(np.repeat(gray[..., None], 3, axis=2))
        found = {}
        for label, box in boxes.items():
            masks = predictor(bboxes=[box])[0].masks
            if masks is not None and len(masks):
                found[label] = masks.data[0].cpu().numpy().astype(bool)
        return found

    return network, segment


def _overrides(device: str) -> dict[str, Any]:
    return {
        "task": "segment",
        "mode": "predict",
        "imgsz": _SIZE,
        "device": device,
        "save": False,
        "verbose": False,
    }


if __name__ == "__main__":
    run_job(work)
