"""What the lab logs, shown on the terminal while a command runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleRenderable
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler
from rich.traceback import Traceback

LAB = "automedsam_lab"


class TerminalHandler(RichHandler):
    """Prints plain lines, as the commands print their results: no time or level in front, no line broken."""

    def __init__(self, *, stderr: bool = False) -> None:
        # Without soft_wrap, lines break after 80 characters in a file.
        console = Console(stderr=stderr, soft_wrap=True)
        super().__init__(console=console, highlighter=NullHighlighter(), keywords=[])

    def render(
        self, *, record: logging.LogRecord, traceback: Traceback | None, message_renderable: ConsoleRenderable
    ) -> ConsoleRenderable:
        """Leave out the columns that RichHandler puts around a message."""
        return message_renderable


@contextmanager
def log_to_terminal(*, stderr: bool = False) -> Iterator[None]:
    """Show what the lab's modules log from level INFO, until the block is left.

    An inner block decides alone where the lines go. Other packages may configure the root logger (super-gradients
    does), which would print every line twice: in the block the lab's records do not reach it.

    Args:
        stderr: print on standard error instead of standard output.
    """
    logger = logging.getLogger(LAB)
    level, propagate, handlers = logger.level, logger.propagate, list(logger.handlers)
    kept = [handler for handler in handlers if not isinstance(handler, TerminalHandler)]
    logger.handlers = [*kept, TerminalHandler(stderr=stderr)]
    logger.propagate = False
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
