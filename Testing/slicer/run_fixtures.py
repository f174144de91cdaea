"""A logic whose engine says what a test has it say, and a run of it brought to where masks come."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

SHAPE = (12, 20, 24)


@pytest.fixture
def scripted_logic(scene: Any) -> Iterator[Any]:
    """A logic whose engine says what the test has it say."""
    from AutoMedSAMLib.logic import AutoMedSAMLogic
    from runs import ScriptedEngine

    ScriptedEngine.started.clear()
    logic = AutoMedSAMLogic(start_process=ScriptedEngine)
    yield logic
    logic.close()


@pytest.fixture
def small_flair(add_volume: Any) -> Any:
    return add_volume(
        np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), np.diag([-1, -1, 2.5, 1]), "FLAIR Größe"
    )


@pytest.fixture
def begin_run(scripted_logic: Any, small_flair: Any, wait_until: Any) -> Any:
    """A function that starts a run and brings it to the point where the engine segments."""
    from runs import Recorder, ScriptedEngine, request_for

    def begin_run(segmentation: Any = None, listener: Any = None, again: bool = False, **settings: Any) -> Any:
        listener = listener or Recorder()
        asked = sum(len(engine.sent) for engine in ScriptedEngine.started)
        request = request_for(small_flair, segmentation, **settings)
        if again:
            scripted_logic.propagate(request, [], [], listener)
        else:
            scripted_logic.start(request, listener)
        wait_until(lambda: sum(len(engine.sent) for engine in ScriptedEngine.started) > asked)
        engine = ScriptedEngine.started[-1]
        engine.labels = engine.begin(SHAPE)
        wait_until(lambda: listener.run)
        return engine, listener

    return begin_run
