"""The engine as a process: it begins and ends as it should, and nothing that goes wrong takes anything down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import automedsam
from automedsam.core.volume import Volume
from automedsam.pipeline.run import SegmentationRun

if TYPE_CHECKING:
    from Testing.engine.conftest import Message, Worker

LAST = ("finished", "cancelled", "error")


@pytest.mark.alone
def test_worker_greets_within_half_a_second(start: Callable[[], Worker]) -> None:
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        worker = start()
        taken.append(time.perf_counter() - began)
        expected = {"event": "ready", "protocol": 1, "version": automedsam.__version__, "pid": worker.process.pid}
        assert worker.greeting == expected
    assert min(taken) < 0.5


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("how", ["quit", "end of input"])
@pytest.mark.alone
def test_worker_ends_with_its_owner(
    a_worker: Worker, a_head: Volume, request_of: Callable[..., Message], how: str, busy: bool
) -> None:
    if busy:
        a_worker.send("segment", **request_of(a_head))
        a_worker.until("boxes")
    began = time.perf_counter()
    if how == "quit":
        a_worker.say('{"op": "quit"}')
    else:
        a_worker.process.stdin.close()
    assert a_worker.end() == 0
    assert time.perf_counter() - began < 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_ctrl_c_in_the_owners_terminal_does_not_end_a_run(
    a_worker: Worker, a_head: Volume, request_of: Callable[..., Message]
) -> None:
    a_worker.send("segment", **request_of(a_head))
    a_worker.until("boxes")
    a_worker.process.send_signal(signal.SIGINT)
    assert a_worker.until(*LAST)[-1]["event"] == "finished"


def test_killed_worker_leaves_finished_slices(
    start: Callable[[], Worker], a_head: Volume, a_run: SegmentationRun, request_of: Callable[..., Message]
) -> None:
    fields, worker = request_of(a_head), start()
    worker.send("segment", **fields)
    for _ in range(5):
        worker.until("slice")
    worker.process.kill()
    worker.process.wait()
    assert np.load(fields["labels"]).any()
    assert start().ask("segment", **fields)[-1]["event"] == "finished"
    np.testing.assert_array_equal(np.load(fields["labels"]), a_run.result().labels)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no JSON", "it is not JSON"),
        ("[1]", "it is not a JSON object"),
        ("[" * 100_000, "it is nested too deeply"),
        ('{"op": "cancel", "deep": ' + "[" * 900, "it is not JSON"),
        ('{"op": "devices", "id": 7, "backend": ' + "9" * 5000 + "}", "a number of too many digits"),
        ('{"op": "devices", "id": NaN}', "it contains NaN"),
        ('{"op": "segment"}', "id is missing"),
        ('{"op": "segment", "id": true}', "id: True is not a whole number"),
        ('{"op": "paint", "id": 7}', "no request 'paint'"),
        ('{"op": "segment", "id": 7}', "volume is missing"),
        ('{"op": "segment", "id": 7, "volume": {}, "labels": "x", "model": "glioma"}', "volume: spacing is missing"),
        ('{"op": "segment", "id": 7, "volume": %s, "labels": "x", "model": "glioma"}', "volume: path is missing"),
        ('{"op": "segment", "id": 7, "volume": %s, "labels": "a\\u0000b", "model": "glioma"}', "is not a path"),
        (
            '{"op": "link", "id": 7, "volume": {"shape": [1, 1, 1]}, "model": "glioma", "boxes": []}',
            "spacing is missing",
        ),
        ('{"op": "devices", "id": 7, "backend": "?"}', "'?'"),
    ],
)
def test_request_that_is_none_is_answered_and_the_next_one_too(a_worker: Worker, line: str, said: str) -> None:
    grid = '{"spacing": [1, 1, 1], "origin": [0, 0, 0], "direction": [1, 0, 0, 0, 1, 0, 0, 0, 1]}'
    a_worker.say(line.replace("%s", grid))
    answer = a_worker.hear()
    assert answer["event"] == "error" and answer["user_error"] is False
    assert said in answer["message"] and "\n" not in answer["message"] and answer["details"] == ""
    assert answer["id"] == (7 if '"id": 7' in line and "too many" not in said else None)
    assert a_worker.ask("devices", backend="int8")[0]["device"] == "CPU: INT8 needs no PyTorch"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "liver"}, "There is no model liver: choose one of glioma, hippocampus, polyp, brats, anything"),
        ({"threshold": 2}, "is not a score"),
        ({"device": "cuda"}, "runs on the CPU"),
        ({"slices": [50, 70]}, "choose among 0 to 25"),
        ({"labels": "/nowhere/labels.npy"}, "cannot be written to"),
    ],
)
def test_what_a_person_can_put_right_is_said_in_a_sentence(
    a_worker: Worker, a_head: Volume, request_of: Callable[..., Message], change: Message, said: str
) -> None:
    (answer,) = a_worker.ask("segment", **request_of(a_head) | change)
    assert (answer["event"], answer["user_error"], answer["details"]) == ("error", True, "")
    assert said in answer["message"]


def test_voxels_that_are_gone_or_pickled_are_refused(
    a_worker: Worker, a_head: Volume, request_of: Callable[..., Message], tmp_path: Path
) -> None:
    fields = request_of(a_head)
    np.save(tmp_path / "objects.npy", np.array([[[print]]], dtype=object), allow_pickle=True)
    for name in ("gone.npy", "objects.npy"):
        volume = fields["volume"] | {"path": str(tmp_path / name)}
        (answer,) = a_worker.ask("segment", **fields | {"volume": volume})
        assert answer["user_error"] and "cannot be read" in answer["message"]


@pytest.mark.parametrize(
    ("bounds", "said"), [([0, 5, 0, 5, 9, 10], "two boxes on one slice"), ([300, 310, 0, 5, 9, 10], "outside")]
)
def test_impossible_boxes_are_told(
    a_worker: Worker, a_head: Volume, request_of: Callable[..., Message], bounds: list[float], said: str
) -> None:
    boxes = [
        {"id": number, "slice": 9, "bounds": where, "score": 1.0, "label": 1, "drawn": True}
        for number, where in enumerate([[60, 80, 60, 80, 9, 10], bounds])
    ]
    tracklets = [{"label": 1, "seed": 9, "boxes": [0, 1]}]
    (answer,) = a_worker.ask("propagate", boxes=boxes, tracklets=tracklets, **request_of(a_head))
    assert answer["user_error"] and said in answer["message"]


def test_what_a_backend_lacks_is_named(a_worker: Worker) -> None:
    (answer,) = a_worker.ask("devices", backend="fp32")
    assert answer["missing"] == [name for name in ("torch", "sam2") if find_spec(name) is None]
    assert answer["device"].startswith(("CPU:", "CUDA:", "MPS:") if not answer["missing"] else "FP32 needs")


def test_int8_road_imports_neither_torch_nor_the_command_line(tmp_path: Path) -> None:
    program = "import sys, automedsam.worker.__main__, automedsam.worker.handlers; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, encoding="utf-8").stdout
    assert not {"torch", "sam2", "typer", "rich", "SimpleITK"} & set(loaded.split())


def test_what_libraries_print_is_not_taken_for_an_event() -> None:
    program = (
        "import os, automedsam.worker.__main__ as worker; out = worker.Output(); print('chatter', flush=True); "
        "os.write(1, b'C chatter'); out.send('ready', text='\\u00e9')"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, encoding="utf-8")
    assert ran.stdout == '{"event": "ready", "text": "\\u00e9"}\n'
    assert "chatter" in ran.stderr and "C chatter" in ran.stderr
