"""Files are imported where there is no network, and a dangerous or damaged one ends in a sentence."""

import hashlib
import json
import os
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
from built_in import SEGMENTER
from bundle_zip import zip_of

from automedsam.bundle import load_bundle
from automedsam.contract import catalog as catalog_module
from automedsam.contract.backends import Backend
from automedsam.errors import AutoMedSAMError
from automedsam.models import archive as archive_module
from automedsam.models import checkpoint_check
from automedsam.models.install import Installed, import_file


def take(path: Path, **options: Any) -> Installed:
    return import_file(path, lambda done, total: None, **options)


@pytest.fixture
def nothing_left(folder: Path) -> Any:
    """Checks at the end that a refused file has left nothing."""
    yield
    assert not folder.exists() or not any(folder.iterdir())


def test_bundle_zip_with_its_shared_segmenter_runs_as_it_did(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = zip_of("glioma", tmp_path / "my glioma.zip", name="glioma-copy", extra={"glioma/README.md": b"hello"})
    bundle = import_file(path, lambda done, total: seen.append((done, total))).bundle
    files = bundle.files(Backend.INT8)
    assert files.keys() == load_bundle("glioma").files(Backend.INT8).keys()
    assert (bundle.folder / "README.md").read_bytes() == b"hello"
    assert seen[-1][0] == seen[-1][1] == bundle.size_bytes
    assert load_bundle("glioma-copy").folder == bundle.folder and path.is_file()


def test_zip_may_have_the_manifest_at_its_top(tmp_path: Path, folder: Path) -> None:
    source = load_bundle("glioma")
    manifest = json.loads((source.folder / "bundle.json").read_text())
    flat = json.dumps({**manifest, "name": "flat"}).replace(f"../{SEGMENTER}/", "")
    with zipfile.ZipFile(tmp_path / "flat.zip", "w") as archive:
        archive.writestr("bundle.json", flat)
        for relative in manifest["files"]:
            if (source.folder / relative).is_file():
                archive.write(source.folder / relative, Path(relative).name)
    assert take(tmp_path / "flat.zip").bundle.files(Backend.INT8)
    assert (folder / "flat" / "bundle.json").is_file()


def test_other_name_can_be_given(tmp_path: Path) -> None:
    path = zip_of("glioma", tmp_path / "g.zip")
    with pytest.raises(AutoMedSAMError, match=r"There is a model glioma already: .* or give another --name"):
        take(path)
    assert take(path, name="mine").bundle.name == load_bundle("mine").name == "mine"
    with pytest.raises(AutoMedSAMError, match="There is a model MINE already"):
        take(path, name="MINE")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "con", "a b", "C:x", "x" * 80])
def test_name_that_no_folder_can_have_is_refused(tmp_path: Path, nothing_left: None, name: str) -> None:
    with pytest.raises(AutoMedSAMError, match="cannot be a model's name"):
        take(zip_of("glioma", tmp_path / "g.zip"), name=name)


@pytest.mark.parametrize("name", ["../../evil", "..", "nested/../up"])
def test_bundle_whose_own_name_leads_outside_is_refused(tmp_path: Path, nothing_left: None, name: str) -> None:
    with pytest.raises(AutoMedSAMError, match="cannot be a model's name"):
        take(zip_of("glioma", tmp_path / "g.zip", name=name))


@pytest.mark.parametrize(
    "entry",
    [
        "../evil.txt",
        "glioma/../../evil.txt",
        "/tmp/evil.txt",
        "C:/evil.txt",
        "..\\evil.txt",
        "glioma\\..\\..\\evil.txt",
    ],
)
def test_zip_that_leads_outside_is_refused(tmp_path: Path, nothing_left: None, entry: str) -> None:
    with pytest.raises(AutoMedSAMError, match="name leads outside its folder"):
        take(zip_of("glioma", tmp_path / "g.zip", name="g", extra={entry: b"evil"}))
    assert not list(tmp_path.rglob("evil*"))


