"""Checkpoint files of others: their weights are read, and no code that they may contain is run."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # what torch raises for a file that holds code; nothing is unpickled here
from typing import TYPE_CHECKING, Any

from automedsam.contract.catalog import published_size
from automedsam.errors import AutoMedSAMError

if TYPE_CHECKING:
    from torch import Tensor

# Under which name training programs put the weights, the averaged ones first.
WRAPPERS = ("ema_net", "model", "state_dict", "net")
_DISTRIBUTED = "module."
_SHOWN = 3


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Reads the weights of a checkpoint, and nothing else of it.

    Args:
        path: a bare state dict, or one under "model", "net", "ema_net" or "state_dict".

    Returns:
        The weights by key, floating ones as float32; the prefix of distributed training is taken off.

    Raises:
        AutoMedSAMError: if the file is missing, incomplete, damaged, holds code, or holds no weights.
    """
    stored = read_stored(path)
    found = _weights(stored)
    if found is None:
        holds = ", ".join(sorted(map(str, stored))[:5]) if isinstance(stored, Mapping) else type(stored).__name__
        message = f"{path} holds no weights of a network (but {holds or 'nothing'}): give a checkpoint."
        raise AutoMedSAMError(message)
    weights = {
        key.removeprefix(_DISTRIBUTED): value.float() if value.is_floating_point() else value
        for key, value in found.items()
    }
    broken = [key for key, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        some = ", ".join(broken[:_SHOWN]) + (f" and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else "")
        message = f"{path} holds weights that are not finite ({some}): its training failed, give another."
        raise AutoMedSAMError(message)
    return weights


def read_stored(path: Path) -> Any:
    """What a checkpoint holds, as far as it can be read without running code.

    Raises:
        AutoMedSAMError: if the file is missing, incomplete, damaged or holds code.
    """
    check_whole(path)
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        # torch names what it refused to call: "Unsupported global: GLOBAL posix.system ..."
        refused = re.search(r"(?:GLOBAL|class) `?([\w.]+)", str(error))
        if refused is None:
            message = f"{path} is no PyTorch checkpoint, or a damaged one: download it again."
            raise AutoMedSAMError(message) from error
        message = (
            f"{path} holds code, not weights alone (it asks for {refused.group(1)}), and is not opened: save the "
            "weights with 'torch.save(model.state_dict(), ...)' where you trust it, or get it from its publisher."
        )
        raise AutoMedSAMError(message) from error
    except Exception as error:  # On damaged bytes torch's reader raises anything.
        message = f"{path} is incomplete or damaged ({type(error).__name__}): download it again."
        raise AutoMedSAMError(message) from error


def check_whole(path: Path) -> None:
    """Looks for a broken download, without PyTorch, whose reader checks no checksum.

    Raises:
        AutoMedSAMError: if the file is missing, cannot be read, is incomplete or damaged, or is a web page.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
        if start.startswith(b"version https://git-lfs"):
            message = f"{path} is a pointer of Git LFS, not the weights: run 'git lfs pull', or download the file."
            raise AutoMedSAMError(message)
        if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
            message = f"{path} is a web page, not the weights: download the file itself."
            raise AutoMedSAMError(message)
        if start.startswith(b"PK"):
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                message = f"{path} is damaged (a wrong checksum in {damaged}): download it again."
                raise AutoMedSAMError(message)
    except FileNotFoundError as error:
        message = f"There is no checkpoint {path}: check its spelling and folder."
        raise AutoMedSAMError(message) from error
    except (zipfile.BadZipFile, EOFError) as error:
        length = published_size(path.name)
        of_how_many = "" if length is None else f"of {length:,} "
        message = f"{path} is incomplete ({path.stat().st_size:,} {of_how_many}bytes): download it again."
        raise AutoMedSAMError(message) from error
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror or error}): give the file of a checkpoint."
        raise AutoMedSAMError(message) from error


def _weights(stored: Any) -> Mapping[str, Tensor] | None:
    from torch import Tensor

    if not isinstance(stored, Mapping) or not stored:
        return None
    if all(isinstance(key, str) and isinstance(value, Tensor) for key, value in stored.items()):
        return stored
    return next((found for name in WRAPPERS if (found := _weights(stored.get(name))) is not None), None)
