"""Small configurations of the architectures that `model=hf` is tried with: two layers, a vocabulary of a hundred."""

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

_WIDE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_SPECIALS = {"vocab_size": 100, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
_TEXT = _SPECIALS | {"max_position_embeddings": 64}
_ENCODER = _WIDE | _TEXT
_GROUPED = _ENCODER | {"num_key_value_heads": 2}
_ROTARY = _GROUPED | {"head_dim": 8}
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_inner": 64}
_SIDE = {"layers": 2, "ffn_dim": 64, "attention_heads": 4}
_SIDES = {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in _SIDE.items()}
_SEQ2SEQ = _SIDES | {"d_model": 32, "forced_eos_token_id": None, "decoder_start_token_id": 3}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}

ENCODERS: dict[str, dict[str, Any]] = {
    "albert": _ENCODER | {"embedding_size": 16},
    "bert": _ENCODER,
    "camembert": _ENCODER,
    "convbert": _ENCODER | {"embedding_size": 32, "conv_kernel_size": 3},
    "deberta": _ENCODER | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": _ENCODER | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8},
    "distilbert": _TEXT | {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4},
    "electra": _ENCODER | {"embedding_size": 16},
    "ernie": _ENCODER,
    "esm": _ENCODER,
    "eurobert": _ROTARY,
    "modernbert": _ENCODER | {"cls_token_id": 2, "sep_token_id": 3, "local_attention": 8},
    "mpnet": _ENCODER,
    "megatron-bert": _ENCODER,
    "rembert": _ENCODER | {"input_embedding_size": 16, "output_embedding_size": 32},
    "roberta": _ENCODER,
    "roformer": _ENCODER | {"embedding_size": 32},
    "xlm-roberta": _ENCODER,
    "xlnet": _SPECIALS | {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64},
}
"""Encoders of text: {model_type: keys of its configuration}."""

DECODERS: dict[str, dict[str, Any]] = {
    "bloom": _TEXT | {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "falcon": _ENCODER | {"new_decoder_architecture": False, "multi_query": True, "bias": True},
    "gemma": _ROTARY,
    "gemma2": _ROTARY,
    "gemma3_text": _ROTARY,
    "gpt2": _TEXT | _GPT2,
    "gpt_neo": _TEXT | {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global"], 2]]},
    "gpt_neox": _ENCODER,
    "llama": _ROTARY,
    "mistral": _ROTARY,
    "mixtral": _ROTARY | {"num_local_experts": 2, "num_experts_per_tok": 1},
    "olmo2": _GROUPED,
    "opt": _TEXT
    | {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    | {"word_embed_proj_dim": 32},
    "phi": _GROUPED,
    "phi3": _GROUPED,
    "qwen2": _GROUPED,
    "qwen3": _ROTARY,
    "smollm3": _GROUPED,
    "stablelm": _GROUPED,
    "starcoder2": _GROUPED,
}
"""Causal language models, which classify by their last token."""

BARE_DECODERS: dict[str, dict[str, Any]] = {
    "cohere": _GROUPED,
    "granite": _GROUPED,
    "olmoe": _GROUPED | {"num_experts": 2, "num_experts_per_tok": 1},
}
"""Those that transformers has no classifier for."""

SEQ2SEQ: dict[str, dict[str, Any]] = {
    "bart": _TEXT | _SEQ2SEQ,
    "marian": _TEXT | _SEQ2SEQ | {"pad_token_id": 99, "decoder_start_token_id": 99, "decoder_vocab_size": 100},
    "mbart": _TEXT | _SEQ2SEQ,
    "mt5": _TEXT | _T5,
    "t5": _TEXT | _T5,
    "t5gemma": {"encoder": _ROTARY, "decoder": _ROTARY},
}
"""Encoders with decoders."""

TEXT = ENCODERS | DECODERS | {name: SEQ2SEQ[name] for name in SEQ2SEQ if name != "marian"}
"""The architectures with a head for sequences."""


_IMAGES = {"image_size": 32, "patch_size": 8}
_SWIN = {"image_size": 32, "patch_size": 4, "window_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2]}
_OF_TWO = {"vision_config": _WIDE | _IMAGES, "text_config": _ENCODER}
IMAGES: dict[str, dict[str, Any]] = {
    "beit": _WIDE | _IMAGES,
    "clip": _OF_TWO,
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    "convnextv2": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    "deit": _WIDE | _IMAGES,
    "dinov2": _WIDE | _IMAGES,
    "mobilenet_v2": {"depth_multiplier": 0.25, "image_size": 32},
    "regnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "groups_width": 4},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    "siglip": _OF_TWO,
    "swin": _SWIN,
    "swinv2": _SWIN,
    "vit": _WIDE | _IMAGES,
}
"""Networks over images."""

BARE_IMAGES: dict[str, dict[str, Any]] = {
    "dinov3_convnext": {"hidden_sizes": [8, 16], "depths": [1, 1], "image_size": 32},
    "dinov3_vit": _WIDE | _IMAGES | {"num_register_tokens": 2},
    "siglip_vision_model": _WIDE | _IMAGES,
    "vit_mae": _WIDE | _IMAGES,
}
"""Those that transformers has no classifier for."""

_CONVOLUTIONS = {"conv_dim": [8, 8], "conv_stride": [5, 2], "conv_kernel": [10, 3], "num_feat_extract_layers": 2}
_SOUND = _WIDE | _CONVOLUTIONS | {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "vocab_size": 40}
_SOUND |= {"classifier_proj_size": 16, "feat_extract_norm": "layer"}
_WHISPER = {"num_mel_bins": 8, "max_source_positions": 50, "max_target_positions": 16, "classifier_proj_size": 16}
AUDIO: dict[str, dict[str, Any]] = {
    "data2vec-audio": _SOUND | {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 3},
    "hubert": _SOUND,
    "sew": _SOUND | {"squeeze_factor": 2},
    "unispeech": _SOUND,
    "unispeech-sat": _SOUND,
    "wav2vec2": _SOUND,
    "wav2vec2-conformer": _SOUND | {"conv_depthwise_kernel_size": 3},
    "wavlm": _SOUND,
    "whisper": _SIDES | _SPECIALS | _WHISPER | {"d_model": 32, "decoder_start_token_id": 2},
}
"""Networks over recordings: of raw samples, and Whisper's encoder over log-mel spectra."""

_ALL = TEXT | BARE_DECODERS | SEQ2SEQ | IMAGES | BARE_IMAGES | AUDIO


def small_config(model_type: str) -> PreTrainedConfig:
    """The configuration of a small network of an architecture, as its class resolves it."""
    made: PreTrainedConfig = AutoConfig.for_model(model_type, **_ALL[model_type])
    return made
