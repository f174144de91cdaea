"""A cohort from its input to its statistics, whoever asks for it and wherever its cases run."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeAlias

from automedsam.bundle import Bundle
from automedsam.cohort.case import Case
from automedsam.cohort.journal import Record
from automedsam.cohort.lock import locked
from automedsam.cohort.manifest import Manifest
from automedsam.cohort.output_folder import OutputFolder
from automedsam.cohort.pool import Pool
from automedsam.cohort.run import Outcome, remaining, run_cohort
from automedsam.cohort.settings import CohortSettings
from automedsam.cohort.statistics import write_statistics
from automedsam.cohort.table import write_table
from automedsam.cohort.worker import DONE
from automedsam.contract.backends import Backend
from automedsam.errors import AutoMedSAMError

Watch: TypeAlias = Callable[[Record], None]
OpenPool: TypeAlias = Callable[[CohortSettings, OutputFolder, int], AbstractContextManager[tuple[Pool, Watch]]]


@dataclass(frozen=True)
class Finished:
    """What became of a cohort.

    Attributes:
        outcome: How the run ended.
        count: The cases of the input.
        earlier: Those that were done before.
    """

    outcome: Outcome
    count: int
    earlier: int


def check_model(bundle: Bundle, backend: Backend) -> None:
    """Finds damaged or missing files before anything is written.

    Raises:
        AutoMedSAMError: If the model has no detector, or lacks a file.
    """
    if not bundle.has_detector:
        raise AutoMedSAMError(bundle.no_detector_message)
    bundle.files(backend)


def segment_cases(
    source: str, cases: Sequence[Case], bundle: Bundle, settings: CohortSettings, folder: OutputFolder, opened: OpenPool
) -> Finished:
    """Segments every case that has no whole result yet, and writes the table and the statistics.

    Args:
        source: The input as the user named it.
        cases: Its cases.
        bundle: The model.
        settings: How it is run.
        folder: Where the results go; made if it is not there.
        opened: Opens the workers for a number of cases; gives them, and what is called with each record.

    Raises:
        AutoMedSAMError: If the folder cannot be used, or no worker can run; nothing is overwritten.
    """
    folder.prepare()
    with locked(folder.path):
        manifest = Manifest(folder)
        manifest.check(settings)
        to_do = remaining(cases, manifest)
        folder.remove_unfinished()
        outcome = Outcome()
        if to_do:
            with opened(settings, folder, len(to_do)) as (pool, watch):
                # Only now is everything there that the run needs.
                manifest.begin(settings, source, len(cases))
                outcome = run_cohort(to_do, manifest, pool, watch)
            folder.remove_unfinished()
        segments = [segment.name for segment in bundle.segments]
        names = {case.name for case in cases}
        write_table(folder.table, _current(manifest, names), segments)
        write_statistics(folder.report, _current(manifest, names), settings, segments)
    return Finished(outcome, len(cases), len(cases) - len(to_do))


def _current(manifest: Manifest, names: Container[str]) -> Iterator[Record]:
    """All records but those of failed cases that are no longer among the input."""
    return (record for record in manifest.records() if record["state"] == DONE or record["case"] in names)
