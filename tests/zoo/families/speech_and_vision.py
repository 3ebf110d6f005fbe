"""Hugging Face models of images, sound and pairs of image and text, tiny, from their configuration alone."""

import torch

from zoo.architecture import add
from zoo.families.causal_lms import build
from zoo.families.parts import tokens

VIT = {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 4,
    "patch_size": 2,
    "num_channels": 2,
    "num_labels": 3,
}
TEXT = {
    "vocab_size": 7,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 8,
    "eos_token_id": 6,
    "bos_token_id": 5,
    "pad_token_id": 0,
}
VISION = {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 4,
    "patch_size": 2,
    "num_channels": 2,
}


def _pixels(n=3, channels=2, side=4):
    return lambda: {"pixel_values": torch.randn(n, channels, side, side)}


CLASSIFIERS = {
    "vit": ("ViTConfig", "ViTForImageClassification", VIT, 4),
    "deit": ("DeiTConfig", "DeiTForImageClassification", VIT, 4),
    "beit": ("BeitConfig", "BeitForImageClassification", {**VIT, "use_relative_position_bias": True}, 4),
    "dinov2": ("Dinov2Config", "Dinov2ForImageClassification", {**VIT, "mlp_ratio": 2}, 4),
    "resnet": (
        "ResNetConfig",
        "ResNetForImageClassification",
        {
            "num_channels": 2,
            "embedding_size": 3,
            "hidden_sizes": [4, 4],
            "depths": [1, 1],
            "layer_type": "basic",
            "num_labels": 3,
        },
        8,
    ),
    "resnet-bottleneck": (
        "ResNetConfig",
        "ResNetForImageClassification",
        {"num_channels": 2, "embedding_size": 3, "hidden_sizes": [4, 8], "depths": [1, 1], "num_labels": 3},
        8,
    ),
    "convnext": (
        "ConvNextConfig",
        "ConvNextForImageClassification",
        {
            "num_channels": 2,
            "hidden_sizes": [4, 4],
            "depths": [1, 1],
            "num_stages": 2,
            "patch_size": 2,
            "num_labels": 3,
        },
        8,
    ),
    "convnextv2": (
        "ConvNextV2Config",
        "ConvNextV2ForImageClassification",
        {
            "num_channels": 2,
            "hidden_sizes": [4, 4],
            "depths": [1, 1],
            "num_stages": 2,
            "patch_size": 2,
            "num_labels": 3,
        },
        8,
    ),
    "swin": (
        "SwinConfig",
        "SwinForImageClassification",
        {
            "image_size": 8,
            "patch_size": 2,
            "num_channels": 2,
            "embed_dim": 4,
            "depths": [2],
            "num_heads": [2],
            "window_size": 2,
            "num_labels": 3,
        },
        8,
    ),
    "regnet": (
        "RegNetConfig",
        "RegNetForImageClassification",
        {
            "num_channels": 2,
            "embedding_size": 4,
            "hidden_sizes": [4, 4],
            "depths": [1, 1],
            "groups_width": 2,
            "num_labels": 3,
        },
        8,
    ),
    "poolformer": (
        "PoolFormerConfig",
        "PoolFormerForImageClassification",
        {
            "num_channels": 2,
            "hidden_sizes": [4, 4],
            "depths": [1, 1],
            "patch_sizes": [3, 3],
            "strides": [2, 2],
            "padding": [1, 1],
            "num_encoder_blocks": 2,
            "num_labels": 3,
        },
        8,
    ),
}
for name, (config, model, settings, side) in CLASSIFIERS.items():
    add(
        name,
        lambda config=config, model=model, settings=settings, side=side: build(
            config, model, settings, inputs=_pixels(3, 2, side)
        ),
        family=__name__,
        losses=("cross_entropy",) if name not in ("vit", "resnet") else ("mse", "cross_entropy"),
        tolerance=1e-6,
    )


def _clip(logits):
    def make():
        def inputs():
            return {
                "input_ids": torch.tensor([[5, 1, 6], [5, 2, 6], [5, 3, 6]]),
                "pixel_values": torch.randn(3, 2, 4, 4),
            }

        return build(
            "CLIPConfig",
            "CLIPModel",
            {"text_config": TEXT, "vision_config": VISION, "projection_dim": 4},
            inputs=inputs,
        )

    return make


def _siglip():
    inputs = lambda: {"input_ids": tokens(3, 3), "pixel_values": torch.randn(3, 2, 4, 4)}  # noqa: E731
    return build("SiglipConfig", "SiglipModel", {"text_config": TEXT, "vision_config": VISION}, inputs=inputs)


WHISPER = {
    "vocab_size": 7,
    "num_mel_bins": 4,
    "d_model": 8,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 12,
    "decoder_ffn_dim": 12,
    "max_source_positions": 4,
    "max_target_positions": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "use_cache": False,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}
WAV = {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "conv_dim": [4, 4],
    "conv_stride": [2, 2],
    "conv_kernel": [3, 3],
    "num_conv_pos_embeddings": 3,
    "num_conv_pos_embedding_groups": 2,
    "num_labels": 3,
    "classifier_proj_size": 4,
    "num_feat_extract_layers": 2,
    "feat_extract_norm": "layer",
    "vocab_size": 7,
}


def _whisper():
    inputs = lambda: {"input_features": torch.randn(2, 4, 8), "decoder_input_ids": tokens(2, 3)}  # noqa: E731
    return build("WhisperConfig", "WhisperForConditionalGeneration", WHISPER, inputs=inputs)


def _wav2vec2():
    return build(
        "Wav2Vec2Config", "Wav2Vec2ForSequenceClassification", WAV, inputs=lambda: {"input_values": torch.randn(2, 40)}
    )


def _decision_transformer():
    settings = {
        "state_dim": 3,
        "act_dim": 2,
        "hidden_size": 8,
        "n_layer": 1,
        "n_head": 2,
        "max_ep_len": 8,
        "vocab_size": 1,
    }

    def inputs():
        return {
            "states": torch.randn(2, 3, 3),
            "actions": torch.randn(2, 3, 2),
            "rewards": torch.randn(2, 3, 1),
            "returns_to_go": torch.randn(2, 3, 1),
            "timesteps": torch.tensor([[0, 1, 2], [1, 2, 3]]),
            "attention_mask": torch.ones(2, 3),
        }

    return build("DecisionTransformerConfig", "DecisionTransformerModel", settings, inputs=inputs)


add(
    "clip",
    _clip("logits_per_image"),
    family=__name__,
    losses=("cross_entropy",),
    output="logits_per_image",
    tolerance=1e-6,
)
add(
    "clip-text-side",
    _clip("logits_per_text"),
    family=__name__,
    losses=("cross_entropy",),
    output=lambda out: out.logits_per_text,
    tolerance=1e-6,
)
add("siglip", _siglip, family=__name__, losses=("mse",), output="logits_per_image", tolerance=1e-6)
add("whisper", _whisper, family=__name__, losses=("cross_entropy",), tolerance=1e-6)
add("wav2vec2", _wav2vec2, family=__name__, losses=("cross_entropy",), tolerance=1e-6)
add(
    "decision-transformer",
    _decision_transformer,
    family=__name__,
    losses=("mse",),
    output="action_preds",
    tolerance=1e-6,
)
