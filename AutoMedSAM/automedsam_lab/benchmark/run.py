"""The stock predictor, our FP32 and our INT8 on the same slices: one run, taking turns, in processes of their own."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.bundle import Bundle
from automedsam.core.boxes import Box
from automedsam.core.intensity import to_uint8
from automedsam.core.resize import resize_linear
from automedsam.demo.phantom import LESIONS, phantom_head
from automedsam.errors import AutoMedSAMError
from automedsam.runtime.session import available_cores
from automedsam_lab.benchmark.stages import FOLLOW, StageTime
from automedsam_lab.benchmark.worker import BACKENDS, FP32, INT8, RUN, STOCK, WARM, Job
from automedsam_lab.metrics.masks import dice
from automedsam_lab.metrics.reference_boxes import true_tracklet

logger = logging.getLogger(__name__)

TITLES = {STOCK: "stock sam2, FP32 torch", FP32: "ours, FP32", INT8: "ours, INT8"}
RANDOM_TASK = "nothing: random weights, for timing alone"
_PATIENCE_SECONDS = 10


@dataclass(frozen=True)
class Options:
    """How to measure: slices, runs of each contender, cores that they may use (all if None), and who takes part."""

    slices: int = 40
    repeats: int = 3
    threads: int | None = None
    only: tuple[str, ...] = (STOCK, FP32, INT8)

    @property
    def cores(self) -> int:
        """The cores that a contender may use."""
        return min(self.threads or available_cores(), available_cores())


@dataclass(frozen=True)
class Clip:
    """Slices `(N, H, W)` uint8, and a box in pixels on one of them, the seed."""

    slices: NDArray[np.uint8]
    seed: int
    box: Box


@dataclass(frozen=True)
class Run:
    """One run of a contender.

    Attributes:
        stages: by the names in `benchmark.stages`; "follow" is all of propagation.
        boxes: how many the detector found; None without one.
        began: when, in seconds since 1970.
        ended: when it was done.
        peak_mb: the most memory of its process so far.
    """

    stages: dict[str, StageTime]
    boxes: int | None
    began: float
    ended: float
    peak_mb: float


@dataclass
class Result:
    """What a contender took.

    Attributes:
        name: "stock", "fp32" or "int8".
        seen: a hash of the slices, the seed and the box that its process read.
        load_s: seconds to load the models.
        bytes: of its model files, by what they are.
        runs: in order.
        dice: of its masks with the first contender's.
        logits: the greatest difference of its logits from the first contender's.
    """

    name: str
    seen: str
    load_s: float
    bytes: dict[str, int]
    runs: list[Run] = field(default_factory=list)
    dice: float = 1.0
    logits: float = 0.0

    def median(self, stage: str, clock: str = "wall") -> float | None:
        """Median seconds ("wall" or "cpu") of a stage in a run; None if it has no such stage."""
        took = [getattr(run.stages[stage], clock) for run in self.runs if stage in run.stages]
        return median(took) if took else None

    @property
    def peak_mb(self) -> float:
        """The most memory of its process in all runs."""
        return max(run.peak_mb for run in self.runs)


@dataclass
class Benchmark:
    """What was measured of one bundle.

    Attributes:
        bundle: its name.
        about: its networks, in words.
        options: how it was measured.
        load: the machine's load average when it began, or None where the system does not tell.
        absent: why a contender is not there, each a sentence.
        results: the contenders, the slowest first.
    """

    bundle: str
    about: str
    options: Options
    load: float | None
    absent: list[str]
    results: list[Result]

    def ratio(self, result: Result, clock: str = "wall") -> float:
        """How many times faster than the first contender it follows: the median of each repeat's ratio."""
        pairs = zip(self.results[0].runs, result.runs, strict=True)
        return median(getattr(a.stages[FOLLOW], clock) / getattr(b.stages[FOLLOW], clock) for a, b in pairs)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return asdict(self)


