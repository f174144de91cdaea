"""Prompts from a file mean the same point of the patient in every coordinate system; a wrong one ends in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam import read_prompts
from automedsam.bundle import Bundle, load_bundle
from automedsam.core.boxes import Tracklet
from automedsam.core.ijk_boxes import IjkBoxConverter
from automedsam.core.prompts import Point
from automedsam.core.volume import Plane, Volume
from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume

if TYPE_CHECKING:
    from Testing.engine.conftest import Command

# An oblique grid, another whose columns run against the patient's axes, and one whose axes are permuted.
GRIDS = {
    "oblique": (0.9397, -0.342, 0.0, 0.342, 0.9397, 0.0, 0.0, 0.0, 1.0),
    "negated": (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
    "permuted": (0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
}
VOXEL = (12, 9, 5)
"""i, j, k"""


@pytest.fixture(params=GRIDS)
def a_grid(request: pytest.FixtureRequest) -> Volume:
    array = np.random.default_rng(0).integers(0, 255, (14, 22, 30)).astype(np.uint8)
    return Volume(array, (0.8, 1.1, 2.5), (-20.0, 31.0, 4.0), GRIDS[request.param], "head")


def written(folder: Path, objects: list[dict[str, Any]], coordinates: str = "ijk") -> Path:
    path = folder / "prompts.json"
    path.write_text(json.dumps({"schema": 1, "coordinates": coordinates, "objects": objects}), encoding="utf-8")
    return path


def in_mm(volume: Volume, ijk: tuple[float, float, float], coordinates: str) -> list[float]:
    x, y, z = volume.world((ijk[2], ijk[1], ijk[0]))
    return [-x, -y, z] if coordinates == "ras" else [x, y, z]


@pytest.mark.parametrize("plane", list(Plane))
@pytest.mark.parametrize("coordinates", ["ijk", "lps", "ras"])
def test_positions_are_the_same_voxel_in_every_system(
    a_grid: Volume, glioma: Bundle, tmp_path: Path, plane: Plane, coordinates: str
) -> None:
    grid = IjkBoxConverter(a_grid, plane)
    # The corners of a box on the slice of the point, from the voxel before it to the second one after it.
    ends = [[index - 1 for index in VOXEL], [index + 2 for index in VOXEL]]
    for end in ends:
        end[2 - grid.axis] = VOXEL[2 - grid.axis]
    at = lambda ijk: list(map(float, ijk)) if coordinates == "ijk" else in_mm(a_grid, tuple(ijk), coordinates)  # noqa: E731
    objects = [{"points": [{"position": at(VOXEL)}], "boxes": [{"corners": [at(ends[1]), at(ends[0])]}]}]
    found = read_prompts(written(tmp_path, objects, coordinates), a_grid, glioma, plane)[0]
    marked = np.zeros(a_grid.shape, np.uint8)
    marked[VOXEL[::-1]] = 1
    frames = Volume(marked, a_grid.spacing, a_grid.origin, a_grid.direction).to_frames(plane)[0]
    frame, row, column = np.argwhere(frames)[0]
    point = found.points[int(frame)][0]
    assert (point.x, point.y, point.positive) == pytest.approx((column + 0.5, row + 0.5, True), abs=1e-4)
    assert list(found.boxes) == [frame] and found.seed == frame
    bounds = grid.to_ijk_bounds(int(frame), found.boxes[int(frame)])
    for axis in {0, 1, 2} - {2 - grid.axis}:
        middle = VOXEL[axis]
        assert bounds[2 * axis : 2 * axis + 2] == pytest.approx([middle - 0.5, middle + 2.5], abs=1e-4)


@pytest.mark.parametrize("plane", list(Plane))
def test_masks_empty_slices_and_limits(a_grid: Volume, glioma: Bundle, tmp_path: Path, plane: Plane) -> None:
    edited = np.zeros(a_grid.shape, np.uint8)
    edited[4:6, 7:11, 10:15] = 3
    edited[6, 6, 9] = 1
    sitk.WriteImage(a_grid.to_image(edited), str(tmp_path / "edited.nii.gz"))
    last = a_grid.shape[a_grid.slice_axis(plane)[0]] - 1
    objects = [{"label": 1, "masks": [{"path": "edited.nii.gz", "value": 3}], "empty": [1], "limits": [0, last]}]
    found = read_prompts(written(tmp_path, objects), a_grid, glioma, plane)[0]
    frames = Volume(edited, a_grid.spacing, a_grid.origin, a_grid.direction).to_frames(plane)[0] == 3
    assert sorted(found.masks) == np.flatnonzero(frames.any((1, 2))).tolist()
    for frame, mask in found.masks.items():
        np.testing.assert_array_equal(mask.pixels, frames[frame])
    grid = IjkBoxConverter(a_grid, plane)
    assert found.empty == {grid.slice_index(1)} and found.limits == (0, last)


def test_slicers_fiducials_are_positive_points(a_grid: Volume, glioma: Bundle, tmp_path: Path) -> None:
    for system, coordinates in (("LPS", "lps"), ("RAS", "ras")):
        points = [{"position": in_mm(a_grid, VOXEL, coordinates), "positionStatus": "defined", "label": "F-1"}]
        points.append({"position": [0, 0, 0], "positionStatus": "undefined"})
        markups = [{"type": "Fiducial", "coordinateSystem": system, "controlPoints": points}]
        path = tmp_path / "F.mrk.json"
        path.write_text(json.dumps({"@schema": "markups", "markups": markups}), encoding="utf-8")
        (found,) = read_prompts(path, a_grid, glioma, Plane.AXIAL)
        ((frame, (point,)),) = found.points.items()
        expected = IjkBoxConverter(a_grid, Plane.AXIAL).point(VOXEL, positive=True)
        assert frame == expected[0] and (point.x, point.y) == pytest.approx((expected[1].x, expected[1].y), abs=1e-4)


BOX = {"corners": [[3, 3, 5], [9, 9, 5]]}
WRONG = {
    "nothing": ("", "the file is empty"),
    "no JSON": ("{", "not JSON"),
    "a list": ("[]", "not a JSON object"),
    "NaN": ('{"schema": 1, "coordinates": "ijk", "objects": [{"points": [{"position": [NaN, 1, 1]}]}]}', "NaN"),
    "another schema": ('{"schema": 2, "coordinates": "ijk", "objects": []}', "schema"),
    "no objects": ([], "mark at least one object"),
    "no prompt": ([{"label": 1}], "no box, no mask and no positive point"),
    "only negative": ([{"points": [{"position": [3, 3, 5], "positive": False}]}], "no positive point"),
    "a point outside": ([{"points": [{"position": [3, 3, 50]}]}], "outside the volume"),
    "a point far outside": ([{"points": [{"position": [1e300, 3, 5]}]}], "outside the volume"),
    "a box outside": ([{"boxes": [{"corners": [[50, 50, 5], [60, 60, 5]]}]}], "outside the volume"),
    "a box's slice outside": ([{"boxes": [{"corners": [[3, 3, 50], [9, 9, 50]]}]}], "outside the volume"),
    "a box without area": ([{"boxes": [{"corners": [[3, 3, 5], [3, 9, 5]]}]}], "no area"),
    "a box across slices": ([{"boxes": [{"corners": [[3, 3, 5], [9, 9, 6]]}]}], "not on one"),
    "two boxes": ([{"boxes": [BOX, BOX]}], "two boxes on slice 5"),
    "an unknown label": ([{"label": 9, "boxes": [BOX]}], "no label 9"),
    "an unknown segment": ([{"segment": "Spleen", "boxes": [BOX]}], "Glioma, whole tumour"),
    "label and segment": ([{"label": 1, "segment": "x", "boxes": [BOX]}], "keep one"),
    "an empty slice outside": ([{"boxes": [BOX], "empty": [99]}], "not in the volume"),
    "a prompt on an empty slice": ([{"boxes": [BOX], "empty": [5]}], "listed as empty"),
    "a prompt beyond the limits": ([{"boxes": [BOX], "limits": [6, 9]}], "not within its limits"),
    "limits upside down": ([{"boxes": [BOX], "limits": [9, 2]}], "limits"),
    "a mask that is not there": ([{"masks": [{"path": "gone.nii.gz"}]}], "does not exist"),
    "a mask on another grid": ([{"masks": [{"path": "other.nii.gz"}]}], "does not lie on the grid"),
    "a mask without the value": ([{"masks": [{"path": "same.nii.gz", "value": 7}]}], "no voxels of 7"),
    "a mask without the slice": ([{"masks": [{"path": "same.nii.gz", "slices": [2]}]}], "no voxels on slice 2"),
    "a misspelled field": ([{"box": [BOX]}], "'box'"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_ends_in_one_sentence_and_exit_code_2(
    command: Command, a_straight_file: Path, glioma: Bundle, tmp_path: Path, kind: str
) -> None:
    content, words = WRONG[kind]
    volume = read_volume(a_straight_file)
    labels = np.zeros(volume.shape, np.uint8)
    labels[5, 3:6, 3:6] = 1
    sitk.WriteImage(volume.to_image(labels), str(tmp_path / "same.nii.gz"))
    sitk.WriteImage(sitk.GetImageFromArray(labels[4:7]), str(tmp_path / "other.nii.gz"))
    path = written(tmp_path, content) if isinstance(content, list) else tmp_path / "prompts.json"
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    with pytest.raises(AutoMedSAMError, match=words):
        read_prompts(path, volume, glioma)
    output = tmp_path / "out.nii.gz"
    code, _, errors = command("segment", str(a_straight_file), "--prompts", str(path), "-o", str(output))
    assert code == 2 and words in " ".join(errors.split()) and len(errors.strip().splitlines()) == 1
    assert not output.exists()


@pytest.fixture
def a_straight_file(tmp_path: Path) -> Path:
    k, j, i = np.indices((12, 40, 40))
    ball = (k - 5) ** 2 * 4 + (j - 20) ** 2 + (i - 18) ** 2 < 64
    array = (np.random.default_rng(0).normal(100, 5, ball.shape) + 120 * ball).astype(np.float32)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1, 1, 2))
    sitk.WriteImage(image, str(tmp_path / "flair.nii.gz"))
    return tmp_path / "flair.nii.gz"


def test_the_command_segments_what_the_file_marks(command: Command, a_straight_file: Path, tmp_path: Path) -> None:
    objects = [{"segment": "Glioma, whole tumour", "points": [{"position": [18, 20, 5]}], "limits": [4, 6]}]
    output = tmp_path / "out.nii.gz"
    prompts = str(written(tmp_path, objects))
    code, _, errors = command("segment", str(a_straight_file), "--prompts", prompts, "-o", str(output))
    assert code == 0, errors
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(output)))
    assert labels[5, 20, 18] == 1 and not labels[:4].any() and not labels[7:].any()


def test_a_threshold_beside_prompts_is_refused(command: Command, a_straight_file: Path, tmp_path: Path) -> None:
    prompts = str(written(tmp_path, [{"boxes": [BOX]}]))
    output = str(tmp_path / "out.nii.gz")
    arguments = ("segment", str(a_straight_file), "--prompts", prompts, "--threshold", "0.5", "-o", output)
    code, _, errors = command(*arguments)
    assert code == 2 and "omit the threshold" in " ".join(errors.split())


def test_prompts_on_an_image_and_on_a_part_of_a_video(command: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    j, i = np.indices((64, 64))
    disk = (j - 30) ** 2 + (i - 28) ** 2 < 100
    (tmp_path / "clip").mkdir()
    for number in range(6):
        gray = (rng.normal(80, 4, disk.shape) + 120 * disk).clip(0, 255).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(gray), str(tmp_path / "clip" / f"{number:03d}.png"))
    image, output = tmp_path / "clip" / "000.png", tmp_path / "mask.png"
    prompts = str(written(tmp_path, [{"points": [{"position": [28, 30, 0]}]}]))
    code, _, errors = command("segment", str(image), "--prompts", prompts, "-o", str(output))
    assert code == 0, errors
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(output)))[30, 28]
    # Frames are counted as --frames counts them: from the first of the video.
    prompts = str(written(tmp_path, [{"points": [{"position": [28, 30, 3]}], "limits": [3, 4]}]))
    folder = tmp_path / "masks"
    arguments = ("segment", str(tmp_path / "clip"), "--prompts", prompts, "--frames", "2:5", "-o", str(folder))
    code, _, errors = command(*arguments)
    assert code == 0, errors
    masks = [sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in sorted(folder.rglob("*.png"))]
    assert [bool(mask.any()) for mask in masks] == [False, True, True, False]


def test_points_in_python_off_the_slice_are_refused(glioma: Bundle, a_straight_file: Path) -> None:
    from automedsam import segment

    for points in ({5: (Point(400, 3),)}, {90: (Point(3, 3),)}):
        with pytest.raises(AutoMedSAMError, match="delete it"):
            segment(read_volume(a_straight_file), load_bundle("glioma"), prompts=[Tracklet(1, seed=5, points=points)])
