"""A downloaded checkpoint is a model that runs; a stopped or failed download leaves none."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from model_server import ServedFile

from automedsam.bundle import Bundle, faulty_bundles, list_bundles, load_bundle
from automedsam.contract.backends import Backend
from automedsam.contract.catalog import BUNDLE, CatalogFile, CatalogModel
from automedsam.core.boxes import Box, Tracklet
from automedsam.core.events import Finished
from automedsam.core.volume import Plane, Volume
from automedsam.errors import AutoMedSAMError
from automedsam.models.install import Installed, download_model
from automedsam.models.remove import remove_model, unfinished_downloads

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")

from tiny_checkpoint import TINY, catalog_model, write_checkpoint  # noqa: E402

from automedsam.pipeline.run import SegmentationRun  # noqa: E402


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.pt").read_bytes()


@pytest.fixture
def model(server: ServedFile, weights: bytes, monkeypatch: pytest.MonkeyPatch) -> CatalogModel:
    monkeypatch.setitem(__import__("automedsam.sam2.published_networks", fromlist=["NETWORKS"]).NETWORKS, "tiny", TINY)
    server.content = weights
    file = CatalogFile("tiny.pt", server.url, len(weights), hashlib.sha256(weights).hexdigest())
    return catalog_model(file, len(weights), labels=("Lesion", "Heart"))


def fetch(model: CatalogModel, detector: str | None = None) -> Installed:
    return download_model(model, lambda done, total: None, detector=detector, allow_loopback=True, pause=0.001)


def tracked(bundle: Bundle) -> list[int]:
    """The slices of one box that is tracked through a small volume, which the network segments."""
    array = np.random.default_rng(0).integers(0, 255, (5, 40, 48)).astype(np.uint8)
    volume = Volume(array, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    run = SegmentationRun(volume, bundle, backend=Backend.FP32_TORCH, plane=Plane.AXIAL, device="cpu")
    box = Box(10.0, 8.0, 30.0, 28.0, 0.9, 1)
    events = list(run.propagate([Tracklet(1, {1: box, 2: box, 3: box}, 2)]))
    assert isinstance(events[-1], Finished)
    return sorted(run.tracker.objects[0].masks)


def test_downloaded_checkpoint_is_a_model_that_runs(model: CatalogModel, folder: Path) -> None:
    bundle = fetch(model).bundle
    assert {path.name for path in (folder / "tiny-sam").iterdir()} == {"bundle.json", "tiny.pt"}
    assert [path.name for path in folder.iterdir()] == ["tiny-sam"]
    assert bundle.name in [one.name for one in list_bundles()]
    assert load_bundle("tiny-sam").license == "Apache-2.0"
    assert [segment.name for segment in bundle.segments] == ["Lesion", "Heart"]
    assert {1, 2, 3} <= set(tracked(bundle))


def test_weights_are_those_of_the_file(model: CatalogModel, weights: bytes, tmp_path: Path) -> None:
    from automedsam.sam2.torch_networks import load_model

    bundle = fetch(model).bundle
    loaded, architecture = load_model(
        bundle.files(Backend.FP32_TORCH, detector=False)["checkpoint"], bundle.architecture
    )
    (tmp_path / "again.pt").write_bytes(weights)
    stored = torch.load(tmp_path / "again.pt", weights_only=True)["model"]
    assert architecture == TINY.architecture
    assert all(torch.equal(value, stored[key]) for key, value in loaded.state_dict().items())


def test_model_without_a_detector_states_that_it_detects_nothing(model: CatalogModel) -> None:
    bundle = fetch(model).bundle
    volume = Volume(
        np.random.default_rng(0).integers(0, 255, (5, 40, 48)).astype(np.uint8),
        (1.0, 1.0, 1.0),
        (0.0, 0.0, 0.0),
        (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    )
    run = SegmentationRun(volume, bundle, backend=Backend.FP32_TORCH, device="cpu")
    with pytest.raises(AutoMedSAMError, match=r"has no detector .*boxes that a user gives it.*--detector"):
        list(run.events())


def test_detector_of_another_model_finds_the_objects(model: CatalogModel) -> None:
    bundle = fetch(model, detector="glioma").bundle
    glioma = load_bundle("glioma")
    assert bundle.detector == glioma.detector and bundle.segments == glioma.segments
    assert bundle.modalities == ("FLAIR",) and bundle.linking == glioma.linking
    assert glioma.license in bundle.license and "Apache-2.0" in bundle.license
    volume = Volume(
        np.random.default_rng(0).integers(0, 255, (6, 60, 60)).astype(np.uint8),
        (1.0, 1.0, 1.0),
        (0.0, 0.0, 0.0),
        (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    )
    run = SegmentationRun(volume, bundle, backend=Backend.FP32_TORCH, device="cpu")
    list(run.events())
    assert run.result().labels.shape == volume.shape
    assert bundle.files(Backend.FP32_TORCH)["detector"].name == "detector.fp32.onnx"


def test_unknown_detector_is_refused_before_the_download(model: CatalogModel, server: ServedFile) -> None:
    with pytest.raises(AutoMedSAMError, match="There is no model nonsense"):
        fetch(model, detector="nonsense")
    assert not server.requests


def test_bundle_gets_the_name_of_the_catalog(model: CatalogModel, server: ServedFile, tmp_path: Path) -> None:
    from bundle_zip import zip_of

    server.content = zip_of("glioma", tmp_path / "g.zip").read_bytes()
    digest = hashlib.sha256(server.content).hexdigest()
    ours = replace(model, kind=BUNDLE, network=None, file=CatalogFile("g.zip", server.url, None, digest))
    assert fetch(ours).bundle.name == load_bundle("tiny-sam").name == "tiny-sam"


def test_second_download_is_refused(model: CatalogModel) -> None:
    fetch(model)
    with pytest.raises(AutoMedSAMError, match="There is a model tiny-sam already"):
        fetch(model)


def test_wrong_file_installs_nothing(model: CatalogModel, server: ServedFile, folder: Path) -> None:
    server.content = b"<html>Please log in</html>"
    with pytest.raises(AutoMedSAMError, match="is not the one that the catalog names"):
        fetch(model)
    assert not any(folder.rglob("*"))


def unverified(model: CatalogModel) -> CatalogModel:
    return replace(model, file=replace(model.file, sha256=None, bytes=None))


def test_file_without_a_known_hash_is_remembered(model: CatalogModel, server: ServedFile) -> None:
    installed = fetch(unverified(model))
    digest = hashlib.sha256(server.content).hexdigest()
    assert any(digest in note and "remembered" in note for note in installed.notes)
    remove_model("tiny-sam")
    assert any("downloaded before" in note for note in fetch(unverified(model)).notes)
    remove_model("tiny-sam")
    server.content = server.content[:-1] + b"\1"
    server.etag = '"2"'
    with pytest.raises(AutoMedSAMError, match="another SHA-256"):
        fetch(unverified(model))
    assert "tiny-sam" not in [bundle.name for bundle in list_bundles()]


class Code:
    """What runs when a careless program opens the file."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("__import__('pathlib').Path('ran').touch()",)


