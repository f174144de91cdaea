"""The models that can be chosen."""

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of a built-in bundle's manifest, without its model files."""
    from AutoMedSAMLib.model.bundle_info import BUILT_IN

    folder = tmp_path / "ümlaut"
    folder.mkdir()
    (folder / "bundle.json").write_bytes((BUILT_IN / "glioma" / "bundle.json").read_bytes())
    return folder


def test_the_panel_and_the_engine_read_the_same_models() -> None:
    from automedsam.bundle import list_bundles
    from AutoMedSAMLib.model.bundle_info import PANEL_BACKENDS, built_in_models

    for model, bundle in zip(built_in_models(), list_bundles(), strict=True):
        assert (model.name, model.version, model.task, model.folder.name) == (
            bundle.name,
            bundle.version,
            bundle.task,
            bundle.folder.name,
        )
        assert model.modalities == bundle.modalities and model.plane == bundle.plane.value
        assert model.threshold == bundle.detector.score_threshold and model.hash == bundle.hash
        assert model.caution == bundle.caution
        assert model.precisions == {backend.value for backend in PANEL_BACKENDS if bundle.has(backend)}
        for mine, its in zip(model.segments, bundle.segments, strict=True):
            assert (mine["value"], mine["name"], mine["color"], mine["terminology"]) == (
                its.value,
                its.name,
                its.color,
                its.terminology,
            )


def test_a_model_of_ones_own_is_found_by_its_folder(bundle: Path) -> None:
    from AutoMedSAMLib.model.bundle_info import find_model

    model = find_model(str(bundle))
    assert model.folder == bundle and model.precisions == frozenset()


@pytest.mark.parametrize("detectors", [{}, {"int8": "detector.int8.onnx"}], ids=["none", "int8"])
def test_published_checkpoint_runs_in_fp32_without_a_detector_of_its_own(
    bundle: Path, detectors: dict[str, str]
) -> None:
    from AutoMedSAMLib.model.bundle_info import read_model

    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["detector"]["files"] = detectors
    manifest["segmenter"]["files"] = {"torch": {"checkpoint": "weights.pt"}}
    for name in ("weights.pt", *detectors.values()):
        (bundle / name).write_bytes(b"")
        manifest["files"][name] = {"sha256": "0" * 64, "bytes": 0}
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    model = read_model(bundle)
    assert model.precisions == {"fp32"} and model.has_detector == bool(detectors)
    # Its first run in INT8 makes the files.
    assert model.backends == {"fp32", "int8"} and "once" in model.making_note and "yet" in model.no_comparison
    for name in detectors.values():
        (bundle / name).unlink()
        assert read_model(bundle).precisions == frozenset()
    (bundle / "weights.pt").unlink()
    assert read_model(bundle).backends == frozenset()


@pytest.mark.parametrize("detectors", [{}, {"int8": "detector.int8.onnx"}, {"fp32": "detector.fp32.onnx"}])
def test_panel_and_engine_agree_on_backends_of_converted_bundles(bundle: Path, detectors: dict[str, str]) -> None:
    from automedsam.bundle import load_bundle
    from AutoMedSAMLib.model.bundle_info import PANEL_BACKENDS, read_model

    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["detector"]["files"] = detectors
    for backend, components in manifest["segmenter"]["files"].items():
        for component in components:
            components[component] = f"{component}.{backend}"
    names = [name for components in manifest["segmenter"]["files"].values() for name in components.values()]
    for name in (*names, *detectors.values()):
        (bundle / name).write_bytes(b"")
        manifest["files"][name] = {"sha256": "0" * 64, "bytes": 0}
    (bundle / "bundle.json").write_text(json.dumps(manifest))

    model, loaded = read_model(bundle), load_bundle(bundle)
    assert model.precisions == {backend.value for backend in PANEL_BACKENDS if loaded.has(backend)}
    assert ("int8" in model.precisions) == ("fp32" not in detectors)
    assert model.backends == model.precisions and model.making_note == ""


@pytest.mark.parametrize(
    "break_it",
    [
        lambda m: m.pop("segments"),
        lambda m: m.update(detector=3),
        lambda m: m.update(files={}),
        lambda m: m["detector"].update(score_threshold=float("nan")),
        lambda m: m["segments"][0].update(value=10**400),
        lambda m: m["segments"].append(m["segments"][0]),
        None,
    ],
)
def test_a_broken_model_is_reported_in_one_sentence(bundle: Path, break_it: Any) -> None:
    from AutoMedSAMLib.errors import AutoMedSAMError
    from AutoMedSAMLib.model.bundle_info import find_model

    path = bundle / "bundle.json"
    if break_it is None:
        path.write_text('{"a":' * 100_000, encoding="utf-8")
    else:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        break_it(manifest)
        path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(AutoMedSAMError, match="install it again"):
        find_model(str(bundle))
