"""Slicer's panel manages models through the engine's process."""

import hashlib
import json
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
from bundle_zip import zip_of
from model_server import ServedFile, serving

from automedsam.bundle import load_bundle
from automedsam.contract import catalog as catalog_module
from automedsam.contract import protocol
from automedsam.errors import AutoMedSAMError
from automedsam.worker import model_requests
from automedsam.worker.handlers import RequestHandler

if TYPE_CHECKING:
    from Testing.engine.conftest import Worker

Ask = Callable[..., list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOMEDSAM_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def ask() -> Ask:
    """A function that asks a handler in this process and gives its events, checked against the contract."""
    kinds = {get_args(kind.__annotations__["event"]) or kind: kind for kind in get_args(protocol.Event)}
    by_name = {str(kind.__annotations__["event"]).split("'")[1]: kind for kind in kinds.values()}

    def run(op: str, stop_at: str = "", **fields: Any) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        cancelled = threading.Event()

        def send(event: str, **content: Any) -> None:
            events.append({"event": event, **json.loads(json.dumps(content))})
            assert by_name[event].__required_keys__ <= events[-1].keys()
            assert events[-1].keys() <= by_name[event].__required_keys__ | by_name[event].__optional_keys__
            if event == stop_at:
                cancelled.set()

        RequestHandler(send).answer({"op": op, "id": 1, **fields}, cancelled)
        return events

    return run


def test_import_list_remove(ask: Ask, tmp_path: Path, folder: Path) -> None:
    assert ask("models")[-1]["installed"] == [] and ask("models")[-1]["folder"] == str(folder)
    events = ask("import", path=str(zip_of("glioma", tmp_path / "g.zip")), name="mine")
    assert {event["event"] for event in events[:-1]} == {"transfer"}
    assert events[-2]["done"] == events[-2]["total"] == events[-1]["model"]["bytes"]
    (installed,) = ask("models")[-1]["installed"]
    assert installed == events[-1]["model"] and load_bundle(installed["folder"]).name == "mine"
    (folder / "broken").mkdir()
    (folder / "broken" / "bundle.json").write_text("{")
    assert list(ask("models")[-1]["faulty"]) == ["broken"]
    assert ask("remove", name="mine")[-1]["freed"] > installed["bytes"]
    assert ask("models")[-1]["installed"] == []


def test_download_is_cancelled_and_continued(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = zip_of("glioma", tmp_path / "g.zip", name="glioma-2").read_bytes()
    with serving(ServedFile(content)) as server:
        entry = json.loads(catalog_module.CATALOG.read_text())["models"][0]
        file = {"name": "g.zip", "url": server.url, "bytes": None, "sha256": hashlib.sha256(content).hexdigest()}
        catalog = {
            "schema": 1,
            "models": [{**entry, "name": "glioma-2", "kind": "bundle", "network": None, "file": file}],
        }
        (tmp_path / "catalog.json").write_text(json.dumps(catalog))
        models = catalog_module.read_catalog(tmp_path / "catalog.json", allow_loopback=True)
        monkeypatch.setattr(model_requests, "read_catalog", lambda: models)
        monkeypatch.setattr(
            model_requests, "download_model", partial(model_requests.download_model, allow_loopback=True, pause=0.01)
        )
        server.pause = 0.01
        assert ask("download", stop_at="transfer", name="glioma-2")[-1]["event"] == "cancelled"
        kept = ask("models")[-1]
        assert kept["installed"] == [] and set(kept["unfinished"]) <= {"glioma-2"}
        server.pause = 0.0
        assert ask("download", name="glioma-2")[-1]["model"]["name"] == "glioma-2"
    assert ask("models")[-1]["unfinished"] == {}


def test_without_platformdirs_there_are_no_models_yet(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTOMEDSAM_MODELS")
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    answer = ask("models")[-1]
    assert (answer["folder"], answer["installed"]) == ("", [])


@pytest.mark.parametrize(
    ("op", "fields", "words"),
    [
        ("download", {"name": "nothing"}, "The catalog has no model nothing"),
        ("import", {"path": "/absent.zip"}, "There is no file"),
        ("remove", {"name": "glioma"}, "is part of AutoMedSAM"),
    ],
)
def test_mistake_is_one_sentence(ask: Ask, op: str, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(AutoMedSAMError, match=words):
        ask(op, **fields)


def test_process_answers(a_worker: "Worker") -> None:
    assert a_worker.ask("models")[-1]["event"] == "models"
    refused = a_worker.ask("download", name="nothing")[-1]
    assert refused["user_error"] and "choose one of medsam2" in refused["message"]
    assert not a_worker.ask("download")[-1]["user_error"]
