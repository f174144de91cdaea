"""How far a run is, in a share and in words."""

import time

from AutoMedSAMLib.run import Message

# The share of a run at which each part of it begins; measured on a glioma, where it matters little elsewhere.
_BEGINS = {"copy": 0.0, "load": 0.03, "detect": 0.06, "link": 0.5, "segment": 0.5, "surface": 0.97}
_ENDS = {"copy": 0.03, "load": 0.06, "detect": 0.5, "link": 0.5, "segment": 0.97, "surface": 1.0}
_WORDS = {
    "copy": "Copying the volume",
    "load": "Loading the model",
    "detect": "Detecting slice {done} of {total}",
    "link": "Linking boxes to objects",
    "segment": "Segmenting slice {done} of {total}",
    "surface": "Making the surface",
}
_SURE_AFTER_SECONDS = 0.5


class Progress:
    """Counts the slices of the part that a run is in, and estimates when that part will be over."""

    def __init__(self) -> None:
        self._part, self._total, self._done, self._began = "copy", 0, 0, time.perf_counter()

    def enter(self, part: str, total: int = 0) -> None:
        """Goes to the next part: "copy", "load", "detect", "link", "segment" or "surface"."""
        self._part, self._total, self._done, self._began = part, total, 0, time.perf_counter()

    def count(self, event: Message) -> None:
        """Takes note of one slice's event."""
        self._done = min(int(event.get("done", self._done + 1)), self._total)

    def copied(self, share: float) -> float:
        """The share of the whole run when so much of the volume is copied."""
        return share * _ENDS["copy"]

    @property
    def fraction(self) -> float:
        """The share of the run that is done, 0 to 1."""
        begin, end = _BEGINS[self._part], _ENDS[self._part]
        return begin + (end - begin) * (self._done / self._total if self._total else 0.0)

    @property
    def text(self) -> str:
        """What goes on, and, where that can be told, how many seconds it will take."""
        words = _WORDS[self._part].format(done=self._done, total=self._total)
        gone = time.perf_counter() - self._began
        if self._done and gone > _SURE_AFTER_SECONDS:
            left = gone / self._done * (self._total - self._done)
            words += f", {max(1, round(left))} s left"
        return words
