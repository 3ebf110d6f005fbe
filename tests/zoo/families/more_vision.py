"""More models of images, sound, series and several of them, tiny, from their configuration alone."""

import torch

from zoo.architecture import add
from zoo.families.causal_lms import LLAMA, build
from zoo.families.parts import tokens
from zoo.families.speech_and_vision import TEXT, VISION, VIT, WAV

OPTIONS = {"family": __name__, "losses": ("cross_entropy",), "tolerance": 1e-6}


def _pixels(side):
    return lambda: {"pixel_values": torch.randn(2, 2, side, side)}


CLASSIFIERS = {
    "mobilevit": (
        "MobileViTConfig",
        "MobileViTForImageClassification",
        {
            "num_channels": 2,
            "image_size": 32,
            "patch_size": 2,
            "hidden_sizes": [4, 4, 4],
            "neck_hidden_sizes": [2, 2, 4, 4, 4, 4, 8],
            "num_attention_heads": 2,
            "expand_ratio": 1.0,
            "num_labels": 3,
        },
        32,
    ),
    "pvt-v2": (
        "PvtV2Config",
        "PvtV2ForImageClassification",
        {
            "num_channels": 2,
            "image_size": 32,
            "num_encoder_blocks": 2,
            "depths": [1, 1],
            "sr_ratios": [2, 1],
            "hidden_sizes": [4, 4],
            "patch_sizes": [3, 3],
            "strides": [4, 2],
            "num_attention_heads": [1, 2],
            "mlp_ratios": [2, 2],
            "num_labels": 3,
        },
        32,
    ),
    "segformer": (
        "SegformerConfig",
        "SegformerForImageClassification",
        {
            "num_channels": 2,
            "num_encoder_blocks": 2,
            "depths": [1, 1],
            "sr_ratios": [2, 1],
            "hidden_sizes": [4, 4],
            "patch_sizes": [3, 3],
            "strides": [4, 2],
            "num_attention_heads": [1, 2],
            "mlp_ratios": [2, 2],
            "num_labels": 3,
        },
        16,
    ),
    "swinv2": (
        "Swinv2Config",
        "Swinv2ForImageClassification",
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
    "focalnet": (
        "FocalNetConfig",
        "FocalNetForImageClassification",
        {
            "image_size": 8,
            "patch_size": 2,
            "num_channels": 2,
            "embed_dim": 4,
            "hidden_sizes": [4],
            "depths": [1],
            "focal_levels": [1],
            "focal_windows": [3],
            "num_labels": 3,
        },
        8,
    ),
    "vit-register": (
        "Dinov2WithRegistersConfig",
        "Dinov2WithRegistersForImageClassification",
        {**VIT, "mlp_ratio": 2, "num_register_tokens": 2},
        4,
    ),
    "vit-interpolated": ("ViTConfig", "ViTForImageClassification", VIT, 4),
}
for name, (config, model, settings, side) in CLASSIFIERS.items():
    add(name, lambda made=(config, model, settings), side=side: build(*made, inputs=_pixels(side)), **OPTIONS)


def _segmentation():
    settings = {
        "num_channels": 2,
        "num_encoder_blocks": 2,
        "depths": [1, 1],
        "sr_ratios": [2, 1],
        "hidden_sizes": [4, 4],
        "patch_sizes": [3, 3],
        "strides": [2, 1],
        "num_attention_heads": [1, 2],
        "mlp_ratios": [2, 2],
        "decoder_hidden_size": 4,
        "num_labels": 3,
    }
    return build("SegformerConfig", "SegformerForSemanticSegmentation", settings, inputs=_pixels(8))


def _clip_classifier():
    return build(
        "CLIPConfig",
        "CLIPForImageClassification",
        {"text_config": TEXT, "vision_config": VISION, "projection_dim": 4, "num_labels": 3},
        inputs=_pixels(4),
    )


def _caption():
    """An image before a text, by cross attention."""
    import transformers

    settings = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(**VIT),
        transformers.GPT2Config(
            vocab_size=7,
            n_embd=8,
            n_layer=1,
            n_head=2,
            n_positions=8,
            add_cross_attention=True,
            bos_token_id=0,
            eos_token_id=0,
        ),
    )
    settings.decoder_start_token_id, settings.pad_token_id = 0, 0
    inputs = {"pixel_values": torch.randn(2, 2, 4, 4), "decoder_input_ids": tokens(2, 3)}
    net = transformers.VisionEncoderDecoderModel(settings)
    return net, inputs


