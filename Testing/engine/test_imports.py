"""Importing the engine is quick and drags nothing heavy in, so that Slicer starts as before."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from dicom_files import slices, voxels

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
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, encoding="utf-8").stdout
    assert not HEAVY & set(loaded.split())


def test_int8_road_needs_no_torch() -> None:
    program = "import sys, automedsam.pipeline.run, automedsam.demo.run_demo, automedsam.cli.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, encoding="utf-8").stdout
    assert not {"torch", "sam2", "onnxruntime"} & set(loaded.split())


OFFLINE = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        sys.exit(f"network access: {event} {arguments}")
sys.addaudithook(refuse)
"""


def test_reading_dicom_opens_no_connection(tmp_path: Path) -> None:
    """pydicom 3.0.0 downloads its example files when it is imported."""
    slices(tmp_path, voxels())
    program = f"{OFFLINE}from automedsam.io.volume_reader import read_volume\n"
    program += f"import pathlib; print(read_volume(pathlib.Path({str(tmp_path)!r})).shape)"
    ran = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, encoding="utf-8")
    assert (ran.returncode, ran.stdout.startswith("(6,")) == (0, True), ran.stderr


def test_network_access_is_noticed() -> None:
    program = f"{OFFLINE}import socket; socket.getaddrinfo('localhost', 80)"
    ran = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, encoding="utf-8")
    assert ran.returncode == 1 and "network access" in ran.stderr


@pytest.mark.parametrize("name", automedsam.__all__)
def test_each_public_name_is_there(name: str) -> None:
    assert getattr(automedsam, name).__name__ == name
    assert name in dir(automedsam)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'segmnt'"):
        _ = automedsam.segmnt  # type: ignore[attr-defined]
