"""How long the stages of a run take: the parts are wrapped, the engine stays as it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

PART_STAGES = ("encode", "attend", "decode", "remember")
DETECT, FOLLOW, OTHER, WRITE = "detect", "follow", "other", "write"
STAGES = (DETECT, *PART_STAGES, OTHER, WRITE)


@dataclass
class StageTime:
    """What a stage took: how often it ran, wall seconds, and seconds of all cores together."""

    calls: int = 0
    wall: float = 0.0
    cpu: float = 0.0


class Stopwatch:
    """Adds up what each stage of this process takes; a stage inside another counts in both."""

    def __init__(self) -> None:
        self.spent: dict[str, StageTime] = {}

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Counts the block as one call of a stage."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            spent = self.spent.setdefault(stage, StageTime())
            spent.calls += 1
            spent.wall += time.perf_counter() - wall
            spent.cpu += time.process_time() - cpu

    def timed(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same callable, counted."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.during(stage):
                return call(*args, **kwargs)

        return counted

    def reset(self) -> dict[str, StageTime]:
        """The stages since the last time, with what of following is in none of the parts; starts anew."""
        spent, self.spent = self.spent, {}
        follow = spent.get(FOLLOW, StageTime())
        parts = [spent[stage] for stage in PART_STAGES if stage in spent]
        spent[OTHER] = StageTime(
            follow.calls, follow.wall - sum(part.wall for part in parts), follow.cpu - sum(part.cpu for part in parts)
        )
        return spent


class TimedNetworks:
    """`Sam2Networks` whose methods are counted by the stage that their names begin with (`encode_image`: encode)."""

    def __init__(self, parts: object, watch: Stopwatch) -> None:
        self._parts, self._watch = parts, watch

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._parts, name)
        stage = next((stage for stage in PART_STAGES if name.startswith(stage)), None)
        return self._watch.timed(stage, found) if stage and callable(found) else found
