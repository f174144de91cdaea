"""Where cases run: in this process, or on Ray in processes that each hold a loaded model."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Protocol

from automedsam.cohort.worker import FAILED, CaseWorker, Record

Row = dict[str, Any]

_MIN_LOSSES = 3
_MAX_LOSSES = 20
_CHANCE = 1e-3


class Pool(Protocol):
    """Runs cases."""

    def results(self, rows: Iterable[Row]) -> Iterator[Record]:
        """Runs each case once and gives its record, in the order in which they end."""


class InProcess:
    """Runs the cases one after the other in this process.

    Args:
        worker: Has prepared.
    """

    def __init__(self, worker: CaseWorker) -> None:
        self._worker = worker

    def results(self, rows: Iterable[Row]) -> Iterator[Record]:
        for row in rows:
            yield self._worker.run(row)


class Losses:
    """Decides when a case that took its worker with it is given up.

    A worker may be lost by chance (a computer that is switched off) or by the case (a file that crashes a library). A
    case is given up when chance no longer explains its losses: after `k` losses, 3 or more, if the share of losses
    among all other tries to the power of `k` is below 0.001; after 20 in any case.
    """

    def __init__(self) -> None:
        self._tries = 0
        self._lost = 0
        self._of: dict[str, int] = {}

    def succeeded(self) -> None:
        """Counts a case that came back."""
        self._tries += 1

    def lost(self, name: str) -> bool:
        """Counts a lost worker; whether its case is now given up."""
        self._tries += 1
        self._lost += 1
        own = self._of[name] = self._of.get(name, 0) + 1
        share = (1 + self._lost - own) / (2 + self._tries - own)
        return own >= _MAX_LOSSES or (own >= _MIN_LOSSES and share**own < _CHANCE)

    def count(self, name: str) -> int:
        """How often a case has lost its worker."""
        return self._of.get(name, 0)


class Queue:
    """Rows in order; those whose worker was lost come again after all others.

    Args:
        rows: Taken one at a time.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = iter(rows)
        self._again: deque[Row] = deque()

    def __bool__(self) -> bool:
        if not self._again:
            self._again.extend(islice(self._rows, 1))
        return bool(self._again)

    def take(self) -> Row:
        """The next row; there must be one."""
        return next(self._rows, None) or self._again.popleft()

    def put_back(self, row: Row) -> None:
        """Lets a row come again."""
        self._again.append(row)


def given_up(row: Row, losses: int) -> Record:
    """The record of a case that ended its workers."""
    message = (
        f"The process that segmented {row['name']} ended {losses} times without an answer, perhaps for lack of memory: "
        "run this case alone with 'automedsam segment'."
    )
    return {"case": row["name"], "state": FAILED, "message": message, "paths": row["paths"]}
