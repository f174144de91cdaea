"""Whatever is written to the engine's process is answered in one line, and the process goes on."""

from __future__ import annotations

import contextlib
import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automedsam.contract.request_fields import MAX_LINE_BYTES
from automedsam.errors import AutoMedSAMError
from automedsam.worker.messages import read_volume

FUZZ = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}
SENTINEL = -1


class FuzzedWorker:
    """A worker in a folder of its own, where paths that are made up may lead."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "automedsam.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )
        self._lines: Queue[bytes] = Queue()
        Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def answers(self, *lines: bytes) -> list[dict[str, Any]]:
        """All events up to the answer to a request of our own, which follows the lines."""
        assert self.process.stdin is not None
        sentinel = json.dumps({"op": "devices", "id": SENTINEL}).encode()
        self.process.stdin.write(b"\n".join([*lines, sentinel]) + b"\n")
        self.process.stdin.flush()
        heard: list[dict[str, Any]] = []
        while not heard or heard[-1].get("id") != SENTINEL or heard[-1]["event"] != "devices":
            heard.append(json.loads(self._lines.get(timeout=60)))
        assert self.process.poll() is None
        for event in heard:
            if event["event"] == "error":
                assert event["message"] and "\n" not in event["message"] and len(event["message"]) <= 1000
                assert event["details"] == "", event["details"]
        return heard[:-1]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FuzzedWorker]:
    folder = tmp_path_factory.mktemp("worker")
    rng = np.random.default_rng(0)
    np.save(folder / "volume.npy", rng.normal(100, 20, (6, 24, 24)).astype(np.float32))
    np.savez(folder / "several.npz", a=np.zeros(3))
    np.save(folder / "words.npy", np.array([[["a", "b"]]]))
    np.save(folder / "edited.npy", np.eye(24, dtype=np.uint8))
    np.save(folder / "complex.npy", np.ones((2, 2, 2), complex))
    started = FuzzedWorker(folder)
    started.answers()
    yield started
    started.process.kill()
    started.process.wait()


VOLUME = {
    "path": "volume.npy",
    "name": "head",
    "spacing": [1.0, 1.0, 2.0],
    "origin": [0.0, 0.0, 0.0],
    "direction": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
}
BOX = {"id": 1, "slice": 2, "bounds": [4, 12, 4, 12, 2, 3], "score": 0.9, "label": 1, "drawn": False}
RUN = {
    "volume": VOLUME,
    "labels": "labels.npy",
    "model": "glioma",
    "backend": "int8",
    "device": "auto",
    "threshold": None,
    "plane": None,
    "slices": [1, 3],
    "names": [{"name": "head", "Modality": "MR"}],
}
TRACKLET = {"label": 1, "seed": 2, "boxes": [1]}
PROMPTED = {
    "label": 1,
    "seed": 2,
    "boxes": [1],
    "points": [{"position": [8.0, 8.0, 2.0], "positive": False}],
    "masks": [{"slice": 3, "path": "edited.npy"}],
    "empty": [5],
    "limits": [1, 4],
}
REQUESTS: dict[str, dict[str, Any]] = {
    "segment": RUN,
    "propagate": {**RUN, "boxes": [BOX], "tracklets": [TRACKLET, PROMPTED], "crops": {"a": [0, 0, 24, 24]}},
    "preview": {
        **{key: value for key, value in RUN.items() if key != "labels"},
        "boxes": [BOX],
        "tracklets": [PROMPTED],
        "slice": 2,
        "mask": "mask.npy",
    },
    "link": {
        "volume": {**VOLUME, "shape": [6, 24, 24]},
        "model": "glioma",
        "boxes": [BOX],
        "threshold": 0.5,
        "slices": [0, 5],
        "plane": "axial",
    },
    "check": {"volume": VOLUME, "model": "glioma", "names": []},
    "devices": {"backend": "int8"},
    "phantom": {"path": "phantom.npy"},
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([path] if path else []), *(place for key, one in inner for place in places(one, (*path, key)))]


PLACES = [(op, place) for op, request in REQUESTS.items() for place in places(request)]
ODD = [
    None, True, False, 0, -1, 1, 7, 1e-300, 1e300, -1e300, 2**31, 2**63, 2**64, 10**400, "", "x", "\ud800", "a\0b", ".",
    "..", "/", "x" * 5000, "several.npz", "words.npy", "complex.npy", "gone.npy", [], {}, [[]], [1, 2], [3, 1],
    [1, 2, 3], [2**40, 2**40, 2**40], [100_000, 100_000, 100_000], [-1, 2, 3], {"path": "volume.npy"}, [None] * 9,
    [0.0] * 9,
]  # fmt: skip
DELETED = object()


def test_every_field_left_out_or_odd_is_answered_and_the_process_goes_on(worker: FuzzedWorker) -> None:
    lines = []
    for number, (op, place) in enumerate(PLACES):
        for odd in (DELETED, ODD[number % len(ODD)], ODD[(7 * number + 3) % len(ODD)]):
            lines.append(json.dumps(changed(op, place, odd, len(lines))).encode())
    for start in range(0, len(lines), 20):
        answered = {event["id"] for event in worker.answers(*lines[start : start + 20])}
        assert set(range(start, min(start + 20, len(lines)))) <= answered


def changed(op: str, place: tuple[Any, ...], value: Any, number: int) -> dict[str, Any]:
    """A good request with one value set or deleted."""
    request = {"op": op, "id": number, **copy.deepcopy(REQUESTS[op])}
    target: Any = request
    for key in place[:-1]:
        target = target[key]
    if value is DELETED:
        target.pop(place[-1])
    else:
        target[place[-1]] = value
    return request


@settings(max_examples=150, **FUZZ)
@given(
    place=st.sampled_from(PLACES),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.sampled_from(ODD),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    ),
)
def test_any_value_in_any_field_is_answered(worker: FuzzedWorker, place: tuple[str, Any], value: Any) -> None:
    assert worker.answers(json.dumps(changed(*place, value, 1)).encode())[-1]["event"] in (
        *("error", "finished", "tracklets", "checked", "devices", "phantom", "preview"),
    )


@settings(max_examples=200, **FUZZ)
@given(line=st.binary(max_size=200) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_answered_once(worker: FuzzedWorker, line: bytes) -> None:
    line = line.replace(b"\n", b" ")
    assert [event["event"] for event in worker.answers(line)] == (["error"] if line.strip() else [])


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 1_000_000,
        b'{"a":' * 300_000,
        b'{"op": "cancel", "id": ' + b"[" * 900,
        b'{"op": "devices", "id": ' + b"1" * 10_000 + b"}",
        b'{"op": "devices", "id": 1e999}',
        b'{"op": "devices", "id": -Infinity}',
        '{"op": "devices", "id": 3}'.encode("utf-16"),
        b'\xef\xbb\xbf{"op": "paint", "id": 3}',
        b'{"op": ["cancel"], "id": 3}',
        b'{"op": {"quit": 1}}',
        b"null",
    ],
    ids=[
        "deep list",
        "deep object",
        "deep cancel",
        "digits",
        "1e999",
        "infinity",
        "utf-16",
        "bom",
        "list",
        "map",
        "null",
    ],
)
def test_hostile_lines_are_answered_in_a_sentence(worker: FuzzedWorker, line: bytes) -> None:
    events = worker.answers(line)
    assert {event["event"] for event in events} == {"error"}


def test_an_object_of_a_label_that_the_model_does_not_have_is_refused(worker: FuzzedWorker) -> None:
    (answer,) = worker.answers(json.dumps(changed("propagate", ("tracklets", 0, "label"), 7, 1)).encode())
    assert "the model glioma has no label 7" in answer["message"]


@settings(max_examples=200, **FUZZ)
@given(start=st.integers(0, 130), length=st.integers(0, 8), junk=st.binary(max_size=8), cut=st.integers(0, 300))
def test_a_damaged_file_of_voxels_is_refused_or_read(
    worker: FuzzedWorker, start: int, length: int, junk: bytes, cut: int
) -> None:
    path = worker.folder / "damaged.npy"
    np.save(path, np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    content = path.read_bytes()
    path.unlink()  # the file may still be mapped
    path.write_bytes((content[:start] + junk + content[start + length :])[: 300 - cut])
    with contextlib.suppress(AutoMedSAMError):
        assert read_volume({**VOLUME, "path": str(path)}).array.dtype.kind in "biuf"


def test_a_line_without_an_end_is_refused_and_not_kept_in_memory(worker: FuzzedWorker) -> None:
    line = b'{"op": "devices", "id": 1, "x": "' + b"x" * (MAX_LINE_BYTES + 10_000_000) + b'"}'
    (answer,) = worker.answers(line)
    assert answer["event"] == "error" and "longer than 64 MB" in answer["message"]
