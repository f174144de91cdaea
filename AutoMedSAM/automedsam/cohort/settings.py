"""What decides a cohort's results beside its images: the model and how it is run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from automedsam.bundle import Bundle, load_bundle
from automedsam.contract.backends import Backend
from automedsam.core.volume import Plane
from automedsam.errors import AutoMedSAMError
from automedsam.io.dicom.seg_writer import DICOM_SUFFIX

FORMATS = (".seg.nrrd", ".nii.gz", DICOM_SUFFIX)
"""`.dcm` writes DICOM SEG beside `.seg.nrrd`, which the review reads."""


@dataclass(frozen=True)
class CohortSettings:
    """The settings of a cohort, the same for all its cases.

    Attributes:
        model: A bundle's name or folder.
        model_name: What the bundle calls itself.
        model_version: The bundle's version.
        model_hash: SHA-256 of its manifest, which names the SHA-256 of its files.
        backend: What computes.
        threshold: The minimum score of an object; the bundle's own if None.
        plane: The plane of the slices; chosen for each volume if None.
        suffix: One of `FORMATS`.
        images: Whether 8-bit copies of the images are kept for the review page.
    """

    model: str
    model_name: str
    model_version: str
    model_hash: str
    backend: str = Backend.INT8.value
    threshold: float | None = None
    plane: str | None = None
    suffix: str = FORMATS[0]
    images: bool = True

    @classmethod
    def of(  # noqa: PLR0913  each is an option of its own to a caller
        cls,
        bundle: Bundle,
        model: str,
        *,
        backend: Backend = Backend.INT8,
        threshold: float | None = None,
        plane: Plane | None = None,
        suffix: str = FORMATS[0],
        images: bool = True,
    ) -> CohortSettings:
        """The settings for a loaded bundle; `model` is how it was named."""
        plane_name = None if plane is None else plane.value
        return cls(
            model, bundle.name, bundle.version, bundle.hash, backend.value, threshold, plane_name, suffix, images
        )

    def bundle(self) -> Bundle:
        """Loads the bundle where this runs.

        Raises:
            AutoMedSAMError: If it is missing there, or another one of the same name.
        """
        bundle = load_bundle(self.model)
        if bundle.hash != self.model_hash:
            message = (
                f"The model {self.model} on this computer is not the one of the run (version {bundle.version}, and "
                f"{self.model_version} is needed): install the same model on every computer."
            )
            raise AutoMedSAMError(message)
        return bundle

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON can hold them."""
        return asdict(self)

    @property
    def has_dicom(self) -> bool:
        """Whether a DICOM SEG is written as well."""
        return self.suffix == DICOM_SUFFIX

    @property
    def stored_suffix(self) -> str:
        """The suffix of the segmentation that the review reads."""
        return FORMATS[0] if self.has_dicom else self.suffix

    @cached_property
    def key(self) -> str:
        """A hash of all that decides a segmentation: results with the same key and the same input are the same."""
        decisive = {
            name: value for name, value in asdict(self).items() if name not in ("model", "model_version", "images")
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def differences(self, other: CohortSettings) -> list[str]:
        """How other settings differ where that changes results, in words: "threshold 0.3 instead of 0.25"."""
        found = []
        if self.model_hash != other.model_hash:
            mine, its = (f"{one.model_name} {one.model_version}" for one in (self, other))
            found.append(
                f"model {mine} instead of {its}" if mine != its else f"another model that is called {mine} as well"
            )
        for name in ("backend", "threshold", "plane", "suffix"):
            mine, its = getattr(self, name), getattr(other, name)
            if mine != its:
                called = "format" if name == "suffix" else name
                found.append(f"{called} {_shown(mine)} instead of {_shown(its)}")
        return found


def _shown(value: object) -> str:
    return "unset" if value is None else str(value)
