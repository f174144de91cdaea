"""The SAM 2 network of a segmenter bundle, built from the `sam2` package's own classes.

Only the FP32 backend and the lab use this module: torch and sam2 are imported when a network is built.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

from automedsam.errors import AutoMedSAMError

BACKBONE_STRIDE = 16
TRUNKS = ("hiera", "conv", "efficient")
OPERATION_NAMES = (
    *(f"mb_k{side}_e{expand}" for side in (3, 5, 7) for expand in (2, 4, 6)),
    "fused_e2",
    "fused_e4",
    "rep",
    "attention",
    "identity",
)
"""What the stages of an "efficient" trunk are built from; see `efficient_blocks.py`."""

_MAX_SIZE = 65_536


@dataclass(frozen=True)
class Sam2Architecture:
    """The numbers that shape a SAM 2 video model (Ravi et al., 2024, arXiv:2408.00714).

    The defaults are Meta's `sam2.1_hiera_t` at 512 px, which is also MedSAM2's network; names follow its YAML.
    `image_size` is in pixels and a multiple of 32. `trunk` is "hiera"; "conv" for the small one of
    `conv_trunk.py`, of which `embed_dim` and `stages` are the width and the blocks; or "efficient" for that of
    `efficient_trunk.py`, of which `widths` and `operations` are the channels and the names of the operations of each
    stage. `num_heads` are those of the Hiera's first stage, `window_pos_embed_bkg_spatial_size` is the grid of its
    global position embedding. `decoder_feedforward` is the inner width of the mask decoder's transformer.
    """

    image_size: int = 512
    trunk: str = "hiera"
    embed_dim: int = 96
    num_heads: int = 1
    stages: tuple[int, ...] = (1, 2, 7, 2)
    widths: tuple[int, ...] = ()
    operations: tuple[tuple[str, ...], ...] = ()
    global_att_blocks: tuple[int, ...] = (5, 7, 9)
    window_spec: tuple[int, ...] = (8, 4, 14, 7)
    window_pos_embed_bkg_spatial_size: tuple[int, int] = (7, 7)
    fpn_top_down_levels: tuple[int, ...] = (2, 3)
    d_model: int = 256
    memory_dim: int = 64
    memory_layers: int = 4
    memory_feedforward: int = 2048
    fuser_layer_scale: float = 1e-6
    num_maskmem: int = 7
    max_obj_ptrs_in_encoder: int = 16
    temporal_pointers: bool = True
    multimask: bool = True
    decoder_feedforward: int = 2048

    @property
    def feature_size(self) -> int:
        """Side of the image embedding, in cells of 16 x 16 pixels."""
        return self.image_size // BACKBONE_STRIDE

    @classmethod
    def from_manifest(cls, values: dict[str, Any]) -> Sam2Architecture:
        """Reads what `to_manifest` wrote.

        Raises:
            AutoMedSAMError: if the manifest names a number that this version does not know.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            message = (
                f"The bundle's segmenter has settings that this version does not know ({', '.join(unknown)}): "
                "update AutoMedSAM."
            )
            raise AutoMedSAMError(message)
        settings: dict[str, Any] = {name: _as_tuples(value) for name, value in values.items()}
        for field in fields(cls):
            valid = _are_operations if field.name == "operations" else partial(_is_like, default=field.default)
            if field.name in settings and not valid(settings[field.name]):
                message = (
                    f"The bundle's segmenter has {settings[field.name]!r:.60} as its {field.name}, where a value such "
                    f"as {field.default!r} belongs: install the bundle again."
                )
                raise AutoMedSAMError(message)
        return cls(**settings)

    def to_manifest(self) -> dict[str, Any]:
        """The same numbers as plain JSON values."""
        return {name: _as_lists(value) for name, value in asdict(self).items()}


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(one) for one in value) if isinstance(value, (list, tuple)) else value


def _as_lists(value: Any) -> Any:
    return [_as_lists(one) for one in value] if isinstance(value, (list, tuple)) else value


def _are_operations(value: Any) -> bool:
    """Whether a value of a manifest names the operations of stages."""
    return isinstance(value, tuple) and all(
        isinstance(stage, tuple) and all(isinstance(name, str) and name in OPERATION_NAMES for name in stage)
        for stage in value
    )


def _is_like(value: Any, default: Any) -> bool:
    """Whether a value of a manifest can stand where this default stands: of its type, and a size that can exist."""
    if isinstance(default, tuple):
        filled = len(value) > 0 or default == () if isinstance(value, tuple) else False
        return filled and all(_is_like(one, 1) for one in value)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, str):
        return value in TRUNKS
    if isinstance(default, float):
        return isinstance(value, (int, float)) and 0 <= value <= 1
    return isinstance(value, int) and 0 <= value <= _MAX_SIZE
