"""Where the pictures go: the folder in AUTOMEDSAM_SCREENSHOTS, or a temporary one."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def album(slicer_app, tmp_path_factory):
    """Takes pictures of the panel, light and dark."""
    from harness.album import Album

    return Album(Path(os.environ.get("AUTOMEDSAM_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots")))
