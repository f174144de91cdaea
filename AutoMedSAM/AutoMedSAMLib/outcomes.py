"""How a run's end is reported: one sentence for a person."""

from collections.abc import Sequence
from dataclasses import replace

from AutoMedSAMLib.run import Message, Outcome, Run


def finished(event: Message) -> Outcome:
    """It went to its end; `concluded` adds the sentence once everything is written."""
    return Outcome("finished", "", report=event["report"], confidence=event["confidence"])


def concluded(outcome: Outcome, run: Run | None, seconds: float, changed: int | None) -> Outcome:
    """The outcome of a run with its sentence; one that did not finish has its own already.

    Args:
        outcome: how it ended.
        run: the run, if the engine began it.
        seconds: how long the user waited.
        changed: how many slices of the earlier result are different now; None if there was none to change.
    """
    if outcome.status != "finished" or run is None:
        return outcome
    objects, millilitres = outcome.report["objects"], sum(outcome.report["volume_ml"].values())
    result = f"{_count(objects, 'object')}, {millilitres:.1f} ml"
    if changed is not None:
        done = f"{_count(changed, 'slice')} changed" if changed else "No slice changed"
        message = f"{done}; the segmentation has {result} now ({seconds:.1f} s)."
    elif objects:
        message = f"Found {result}, in {seconds:.1f} s."
    else:
        message = f"Nothing was found at a threshold of {run.threshold:g}; a lower one finds more."
    return replace(outcome, message=message)


def cancelled(slices: int, confidence: Sequence[Message] = ()) -> Outcome:
    """Somebody pressed Cancel after so many slices."""
    if slices == 0:
        message = "Cancelled before a slice was finished; nothing was changed."
    else:
        message = f"Cancelled; {'the slice that was' if slices == 1 else f'the {slices} slices that were'} finished "
        message += "is kept." if slices == 1 else "are kept."
    return Outcome("cancelled", message, confidence=list(confidence))


def failed(message: str, details: str = "") -> Outcome:
    """It broke off."""
    return Outcome("failed", message, details)


def kept_by_hand(slices: int) -> str:
    """A sentence on the slices that a run left as somebody had edited them; empty if there are none."""
    if slices == 0:
        return ""
    return "1 slice edited by hand was kept." if slices == 1 else f"{slices} slices edited by hand were kept."


def _count(number: int, one: str) -> str:
    return f"{number} {one}{'' if number == 1 else 's'}"
