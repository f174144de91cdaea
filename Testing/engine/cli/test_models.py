"""`automedsam models`, as a user at the terminal sees it."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import SimpleITK as sitk
from built_in import VERSION
from bundle_zip import zip_of
from model_server import ServedFile, serving
from phantoms import phantom_head

from automedsam.bundle import list_bundles, load_bundle
from automedsam.cli import terms
from automedsam.contract import catalog as catalog_module

Command = Callable[..., tuple[int, str, str]]

CONTENT = os.urandom(300_000)
# Runs the command with a catalog and a server of this computer.
# A shell that starts the tests in the background has Ctrl-C ignored.
PROGRAM = """
import signal
import sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
from automedsam.contract import catalog
from automedsam.models import install
read, download = catalog.read_catalog, install.download_model
catalog.read_catalog = lambda: read(Path(sys.argv[1]), allow_loopback=True)
install.download_model = lambda *a, **k: download(*a, **k, allow_loopback=True, pause=0.01)
from automedsam.cli.app import main
main(sys.argv[2:])
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOMEDSAM_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(terms.ACCEPT_VARIABLE, raising=False)
    monkeypatch.setattr(terms, "_accepted", set())
    monkeypatch.setattr(terms, "terms_file", lambda: tmp_path / "accepted_terms.json")
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "models"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServedFile]:
    path = zip_of("hippocampus", tmp_path / "h.zip", name="hippo-2")
    with serving(ServedFile(path.read_bytes())) as file:
        write_catalog(tmp_path / "catalog.json", file)
        yield file


def write_catalog(path: Path, file: ServedFile) -> None:
    entry = json.loads(catalog_module.CATALOG.read_text())["models"][0]
    digest = hashlib.sha256(file.content).hexdigest()
    ours = {
        **entry,
        "name": "hippo-2",
        "kind": "bundle",
        "network": None,
        "file": {"name": "h.zip", "url": file.url, "bytes": len(file.content), "sha256": digest},
    }
    path.write_text(json.dumps({"schema": 1, "models": [ours]}))


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "catalog.json"), *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )


def test_models_alone_lists_what_is_here_and_what_can_be_downloaded(command: Command) -> None:
    code, alone, error = command("models")
    assert (code, error) == (0, "") and command("models", "list")[1] == alone
    for word in (
        f"glioma {VERSION}",
        "License of hippocampus: CC BY-SA",
        "medsam2-us-heart",
        "156 MB",
        "do not redistribute",
    ):
        assert word in alone


def test_list_is_searched(command: Command) -> None:
    _, output, _ = command("models", "list", "heart ultrasound")
    assert "medsam2-us-heart" in output and "glioma" not in output and "sam2.1-tiny" not in output
    assert command("models", "list", "kidney")[2] == "No model matches 'kidney'.\n"


def test_faulty_model_is_reported_beside_the_others(command: Command, folder: Path) -> None:
    (folder / "broken").mkdir(parents=True)
    (folder / "broken" / "bundle.json").write_text("{")
    code, output, error = command("models")
    assert code == 0 and "glioma" in output
    assert "has a faulty bundle.json" in error and "automedsam models remove broken" in error


def test_download_list_remove(server: ServedFile, tmp_path: Path) -> None:
    refused = run(tmp_path, "models", "download", "hippo-2")
    assert refused.returncode == 2 and not server.requests
    assert "do not redistribute" in refused.stderr and "Add --accept-terms" in refused.stderr
    done = run(tmp_path, "models", "download", "hippo-2", "--accept-terms")
    assert done.returncode == 0, done.stderr
    assert f"Installed hippo-2 {VERSION}: {tmp_path / 'models' / 'hippo-2' / 'hippocampus'}" in done.stdout
    assert "Downloading h.zip" in done.stderr
    assert run(tmp_path, "models", "download", "hippo-2").stderr == "hippo-2 is here already.\n"
    listed = run(tmp_path, "models").stdout
    assert f"hippo-2 {VERSION}" in listed and "installed" in listed
    removed = run(tmp_path, "models", "remove", "hippo-2")
    assert (
        removed.returncode == 0
        and f"Removed hippo-2: {load_bundle('hippocampus').size_bytes / 1e6:.1f} MB are free again." in removed.stdout
    )
    assert f"hippo-2 {VERSION}" not in run(tmp_path, "models").stdout


def test_ctrl_c_keeps_what_is_here_and_the_same_command_continues(server: ServedFile, tmp_path: Path) -> None:
    server.pause = 0.02
    arguments = [str(tmp_path / "catalog.json"), "models", "download", "hippo-2", "--accept-terms"]
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stderr=subprocess.PIPE, encoding="utf-8")
    part = tmp_path / "models" / ".downloads" / "hippo-2" / "h.zip.part"
    until = time.monotonic() + 30
    while time.monotonic() < until and not (part.exists() and part.stat().st_size > 1_000_000):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130, error
    assert "are kept, and the same command continues there." in error and "Traceback" not in error
    assert not (tmp_path / "models" / "hippo-2").exists()
    assert " MB here" in run(tmp_path, "models").stdout
    server.pause = 0.0
    done = run(tmp_path, *arguments[1:])
    assert done.returncode == 0 and int(server.requests[-1]["Range"].strip("bytes=-")) > 1_000_000
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["hippo-2"]


def test_import_asks_for_terms_and_remembers_date_and_version(command: Command, tmp_path: Path, folder: Path) -> None:
    path = zip_of("glioma", tmp_path / "g.zip", name="glioma-2")
    code, _, error = command("models", "import", path)
    assert code == 2 and "Research only" in error and "--accept-terms" in error and not any(folder.iterdir())
    code, output, _ = command("models", "import", path, "--accept-terms")
    assert code == 0 and f"Installed glioma-2 {VERSION}" in output
    accepted = json.loads((tmp_path / "accepted_terms.json").read_text())
    (entry,) = (one for one in accepted.values() if one["model"] == f"glioma-2 {VERSION}")
    assert entry["terms"].startswith("Research only") and entry["date"][:2] == "20" and entry["automedsam"]
    assert "glioma-2" in [bundle.name for bundle in list_bundles()]


def test_imported_model_finds_what_the_original_finds(command: Command, tmp_path: Path) -> None:
    head = phantom_head()[0]
    sitk.WriteImage(head.to_image(head.array), str(tmp_path / "head.nii.gz"))
    command("models", "import", zip_of("glioma", tmp_path / "g.zip", name="glioma-2"), "--accept-terms")
    found = [command("detect", tmp_path / "head.nii.gz", "--model", name)[1] for name in ("glioma", "glioma-2")]
    assert json.loads(found[0])["boxes"] == json.loads(found[1])["boxes"] != []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["download", "medsam3"], "The catalog has no model medsam3: choose one of medsam2"),
        (["remove", "glioma"], "glioma is part of AutoMedSAM and cannot be removed"),
        (["remove", "nothing"], "There is no downloaded or imported model nothing"),
        (["import", "absent.zip"], "There is no file absent.zip"),
        (["download", "medsam2", "--accept-terms", "--detector", "none"], "There is no model none"),
    ],
)
def test_mistakes_end_in_one_sentence(command: Command, arguments: list[str], words: str) -> None:
    code, output, error = command("models", *arguments)
    assert code == 2 and not output and words in error and "Traceback" not in error