def test_zip_with_a_link_is_refused(tmp_path: Path, nothing_left: None) -> None:
    path = zip_of("glioma", tmp_path / "g.zip", name="g")
    link = zipfile.ZipInfo("glioma/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(AutoMedSAMError, match="a link or a device in the place of a file"):
        take(path)


def test_zip_that_grows_without_bound_is_refused(tmp_path: Path, nothing_left: None) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(30):
            archive.writestr(f"bomb/{number}.onnx", bytes(10_000_000))
        archive.writestr("bomb/bundle.json", b"{}")
    with pytest.raises(AutoMedSAMError, match=r"would grow from 0\.\d to 300 MB, more than a bundle does"):
        take(tmp_path / "bomb.zip")


def test_zip_that_lies_about_its_sizes_is_refused(tmp_path: Path, nothing_left: None) -> None:
    path = zip_of("glioma", tmp_path / "g.zip", name="g")
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("glioma/detector.int8.onnx").file_size
    # The size of the entry, in its own header and in the directory.
    path.write_bytes(content.replace(size.to_bytes(4, "little"), (size - 1000).to_bytes(4, "little")))
    with pytest.raises(AutoMedSAMError, match="damaged"):
        take(path)


def test_zip_with_too_many_files_is_refused(
    tmp_path: Path, nothing_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "_MAX_ENTRIES", 3)
    with pytest.raises(AutoMedSAMError, match="more than a bundle has"):
        take(zip_of("glioma", tmp_path / "g.zip", name="g"))


def test_zip_with_one_name_twice_is_refused(tmp_path: Path, nothing_left: None) -> None:
    with pytest.raises(AutoMedSAMError, match="two files named"):
        take(zip_of("glioma", tmp_path / "g.zip", name="g", extra={"glioma/BUNDLE.json": b"{}"}))


DETECTOR = "glioma/detector.int8.onnx"


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        ({DETECTOR: b"x"}, r"detector\.int8\.onnx is damaged or changed"),
        ({f"{SEGMENTER}/mask_decoder.int8.onnx": None}, r"lacks files .*mask_decoder"),
        ({"glioma/bundle.json": None}, r"has no bundle\.json: import the zip file of a bundle"),
        ({"glioma/bundle.json": b"{"}, r"The bundle of .*g\.zip/glioma has a faulty bundle\.json"),
        ({"glioma/bundle.json": b'{"schema": 2}'}, r"g\.zip/glioma has a faulty bundle\.json \(name is missing"),
        ({"glioma/bundle.json": b'{"schema": 99}'}, r"schema 99, this version reads 2: update AutoMedSAM"),
        ({"other/bundle.json": b"{}"}, r"has several bundles \(glioma, other\): make a zip file of each"),
    ],
)
def test_incomplete_or_changed_bundle_is_refused(
    tmp_path: Path, nothing_left: None, replaced: dict[str, bytes | None], words: str
) -> None:
    with pytest.raises(AutoMedSAMError, match=words) as raised:
        take(zip_of("glioma", tmp_path / "g.zip", name="g", replaced=replaced))
    assert ".import-" not in str(raised.value)


def test_changed_byte_is_noticed(tmp_path: Path, nothing_left: None) -> None:
    content = bytearray((load_bundle("glioma").folder / "detector.int8.onnx").read_bytes())
    content[1000] ^= 1
    with pytest.raises(AutoMedSAMError, match=r"detector\.int8\.onnx is damaged or changed"):
        take(zip_of("glioma", tmp_path / "g.zip", name="g", replaced={DETECTOR: bytes(content)}))


def test_manifest_too_deep_in_folders_is_refused(tmp_path: Path, nothing_left: None) -> None:
    with zipfile.ZipFile(tmp_path / "deep.zip", "w") as archive:
        archive.writestr("a/b/bundle.json", "{}")
    with pytest.raises(AutoMedSAMError, match="too deep in folders"):
        take(tmp_path / "deep.zip")


@pytest.mark.parametrize("cut", [0, 10, 1000, -20])
def test_torn_zip_is_refused(tmp_path: Path, nothing_left: None, cut: int) -> None:
    path = zip_of("glioma", tmp_path / "g.zip", name="g")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(AutoMedSAMError, match="is not a zip file, or an incomplete or damaged one"):
        take(path)


def test_damaged_bytes_in_a_zip_are_refused(tmp_path: Path, nothing_left: None) -> None:
    path = zip_of("glioma", tmp_path / "g.zip", name="g")
    content = bytearray(path.read_bytes())
    for offset in range(20_000, 20_200):
        content[offset] ^= 0x5A
    path.write_bytes(bytes(content))
    with pytest.raises(AutoMedSAMError, match="damaged"):
        take(path)


def test_encrypted_zip_is_refused(tmp_path: Path, nothing_left: None) -> None:
    path = zip_of("glioma", tmp_path / "g.zip", name="g")
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 8] |= 1
    path.write_bytes(bytes(content))
    with pytest.raises(AutoMedSAMError, match="is encrypted"):
        take(path)


