"""What is wrong with an archive is named with its path; skipped or refused as told, and counted."""

from pathlib import Path

import archive_files
import numpy as np
import prepared_checks as checks
import pytest
import SimpleITK as sitk
from PIL import Image

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.preparation import PreparationSummary
from automedsam_lab.data.prepare.run import Settings, prepare
from automedsam_lab.data.readers.base import ReaderOptions
from automedsam_lab.data.readers.registry import DatasetFormat


def skipped_and_refused(
    layout: DatasetFormat, root: Path, tmp_path: Path, **choices: object
) -> tuple[PreparationSummary, str]:
    """The summary of a run that skips, and the error of one that stops."""
    summary = prepare(Settings(layout, root, tmp_path / "skip", ReaderOptions(**choices)))
    checks.check(tmp_path / "skip")
    listed = checks.manifest_of(tmp_path / "skip")["skipped"]
    assert len(listed) == summary.skips and {flaw.reason for flaw in summary.skipped} <= {s["reason"] for s in listed}
    with pytest.raises(AutoMedSAMError) as refused:
        prepare(Settings(layout, root, tmp_path / "stop", ReaderOptions(**choices), stop=True))
    assert not (tmp_path / "stop" / "manifest.json").exists()
    return summary, str(refused.value)


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [cut, flip_a_byte, lambda path: path.write_bytes(b"not a picture")])
def test_one_corrupt_png_among_many_is_skipped_by_name_and_the_rest_is_made(tmp_path: Path, damage) -> None:
    root = archive_files.chestxray14(tmp_path / "a", [f"{n:08d}_000.png,Mass,1,2,300,400" for n in range(1, 31)])
    for path in root.glob("*/images/*.png"):
        Image.fromarray(archive_files.still((64, 64))).save(path)
    bad = root / "images_001" / "images" / "00000017_000.png"
    damage(bad)
    summary, refusal = skipped_and_refused(DatasetFormat.CHESTXRAY14, root, tmp_path)
    assert summary.skips == 1 and str(bad) in summary.skipped[0].reason and str(bad) in refusal
    assert summary.made == 29 and len(checks.images_of(tmp_path / "skip")) == 29


@pytest.mark.parametrize(
    "row",
    [
        ",00000002_000.png,Mass,1,2,300,400",
        "00000002_000.png,1,2,300,400,,",
        "00000002_000.png,Mass,7,1,2,300,400",
        "00000002_000.png,Mass,900,2,300,400",
        "00000002_000.png,Mass,1,2,nan,400",
        "00000002_000.png,Mass,1,2,0,400",
        "00000002_000.png,Mass,1,2",
        "00000002_000.png,Tumour,1,2,300,400",
    ],
)
def test_a_row_whose_columns_have_moved_is_named_by_its_line(tmp_path: Path, row: str) -> None:
    rows = ["00000001_000.png,Mass,1,2,300,400", row, "00000003_000.png,Mass,1,2,300,400"]
    root = archive_files.chestxray14(tmp_path / "a", rows)
    summary, refusal = skipped_and_refused(DatasetFormat.CHESTXRAY14, root, tmp_path)
    assert summary.skips == 1 and summary.made == 2
    assert f"Line 3 of {root / 'BBox_List_2017.csv'}" in summary.skipped[0].reason and "Line 3 of" in refusal


def test_shifted_columns_are_detected_by_the_patient_s_number(tmp_path: Path) -> None:
    root = archive_files.chestxray14(tmp_path / "a", ["00000001_000.png,Mass,1,2,300,400"])
    entries = ["00000001_000.png,0,1,57,M,PA,2682,2749,0.143,0.143,"]
    (root / "Data_Entry_2017.csv").write_text("\n".join([archive_files.ENTRY_HEADER, *entries]), encoding="utf-8")
    summary, _ = skipped_and_refused(DatasetFormat.CHESTXRAY14, root, tmp_path, unboxed="all")
    assert summary.skips == 1 and "Line 2 of" in summary.skipped[0].reason


def test_a_box_list_without_its_columns_is_refused(tmp_path: Path) -> None:
    root = archive_files.chestxray14(tmp_path / "a", ["00000001_000.png,Mass,1,2,300,400"], header="a,b,c")
    with pytest.raises(AutoMedSAMError, match=r"BBox_List_2017\.csv has no column Image Index"):
        prepare(Settings(DatasetFormat.CHESTXRAY14, root, tmp_path / "o"))


def test_a_listed_radiograph_that_is_not_there_is_named(tmp_path: Path) -> None:
    rows = [f"{n:08d}_000.png,Mass,1,2,300,400" for n in range(1, 5)]
    root = archive_files.chestxray14(tmp_path / "a", rows, missing="00000002_000.png")
    summary, refusal = skipped_and_refused(DatasetFormat.CHESTXRAY14, root, tmp_path)
    assert summary.made == 3 and "00000002_000.png" in summary.skipped[0].reason and "00000002_000.png" in refusal


