"""One contender of `automedsam-lab bench` in a process of its own, so that its peak memory is its own.

`python -m automedsam_lab.benchmark.worker JOB.json` loads the model and prints "ready"; each line on standard input is
one run, answered by "done". The end of standard input ends the process.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from automedsam.bundle import Bundle, load_bundle
from automedsam.contract.backends import Backend
from automedsam.core.boxes import Box
from automedsam.core.memory import peak_memory_mb
from automedsam.core.segmentation import Segmentation
from automedsam.core.volume import Volume
from automedsam.detection.detector import stack_adjacent_slices
from automedsam.errors import AutoMedSAMError
from automedsam.io.segmentation_writer import write_segmentation
from automedsam.pipeline.backends import load_model
from automedsam.sam2.propagation import Prompt, Sam2Segmenter
from automedsam.worker.channel import Output
from automedsam_lab.benchmark.stages import DETECT, FOLLOW, WRITE, Stopwatch, TimedNetworks

STOCK, FP32, INT8 = "stock", "fp32", "int8"
# The stock predictor reads the checkpoint that FP32 on PyTorch runs on.
BACKENDS = {STOCK: Backend.FP32_TORCH, FP32: Backend.FP32_ONNX, INT8: Backend.INT8}
WARM, RUN = "warm", "run"
SPACING_MM = 1.0


@dataclass(frozen=True)
class Job:
    """What one contender does, the same for all but its name.

    Attributes:
        contender: "stock", "fp32" or "int8".
        bundle: the folder of the model.
        slices: a `.npy` file of `(N, H, W)` uint8.
        seed: the slice of the box.
        box: x, y, width, height in pixels.
        out: the folder for `<contender>.npy`, logits `(N, H, W)`, and the written segmentation.
        threads: cores that the process may use; all if None.
    """

    contender: str
    bundle: str
    slices: str
    seed: int
    box: tuple[float, float, float, float]
    out: str
    threads: int | None = None


class Implementation(Protocol):
    """Follows the object in a box on the seed through all slices `(N, H, W)`: logits of the same shape."""

    def follow(self, slices: NDArray[np.uint8], seed: int, box: Box) -> NDArray[np.float32]: ...


class OurEngine:
    """The engine on one of a bundle's backends, with its detector."""

    def __init__(self, bundle: Bundle, backend: Backend, watch: Stopwatch) -> None:
        engine = load_model(bundle, backend)
        self._parts: Any = TimedNetworks(engine.networks, watch)
        self._bundle, self._detector, self._watch = bundle, engine.detector, watch

    def detect(self, slices: NDArray[np.uint8]) -> int:
        """How many boxes the detector finds."""
        with self._watch.during(DETECT):
            frames = stack_adjacent_slices(slices, SPACING_MM, self._bundle.detector.context_mm)
            return sum(len(boxes) for boxes in self._detector.detect(frames))

    def follow(self, slices: NDArray[np.uint8], seed: int, box: Box) -> NDArray[np.float32]:
        # The stock predictor does not stop where the object ends, so nobody does.
        settings = replace(self._bundle.segmenter, max_empty_slices=len(slices))
        segmenter = Sam2Segmenter(self._parts, settings, slices)
        segmenter.prompt(seed, 1, Prompt(box=box))
        logits = np.empty(slices.shape, np.float32)
        for index, found in segmenter.propagate(1, seed, 0, len(slices) - 1):
            logits[index] = found
        return logits


def main() -> None:
    """Answers runs until there are no more."""
    output = Output()
    try:
        job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
        _bind(job.threads)
        watch, slices = Stopwatch(), np.load(job.slices)
        bundle, began = load_bundle(job.bundle), time.perf_counter()
        contender = _open(job.contender, bundle, watch)
        seen = hashlib.sha256(slices.tobytes() + repr((job.seed, job.box)).encode()).hexdigest()
        output.send("ready", load_s=time.perf_counter() - began, seen=seen)
        for line in sys.stdin:
            warm = line.strip() == WARM
            run = _run(contender, job, bundle, slices, watch, short=warm)
            output.send("done", **run)
    except AutoMedSAMError as error:
        output.send("error", message=str(error))


def _open(name: str, bundle: Bundle, watch: Stopwatch) -> Implementation:
    if name != STOCK:
        return OurEngine(bundle, BACKENDS[name], watch)
    from automedsam_lab.benchmark.stock_sam2 import StockPredictor

    return StockPredictor(bundle.paths(BACKENDS[STOCK])["checkpoint"], watch)


def _bind(threads: int | None) -> None:
    """Lets this process use so many cores; every library that asks how many there are sees no more."""
    if threads is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def _run(
    contender: Implementation, job: Job, bundle: Bundle, slices: NDArray[np.uint8], watch: Stopwatch, *, short: bool
) -> dict[str, Any]:
    """Detects, follows and writes; a short run, to warm up, sees the neighbours of the seed alone."""
    first = max(0, job.seed - 1) if short else 0
    shown = np.ascontiguousarray(slices[first : job.seed + 2]) if short else slices
    watch.reset()
    began = time.time()
    boxes = contender.detect(shown) if isinstance(contender, OurEngine) else None
    with watch.during(FOLLOW):
        logits = contender.follow(shown, job.seed - first, Box(*job.box))
    with watch.during(WRITE):
        _write(logits, shown, bundle, Path(job.out) / f"{job.contender}.seg.nrrd")
    ended = time.time()
    if not short:
        np.save(Path(job.out) / f"{job.contender}.npy", logits)
    spent = {stage: asdict(took) for stage, took in watch.reset().items()}
    return {"stages": spent, "boxes": boxes, "began": began, "ended": ended, "peak_mb": peak_memory_mb()}


def _write(logits: NDArray[np.float32], slices: NDArray[np.uint8], bundle: Bundle, path: Path) -> None:
    identity = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    volume = Volume(slices, (1.0, 1.0, SPACING_MM), (0.0, 0.0, 0.0), identity, "bench")
    labels = np.where(logits > 0, np.uint8(bundle.segments[0].value), np.uint8(0))
    write_segmentation(Segmentation(labels, volume, list(bundle.segments)), path)


if __name__ == "__main__":
    main()