def test_declined_terms_leave_nothing(tmp_path: Path, nothing_left: None) -> None:
    def decline(model: object) -> None:
        message = "no"
        raise AutoMedSAMError(message)

    with pytest.raises(AutoMedSAMError, match="no"):
        take(zip_of("glioma", tmp_path / "g.zip", name="g"), check_terms=decline)


def test_stopped_import_leaves_nothing(tmp_path: Path, nothing_left: None) -> None:
    def press(done: int, total: int | None) -> None:
        if done > 2_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_file(zip_of("glioma", tmp_path / "g.zip", name="g"), press)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent.zip", "There is no file"),
        (".", "is a folder: run a bundle's folder with --model"),
        ("notes.txt", "is neither a bundle's zip file nor a checkpoint"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, nothing_left: None, name: str, words: str) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(AutoMedSAMError, match=words):
        take(tmp_path / name)


def test_checkpoint_that_the_catalog_knows_needs_no_torch(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_check, "has_torch", lambda: False)
    path = tmp_path / "renamed.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"weights")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known_catalog(monkeypatch, digest)
    bundle = take(path).bundle
    assert bundle.name == "medsam2" and "research" in bundle.license
    assert (folder / "medsam2" / "MedSAM2_latest.pt").read_bytes() == path.read_bytes()


def known_catalog(monkeypatch: pytest.MonkeyPatch, digest: str) -> None:
    """Makes the catalog believe that a file of this SHA-256 is MedSAM2's."""
    entries = json.loads(catalog_module.CATALOG.read_text())
    entries["models"][0]["file"]["sha256"] = digest
    catalog = Path(os.environ["AUTOMEDSAM_MODELS"]).parent / "catalog.json"
    catalog.write_text(json.dumps(entries))
    models = catalog_module.read_catalog(catalog)
    monkeypatch.setattr(checkpoint_check, "read_catalog", lambda: models)


def test_other_file_under_a_published_name_is_refused(tmp_path: Path, nothing_left: None) -> None:
    path = tmp_path / "MedSAM2_latest.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"weights")
    with pytest.raises(
        AutoMedSAMError, match=r"is not the published MedSAM2_latest\.pt: its SHA-256 is .* c92743b99f00"
    ):
        take(path)


def test_unknown_checkpoint_needs_torch(tmp_path: Path, nothing_left: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_check, "has_torch", lambda: False)
    path = tmp_path / "mine.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"weights")
    with pytest.raises(AutoMedSAMError, match=r"PyTorch, which is needed to check it, is not installed: pip install"):
        take(path)


def test_settings_of_a_checkpoint_do_not_go_with_a_bundle(tmp_path: Path, nothing_left: None) -> None:
    with pytest.raises(AutoMedSAMError, match="leave out --detector and --network"):
        take(zip_of("glioma", tmp_path / "g.zip", name="g"), detector="glioma")


class Code:
    """What runs when a careless program opens the file."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("__import__('pathlib').Path('ran').touch()",)


def test_checkpoint_with_code_is_not_opened(
    tmp_path: Path, nothing_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
    pytest.importorskip("sam2", reason="the FP32 backend is not installed")
    monkeypatch.chdir(tmp_path)
    for name in ("mine.pt", "MedSAM2_2411.pt"):
        torch.save({"model": Code()}, tmp_path / name)
        with pytest.raises(AutoMedSAMError, match=r"holds code, not weights alone .*and is not opened"):
            take(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_checkpoint_that_was_trained_further_finds_its_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="the FP32 backend is not installed")
    pytest.importorskip("sam2", reason="the FP32 backend is not installed")
    from tiny_checkpoint import TINY, write_checkpoint

    monkeypatch.setitem(checkpoint_check.NETWORKS, "tiny", TINY)
    found = take(write_checkpoint(tmp_path / "my liver (v2).pt"), detector="glioma")
    assert found.bundle.name == "my-liver-v2" and (found.bundle.folder / "my-liver-v2.pt").is_file()
    assert "Terms unknown" in found.bundle.license
    assert found.bundle.architecture == TINY.architecture and found.bundle.files(Backend.FP32_TORCH)
    again = take(write_checkpoint(tmp_path / "b.pt"), network="tiny", name="b")
    assert again.bundle.architecture == TINY.architecture and not again.bundle.has_detector
    with pytest.raises(AutoMedSAMError, match=r"does not fit sam2\.1_hiera_t .*missing"):
        take(write_checkpoint(tmp_path / "c.pt"), network="sam2.1_hiera_t")
    with pytest.raises(AutoMedSAMError, match="There is no network nonsense: choose one of"):
        take(write_checkpoint(tmp_path / "c.pt"), network="nonsense")
