"""A published checkpoint of a tiny SAM 2.1, with random weights."""

import json
from pathlib import Path
from typing import Any

from automedsam.bundle import Bundle, load_bundle
from automedsam.contract.catalog import CHECKPOINT, CatalogFile, CatalogModel
from automedsam.models.checkpoint_manifest import checkpoint_manifest
from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.published_networks import PublishedNetwork

TINY = PublishedNetwork(
    "tiny",
    "a tiny SAM 2.1",
    Sam2Architecture(
        image_size=64,
        embed_dim=16,
        num_heads=2,
        stages=(1, 1, 2, 1),
        global_att_blocks=(3,),
        window_spec=(4, 4, 2, 2),
        window_pos_embed_bkg_spatial_size=(3, 3),
        d_model=64,
        memory_dim=16,
        memory_layers=1,
        memory_feedforward=64,
        num_maskmem=3,
        max_obj_ptrs_in_encoder=3,
    ),
)


def write_checkpoint(path: Path) -> Path:
    """Writes weights as MedSAM2 and Meta do: under "model", without the architecture."""
    import torch

    from automedsam.sam2.build import build_sam2

    torch.manual_seed(0)
    weights: Any = build_sam2(TINY.architecture).state_dict()
    torch.save({"model": weights}, path)
    return path


def catalog_model(
    file: CatalogFile, size: int, name: str = "tiny-sam", labels: tuple[str, ...] = ("Lesion",)
) -> CatalogModel:
    """The catalog's entry of the checkpoint, whose size is given in bytes."""
    return CatalogModel(
        name=name,
        version="1",
        kind=CHECKPOINT,
        about="A tiny SAM 2.1",
        labels=labels,
        modalities=("any",),
        window=None,
        plane="axial",
        network="tiny",
        terms="Apache-2.0",
        page="https://example.org",
        megabytes=size / 1e6,
        file=file,
    )


def install_tiny(folder: Path, name: str = "tiny-sam") -> Bundle:
    """Installs the checkpoint as a download does."""
    folder.mkdir(parents=True)
    weights = write_checkpoint(folder / "tiny.pt")
    file = CatalogFile("tiny.pt", "https://example.org/tiny.pt", None, None)
    model = catalog_model(file, weights.stat().st_size, name)
    (folder / "bundle.json").write_text(json.dumps(checkpoint_manifest(model, TINY, weights)), encoding="utf-8")
    return load_bundle(folder)
