"""SA-Med2D-20M as shards, and how an interrupted run continues."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import datetime
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import BinaryIO

from automedsam.core.memory import peak_memory_mb
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write
from automedsam_lab.common.optional_dependencies import require
from automedsam_lab.data.preparation import PreparationSummary
from automedsam_lab.data.prepare.run import SEED
from automedsam_lab.data.prepare.split import FRACTIONS, TRAIN_OR_VAL, read_parts
from automedsam_lab.data.readers.base import ArchiveEntry, ReaderOptions, SkippedEntry
from automedsam_lab.data.readers.registry import DatasetFormat
from automedsam_lab.data.readers.sa_med2d import SaMed2d
from automedsam_lab.data.shards.index import Shard, write_index
from automedsam_lab.data.shards.sample import TAR_END, encode, estimated_bytes, sample_key
from automedsam_lab.data.shards.state import PlannedShard, ShardState
from automedsam_lab.data.splits import SPLITS

SHARD_MB = 256
_SHOWN = 10
# The files by which the archive's listing is recognized.
_LISTINGS = "*.json"


@dataclass(frozen=True)
class ShardSettings:
    """How to write shards.

    Attributes:
        root: the archive's folder, as SA-Med2D-20M is published.
        out: the folder of shards; one of an interrupted run of the same settings is finished.
        options: of the reader.
        seed: of the split and of the order of the images.
        split: a file or a folder of lists with the parts; drawn by patient with the seed if None.
        shard_mb: the largest shard, in MB (10^6 bytes), by the sizes of the archive's files; a single image that is
            larger has a shard of its own.
        workers: processes, each of which writes one shard at a time.
        stop: end at the first file that cannot be used instead of skipping it.
    """

    root: Path
    out: Path
    options: ReaderOptions = field(default_factory=ReaderOptions)
    seed: int = SEED
    split: str | None = None
    shard_mb: float = SHARD_MB
    workers: int = 1
    stop: bool = False


@dataclass(frozen=True)
class _Written:
    planned: PlannedShard
    shard: Shard
    flaws: list[SkippedEntry]
    process: int
    peak_mb: float


def write_shards(
    settings: ShardSettings,
    on_plan: Callable[[int, int], None] = lambda total, done: None,
    on_shard: Callable[[], None] = lambda: None,
) -> PreparationSummary:
    """Write the shards that are missing, and then their index.

    Args:
        settings: what to write, and how.
        on_plan: called once with the number of shards, and how many of them are written.
        on_shard: called after each shard.

    Raises:
        AutoMedSAMError: if the archive is not SA-Med2D's or nothing of it can be used, a split puts a patient in two
            parts, the folder was begun with other settings or cannot be written; with `stop`, at the first flaw.
    """
    started = time.monotonic()
    with require("train", "Writing shards"):
        import webdataset as _webdataset  # noqa: F401  before the archive is listed in vain
    if not settings.root.is_dir():
        message = f"The archive's folder {settings.root} does not exist; check its spelling."
        raise AutoMedSAMError(message)
    archive = SaMed2d(settings.root, settings.options)
    parts = None if settings.split is None else read_parts(settings.split)
    peaks: dict[int, float] = {}
    with ShardState(settings.out, _deciding(settings, parts)) as state:
        if not state.is_planned:
            entries = _entries(archive, settings, parts)
            limit = int(settings.shard_mb * 1e6) - TAR_END
            state.plan(entries, lambda: archive.labels, limit, settings.seed, settings.split)
        if settings.stop and (flaws := state.skipped(1)[1]):
            raise AutoMedSAMError(flaws[0].reason)
        state.forget_damaged()
        kept, to_do = sum(1 for _ in state.finished()), state.to_do()
        if not kept and not to_do:
            raise AutoMedSAMError(_nothing(settings.root, *state.skipped(3)))
        on_plan(kept + len(to_do), kept)
        with closing(_write_all(settings, state, to_do)) as results:
            for result in results:
                peaks[result.process] = result.peak_mb
                if settings.stop and result.flaws:
                    (settings.out / result.shard.file).unlink()
                    raise AutoMedSAMError(result.flaws[0].reason)
                state.finish(result.planned, result.shard, result.flaws)
                on_shard()
        shards = {part: [shard for shard in state.finished(part) if shard.images] for part in SPLITS}
        skips, skipped = state.skipped(_SHOWN)
        if not any(shards.values()):
            raise AutoMedSAMError(_nothing(settings.root, skips, skipped))
        patients = state.patients()
        described = {
            "dataset": DatasetFormat.SA_MED2D.value,
            "licence": archive.license,
            "labels": state.labels(),
            "seed": settings.seed,
            "split": settings.split,
            "skipped": {"count": skips, "first": [asdict(flaw) for flaw in skipped]},
        }
        write_index(settings.out, described, shards, patients)
    peaks[os.getpid()] = peak_memory_mb()
    counts = {
        part: {
            "patients": patients.get(part, 0),
            **{name: sum(getattr(shard, name) for shard in listed) for name in ("images", "masks", "bytes")},
            "shards": len(listed),
        }
        for part, listed in shards.items()
    }
    seconds = time.monotonic() - started
    return PreparationSummary(counts, len(to_do), kept, tuple(skipped), skips, seconds, sum(peaks.values()))


def _deciding(settings: ShardSettings, parts: dict[str, str] | None) -> dict[str, object]:
    """What decides the shards' content; the archive's listing among it, by size and time."""
    listings = [(path.name, path.stat()) for path in sorted(settings.root.glob(_LISTINGS))]
    text = None if parts is None else hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()
    return {
        "seed": settings.seed,
        "split": text,
        "patients by": settings.options.patient,
        "shards of MB": settings.shard_mb,
        "an archive of": ", ".join(
            f"{name} ({stat.st_size} bytes of {datetime.fromtimestamp(stat.st_mtime).isoformat()})"
            for name, stat in listings
        ),
    }


def _entries(
    archive: SaMed2d, settings: ShardSettings, parts: dict[str, str] | None
) -> Iterator[tuple[str, ArchiveEntry, int] | SkippedEntry]:
    """Each image with its part and its size."""
    for entry in archive.sources():
        if isinstance(entry, SkippedEntry):
            yield entry
            continue
        path = entry.images[0]
        part = _drawn(entry.patient, settings.seed) if parts is None else _listed(entry, parts, settings.seed)
        if part is None:
            yield SkippedEntry(path, f"{path} is of {entry.patient}, whom the split {settings.split} does not name.")
            continue
        try:
            sizes = [(settings.root / file).stat().st_size for file in entry.files]
        except OSError as error:
            yield SkippedEntry(path, f"{error.filename} cannot be read ({error.strerror}); restore the archive.")
            continue
        yield part, entry, estimated_bytes(entry.case, sizes)


def _drawn(patient: str, seed: int, fractions: tuple[float, ...] = FRACTIONS) -> str:
    """The part of a patient, by a hash: the same for any other content of the archive, and without a list of all."""
    digest = hashlib.sha256(f"{seed}:{patient}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64 * sum(fractions)
    for part, fraction in zip(SPLITS, fractions, strict=False):
        if share < fraction:
            return part
        share -= fraction
    return SPLITS[0]


def _listed(entry: ArchiveEntry, parts: dict[str, str], seed: int) -> str | None:
    part = parts.get(entry.patient) or parts.get(entry.case)
    return _drawn(entry.patient, seed, FRACTIONS[:2]) if part == TRAIN_OR_VAL else part


def _nothing(root: Path, skips: int, skipped: list[SkippedEntry]) -> str:
    if not skips:
        return f"No image was found in {root}; give the folder that contains SAMed2D_v1.json."
    return f"No image of {root} can be used; {skips} were skipped. {' '.join(flaw.reason for flaw in skipped)}"


def _write_all(
    settings: ShardSettings, state: ShardState, to_do: list[PlannedShard]
) -> Generator[_Written, None, None]:
    labels = state.labels()
    if settings.workers == 1:
        for planned in to_do:
            yield _write_shard(planned, state.entries(planned), settings, labels)
        return
    context = get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(settings.workers, context, initializer=_start_worker, initargs=(stop,))
    waiting: deque[Future[_Written]] = deque()
    try:
        for planned in to_do:
            waiting.append(pool.submit(_write_shard, planned, state.entries(planned), settings, labels))
            if len(waiting) > settings.workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        message = "A worker process died, probably for lack of memory; run the command again with fewer --workers."
        raise AutoMedSAMError(message) from error
    finally:
        # Shards take long: those that nobody waits for any more are given up.
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


# What tells the worker in this process to give up.
_stop: list[Event] = []


def _start_worker(stop: Event) -> None:
    # Ctrl-C is for the process that waits for the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _stop[:] = [stop]


class _Hashed:
    """A file that computes the SHA-256 of what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest, self.bytes = hashlib.sha256(), 0

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        self.bytes += len(content)
        return self._file.write(content)


