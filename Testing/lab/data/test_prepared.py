"""A prepared dataset is read whole, or refused with what is wrong with it."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prepared_files import LABELS, write_prepared

from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume
from automedsam_lab.data.prepared.dataset import PreparedDataset
from automedsam_lab.data.prepared.native_cases import NativeReader

Coco = dict[str, list[dict[str, Any]]]


@pytest.fixture
def a_dataset(tmp_path: Path) -> Path:
    return write_prepared(tmp_path / "drawn")


def change_annotations(folder: Path, part: str, change: Callable[[Coco], object]) -> None:
    """Changes a part's annotations, and the manifest's hash with them."""
    path = folder / "annotations" / f"{part}.json"
    coco = json.loads(path.read_text())
    change(coco)
    path.write_text(json.dumps(coco))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    change_manifest(folder, lambda manifest: manifest["files"].update({f"annotations/{part}.json": digest}))


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_images_boxes_and_masks_agree(a_dataset: Path) -> None:
    dataset = PreparedDataset.open(a_dataset)
    assert dataset.labels == LABELS and dataset.size == 64
    images = dataset.part("train")
    assert {image.patient for image in images} == {"a", "b"} and len(images) == 12
    boxed = 0
    for image in images:
        mask = image.read_mask()
        assert mask is not None and image.read().shape == mask.shape == (64, 64)
        assert {box.label for box in image.boxes} == set(np.unique(mask)) - {0}
        for box in image.boxes:
            rows, columns = np.nonzero(mask == box.label)
            edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            # Half a native pixel, in letterboxed ones.
            assert np.abs(np.subtract(box.corners, edges)).max() <= image.letterbox.scale / 2 + 1e-6
            boxed += 1
    assert boxed > 12


def test_cases_are_the_native_volumes(a_dataset: Path) -> None:
    (case,) = PreparedDataset.open(a_dataset).cases("val")
    assert (case.name, case.patient, case.modality) == ("c", "c", "MR")
    assert case.label is not None
    volume, labels = read_volume(case.images[0]), read_volume(case.label)
    assert volume.same_grid(labels) and set(np.unique(labels.array)) == {0, 1, 2}


def test_dataset_with_boxes_alone_has_no_masks(tmp_path: Path) -> None:
    image = PreparedDataset.open(write_prepared(tmp_path / "drawn", masks=False)).part("test")[0]
    assert image.mask_path is None and image.read_mask() is None


def test_archive_that_was_moved_is_found_where_it_is_now(a_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "drawn-root").rename(tmp_path / "moved")
    with pytest.raises(AutoMedSAMError, match=r"c\.nii\.gz of the dataset .* is not there; give the folder"):
        PreparedDataset.open(a_dataset).cases("val")
    assert PreparedDataset.open(a_dataset, root=tmp_path / "moved").cases("val")[0].images[0].is_file()


def test_patient_in_two_parts_is_refused(a_dataset: Path) -> None:
    change_annotations(a_dataset, "val", lambda coco: coco["images"][0].update(patient="a"))
    with pytest.raises(AutoMedSAMError, match=r"The patient a of .* is in two parts, train and val"):
        PreparedDataset.open(a_dataset)


def test_case_in_another_part_than_its_patient_is_refused(a_dataset: Path) -> None:
    change_manifest(a_dataset, lambda manifest: manifest["cases"][0].update(part="test"))
    with pytest.raises(AutoMedSAMError, match=r"The patient a of .* is in two parts"):
        PreparedDataset.open(a_dataset)


@pytest.mark.parametrize("gone", ["images/train/a-003.png", "masks/val/c-001.png", "annotations/test.json"])
def test_missing_file_is_named(a_dataset: Path, gone: str) -> None:
    (a_dataset / gone).unlink()
    with pytest.raises(AutoMedSAMError, match=gone.replace(".", r"\.")):
        PreparedDataset.open(a_dataset)


def test_changed_annotations_are_refused(a_dataset: Path) -> None:
    path = a_dataset / "annotations" / "train.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(AutoMedSAMError, match=r"train\.json is not the file that the manifest tells of"):
        PreparedDataset.open(a_dataset)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda coco: coco["annotations"][0].update(category_id=7), "image or label that is not there"),
        (lambda coco: coco["annotations"][0].update(bbox=[3, 3, 0, 5]), "without area"),
        (lambda coco: coco["annotations"][0].update(bbox=[60, 3, 10, 5]), "reaches beyond its 64 x 64 pixels"),
        (lambda coco: coco["images"][0].update(id=2), "one id to two images"),
        (lambda coco: coco["images"][0].update(file_name="../a.png"), "outside its folder"),
        (lambda coco: coco["images"][0].pop("letterbox"), "no sound letterbox"),
        (lambda coco: coco["images"][0].pop("patient"), "KeyError"),
    ],
)
def test_garbled_annotation_is_refused(a_dataset: Path, change: Callable[[Coco], object], message: str) -> None:
    change_annotations(a_dataset, "train", change)
    with pytest.raises(AutoMedSAMError, match=message):
        PreparedDataset.open(a_dataset)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: manifest.update(schema=2), "has schema 2, and this version reads 1"),
        (lambda manifest: manifest.pop("cases"), "the field cases is missing"),
        (
            lambda manifest: manifest.update(labels=["lesion"]),
            "the field labels is .*: input should be a valid dictionary",
        ),
        (lambda manifest: manifest["cases"][1].pop("patient"), r"the field cases\[1\]\.patient is missing"),
        (lambda manifest: manifest["cases"][2].update(part="dev"), r"the field cases\[2\]\.part is \"dev\""),
        (lambda manifest: manifest["patients"].update(dev=["e"]), "there are no splits dev, only train, val, test"),
        (lambda manifest: manifest.update(size=0), "the field size is 0: input should be greater than 0"),
    ],
)
def test_manifest_of_another_form_is_refused(
    a_dataset: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    change_manifest(a_dataset, change)
    with pytest.raises(AutoMedSAMError, match=message):
        PreparedDataset.open(a_dataset)


def test_folder_that_is_no_dataset_names_the_command_that_writes_one(tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="give a folder that 'automedsam-lab prepare' wrote"):
        PreparedDataset.open(tmp_path)


def test_damaged_image_is_named(a_dataset: Path) -> None:
    image = PreparedDataset.open(a_dataset).part("train")[0]
    image.path.write_bytes(image.path.read_bytes()[:60])
    with pytest.raises(AutoMedSAMError, match=r"a-000\.png cannot be read as an image"):
        image.read()


def test_unknown_split_is_refused(a_dataset: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="no split 'holdout'; choose one of train, val, test"):
        PreparedDataset.open(a_dataset).part("holdout")


def test_old_name_of_the_validation_split_is_accepted(a_dataset: Path) -> None:
    dataset = PreparedDataset.open(a_dataset)
    assert dataset.part("validation") == dataset.part("val") and dataset.cases("validation") == dataset.cases("val")


def test_native_slices_are_those_of_the_volume(a_dataset: Path) -> None:
    dataset = PreparedDataset.open(a_dataset)
    (case,) = dataset.cases("val")
    read = NativeReader(dataset).read(case)
    assert read is not None and case.label is not None
    stored = read_volume(case.label).array
    # Every slice of the drawing holds an object; the engine's frames run along its axes.
    assert read.frames.shape == read.labels.shape == stored.shape
    assert np.array_equal(read.labels, stored)


def test_picture_s_mask_has_the_dataset_s_label_values(tmp_path: Path) -> None:
    dataset = PreparedDataset.open(write_prepared(tmp_path / "drawn", pictures=True))
    read = NativeReader(dataset).read(dataset.cases("test")[0])
    assert read is not None and read.frames.shape == read.labels.shape == (1, 40, 32)
    assert set(np.unique(read.labels)) == {0, 1}
