"""Runs a cohort: each case that is missing or changed, once, with everything noted in the manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from automedsam.cohort.case import Case
from automedsam.cohort.journal import Record
from automedsam.cohort.manifest import Manifest
from automedsam.cohort.pool import Pool
from automedsam.cohort.worker import DONE


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        done: Cases that this run finished.
        failed: Name and sentence of each case that could not be segmented.
        is_stopped: Whether Ctrl-C ended the run early.
    """

    done: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    is_stopped: bool = False


def remaining(cases: Sequence[Case], manifest: Manifest) -> list[Case]:
    """The cases without a whole result from the files as they are now."""
    return [case for case in cases if not manifest.is_done(case)]


def run_cohort(
    cases: Sequence[Case], manifest: Manifest, pool: Pool, watch: Callable[[Record], None] = lambda record: None
) -> Outcome:
    """Runs cases and notes each in the manifest as soon as it ends.

    Args:
        cases: Those to run.
        manifest: Begun, under the lock of its folder.
        pool: Where they run.
        watch: Called with each record.

    Returns:
        How it ended; Ctrl-C ends it early, and what was finished stays.

    Raises:
        AutoMedSAMError: If the manifest can no longer be written, or no worker can run.
    """
    outcome = Outcome()
    try:
        for record in pool.results(case.to_row() for case in cases):
            manifest.add(record)
            if record["state"] == DONE:
                outcome.done += 1
            else:
                outcome.failed.append((record["case"], record["message"]))
            watch(record)
        manifest.end("finished")
    except KeyboardInterrupt:
        outcome.is_stopped = True
        manifest.end("stopped")
    return outcome