def _write_shard(
    planned: PlannedShard, entries: list[ArchiveEntry], settings: ShardSettings, labels: dict[int, str]
) -> _Written:
    """Write one shard, which takes its name when it is complete."""
    from webdataset import TarWriter

    flaws: list[SkippedEntry] = []
    images = masks = 0
    with atomic_write(settings.out / planned.file) as unfinished, unfinished.open("wb") as file:
        hashed = _Hashed(file)
        # Without times and owners, so that the same images make the same file. PAX knows no longest name.
        options = {"encoder": False, "mtime": 0, "user": "", "group": "", "format": "PAX_FORMAT"}
        with TarWriter(hashed, **options) as tar:
            for entry in entries:
                if _stop and _stop[0].is_set():
                    message = f"Writing {planned.file} was stopped; run the command again to continue."
                    raise AutoMedSAMError(message)
                try:
                    files = encode(entry, settings.root, labels)
                except AutoMedSAMError as error:
                    flaws.append(SkippedEntry(entry.images[0], str(error)))
                    continue
                tar.write({"__key__": sample_key(entry.case, images), **files})
                images += 1
                masks += len(files) - 2
    shard = Shard(planned.file, hashed.digest.hexdigest(), hashed.bytes, images, masks)
    return _Written(planned, shard, flaws, os.getpid(), peak_memory_mb())
