"""How a training goes: a line of JSON a row, logged too, and TensorBoard's events."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


class TrainingLog:
    """Writes each row to `log.jsonl`, to the module's logger, and to TensorBoard where that is installed.

    Args:
        out: the run's folder.
        board: write TensorBoard's events; a trainer may write its own.
    """

    def __init__(self, out: Path, *, board: bool = True) -> None:
        self._path = out / "log.jsonl"
        self._board: Any = None
        if not board:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._board = SummaryWriter(str(out))  # type: ignore[no-untyped-call]

    def write(self, row: dict[str, Any]) -> None:
        """Writes a row, which has a "step"."""
        line = json.dumps(row)
        logger.info("%s", line)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        if self._board is not None:
            for name, value in row.items():
                if name != "step":
                    self._board.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Ends TensorBoard's file."""
        if self._board is not None:
            self._board.close()
