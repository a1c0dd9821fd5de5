"""Language models from transformers: built from their dimensions, weights loaded and checked; text generation.

Shapes: B texts, S tokens read, L tokens of a target or of both, V vocabulary.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    MarianConfig,
    MarianMTModel,
    PreTrainedConfig,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.utils import logging as transformers_logging

from harness.config import ConfigError, GeneratorModelConfig, Outputs, Tokens
from harness.model.base import Network, TransformersForm, check_loaded
from harness.model.config_file import check_config_file
from harness.model.hf_classifier import checkpoint_layers
from harness.model.hf_loading import reload
from harness.model.hf_tokens import end_ids
from harness.model.text_parts import TARGETS
from harness.system import assets

_GPT2 = {name: rf"transformer\.{pattern}" for name, pattern in TARGETS["gpt2"].items()}
_T5 = {
    "query": r"(encoder|decoder)\.block\.\d+\.layer\.0\.SelfAttention\.q",
    "key": r"(encoder|decoder)\.block\.\d+\.layer\.0\.SelfAttention\.k",
    "value": r"(encoder|decoder)\.block\.\d+\.layer\.0\.SelfAttention\.v",
    "output": r"(encoder|decoder)\.block\.\d+\.layer\.0\.SelfAttention\.o",
    "cross_query": r"decoder\.block\.\d+\.layer\.1\.EncDecAttention\.q",
    "cross_key": r"decoder\.block\.\d+\.layer\.1\.EncDecAttention\.k",
    "cross_value": r"decoder\.block\.\d+\.layer\.1\.EncDecAttention\.v",
    "cross_output": r"decoder\.block\.\d+\.layer\.1\.EncDecAttention\.o",
    "ffn_up": r"(encoder|decoder)\.block\.\d+\.layer\.\d\.DenseReluDense\.wi",
    "ffn_down": r"(encoder|decoder)\.block\.\d+\.layer\.\d\.DenseReluDense\.wo",
}
_MARIAN = {
    "query": r"model\.(encoder|decoder)\.layers\.\d+\.self_attn\.q_proj",
    "key": r"model\.(encoder|decoder)\.layers\.\d+\.self_attn\.k_proj",
    "value": r"model\.(encoder|decoder)\.layers\.\d+\.self_attn\.v_proj",
    "output": r"model\.(encoder|decoder)\.layers\.\d+\.self_attn\.out_proj",
    "cross_query": r"model\.decoder\.layers\.\d+\.encoder_attn\.q_proj",
    "cross_key": r"model\.decoder\.layers\.\d+\.encoder_attn\.k_proj",
    "cross_value": r"model\.decoder\.layers\.\d+\.encoder_attn\.v_proj",
    "cross_output": r"model\.decoder\.layers\.\d+\.encoder_attn\.out_proj",
    "ffn_up": r"model\.(encoder|decoder)\.layers\.\d+\.fc1",
    "ffn_down": r"model\.(encoder|decoder)\.layers\.\d+\.fc2",
}
GENERATOR_TARGETS: dict[str, dict[str, str]] = {"gpt2": _GPT2, "t5": _T5, "marian": _MARIAN}
"""For each family, the pattern of module names behind the names that all transformers share."""


class Generator(Network):
    """A language model with its output layer inside `base`; there is no fresh head, so `head` is empty."""

    forward_methods = ("generate",)

    def __init__(self, base: PreTrainedModel, targets: dict[str, str], beams: int) -> None:
        super().__init__(base, nn.Module(), targets)
        self.beams = beams

    @property
    def causal(self) -> bool:
        """True if source and target are read as one sequence."""
        return not self.base.config.is_encoder_decoder  # type: ignore[union-attr]

    @property
    def gives_next_token(self) -> bool:
        return self.causal

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, L, V) at every token; where a batch says the `places` (B, T) of its labels, at these (B, T, V).

        A batch of `positions` (B, L) in place of a mask has several examples in a row: each begins where these do not
        go on by one, which transformers takes as the border that no attention crosses.
        """
        inputs = {"input_ids": batch["ids"]}
        inputs |= {"position_ids": batch["positions"]} if "positions" in batch else {"attention_mask": batch["mask"]}
        if not self.causal:
            inputs["decoder_input_ids"] = batch["decoder_ids"]
        with _output_at(self.base, batch.get("places")):
            logits: Tensor = self.base(**inputs, use_cache=False).logits
        return logits

    def save_whole(self, tokenizer: Path | None, folder: Path) -> bool:
        """Write a folder that transformers loads."""
        assert tokenizer is not None
        save_generator(self.base, tokenizer, folder)
        return True

    def checkpoint_activations(self) -> None:
        checkpoint_layers(self.base)

    def load_whole(self, folder: Path) -> None:
        assert isinstance(self.base, PreTrainedModel)
        reload(self.base, folder)

    def transformers_form(self) -> TransformersForm:
        kind, task = ("AutoModelForCausalLM", "CAUSAL_LM") if self.causal else ("AutoModelForSeq2SeqLM", "SEQ_2_SEQ_LM")
        return TransformersForm(self.base, kind, task)

    @torch.no_grad()
    def generate(self, batch: dict[str, Tensor], max_new_tokens: int, ends: Sequence[int] = ()) -> Tensor:
        """Ids (B, at most max_new_tokens) generated for the sources of a batch; after its end a row holds padding.

        Greedy, or the best of `beams` beams. Of a causal batch only the prompts are read, moved to the right, so that
        what is written follows on them at once. The ids of `ends` end a row as well as the model's own.
        """
        config: Any = self.base.config
        ids, mask = _prompts(batch, config.pad_token_id) if self.causal else (batch["ids"], batch["mask"])
        settings = GenerationConfig(
            max_new_tokens=max_new_tokens,
            num_beams=self.beams,
            do_sample=False,
            pad_token_id=config.pad_token_id,
            eos_token_id=end_ids(config.eos_token_id, *ends) or None,
            bos_token_id=config.eos_token_id,
            decoder_start_token_id=getattr(config, "decoder_start_token_id", None),
            # Marian gives its padding, which starts the decoder, a logit like any other token's.
            bad_words_ids=[[config.pad_token_id]] if config.model_type == "marian" else None,
        )
        with self.mixed():
            written: Tensor = self.base.generate(  # type: ignore[operator]
                input_ids=ids, attention_mask=mask, generation_config=settings
            )
        return written[:, ids.shape[1] :] if self.causal else written[:, 1:]


