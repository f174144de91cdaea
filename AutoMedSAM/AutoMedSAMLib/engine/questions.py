"""Short questions to the engine, and what its requests have in common."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from automedsam.contract.backends import Backend
from automedsam.contract.protocol import DEVICE_OF_INT8
from AutoMedSAMLib.engine.client import EngineClient, PendingRequest
from AutoMedSAMLib.engine.input_check import names_of
from AutoMedSAMLib.model.bundle_info import Model
from AutoMedSAMLib.model.run import Message, RunRequest
from AutoMedSAMLib.scene.geometry import grid_of, shape_of


class EngineQuestions:
    """Asks what does not segment.

    Args:
        engine: who is asked.
    """

    def __init__(self, engine: EngineClient) -> None:
        self._engine = engine
        self._linking: PendingRequest | None = None

    def link(
        self,
        request: RunRequest,
        boxes: list[Message],
        threshold: float | None,
        done: Callable[[list[Message]], None],
    ) -> None:
        """Links boxes to objects; see `AutoMedSAMLogic.link`. A new question drops an older one."""
        if self._linking is not None:
            self._engine.discard(self._linking)
        volume = request.volumes[0]
        message = {
            "op": "link",
            "volume": {"shape": list(shape_of(volume)), "name": volume.GetName(), **grid_of(volume)},
            "model": str(request.model.folder),
            "plane": request.plane,
            "slices": request.slices,
            "threshold": threshold,
            "boxes": boxes,
        }

        def answered(event: Message) -> None:
            if event["event"] == "tracklets":
                done(event["tracklets"])

        self._linking = self._engine.send(message, answered, _nothing)

    def describe_device(self, backend: str, done: Callable[[str], None]) -> None:
        """What a backend would compute on; see `AutoMedSAMLogic.describe_device`."""
        if backend != Backend.FP32_TORCH:
            done(DEVICE_OF_INT8)
            return

        def answered(event: Message) -> None:
            if event["event"] == "devices":
                missing = event["missing"]
                text = _("Not installed yet: {packages} (Apply asks)").format(packages=", ".join(missing))
                done(text if missing else event["device"])

        self._engine.send({"op": "devices", "backend": backend}, answered, _nothing)

    def load(self, model: Model, backend: str) -> None:
        """Loads a model, so that the first preview need not wait for it; where it cannot be, the preview explains."""
        self._engine.send({"op": "load", "model": str(model.folder), "backend": backend}, _nothing, _nothing)


def common_fields(request: RunRequest) -> Message:
    """What requests to the engine have in common that compute masks."""
    return {
        "model": str(request.model.folder),
        "device": "auto",
        "plane": request.plane,
        "slices": request.slices,
        "names": [names_of(volume) for volume in request.volumes],
    }


def _nothing(_details: object) -> None:
    pass
