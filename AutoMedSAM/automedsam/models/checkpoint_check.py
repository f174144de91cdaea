"""Which model a published `.pt` file is, and whether its weights are what they should be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from automedsam.bundle import file_hash
from automedsam.contract.catalog import CHECKPOINT, CatalogFile, CatalogModel, read_catalog
from automedsam.errors import AutoMedSAMError
from automedsam.models.pins import pinned_sha256
from automedsam.sam2.checkpoint_file import check_whole, read_state_dict
from automedsam.sam2.published_networks import NETWORKS, PublishedNetwork

UNKNOWN_TERMS = "Terms unknown: ask whoever trained the weights."


@dataclass(frozen=True)
class KnownCheckpoint:
    """What a checkpoint turned out to be.

    Attributes:
        model: Its entry in the catalog, or one made for it.
        network: Its network.
        notes: Sentences for the user.
    """

    model: CatalogModel
    network: PublishedNetwork
    notes: tuple[str, ...] = ()


def find_network(name: str) -> PublishedNetwork:
    """A network by its name.

    Raises:
        AutoMedSAMError: If there is none of this name.
    """
    if name not in NETWORKS:
        known = "; ".join(f"{network.name} ({network.about})" for network in NETWORKS.values())
        message = f"There is no network {name:.200}: choose one of {known}."
        raise AutoMedSAMError(message)
    return NETWORKS[name]


def identify_checkpoint(path: Path, network: str | None = None) -> KnownCheckpoint:
    """Finds out which model a checkpoint is: by its SHA-256, else its name, else the shapes of its weights.

    A file that the catalog does not know by its SHA-256 is opened with PyTorch, weights only: no code in it is run.

    Args:
        path: The file.
        network: The name of its network, where the user gives it.

    Raises:
        AutoMedSAMError: If the file is missing, damaged, contains code, is another file than the published one of its
            name, or fits no network; or PyTorch is needed to find out and is not installed.
    """
    requested = None if network is None else find_network(network)
    check_whole(path)
    digest = file_hash(path)
    entries = [model for model in read_catalog() if model.kind == CHECKPOINT]
    same = next((model for model in entries if digest in (model.file.sha256, pinned_sha256(model.file.url))), None)
    if same is not None and same.network is not None:
        return KnownCheckpoint(same, requested or find_network(same.network))
    named = next((model for model in entries if model.file.name == path.name), None)
    known_hash = named and (named.file.sha256 or pinned_sha256(named.file.url))
    if known_hash:
        message = (
            f"{path} is not the published {path.name}: its SHA-256 is {digest}, and that of the published file "
            f"{known_hash}. Download it again; if you trained it further, give it another name."
        )
        raise AutoMedSAMError(message)
    if named is not None and named.network is not None:
        chosen = requested or find_network(named.network)
        check_weights(path, chosen)
        note = (
            f"The catalog has no SHA-256 of {path.name}: its weights have the right shapes, but whether it is the "
            f"published file was not checked (its SHA-256 is {digest})."
        )
        return KnownCheckpoint(named, chosen, (note,))
    chosen, notes = _fitting_network(path, requested)
    return KnownCheckpoint(_unknown_model(path, chosen, digest), chosen, notes)


def check_weights(path: Path, network: PublishedNetwork) -> None:
    """Opens a checkpoint, weights only, and compares the shapes of its weights with those of a network.

    Raises:
        AutoMedSAMError: If it is damaged, contains code, does not fit, or PyTorch is not installed.
    """
    _need_torch(path)
    from automedsam.sam2.checkpoint_shapes import compare, network_shapes, other_model, shapes_of

    state = read_state_dict(path)
    mismatch = compare(shapes_of(state), network_shapes(network.architecture, network.zeros))
    if mismatch:
        known = other_model(state)
        what = f"it is a checkpoint of {known}" if known else "it is another model's checkpoint, or a changed one"
        message = f"{path} does not fit {network.name} ({network.about}), {what}; {mismatch.summary()}."
        raise AutoMedSAMError(message)


def has_torch() -> bool:
    """Whether the packages of the FP32 backend are installed."""
    return find_spec("torch") is not None and find_spec("sam2") is not None


def _fitting_network(path: Path, requested: PublishedNetwork | None) -> tuple[PublishedNetwork, tuple[str, ...]]:
    if requested is not None:
        check_weights(path, requested)
        return requested, ()
    _need_torch(path)
    from automedsam.sam2.checkpoint_shapes import network_shapes, shapes_of

    shapes = shapes_of(read_state_dict(path))
    fitting = [one for one in NETWORKS.values() if network_shapes(one.architecture, one.zeros) == shapes]
    if not fitting:
        check_weights(path, NETWORKS["sam2.1_hiera_t512"])
    first, *others = fitting
    if not others:
        return first, ()
    choices = " or ".join(f"{one.name} ({one.architecture.image_size} px)" for one in others)
    note = (
        f"The weights of {path.name} fit several networks; {first.name} ({first.architecture.image_size} px) is used. "
        f"If they were trained for another, import the file again with --network {choices}."
    )
    return first, (note,)


def _need_torch(path: Path) -> None:
    if not has_torch():
        message = (
            f"The catalog does not know {path.name}, and PyTorch, which is needed to check it, is not installed: "
            "pip install 'automedsam[fp32]'."
        )
        raise AutoMedSAMError(message)


def _unknown_model(path: Path, network: PublishedNetwork, digest: str) -> CatalogModel:
    # Names have letters, digits and a few signs.
    name = re.sub(r"[^A-Za-z0-9._+-]+", "-", path.stem).strip("-._")[:60] or "imported"
    return CatalogModel(
        name=name,
        version=digest[:7],
        kind=CHECKPOINT,
        about=f"Imported checkpoint of {network.about}",
        labels=("Lesion",),
        modalities=("any",),
        window=None,
        plane="axial",
        network=network.name,
        terms=UNKNOWN_TERMS,
        page="",
        megabytes=path.stat().st_size / 1e6,
        file=CatalogFile(f"{name}{path.suffix.lower()}", "", None, None),
    )
