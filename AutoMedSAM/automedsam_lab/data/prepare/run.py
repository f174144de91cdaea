"""An archive as a prepared dataset: 640 x 640 PNG files, boxes, and parts that share no patient."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import groupby, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from automedsam.core.memory import peak_memory_mb
from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.preparation import PreparationSummary
from automedsam_lab.data.prepare.coco_writer import write_annotations, write_manifest
from automedsam_lab.data.prepare.image_worker import SIZE, EntryResult, ImageWorker, WorkerConfig, start_worker, work
from automedsam_lab.data.prepare.split import assign_patients, draw_splits, read_parts
from automedsam_lab.data.prepare.state import PrepareState
from automedsam_lab.data.readers.base import ArchiveEntry, ReaderOptions, SkippedEntry
from automedsam_lab.data.readers.registry import DatasetFormat, open_dataset
from automedsam_lab.data.splits import SPLITS

SEED = 20261121
# Boxes of fewer pixels across are most often what a resampled border left of a mask, and no stride sees them.
MIN_SIDE = 4.0
# Enough that no worker waits, and few enough that what they made does not pile up.
_AHEAD = 4
# How many reasons an error lists if nothing could be prepared.
_REASONS = 3
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Settings:
    """How to prepare an archive.

    Attributes:
        layout: how the archive's files lie.
        root: its folder.
        out: where the dataset goes; a folder of an earlier run of the same settings is gone on with.
        choices: what of the archive to read, and how.
        seed: of the split.
        split: a file or a folder of lists with the parts, or a split of the lab's own; drawn with the seed if None.
        least_side: boxes narrower or lower than so many of the 640 pixels are dropped.
        workers: processes; 1 works in this one.
        stop: at the first file that cannot be used, rather than skip it.
    """

    layout: DatasetFormat
    root: Path
    out: Path
    choices: ReaderOptions = field(default_factory=ReaderOptions)
    seed: int = SEED
    split: str | None = None
    least_side: float = MIN_SIDE
    workers: int = 1
    stop: bool = False


def prepare(
    settings: Settings,
    on_plan: Callable[[int, int], None] = lambda total, done: None,
    on_done: Callable[[], None] = lambda: None,
) -> PreparationSummary:
    """Makes what is missing of a prepared dataset, and its tables anew.

    Args:
        settings: what to prepare, and how.
        on_plan: called once with how many entries there are, and how many of them are made.
        on_done: called after each entry.

    Returns:
        The counts. A second call with the same archive makes nothing, and writes the same tables.

    Raises:
        AutoMedSAMError: if the archive is not of the layout or nothing of it can be used, a patient is in two parts,
            the folder was begun with other settings or cannot be written to; and at the first flaw, with `stop`.
    """
    started = time.monotonic()
    archive = open_dataset(settings.layout, settings.root, settings.choices)
    written_split = None if settings.split is None else read_parts(settings.split)
    with PrepareState(settings.out, _deciding(settings, written_split)) as state:
        flaws = _Flaws(settings.stop)
        state.plan(archive.sources(), settings.root, flaws.take)
        state.place(_parts(state, settings, written_split), str(settings.split), flaws.take)
        for folder in ("annotations", *(f"{kind}/{part}" for kind in ("images", "masks") for part in SPLITS)):
            (settings.out / folder).mkdir(parents=True, exist_ok=True)
        state.forget_what_changed()
        planned, kept = state.counts()
        on_plan(planned, kept)
        peaks: dict[int, float] = {}
        # Closed before the state is, lest a worker write on after it.
        with closing(_make_all(settings, state.to_do())) as results:
            for source, part, made in results:
                peaks[made.process] = made.peak_mb
                flaw = state.finish(source, part, made)
                if flaw is not None:
                    flaws.take(flaw)
                on_done()
        state.remove_orphans()
        if not any(True for _ in state.read("SELECT 1 FROM pictures LIMIT 1")):
            raise AutoMedSAMError(_nothing(settings.root, flaws))
        for part in SPLITS:
            _remove_if_empty(settings.out / "masks" / part)
        _remove_if_empty(settings.out / "masks")
        write_annotations(state, settings.out, archive.labels)
        counts = write_manifest(state, settings.out, _described(settings, archive.license), archive.labels)
        _, done = state.counts()
    # In this process or in its workers: each at its own worst, whenever that was.
    peaks[os.getpid()] = peak_memory_mb()
    seconds = time.monotonic() - started
    return PreparationSummary(counts, done - kept, kept, tuple(flaws.first), flaws.count, seconds, sum(peaks.values()))


class _Flaws:
    """Counts what cannot be used, and keeps the first few to show; or stops at the first."""

    _SHOWN = 10

    def __init__(self, stop: bool) -> None:
        self._stop = stop
        self.first: list[SkippedEntry] = []
        self.count = 0

    def take(self, flaw: SkippedEntry) -> None:
        if self._stop:
            raise AutoMedSAMError(flaw.reason)
        self.count += 1
        if len(self.first) < self._SHOWN:
            self.first.append(flaw)


def _nothing(root: Path, flaws: _Flaws) -> str:
    if not flaws.count:
        return f"Nothing of {root} could be prepared: it holds no entry of this layout; give the folder of an archive."
    shown = [flaw.reason for flaw in flaws.first[:_REASONS]]
    more = f" And {flaws.count - len(shown)} more." if flaws.count > len(shown) else ""
    return f"Nothing of {root} could be prepared, {flaws.count} skipped. {' '.join(shown)}{more}"


def _make_all(
    settings: Settings, to_do: Iterator[tuple[ArchiveEntry, str]]
) -> Generator[tuple[ArchiveEntry, str, EntryResult], None, None]:
    """Everything that is to be made, in its order; with several workers in as many processes."""
    setup = WorkerConfig(settings.layout, settings.root, settings.out, settings.choices, settings.least_side)
    if settings.workers == 1:
        worker = ImageWorker(setup)
        for source, part in to_do:
            yield source, part, worker.make(source, part)
        return
    with _one_thread_each():
        pool = ProcessPoolExecutor(
            settings.workers, mp_context=get_context("spawn"), initializer=start_worker, initargs=(setup,)
        )
        waiting: deque[tuple[ArchiveEntry, str, Future[EntryResult]]] = deque()
        try:
            while True:
                for source, part in islice(to_do, _AHEAD * settings.workers - len(waiting)):
                    waiting.append((source, part, pool.submit(work, source, part)))
                if not waiting:
                    break
                source, part, result = waiting.popleft()
                yield source, part, result.result()
        except BrokenProcessPool as error:
            message = "A worker process died, most likely for lack of memory; call again with fewer --workers to go on."
            raise AutoMedSAMError(message) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Has the processes that are started in the block calculate on one thread, as there is one for each core."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _parts(state: PrepareState, settings: Settings, written: dict[str, str] | None) -> Iterator[tuple[str, str | None]]:
    """Each entry's part, which is that of its patient."""
    placed: dict[str, str | None]
    if written is None:
        patients = [patient for patient, _ in groupby(state.patients(), key=_of)]
        placed = {**draw_splits(patients, settings.seed)}
    else:
        entries = [(patient, [name for _, name in rows]) for patient, rows in groupby(state.patients(), key=_of)]
        placed = dict(assign_patients(entries, written, str(settings.split), settings.seed))
    yield from ((name, placed[patient]) for patient, name in state.patients())


def _of(row: tuple[str, str]) -> str:
    return row[0]


def _deciding(settings: Settings, written_split: dict[str, str] | None) -> dict[str, Any]:
    """What decides how a dataset looks: all but where things are, and how many work at it."""
    return {
        "dataset": settings.layout.value,
        "size": SIZE,
        "seed": settings.seed,
        "split": None if written_split is None else sorted(written_split.items()),
        "least side": settings.least_side,
        **asdict(settings.choices),
    }


def _described(settings: Settings, terms: str) -> dict[str, Any]:
    choices = {
        name: value for name, value in asdict(settings.choices).items() if value != getattr(ReaderOptions(), name)
    }
    return {
        "dataset": settings.layout.value,
        "root": settings.root.resolve().as_posix(),
        "seed": settings.seed,
        "split": settings.split,
        "least_side": settings.least_side,
        "choices": choices,
        "licence": terms,
    }


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
