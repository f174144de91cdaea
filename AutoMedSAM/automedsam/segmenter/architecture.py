"""The SAM 2 network of a segmenter bundle, built from the `sam2` package's own classes.

Only the FP32 backend and the lab use this module: torch and sam2 are imported when a network is built.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from automedsam.errors import AutoMedSAMError

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

BACKBONE_STRIDE = 16
TRUNKS = ("hiera", "conv")

_MAX_SIZE = 65_536


@dataclass(frozen=True)
class Sam2Architecture:
    """The numbers that shape a SAM 2 video model (Ravi et al., 2024, arXiv:2408.00714).

    The defaults are Meta's `sam2.1_hiera_t` at 512 px, which is also MedSAM2's network; names follow its YAML.
    `image_size` is in pixels and a multiple of 32. `trunk` is "hiera", or "conv" for the small one of
    `conv_trunk.py`, of which `embed_dim` and `stages` are the width and the blocks. `num_heads` are those of the
    Hiera's first stage, `window_pos_embed_bkg_spatial_size` is the grid of its global position embedding.
    """

    image_size: int = 512
    trunk: str = "hiera"
    embed_dim: int = 96
    num_heads: int = 1
    stages: tuple[int, ...] = (1, 2, 7, 2)
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
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        for field in fields(cls):
            if field.name in settings and not _is_like(settings[field.name], field.default):
                message = (
                    f"The bundle's segmenter has {settings[field.name]!r:.60} as its {field.name}, where a value such "
                    f"as {field.default!r} belongs: install the bundle again."
                )
                raise AutoMedSAMError(message)
        return cls(**settings)

    def to_manifest(self) -> dict[str, Any]:
        """The same numbers as plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def _is_like(value: Any, default: Any) -> bool:
    """Whether a value of a manifest can stand where this default stands: of its type, and a size that can exist."""
    if isinstance(default, tuple):
        return isinstance(value, tuple) and len(value) > 0 and all(_is_like(one, 1) for one in value)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, str):
        return value in TRUNKS
    if isinstance(default, float):
        return isinstance(value, (int, float)) and 0 <= value <= 1
    return isinstance(value, int) and 0 <= value <= _MAX_SIZE


def build_sam2(architecture: Sam2Architecture) -> SAM2Base:
    """Builds the network with freshly initialised weights, in training mode.

    Raises:
        AutoMedSAMError: if torch or sam2 is not installed.
    """
    try:
        from sam2.modeling.backbones.hieradet import Hiera
        from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
        from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
        from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
        from sam2.modeling.position_encoding import PositionEmbeddingSine
        from sam2.modeling.sam.transformer import RoPEAttention
        from sam2.modeling.sam2_base import SAM2Base
    except ImportError as error:
        message = (
            f"The FP32 backend needs PyTorch and sam2 ({error.name} is missing): "
            "pip install 'automedsam[fp32]', or choose the INT8 backend."
        )
        raise AutoMedSAMError(message) from error

    a = architecture
    width, cells = a.d_model, a.feature_size
    if a.trunk == "conv":
        from automedsam.segmenter.conv_trunk import ConvTrunk

        trunk = ConvTrunk(a.embed_dim, a.stages)
    else:
        trunk = Hiera(
            embed_dim=a.embed_dim,
            num_heads=a.num_heads,
            stages=a.stages,
            global_att_blocks=a.global_att_blocks,
            window_spec=a.window_spec,
            window_pos_embed_bkg_spatial_size=a.window_pos_embed_bkg_spatial_size,
        )
    neck = FpnNeck(
        position_encoding=PositionEmbeddingSine(num_pos_feats=width, normalize=True),
        d_model=width,
        backbone_channel_list=[a.embed_dim * 2**level for level in (3, 2, 1, 0)],
        fpn_top_down_levels=list(a.fpn_top_down_levels),
        fpn_interp_model="nearest",
    )
    rope: dict[str, Any] = {
        "rope_theta": 10000.0,
        "feat_sizes": [cells, cells],
        "embedding_dim": width,
        "num_heads": 1,
        "downsample_rate": 1,
        "dropout": 0.0,
    }
    layer = MemoryAttentionLayer(
        activation="relu",
        dim_feedforward=a.memory_feedforward,
        dropout=0.0,
        pos_enc_at_attn=False,
        self_attention=RoPEAttention(**rope),
        d_model=width,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        cross_attention=RoPEAttention(rope_k_repeat=True, kv_in_dim=a.memory_dim, **rope),
    )
    memory_encoder = MemoryEncoder(
        in_dim=width,
        out_dim=a.memory_dim,
        position_encoding=PositionEmbeddingSine(num_pos_feats=a.memory_dim, normalize=True),
        mask_downsampler=MaskDownSampler(embed_dim=width, kernel_size=3, stride=2, padding=1),
        fuser=Fuser(
            CXBlock(dim=width, kernel_size=7, padding=3, layer_scale_init_value=a.fuser_layer_scale), num_layers=2
        ),
    )
    return SAM2Base(
        image_encoder=ImageEncoder(trunk=trunk, neck=neck, scalp=1),
        memory_attention=MemoryAttention(d_model=width, pos_enc_at_input=True, layer=layer, num_layers=a.memory_layers),
        memory_encoder=memory_encoder,
        num_maskmem=a.num_maskmem,
        image_size=a.image_size,
        sigmoid_scale_for_mem_enc=20.0,
        sigmoid_bias_for_mem_enc=-10.0,
        binarize_mask_from_pts_for_mem_enc=True,
        use_mask_input_as_output_without_sam=True,
        directly_add_no_mem_embed=True,
        no_obj_embed_spatial=True,
        use_high_res_features_in_sam=True,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        max_obj_ptrs_in_encoder=a.max_obj_ptrs_in_encoder,
        add_tpos_enc_to_obj_ptrs=a.temporal_pointers,
        proj_tpos_enc_in_obj_ptrs=a.temporal_pointers,
        use_signed_tpos_enc_to_obj_ptrs=a.temporal_pointers,
        only_obj_ptrs_in_the_past_for_eval=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        fixed_no_obj_ptr=True,
        multimask_output_in_sam=a.multimask,
        multimask_output_for_tracking=a.multimask,
        use_multimask_token_for_obj_ptr=a.multimask,
        multimask_min_pt_num=0,
        multimask_max_pt_num=1,
        use_mlp_for_obj_ptr_proj=True,
        sam_mask_decoder_extra_args={
            "dynamic_multimask_via_stability": a.multimask,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
    )
