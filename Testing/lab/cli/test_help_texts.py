"""What a help text, a message or a comment sends its reader to is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from automedsam.cli.app import app as engine_app
from automedsam_lab.cli.app import app as lab_app

ROOT = Path(__file__).resolve().parents[3]
# Files of other projects, named by their licence.
FOREIGN = {"LICENSE.YOLONAS.md"}
# What the commands write.
WRITTEN = {"bench.md", "results.md"}


def help_texts(app: typer.Typer) -> Iterator[str]:
    """The help of every command and of every option."""

    def walk(command: object) -> Iterator[str]:
        yield getattr(command, "help", None) or ""
        for parameter in getattr(command, "params", []):
            yield getattr(parameter, "help", None) or ""
        for inner in getattr(command, "commands", {}).values():
            yield from walk(inner)

    yield from walk(get_command(app))


@pytest.mark.parametrize("app", [engine_app, lab_app], ids=["automedsam", "automedsam-lab"])
def test_help_names_documents_that_exist(app: typer.Typer) -> None:
    texts = list(help_texts(app))
    assert len(texts) > 20
    for text in texts:
        for document in re.findall(r"[\w./-]+\.md\b", text):
            assert (ROOT / document).is_file() or document in WRITTEN, f"{document} in {text!r}"


def test_the_code_names_documents_that_exist() -> None:
    named = {
        (path.relative_to(ROOT), document)
        for path in (ROOT / "AutoMedSAM").rglob("*.py")
        for document in re.findall(r"\b[\w./-]+\.md\b", path.read_text(encoding="utf-8"))
    }
    assert "docs/converting.md" in {document for _, document in named}
    for path, document in named:
        assert (ROOT / document).is_file() or document in FOREIGN | WRITTEN, f"{path} names {document}"


def test_no_comment_cites_a_folder_that_no_reader_has() -> None:
    for path in (*(ROOT / "AutoMedSAM").rglob("*.py"), *(ROOT / "Testing").rglob("*.py")):
        assert "shared/" + "spikes" not in path.read_text(encoding="utf-8"), path
