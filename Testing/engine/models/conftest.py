"""A folder of models of its own for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from model_server import ServedFile, serving

from automedsam.io.models_folder import FOLDER_VARIABLE


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of models, which does not exist yet."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def server() -> Iterator[ServedFile]:
    """A server of a file; a test sets its content."""
    with serving(ServedFile(b"")) as file:
        yield file
