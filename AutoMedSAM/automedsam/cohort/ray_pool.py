"""A pool of Ray actors, on this computer or on a cluster. The only file that imports Ray."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from automedsam import __version__
from automedsam.cohort.lock import holder_of
from automedsam.cohort.pool import Losses, Queue, Row, given_up
from automedsam.cohort.worker import CaseWorker, Record
from automedsam.errors import AutoMedSAMError

INSTALL = "pip install 'automedsam[cohort]'"

# The least that Ray accepts: voxels never pass through its object store.
_OBJECT_STORE_BYTES = 80 << 20
_CONNECT_SECONDS = 5.0
# Ray itself tries for many minutes to connect to a port that is not Ray's.
_INIT_SECONDS = 60.0
# Workers that end one after the other before they have loaded the model.
_MAX_START_LOSSES = 20


class RayPool:
    """Actors that hold the loaded model; what is sent to them are paths, and what comes back are figures.

    A lost actor is replaced, and its case runs again on another. Use it as a context manager.

    Args:
        settings: `CohortSettings.to_json()`.
        output: The output folder.
        workers: How many actors.
        threads: The cores of each.
        address: Of a cluster, as `ray.init` takes it; Ray is started on this computer if None.

    Raises:
        AutoMedSAMError: If Ray is not installed, or the cluster cannot be reached or is too small.
    """

    def __init__(
        self, settings: dict[str, Any], output: str, *, workers: int, threads: int, address: str | None = None
    ) -> None:
        self._arguments = (settings, output, threads)
        self._workers, self._threads = workers, threads
        self._session: str | None = None
        self._ray = _import_ray()
        if address is None:
            self._start()
        else:
            self._connect(address)
        self._actor = self._ray.remote(num_cpus=threads, max_restarts=0)(CaseWorker)

    def __enter__(self) -> RayPool:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()
        if self._session is not None:
            shutil.rmtree(self._session, ignore_errors=True)

    def results(self, rows: Iterable[Row]) -> Iterator[Record]:
        queue, losses, start_losses = Queue(rows), Losses(), 0
        # What each actor is doing: a case, or None while it loads the model.
        doing: dict[Any, tuple[Any, Row | None]] = {}
        idle: list[Any] = []
        while True:
            self._assign(queue, doing, idle)
            if not doing:
                return
            ready, _ = self._ray.wait(list(doing), num_returns=1, timeout=1.0)
            for reference in ready:
                actor, row = doing.pop(reference)
                try:
                    answer = self._ray.get(reference)
                except self._ray.exceptions.RayError as error:
                    # It may be unreachable only; what it still writes is whole, since files are renamed.
                    self._ray.kill(actor)
                    if row is None:
                        start_losses += 1
                        _check_start(start_losses, error)
                    elif losses.lost(row["name"]):
                        yield given_up(row, losses.count(row["name"]))
                    else:
                        queue.put_back(row)
                    continue
                idle.append(actor)
                if row is not None:
                    losses.succeeded()
                    yield answer
                elif answer:
                    raise AutoMedSAMError(answer)
                else:
                    start_losses = 0

    def _assign(self, queue: Queue, doing: dict[Any, tuple[Any, Row | None]], idle: list[Any]) -> None:
        """Gives a case to each idle actor, and starts actors while there are cases and fewer actors than wanted."""
        while idle and queue:
            actor, row = idle.pop(), queue.take()
            doing[actor.run.remote(row)] = (actor, row)
        while queue and len(doing) < self._workers:
            actor = self._actor.remote(*self._arguments)
            doing[actor.prepare.remote(__version__, holder_of(Path(self._arguments[1])))] = (actor, None)

    def _start(self) -> None:
        # In a folder that only this user can read, since its logs name files; removed at the end.
        self._session = tempfile.mkdtemp(prefix="automedsam-ray-")
        try:
            self._ray.init(
                address="local",
                num_cpus=self._workers * self._threads,
                num_gpus=0,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=self._session,
            )
        except BaseException as error:
            # Ctrl-C as well: what has started already would stay.
            self.__exit__()
            if not isinstance(error, Exception):
                raise
            message = f"Ray could not be started on this computer ({_first_line(error)}): use --workers 1."
            raise AutoMedSAMError(message) from error

    def _connect(self, address: str) -> None:
        advice = "check the address, that the cluster runs, and that its token is set (RAY_AUTH_MODE, RAY_AUTH_TOKEN)"
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if address != "auto" and not (host and port.isdigit()):
            message = f"{address} is not the address of a Ray cluster: give HOST:PORT, ray://HOST:PORT or auto."
            raise AutoMedSAMError(message)
        try:
            if address != "auto":
                # Where nobody listens this fails at once.
                socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
            _within(
                _INIT_SECONDS,
                lambda: self._ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR),
            )
            cores = int(self._ray.cluster_resources().get("CPU", 0))
        except Exception as error:
            message = f"The Ray cluster at {address} cannot be reached ({_first_line(error)}): {advice}."
            raise AutoMedSAMError(message) from error
        if cores < self._threads:
            message = f"The Ray cluster has {cores} cores, and a worker needs {self._threads}: give a smaller --cores."
            raise AutoMedSAMError(message)
        self._workers = min(self._workers, cores // self._threads) if self._workers else cores // self._threads


def _check_start(losses: int, error: BaseException) -> None:
    """Ends a run whose workers cannot even start."""
    if losses >= _MAX_START_LOSSES:
        # Ray's own story comes first, and the cause last.
        cause = str(error).strip().splitlines()[-1][-300:].rstrip(".")
        message = f"No worker could be started on Ray ({cause}): check that AutoMedSAM is installed on each computer."
        raise AutoMedSAMError(message) from error


def has_ray() -> bool:
    """Whether Ray is installed."""
    from importlib.util import find_spec

    return find_spec("ray") is not None


def _import_ray() -> Any:
    # Nothing leaves this computer; and no GPU is hidden with a warning. Read when Ray is imported.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        message = f"Several workers and clusters need Ray, which is not installed: {INSTALL}, or use --workers 1."
        raise AutoMedSAMError(message) from error
    return ray


def _within(seconds: float, connect: Callable[[], object]) -> None:
    """Calls a function that may hang; what it raises is raised here.

    Raises:
        TimeoutError: If it has not ended by then; it is left alone.
    """
    raised: list[BaseException] = []

    def call() -> None:
        try:
            connect()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        message = f"no answer from Ray within {seconds:.0f} seconds"
        raise TimeoutError(message)
    if raised:
        raise raised[0]


def _first_line(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")[:200]
