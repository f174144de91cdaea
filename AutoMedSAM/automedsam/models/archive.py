"""Zip files of bundles: only what the manifest names is unpacked, and only inside the bundle's own folder."""

from __future__ import annotations

import hashlib
import stat
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from automedsam.contract.manifest import MANIFEST_NAME, named_files, read_manifest
from automedsam.errors import AutoMedSAMError

_CHUNK = 1 << 20
_MAX_ENTRIES = 10_000
_MAX_MANIFEST_BYTES = 16_000_000
_MAX_TEXT_BYTES = 1_000_000
# Weights hardly shrink in a zip file; anything near this is not weights.
_MAX_RATIO = 100
_TEXTS = (".md", ".txt")
_ENCRYPTED = 1


Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class _OpenArchive:
    """A zip file whose entries are harmless: its files by name, and the folder in it that has the manifest."""

    path: Path
    file: zipfile.ZipFile
    entries: Mapping[str, zipfile.ZipInfo]
    top: PurePosixPath


def unpack_bundle(path: Path, folder: Path, progress: Progress | None = None) -> Path:
    """Unpacks the one bundle of a zip file.

    The manifest, the files that it names, and texts beside it (`.md`, `.txt`) are written, each file checked against
    its size and SHA-256. The zip file's other files are left out.

    Args:
        path: The zip file.
        folder: An empty folder.
        progress: Called with the bytes that are unpacked so far, and all bytes.

    Returns:
        The folder of the manifest: `folder`, or a folder in it.

    Raises:
        AutoMedSAMError: If the file is not a zip file or is damaged, has names that lead outside its folder, links,
            encrypted files or more data than a bundle of its size can have, has no bundle or several, or lacks a file.
        OSError: If the folder cannot be written to.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _checked_entries(path, archive)
            top = _bundle_folder(path, entries)
            bundle = folder / top
            bundle.mkdir(parents=True, exist_ok=True)
            (bundle / MANIFEST_NAME).write_bytes(
                _read(path, archive, entries[str(top / MANIFEST_NAME)], _MAX_MANIFEST_BYTES)
            )
            manifest = read_manifest(bundle)
            _unpack_files(_OpenArchive(path, archive, entries, top), manifest, folder, progress)
            for name, entry in entries.items():
                if PurePosixPath(name).parent == top and name.lower().endswith(_TEXTS):
                    (folder / name).write_bytes(_read(path, archive, entry, _MAX_TEXT_BYTES))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, UnicodeError) as error:
        message = f"{path} is not a zip file, or an incomplete or damaged one ({error}): download or copy it again."
        raise AutoMedSAMError(message) from error
    except Exception as error:
        if type(error).__module__ not in ("zlib", "lzma", "_lzma", "bz2"):
            raise
        message = f"{path} is damaged: download or copy it again."
        raise AutoMedSAMError(message) from error
    return bundle


def has_bundle(path: Path) -> bool:
    """Whether a file is a zip file with a bundle's manifest in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(PurePosixPath(name).name == MANIFEST_NAME for name in archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError):
        return False


