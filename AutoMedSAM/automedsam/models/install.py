"""Installing models by download or from a file."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from automedsam.bundle import Bundle, file_hash, list_bundles, load_bundle
from automedsam.contract.catalog import CHECKPOINT, CatalogModel, is_model_name
from automedsam.contract.manifest import MANIFEST_NAME
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_folder, write_error_message
from automedsam.io.models_folder import DOWNLOADS, check_space, installed_folders, make_models_folder, models_folder
from automedsam.models.archive import has_bundle, unpack_bundle
from automedsam.models.checkpoint_check import (
    KnownCheckpoint,
    check_weights,
    find_network,
    has_torch,
    identify_checkpoint,
)
from automedsam.models.checkpoint_manifest import add_detector, checkpoint_manifest
from automedsam.models.download import Progress, download
from automedsam.models.pins import pin, pinned_sha256
from automedsam.sam2.checkpoint_file import check_whole

_CHUNK = 1 << 20
_ZIP, _CHECKPOINTS = ".zip", (".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Installed:
    """A model that was installed.

    Attributes:
        bundle: The model.
        notes: Sentences for the user.
    """

    bundle: Bundle
    notes: tuple[str, ...] = ()


def download_model(
    model: CatalogModel,
    progress: Progress,
    *,
    detector: str | None = None,
    allow_loopback: bool = False,
    pause: float = 1.0,
) -> Installed:
    """Downloads a model of the catalog and installs it; see `download` for how it is continued and checked.

    Args:
        model: What to install.
        progress: Called with the bytes that are here and all bytes; may raise to stop.
        detector: For a checkpoint, the model whose detector finds the objects; None leaves that to the user's boxes.
        allow_loopback: Whether plain HTTP addresses of this computer itself are accepted; tests use them.
        pause: Seconds to wait after a lost connection.

    Raises:
        AutoMedSAMError: If there is a model of this name, or it cannot be downloaded, checked or written.
    """
    _check_name(model.name)
    source = _detector_source(detector)
    folder = make_models_folder() / DOWNLOADS / model.name
    known = model.file.sha256 or pinned_sha256(model.file.url)
    path = download(replace(model.file, sha256=known), folder, progress, allow_loopback=allow_loopback, pause=pause)
    digest = file_hash(path)
    notes = [] if model.file.sha256 else [_unverified_note(model, digest, pinned=known is not None)]
    if model.kind == CHECKPOINT:
        network = find_network(str(model.network))
        if known is None:
            _check_download(path, KnownCheckpoint(model, network))
        bundle = _install_checkpoint(KnownCheckpoint(model, network), path, source, os.replace)
    else:
        bundle = _install_archive(path, model.name, progress, lambda _: None)
    if known is None:
        pin(model.file.url, digest)
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        folder.parent.rmdir()
    return Installed(bundle, tuple(notes))


def import_file(
    path: Path,
    progress: Progress,
    *,
    name: str | None = None,
    detector: str | None = None,
    network: str | None = None,
    check_terms: Callable[[CatalogModel | Bundle], None] = lambda _: None,
) -> Installed:
    """Installs a bundle's zip file or a published checkpoint that lies on this computer; the file stays as it is.

    Args:
        path: The file.
        progress: Called with the bytes that are copied and all bytes; may raise to stop.
        name: The name that the model gets; its own if None.
        detector: For a checkpoint, the model whose detector finds the objects; None leaves that to the user's boxes.
        network: For a checkpoint, the name of its network; found out if None.
        check_terms: Called with the model before it is installed; may raise to leave it.

    Raises:
        AutoMedSAMError: If the file is neither, is damaged or dangerous, or there is a model of this name.
    """
    if path.is_dir():
        message = f"{path} is a folder: run a bundle's folder with --model {path}, or import its zip file."
        raise AutoMedSAMError(message)
    if not path.is_file():
        message = f"There is no file {path}: check its spelling and folder."
        raise AutoMedSAMError(message)
    check_space(make_models_folder(), path.stat().st_size)
    if has_bundle(path) or path.suffix.lower() == _ZIP:
        if detector or network:
            message = (
                f"{path} is a bundle, which has its own segmenter and detector: leave out --detector and --network."
            )
            raise AutoMedSAMError(message)
        return Installed(_install_archive(path, name, progress, check_terms))
    if path.suffix.lower() not in _CHECKPOINTS:
        message = f"{path} is neither a bundle's zip file nor a checkpoint (.pt, .pth): choose one of these."
        raise AutoMedSAMError(message)
    source = _detector_source(detector)
    found = identify_checkpoint(path, network)
    if name is not None:
        found = replace(found, model=replace(found.model, name=name))
    _check_name(found.model.name)
    check_terms(found.model)
    bundle = _install_checkpoint(found, path, source, lambda old, new: _copy(old, new, progress))
    return Installed(bundle, found.notes)


def _check_name(name: str) -> None:
    if not is_model_name(name):
        message = f"{name!r:.200} cannot be a model's name: use letters, digits, dots, hyphens and underscores."
        raise AutoMedSAMError(message)
    names = {bundle.name.lower() for bundle in list_bundles()} | {folder.lower() for folder in installed_folders()}
    if name.lower() in names:
        message = (
            f"There is a model {name} already: remove it ('automedsam models remove {name}') or give another --name."
        )
        raise AutoMedSAMError(message)


def _detector_source(name: str | None) -> Bundle | None:
    if name is None:
        return None
    source = load_bundle(name)
    if not any((source.folder / path).is_file() for path in source.manifest["detector"]["files"].values()):
        message = f"The model {source.name} has no detector: choose another one for --detector."
        raise AutoMedSAMError(message)
    return source


def _unverified_note(model: CatalogModel, digest: str, *, pinned: bool) -> str:
    if pinned:
        return f"The catalog has no SHA-256 of {model.file.name}; it is the file that was downloaded before ({digest})."
    return (
        f"The catalog has no SHA-256 of {model.file.name}: that of this download, {digest}, is remembered, and a later "
        "download has to be the same."
    )


def _check_download(path: Path, found: KnownCheckpoint) -> None:
    """Checks what no SHA-256 vouches for; a file that fails is removed."""
    try:
        if has_torch():
            check_weights(path, found.network)
        else:
            check_whole(path)
    except AutoMedSAMError as error:
        path.unlink(missing_ok=True)
        message = f"What was downloaded from {found.model.file.url} is not the model, and was removed: {error}"
        raise AutoMedSAMError(message) from error


def _install_checkpoint(
    found: KnownCheckpoint, path: Path, source: Bundle | None, put: Callable[[Path, Path], object]
) -> Bundle:
    target = models_folder() / found.model.name
    with atomic_folder(target) as folder:
        name = found.model.file.name
        put(path, folder / name)
        manifest = checkpoint_manifest(found.model, found.network, folder / name)
        if source is not None:
            manifest = add_detector(manifest, folder, source)
        text = json.dumps(manifest, indent=1, allow_nan=False)
        (folder / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")
    return load_bundle(target)


def _install_archive(path: Path, name: str | None, progress: Progress, check_terms: Callable[[Bundle], None]) -> Bundle:
    if name is not None:
        _check_name(name)
    place = models_folder()
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=".import-", ignore_cleanup_errors=True) as temporary:
            folder = Path(temporary) / "bundle"
            folder.mkdir()
            bundle = _unpack(path, folder, name, progress)
            check_terms(bundle)
            folder.rename(place / bundle.name)
    except OSError as error:
        raise AutoMedSAMError(write_error_message(place, error)) from error
    return load_bundle(installed_folders()[bundle.name])


def _unpack(path: Path, folder: Path, name: str | None, progress: Progress) -> Bundle:
    """Unpacks and checks a bundle, and gives it another name if one is asked for."""
    try:
        bundle = load_bundle(unpack_bundle(path, folder, progress))
    except AutoMedSAMError as error:
        # The user knows the zip file, and not the folder that is gone in a moment.
        raise AutoMedSAMError(str(error).replace(f"The bundle in {folder}", f"The bundle of {path}")) from error
    _check_name(name or bundle.name)
    if name in (None, bundle.name):
        return bundle
    manifest = bundle.folder / MANIFEST_NAME
    content = json.loads(manifest.read_text(encoding="utf-8-sig"))
    manifest.write_text(json.dumps({**content, "name": name}, indent=1) + "\n", encoding="utf-8")
    return load_bundle(bundle.folder)


def _copy(source: Path, target: Path, progress: Progress) -> None:
    done, total = 0, source.stat().st_size
    with source.open("rb") as old, target.open("wb") as new:
        while piece := old.read(_CHUNK):
            new.write(piece)
            done += len(piece)
            progress(done, total)
