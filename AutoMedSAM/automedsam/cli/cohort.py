"""`automedsam cohort`: a folder of cases in, segmentations and statistics out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from automedsam import __version__
from automedsam.bundle import Bundle, load_bundle
from automedsam.cli import terms
from automedsam.cli.console import RunProgress
from automedsam.cli.terminal import STOPPED, printable, say
from automedsam.cohort.inputs import find_cases
from automedsam.cohort.lock import holder_of
from automedsam.cohort.output_folder import OutputFolder
from automedsam.cohort.pool import InProcess, Pool
from automedsam.cohort.ray_pool import INSTALL, RayPool, has_ray
from automedsam.cohort.run import Outcome
from automedsam.cohort.session import Watch, check_model, segment_cases
from automedsam.cohort.settings import FORMATS, CohortSettings
from automedsam.cohort.worker import CaseWorker
from automedsam.contract.backends import Backend
from automedsam.core.volume import Plane
from automedsam.errors import AutoMedSAMError
from automedsam.io.dicom.seg_writer import check_dicom_seg
from automedsam.pipeline.run import check_threshold
from automedsam.runtime.session import available_cores

SOME_FAILED = 1
"""Exit code of a run that came to its end with cases that could not be segmented."""

# What a worker takes of the memory at most, for the number of workers that is chosen by itself.
_WORKER_BYTES = 2 << 30
_MAX_LISTED = 10


def segment_cohort(
    source: str,
    output: Path,
    *,
    model: str,
    backend: Backend,
    threshold: float | None,
    plane: Plane | None,
    suffix: str,
    images: bool,
    workers: int | None,
    cores: int | None,
    address: str | None,
) -> None:
    """Segments every case of an input that has no whole result yet; see `docs/cohorts.md`.

    Raises:
        AutoMedSAMError: If the input, an option or the output folder is not what it should be; nothing is overwritten.
        typer.Exit: With 1 if cases failed, with 130 after Ctrl-C.
    """
    if f".{suffix.lstrip('.')}" not in FORMATS:
        message = f"There is no format {suffix}: choose {', '.join(FORMATS[:-1])} or {FORMATS[-1]}."
        raise AutoMedSAMError(message)
    check_threshold(threshold)
    bundle = load_bundle(model)
    check_model(bundle, backend)
    settings = CohortSettings.of(
        bundle, _model_name(model), backend=backend, threshold=threshold, plane=plane,
        suffix=f".{suffix.lstrip('.')}", images=images,
    )  # fmt: skip
    folder = OutputFolder(output.absolute())
    if settings.has_dicom:
        check_dicom_seg(folder.segmentation("CASE", settings.suffix))
    notes: list[str] = []
    cases = find_cases(source, bundle.modalities, folder.path, notes)
    terms.ask(bundle)
    say(*notes)

    @contextmanager
    def opened(settings: CohortSettings, folder: OutputFolder, count: int) -> Iterator[tuple[Pool, Watch]]:
        pool = _Workers(count, workers, cores, address)
        with pool.opened(settings, folder) as running, RunProgress() as progress:
            yield running, progress.count("Segmenting", count)

    finished = segment_cases(source, cases, bundle, settings, folder, opened)
    outcome = finished.outcome
    _print_summary(bundle, folder, outcome, finished.count, finished.earlier)
    if outcome.is_stopped:
        raise typer.Exit(STOPPED)
    if outcome.failed:
        raise typer.Exit(SOME_FAILED)


def _model_name(model: str) -> str:
    """A bundle's folder as an absolute path, since a worker may run elsewhere; a name as it is."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


class _Workers:
    """How many workers with how many cores, and where.

    Raises:
        AutoMedSAMError: If the numbers are impossible, or Ray is needed and missing.
    """

    def __init__(self, cases: int, workers: int | None, cores: int | None, address: str | None) -> None:
        for name, number in (("--workers", workers), ("--cores", cores)):
            if number is not None and number < 1:
                message = f"{name} is {number}: give 1 or more."
                raise AutoMedSAMError(message)
        available = available_cores()
        if address is None and (workers or 1) * (cores or 1) > available:
            needed = (workers or 1) * (cores or 1)
            message = f"The workers need {needed} cores, and there are {available}: give fewer --workers or --cores."
            raise AutoMedSAMError(message)
        self._address, self._cores = address, cores
        if address is not None:
            # 0: as many as the cluster has cores for.
            self._count = workers or 0
            return
        self._count = workers or max(1, min(cases, available // (cores or 1), _memory() // _WORKER_BYTES))
        if workers is None and self._count > 1 and not has_ray():
            say(f"The cases run one after the other; Ray runs several at a time: {INSTALL}.")
            self._count = 1

    def opened(self, settings: CohortSettings, folder: OutputFolder) -> AbstractContextManager[Pool]:
        """Starts the workers."""
        if self._address is None and self._count == 1:
            worker = CaseWorker(settings.to_json(), str(folder.path), self._cores)
            if reason := worker.prepare(__version__, holder_of(folder.path)):
                raise AutoMedSAMError(reason)
            return nullcontext(InProcess(worker))
        threads = self._cores or (1 if self._address else max(1, available_cores() // self._count))
        return RayPool(
            settings.to_json(), str(folder.path), workers=self._count, threads=threads, address=self._address
        )


def _memory() -> int:
    """Bytes of this computer's memory; enough for two workers where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2 * _WORKER_BYTES


def _print_summary(bundle: Bundle, folder: OutputFolder, outcome: Outcome, count: int, earlier: int) -> None:
    if line := terms.notice(bundle):
        say(line)
    for name, sentence in outcome.failed[:_MAX_LISTED]:
        say(f"{name}: {sentence}")
    if len(outcome.failed) > _MAX_LISTED:
        say(f"And {len(outcome.failed) - _MAX_LISTED} more cases failed: see {folder.table}.")
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("Cases", str(count))
    table.add_row("Segmented", f"{outcome.done} now, {earlier} before")
    if outcome.failed:
        table.add_row("Failed", str(len(outcome.failed)))
    for path in (folder.table, folder.report):
        table.add_row("Written", printable(str(path)))
    Console().print(table)
    if outcome.is_stopped:
        say("Stopped: finished cases are kept, and the same command continues.")
    else:
        say(f"To review: automedsam review {folder.path}")
