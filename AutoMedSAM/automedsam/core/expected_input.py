"""What a model's training volumes looked like: the section `expected_input` of its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class ExpectedInput:
    """What the input check compares a volume with; what is None is not checked.

    Attributes:
        skull: "stripped" where the training images show the brain alone; "any" is not checked.
        single_image: Whether the model takes one image alone, such as an X-ray; of it only `histogram` is checked.
        slice_spacing_mm: Lowest and highest distance between slices.
        pixel_spacing_mm: Lowest and highest pixel size on the slices.
        extent_mm: Lowest and highest size of the content along right-left, anterior-posterior, superior-inferior.
        histogram: `(16,)` mean fractions of the 8-bit intensities.
        max_histogram_distance: Largest accepted distance to `histogram`, see `histogram_distance`.
    """

    skull: str = "any"
    single_image: bool = False
    slice_spacing_mm: Range | None = None
    pixel_spacing_mm: Range | None = None
    extent_mm: tuple[Range, Range, Range] | None = None
    histogram: NDArray[np.float64] | None = None
    max_histogram_distance: float = 1.0

    @classmethod
    def from_manifest(cls, section: Mapping[str, Any]) -> ExpectedInput:
        """Takes a section that `check_manifest` has checked."""
        extent = section.get("extent_mm")
        histogram = section.get("histogram")
        return cls(
            skull=section.get("skull", "any"),
            single_image=bool(section.get("single_image", False)),
            slice_spacing_mm=_range(section.get("slice_spacing_mm")),
            pixel_spacing_mm=_range(section.get("pixel_spacing_mm")),
            extent_mm=None if extent is None else _three(extent),
            histogram=None if histogram is None else np.array(histogram, np.float64),
            max_histogram_distance=float(section.get("max_histogram_distance", 1.0)),
        )

    def to_manifest(self, cases: int) -> dict[str, Any]:
        """The section as JSON values.

        Args:
            cases: Number of training cases that it was measured on.
        """
        histogram = None if self.histogram is None else [round(float(share), 4) for share in self.histogram]
        section = {
            "skull": self.skull,
            "single_image": self.single_image or None,
            "slice_spacing_mm": self.slice_spacing_mm,
            "pixel_spacing_mm": self.pixel_spacing_mm,
            "extent_mm": self.extent_mm,
            "histogram": histogram,
            "max_histogram_distance": round(self.max_histogram_distance, 3),
        }
        return {**{key: value for key, value in section.items() if value is not None}, "cases": cases}


def _range(values: Any) -> Range | None:
    return None if values is None else (float(values[0]), float(values[1]))


def _three(values: Any) -> tuple[Range, Range, Range]:
    first, second, third = ((float(low), float(high)) for low, high in values)
    return first, second, third