@contextmanager
def _output_at(base: nn.Module, places_BT: Tensor | None) -> Iterator[None]:
    """Inside, the output layer reads the tokens at these places alone: of a large vocabulary it is most of the work."""
    if places_BT is None:
        yield
        return

    def chosen(_: nn.Module, states: tuple[Tensor, ...]) -> tuple[Tensor]:
        (states_BLH,) = states
        return (states_BLH.gather(1, places_BT.unsqueeze(2).expand(-1, -1, states_BLH.shape[2])),)

    hook = base.get_output_embeddings().register_forward_pre_hook(chosen)  # type: ignore[operator]
    try:
        yield
    finally:
        hook.remove()


def build(config: GeneratorModelConfig, _: Outputs, weights: bool) -> Generator:
    """A language model, as harness.model.build says; its weights are fresh where the configuration names none."""
    made = _transformers_config(config)
    if weights and config.weights is not None:
        base = _load(config, made)
    else:
        base = _FAMILIES[config.family][1](made)
    base.train()  # transformers hands loaded networks out in evaluation mode: dropout would be off
    return Generator(base, GENERATOR_TARGETS[config.family], config.beams)


def generator_folder(config: GeneratorModelConfig) -> Path | None:
    """The verified folder of weights and tokenizer; null where the weights are fresh."""
    if config.weights is None:
        return None
    try:
        folder = assets.fetch(config.weights.address, config.weights.sha256)
    except assets.AssetError as error:
        if config.made_by is None or isinstance(error, assets.Unreachable):
            raise
        raise assets.AssetError(f"{error}; this makes it: {config.made_by}") from None
    check_config_file(folder, _transformers_config(config), config.name, config.weights.address)
    return folder


def base_file(config: GeneratorModelConfig) -> Path | None:
    """The verified file of the pretrained weights; null where they are fresh."""
    folder = generator_folder(config)
    return None if folder is None else _weights_file(config, folder)


def tokens(config: GeneratorModelConfig) -> Tokens:
    """The tokenizer as configured, or beside the weights, or to be learned; and the ids set around texts."""
    pad, end, decoder_start = special_tokens_of(config)
    if config.tokenizer is not None:
        folder = assets.fetch(config.tokenizer.address, config.tokenizer.sha256)
    elif (beside := generator_folder(config)) is not None:
        folder = beside
    elif config.family == "marian":
        raise ConfigError("model.tokenizer: missing; fresh weights of the family marian need one")
    else:
        first, last = _LEARNED[config.family]
        return Tokens(None, pad, end, decoder_start, config.separator, config.shape.vocabulary, first, last)
    return Tokens(folder, pad, end, decoder_start, config.separator)


# Special tokens of a tokenizer that is learned, at its lowest and its highest ids.
_LEARNED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "t5": (("<pad>", "</s>"), ()),
    "gpt2": ((), ("<|endoftext|>",)),
}


