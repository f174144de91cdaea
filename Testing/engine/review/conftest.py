"""A served cohort."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from finished_cohort import finished_cohort

from automedsam.review.results import Results
from automedsam.review.server import ReviewServer


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ReviewServer]:
    """Three cases and a failed one."""
    yield from serve(tmp_path / "out", 3, 1)


def serve(path: Path, count: int, failed: int = 0) -> Iterator[ReviewServer]:
    finished_cohort(path, count, failed)
    with ReviewServer(Results(path)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


@pytest.fixture(scope="module")
def served_500(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReviewServer]:
    yield from serve(tmp_path_factory.mktemp("review") / "out", 500)
