"""The real samples through 640 x 640 and back: boxes and masks to half a pixel, volumes voxel for voxel."""

import gzip
import json
from collections import Counter
from pathlib import Path

import archive_files
import numpy as np
import prepared_checks as checks
import pytest
import SimpleITK as sitk
from PIL import Image

from automedsam.core.volume import Plane
from automedsam.io.volume_reader import read_volume
from automedsam_lab.data.preparation import PreparationSummary
from automedsam_lab.data.prepare.run import Settings, prepare
from automedsam_lab.data.prepare.split import read_parts
from automedsam_lab.data.readers.base import ReaderOptions, SkippedEntry
from automedsam_lab.data.readers.chestxray14 import ChestXray14
from automedsam_lab.data.readers.npz import read_npz
from automedsam_lab.data.readers.registry import DatasetFormat
from automedsam_lab.data.sets.image_sets import nih_cxr14


def linked(root: Path, *files: Path) -> Path:
    """A folder of links to real files, none of which may be copied."""
    root.mkdir(parents=True, exist_ok=True)
    for file in files:
        (root / file.name).symlink_to(file)
    return root


def run(layout: DatasetFormat, root: Path, out: Path, **choices: object) -> PreparationSummary:
    summary = prepare(Settings(layout, root, out, ReaderOptions(**choices), least_side=0.0))
    checks.check(out)
    return summary


def check_volumes(out: Path, root: Path) -> list[dict]:
    """Every case's labels come back on its own grid, voxel for voxel."""
    cases = checks.manifest_of(out)["cases"]
    for case in cases:
        volume = read_volume(root / case["images"][0])
        stored = sitk.GetArrayFromImage(sitk.ReadImage(str(root / case["label"])))
        wanted = np.zeros(stored.shape, np.uint8)
        for value, meant in case["values"].items():
            wanted[stored == int(value)] = meant
        assert wanted.any()
        np.testing.assert_array_equal(checks.restored(out, case["case"], volume), wanted)
    return cases


