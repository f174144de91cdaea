"""The catalog has addresses and hashes that can be trusted, and a faulty one is refused by field."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from built_in import NAMES

from automedsam.contract.catalog import CATALOG, CHECKPOINT, find_model, is_model_name, matches, read_catalog
from automedsam.errors import AutoMedSAMError
from automedsam.io.models_folder import FOLDER_VARIABLE, installed_folders, models_folder
from automedsam.sam2.published_networks import NETWORKS


def test_catalog_has_the_published_models() -> None:
    models = {model.name: model for model in read_catalog()}
    assert {"medsam2", "sam2.1-tiny", "sam2.1-small", "sam2.1-base-plus"} <= models.keys()
    assert len([name for name in models if name.startswith("medsam2")]) == 5
    for model in models.values():
        assert model.kind == CHECKPOINT and model.network in NETWORKS
        assert model.file.url.endswith(f"/{model.file.name}") and model.page.startswith("https://")
        # An address that names no revision could give another file tomorrow.
        assert model.file.sha256 or "/resolve/main/" not in model.file.url
        assert model.file.bytes is None or round(model.file.bytes / 1e6) == model.megabytes


def test_models_are_found_by_the_words_that_a_user_types() -> None:
    def found(text: str) -> set[str]:
        return {model.name for model in read_catalog() if model.matches(text)}

    assert found("CT") == {"medsam2-ct-lesion"}
    assert found("liver mri") == {"medsam2-mri-liver-lesion"}
    assert found("heart") == found("ULTRAsound") == {"medsam2-us-heart"}
    assert len(found("sam 2.1")) == 3 and len(found("")) == len(read_catalog()) and not found("kidney")
    assert not matches("(", "a b") and matches("é", "Épilepsie")


def test_model_that_is_not_in_the_catalog_is_named_with_those_that_are() -> None:
    assert find_model("MedSAM2", read_catalog()).name == "medsam2"
    with pytest.raises(AutoMedSAMError, match=r"The catalog has no model medsam3: choose one of medsam2, "):
        find_model("medsam3", read_catalog())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../evil"),
        ("name", "NUL"),
        ("name", ""),
        ("kind", "pickle"),
        ("labels", []),
        ("modalities", "CT"),
        ("window", [5, 1]),
        ("plane", "oblique"),
        ("megabytes", -1),
        ("network", None),
        ("terms", 5),
        ("file.url", "http://huggingface.co/x.pt"),
        ("file.url", "https://user@huggingface.co/x.pt"),
        ("file.url", "file:///etc/passwd"),
        ("file.url", "https://[::1/x.pt"),
        ("file.name", "../x.pt"),
        ("file.name", "x.exe"),
        ("file.sha256", "c92743"),
        ("file.bytes", 0),
        ("file.md5", "0"),
    ],
)
def test_faulty_field_is_named(tmp_path: Path, field: str, value: Any) -> None:
    catalog = json.loads(CATALOG.read_text())
    target, names = catalog["models"][2], field.split(".")
    for name in names[:-1]:
        target = target[name]
    target[names[-1]] = value
    (tmp_path / "catalog.json").write_text(json.dumps(catalog))
    with pytest.raises(AutoMedSAMError, match=rf"catalog\.json is faulty \(models\[2\].*{names[-1] if value else ''}"):
        read_catalog(tmp_path / "catalog.json")


def test_one_name_stands_for_one_model(tmp_path: Path) -> None:
    catalog = json.loads(CATALOG.read_text())
    catalog["models"].append(catalog["models"][0])
    (tmp_path / "catalog.json").write_text(json.dumps(catalog))
    with pytest.raises(AutoMedSAMError, match="two models have the name medsam2"):
        read_catalog(tmp_path / "catalog.json")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"schema": 2, "models": []}', b"\xff", None])
def test_catalog_that_is_none_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "catalog.json").write_bytes(content)
    with pytest.raises(
        AutoMedSAMError, match=r"catalog\.json (is faulty|cannot be read).*: install AutoMedSAM again\.$"
    ):
        read_catalog(tmp_path / "catalog.json")


@pytest.mark.parametrize("name", ["medsam2", "a", "SAM-2.1_b+", "x" * 64])
def test_name_that_a_folder_can_have_everywhere(name: str) -> None:
    assert is_model_name(name)


def test_folder_of_models_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "here"))
    assert models_folder() == tmp_path / "here" and installed_folders() == {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FOLDER_VARIABLE, "relative")
    assert models_folder() == tmp_path / "relative"
    monkeypatch.setenv(FOLDER_VARIABLE, " ")
    monkeypatch.setenv("HOME" if os.name != "nt" else "LOCALAPPDATA", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert models_folder().is_relative_to(tmp_path) and models_folder().parts[-2:] == ("automedsam", "models")


def test_folder_of_models_that_is_a_file_hides_no_built_in_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from automedsam.bundle import list_bundles, load_bundle

    (tmp_path / "file").write_text("")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "file"))
    assert [bundle.name for bundle in list_bundles()] == NAMES
    assert load_bundle("glioma").name == "glioma"
