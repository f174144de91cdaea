"""Importing the engine is quick and drags nothing heavy in, so that Slicer starts as before."""

import subprocess
import sys
import time

import pytest

import automedsam

HEAVY = {"torch", "onnxruntime", "sam2", "SimpleITK", "scipy", "typer", "rich"}


def seconds(program: str) -> float:
    """The quickest of five fresh interpreters: others on the machine can only slow one down."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        taken.append(time.perf_counter() - began)
    return min(taken)


def test_import_takes_no_more_than_a_third_of_a_second() -> None:
    assert seconds("import automedsam") - seconds("pass") <= 0.3


def test_import_loads_nothing_heavy() -> None:
    program = "import sys, automedsam; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert not HEAVY & set(loaded.split())


def test_int8_road_needs_no_torch() -> None:
    program = "import sys, automedsam.pipeline.run, automedsam.demo.run_demo, automedsam.cli.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert not {"torch", "sam2", "onnxruntime"} & set(loaded.split())


@pytest.mark.parametrize("name", automedsam.__all__)
def test_each_public_name_is_there(name: str) -> None:
    assert getattr(automedsam, name).__name__ == name
    assert name in dir(automedsam)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'segmnt'"):
        _ = automedsam.segmnt  # type: ignore[attr-defined]
