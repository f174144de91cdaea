"""The DICOM files that a volume was loaded from."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from AutoMedSAMLib.errors import AutoMedSAMError


def dicom_files_of(volume: slicer.vtkMRMLScalarVolumeNode) -> list[str]:
    """The files of a volume that was loaded from Slicer's DICOM database.

    Raises:
        AutoMedSAMError: If it was not, or its files are no longer there.
    """
    uids = (volume.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    files = [database.fileForInstance(uid) for uid in uids] if database is not None else []
    if not files:
        message = _("{volume} was not loaded from DICOM: save the segmentation as .seg.nrrd instead.")
        raise AutoMedSAMError(message.format(volume=volume.GetName()))
    if not all(files):
        message = _("Some DICOM files of {volume} are no longer in the database: import the series again.")
        raise AutoMedSAMError(message.format(volume=volume.GetName()))
    return files
