"""What one part of the panel needs of the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from AutoMedSAMLib.model.run import Message, RunRequest


@dataclass(frozen=True)
class PanelCalls:
    """What the Boxes part needs of the rest of the panel.

    Attributes:
        request: gives the request for a run with the present settings; None while something is missing.
        propagate: starts a run over these boxes and tracklets.
        show_status: shows a sentence in the status line.
        on_replaced: called after the table was replaced: by a run, by undo, with another scene.
    """

    request: Callable[[], RunRequest | None]
    propagate: Callable[[RunRequest, list[Message], list[Message]], None]
    show_status: Callable[[str], None]
    on_replaced: Callable[[], None]
