"""How long each part of a bundle takes: by threads, by batch, and on OpenVINO where that is installed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from automedsam.bundle import Bundle
from automedsam.contract.backends import Backend
from automedsam.errors import AutoMedSAMError
from automedsam.runtime.session import available_cores, open_session
from automedsam.sam2.onnx_networks import NETWORK_NAMES
from automedsam_lab.common.table import Table

logger = logging.getLogger(__name__)

OrtInputs: TypeAlias = dict[str, NDArray[Any]]
Runner: TypeAlias = Callable[[OrtInputs], list[NDArray[Any]]]

# Each runs on ONNX files.
PRECISIONS = {"int8": Backend.INT8, "fp32": Backend.FP32_ONNX}
BATCHES = (2, 4)
PARTS = ("detector", *NETWORK_NAMES)
# The names that the exporters give to the axes that are free.
POINTS = 1
_BATCH_AXIS = "n"


@dataclass(frozen=True)
class Implementation:
    """What runs a part.

    Attributes:
        name: in the table.
        open: loads a model file.
        batch: how many inputs at once; times are given for one.
    """

    name: str
    open: Callable[[Path], Runner]
    batch: int = 1


@dataclass
class Timing:
    """One part on one contender.

    Attributes:
        part: the graph.
        precision: of its file.
        contender: what ran it.
        wall: milliseconds of each turn, for one input.
        cpu: the same, of all cores together.
        apart: the norm of its answers' difference from the first contender's, as a share of the norm of those.
        failed: why it could not run; empty if it did.
    """

    part: str
    precision: str
    contender: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    apart: float = 0.0
    failed: str = ""

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return asdict(self)


def measure(
    bundle: Bundle,
    repeats: int,
    threads: int | None = None,
    precisions: Sequence[str] = tuple(PRECISIONS),
) -> list[Timing]:
    """Times every part of a bundle on every contender that is here; all take turns.

    Args:
        bundle: the model.
        repeats: runs of each contender, after one that warms up.
        threads: the most threads to try; all cores that this process may use if None.
        precisions: of those that the bundle has files of, the ones to measure.

    Raises:
        AutoMedSAMError: if the bundle has none of these files, or one of them is damaged.
    """
    cores = threads or available_cores()
    there = [precision for precision in precisions if bundle.has(PRECISIONS[precision])]
    if not there:
        message = f"The bundle {bundle.name} has no {' or '.join(precisions)} files here: choose another."
        raise AutoMedSAMError(message)
    sizes = {
        "memories": bundle.segmenter.memories or bundle.segmenter.num_maskmem,
        "pointers": bundle.segmenter.max_pointers,
        "points": POINTS,
    }
    timings = []
    for precision in there:
        for part, path in bundle.files(PRECISIONS[precision], detector=bundle.has_detector).items():
            logger.info("%s in %s", part, precision.upper())
            found = time_part(part, precision, path, contenders(cores, precision), sizes, repeats)
            for timing in found:
                took = timing.failed or f"{median(timing.cpu):.1f} CPU ms"
                logger.info("  %s: %s", timing.contender, took)
            timings += found
    return timings


def contenders(cores: int, precision: str) -> list[Implementation]:
    """ONNX Runtime on all cores, which all else is compared with, then on fewer, in batches, and OpenVINO."""
    found = [Implementation(f"ONNX Runtime, {_threads(count)}", _onnx_runtime(count)) for count in counts(cores)]
    found += [
        Implementation(f"ONNX Runtime, {_threads(cores)}, batch of {batch}", _onnx_runtime(cores), batch)
        for batch in BATCHES
    ]
    try:
        import openvino as _openvino  # noqa: F401
    except ImportError:
        return found
    found += [Implementation(f"OpenVINO, {_threads(count)}", _openvino_cpu(count, "f32")) for count in counts(cores)]
    if precision == "fp32":
        found.append(Implementation(f"OpenVINO in bfloat16, {_threads(cores)}", _openvino_cpu(cores, "bf16")))
    return found


def counts(cores: int) -> list[int]:
    """All cores, then half as many, down to one."""
    found = [cores]
    while found[-1] > 1:
        found.append(found[-1] // 2)
    return found


def time_part(
    part: str,
    precision: str,
    path: Path,
    entrants: Sequence[Implementation],
    sizes: Mapping[str, int],
    repeats: int,
) -> list[Timing]:
    """Times one file; batches only where its inputs all have a free axis for them.

    Args:
        part: its name.
        precision: its precision.
        path: the file.
        entrants: who runs it; the first is what the others' answers are compared with.
        sizes: of the free axes, by their names.
        repeats: turns, after one that warms up.
    """
    inputs = open_session(path, 1).get_inputs()
    batched = all(node.shape and node.shape[0] == _BATCH_AXIS for node in inputs)
    entrants = [entrant for entrant in entrants if entrant.batch == 1 or batched]
    timings = [Timing(part, precision, entrant.name) for entrant in entrants]
    feeds = {
        entrant.batch: {node.name: _example(node, {**sizes, _BATCH_AXIS: entrant.batch}) for node in inputs}
        for entrant in entrants
    }
    running: list[tuple[Implementation, Timing, Runner]] = []
    first: list[NDArray[Any]] = []
    for entrant, timing in zip(entrants, timings, strict=True):
        try:
            runner = entrant.open(path)
            answers = runner(feeds[entrant.batch])
        except Exception as error:  # Each runtime raises what it likes; one that fails must not end the comparison.
            timing.failed = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
            continue
        first = first or answers
        timing.apart = max(_apart(answer[: len(one)], one) for answer, one in zip(answers, first, strict=True))
        running.append((entrant, timing, runner))
    for turn in range(repeats):
        for entrant, timing, runner in _beginning_with(running, turn):
            wall, cpu = time.perf_counter(), time.process_time()
            runner(feeds[entrant.batch])
            timing.wall.append(1000 * (time.perf_counter() - wall) / entrant.batch)
            timing.cpu.append(1000 * (time.process_time() - cpu) / entrant.batch)
    return timings


def _beginning_with(running: Sequence[Any], turn: int) -> Iterator[Any]:
    """All of them, each time another one first."""
    for position in range(len(running)):
        yield running[(position + turn) % len(running)]


def _onnx_runtime(threads: int) -> Callable[[Path], Runner]:
    def opened(path: Path) -> Runner:
        session = open_session(path, threads)
        return lambda feed: list(session.run(None, feed))

    return opened


def _openvino_cpu(threads: int, precision: str) -> Callable[[Path], Runner]:
    def opened(path: Path) -> Runner:
        import openvino

        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
        }
        compiled = openvino.Core().compile_model(str(path), "CPU", settings)
        return lambda feed: [np.array(answer) for answer in compiled(feed).values()]

    return opened


def _example(node: Any, sizes: Mapping[str, int]) -> NDArray[Any]:
    """An input as it might be: a bank of memories of all ages, pointers over all distances, noise elsewhere."""
    shape = [axis if isinstance(axis, int) else sizes[axis] for axis in node.shape]
    if node.name == "ages":
        return np.arange(shape[0], dtype=np.int64)
    if node.name == "labels":
        return np.full(shape, -1, np.int32)
    if node.name == "distances":
        return np.linspace(0, 1, shape[0], dtype=np.float32)
    # Every input of a batch is the same, so that the answers can be compared with those to one.
    same = (1, *shape[1:]) if node.shape[0] == _BATCH_AXIS else shape
    return np.broadcast_to(np.random.default_rng(0).normal(size=same), shape).astype(np.float32)


def _apart(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    difference = np.linalg.norm(np.asarray(found, np.float64) - wanted[: len(found)])
    return float(difference / max(float(np.linalg.norm(wanted)), 1e-12))


def _threads(count: int) -> str:
    return f"{count} {'thread' if count == 1 else 'threads'}"


def markdown(timings: Sequence[Timing], repeats: int, machine: Mapping[str, str | int]) -> str:
    """One table: a line for each contender, a column for each part, wall and CPU milliseconds and their ratio."""
    lines = [
        f"Measured on {', '.join(f'{key} {value}' for key, value in machine.items())}.",
        "",
        f"Wall / CPU milliseconds for one input, medians of {repeats} turns; x is the wall time of the first line of "
        "a precision over this one's, as the median of each turn's ratio, and % how far the answers are from its.",
        "",
    ]
    table = Table(["", *(part.replace("_", " ") for part in PARTS)])
    failures = []
    for precision in dict.fromkeys(timing.precision for timing in timings):
        of_precision = [timing for timing in timings if timing.precision == precision]
        for contender in dict.fromkeys(timing.contender for timing in of_precision):
            table.add(f"{precision.upper()}, {contender}", *(_cell(of_precision, part, contender) for part in PARTS))
        failures += [
            f"- {precision.upper()}, {timing.contender}, {timing.part}: {timing.failed}"
            for timing in of_precision
            if timing.failed
        ]
    return "\n".join([*lines, table.to_markdown(), *([""] if failures else []), *failures])


def _cell(timings: Sequence[Timing], part: str, contender: str) -> str:
    of_part = [timing for timing in timings if timing.part == part]
    found = next((timing for timing in of_part if timing.contender == contender), None)
    if found is None:
        return "-"
    if found.failed:
        return "failed"
    times = f"{median(found.wall):.1f} / {median(found.cpu):.1f}"
    if found is of_part[0]:
        return times
    ratio = median(first / other for first, other in zip(of_part[0].wall, found.wall, strict=True))
    return f"{times}, x {ratio:.2f}, {found.apart:.1%}"