def _checked_entries(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files by name, once every entry is known to be harmless."""
    entries = archive.infolist()
    if len(entries) > _MAX_ENTRIES:
        message = f"{path} has {len(entries)} files, more than a bundle has: it is not imported."
        raise AutoMedSAMError(message)
    unpacked, packed = sum(entry.file_size for entry in entries), max(path.stat().st_size, 1)
    if unpacked > packed * _MAX_RATIO + _MAX_MANIFEST_BYTES:
        message = (
            f"{path} would grow from {packed / 1e6:.1f} to {unpacked / 1e6:.0f} MB, more than a bundle does: it is not "
            "imported."
        )
        raise AutoMedSAMError(message)
    files: dict[str, zipfile.ZipInfo] = {}
    seen = set()
    for entry in entries:
        _check_entry(path, entry)
        if entry.is_dir():
            continue
        if entry.filename.casefold() in seen:
            message = f"{path} has two files named {entry.filename!r:.200}: it is not imported."
            raise AutoMedSAMError(message)
        seen.add(entry.filename.casefold())
        files[entry.filename] = entry
    return files


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    # `filename` ends at a null byte and may have had its separators replaced; the name as stored may not.
    for name in (entry.orig_filename, entry.filename):
        parts = PurePosixPath(name).parts
        if name.startswith("/") or "\\" in name or ":" in name or "\0" in name or ".." in parts or not parts:
            message = f"{path} has a file whose name leads outside its folder ({name!r:.200}): it is not imported."
            raise AutoMedSAMError(message)
    mode = entry.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        message = f"{path} has a link or a device in the place of a file ({entry.filename!r:.200}): it is not imported."
        raise AutoMedSAMError(message)
    if entry.flag_bits & _ENCRYPTED:
        message = f"{path} is encrypted: import one without a password."
        raise AutoMedSAMError(message)


def _bundle_folder(path: Path, entries: Mapping[str, zipfile.ZipInfo]) -> PurePosixPath:
    found = [PurePosixPath(name).parent for name in entries if PurePosixPath(name).name == MANIFEST_NAME]
    if not found:
        message = f"{path} has no {MANIFEST_NAME}: import the zip file of a bundle."
        raise AutoMedSAMError(message)
    if len(found) > 1:
        names = ", ".join(sorted(str(folder) for folder in found)[:5])
        message = f"{path} has several bundles ({names}): make a zip file of each."
        raise AutoMedSAMError(message)
    if len(found[0].parts) > 1:
        message = (
            f"{path} has its {MANIFEST_NAME} too deep in folders ({found[0]}): make a zip file of the bundle's folder."
        )
        raise AutoMedSAMError(message)
    return found[0]


def _unpack_files(archive: _OpenArchive, manifest: Mapping[str, Any], folder: Path, progress: Progress | None) -> None:
    # A bundle may name files of a precision that it comes without.
    entries = archive.entries
    there = {
        relative: name for relative in named_files(manifest) if (name := _inside(archive.top, relative)) in entries
    }
    precisions = [set(files.values()) for files in manifest["segmenter"]["files"].values()]
    complete = [files for files in precisions if files <= there.keys()]
    begun = there.keys() - set().union(*complete)
    if not complete or any(files & begun for files in precisions if files not in complete):
        missing = [relative for relative in named_files(manifest) if relative not in there]
        some = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        message = f"{archive.path} lacks files that its {MANIFEST_NAME} names ({some}): make the zip file again."
        raise AutoMedSAMError(message)
    total, done = sum(entries[name].file_size for name in there.values()), 0
    for relative, name in there.items():
        known, target = manifest["files"][relative], folder / name
        if entries[name].file_size != known["bytes"]:
            raise _changed(archive.path, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with archive.file.open(entries[name]) as source, target.open("wb") as out:
            while piece := source.read(_CHUNK):
                out.write(piece)
                digest.update(piece)
                done += len(piece)
                if progress:
                    progress(done, total)
        if digest.hexdigest() != known["sha256"]:
            raise _changed(archive.path, name)


def _inside(top: PurePosixPath, relative: str) -> str:
    """The name in the zip file of a file that the manifest names: beside the manifest, or in a folder beside that."""
    parts = PurePosixPath(relative).parts
    return str(PurePosixPath(*parts[1:])) if parts[0] == ".." and top.parts else str(top / relative)


def _changed(path: Path, name: str) -> AutoMedSAMError:
    return AutoMedSAMError(f"{path}: {name} is damaged or changed (it differs from {MANIFEST_NAME}): make it again.")


def _read(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    with archive.open(entry) as file:
        content = file.read(most + 1)
    if len(content) > most:
        message = f"{path}: {entry.filename} is larger than {most / 1e6:.0f} MB: it is not imported."
        raise AutoMedSAMError(message)
    return content
