"""A volume that is unlike the model's training images is reported before anybody trusts the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.bundle import Bundle, load_bundle
from automedsam.contract.manifest import check_manifest
from automedsam.core.events import InputChecked
from automedsam.core.modality_names import modalities_in, modalities_of
from automedsam.core.volume import Volume
from automedsam.io.volume_reader import read_volume
from automedsam.pipeline.confidence import LOW_CONFIDENCE
from automedsam.pipeline.input_check import check_input
from automedsam.pipeline.run import SegmentationRun

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SIDES = (155, 200, 200)


def ellipsoid(scale: float = 1.0) -> np.ndarray:
    """Where a brain of 130 x 160 x 140 mm lies in the middle of `SIDES`, scaled."""
    k, j, i = np.ogrid[: SIDES[0], : SIDES[1], : SIDES[2]]
    radii = [scale * half for half in (65, 80, 70)]
    middle = [side / 2 for side in SIDES]
    distances = [((at - center) / radius) ** 2 for at, center, radius in zip((k, j, i), middle, radii, strict=True)]
    return np.asarray(sum(distances) < 1)


def brain(rng: np.random.Generator) -> np.ndarray:
    return np.asarray(np.where(ellipsoid(), rng.normal(120, 12, SIDES), 0).clip(0, 255), np.float32)


def head(rng: np.random.Generator) -> np.ndarray:
    """The brain in a dark skull and a bright scalp, with air that is not quite empty."""
    array = rng.uniform(0, 6, SIDES).astype(np.float32)
    array[ellipsoid(1.2)] = 150
    array[ellipsoid(1.12)] = 10
    inside = ellipsoid()
    array[inside] = rng.normal(120, 12, SIDES)[inside]
    return array


def volume(array: np.ndarray, name: str = "flair", spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Volume:
    return Volume(array, spacing, (0.0, 0.0, 0.0), IDENTITY, name)


def codes(found: Volume, bundle: Bundle) -> list[str]:
    return [warning.code for warning in check_input(found, bundle)]


@pytest.fixture
def glioma(glioma: Bundle) -> Bundle:
    """A model of skull-stripped brains."""
    expected = {**glioma.manifest["expected_input"], "skull": "stripped"}
    return replace(glioma, manifest={**glioma.manifest, "expected_input": expected})


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_skull_stripped_brain_is_not_warned_of(rng: np.random.Generator, glioma: Bundle) -> None:
    assert codes(volume(brain(rng)), glioma) == []


@pytest.mark.parametrize("change", [lambda a: a * 1000 - 3, lambda a: (a - 40) / 20, lambda a: a.astype(np.uint8)])
def test_units_of_the_intensities_do_not_matter(
    change: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator, glioma: Bundle
) -> None:
    assert codes(volume(change(brain(rng))), glioma) == []


def test_a_whole_head_is_warned_of(rng: np.random.Generator, glioma: Bundle) -> None:
    assert "skull" in codes(volume(head(rng)), glioma)


def noisy(array: np.ndarray, rng: np.random.Generator, sigma: float = 0.02) -> np.ndarray:
    """With Rician noise of this share of the largest value."""
    real, imaginary = rng.normal(0, sigma * array.max(), (2, *array.shape))
    return np.hypot(array + real, imaginary).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.005, 0.02, 0.04])
def test_noise_around_a_brain_is_background(sigma: float, rng: np.random.Generator, glioma: Bundle) -> None:
    # Of this even brain, unlike a real one, the noise takes most of the grey levels, which is an intensity warning.
    assert not {"skull", "extent"} & set(codes(volume(noisy(brain(rng), rng, sigma)), glioma))


@pytest.mark.parametrize("sigma", [0.005, 0.02, 0.04])
def test_noise_hides_no_head(sigma: float, rng: np.random.Generator, glioma: Bundle) -> None:
    assert "skull" in codes(volume(noisy(head(rng), rng, sigma)), glioma)


def test_a_head_in_empty_air_is_warned_of(rng: np.random.Generator, glioma: Bundle) -> None:
    array = head(rng)
    array[~ellipsoid(1.2)] = 0
    assert "skull" in codes(volume(array), glioma)


def test_a_crop_and_thick_slices_are_warned_of(rng: np.random.Generator, glioma: Bundle) -> None:
    crop = brain(rng)[60:100, 80:127, 80:114]
    assert "extent" in codes(volume(crop), glioma)
    assert "spacing" in codes(volume(brain(rng)[::10], spacing=(1.0, 1.0, 10.0)), glioma)


def test_an_image_too_small_on_one_axis_and_too_large_on_another_gets_neutral_advice(glioma: Bundle) -> None:
    array = np.random.default_rng(0).uniform(1, 255, (20, 200, 200)).astype(np.float32)
    (sentence,) = (
        one.sentence for one in check_input(volume(array, spacing=(2.0, 2.0, 1.0)), glioma) if one.code == "extent"
    )
    assert "check that it shows the region" in sentence and "crop" not in sentence and "whole image" not in sentence


def test_frames_of_a_clip_are_checked_by_name_alone(glioma: Bundle) -> None:
    array = np.random.default_rng(0).uniform(1, 255, (20, 64, 64)).astype(np.float32)
    assert codes(replace(volume(array, "t1ce"), is_video=True), glioma) == ["modality"]
    assert codes(replace(volume(array, "clip"), is_video=True), glioma) == []
    assert codes(volume(array[:1], "t1ce"), glioma) == ["modality"]


def test_other_intensities_are_warned_of(rng: np.random.Generator, glioma: Bundle) -> None:
    array = np.where(ellipsoid(), rng.choice([1.0, 250.0], SIDES, p=[0.9, 0.1]), 0)
    assert "intensity" in codes(volume(array), glioma)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Brats18_CBICA_ABM_1_flair", {"FLAIR"}),
        ("BraTS-GLI-00001-000-t2f", {"FLAIR"}),
        ("AX T2 FLAIR FS", {"FLAIR"}),
        ("t2_tirm_tra_dark-fluid_FLAIR", {"FLAIR"}),
        ("BraTS2021_00006_t1ce", {"T1c"}),
        ("BraTS-GLI-00001-000-t1c", {"T1c"}),
        ("T1 POST GD", {"T1c"}),
        ("t1_mprage_sag +C", {"T1c"}),
        ("SAG MPRAGE", {"T1"}),
        ("BraTS-GLI-00001-000-t1n", {"T1"}),
        ("sub-01_T1w", {"T1"}),
        ("sub-01_T2w", {"T2"}),
        ("ep2d_diff_trace", {"DWI"}),
        ("CT head without contrast", {"CT"}),
        ("T1 pre contrast", {"T1"}),
        ("t1_precontrast", {"T1"}),
        ("T1 without contrast", {"T1"}),
        ("T1 w/o Gd", {"T1"}),
        ("t1 non contrast", {"T1"}),
        ("T1 without Gd contrast", {"T1"}),
        ("T1 unenhanced", {"T1"}),
        ("T1 C-", {"T1"}),
        ("T1 post-op", {"T1"}),
        ("T1 C-spine", {"T1"}),
        ("MPRAGE post", {"T1c"}),
        ("MPRAGE +C", {"T1c"}),
        ("3D SPGR Gd", {"T1c"}),
        ("ce_t1w", {"T1c"}),
        ("Gd T1", {"T1c"}),
        ("T1C+", {"T1c"}),
        ("T1-C", {"T1c"}),
        ("t1_vibe_tra_KM", {"T1c"}),
        ("T1 FLAIR", {"T1"}),
        ("t1_tirm_dark-fluid", {"T1"}),
        ("T1 FLAIR +C", {"T1c"}),
        ("T1 post FLAIR", {"T1c"}),
        ("T2_TIRM_DARK-FLUID", {"FLAIR"}),
        ("TIRM dark fluid", {"FLAIR"}),
        ("T2w_FLAIR", {"FLAIR"}),
        ("FLAIR post contrast", {"FLAIR"}),
        ("ses-t1_flair", {"FLAIR"}),
        ("pt_01_flair", {"FLAIR"}),
        ("us_02_flair", {"FLAIR"}),
        ("CR_flair", {"FLAIR"}),
        ("pt_01", set()),
        ("us_scan", set()),
        ("PET", {"PET"}),
        ("breast ultrasound", {"US"}),
        ("US", {"US"}),
        ("t2star", {"SWI"}),
        ("T2* GRE", {"SWI"}),
        ("t2_star", {"SWI"}),
        ("STIR", {"T2"}),
        ("PD", {"PD"}),
        ("PDw T2", {"PD", "T2"}),
        ("ep2d_diff", {"DWI"}),
        ("vibe", {"T1"}),
        ("hippocampus_007", set()),
        ("patient 12", set()),
        ("reflair2", {"FLAIR"}),
        ("t10_followup", set()),
        ("", set()),
    ],
)
def test_names_are_understood(text: str, named: set[str]) -> None:
    assert modalities_in(text) == named


def test_tags_overrule_names() -> None:
    assert modalities_of({"name": "flair", "Modality": "CT"}) == {"CT"}
    assert modalities_of({"name": "T1", "Modality": "MR", "ContrastBolusAgent": "Gadovist"}) == {"T1c"}
    assert modalities_of({"name": "CT guided biopsy planning FLAIR", "Modality": "MR"}) == {"FLAIR"}


@pytest.mark.parametrize("agent", ["", "NONE", "NO", "N/A", "no contrast", "None given"])
def test_an_agent_that_was_not_given_makes_no_contrast(agent: str) -> None:
    assert modalities_of({"name": "T1", "Modality": "MR", "ContrastBolusAgent": agent}) == {"T1"}


def test_a_name_that_denies_contrast_overrules_the_agent_of_the_examination() -> None:
    assert modalities_of({"SeriesDescription": "T1 pre contrast", "ContrastBolusAgent": "Gadovist"}) == {"T1"}


def test_contrast_in_one_tag_is_enough() -> None:
    assert modalities_of({"SeriesDescription": "T1 POST", "ProtocolName": "t1_mprage"}) == {"T1c"}


def test_prefixes_of_patients_are_no_modalities_and_the_tag_is() -> None:
    assert modalities_of({"name": "pt_01_flair", "Modality": "MR"}) == {"FLAIR"}
    assert modalities_of({"name": "pt_01", "Modality": "PT"}) == {"PET"}


def test_another_sequence_is_warned_of_by_its_name(rng: np.random.Generator, glioma: Bundle) -> None:
    (warning,) = check_input(volume(brain(rng), "BraTS2021_00006_t1ce"), glioma)
    assert warning.code == "modality" and "choose the FLAIR image" in warning.sentence and "\n" not in warning.sentence
    tagged = replace(volume(brain(rng), "a"), described=({"name": "a", "SeriesDescription": "T1 POST GD"},))
    assert codes(tagged, glioma) == ["modality"]


def test_a_bundle_without_the_section_checks_names_alone(rng: np.random.Generator, glioma: Bundle) -> None:
    manifest = {key: value for key, value in glioma.manifest.items() if key != "expected_input"}
    assert codes(volume(head(rng)), Bundle(glioma.folder, manifest)) == []


@pytest.fixture
def single(glioma: Bundle) -> Bundle:
    """A model of single images of mostly middle gray levels."""
    histogram = np.histogram(picture(np.random.default_rng(1)), bins=16, range=(1, 256))[0] / 10_000
    section = {"single_image": True, "histogram": histogram.tolist(), "max_histogram_distance": 0.1}
    return replace(glioma, manifest={**glioma.manifest, "expected_input": section, "modalities": ["X-ray"]})


def picture(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(128, 30, (1, 100, 100)).clip(1, 255).astype(np.uint8)


def test_an_image_of_a_model_of_single_images_is_not_warned_of(rng: np.random.Generator, single: Bundle) -> None:
    assert codes(volume(picture(rng), "image"), single) == []


def test_a_volume_and_a_video_are_no_single_image(rng: np.random.Generator, single: Bundle) -> None:
    frames = np.concatenate([picture(rng) for _ in range(4)])
    (warning,) = check_input(volume(frames, "image"), single)
    assert warning.code == "modality" and "This is a volume" in warning.sentence and "X-ray" in warning.sentence
    (warning,) = check_input(replace(volume(frames, "image"), is_video=True), single)
    assert warning.code == "modality" and "This is a video" in warning.sentence


def test_other_intensities_of_a_single_image_are_warned_of(rng: np.random.Generator, single: Bundle) -> None:
    dark = rng.exponential(4.0, (1, 100, 100)).clip(1, 255).astype(np.uint8)
    assert codes(volume(dark, "image"), single) == ["intensity"]


@pytest.mark.parametrize(
    "section",
    [
        {"skull": "maybe"},
        {"extent_mm": [[1, 2]]},
        {"histogram": [1]},
        {"single_image": 1},
        {"colour": "red"},
        [],
        {"cases": -1},
    ],
)
def test_a_faulty_section_is_a_faulty_bundle(section: object, glioma: Bundle) -> None:
    with pytest.raises(ValueError, match="expected_input"):
        check_manifest({**glioma.manifest, "expected_input": section})


def test_a_run_begins_with_the_check_and_keeps_it_with_the_result(rng: np.random.Generator, glioma: Bundle) -> None:
    run = SegmentationRun(volume(head(rng)), glioma, slices=(70, 90))
    events = run.events()
    first = next(events)
    assert isinstance(first, InputChecked) and first.warnings == run.input_warnings != ()
    list(events)
    assert run.result().provenance["input_warnings"] == [one.sentence for one in run.input_warnings]


def test_no_slice_of_a_model_with_a_caution_is_certain(a_head: Volume, glioma: Bundle) -> None:
    unchecked = {key: value for key, value in glioma.manifest.items() if key != "expected_input"}
    cautioned = replace(glioma, manifest={**unchecked, "caution": "this model guesses"})
    run = SegmentationRun(a_head, cautioned)
    list(run.events())
    slices = run.confidence()
    assert not run.input_warnings and slices and all(one.confidence < LOW_CONFIDENCE for one in slices)
    assert "this model guesses" in {one.reason for one in slices}


def test_no_slice_of_a_wrong_input_is_certain(a_head: Volume, glioma: Bundle) -> None:
    named = replace(a_head, name="t1ce")
    # A brain without any contrast, in which the detector finds something at a low threshold only.
    uniform = replace(a_head, array=np.where(a_head.array > 0, 300, 0).astype(np.int16))
    for found, threshold, certain in ((a_head, None, True), (named, None, False), (uniform, 0.02, False)):
        run = SegmentationRun(found, glioma, threshold=threshold)
        list(run.events())
        confidence = run.confidence()
        assert confidence and any(one.confidence >= LOW_CONFIDENCE for one in confidence) is certain
        assert certain or all("trained on" in one.reason for one in confidence if one.confidence == 0.3)


def test_the_command_prints_each_warning_and_goes_on(
    command: Callable[..., tuple[int, str, str]], a_head: Volume, tmp_path: Path
) -> None:
    source = tmp_path / "head_t1ce.nii.gz"
    sitk.WriteImage(a_head.to_image(a_head.array), str(source))
    code, _, err = command("segment", source, "-o", tmp_path / "out.nii.gz")
    assert code == 0 and err.count("choose the FLAIR image") == 1 and (tmp_path / "out.nii.gz").is_file()


@pytest.mark.parametrize("count", [1, 4])
def test_the_command_warns_of_clips_and_single_images_by_name_alone(
    count: int, command: Callable[..., tuple[int, str, str]], a_head: Volume, tmp_path: Path
) -> None:
    frames = (a_head.array[10 : 10 + count] / a_head.array.max() * 255).astype(np.uint8)
    source = tmp_path / "head_t1ce"
    source.mkdir()
    for index, frame in enumerate(frames):
        sitk.WriteImage(sitk.GetImageFromArray(frame), str(source / f"t1ce_{index}.png"))
    single = count == 1
    output = tmp_path / ("mask.png" if single else "masks")
    code, _, err = command("segment", source / "t1ce_0.png" if single else source, "-o", output)
    told = " ".join(err.split())
    assert code == 0 and told.count("choose the FLAIR image") == 1 and output.exists()
    assert "mm apart" not in told and "covers" not in told


def test_the_engine_process_checks_without_a_run(
    a_worker: Any, request_of: Callable[..., dict[str, Any]], a_head: Volume
) -> None:
    message = request_of(a_head)
    (answer,) = a_worker.ask("check", volume=message["volume"], model="glioma", names=[{"name": "T1 POST GD"}])
    assert answer["event"] == "checked"
    assert [warning["code"] for warning in answer["warnings"]] == ["modality", *codes(a_head, load_bundle("glioma"))]
    started = next(event for event in a_worker.ask("segment", **message) if event["event"] == "started")
    assert [warning["code"] for warning in started["warnings"]] == codes(a_head, load_bundle("glioma"))


@pytest.mark.parametrize("name", ["glioma", "hippocampus"])
def test_real_images_are_told_apart(name: str, shared_data: Path) -> None:
    bundle = load_bundle(name)
    right, wrong = {
        "glioma": ("brats2018/Brats18_2013_3_1/*flair*", "msd_task04_hippocampus/imagesTr/hippocampus_00*"),
        "hippocampus": ("msd_task04_hippocampus/imagesTr/hippocampus_00*", "brats2018/Brats18_2013_3_1/*flair*"),
    }[name]
    for pattern, expected in ((right, False), (wrong, True)):
        for path in sorted(shared_data.glob(pattern)):
            assert bool(check_input(read_volume(path), bundle)) is expected, path


def test_noise_turns_no_real_brain_into_a_head_and_no_head_into_a_brain(
    shared_data: Path, rng: np.random.Generator, glioma: Bundle
) -> None:
    brains = sorted(shared_data.glob("brats2018/*/*flair*"))[::11]
    heads = [*sorted(shared_data.glob("whole_head_flair/*_flair.nii.gz")), shared_data / "tcia_gbm_dicom"]
    for path in (*brains, *heads):
        found = read_volume(path)
        for one in (found, replace(found, array=noisy(found.array.astype(np.float32), rng))):
            assert ("skull" in codes(one, glioma)) is (path in heads), path
            assert path in heads or codes(one, glioma) == [], path


def test_a_healthy_head_gets_no_certain_slice(shared_data: Path, glioma: Bundle) -> None:
    run = SegmentationRun(read_volume(shared_data / "whole_head_flair" / "isbi2015_training01_flair.nii.gz"), glioma)
    list(run.events())
    assert all(one.confidence < LOW_CONFIDENCE for one in run.confidence())


def test_unreadable_requests_are_not_checked(a_worker: Any) -> None:
    (answer,) = a_worker.ask("check", model="glioma")
    assert answer["event"] == "error"
