"""What each operation costs at each width and resolution: milliseconds in INT8, and multiply-accumulates.

An operation is exported once alone and once four times in a row, brought to static INT8 (QDQ, unsigned activations,
weights per channel) and run in ONNX Runtime on one thread; its time is the slope between the two, of the least of
many runs each, so that what begins and ends a graph is not counted. It is CPU time of the one thread, which other
programs lengthen little.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from automedsam.errors import AutoMedSAMError
from automedsam.runtime.session import open_session
from automedsam.sam2.efficient_blocks import OPERATIONS, conv_norm, reparameterized
from automedsam_lab.common.json_files import write_json
from automedsam_lab.common.system_info import describe_machine
from automedsam_lab.distillation.cost import macs
from automedsam_lab.distillation.export import export_graph, quantize_encoder

if TYPE_CHECKING:
    from automedsam_lab.search.space import SearchSpace

LONG = 4
REPEATS = 60
_CALIBRATION = 4
_FLOOR_MS = 1e-3

logger = logging.getLogger(__name__)


class CostKind(str, Enum):
    """What is minimised."""

    MS = "ms"
    MACS = "macs"

    @property
    def unit(self) -> str:
        """For the axes of plots."""
        return {CostKind.MS: "ms in INT8 on one thread", CostKind.MACS: "millions of multiply-accumulates"}[self]


class CostTable:
    """A written table.

    Args:
        path: what `measure_table` wrote.
        kind: which of its columns counts; multiply-accumulates are in millions.

    Raises:
        AutoMedSAMError: if it is missing or no table.
    """

    def __init__(self, path: Path, kind: CostKind = CostKind.MS) -> None:
        self.path, self.kind = path, kind
        self.about = read_table(path)

    def cost(self, key: str) -> float:
        """The cost of a part.

        Raises:
            AutoMedSAMError: if the table lacks it.
        """
        if key not in self.about["entries"]:
            message = f"The latency table {self.path} lacks {key}: finish it with `automedsam-lab search table`."
            raise AutoMedSAMError(message)
        return float(self.about["entries"][key][self.kind.value])


def operation_key(name: str, width: int, side: int) -> str:
    """An operation on `side` x `side` cells of `width` channels."""
    return f"{name} {width}@{side}"


def down_key(before: int, after: int, side: int) -> str:
    """The strided convolution that opens a stage, by the side of its output."""
    return f"down {before}>{after}@{side}"


def stem_key(width: int) -> str:
    """The two strided convolutions that an image passes first."""
    return f"stem {width}"


def table_keys(space: SearchSpace) -> list[str]:
    """All parts of a space."""
    from automedsam_lab.search.space import SIDES

    keys = [stem_key(width) for width in space.widths[0]]
    for stage, options in enumerate(space.widths):
        keys += [operation_key(name, width, SIDES[stage]) for width in options for name in space.operations]
        if stage:
            keys += [down_key(before, after, SIDES[stage]) for before in space.widths[stage - 1] for after in options]
    return keys


def measure_table(
    keys: Iterable[str],
    path: Path,
    *,
    repeats: int = REPEATS,
    measure: Callable[[str, int], dict[str, float]] | None = None,
) -> None:
    """Measures what a table lacks; it is written after each part, and so may be stopped at any time.

    Args:
        keys: of `table_keys`.
        path: a JSON file, which is made or continued.
        repeats: runs of each graph.
        measure: gives the milliseconds and millions of multiply-accumulates of a key; of the encoder's parts if None.

    Raises:
        AutoMedSAMError: if the file is no table, or was measured on another machine.
    """
    machine = describe_machine()
    table: dict[str, Any] = {"machine": machine, "threads": 1, "repeats": repeats, "entries": {}}
    if path.exists():
        table = read_table(path)
        changed = [name for name in ("cpu", "onnxruntime") if table["machine"].get(name) != machine.get(name)]
        if changed:
            message = f"{path} was measured with another {' and '.join(changed)}: give another file, times do not mix."
            raise AutoMedSAMError(message)
    wanted = list(keys)
    for place, key in enumerate(wanted):
        if key not in table["entries"]:
            table["entries"][key] = (measure or _measure)(key, repeats)
            write_json(table, path)
            logger.info(f"{place + 1} of {len(wanted)}: {key}: {table['entries'][key]['ms']:.3f} ms")


def read_table(path: Path) -> dict[str, Any]:
    """The content of a table's file.

    Raises:
        AutoMedSAMError: if it is missing or no table.
    """
    try:
        table: dict[str, Any] = json.loads(path.read_text("utf-8"))
        entries = table["entries"]
        whole = all(entry["ms"] >= 0 and entry["macs"] >= 0 for entry in entries.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{path} is no latency table ({error}): remove it, and measure one anew."
        raise AutoMedSAMError(message) from error
    if not whole or not isinstance(table.get("machine"), dict):
        message = f"{path} is no latency table: remove it, and measure one anew."
        raise AutoMedSAMError(message)
    return table


def _measure(key: str, repeats: int) -> dict[str, float]:
    """Milliseconds, and millions of multiply-accumulates, of one part."""
    name, _, place = key.partition(" ")
    if name == "identity":
        return {"ms": 0.0, "macs": 0.0}
    numbers = [int(number) for number in re.findall(r"\d+", place)]
    if name == "stem":
        first = max(16, numbers[0] // 2)
        part: nn.Module = nn.Sequential(conv_norm(3, first, 3, stride=2), conv_norm(first, numbers[0], 3, stride=2))
        return _timed_once(part, torch.rand(1, 3, 256, 256), repeats)
    if name == "down":
        before, after, side = numbers
        return _timed_once(conv_norm(before, after, 3, stride=2), torch.rand(1, before, 2 * side, 2 * side), repeats)
    width, side = numbers
    inputs = torch.rand(1, width, side, side)
    single, several = (
        reparameterized(_as_trained(nn.Sequential(*(OPERATIONS[name](width) for _ in range(count)))))
        for count in (1, LONG)
    )
    least = least_ms([_Graph(network, inputs).run for network in (single, several)], repeats)
    ms = max(_FLOOR_MS, (least[1] - least[0]) / (LONG - 1))
    return {"ms": round(ms, 4), "macs": macs(lambda: single(inputs)) / 1e6}


def least_ms(calls: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """The least milliseconds of several calls, which take turns so that a busy moment hits all of them.

    Turns go on until none of the minima has fallen by 2 % for as many turns as `repeats`, at most 4 times as many.
    """
    least, stable = [float("inf")] * len(calls), 0
    for _ in range(4 * repeats):
        stable += 1
        for place, call in enumerate(calls):
            began = time.thread_time()
            call()
            taken = 1000 * (time.thread_time() - began)
            if taken < 0.98 * least[place]:
                stable = 0
            least[place] = min(least[place], taken)
        if stable >= repeats:
            break
    return least


def _timed_once(part: nn.Module, inputs: torch.Tensor, repeats: int) -> dict[str, float]:
    part = _as_trained(part).eval()
    ms = least_ms([_Graph(part, inputs).run], repeats)[0]
    return {"ms": round(ms, 4), "macs": macs(lambda: part(inputs)) / 1e6}


def _as_trained(network: nn.Module) -> nn.Module:
    """Gives batch norms random numbers.

    Fresh ones fold into biases that are all 0 and that the exporter keeps once; a bias that convolutions share is not
    brought to INT8, nor are these convolutions, and they would be timed in FP32.
    """
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                if tensor is not None:
                    tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.bias.data, module.running_mean):
                if tensor is not None:
                    tensor.uniform_(-0.2, 0.2, generator=generator)
    return network


class _Graph:
    """A network in static INT8 on one thread."""

    def __init__(self, network: nn.Module, inputs: torch.Tensor) -> None:
        generator = torch.Generator().manual_seed(0)
        feeds = [{"image": torch.randn(inputs.shape, generator=generator).numpy()} for _ in range(_CALIBRATION)]
        with tempfile.TemporaryDirectory() as work:
            source, target = Path(work) / "part.onnx", Path(work) / "part.int8.onnx"
            export_graph(network, {"image": inputs}, ("out",), source)
            quantize_encoder(source, feeds, target, Path(work))
            session = open_session(target, threads=1)
        self.run = partial(session.run, None, feeds[0])
