"""Bundles are checked before they are believed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from automedsam.bundle import BUILT_IN, list_bundles, load_bundle
from automedsam.contract.backends import Backend
from automedsam.detection.detector import ResizeMode
from automedsam.errors import AutoMedSAMError


@pytest.fixture
def a_copy(tmp_path: Path) -> Path:
    """The built-in bundles' folder, free to be damaged."""
    shutil.copytree(BUILT_IN, tmp_path / "bundles")
    return tmp_path / "bundles"


def edit(folder: Path, **changes: object) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("name", ["glioma", "hippocampus"])
def test_built_in_bundles_are_complete_and_state_their_terms(name: str) -> None:
    bundle = load_bundle(name)
    assert set(bundle.files(Backend.INT8)) == {
        "detector", "image_encoder", "memory_attention", "mask_decoder", "memory_encoder",
    }  # fmt: skip
    assert "esearch only" in bundle.license
    training = bundle.manifest["training"]["split"]
    assert training["train"] and training["test"] and not set(training["train"]) & set(training["test"])
    assert bundle.measured["int8"]["dice"]


def test_bundles_share_one_segmenter() -> None:
    glioma, hippocampus = (load_bundle(name).files(Backend.INT8) for name in ("glioma", "hippocampus"))
    assert glioma["image_encoder"] == hippocampus["image_encoder"]
    assert glioma["detector"] != hippocampus["detector"]


def test_all_starter_bundles_fit_into_thirty_megabytes() -> None:
    shipped = [path for path in BUILT_IN.rglob("*") if path.suffix in (".onnx", ".json") and "fp32" not in path.name]
    assert 1e6 < sum(path.stat().st_size for path in shipped) <= 30e6