@pytest.mark.parametrize("content", ["page", "code", "other", "torn"])
def test_download_without_a_known_hash_is_opened_with_care(
    model: CatalogModel, server: ServedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if content == "code":
        torch.save({"model": Code()}, tmp_path / "evil.pt")
        server.content = (tmp_path / "evil.pt").read_bytes()
    elif content == "other":
        torch.save({"model": {"image_encoder.blocks.0.attn.rel_pos_h": torch.zeros(3)}}, tmp_path / "sam1.pt")
        server.content = (tmp_path / "sam1.pt").read_bytes()
    else:
        server.content = b"<!DOCTYPE html><p>Sign in" if content == "page" else server.content[:5000]
    words = {"page": "is a web page", "code": "holds code", "other": "SAM 1 or MedSAM", "torn": "is incomplete"}
    with pytest.raises(AutoMedSAMError, match=words[content]):
        fetch(unverified(model))
    assert not (tmp_path / "ran").exists()
    assert "tiny-sam" not in [bundle.name for bundle in list_bundles()]
    assert not unfinished_downloads()


def test_stopped_download_is_kept_and_can_be_removed(model: CatalogModel, folder: Path) -> None:
    def press(done: int, total: int | None) -> None:
        if done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_model(model, press, allow_loopback=True)
    assert "tiny-sam" not in [bundle.name for bundle in list_bundles()] and not faulty_bundles()
    kept = unfinished_downloads()["tiny-sam"]
    assert kept > 100_000
    assert remove_model("tiny-sam") == kept and not unfinished_downloads()


def test_removal_frees_the_space(model: CatalogModel, folder: Path) -> None:
    bundle = fetch(model).bundle
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert remove_model(bundle.name) == used > bundle.size_bytes
    assert not any(folder.iterdir())
    with pytest.raises(AutoMedSAMError, match=r"There is no downloaded or imported model tiny-sam; .* removed: none"):
        remove_model("tiny-sam")


@pytest.mark.parametrize("name", ["..", ".", "../models", "a/b", "/etc", "", ".downloads", "C:", "con"])
def test_only_models_can_be_removed(model: CatalogModel, folder: Path, name: str) -> None:
    fetch(model)
    with pytest.raises(AutoMedSAMError, match="There is no downloaded or imported model"):
        remove_model(name)
    assert (folder / "tiny-sam" / "tiny.pt").is_file()


def test_built_in_model_cannot_be_removed() -> None:
    with pytest.raises(AutoMedSAMError, match="glioma is part of AutoMedSAM and cannot be removed"):
        remove_model("glioma")
    assert load_bundle("glioma").has(Backend.INT8)


def test_linked_model_is_unlinked_and_its_files_stay(model: CatalogModel, folder: Path, tmp_path: Path) -> None:
    bundle = fetch(model).bundle
    bundle.folder.rename(tmp_path / "elsewhere")
    (folder / "tiny-sam").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert load_bundle("tiny-sam").name == "tiny-sam"
    assert remove_model("tiny-sam") == 0
    assert (tmp_path / "elsewhere" / "tiny.pt").is_file()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 99}', '{"schema": 2}', "\0"])
