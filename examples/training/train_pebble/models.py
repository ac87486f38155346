"""The shapes of every network in the two pebbles."""

from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    WanTransformer3DModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

TEXT_WIDTH = 256
CLIP_WIDTH = 192
VIDEO_CHANNELS = 16
VIDEO_SHIFT = 3.0
IMAGE_SHIFT = 2.0


def video_autoencoder() -> AutoencoderKLWan:
    return AutoencoderKLWan(
        base_dim=32,
        z_dim=VIDEO_CHANNELS,
        dim_mult=[1, 3, 4],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        latents_mean=[0.0] * VIDEO_CHANNELS,
        latents_std=[1.0] * VIDEO_CHANNELS,
        scale_factor_spatial=4,
    )


def image_autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=16,
        sample_size=128,
        scaling_factor=1.0,
        shift_factor=0.0,
        use_quant_conv=False,
        use_post_quant_conv=False,
        force_upcast=False,
    )


def video_transformer() -> WanTransformer3DModel:
    return WanTransformer3DModel(
        patch_size=(1, 4, 4),
        in_channels=VIDEO_CHANNELS,
        out_channels=VIDEO_CHANNELS,
        num_attention_heads=6,
        attention_head_dim=64,
        text_dim=TEXT_WIDTH,
        freq_dim=256,
        ffn_dim=640,
        num_layers=8,
        rope_max_seq_len=256,
    )


def image_transformer() -> FluxTransformer2DModel:
    return FluxTransformer2DModel(
        in_channels=32,
        num_layers=2,
        num_single_layers=4,
        attention_head_dim=64,
        num_attention_heads=4,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=CLIP_WIDTH,
        axes_dims_rope=(16, 24, 24),
    )


def t5_shape(vocabulary: int) -> dict[str, int | float | str]:
    """What the T5 and the UMT5 encoder have in common."""
    return {
        "vocab_size": vocabulary,
        "d_model": TEXT_WIDTH,
        "d_kv": 64,
        "d_ff": 512,
        "num_layers": 2,
        "num_heads": 4,
        "feed_forward_proj": "gated-gelu",
        "dropout_rate": 0.0,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }


def video_text_encoder(vocabulary: int) -> UMT5EncoderModel:
    return UMT5EncoderModel(UMT5Config(**t5_shape(vocabulary)))


def image_text_encoder(vocabulary: int) -> T5EncoderModel:
    return T5EncoderModel(T5Config(**t5_shape(vocabulary)))


def clip_text_encoder(vocabulary: int, start: int, end: int) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=CLIP_WIDTH,
            intermediate_size=512,
            projection_dim=CLIP_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=3,
            bos_token_id=start,
            eos_token_id=end,
            pad_token_id=end,
        )
    )


def scheduler(shift: float) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(shift=shift)
