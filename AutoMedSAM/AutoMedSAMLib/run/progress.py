"""How far a run is, in a share and in words."""

import time

from slicer.i18n import tr as _

from AutoMedSAMLib.model.run import Message

# The parts' shares of a run's time, measured on a glioma case.
_WEIGHTS = {"copy": 3.0, "load": 3.0, "quantize": 0.0, "detect": 44.0, "link": 0.0, "segment": 47.0, "surface": 3.0}
# Propagating detects nothing.
_WEIGHTS_AGAIN = _WEIGHTS | {"detect": 0.0}
# A first run that makes INT8 files spends most of its time on them, in steps of unequal length.
_WEIGHT_OF_INT8 = 150.0
_SURE_AFTER_SECONDS = 0.5


class Progress:
    """Counts the slices of the part that a run is in, and estimates when the whole run will be over.

    Args:
        again: whether the run only propagates.
    """

    def __init__(self, *, again: bool = False) -> None:
        self._weights = _WEIGHTS_AGAIN if again else _WEIGHTS
        self._part, self._total, self._done, self._began = "copy", 0, 0, time.perf_counter()

    def enter(self, part: str, total: int = 0) -> None:
        """Goes to the next part: "copy", "load", "quantize", "detect", "link", "segment" or "surface"."""
        if part == "quantize":
            self._weights = self._weights | {part: _WEIGHT_OF_INT8}
        self._part, self._total, self._done, self._began = part, total, 0, time.perf_counter()

    def count(self, event: Message) -> None:
        """Takes note of one slice's event."""
        self._done = min(int(event.get("done", self._done + 1)), self._total)

    def copied(self, share: float) -> float:
        """The share of the whole run when so much of the volume is copied."""
        return share * self._weights["copy"] / sum(self._weights.values())

    @property
    def fraction(self) -> float:
        """The share of the run that is done, 0 to 1."""
        return 1.0 - self._weight_left / sum(self._weights.values())

    @property
    def text(self) -> str:
        """The present part, and, once it can be estimated, how many seconds the rest of the run will take."""
        text = _description(self._part).format(done=self._done, total=self._total)
        gone, weight = time.perf_counter() - self._began, self._weights[self._part]
        if self._done and self._part != "quantize" and gone > _SURE_AFTER_SECONDS and weight:
            seconds_per_weight = gone / (weight * self._done / self._total)
            left = round(seconds_per_weight * self._weight_left)
            if left:
                return _("{progress}, {seconds} s left").format(progress=text, seconds=left)
        return text

    @property
    def _weight_left(self) -> float:
        names = list(self._weights)
        later = sum(self._weights[name] for name in names[names.index(self._part) + 1 :])
        done = self._done / self._total if self._total else 0.0
        return later + self._weights[self._part] * (1.0 - done)


def _description(part: str) -> str:
    return {
        "copy": _("Copying the volume"),
        "load": _("Loading the model"),
        "quantize": _("Making the INT8 files, once: step {done} of {total} is done"),
        "detect": _("Detecting slice {done} of {total}"),
        "link": _("Linking boxes to objects"),
        "segment": _("Segmenting slice {done} of {total}"),
        "surface": _("Making the surface"),
    }[part]
