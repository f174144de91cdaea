"""The button that resamples a volume onto the grid of the first one, shown where the grids differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.scene.resampling import another_grid, resample_onto, same_grid


class ResampleButton:
    """Shown below the volume selectors.

    Args:
        on_resampled: called with the index of the modality and its new volume.
        show_status: shows a sentence in the status line.
    """

    def __init__(self, on_resampled: Callable[[int, Any], None], show_status: Callable[[str], None]) -> None:
        self._on_resampled, self._show_status = on_resampled, show_status
        self._volumes: list[Any] = []
        self.widget = qt.QPushButton()
        self.widget.objectName = "resampleButton"
        self.widget.toolTip = _(
            "Make a copy of this volume on the grid of the first one, with linear interpolation, and choose it here. "
            "The volume itself is not changed."
        )
        self.widget.connect("clicked(bool)", lambda *_: self._resample())
        self.widget.hide()

    def update(self, volumes: Sequence[Any]) -> None:
        """Shows the button if one of the chosen volumes is on another grid than the first."""
        self._volumes = list(volumes)
        place = _first_on_another_grid(self._volumes)
        if place is not None:
            text = _("Resample {volume} onto {reference}")
            self.widget.text = text.format(volume=self._volumes[place].GetName(), reference=self._volumes[0].GetName())
        self.widget.setVisible(place is not None)

    def _resample(self) -> None:
        place = _first_on_another_grid(self._volumes)
        if place is None:
            return
        try:
            resampled = resample_onto(self._volumes[place], self._volumes[0])
        except AutoMedSAMError as error:
            self._show_status(str(error))
            return
        self._on_resampled(place, resampled)


def grid_problem(volumes: Sequence[slicer.vtkMRMLScalarVolumeNode | None]) -> str:
    """A sentence if a volume is on another grid than the first; empty if not."""
    place = _first_on_another_grid(volumes)
    return "" if place is None else another_grid(volumes[place], volumes[0])


def _first_on_another_grid(volumes: Sequence[slicer.vtkMRMLScalarVolumeNode | None]) -> int | None:
    images = [volume if volume is not None and volume.GetImageData() is not None else None for volume in volumes]
    if not images or images[0] is None:
        return None
    try:
        others = ((at, one) for at, one in enumerate(images) if at and one is not None)
        return next((at for at, one in others if not same_grid(images[0], one)), None)
    except AutoMedSAMError:
        # A transform that is not linear, which the run refuses.
        return None
