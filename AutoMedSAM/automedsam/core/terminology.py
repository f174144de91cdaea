"""Names of the DICOM terminology contexts that Slicer knows."""

from __future__ import annotations

MASTER_LIST = "Segmentation category and type - DICOM master list"
REGION_LIST = "Anatomic codes - DICOM master list"
