"""Every layout, on generated archives with the published names, through 640 x 640 and back."""

from pathlib import Path

import archive_files
import numpy as np
import prepared_checks as checks
import pytest
import SimpleITK as sitk
from PIL import Image

from automedsam.core.volume import Plane
from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume
from automedsam_lab.data.prepare.run import Settings, prepare
from automedsam_lab.data.readers.base import ReaderOptions
from automedsam_lab.data.readers.images import as_gray
from automedsam_lab.data.readers.npz import read_npz
from automedsam_lab.data.readers.registry import DatasetFormat

pytest.importorskip("PIL", reason="pictures need Pillow, of the extra train")


def run(layout: DatasetFormat, root: Path, out: Path, least_side: float = 0.0, **choices: object) -> dict:
    prepare(Settings(layout, root, out, ReaderOptions(**choices), least_side=least_side))
    return checks.check(out)


def labels_of(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_kvasir_polyps_come_back_through_640(tmp_path: Path) -> None:
    root = archive_files.kvasir(tmp_path / "a")
    images = run(DatasetFormat.KVASIR, root, tmp_path / "o")
    assert len(images) == 10 and all(len(image["boxes"]) == 1 for image in images.values())
    for image in images.values():
        mask = np.asarray(Image.open(root / "masks" / Path(image["source"]).name).convert("L")) > 127
        checks.check_mask(tmp_path / "o", image, mask.astype(np.uint8))
        rows, columns = np.nonzero(mask)
        box = [columns.min(), rows.min(), columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min()]
        assert image["boxes"][0]["native_bbox"] == box
        assert checks.pixels(tmp_path / "o", image).shape == (640, 640, 3)


@pytest.mark.parametrize("side", [1300, 705])
def test_a_picture_larger_than_640_comes_back_to_half_a_pixel(tmp_path: Path, side: int) -> None:
    root = archive_files.kvasir(tmp_path / "a", images=3, side=side)
    images = run(DatasetFormat.KVASIR, root, tmp_path / "o")
    for image in images.values():
        mask = np.asarray(Image.open(root / "masks" / Path(image["source"]).name).convert("L")) > 127
        checks.check_mask(tmp_path / "o", image, mask.astype(np.uint8))


def test_radiographs_boxes_are_scaled_to_the_copy_s_size(tmp_path: Path) -> None:
    rows = [f"{patient:08d}_000.png,Infiltrate,100,200,300,400,,," for patient in range(1, 6)]
    rows.append("00000001_000.png,Mass,1000.5,1000.5,23.5,23.5,,,")
    root = archive_files.chestxray14(tmp_path / "a", rows, side=512)
    images = run(DatasetFormat.CHESTXRAY14, root, tmp_path / "o")
    assert len(images) == 5 and not (tmp_path / "o" / "masks").exists()
    boxes = {box["category_id"]: box for box in images["00000001_000.png"]["boxes"]}
    assert boxes[4]["native_bbox"] == [50, 100, 150, 200] and boxes[4]["bbox"] == [62.5, 125, 187.5, 250]
    assert boxes[5]["native_bbox"] == [500.25, 500.25, 11.75, 11.75]
    names = checks.manifest_of(tmp_path / "o")["labels"]
    assert (names["4"], names["5"]) == ("Infiltration", "Mass")


def test_jpeg_copies_of_radiographs_are_read(tmp_path: Path) -> None:
    rows = [f"{patient:08d}_000.png,Nodule,100,200,300,400,,," for patient in range(1, 4)]
    root = archive_files.chestxray14(tmp_path / "a", rows, side=512)
    (root / "images_512").mkdir()
    for path in root.glob("images_00?/images/*.png"):
        Image.open(path).save(root / "images_512" / f"{path.stem}.jpg")
        path.unlink()
    images = run(DatasetFormat.CHESTXRAY14, root, tmp_path / "o")
    assert len(images) == 3
    assert all(image["boxes"][0]["native_bbox"] == [50, 100, 150, 200] for image in images.values())
    assert {Path(image["source"]).parent.name for image in images.values()} == {"images_512"}


@pytest.mark.parametrize(
    "header",
    [
        archive_files.BOX_HEADER,
        'Image Index,Finding Label,"Bbox [x,y,w,h]",,,',
        "n,Image Index,Finding Label,Bbox [x,y,w,h]",
    ],
)
def test_the_box_list_is_read_whether_or_not_its_header_broke_at_its_commas(tmp_path: Path, header: str) -> None:
    lead = "7," if header.startswith("n,") else ""
    rows = [f"{lead}{patient:08d}_000.png,Mass,100,200,300,400" for patient in range(1, 4)]
    root = archive_files.chestxray14(tmp_path / "a", rows, side=1024, header=header)
    images = run(DatasetFormat.CHESTXRAY14, root, tmp_path / "o")
    assert [image["boxes"][0]["native_bbox"] for image in images.values()] == [[100, 200, 300, 400]] * 3


def test_radiographs_without_a_finding_are_taken_where_they_are_wanted(tmp_path: Path) -> None:
    root = archive_files.chestxray14(tmp_path / "a", ["00000001_000.png,Mass,1,2,300,400,,,"])
    for name in ("00000001_001.png", "00000002_000.png", "00000003_000.png"):
        Image.fromarray(np.full((64, 64), 90, np.uint8)).save(root / "images_001" / "images" / name)
    entries = ["00000001_000.png,Mass,0,1,57,M,PA,2682,2749,0.143,0.143"]
    entries += ["00000001_001.png,No Finding,1,1,57,M,PA,2682,2749,0.143,0.143"]
    entries += ["00000002_000.png,No Finding,0,2,57,M,PA,2682,2749,0.143,0.143"]
    entries += ["00000003_000.png,Hernia,0,3,57,M,PA,2682,2749,0.143,0.143"]
    entries += ["00000004_000.png,No Finding,0,4,57,M,PA,2682,2749,0.143,0.143"]
    (root / "Data_Entry_2017.csv").write_text("\n".join([archive_files.ENTRY_HEADER, *entries]), encoding="utf-8")
    images = run(DatasetFormat.CHESTXRAY14, root, tmp_path / "o", unboxed="no finding")
    assert sorted(images) == ["00000001_000.png", "00000001_001.png", "00000002_000.png"]
    assert images["00000001_000.png"]["part"] == images["00000001_001.png"]["part"], "one patient"
    assert sorted(run(DatasetFormat.CHESTXRAY14, root, tmp_path / "p", unboxed="all")) == [
        *sorted(images),
        "00000003_000.png",
    ]


@pytest.mark.parametrize("year", sorted(archive_files.BRATS_NAMES))
def test_brats_of_each_year_comes_back_voxel_for_voxel(tmp_path: Path, year: int) -> None:
    root = archive_files.brats(tmp_path / "a", year)
    out = tmp_path / "o"
    run(DatasetFormat.BRATS, root, out, target="labels")
    for case in checks.manifest_of(out)["cases"]:
        volume = read_volume(root / case["images"][0])
        assert case["scheme"] == ("brats_2023" if year == 2023 else "brats_2017_2021") and case["modality"] == "FLAIR"
        np.testing.assert_array_equal(checks.restored(out, case["case"], volume), labels_of(root / case["label"]))
    enhancing = "3" if year == 2023 else "4"
    assert checks.manifest_of(out)["labels"][enhancing] == "enhancing tumour"


def test_brats_to_2016_distinguishes_grades_and_examinations(tmp_path: Path) -> None:
    root = archive_files.brats_2015(tmp_path / "a")
    images = run(DatasetFormat.BRATS, root, tmp_path / "o", target="labels", modality="T1c")
    cases = {case["case"]: case for case in checks.manifest_of(tmp_path / "o")["cases"]}
    assert set(cases) == {
        "HGG_brats_2013_pat0001_1",
        "HGG_brats_tcia_pat105_1",
        "HGG_brats_tcia_pat105_2",
        "LGG_brats_2013_pat0001_1",
    }
    assert len({case["patient"] for case in cases.values()}) == 3
    assert all(case["scheme"] == "brats_2012_2016" and "MR_T1c" in case["images"][0] for case in cases.values())
    assert {box["category_id"] for image in images.values() for box in image["boxes"]} == {1, 2, 3, 4}


def test_a_region_brings_years_together_that_number_it_differently(tmp_path: Path) -> None:
    for year in (2020, 2023):
        archive_files.brats(tmp_path / "a" / str(year), year, cases=2)
    run(DatasetFormat.BRATS, tmp_path / "a", tmp_path / "o", target="enhancing tumour")
    manifest = checks.manifest_of(tmp_path / "o")
    assert manifest["labels"] == {"1": "enhancing tumour"} and manifest["scheme"] is None
    for case in manifest["cases"]:
        assert case["values"] == ({"1": 0, "2": 0, "3": 1} if "GLI" in case["case"] else {"1": 0, "2": 0, "4": 1})
    with pytest.raises(AutoMedSAMError, match="mixes years"):
        run(DatasetFormat.BRATS, tmp_path / "a", tmp_path / "p", target="labels")


def test_a_full_size_brats_volume_comes_back_voxel_for_voxel(tmp_path: Path) -> None:
    root = archive_files.brats(tmp_path / "a", 2021, cases=1, shape=(155, 240, 240))
    for path in root.glob("*/*_t[12]*"):
        path.unlink()
    out = tmp_path / "o"
    run(DatasetFormat.BRATS, root, out, target="labels", empty=0.0)
    volume, labels = (read_volume(next(root.glob(f"*/*_{part}.nii.gz"))) for part in ("flair", "seg"))
    np.testing.assert_array_equal(checks.restored(out, "BraTS2021_00001", volume), labels.array)


def test_decathlon_task01_reads_the_channel_and_the_labels_by_name(tmp_path: Path) -> None:
    root = archive_files.decathlon_brats(tmp_path / "a")
    out = tmp_path / "o"
    run(DatasetFormat.DECATHLON, root, out, modality="T1gd")
    manifest = checks.manifest_of(out)
    assert manifest["labels"] == {"1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}
    assert manifest["licence"] == "CC-BY-SA 4.0" and manifest["cases"][0]["modality"] == "t1gd"
    for case in manifest["cases"]:
        volume = read_volume(root / case["label"], check_voxels=False)
        np.testing.assert_array_equal(checks.restored(out, case["case"], volume), volume.array)


def test_decathlon_ct_is_shown_in_medsam_s_window_unless_another_is_given(tmp_path: Path) -> None:
    root = archive_files.decathlon_brats(tmp_path / "a", cases=1)
    text = (root / "dataset.json").read_text(encoding="utf-8")
    (root / "dataset.json").write_text(text.replace('"0": "FLAIR"', '"0": "CT"'), encoding="utf-8")
    for window, at in ((None, (-160, 240)), ((0.0, 100.0), (0, 100))):
        out = tmp_path / f"{at[0]}"
        images = run(DatasetFormat.DECATHLON, root, out, window=window, empty=0.0)
        image = next(iter(images.values()))
        volume = read_volume(root / "imagesTr" / "BRATS_001.nii.gz")
        native = volume.to_frames(Plane.AXIAL)[0, image["slice"]].astype(float)
        wanted = np.rint((np.clip(native[:2, :2], *at) - at[0]) * 255 / (at[1] - at[0]))
        corner = checks.pixels(out, image)[image["letterbox"]["top"], image["letterbox"]["left"]]
        assert corner == wanted[0, 0]


def test_sa_med2d_keeps_each_instance_and_names_classes_across_datasets(tmp_path: Path) -> None:
    root = archive_files.sa_med2d(tmp_path / "a")
    out = tmp_path / "o"
    images = run(DatasetFormat.SA_MED2D, root, out)
    manifest = checks.manifest_of(out)
    assert manifest["labels"] == {"1": "kidney", "2": "liver"}
    assert len(images) == 8 and sum(part["patients"] for part in manifest["counts"].values()) == 4
    for image in images.values():
        found = sorted((box["category_id"], *box["native_bbox"]) for box in image["boxes"])
        assert found == [(1, 40, 5, 8, 8), (1, 60, 30, 12, 9), (2, 10, 20, 30, 25)]
        native = np.zeros((60, 90), np.uint8)
        native[20:45, 10:40], native[5:13, 40:48], native[30:39, 60:72] = 2, 1, 1
        checks.check_mask(out, image, native)
    assert manifest["cases"][0]["modality"] == "CT" and len(manifest["cases"][0]["masks"]) == 3


def test_npz_slices_follow_their_direction_and_come_back(tmp_path: Path) -> None:
    root = archive_files.npz(tmp_path / "a")
    out = tmp_path / "o"
    run(DatasetFormat.NPZ, root, out)
    manifest = checks.manifest_of(out)
    assert len(manifest["cases"]) == 4 and len({case["patient"] for case in manifest["cases"]}) == 3
    for case in manifest["cases"]:
        volume, labels = read_npz(root / case["images"][0])
        np.testing.assert_array_equal(checks.restored(out, case["case"], volume), labels)


@pytest.mark.parametrize(("name", "codec"), [("clip.avi", "MJPG"), ("clip.mp4", "mp4v")])
def test_frames_of_a_video_come_with_the_masks_beside_it(tmp_path: Path, name: str, codec: str) -> None:
    pytest.importorskip("cv2", reason="a video is written with OpenCV")
    pytest.importorskip("av", reason="videos need PyAV, of the extra video")
    frames, masks = archive_files.moving_square()
    path = archive_files.video(tmp_path / "a" / "patient_7" / name, frames, codec)
    folder = path.with_name("clip_masks")
    folder.mkdir()
    for index in (0, 2, 5):
        Image.fromarray(masks[index]).save(folder / f"{index:06d}.png")
    images = run(DatasetFormat.VIDEOS, tmp_path / "a", tmp_path / "o")
    assert sorted(image["slice"] for image in images.values()) == [0, 2, 5]
    for image in images.values():
        checks.check_mask(tmp_path / "o", image, masks[image["slice"]] // 255)
        assert image["boxes"][0]["native_bbox"] == [8 + 4 * image["slice"], 16, 16, 16]
        assert image["patient"] == "patient_7"
        red, green, blue = checks.pixels(tmp_path / "o", image)[320, 10 * (16 + 4 * image["slice"])]
        assert red > green + 80 and red > blue + 80, "channels are in the order red, green, blue"


@pytest.mark.parametrize(("red", "shape"), [(0, (40, 50)), (1, (40, 50, 3))])
def test_a_picture_saved_as_colour_is_grey_unless_a_single_pixel_is_not(red: int, shape: tuple[int, ...]) -> None:
    pixels = np.repeat(archive_files.still((40, 50))[..., None] // 2, 3, axis=2)
    pixels[33, 47, 0] += red
    np.testing.assert_array_equal(as_gray(pixels), pixels if red else pixels[..., 0])
    assert as_gray(pixels).shape == shape


def test_every_second_frame_of_a_video_without_masks(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="a video is written with OpenCV")
    pytest.importorskip("av", reason="videos need PyAV, of the extra video")
    archive_files.video(tmp_path / "a" / "clip.avi", archive_files.moving_square()[0])
    images = run(DatasetFormat.VIDEOS, tmp_path / "a", tmp_path / "o", every=2)
    assert sorted(image["slice"] for image in images.values()) == [0, 2, 4]
    assert not any(image["boxes"] for image in images.values()) and not (tmp_path / "o" / "masks").exists()


def test_multi_frame_dicom_is_a_video(tmp_path: Path) -> None:
    frames = archive_files.moving_square()[0][..., 0]
    (tmp_path / "a").mkdir()
    image = sitk.GetImageFromArray(frames)
    image.SetMetaData("0008|0060", "US")
    sitk.WriteImage(image, str(tmp_path / "a" / "loop.dcm"))
    images = run(DatasetFormat.VIDEOS, tmp_path / "a", tmp_path / "o")
    assert len(images) == len(frames)
    for entry in images.values():
        seen = checks.pixels(tmp_path / "o", entry)
        native = frames[entry["slice"]]
        # The square's place at ten times the size, below the free rows.
        assert (
            seen[entry["letterbox"]["top"] + 240, 10 * (16 + 4 * entry["slice"])] == native[24, 16 + 4 * entry["slice"]]
        )


def test_slices_are_those_that_the_engine_cuts_and_shows(tmp_path: Path) -> None:
    from automedsam.core.intensity import to_uint8

    root = archive_files.brats(tmp_path / "a", 2020, cases=1, shape=(8, 640, 640))
    images = run(DatasetFormat.BRATS, root, tmp_path / "o", empty=0.0)
    volume = read_volume(next(root.glob("*/*_flair.nii.gz")))
    frames = to_uint8(volume.to_frames(Plane.AXIAL)[0])
    for image in images.values():
        np.testing.assert_array_equal(checks.pixels(tmp_path / "o", image), frames[image["slice"]])


def test_empty_slices_are_kept_in_the_share_that_was_asked_for(tmp_path: Path) -> None:
    root = archive_files.brats(tmp_path / "a", 2020, cases=1, shape=(40, 24, 20))
    for share, wanted in ((0.0, 0), (0.5, 10), (99.0, 20)):
        images = run(DatasetFormat.BRATS, root, tmp_path / f"o{share}", empty=share)
        assert sum(not image["boxes"] for image in images.values()) == wanted
        assert sum(bool(image["boxes"]) for image in images.values()) == 20


def test_slivers_are_dropped_and_counted_and_what_shows_nothing_else_is_left_out(tmp_path: Path) -> None:
    root = tmp_path / "a"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for name, boxes in {"both": ((5, 5, 30, 30), (99, 40, 1, 20)), "sliver": ((0, 99, 50, 1),)}.items():
        mask = np.zeros((320, 320), np.uint8)
        for x, y, w, h in boxes:
            mask[y : y + h, x : x + w] = 255
        Image.fromarray(archive_files.still((320, 320))).save(root / "images" / f"{name}.png")
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")
    images = run(DatasetFormat.KVASIR, root, tmp_path / "o", least_side=4.0)
    assert list(images) == ["both.png"] and len(images["both.png"]["boxes"]) == 1
    assert checks.manifest_of(tmp_path / "o")["left_out"] == {"slivers": 2, "pictures_of_slivers_alone": 1}
    # The truth itself is not changed: the mask keeps what has no box.
    assert checks.pixels(tmp_path / "o", images["both.png"], "masks")[100, 199] == 1


def test_a_patient_is_found_in_the_name_by_an_expression(tmp_path: Path) -> None:
    root = archive_files.kvasir(tmp_path / "a")
    run(DatasetFormat.KVASIR, root, tmp_path / "o", patient=r"^(cju\d{2})")
    assert {case["patient"] for case in checks.manifest_of(tmp_path / "o")["cases"]} == {"cju00"}
    with pytest.raises(AutoMedSAMError, match="finds no patient in cju0000"):
        run(DatasetFormat.KVASIR, root, tmp_path / "p", patient=r"^(case)")
