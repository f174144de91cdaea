"""Small volumes, and the engine's own process, that the engine's tests share."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from phantoms import two_lesions

from automedsam.bundle import Bundle, load_bundle
from automedsam.cli.app import main
from automedsam.contract.protocol import ANSWERS
from automedsam.core.segmentation import Segment, Segmentation
from automedsam.core.volume import Volume
from automedsam.pipeline.run import SegmentationRun

Command = Callable[..., tuple[int, str, str]]

MASS = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^49755003^Morphologically Altered "
    "Structure~SCT^4147007^Mass~^^~Anatomic codes - DICOM master list~^^~^^"
)


@pytest.fixture
def a_volume() -> Volume:
    """A small anisotropic, oblique volume of int16 noise, 6 x 7 x 8 voxels."""
    tilt = np.deg2rad(20.0)
    matrix = [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
    array = np.random.default_rng(1).integers(0, 1000, (6, 7, 8)).astype(np.int16)
    direction = tuple(float(value) for row in matrix for value in row)
    return Volume(array, (0.7, 1 / 3, 4.5), (-12.3456789, 1 / 7, 98.7), direction, "head")


@pytest.fixture
def a_segmentation(a_volume: Volume) -> Segmentation:
    """Two labels, of which the second has no voxels in the extent of the first."""
    labels = np.zeros(a_volume.shape, dtype=np.uint8)
    labels[1:3, 1:3, 1:3] = 1
    labels[4:6, 5:7, 6:8] = 2
    segments = [
        Segment(1, "Anterior", (1.0, 0.5, 0.0), MASS),
        Segment(2, "Posterior", (0.1, 0.25, 0.9), MASS),
    ]
    return Segmentation(labels, a_volume, segments, provenance={"model": "glioma", "threshold": 0.25})


@pytest.fixture
def a_picture() -> Volume:
    """One slice of 8 bits, 12 rows and 17 columns."""
    array = np.random.default_rng(2).integers(0, 256, (1, 12, 17)).astype(np.uint8)
    return Volume(array, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


@pytest.fixture
def write_dicom_series() -> Callable[..., None]:
    """A function that writes a volume into a folder as a DICOM MR series."""
    return _write_dicom_series


def _write_dicom_series(volume: Volume, folder: Path, number: int = 1, skip: tuple[int, ...] = ()) -> None:
    folder.mkdir(exist_ok=True)
    image = volume.to_image(volume.array)
    matrix = np.reshape(volume.direction, (3, 3))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for index in range(volume.shape[0]):
        if index in skip:
            continue
        one_slice = image[:, :, index]
        one_slice.SetSpacing(volume.spacing[:2])
        tags = {
            "0008|0060": "MR",
            "0008|103e": f"series {number}",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.{number}.{index + 1}",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.9",
            "0020|000e": f"1.2.826.0.1.3680043.2.1125.{number}",
            "0020|0013": str(index + 1),
            "0020|0032": "\\".join(f"{value:.9g}" for value in volume.world((index, 0, 0))),
            "0020|0037": "\\".join(f"{value:.9g}" for value in (*matrix[:, 0], *matrix[:, 1])),
            "0018|0050": f"{volume.spacing[2]:.9g}",
        }
        for tag, value in tags.items():
            one_slice.SetMetaData(tag, value)
        # Names against the order of the slices: position decides, not the name.
        writer.SetFileName(str(folder / f"{number}_{99 - index:02d}.dcm"))
        writer.Execute(one_slice)


Message = dict[str, Any]
_LAST = ("finished", "cancelled", "error")


class Worker:
    """A worker process; reading from it never waits for more than a minute."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "automedsam.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
        self._lines: Queue[str] = Queue()
        self._number = 0
        Thread(target=self._listen, daemon=True).start()
        self.greeting = self.hear()

    def say(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> Message:
        return json.loads(self._lines.get(timeout=60))

    def send(self, op: str, **fields: Any) -> None:
        self._number += 1
        self.say(json.dumps({"op": op, "id": self._number, **fields}))

    def until(self, *kinds: str) -> list[Message]:
        """Everything up to and with the first event of one of these kinds."""
        heard = [self.hear()]
        while heard[-1]["event"] not in kinds:
            heard.append(self.hear())
        assert all(event["id"] == self._number for event in heard)
        return heard

    def ask(self, op: str, **fields: Any) -> list[Message]:
        """A request's events to its last; `link`, `devices` and `phantom` have one."""
        self.send(op, **fields)
        return self.until(*_LAST, ANSWERS.get(op, "finished"))

    def end(self) -> int:
        """Waits for its end, a second at most beside what a busy machine needs."""
        return self.process.wait(timeout=3)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                stream.close()

    def _listen(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            for line in self.process.stdout:
                self._lines.put(line)


@pytest.fixture
def start() -> Iterator[Callable[[], Worker]]:
    """Starts workers, which end with the test."""
    started: list[Worker] = []

    def start_one() -> Worker:
        started.append(Worker())
        return started[-1]

    yield start_one
    for worker in started:
        worker.close()


@pytest.fixture
def a_worker(start: Callable[[], Worker]) -> Worker:
    return start()


@pytest.fixture(scope="module")
def warm_worker() -> Iterator[Worker]:
    """A worker that the tests of a module share, where it does not matter what it was asked before."""
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture(scope="session")
def glioma() -> Bundle:
    """The built-in bundle, with its networks."""
    return load_bundle("glioma")


@pytest.fixture(scope="session")
def a_head() -> Volume:
    """The slices of the phantom that hold two of its lesions and the top of the third."""
    return two_lesions()[0]


@pytest.fixture(scope="session")
def a_run(a_head: Volume, glioma: Bundle) -> SegmentationRun:
    """The whole road in this process, to compare with."""
    run = SegmentationRun(a_head, glioma)
    list(run.events())
    return run


def described(volume: Volume, folder: Path) -> Message:
    path = folder / "volume.npy"
    if not path.exists():
        np.save(path, volume.array)
    place = {"spacing": volume.spacing, "origin": volume.origin, "direction": volume.direction}
    return {"path": str(path), "name": volume.name, **place}


@pytest.fixture
def request_of(tmp_path: Path) -> Callable[..., Message]:
    """The fields of a request to segment a volume."""

    def fields(volume: Volume, **more: Any) -> Message:
        labels = str(tmp_path / "labels.npy")
        return {"volume": described(volume, tmp_path), "labels": labels, "model": "glioma", "backend": "int8", **more}

    return fields


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """A function that runs `automedsam` with arguments; gives exit code, output, and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        output, error = capsys.readouterr()
        return int(left.value.code or 0), output, error

    return run