def bench(bundle: Bundle, options: Options) -> Benchmark:
    """Measures every contender that a bundle has the files of, each in its own process, taking turns.

    Every process loads its models and is warmed up on three slices. In each repeat all run once, and who begins
    moves on by one. All follow one boxed lesion of a made-up head through all slices, in both directions.

    Args:
        bundle: the model.
        options: how to measure.

    Raises:
        AutoMedSAMError: if a contender cannot run, or the processes cannot be bound to so many cores.
    """
    if options.threads is not None and not hasattr(os, "sched_setaffinity"):
        message = "Only Linux can bind the contenders to a number of cores: leave --threads out."
        raise AutoMedSAMError(message)
    there, absent = contenders(bundle)
    names = [name for name in there if name in options.only]
    if not names:
        message = f"None of {', '.join(options.only)} can run {bundle.name}: leave --only out."
        raise AutoMedSAMError(message)
    for sentence in absent:
        logger.info("%s", sentence)
    clip = made_up_clip(options.slices, bundle.window)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        np.save(folder / "slices.npy", clip.slices)
        jobs = [_job(name, bundle, clip, folder, options) for name in names]
        processes = [stack.enter_context(_started(job, folder, options.cores)) for job in jobs]
        results = [_loaded(process, bundle) for process in processes]
        for process in processes:
            process.ask(WARM)
        for repeat in range(options.repeats):
            for turn in in_turn(len(names), repeat):
                run = _read_run(processes[turn].ask(RUN))
                results[turn].runs.append(run)
                title = TITLES[names[turn]]
                logger.info("%s, run %d: %s followed in %.1f s", bundle.name, repeat + 1, title, _seconds(run))
        _compare(results, folder)
    return Benchmark(bundle.name, _about(bundle), options, load, absent, results)


def contenders(bundle: Bundle) -> tuple[list[str], list[str]]:
    """The contenders that can take part, and a sentence with the reason for each of the others."""
    there, absent = [], []
    if bundle.segmenter.box_as_mask:
        absent.append(
            f"{bundle.name}: the stock predictor was not run, because it does not support filled boxes as prompts."
        )
    elif _segmenter_size(bundle, STOCK) is None:
        absent.append(
            f"{bundle.name}: the stock predictor was not run, because the bundle's segmenter.pt is not installed."
        )
    else:
        there.append(STOCK)
    if _segmenter_size(bundle, FP32) is not None and _detector(bundle, FP32) is not None:
        there.append(FP32)
    else:
        absent.append(f"{bundle.name}: our FP32 was not run, because the bundle's FP32 files are not installed.")
    return [*there, INT8], absent


def in_turn(count: int, repeat: int) -> list[int]:
    """The order in a repeat: each time another one begins."""
    return [(position + repeat) % count for position in range(count)]


