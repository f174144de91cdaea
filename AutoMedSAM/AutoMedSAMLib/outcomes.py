"""How a run's end is told: one sentence for a person."""

from collections.abc import Sequence

from AutoMedSAMLib.run import Message, Outcome, Run


def finished(event: Message, run: Run) -> Outcome:
    """It went to its end, with or without a find."""
    report = event["report"]
    objects, millilitres = report["objects"], sum(report["volume_ml"].values())
    seconds = sum(report["seconds"].values())
    if objects:
        found = "1 object" if objects == 1 else f"{objects} objects"
        message = f"Found {found}, {millilitres:.1f} ml, in {seconds:.1f} s."
    else:
        message = f"Nothing was found at a threshold of {run.threshold:g}; a lower one finds more."
    return Outcome("finished", message, report=report, confidence=event["confidence"])


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
