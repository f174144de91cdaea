"""The numbers that shape a student, as JSON that the search writes and the training reads."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from automedsam.errors import AutoMedSAMError
from automedsam.sam2.architecture import OPERATION_NAMES
from automedsam_lab.common.json_files import write_json

STAGES = 4
# Of 16-channel heads, and of INT8 kernels.
WIDTH_UNIT = 16
_MAX_WIDTH, _MAX_DEPTH = 1024, 32
MEMORIES, MEMORY_LAYERS = (1, 2, 4), (1, 2, 3, 4)


@dataclass(frozen=True)
class StudentArchitecture:
    """A student.

    Attributes:
        widths: channels at strides 4, 8, 16 and 32.
        stages: names of operations of each stage, in order.
        d_model: channels of the pyramid and of the mask decoder.
        decoder_feedforward: inner width of the decoder's transformer.
        memory_layers: of the memory attention, when the encoder is trained on in SAM 2's video model.
        memories: slices tracked before that it looks at, beside the prompted ones: the nearest ones, whole. Older
            ones are dropped, not averaged, so that a bundle's graphs run as they are.
        name: for tables.
    """

    widths: tuple[int, ...]
    stages: tuple[tuple[str, ...], ...]
    d_model: int = 128
    decoder_feedforward: int = 256
    memory_layers: int = 2
    memories: int = 4
    name: str = ""

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            message = f"This is no architecture of a student: {problem}."
            raise AutoMedSAMError(message)

    @classmethod
    def from_json(cls, values: Any) -> StudentArchitecture:
        """Reads what `to_json` wrote.

        Raises:
            AutoMedSAMError: if something is missing, unknown or impossible.
        """
        known = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or not {"widths", "stages"} <= set(values) or not set(values) <= known:
            message = f"This is no architecture of a student: it needs widths and stages, and knows {sorted(known)}."
            raise AutoMedSAMError(message)
        try:
            widths, stages = tuple(values["widths"]), tuple(tuple(stage) for stage in values["stages"])
        except TypeError as error:
            message = "This is no architecture of a student: widths is a list of numbers, stages one of lists of names."
            raise AutoMedSAMError(message) from error
        return cls(**{**values, "widths": widths, "stages": stages})

    @classmethod
    def read(cls, path: Path) -> StudentArchitecture:
        """Reads a file of the search.

        Raises:
            AutoMedSAMError: if it is missing or no architecture.
        """
        try:
            values = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            message = f"{path} cannot be read as the JSON of an architecture ({error}): give one that a search wrote."
            raise AutoMedSAMError(message) from error
        return cls.from_json(values)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    def write(self, path: Path) -> None:
        """Writes the JSON file."""
        write_json(self.to_json(), path)


def _problem(found: StudentArchitecture) -> str:
    """What is wrong with an architecture, as a clause; empty if nothing is."""
    if len(found.widths) != STAGES or len(found.stages) != STAGES:
        return f"it needs {STAGES} widths and {STAGES} stages"
    for width in (*found.widths, found.d_model):
        if not isinstance(width, int) or not 0 < width <= _MAX_WIDTH or width % WIDTH_UNIT:
            return f"a width is {width!r:.40} and must be a multiple of {WIDTH_UNIT} up to {_MAX_WIDTH}"
    unknown = sorted({repr(name) for stage in found.stages for name in stage if name not in OPERATION_NAMES})
    if unknown:
        return f"it has operations that are unknown ({', '.join(unknown)[:80]})"
    if max(len(stage) for stage in found.stages) > _MAX_DEPTH:
        return f"a stage has more than {_MAX_DEPTH} operations"
    if found.memories not in MEMORIES or found.memory_layers not in MEMORY_LAYERS:
        return f"memories are one of {MEMORIES} and memory_layers one of {MEMORY_LAYERS}"
    if not isinstance(found.decoder_feedforward, int) or not 0 < found.decoder_feedforward <= 4 * _MAX_WIDTH:
        return "decoder_feedforward must be a positive number"
    return ""


def single_operation(
    operation: str, widths: tuple[int, ...] = (32, 64, 128, 192), depths: tuple[int, ...] = (2, 2, 4, 2), **others: Any
) -> StudentArchitecture:
    """One operation everywhere."""
    stages = tuple((operation,) * depth for depth in depths)
    return StudentArchitecture(widths, stages, name=others.pop("name", operation), **others)


# Until a search has shown better: dense convolutions give the most arithmetic a millisecond in INT8 on a CPU.
PRESETS = {
    "s": single_operation("fused_e2", (16, 32, 64, 128), (1, 2, 3, 1), name="S"),
    "m": single_operation("fused_e2", name="M"),
    "l": single_operation("fused_e2", (48, 96, 160, 256), (2, 3, 6, 2), name="L"),
}