def _wav2vec2_frames():
    return build("Wav2Vec2Config", "Wav2Vec2ForCTC", WAV, inputs=lambda: {"input_values": torch.randn(2, 20)})


def _hubert():
    return build(
        "HubertConfig", "HubertForSequenceClassification", WAV, inputs=lambda: {"input_values": torch.randn(2, 40)}
    )


def _time_series():
    settings = {
        "context_length": 8,
        "patch_length": 4,
        "patch_stride": 4,
        "num_input_channels": 2,
        "d_model": 8,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "ffn_dim": 12,
        "prediction_length": 3,
        "loss": "mse",
        "scaling": None,
    }
    return build(
        "PatchTSTConfig", "PatchTSTForPrediction", settings, inputs=lambda: {"past_values": torch.randn(2, 8, 2)}
    )


def _mixer_series():
    settings = {
        "context_length": 8,
        "patch_length": 4,
        "patch_stride": 4,
        "num_input_channels": 2,
        "d_model": 8,
        "num_layers": 1,
        "prediction_length": 3,
        "scaling": None,
    }
    return build(
        "PatchTSMixerConfig",
        "PatchTSMixerForPrediction",
        settings,
        inputs=lambda: {"past_values": torch.randn(2, 8, 2)},
    )


def _masked_autoencoder():
    settings = {
        **VIT,
        "decoder_hidden_size": 8,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 12,
    }
    settings.pop("num_labels")
    return build("ViTMAEConfig", "ViTMAEForPreTraining", settings, inputs=_pixels(4))


def _super_resolution():
    settings = {
        "image_size": 8,
        "patch_size": 1,
        "num_channels": 2,
        "embed_dim": 4,
        "depths": [1],
        "num_heads": [2],
        "window_size": 2,
        "upscale": 2,
        "upsampler": "pixelshuffledirect",
    }
    return build(
        "Swin2SRConfig",
        "Swin2SRForImageSuperResolution",
        settings,
        inputs=lambda: {"pixel_values": torch.randn(1, 2, 4, 4)},
    )


def _image_and_text_lm():
    """Patches projected into a language model's stream."""
    settings = {
        "vision_config": {**VISION, "model_type": "clip_vision_model", "image_size": 4},
        "text_config": {**LLAMA, "vocab_size": 9, "model_type": "llama"},
        "image_token_index": 8,
        "vision_feature_layer": -1,
    }

    def inputs():
        ids = torch.cat([torch.full((2, 4), 8), tokens(2, 2)], 1)
        return {"input_ids": ids, "pixel_values": torch.randn(2, 2, 4, 4)}

    return build("LlavaConfig", "LlavaForConditionalGeneration", settings, inputs=inputs)


for name, make in {
    "image-caption": _caption,
    "clip-classifier": _clip_classifier,
    "wav2vec2-frames": _wav2vec2_frames,
    "hubert": _hubert,
    "llava": _image_and_text_lm,
}.items():
    add(name, make, **OPTIONS)
add("segformer-pixels", _segmentation, family=__name__, losses=("cross_entropy",), class_axis=1, tolerance=1e-6)
for name, make, output in (
    ("patch-tst", _time_series, "prediction_outputs"),
    ("patch-ts-mixer", _mixer_series, "prediction_outputs"),
    ("swin2sr", _super_resolution, "reconstruction"),
):
    add(name, make, family=__name__, losses=("mse",), output=output, tolerance=1e-6)
add(
    "masked-autoencoder",
    _masked_autoencoder,
    family=__name__,
    losses=("mse",),
    output="logits",
    tolerance=1e-6,
    refusal="patches are masked at random",
)
