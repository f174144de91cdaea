"""The published SAM 2 checkpoints: their networks, where the files are, and under which terms."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from automedsam.contract.catalog import CHECKPOINT, read_catalog
from automedsam.errors import AutoMedSAMError
from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.published_networks import NETWORKS, NO_OBJECT_EMBEDDING

__all__ = ["CONFIGS", "CT_WINDOW", "NO_OBJECT_EMBEDDING", "Config", "PublishedFile", "find_config", "find_file"]


MEDICAL_SAM2_TERMS = (
    "Medical SAM 2's weights come without stated terms (jiayuanz3/MedSAM2_pretrain on Hugging Face): ask their authors."
)
CT_WINDOW = (-160.0, 240.0)


@dataclass(frozen=True)
class PublishedFile:
    """One published checkpoint.

    Attributes:
        name: of the file.
        page: where it is offered.
        license: the terms of the weights.
        sha256: of the file, where it is known.
        bytes: its size, where it is known.
        modality: what it was made for, in a bundle's words.
        window: the grey levels that it was made for, None for each volume's percentiles.
        label: what it finds.
    """

    name: str
    page: str
    license: str
    sha256: str | None = None
    bytes: int | None = None
    modality: str = "any"
    window: tuple[float, float] | None = None
    label: str = "Lesion"


@dataclass(frozen=True)
class Config:
    """One network of published checkpoints.

    Attributes:
        name: of the YAML in the `sam2` or MedSAM2 package, without its ending.
        about: the network in words.
        architecture: its numbers.
        files: the checkpoints of this network.
        zeros: keys that such checkpoints lack, and that as zeros leave the network as it was: SAM 2.0 adds
            nothing to the memory of a slice without the object, where SAM 2.1 adds `no_obj_embed_spatial`.
    """

    name: str
    about: str
    architecture: Sam2Architecture
    files: tuple[PublishedFile, ...] = ()
    zeros: tuple[str, ...] = field(default=())


# Not in the catalog, since its terms are not stated.
_MEDICAL_SAM2 = PublishedFile(
    "MedSAM2_pretrain.pth",
    "https://huggingface.co/jiayuanz3/MedSAM2_pretrain",
    MEDICAL_SAM2_TERMS,
    "059572b072eff2e41975bf85b0dcca96bc58889db60a89e9f5b1f075236735d7",
)


def _files(network: str) -> tuple[PublishedFile, ...]:
    if network == "sam2_hiera_t":
        return (_MEDICAL_SAM2,)
    return tuple(
        PublishedFile(
            model.file.name,
            model.page,
            model.terms,
            model.file.sha256,
            model.file.bytes,
            model.modalities[0],
            model.window,
            model.labels[0],
        )
        for model in read_catalog()
        if model.kind == CHECKPOINT and model.network == network
    )


CONFIGS = {
    network.name: Config(network.name, network.about, network.architecture, _files(network.name), network.zeros)
    for network in NETWORKS.values()
}


def find_config(name: str) -> Config:
    """A network by the name of its YAML, with or without folder and ending (`configs/sam2.1/sam2.1_hiera_t.yaml`).

    Raises:
        AutoMedSAMError: if none is of that name.
    """
    short = Path(name).name.removesuffix(".yaml")
    if short not in CONFIGS:
        known = "; ".join(f"{config.name} ({config.about})" for config in CONFIGS.values())
        message = f"There is no configuration {name}: choose one of {known}."
        raise AutoMedSAMError(message)
    return CONFIGS[short]


def find_file(name: str, digest: str) -> tuple[PublishedFile, Config] | None:
    """The published checkpoint with this SHA-256, else the one of this name, and its network; None if neither."""
    every = [(file, config) for config in CONFIGS.values() for file in config.files]
    return next(
        (pair for pair in every if pair[0].sha256 == digest),
        next((pair for pair in every if pair[0].name == name), None),
    )
