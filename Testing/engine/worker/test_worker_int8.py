"""The first run in INT8 of a downloaded model makes its files in the engine's process: with progress, and cancelled."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from automedsam.bundle import load_bundle
from automedsam.contract.backends import Backend
from automedsam.core.volume import Volume
from automedsam.errors import AutoMedSAMError
from automedsam.worker.handlers import RequestHandler

pytest.importorskip("torch", reason="INT8 files are made of PyTorch weights")
pytest.importorskip("sam2", reason="INT8 files are made of PyTorch weights")
pytest.importorskip("onnx", reason="INT8 files are written with onnx")

from tiny_checkpoint import install_tiny

if TYPE_CHECKING:
    from Testing.engine.conftest import Message, Worker


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return install_tiny(tmp_path / "models" / "tiny-sam").folder


@pytest.fixture
def fields(request_of: Callable[..., "Message"], model: Path) -> "Message":
    """A box on two slices, to propagate."""
    array = np.random.default_rng(0).integers(0, 90, (6, 40, 48)).astype(np.uint8)
    array[1:5, 10:28, 12:30] += 120
    volume = Volume(array, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    box = {"id": 1, "slice": 2, "bounds": [12, 30, 10, 28, 2, 2], "score": None, "label": 1, "drawn": True}
    return request_of(
        volume,
        model=str(model),
        plane="axial",
        boxes=[box],
        tracklets=[{"label": 1, "seed": 2, "boxes": [1]}],
    )


def answer(handler_of: type[RequestHandler], stop_at: int, **fields: Any) -> list[dict[str, Any]]:
    """The events of a request that is cancelled once so many came; 0 never cancels."""
    events: list[dict[str, Any]] = []
    cancelled = threading.Event()

    def send(event: str, **content: Any) -> None:
        events.append({"event": event, **json.loads(json.dumps(content))})
        if len(events) == stop_at:
            cancelled.set()

    handler_of(send).answer(json.loads(json.dumps({"id": 1, **fields})), cancelled)
    return events


def test_first_run_makes_the_files_and_the_second_uses_them(a_worker: "Worker", fields: "Message", model: Path) -> None:
    events = a_worker.ask("propagate", **fields)
    kinds = [event["event"] for event in events]
    assert kinds[0] == "stage" and events[0]["stage"] == "quantize"
    total, began = events[0]["total"], kinds.index("started")
    assert [event["done"] for event in events[1:began]] == list(range(1, total + 1))
    assert kinds[-1] == "finished" and events[-1]["report"]["device"].startswith("CPU: INT8")
    assert load_bundle(model).has(Backend.INT8)
    again = a_worker.ask("propagate", **fields)
    assert again[0]["event"] == "started" and again[-1]["event"] == "finished"
    assert again[0]["model"]["hash"] == events[began]["model"]["hash"]


@pytest.mark.parametrize("after", [1, 6])
def test_cancelled_between_the_steps_nothing_has_changed(fields: "Message", model: Path, after: int) -> None:
    before = {path.name for path in model.iterdir()}
    events = answer(RequestHandler, after, op="propagate", **fields)
    assert [event["event"] for event in events][after:] == ["cancelled"]
    assert {path.name for path in model.iterdir()} - {".int8.lock"} == before
    assert not load_bundle(model).has(Backend.INT8)


def test_cancel_reaches_the_process_within_seconds(a_worker: "Worker", fields: "Message", model: Path) -> None:
    a_worker.send("propagate", **fields)
    a_worker.until("stage")
    a_worker.say(json.dumps({"op": "cancel"}))
    assert a_worker.until("cancelled", "finished")[-1]["event"] == "cancelled"
    assert not load_bundle(model).has(Backend.INT8)


def test_preview_waits_for_the_first_run(fields: "Message", model: Path, tmp_path: Path) -> None:
    asked = {key: value for key, value in fields.items() if key != "labels"}
    asked |= {"op": "preview", "slice": 2, "mask": str(tmp_path / "mask.npy")}
    with pytest.raises(AutoMedSAMError, match="tiny-sam has no INT8 files yet: its first run makes them"):
        answer(RequestHandler, 0, **asked)
    assert answer(RequestHandler, 0, op="propagate", **fields)[-1]["event"] == "finished"
    assert answer(RequestHandler, 0, **asked)[-1]["event"] == "preview"


def test_full_disk_is_one_sentence_for_the_user(
    fields: "Message", model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(AutoMedSAMError, match=r"No space left on device.*free space"):
        answer(RequestHandler, 0, op="propagate", **fields)
    assert not load_bundle(model).has(Backend.INT8)


def test_nothing_is_made_for_a_run_that_cannot_find_objects(fields: "Message", model: Path) -> None:
    asked = {key: value for key, value in fields.items() if key not in ("boxes", "tracklets")}
    with pytest.raises(AutoMedSAMError, match="has no detector"):
        answer(RequestHandler, 0, op="segment", **asked)
    assert not load_bundle(model).has(Backend.INT8)
