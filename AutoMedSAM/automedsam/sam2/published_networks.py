"""The networks of published SAM 2 checkpoints, by the names of their YAML files."""

from __future__ import annotations

from dataclasses import dataclass

from automedsam.sam2.architecture import Sam2Architecture

NO_OBJECT_EMBEDDING = "no_obj_embed_spatial"


@dataclass(frozen=True)
class PublishedNetwork:
    """A network of published checkpoints.

    Attributes:
        name: Of the YAML file in the `sam2` or MedSAM2 package, without its ending.
        about: The network in words.
        architecture: Its numbers.
        zeros: Keys that such checkpoints lack. Filled with zeros they leave the network as it was: SAM 2.0 adds
            nothing to the memory of a slice without the object, where SAM 2.1 adds `no_obj_embed_spatial`.
    """

    name: str
    about: str
    architecture: Sam2Architecture
    zeros: tuple[str, ...] = ()


_SMALL = Sam2Architecture(image_size=1024, stages=(1, 2, 11, 2), global_att_blocks=(7, 10, 13))
_BASE_PLUS = Sam2Architecture(
    image_size=1024,
    embed_dim=112,
    num_heads=2,
    stages=(2, 3, 16, 3),
    global_att_blocks=(12, 16, 20),
    window_pos_embed_bkg_spatial_size=(14, 14),
)

NETWORKS = {
    network.name: network
    for network in (
        PublishedNetwork("sam2.1_hiera_t512", "MedSAM2: SAM 2.1 tiny at 512 px", Sam2Architecture(image_size=512)),
        PublishedNetwork("sam2.1_hiera_t", "SAM 2.1 tiny at 1024 px", Sam2Architecture(image_size=1024)),
        PublishedNetwork("sam2.1_hiera_s", "SAM 2.1 small at 1024 px", _SMALL),
        PublishedNetwork("sam2.1_hiera_b+", "SAM 2.1 base-plus at 1024 px", _BASE_PLUS),
        PublishedNetwork(
            "sam2_hiera_t",
            "Medical SAM 2: SAM 2.0 tiny at 1024 px, stored as bfloat16",
            Sam2Architecture(image_size=1024, temporal_pointers=False),
            zeros=(NO_OBJECT_EMBEDDING,),
        ),
    )
}
