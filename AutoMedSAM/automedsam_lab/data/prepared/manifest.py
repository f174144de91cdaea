"""`manifest.json` of a prepared dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, field_validator

from automedsam_lab.common.manifest_files import ManifestModel, read_manifest
from automedsam_lab.data.readers.base import ReaderOptions
from automedsam_lab.data.splits import SPLITS

SCHEMA = 1
MANIFEST = "manifest.json"

SplitName = Literal["train", "val", "test"]
LabelValue = Annotated[int, Field(ge=1, le=255)]


class ManifestCase(ManifestModel):
    """One native case; paths are relative to the root of the archive.

    Attributes:
        case: Name of the case.
        patient: The patient.
        part: The split of the patient.
        images: The image files, one for each channel.
        label: The label file; None if there are only boxes, or a mask file for each object.
        scheme: What the stored label values mean, as `LabelScheme` names it; None if the archive has only one scheme.
        modality: The modality as bundles name it; None if the archive does not tell.
        values: The label value of the dataset for each stored value; 0 if it is no object.
        masks: Mask files that hold one object each, with its label value.
    """

    case: str
    patient: str
    part: SplitName
    images: Annotated[tuple[str, ...], Field(min_length=1)]
    label: str | None
    scheme: str | None = None
    modality: str | None = None
    values: dict[int, int] = Field(default_factory=dict)
    masks: dict[str, int] = Field(default_factory=dict)


class PreparedManifest(ManifestModel):
    """What `automedsam-lab prepare` writes about a dataset.

    Attributes:
        schema_version: Version of the layout.
        dataset: Format of the archive, as `automedsam-lab prepare` names it.
        root: Folder of the archive.
        size: Side of the images in pixels.
        labels: Names by label value.
        license: Terms of the data.
        choices: How the archive was read.
        files: SHA-256 by file.
        patients: Patients by split.
        cases: The native cases.
    """

    schema_version: Literal[1] = Field(alias="schema")
    dataset: str
    root: Path
    size: PositiveInt
    labels: Annotated[dict[LabelValue, str], Field(min_length=1)]
    license: str = Field(validation_alias="licence", serialization_alias="licence")
    choices: ReaderOptions = Field(default_factory=ReaderOptions)
    files: dict[str, str]
    patients: dict[str, list[str]]
    cases: list[ManifestCase]

    @field_validator("patients")
    @classmethod
    def _known_splits(cls, patients: dict[str, list[str]]) -> dict[str, list[str]]:
        if unknown := sorted(set(patients) - set(SPLITS)):
            message = f"there are no splits {', '.join(unknown)}, only {', '.join(SPLITS)}"
            raise ValueError(message)
        return patients


def read_prepared_manifest(folder: Path) -> PreparedManifest:
    """Reads the manifest of a prepared dataset.

    Raises:
        AutoMedSAMError: The folder is no prepared dataset, or its manifest is faulty.
    """
    return read_manifest(
        folder / MANIFEST,
        PreparedManifest,
        schema=SCHEMA,
        missing="give a folder that 'automedsam-lab prepare' wrote",
        repair="prepare the dataset again",
    )
