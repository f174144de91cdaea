"""Results in the engine's process: measures, a reference, DICOM SEG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dicom_files as dicom
import numpy as np
import pytest

from automedsam import SegmentationRun, Volume, read_volume

Message = dict[str, Any]


def on_disk(volume: Volume, labels: np.ndarray, path: Path) -> Message:
    np.save(path, labels, allow_pickle=False)
    grid = {key: list(getattr(volume, key)) for key in ("spacing", "origin", "direction")}
    return {"path": str(path), "name": path.stem, **grid}


def test_a_finished_run_has_its_objects_and_provenance(
    a_worker: Any, a_head: Volume, a_run: SegmentationRun, request_of: Callable[..., Message]
) -> None:
    finished = a_worker.ask("segment", **request_of(a_head))[-1]
    numbers = {one["number"]: one.pop("boxes") for one in finished["objects"] if one["number"] is not None}
    assert finished["objects"] == [one.as_fields() for one in a_run.measure()]
    assert numbers == {number: one["boxes"] for number, one in enumerate(finished["tracklets"], 1)}
    assert finished["provenance"] == a_run.result().provenance


def test_dice_by_segment_and_by_object_of_the_last_run(
    a_worker: Any, a_head: Volume, a_run: SegmentationRun, request_of: Callable[..., Message], tmp_path: Path
) -> None:
    a_worker.ask("segment", **request_of(a_head))
    labels = a_run.result().labels
    objects = a_run.object_numbers()
    reference = np.where(objects == 1, labels, 0).astype(np.uint8)
    fields = {
        "labels": on_disk(a_head, labels, tmp_path / "found.npy"),
        "segments": [{"value": 1, "name": "Glioma"}],
        "reference": on_disk(a_head, reference, tmp_path / "truth.npy"),
        "reference_segments": [{"value": 1, "name": "Truth"}],
    }
    compared = a_worker.ask("evaluate", **fields)[-1]
    assert compared["event"] == "evaluated", compared
    one, whole = np.count_nonzero(reference), np.count_nonzero(labels)
    assert compared["dice"] == {"Glioma": pytest.approx(2 * one / (one + whole))}
    assert compared["objects"]["1"] == 1.0 and set(compared["objects"].values()) == {1.0, 0.0}
    assert compared["missed"] == 0


def test_a_reference_on_another_grid_is_refused_in_one_sentence(
    a_worker: Any, a_head: Volume, a_run: SegmentationRun, tmp_path: Path
) -> None:
    labels = a_run.result().labels
    other = on_disk(a_head, labels, tmp_path / "truth.npy") | {"spacing": [1.0, 1.0, 7.0]}
    fields = {
        "labels": on_disk(a_head, labels, tmp_path / "found.npy"),
        "segments": [{"value": 1, "name": "Glioma"}],
        "reference": other,
        "reference_segments": [{"value": 1, "name": "Glioma"}],
    }
    answer = a_worker.ask("evaluate", **fields)[-1]
    assert answer["event"] == "error" and answer["user_error"] and "different grids" in answer["message"]


def test_labels_of_a_viewer_become_a_dicom_seg(a_worker: Any, tmp_path: Path) -> None:
    hd = pytest.importorskip("highdicom", reason="highdicom is not installed")
    folder = dicom.slices(tmp_path / "series", dicom.voxels())
    volume = read_volume(folder)
    # A viewer may have the slices in the other order.
    labels = np.zeros(volume.shape, np.uint8)
    labels[1:3, 2:5, 1:4] = 2
    turned = Volume(
        labels[::-1], volume.spacing, volume.world((5, 0, 0)), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    )
    fields = {
        "labels": on_disk(turned, turned.array, tmp_path / "found.npy"),
        "segments": [{"value": 2, "name": "Lesion", "color": [1, 0, 0], "terminology": ""}],
        "files": [str(path) for path in sorted(folder.iterdir())],
        "output": str(tmp_path / "seg.dcm"),
    }
    answer = a_worker.ask("export", **fields)[-1]
    assert answer["event"] == "exported", answer
    found = hd.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)
    places = {tuple(np.round((found.affine @ [*at, 1])[:3], 2) + 0.0) for at in np.argwhere(found.array)}
    assert places == {tuple(np.round(volume.world(tuple(at)), 2) + 0.0) for at in np.argwhere(labels)}
    wrong = a_worker.ask("export", **fields | {"output": str(tmp_path / "seg.nii")})[-1]
    assert wrong["event"] == "error" and ".dcm" in wrong["message"]