def test_broken_model_does_not_hide_the_others(model: CatalogModel, folder: Path, content: str) -> None:
    fetch(model)
    (folder / "broken").mkdir()
    (folder / "broken" / "bundle.json").write_text(content)
    (folder / "a file").write_text("")
    (folder / "empty").mkdir()
    assert {"glioma", "hippocampus", "tiny-sam"} <= {bundle.name for bundle in list_bundles()}
    assert set(faulty_bundles()) == {"broken"}
    with pytest.raises(AutoMedSAMError, match="broken"):
        load_bundle("broken")
    remove_model("broken")
    assert not faulty_bundles()


def test_changed_weights_are_not_run(model: CatalogModel, folder: Path) -> None:
    bundle = fetch(model).bundle
    path = folder / "tiny-sam" / "tiny.pt"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(AutoMedSAMError, match="is damaged or changed"):
        bundle.files(Backend.FP32_TORCH, detector=False)


def test_zip_of_a_bundle_can_be_downloaded(model: CatalogModel, server: ServedFile, tmp_path: Path) -> None:
    from bundle_zip import zip_of

    path = zip_of("glioma", tmp_path / "g.zip", name="glioma-2")
    server.content = path.read_bytes()
    digest = hashlib.sha256(server.content).hexdigest()
    ours = replace(
        model, name="glioma-2", kind=BUNDLE, network=None, file=CatalogFile("g.zip", server.url, None, digest)
    )
    bundle = fetch(ours).bundle
    assert load_bundle("glioma-2").has(Backend.INT8) and bundle.files(Backend.INT8)
    assert json.loads((bundle.folder / "bundle.json").read_text())["name"] == "glioma-2"


def test_folder_that_cannot_be_made_is_one_sentence(
    model: CatalogModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("AUTOMEDSAM_MODELS", str(place))
        with pytest.raises(AutoMedSAMError, match=r"cannot be made \(.*set AUTOMEDSAM_MODELS to a folder that you may"):
            fetch(model)


def test_what_a_killed_process_left_is_removed_after_a_day(model: CatalogModel, folder: Path) -> None:
    for name in (".import-old", ".removed-old", ".import-new", ".mine-old", "mine/.int8-old", "mine/.int8-new"):
        (folder / name).mkdir(parents=True)
        if name.endswith("old"):
            os.utime(folder / name, (0, 0))
    fetch(model)
    assert {path.name for path in folder.iterdir()} == {"tiny-sam", "mine", ".import-new", ".mine-old"}
    assert [path.name for path in (folder / "mine").iterdir()] == [".int8-new"]
