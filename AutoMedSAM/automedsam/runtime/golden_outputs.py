"""A self-test of model files: what they answered when they were made, against what they answer here.

OpenVINO's INT8 decoder gave all-zero masks with one thread without an error, and
processors without VNNI may saturate INT8 sums. A few numbers of each output find either.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError
from automedsam.runtime.session import open_session

if TYPE_CHECKING:
    import onnxruntime as ort

SAMPLES = 24
# Rounding to INT8 differs between processors by far less, a saturated or silent layer by far more.
TOLERANCE = 0.1
_FREE_AXIS = 2


def record_golden(files: Mapping[str, Path], threads: int | None = None) -> dict[str, Any]:
    """Runs each file on an input that can be made anywhere, and takes down some values of its outputs.

    Args:
        files: the graph of each part.
        threads: threads within an operator; all cores if None.

    Returns:
        `{part: {output: [values]}}`, plain JSON values.
    """
    return {
        part: {name: _samples(values) for name, values in _answers(open_session(path, threads)).items()}
        for part, path in files.items()
    }


def check_golden(sessions: Mapping[str, ort.InferenceSession], golden: Mapping[str, Any]) -> None:
    """Runs each part again, on the sessions that will be used.

    Args:
        sessions: the opened graph of each part.
        golden: what `record_golden` gave.

    Raises:
        AutoMedSAMError: if a part answers otherwise, naming it.
    """
    for part, session in sessions.items():
        for name, values in _answers(session).items():
            wanted = np.array(golden.get(part, {}).get(name, ()), np.float32)
            found = np.array(_samples(values), np.float32)
            size = max(float(np.abs(wanted).mean()), 1e-6)
            apart = float(np.abs(found - wanted).mean()) / size if found.shape == wanted.shape else np.inf
            if not apart <= TOLERANCE:
                message = (
                    f"The {part.replace('_', ' ')} answers otherwise here than where it was made "
                    f"({name} is off by {apart:.0%}): use the FP32 files on this computer."
                )
                raise AutoMedSAMError(message)


def example_inputs(session: ort.InferenceSession) -> dict[str, NDArray[Any]]:
    """Inputs of a graph that are the same everywhere; free axes have two entries."""
    return {node.name: _example(node.name, node.type, node.shape) for node in session.get_inputs()}


def _answers(session: ort.InferenceSession) -> dict[str, NDArray[Any]]:
    names = [node.name for node in session.get_outputs()]
    return dict(zip(names, session.run(None, example_inputs(session)), strict=True))


def _example(name: str, kind: str, shape: list[Any]) -> NDArray[Any]:
    """Waves rather than random numbers, which differ between versions of numpy."""
    sizes = [axis if isinstance(axis, int) else _FREE_AXIS for axis in shape]
    count = int(np.prod(sizes))
    if "int" in kind:
        return (np.arange(count) % 2).reshape(sizes).astype(np.int64 if "64" in kind else np.int32)
    wave = np.sin(np.arange(count, dtype=np.float64) * 0.37) * np.cos(np.arange(count, dtype=np.float64) * 0.0113)
    if name == "presence":
        wave = np.ones(count)
    return wave.reshape(sizes).astype(np.float32)


def _samples(values: NDArray[Any]) -> list[float]:
    flat = np.asarray(values, np.float64).ravel()
    at = np.unique(np.linspace(0, flat.size - 1, min(SAMPLES, flat.size)).round().astype(int))
    return [float(f"{value:.4g}") for value in flat[at]]
