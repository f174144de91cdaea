"""SAM 2's PyTorch model of a given architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from automedsam.errors import AutoMedSAMError
from automedsam.sam2.architecture import Sam2Architecture

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

# `SAM2Base` has no option for the inner width of the mask decoder's transformer.
_FEEDFORWARD = 2048


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
        from sam2.modeling.sam.transformer import RoPEAttention, TwoWayTransformer
        from sam2.modeling.sam2_base import SAM2Base
    except ImportError as error:
        message = (
            f"The FP32 backend needs PyTorch and sam2 ({error.name} is missing): "
            "pip install 'automedsam[fp32]', or choose the INT8 backend."
        )
        raise AutoMedSAMError(message) from error

    a = architecture
    width, cells = a.d_model, a.feature_size
    trunk: Any
    channels = [a.embed_dim * 2**level for level in (3, 2, 1, 0)]
    if a.trunk == "efficient":
        from automedsam.sam2.efficient_trunk import EfficientTrunk

        trunk = EfficientTrunk(a.widths, a.operations)
        channels = trunk.channel_list
    elif a.trunk == "conv":
        from automedsam.sam2.conv_trunk import ConvTrunk

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
        backbone_channel_list=channels,
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
    model = SAM2Base(
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
    if a.decoder_feedforward != _FEEDFORWARD:
        model.sam_mask_decoder.transformer = TwoWayTransformer(
            depth=2, embedding_dim=width, mlp_dim=a.decoder_feedforward, num_heads=8
        )
    return model