def made_up_clip(count: int, window: tuple[float, float] | None) -> Clip:
    """Slices of a made-up head around the middle of its one lesion, and the lesion's box there.

    Args:
        count: how many slices; beyond the head's 60 it is cut thinner.
        window: grey levels that become 0 and 255; None takes percentiles.
    """
    volume, truth = phantom_head(lesions=LESIONS[:1])
    gray, mask = to_uint8(volume.array, window), truth
    if count > len(gray):
        gray, mask = (_thinner(stack, count) for stack in (gray, truth * np.uint8(255)))
        mask = (mask > 127).astype(np.uint8)
    middle = int(np.count_nonzero(mask, axis=(1, 2)).argmax())
    first = min(max(0, middle - count // 2), len(gray) - count)
    tracklet = true_tracklet(mask[first : first + count] == 1, 1)
    return Clip(np.ascontiguousarray(gray[first : first + count]), tracklet.seed, tracklet.boxes[tracklet.seed])


class _Process:
    """A contender's process; `ask` sends a line and waits for the answer."""

    def __init__(self, name: str, process: subprocess.Popen[str], errors: Path) -> None:
        self.name, self._process, self._errors = name, process, errors

    def ask(self, line: str) -> dict[str, Any]:
        """Sends a line; see `answer`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # `answer` reports why it has ended.
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next answer.

        Raises:
            AutoMedSAMError: with the process's message, or its last output if it has ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            words = self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            message = f"{TITLES[self.name]} ended with code {code} ({' '.join(words) or 'without any output'})."
            raise AutoMedSAMError(message)
        answer: dict[str, Any] = json.loads(line)
        if answer["event"] == "error":
            raise AutoMedSAMError(answer["message"])
        return answer


@contextmanager
def _started(job: Job, folder: Path, cores: int) -> Iterator[_Process]:
    """A contender's process, which ends with the block."""
    path, errors = folder / f"{job.contender}.json", folder / f"{job.contender}.log"
    path.write_text(json.dumps(asdict(job)), encoding="utf-8")
    # Waiting threads of torch that spin would take the cores from one another.
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores), "OMP_WAIT_POLICY": "PASSIVE"}
    with errors.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "automedsam_lab.benchmark.worker", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
    try:
        yield _Process(job.contender, process, errors)
    finally:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.communicate(timeout=_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _job(name: str, bundle: Bundle, clip: Clip, folder: Path, options: Options) -> Job:
    box = (clip.box.x, clip.box.y, clip.box.width, clip.box.height)
    place = str(bundle.folder.resolve())
    return Job(name, place, str(folder / "slices.npy"), clip.seed, box, str(folder), options.threads)


def _loaded(process: _Process, bundle: Bundle) -> Result:
    ready = process.answer()
    return Result(process.name, ready["seen"], ready["load_s"], _bytes(bundle, process.name))


def _read_run(answer: dict[str, Any]) -> Run:
    stages = {stage: StageTime(**spent) for stage, spent in answer["stages"].items()}
    return Run(stages, answer["boxes"], answer["began"], answer["ended"], answer["peak_mb"])


def _compare(results: Sequence[Result], folder: Path) -> None:
    first = np.load(folder / f"{results[0].name}.npy")
    for result in results:
        found = np.load(folder / f"{result.name}.npy")
        result.dice = float(dice(first > 0, found > 0))
        result.logits = float(np.abs(found - first).max())


def _seconds(run: Run) -> float:
    return run.stages[FOLLOW].wall


def _thinner(stack: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """The same extent in more slices."""
    columns = np.moveaxis(stack, 0, -1)
    return np.moveaxis(resize_linear(columns, (columns.shape[-2], count)).round().astype(np.uint8), -1, 0)


def _about(bundle: Bundle) -> str:
    rows, columns = bundle.detector.input_size
    weights = "random weights, " if bundle.task == RANDOM_TASK else ""
    memories = f"{bundle.segmenter.memories or bundle.segmenter.num_maskmem} memories"
    size = bundle.architecture.image_size
    return f"{weights}segmenter at {size} px with {memories}, detector at {rows} x {columns} px"


def _segmenter_size(bundle: Bundle, contender: str) -> int | None:
    """The bytes of a contender's segmenter; None if one of its files is not here."""
    paths = {name: path for name, path in bundle.paths(BACKENDS[contender]).items() if name != "detector"}
    if not paths or not all(path.is_file() for path in paths.values()):
        return None
    return sum(path.stat().st_size for path in paths.values())


def _detector(bundle: Bundle, contender: str) -> Path | None:
    path = bundle.paths(BACKENDS[contender]).get("detector")
    return path if path is not None and path.is_file() else None


def _bytes(bundle: Bundle, contender: str) -> dict[str, int]:
    found = {"segmenter": _segmenter_size(bundle, contender) or 0}
    detector = None if contender == STOCK else _detector(bundle, contender)
    return found if detector is None else {**found, "detector": detector.stat().st_size}
