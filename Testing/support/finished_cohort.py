"""An output folder of a cohort with as many finished cases as wanted, all alike but for their names and figures."""

import json
from pathlib import Path

import numpy as np

from automedsam.bundle import file_hash, load_bundle
from automedsam.cohort.case import Case
from automedsam.cohort.manifest import Manifest
from automedsam.cohort.output_folder import OutputFolder
from automedsam.cohort.settings import CohortSettings
from automedsam.core.segmentation import Segment, Segmentation
from automedsam.core.volume import Volume
from automedsam.io.segmentation_writer import write_segmentation, write_verified
from automedsam.visualization.montage import write_png

LESION = "Lesion"
SHAPE = (12, 20, 16)


def finished_cohort(path: Path, count: int, failed: int = 0) -> OutputFolder:
    """`case000` is the most doubtful, and so on; the failed cases follow, `failed000` first."""
    folder = OutputFolder(path)
    folder.prepare()
    bundle = load_bundle("hippocampus")
    settings = CohortSettings.of(bundle, "hippocampus")
    manifest = Manifest(folder)
    manifest.begin(settings, "in", count + failed)
    gray = np.random.default_rng(1).integers(0, 256, SHAPE).astype(np.uint8)
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:8, 6:12, 5:11] = 1
    # Along I, J, K from right to left, anterior to posterior, inferior to superior: as axial frames run.
    volume = Volume(gray, (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0), "case")
    result = Segmentation(labels, volume, [Segment(1, LESION, (1.0, 0.2, 0.1), "")])
    sample = folder.segmentation("sample", ".seg.nrrd")
    write_segmentation(result, sample)
    write_verified(volume.to_image(gray), folder.image("sample"))
    write_png(np.repeat(gray[5][..., np.newaxis], 3, -1), folder.thumbnail("sample"))
    for index in range(count):
        _add(folder, manifest, f"case{index:03d}", 1 - (index + 1) / (count + 1))
    for file in (sample, folder.image("sample"), folder.thumbnail("sample")):
        file.unlink()
    for index in range(failed):
        record = {"case": f"failed{index:03d}", "state": "failed", "message": "The file is damaged.", "paths": []}
        manifest.add(record)
    manifest.end("finished")
    return folder


def _add(folder: OutputFolder, manifest: Manifest, name: str, doubt: float) -> None:
    stem, output = Case(name).stem, folder.segmentation(Case(name).stem, ".seg.nrrd")
    output.hardlink_to(folder.segmentation("sample", ".seg.nrrd"))
    folder.image(stem).hardlink_to(folder.image("sample"))
    folder.thumbnail(stem).hardlink_to(folder.thumbnail("sample"))
    record = {
        "case": name,
        "state": "done",
        "message": "",
        "paths": [f"/in/{name}.nii.gz"],
        "figures": {
            "volume_ml": {LESION: 0.288}, "diameter_mm": {LESION: 8.5}, "objects": 1, "slices": SHAPE[0],
            "confidence": 1 - doubt, "lowest_confidence": 0.2, "doubt": doubt, "doubtful_slices": [7], "plane": "axial",
        },
        "warnings": ["The slices are far apart."] if name.endswith("1") else [],
        "notes": [],
        "seconds": 1.0,
        "output": {
            "path": str(output.relative_to(folder.path)), "bytes": output.stat().st_size, "sha256": file_hash(output)
        },
    }  # fmt: skip
    details = {
        "record": record,
        "segments": [{"value": 1, "name": LESION, "color": [1.0, 0.2, 0.1]}],
        "confidence": [[index, 0.9 if index < 7 else 0.2, ""] for index in range(4, 8)],
    }
    folder.details(stem).write_text(json.dumps(details), encoding="utf-8")
    manifest.add(record)