def test_changed_file_is_refused(a_copy: Path) -> None:
    detector = a_copy / "glioma" / "detector.int8.onnx"
    content = bytearray(detector.read_bytes())
    content[len(content) // 2] ^= 1
    detector.write_bytes(content)
    with pytest.raises(AutoMedSAMError, match="damaged or changed"):
        load_bundle(a_copy / "glioma").files(Backend.INT8)


def test_missing_file_is_reported(a_copy: Path) -> None:
    (a_copy / "glioma" / "detector.int8.onnx").unlink()
    with pytest.raises(AutoMedSAMError, match=r"detector\.int8\.onnx is missing"):
        load_bundle(a_copy / "glioma").files(Backend.INT8)


def test_file_outside_the_bundles_is_refused(a_copy: Path) -> None:
    manifest = json.loads((a_copy / "glioma" / "bundle.json").read_text())
    manifest["detector"]["files"]["int8"] = "../../outside.onnx"
    edit(a_copy / "glioma", detector=manifest["detector"])
    (a_copy.parent / "outside.onnx").write_bytes(b"x")
    with pytest.raises(AutoMedSAMError, match="outside its folder"):
        load_bundle(a_copy / "glioma").files(Backend.INT8)


@pytest.mark.parametrize(
    "changes",
    [{"plane": "diagonal"}, {"segments": None}, {"detector": {}}, {"linking": {"magic": 1}}, {"modalities": 3}],
    ids=str,
)
def test_faulty_manifest_is_refused(a_copy: Path, changes: dict[str, object]) -> None:
    edit(a_copy / "glioma", **changes)
    with pytest.raises(AutoMedSAMError, match=r"faulty bundle\.json"):
        load_bundle(a_copy / "glioma")


def test_unknown_fit_is_refused(a_copy: Path) -> None:
    edit(a_copy / "glioma", detector={**load_bundle("glioma").manifest["detector"], "fit": "crop"})
    with pytest.raises(AutoMedSAMError, match=r"faulty bundle\.json .*'crop'"):
        load_bundle(a_copy / "glioma")


def test_slices_are_stretched_by_default(a_copy: Path) -> None:
    detector = {key: value for key, value in load_bundle("glioma").manifest["detector"].items() if key != "fit"}
    edit(a_copy / "glioma", detector=detector)
    assert load_bundle(a_copy / "glioma").detector.fit is ResizeMode.STRETCH
    edit(a_copy / "glioma", detector={**detector, "fit": "letterbox"})
    assert load_bundle(a_copy / "glioma").detector.fit is ResizeMode.LETTERBOX


def test_bundle_without_a_detector_explains_what_is_missing(a_copy: Path) -> None:
    detector = load_bundle("glioma").manifest["detector"]
    edit(a_copy / "glioma", detector={**detector, "files": {}})
    with pytest.raises(AutoMedSAMError, match=r"has no detector .*bundle\.json.* convert .* with --detector, or"):
        load_bundle(a_copy / "glioma").files(Backend.INT8)
    bundle = load_bundle(a_copy / "glioma")
    assert not bundle.has_detector and bundle.has(Backend.INT8)
    assert bundle.files(Backend.INT8, detector=False).keys() == bundle.paths(Backend.INT8).keys()


def test_bundle_with_a_detector_needs_it_for_every_backend(a_copy: Path) -> None:
    detector = load_bundle("glioma").manifest["detector"]
    edit(a_copy / "glioma", detector={**detector, "files": {"fp32": "detector.fp32.onnx"}})
    bundle = load_bundle(a_copy / "glioma")
    assert bundle.has_detector and not bundle.has(Backend.INT8)


def test_detector_is_left_out_where_it_is_not_needed() -> None:
    bundle = load_bundle("glioma")
    assert bundle.has_detector
    assert bundle.files(Backend.INT8).keys() - bundle.files(Backend.INT8, detector=False).keys() == {"detector"}


def test_pytorch_alone_takes_an_int8_detector_if_there_is_no_other(a_copy: Path) -> None:
    manifest = load_bundle("glioma").manifest
    edit(a_copy / "glioma", detector={**manifest["detector"], "files": {"int8": "detector.int8.onnx"}})
    bundle = load_bundle(a_copy / "glioma")
    assert bundle.paths(Backend.FP32_TORCH)["detector"].name == "detector.int8.onnx"
    assert "detector" not in bundle.paths(Backend.FP32_ONNX)
    assert load_bundle("glioma").paths(Backend.FP32_TORCH)["detector"].name == "detector.fp32.onnx"


def test_precision_that_is_not_there_names_those_that_are(a_copy: Path) -> None:
    manifest = load_bundle("glioma").manifest
    edit(a_copy / "glioma", detector={**manifest["detector"], "files": {"fp32": "detector.fp32.onnx"}})
    with pytest.raises(AutoMedSAMError, match=r"has no INT8 detector: choose the backend fp32\."):
        load_bundle(a_copy / "glioma").files(Backend.INT8)
    segmenter = {**manifest["segmenter"], "files": {"int8": manifest["segmenter"]["files"]["int8"]}}
    edit(a_copy / "glioma", detector=manifest["detector"], segmenter=segmenter)
    with pytest.raises(AutoMedSAMError, match="has no FP32 segmenter: choose the backend int8"):
        load_bundle(a_copy / "glioma").files(Backend.FP32_TORCH)


def test_newer_schema_asks_for_an_update(a_copy: Path) -> None:
    edit(a_copy / "glioma", schema=99)
    with pytest.raises(AutoMedSAMError, match="update AutoMedSAM"):
        load_bundle(a_copy / "glioma")


@pytest.mark.parametrize("name", ["", ".", "..", "nothing", "../glioma", "/"])
def test_name_that_is_no_bundle(name: str) -> None:
    with pytest.raises(AutoMedSAMError, match="choose one of glioma, hippocampus, polyp, brats, anything"):
        load_bundle(name)


def test_hash_distinguishes_bundles(tmp_path: Path) -> None:
    hashes = [bundle.hash for bundle in list_bundles()]
    assert len(set(hashes)) == len(hashes) and {len(one) for one in hashes} == {64}
    shutil.copy(BUILT_IN / "glioma" / "bundle.json", tmp_path)
    assert load_bundle(tmp_path).hash == load_bundle("glioma").hash