def test_a_box_list_of_none_of_the_radiographs_there_explains_what_to_do(tmp_path: Path) -> None:
    rows = [f"{n:08d}_000.png,Mass,1,2,300,400" for n in range(1, 3)]
    root = archive_files.chestxray14(tmp_path / "a", rows)
    for path in root.glob("*/images/*.png"):
        path.rename(path.with_name(path.name.replace("_000", "_001")))
    with pytest.raises(AutoMedSAMError, match=r"None of the 2 radiographs .* \(2 other .*--unboxed all"):
        prepare(Settings(DatasetFormat.CHESTXRAY14, root, tmp_path / "o"))


def test_where_nothing_can_be_used_every_reason_is_counted_and_the_folder_is_free_again(tmp_path: Path) -> None:
    root = archive_files.brats(tmp_path / "a", 2020, cases=5)
    for path in root.glob("*/*_flair.nii.gz"):
        path.unlink()
    with pytest.raises(AutoMedSAMError, match=r"5 skipped.*_001 has no FLAIR.*name another --modality.*And 2 more"):
        prepare(Settings(DatasetFormat.BRATS, root, tmp_path / "o"))
    assert not any((tmp_path / "o").iterdir())
    assert prepare(Settings(DatasetFormat.BRATS, root, tmp_path / "o", ReaderOptions(modality="T1c"))).made == 5
    checks.check(tmp_path / "o")


def test_label_values_outside_the_scheme_are_named_with_the_file(tmp_path: Path) -> None:
    root = archive_files.brats(tmp_path / "a", 2020, cases=3)
    label = root / "BraTS20_Training_002" / "BraTS20_Training_002_seg.nii.gz"
    sitk.WriteImage(
        archive_files.volume(archive_files.blobs((8, 24, 20), (1, 3)), (-1, 0, 0, 0, -1, 0, 0, 0, 1)), str(label)
    )
    summary, refusal = skipped_and_refused(DatasetFormat.BRATS, root, tmp_path)
    assert summary.skips == 1 and refusal == summary.skipped[0].reason
    assert f"The label {label} holds 3, but its scheme knows 1, 2, 4" in refusal


def test_a_label_on_another_grid_than_its_image_is_named(tmp_path: Path) -> None:
    root = archive_files.brats(tmp_path / "a", 2021, cases=3)
    label = root / "BraTS2021_00001" / "BraTS2021_00001_seg.nii.gz"
    sitk.WriteImage(archive_files.volume(archive_files.blobs((8, 24, 20), (1,))), str(label))
    summary, refusal = skipped_and_refused(DatasetFormat.BRATS, root, tmp_path)
    assert summary.skips == 1 and f"The label {label} does not lie on the grid of" in refusal


def test_a_mask_of_another_size_than_its_image_is_named(tmp_path: Path) -> None:
    root = archive_files.kvasir(tmp_path / "a", images=4)
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(root / "masks" / "cju0002.jpg")
    summary, refusal = skipped_and_refused(DatasetFormat.KVASIR, root, tmp_path)
    assert summary.skips == 1 and f"The mask {root / 'masks' / 'cju0002.jpg'} has 10 x 10 pixels" in refusal


def test_an_image_without_its_mask_is_named(tmp_path: Path) -> None:
    root = archive_files.kvasir(tmp_path / "a", images=4)
    (root / "masks" / "cju0001.jpg").unlink()
    summary, refusal = skipped_and_refused(DatasetFormat.KVASIR, root, tmp_path)
    assert summary.skips == 1 and "cju0001.jpg has no mask" in refusal


def test_a_case_without_the_modality_or_without_a_label_is_named(tmp_path: Path) -> None:
    root = archive_files.brats(tmp_path / "a", 2020, cases=4)
    (root / "BraTS20_Training_001" / "BraTS20_Training_001_flair.nii.gz").unlink()
    (root / "BraTS20_Training_002" / "BraTS20_Training_002_seg.nii.gz").unlink()
    summary, _ = skipped_and_refused(DatasetFormat.BRATS, root, tmp_path)
    reasons = " ".join(flaw.reason for flaw in summary.skipped)
    assert summary.skips == 2 and "no FLAIR image of BraTS20_Training_001" in reasons
    assert "no label of BraTS20_Training_002" in reasons


def test_a_decathlon_entry_that_leads_out_of_the_archive_or_to_nothing_is_named(tmp_path: Path) -> None:
    root = archive_files.decathlon_brats(tmp_path / "a", cases=4)
    text = (root / "dataset.json").read_text(encoding="utf-8")
    text = text.replace("./imagesTr/BRATS_001", "../secret/BRATS_001").replace(
        "./labelsTr/BRATS_002", "./labelsTr/gone"
    )
    (root / "dataset.json").write_text(text, encoding="utf-8")
    summary, _ = skipped_and_refused(DatasetFormat.DECATHLON, root, tmp_path)
    reasons = [flaw.reason for flaw in summary.skipped]
    assert summary.made == 2 and "no image with its label" in reasons[0] and "gone.nii.gz does not exist" in reasons[1]


