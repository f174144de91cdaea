"""The zip file of a built-in bundle, as a user makes it."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from automedsam.bundle import load_bundle


def zip_of(
    bundle: str,
    path: Path,
    *,
    name: str | None = None,
    replaced: Mapping[str, bytes | None] | None = None,
    extra: Mapping[str, bytes] | None = None,
) -> Path:
    """Writes a bundle with the folder of its segmenter beside it.

    Args:
        bundle: The built-in bundle.
        path: The zip file.
        name: Another name for it.
        replaced: Other content by name in the zip file; None leaves a file out.
        extra: More files.
    """
    source = load_bundle(bundle)
    manifest = json.loads((source.folder / "bundle.json").read_text())
    files = {f"{bundle}/bundle.json": json.dumps({**manifest, "name": name or bundle}).encode()}
    for relative in manifest["files"]:
        file = source.folder / relative
        if file.is_file():
            files[relative.removeprefix("../") if relative.startswith("../") else f"{bundle}/{relative}"] = (
                file.read_bytes()
            )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for entry, content in {**files, **(replaced or {}), **(extra or {})}.items():
            if content is not None:
                archive.writestr(entry, content)
    return path
