"""`automedsam review`: serves the review page until Ctrl-C."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path

import typer

from automedsam.review.results import Results
from automedsam.review.server import ReviewServer


def serve(folder: Path, port: int, browser: bool) -> None:
    """Serves the review page of a cohort on loopback until Ctrl-C.

    Raises:
        AutoMedSAMError: If the folder is not a cohort's, or the port is taken.
    """
    with ReviewServer(Results(folder), port) as server:
        typer.echo(f"Review page: {server.url}")
        typer.echo("Only this computer can open it. Ctrl-C ends; every decision is saved at once.")
        if browser and _has_display():
            webbrowser.open(server.url)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            typer.echo("Ended.")


def _has_display() -> bool:
    """Whether a browser would open a window, and not take over the terminal."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