def test_names_without_a_year_need_one_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    named = archive_files.brats(tmp_path / "named", 2020, cases=1)
    plain = tmp_path / "plain" / "case_1"
    plain.mkdir(parents=True)
    for part in ("flair", "seg"):
        next(named.glob(f"*/*_{part}.nii.gz")).rename(plain / f"{part}.nii.gz")
    with pytest.raises(AutoMedSAMError, match=r"tell no year.*declare --year"):
        prepare(Settings(DatasetFormat.BRATS, tmp_path / "plain", tmp_path / "o"))
    assert (
        prepare(Settings(DatasetFormat.BRATS, tmp_path / "plain", tmp_path / "p", ReaderOptions(year=2020))).made == 1
    )
    other = archive_files.brats(tmp_path / "other", 2023, cases=1)
    with pytest.raises(AutoMedSAMError, match="is named as of 2023, but 2020 was declared"):
        prepare(Settings(DatasetFormat.BRATS, other, tmp_path / "q", ReaderOptions(year=2020)))
    with pytest.raises(AutoMedSAMError, match="labels of BraTS 2031 are not known"):
        prepare(Settings(DatasetFormat.BRATS, other, tmp_path / "r", ReaderOptions(year=2031)))


def test_a_damaged_volume_and_a_damaged_npz_are_named(tmp_path: Path) -> None:
    brats = archive_files.brats(tmp_path / "brats", 2020, cases=3)
    bad = next(brats.glob("*/*002_flair.nii.gz"))
    cut(bad)
    (tmp_path / "1").mkdir()
    summary, _ = skipped_and_refused(DatasetFormat.BRATS, brats, tmp_path / "1")
    assert summary.skips == 1 and str(bad) in summary.skipped[0].reason
    npz = archive_files.npz(tmp_path / "npz")
    bad = sorted(npz.iterdir())[0]
    cut(bad)
    other = sorted(npz.iterdir())[1]
    np.savez(other, imgs=np.zeros((3, 4, 5), np.uint8), gts=np.zeros((3, 4, 6), np.uint8), spacing=np.ones(3))
    (tmp_path / "2").mkdir()
    summary, _ = skipped_and_refused(DatasetFormat.NPZ, npz, tmp_path / "2")
    reasons = [flaw.reason for flaw in summary.skipped]
    assert len(reasons) == 2 and str(bad) in reasons[0] and str(other) in reasons[1]


def test_a_video_that_breaks_off_is_named(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="a video is written with OpenCV")
    pytest.importorskip("av", reason="videos need PyAV, of the extra video")
    frames = archive_files.moving_square(count=40)[0]
    archive_files.video(tmp_path / "a" / "good.avi", frames)
    cut(archive_files.video(tmp_path / "a" / "bad.avi", frames))
    summary, refusal = skipped_and_refused(DatasetFormat.VIDEOS, tmp_path / "a", tmp_path)
    assert summary.skips == 1 and summary.made == 1 and str(tmp_path / "a" / "bad.avi") in refusal


def test_an_index_that_breaks_off_is_refused(tmp_path: Path) -> None:
    root = archive_files.sa_med2d(tmp_path / "a")
    cut(root / "SAMed2D_v1.json")
    with pytest.raises(AutoMedSAMError, match=r"SAMed2D_v1\.json is not a JSON index"):
        prepare(Settings(DatasetFormat.SA_MED2D, root, tmp_path / "o"))


def test_a_missing_mask_of_an_indexed_image_is_named(tmp_path: Path) -> None:
    root = archive_files.sa_med2d(tmp_path / "a")
    gone = sorted((root / "masks").glob("*0002_001.png"))[0]
    gone.unlink()
    summary, refusal = skipped_and_refused(DatasetFormat.SA_MED2D, root, tmp_path)
    assert summary.skips == 1 and str(gone) in refusal


@pytest.mark.parametrize("layout", list(DatasetFormat))
def test_a_folder_of_no_such_layout_is_refused_in_a_sentence(tmp_path: Path, layout: DatasetFormat) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(AutoMedSAMError, match=str(tmp_path / "a")):
        prepare(Settings(layout, tmp_path / "a", tmp_path / "o"))
    with pytest.raises(AutoMedSAMError, match="does not exist"):
        prepare(Settings(layout, tmp_path / "gone", tmp_path / "p"))


def test_two_entries_of_one_name_are_not_mixed_up(tmp_path: Path) -> None:
    root = archive_files.npz(tmp_path / "a")
    (root / "more").mkdir()
    twin = sorted(root.glob("*.npz"))[0]
    (root / "more" / twin.name).write_bytes(twin.read_bytes())
    summary, refusal = skipped_and_refused(DatasetFormat.NPZ, root, tmp_path)
    assert summary.skips == 1 and f"{root / 'more' / twin.name} is called {twin.stem}, as another entry is" in refusal