def test_five_kvasir_images(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "kvasir_seg"
    assert run(DatasetFormat.KVASIR, root, tmp_path / "o").made == 5
    given = json.loads((root / "kavsir_bboxes.json").read_text(encoding="utf-8"))
    for image in checks.images_of(tmp_path / "o").values():
        name = Path(image["source"])
        mask = np.asarray(Image.open(root / "masks" / name.name).convert("L")) > 127
        checks.check_mask(tmp_path / "o", image, mask.astype(np.uint8))
        boxes = [box["native_bbox"] for box in image["boxes"]]
        for box in given[name.stem]["bbox"]:
            corners = [box[key] for key in ("xmin", "ymin", "xmax", "ymax")]
            if corners[2] - corners[0] < 4:
                # A sliver that the archive lists beside a polyp, where its mask shows nothing.
                continue
            apart = [np.abs(np.subtract(corners, (x, y, x + w, y + h))).max() for x, y, w, h in boxes]
            assert min(apart) <= 2, "the archive's own boxes are those of its masks"


def test_the_real_sliver_of_kvasir_is_dropped_by_default(shared_data: Path, tmp_path: Path) -> None:
    prepare(Settings(DatasetFormat.KVASIR, shared_data / "kvasir_seg", tmp_path / "o"))
    checks.check(tmp_path / "o")
    assert checks.manifest_of(tmp_path / "o")["left_out"]["slivers"] == 1


def test_five_sa_med2d_images(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "sam_med2d_demo"
    summary = run(DatasetFormat.SA_MED2D, root, tmp_path / "o")
    assert summary.made == 4 and summary.skips == 1 and "amos_0507_31.png" in summary.skipped[0].reason
    manifest = checks.manifest_of(tmp_path / "o")
    values = {name: int(value) for value, name in manifest["labels"].items()}
    assert {"aorta", "inferior_vena_cava", "rib_left_9", "vertebrae_T9", "hip_right"} <= values.keys()
    for image in checks.images_of(tmp_path / "o").values():
        stem = Path(image["source"]).stem
        masks = []
        for path in (root / "masks").glob(f"{stem}_*.png"):
            kind = path.stem.removeprefix(f"{stem}_").rpartition("_")[0]
            masks.append((np.asarray(Image.open(path)) > 0, values[kind]))
        native = np.zeros((image["native"]["height"], image["native"]["width"]), np.uint8)
        for mask, value in sorted(masks, key=lambda entry: -entry[0].sum()):
            native[mask] = value
        checks.check_mask(tmp_path / "o", image, native)
        assert {box["category_id"] for box in image["boxes"]} == {value for _, value in masks}


def test_four_npz_lesions(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "ct_lesion_npz"
    assert run(DatasetFormat.NPZ, root, tmp_path / "o", empty=0.0).made == 4
    for case in checks.manifest_of(tmp_path / "o")["cases"]:
        volume, labels = read_npz(root / case["images"][0])
        np.testing.assert_array_equal(checks.restored(tmp_path / "o", case["case"], volume), labels)
        assert case["patient"] == case["case"][:16]


def test_every_real_box_of_chestxray14_is_read(shared_data: Path, tmp_path: Path) -> None:
    """984 boxes on 880 images, the findings as often as NIH has them; the images are stood in for."""
    with gzip.open(shared_data / "nih_cxr14" / "BBox_List_2017.csv.gz", "rt", encoding="utf-8") as stream:
        header, *rows = stream.read().splitlines()
    assert header == archive_files.BOX_HEADER
    root = archive_files.chestxray14(tmp_path / "a", rows, side=8)
    archive = ChestXray14(root, ReaderOptions())
    sources = list(archive.sources())
    assert len(sources) == 880
    found = [archive.labels[box[4]] for source in sources for box in source.boxes]
    counts = {name: found.count(name) for name in archive.labels.values()}
    assert counts == {
        "Atelectasis": 180,
        "Cardiomegaly": 146,
        "Effusion": 153,
        "Infiltration": 123,
        "Mass": 85,
        "Nodule": 79,
        "Pneumonia": 120,
        "Pneumothorax": 98,
    }


def test_two_radiographs_with_real_boxes_scaled_to_their_512_pixels(shared_data: Path, tmp_path: Path) -> None:
    real = shared_data / "nih_cxr14"
    with gzip.open(real / "BBox_List_2017.csv.gz", "rt", encoding="utf-8") as stream:
        rows = {line.split(",")[0]: line.split(",") for line in stream}
    # The two images have no boxes of their own, and take the places of two that have.
    places = {"00013118_008.png": "00000001_000.png", "00014716_007.png": "00027426_000.png"}
    root = linked(tmp_path / "a", real / "BBox_List_2017.csv.gz")
    (root / "images_001" / "images").mkdir(parents=True)
    for place, image in places.items():
        (root / "images_001" / "images" / place).symlink_to(real / image)
    summary = run(DatasetFormat.CHESTXRAY14, root, tmp_path / "o")
    assert summary.made == 2 and summary.skips == 878
    for image in checks.images_of(tmp_path / "o").values():
        assert image["native"] == {"width": 512, "height": 512} and image["letterbox"]["scale"] == 1.25
        wanted = [float(cell) / 2 for cell in rows[image["file_name"]][2:6]]
        assert any(box["native_bbox"] == pytest.approx(wanted, abs=0.001) for box in image["boxes"])
        assert checks.pixels(tmp_path / "o", image).ndim == 2


def test_patients_that_select_or_test_the_chest_x_ray_model_were_not_seen_by_the_segmenter(shared_data: Path) -> None:
    archive = ChestXray14(shared_data / "nih_cxr14", ReaderOptions())
    sources = [source for source in archive.sources() if not isinstance(source, SkippedEntry)]
    parts = read_parts("chest-xray")
    assert len(sources) == 478 and {source.patient for source in sources} == parts.keys()
    distilled_on = {image.patient.removeprefix("nih ") for image in nih_cxr14(shared_data, lambda _: True)}
    assert {parts[patient] for patient in distilled_on} == {"train"}
    counts = Counter(parts.values())
    assert counts == {"train": 282, "val": 80, "test": 40}


def test_radiographs_are_taken_from_the_real_table_without_boxes(shared_data: Path, tmp_path: Path) -> None:
    real = shared_data / "nih_cxr14"
    names = ("BBox_List_2017.csv.gz", "Data_Entry_2017_v2020.csv.gz", "00000001_000.png", "00027426_000.png")
    root = linked(tmp_path / "a", *(real / name for name in names))
    summary = run(DatasetFormat.CHESTXRAY14, root, tmp_path / "o", unboxed="all")
    assert summary.made == 2 and sorted(checks.images_of(tmp_path / "o")) == ["00000001_000.png", "00027426_000.png"]


@pytest.mark.parametrize("plane", [Plane.SAGITTAL, Plane.CORONAL])
def test_hippocampi_of_the_decathlon(shared_data: Path, tmp_path: Path, plane: Plane) -> None:
    real = shared_data / "msd_task04_hippocampus"
    for folder in ("imagesTr", "labelsTr"):
        linked(
            tmp_path / "a" / folder,
            *(real / folder / f"hippocampus_{number}.nii.gz" for number in ("001", "003", "394")),
        )
    run(DatasetFormat.DECATHLON, tmp_path / "a", tmp_path / "o", plane=plane, empty=0.0)
    assert len(check_volumes(tmp_path / "o", tmp_path / "a")) == 3
    assert checks.manifest_of(tmp_path / "o")["labels"] == {"1": "Anterior", "2": "Posterior"}


def test_a_glioma_of_2015(shared_data: Path, tmp_path: Path) -> None:
    case = shared_data / "brats2015" / "brats_2013_pat0006_1"
    root = linked(
        tmp_path / "a" / case.name, case / "Flair_subtrMeanDivStd.nii.gz", case / "OTMultiClass.nii.gz"
    ).parent
    run(DatasetFormat.BRATS, root, tmp_path / "o", target="labels", empty=0.0)
    (found,) = check_volumes(tmp_path / "o", root)
    assert found["scheme"] == "brats_2012_2016" and found["patient"] == "brats_2013_pat0006"


def test_gliomas_of_2017_one_of_a_year_that_must_be_declared(shared_data: Path, tmp_path: Path) -> None:
    real = shared_data / "brats2017"
    summary = run(DatasetFormat.BRATS, real, tmp_path / "t1c", modality="T1c", empty=0.0)
    assert summary.made == 1 and summary.skips == 1 and "unnamed_flair" in summary.skipped[0].reason
    (found,) = check_volumes(tmp_path / "t1c", real)
    assert found["scheme"] == "brats_2017_cbica_4c" and found["values"] == {"1": 1, "2": 1, "3": 1}
    undeclared = linked(tmp_path / "a" / "case", *(real / "unnamed_flair").iterdir()).parent
    run(DatasetFormat.BRATS, undeclared, tmp_path / "flair", year=2017, empty=0.0)
    (found,) = check_volumes(tmp_path / "flair", undeclared)
    assert found["scheme"] == "brats_2017_2021" and found["values"] == {"1": 1, "2": 1, "4": 1}


def test_a_glioma_of_2023_under_a_drawn_label(shared_data: Path, tmp_path: Path) -> None:
    """The real case came without a label: one is drawn on its grid."""
    case = shared_data / "brats2023" / "BraTS-GLI-00001-000"
    root = linked(tmp_path / "a" / case.name, *case.iterdir()).parent
    image = sitk.ReadImage(str(case / f"{case.name}-t2f.nii.gz"))
    labels = np.zeros(image.GetSize()[::-1], np.uint8)
    labels[60:80, 90:120, 100:125], labels[65:75, 95:110, 104:118] = 2, 3
    drawn = sitk.GetImageFromArray(labels)
    drawn.CopyInformation(image)
    sitk.WriteImage(drawn, str(root / case.name / f"{case.name}-seg.nii.gz"))
    run(DatasetFormat.BRATS, root, tmp_path / "o", target="labels", empty=0.0)
    (found,) = check_volumes(tmp_path / "o", root)
    assert found["scheme"] == "brats_2023" and found["patient"] == "BraTS-GLI-00001"
