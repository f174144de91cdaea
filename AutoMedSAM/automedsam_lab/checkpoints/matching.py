"""Checkpoints of others: read without running what they may hold, and held against the network they should fit."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError  # what torch raises for a file that holds code; nothing is unpickled here
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from automedsam.errors import AutoMedSAMError
from automedsam.sam2.build import build_sam2
from automedsam_lab.checkpoints.model_zoo import CONFIGS, Config

Shapes = Mapping[str, tuple[int, ...]]
SHOWN = 3

# Under which name training programs put the weights, the averaged ones first.
WRAPPERS = ("ema_net", "model", "state_dict", "net")
_DISTRIBUTED = "module."

# A key that only this model has, for those that people mistake for SAM 2's.
OTHER_MODELS = {
    "SAM 1 or MedSAM": "image_encoder.blocks.0.attn.rel_pos_h",
    "MobileSAM or LiteMedSAM": "image_encoder.layers.0.blocks.0.conv1.c.weight",
    "EfficientTAM": "image_encoder.neck.convs.0.conv_1x1.weight",
    "YOLO-NAS, which is given as --detector": "heads.head1.cls_pred.weight",
    "the lab's own segmenter, which is not converted but exported": "image_encoder.trunk.stem.0.weight",
}
_WIDTHS_OF_SAM2 = {144: "SAM 2 large, which is too slow on a CPU and not read"}
_PATCHES = "image_encoder.trunk.patch_embed.proj.weight"


@dataclass(frozen=True)
class Mismatch:
    """What of a checkpoint does not fit a network.

    Attributes:
        missing: keys of the network that the checkpoint lacks.
        unknown: keys of the checkpoint that the network lacks.
        misshapen: key to the shape in the checkpoint and the shape in the network.
    """

    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    misshapen: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unknown or self.misshapen)

    def lines(self) -> list[str]:
        """Every key that does not fit, one a line."""
        return [
            *(f"missing    {key}" for key in self.missing),
            *(f"unknown    {key}" for key in self.unknown),
            *(f"misshapen  {key}: {found}, not {wanted}" for key, (found, wanted) in self.misshapen.items()),
        ]

    def summary(self) -> str:
        """The same in a clause: how many, in which parts, and the first few."""
        shapes = [f"{key} is {found}, not {wanted}" for key, (found, wanted) in self.misshapen.items()]
        clauses = [
            _clause("missing", self.missing, self.missing),
            _clause("unknown", self.unknown, self.unknown),
            _clause("of another shape", shapes, list(self.misshapen)),
        ]
        return "; ".join(clause for clause in clauses if clause)


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
        message = f"{path} holds weights that are not finite ({_some(broken)}): its training failed, give another."
        raise AutoMedSAMError(message)
    return weights


def read_stored(path: Path) -> Any:
    """What a checkpoint holds, as far as it can be read without running code.

    Raises:
        AutoMedSAMError: if the file is missing, incomplete, damaged or holds code.
    """
    _check_whole(path)
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
    except Exception as error:  # On damaged bytes torch's reader may stumble over anything.
        message = f"{path} is incomplete or damaged ({type(error).__name__}): download it again."
        raise AutoMedSAMError(message) from error


def _check_whole(path: Path) -> None:
    """Looks for a broken download before torch does, whose reader checks no checksum."""
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
        message = f"{path} is incomplete ({path.stat().st_size:,} {_of_how_many(path)}bytes): download it again."
        raise AutoMedSAMError(message) from error
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror or error}): give the file of a checkpoint."
        raise AutoMedSAMError(message) from error


def _of_how_many(path: Path) -> str:
    known = (file.bytes for config in CONFIGS.values() for file in config.files if file.name == path.name)
    length = next(known, None)
    return "" if length is None else f"of {length:,} "


def _weights(stored: Any) -> Mapping[str, Tensor] | None:
    if not isinstance(stored, Mapping) or not stored:
        return None
    if all(isinstance(key, str) and isinstance(value, Tensor) for key, value in stored.items()):
        return stored
    return next((found for name in WRAPPERS if (found := _weights(stored.get(name))) is not None), None)


def compare(found: Shapes, wanted: Shapes) -> Mismatch:
    """Holds the shapes of a checkpoint against those of a network."""
    return Mismatch(
        tuple(key for key in wanted if key not in found),
        tuple(key for key in found if key not in wanted),
        {key: (found[key], wanted[key]) for key in wanted if key in found and found[key] != wanted[key]},
    )


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor."""
    return {key: tuple(value.shape) for key, value in state.items()}


def config_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """The keys and shapes of a configuration's checkpoints; no weight is allocated."""
    with MetaTensorMode():
        shapes = shapes_of(build_sam2(config.architecture).state_dict())
    return {key: shape for key, shape in shapes.items() if key not in config.zeros}


def mismatch_message(path: Path, state: Mapping[str, Tensor], config: Config, mismatch: Mismatch) -> str:
    """One sentence on what of a checkpoint does not fit, and on which model it may be."""
    others = [other.name for other in CONFIGS.values() if other is not config and not match_state_dict(state, other)]
    if others:
        advice = f"it fits {' and '.join(others)}: give --config {others[0]}"
    else:
        known = _other_model(state)
        advice = f"it is a checkpoint of {known}" if known else "it is another model's checkpoint, or a changed one"
    return f"{path} does not fit {config.name} ({config.about}), {advice}; {mismatch.summary()}."


def match_state_dict(state: Mapping[str, Tensor], config: Config) -> Mismatch:
    """What of a checkpoint does not fit a configuration; false if all does."""
    return compare(shapes_of(state), config_shapes(config))


def _other_model(state: Mapping[str, Tensor]) -> str | None:
    if _PATCHES in state and len(state[_PATCHES]) in _WIDTHS_OF_SAM2:
        return _WIDTHS_OF_SAM2[len(state[_PATCHES])]
    return next((name for name, key in OTHER_MODELS.items() if key in state), None)


def _clause(what: str, found: list[str] | tuple[str, ...], keys: list[str] | tuple[str, ...]) -> str:
    if not found:
        return ""
    parts = Counter(key.partition(".")[0] for key in keys)
    counted = ", ".join(parts if len(parts) == 1 else (f"{part} {count}" for part, count in parts.items()))
    where = f" in {counted}" if len(found) > SHOWN else ""
    return f"{len(found)} {what}{where} ({_some(found)})"


def _some(items: Iterable[str]) -> str:
    every = list(items)
    return ", ".join(every[:SHOWN]) + (f" and {len(every) - SHOWN} more" if len(every) > SHOWN else "")


class MetaTensorMode(TorchFunctionMode):
    """A context in which networks are built with weights that have a shape and no memory (the meta device).

    `torch.device("meta")` does not do: SAM 2's trunk reads numbers from a tensor while it is built.
    """

    _MAKERS = (torch.empty, torch.zeros, torch.ones, torch.randn)

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function in self._MAKERS and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return function(*args, **kwargs)
