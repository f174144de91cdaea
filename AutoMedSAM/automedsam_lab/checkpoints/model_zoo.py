"""The published SAM 2 checkpoints: their networks, where the files are, and under which terms."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from automedsam.errors import AutoMedSAMError
from automedsam.sam2.architecture import Sam2Architecture

MEDSAM2_TERMS = (
    "MedSAM2's weights are for research and education (wanglab/MedSAM2 on Hugging Face): do not redistribute them."
)
META_TERMS = "Apache-2.0 (SAM 2.1, Meta)."
MEDICAL_SAM2_TERMS = (
    "Medical SAM 2's weights come without stated terms (jiayuanz3/MedSAM2_pretrain on Hugging Face): ask their authors."
)
NO_OBJECT_EMBEDDING = "no_obj_embed_spatial"
CT_WINDOW = (-160.0, 240.0)


@dataclass(frozen=True)
class PublishedFile:
    """One published checkpoint.

    Attributes:
        name: of the file.
        page: where it is offered.
        licence: the terms of the weights.
        sha256: of the file, where it is known.
        bytes: its size, where it is known.
        modality: what it was made for, in a bundle's words.
        window: the grey levels that it was made for, None for each volume's percentiles.
        label: what it finds.
    """

    name: str
    page: str
    licence: str
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


def _medsam2(
    name: str, modality: str = "any", label: str = "Lesion", sha256: str | None = None, length: int | None = None
) -> PublishedFile:
    window = CT_WINDOW if modality == "CT" else None
    page = "https://huggingface.co/wanglab/MedSAM2"
    return PublishedFile(name, page, MEDSAM2_TERMS, sha256, length, modality, window, label)


def _meta(size: str, sha256: str, length: int | None = None) -> PublishedFile:
    page = f"https://huggingface.co/facebook/sam2.1-hiera-{size.replace('_', '-')}"
    return PublishedFile(f"sam2.1_hiera_{size}.pt", page, META_TERMS, sha256, length)


_SMALL = Sam2Architecture(image_size=1024, stages=(1, 2, 11, 2), global_att_blocks=(7, 10, 13))
_BASE_PLUS = Sam2Architecture(
    image_size=1024,
    embed_dim=112,
    num_heads=2,
    stages=(2, 3, 16, 3),
    global_att_blocks=(12, 16, 20),
    window_pos_embed_bkg_spatial_size=(14, 14),
)

CONFIGS = {
    config.name: config
    for config in (
        Config(
            "sam2.1_hiera_t512",
            "MedSAM2: SAM 2.1 tiny at 512 px",
            Sam2Architecture(image_size=512),
            (
                _medsam2(
                    "MedSAM2_latest.pt",
                    sha256="c92743b99f00d078bf32a3afcc38aaa9faf1c1692dffe3eaa7a90938c1991060",
                    length=156_040_129,
                ),
                _medsam2("MedSAM2_2411.pt"),
                _medsam2("MedSAM2_CTLesion.pt", "CT"),
                _medsam2("MedSAM2_MRI_LiverLesion.pt", "MR", "Liver lesion"),
                _medsam2("MedSAM2_US_Heart.pt", "US", "Heart"),
            ),
        ),
        Config(
            "sam2.1_hiera_t",
            "SAM 2.1 tiny at 1024 px",
            Sam2Architecture(image_size=1024),
            (_meta("tiny", "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69", 156_008_466),),
        ),
        Config(
            "sam2.1_hiera_s",
            "SAM 2.1 small at 1024 px",
            _SMALL,
            (_meta("small", "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),),
        ),
        Config(
            "sam2.1_hiera_b+",
            "SAM 2.1 base-plus at 1024 px",
            _BASE_PLUS,
            (_meta("base_plus", "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"),),
        ),
        Config(
            "sam2_hiera_t",
            "Medical SAM 2: SAM 2.0 tiny at 1024 px, stored as bfloat16",
            Sam2Architecture(image_size=1024, temporal_pointers=False),
            (
                PublishedFile(
                    "MedSAM2_pretrain.pth",
                    "https://huggingface.co/jiayuanz3/MedSAM2_pretrain",
                    MEDICAL_SAM2_TERMS,
                    "059572b072eff2e41975bf85b0dcca96bc58889db60a89e9f5b1f075236735d7",
                ),
            ),
            zeros=(NO_OBJECT_EMBEDDING,),
        ),
    )
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
