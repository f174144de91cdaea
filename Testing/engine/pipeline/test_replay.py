"""A result can be made again from its own file, and what differs is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam import (
    AutoMedSAMError,
    EditedMask,
    Point,
    SegmentationRun,
    Tracklet,
    Volume,
    replay,
    write_segmentation,
)
from automedsam.bundle import Bundle
from automedsam.core.fingerprint import volume_sha256
from automedsam.io.seg_nrrd import PROVENANCE_FIELD

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def image(a_head: Volume, tmp_path: Path) -> Path:
    path = tmp_path / "head.nrrd"
    sitk.WriteImage(a_head.to_image(a_head.array), str(path))
    return path


@pytest.fixture
def result(a_run: SegmentationRun, tmp_path: Path) -> Path:
    path = tmp_path / "lesions.seg.nrrd"
    write_segmentation(a_run.result(), path)
    return path


def change(path: Path, **fields: object) -> None:
    """Changes some of what the file says of itself."""
    image = sitk.ReadImage(str(path))
    known = json.loads(image.GetMetaData(PROVENANCE_FIELD)) | fields
    image.SetMetaData(PROVENANCE_FIELD, json.dumps({key: value for key, value in known.items() if value is not None}))
    sitk.WriteImage(image, str(path), useCompression=True)


def test_the_voxels_are_the_same(result: Path, image: Path, command: Command) -> None:
    code, output, _ = command("replay", result, "--input", image)
    assert code == 0 and output.startswith("The same: all ")
    assert "\n  " not in output


def test_a_corrected_result_is_made_from_its_boxes(
    a_head: Volume, a_run: SegmentationRun, glioma: Bundle, image: Path, tmp_path: Path
) -> None:
    run = SegmentationRun(a_head, glioma, engine=a_run.engine)
    first = a_run.tracklets[0]
    shorter = replace(first, boxes={at: box for at, box in first.boxes.items() if at >= first.seed})
    list(run.propagate([shorter, *a_run.tracklets[2:]]))
    corrected = run.result()
    assert not np.array_equal(corrected.labels, a_run.result().labels)
    write_segmentation(corrected, tmp_path / "corrected.seg.nrrd")
    found = replay(tmp_path / "corrected.seg.nrrd", [image])
    assert found.same and not found.differences and found.labeled == np.count_nonzero(corrected.labels)


def test_a_result_of_points_and_edited_masks_is_made_from_them(
    a_head: Volume, a_run: SegmentationRun, glioma: Bundle, image: Path, tmp_path: Path
) -> None:
    run = SegmentationRun(a_head, glioma, engine=a_run.engine)
    box = a_run.tracklets[0].boxes[seed := a_run.tracklets[0].seed]
    edited = np.zeros(run.slices.shape[1:], np.bool_)
    edited[int(box.y) + 2 : int(box.y) + 12, int(box.x) + 2 : int(box.x) + 9] = True
    center = Point(box.x + box.width / 2, box.y + box.height / 2)
    marked = Tracklet(
        1,
        {seed: box},
        seed,
        points={seed: (center, Point(box.x, box.y, positive=False))},
        masks={seed + 2: EditedMask(edited)},
        empty=frozenset({seed - 4}),
        limits=(seed - 6, seed + 6),
    )
    list(run.propagate([marked]))
    write_segmentation(run.result(), tmp_path / "marked.seg.nrrd")
    found = replay(tmp_path / "marked.seg.nrrd", [image])
    assert found.same and not found.differences and found.labeled > edited.sum()


def test_another_image_is_named_with_the_voxels_that_differ(
    result: Path, a_head: Volume, tmp_path: Path, command: Command
) -> None:
    other = tmp_path / "other.nrrd"
    array = a_head.array.copy()
    array[:, 60:150, 60:150] //= 3
    sitk.WriteImage(a_head.to_image(array), str(other))
    code, output, _ = command("replay", result, "--input", other)
    assert code == 1 and output.startswith("Different: ")
    assert "SHA-256 of the input's voxels and grid" in output


def test_a_result_that_slicer_saved_is_replayed(result: Path, image: Path) -> None:
    """Slicer keeps the tags of segments, numbers labels as it likes, and drops the fields of others."""
    written = sitk.ReadImage(str(result))
    known = {"date": "2026-01-01", "run": "r", "label": 1, "replay": json.loads(written.GetMetaData(PROVENANCE_FIELD))}
    saved = sitk.Cast(written * 7, sitk.sitkUInt8)
    for key in written.GetMetaDataKeys():
        if key.startswith("Segment"):
            saved.SetMetaData(key, written.GetMetaData(key))
    tags = written.GetMetaData("Segment0_Tags") + f"AutoMedSAM.Provenance:{quote(json.dumps(known), safe='')}|"
    saved.SetMetaData("Segment0_Tags", tags)
    saved.SetMetaData("Segment0_LabelValue", "7")
    sitk.WriteImage(saved, str(result), useCompression=True)
    found = replay(result, [image])
    assert found.same and found.labeled and not found.differences


def test_edited_voxels_are_counted(result: Path, image: Path) -> None:
    written = sitk.ReadImage(str(result))
    written[0, 0, 0], written[1, 0, 0] = 1, 1
    sitk.WriteImage(written, str(result), useCompression=True)
    found = replay(result, [image])
    assert found.differing == 2 and not found.same and not found.differences


def test_another_model_version_or_thread_count_is_named(result: Path, image: Path) -> None:
    change(result, model_hash="0" * 64, threads=99, onnxruntime="0.1")
    found = replay(result, [image])
    assert found.same
    text = " ".join(found.differences)
    assert "SHA-256 of the model's manifest: 000000000000..., now" in text
    assert "number of threads: 99, now" in text and "ONNX Runtime: 0.1, now" in text


@pytest.mark.parametrize("field", ["input_sha256", "slices", "plane", "model"])
def test_a_file_that_does_not_say_how_it_was_made_is_refused(result: Path, image: Path, field: str) -> None:
    change(result, **{field: None})
    with pytest.raises(AutoMedSAMError, match="cannot be replayed"):
        replay(result, [image])


def test_an_image_of_another_grid_is_refused(result: Path, a_head: Volume, tmp_path: Path) -> None:
    other = tmp_path / "other.nrrd"
    sitk.WriteImage(a_head.to_image(a_head.array)[:, :, 2:], str(other))
    moved = sitk.ReadImage(str(other))
    moved.SetOrigin((0.3, 0.4, 0.5))
    sitk.WriteImage(moved, str(other))
    with pytest.raises(AutoMedSAMError, match="different grids"):
        replay(result, [other])


def test_the_hash_names_voxels_and_grid_and_not_the_file(a_volume: Volume) -> None:
    known = volume_sha256(a_volume)
    assert volume_sha256(replace(a_volume, name="b", array=np.asfortranarray(a_volume.array))) == known
    assert volume_sha256(replace(a_volume, array=a_volume.array.astype(">i2"))) == known
    changed = a_volume.array.copy()
    changed[0, 0, 0] += 1
    for other in (replace(a_volume, array=changed), replace(a_volume, spacing=(0.7, 0.35, 4.5))):
        assert volume_sha256(other) != known


def test_the_table_of_a_run_has_its_objects(
    a_run: SegmentationRun, image: Path, tmp_path: Path, command: Command
) -> None:
    table = tmp_path / "objects.csv"
    code, _, error = command("segment", image, "-o", tmp_path / "out.seg.nrrd", "--table", table)
    assert code == 0, error
    rows = [line.split(",") for line in table.read_text(encoding="utf-8").splitlines()]
    assert rows[0][:4] == ["level", "label", "segment", "object"]
    assert sum(row[0] == "object" for row in rows) == len(a_run.tracklets)
    labels = a_run.result().labels
    segment, *objects = a_run.measure()
    assert segment.voxels == sum(one.voxels for one in objects) == np.count_nonzero(labels)
    for one in objects:
        assert one.agreement is not None and 0 <= one.agreement <= 1
        assert one.slices is not None and one.slices[0] <= (one.diameter_slice or 0) <= one.slices[1]
    low = {one.index for one in a_run.confidence() if one.confidence < 0.5}
    assert set(segment.doubtful) == low


@pytest.mark.parametrize("option", ["--table", "-o"])
def test_a_table_that_cannot_be_written_is_refused_first(
    image: Path, tmp_path: Path, command: Command, option: str
) -> None:
    missing = tmp_path / "missing" / "objects.csv"
    words = ["segment", image, "-o", tmp_path / "out.nii.gz"] if option == "--table" else ["measure", image]
    code, _, error = command(*words, option, missing)
    assert code == 2 and "does not exist" in error
    assert not (tmp_path / "out.nii.gz").exists()