def save_generator(base: nn.Module, tokenizer: Path, folder: Path) -> None:
    """A folder that transformers loads, and `path:` too: weights, their configuration, the tokenizer in `tokenizer`."""
    assert isinstance(base, PreTrainedModel)
    base.save_pretrained(folder)
    for name in ("tokenizer.json", "source.spm", "target.spm", "vocab.json"):
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, folder / name)


def special_tokens_of(config: GeneratorModelConfig) -> tuple[int, int, int | None]:
    """The ids of padding, of the end, and of what a decoder starts from (null: a causal model)."""
    last = config.shape.vocabulary - 1
    return {"gpt2": (last, last, None), "t5": (0, 1, 0), "marian": (last, 0, last)}[config.family]


def _weights_file(config: GeneratorModelConfig, folder: Path) -> Path:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    assert config.weights is not None
    raise assets.AssetError(f"{config.weights.address}: no model.safetensors in it")


def _load(config: GeneratorModelConfig, made: PreTrainedConfig) -> PreTrainedModel:
    folder = generator_folder(config)
    assert folder is not None
    assert config.weights is not None
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    base, report = _FAMILIES[config.family][1].from_pretrained(
        folder,
        config=made,
        generation_config=GenerationConfig(),  # ours is set in `generate`, and its file may not be there
        attn_implementation="sdpa",
        dtype=torch.float32,
        # The other kind is a pickle, which transformers reads as tensors only.
        use_safetensors=_weights_file(config, folder).suffix == ".safetensors",
        local_files_only=True,
        output_loading_info=True,
    )
    check_loaded(base, report, config.weights.address)
    loaded: PreTrainedModel = base
    return loaded


def _prompts(batch: dict[str, Tensor], pad: int) -> tuple[Tensor, Tensor]:
    """The sources of a causal batch and their mask, padded on the left (B, S).

    They stand in front of its ids, or apart, as `prompt_ids`.
    """
    lengths = batch["prompt"]
    width = int(lengths.max())
    columns = torch.arange(width, device=lengths.device) - (width - lengths).unsqueeze(1)
    mask = columns >= 0
    ids = batch.get("prompt_ids", batch["ids"]).gather(1, columns.clamp(min=0))
    return ids.masked_fill(~mask, pad), mask.long()


def _gpt2_config(config: GeneratorModelConfig) -> PreTrainedConfig:
    shape, (pad, end, _) = config.shape, special_tokens_of(config)
    return GPT2Config(
        vocab_size=shape.vocabulary,
        n_positions=shape.positions or 1024,
        n_embd=shape.hidden,
        n_layer=shape.layers,
        n_head=shape.heads,
        n_inner=shape.ffn,
        resid_pdrop=config.dropout,
        embd_pdrop=config.dropout,
        attn_pdrop=config.dropout,
        pad_token_id=pad,  # GPT-2 has no padding token; what stands on padding is masked
        bos_token_id=end,
        eos_token_id=end,
    )


def _t5_config(config: GeneratorModelConfig) -> PreTrainedConfig:
    shape, (pad, end, _) = config.shape, special_tokens_of(config)
    return T5Config(
        vocab_size=shape.vocabulary,
        d_model=shape.hidden,
        d_kv=shape.head_size,
        d_ff=shape.ffn,
        num_layers=shape.layers,
        num_decoder_layers=shape.decoder_layers,
        num_heads=shape.heads,
        dropout_rate=config.dropout,
        pad_token_id=pad,
        eos_token_id=end,
    )


def _marian_config(config: GeneratorModelConfig) -> PreTrainedConfig:
    shape, (pad, end, _) = config.shape, special_tokens_of(config)
    return MarianConfig(
        vocab_size=shape.vocabulary,
        max_position_embeddings=shape.positions or 512,
        d_model=shape.hidden,
        encoder_layers=shape.layers,
        decoder_layers=shape.decoder_layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
        encoder_ffn_dim=shape.ffn,
        decoder_ffn_dim=shape.ffn,
        activation_function="swish",
        forced_eos_token_id=None,
        scale_embedding=True,
        dropout=config.dropout,
        pad_token_id=pad,
        eos_token_id=end,
    )


_FAMILIES: dict[str, tuple[Any, Any]] = {
    "gpt2": (_gpt2_config, GPT2LMHeadModel),
    "t5": (_t5_config, T5ForConditionalGeneration),
    "marian": (_marian_config, MarianMTModel),
}


def _transformers_config(config: GeneratorModelConfig) -> PreTrainedConfig:
    made: PreTrainedConfig = _FAMILIES[config.family][0](config)
    made.decoder_start_token_id = special_tokens_of(config)[2]
    return made
