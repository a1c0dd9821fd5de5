"""Chat templates in the forms that public models use, each with and without marks of what is generated; a tokenizer
with their special tokens; a small causal base beside it.
"""

import functools
import json
import re
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from tests.model.small import random_network

SPECIAL = (
    *("<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|header|>", "<|/header|>", "<|eot|>"),
    *("<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]"),
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
HEADERS = (
    "{{ bos_token }}{% for m in messages %}{{ '<|header|>' + m['role'] + '<|/header|>\\n\\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] | trim + '<|eot|>' }}{% endgeneration %}"
    "{% else %}{{ m['content'] | trim + '<|eot|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|header|>assistant<|/header|>\\n\\n' }}{% endif %}"
)
TURNS = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\\n\\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('the roles have to take turns') }}{% endif %}"
    "{% if m['role'] == 'assistant' %}{{ '<start_of_turn>model\\n' }}"
    "{% generation %}{{ m['content'] | trim + '<end_of_turn>' }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ '<start_of_turn>user\\n' + (first if loop.first else '') }}"
    "{{ m['content'] | trim + '<end_of_turn>\\n' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'system' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{% generation %}{{ ' ' + m.content + eos_token }}{% endgeneration %}{% endif %}{% endfor %}"
)
MARKED = {"chatml": CHATML, "headers": HEADERS, "turns": TURNS, "inst": INST}

FORGETS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}"
    "{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""Earlier answers lose what was thought before them, as in templates of models that reason."""


def unmarked(template: str) -> str:
    return re.sub(r"\{% (end)?generation %\}", "", template)


CHATS = (
    ({"role": "user", "content": "What is two plus two?"}, {"role": "assistant", "content": "Four, naïvely 🙂"}),
    (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "  Name a colour. "},
        {"role": "assistant", "content": "Blue."},
        {"role": "user", "content": "Another one?"},
        {"role": "assistant", "content": "Red.\nOr green."},
        {"role": "user", "content": "And a last one"},
        {"role": "assistant", "content": "Black"},
    ),
)


_WORDS = r" ?[^\s\p{L}\p{N}]+[\r\n]*| ?\p{L}+|\p{N}{1,3}|\s*[\r\n]+|\s+(?!\S)|\s+"
"""Line breaks stay together whatever follows, as with models whose templates end a prompt with two of them."""


TEXTS = [
    *(message["content"] for chat in CHATS for message in chat),
    "user\n\n assistant\n model\n system\n Assistant:",
]


@functools.cache
def _tokenizer(kind: str) -> str:
    tokenizer, alphabet = Tokenizer(models.BPE(byte_fallback=kind == "blanks")), pre_tokenizers.ByteLevel.alphabet()
    if kind == "bytes":
        split = pre_tokenizers.Split(Regex(_WORDS), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
        tokenizer.decoder = decoders.ByteLevel()
        more = []
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        spaces = decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)
        tokenizer.decoder = decoders.Sequence(list(spaces))
        alphabet, more = [], [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=400 + len(more),
        special_tokens=[*SPECIAL, *more],
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 1)])
    return str(tokenizer.to_str())


def write_tokenizer(folder: Path, template: str | None = None, kind: str = "bytes") -> Path:
    """A tokenizer that begins every text with <s>; with a chat template, as a base that was tuned has it.

    Of `bytes`, as GPT's, Llama 3's and Qwen's, or with `blanks` as signs, as Llama 2's, Mistral's and Gemma's.
    """
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(_tokenizer(kind))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    beside = {} if template is None else {"chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(said | beside))
    return folder / "tokenizer.json"


def theirs(folder: Path) -> PreTrainedTokenizerFast:
    """The same, as transformers reads it."""
    return PreTrainedTokenizerFast.from_pretrained(folder)


def save_base(folder: Path, template: str | None = None) -> PreTrainedModel:
    """A small Llama with that tokenizer."""
    write_tokenizer(folder, template)
    size = Tokenizer.from_str(_tokenizer("bytes")).get_vocab_size()
    marks = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "max_position_embeddings": 512}
    network = random_network(AutoModelForCausalLM, "llama", vocab_size=size, **marks)
    assert isinstance(network, PreTrainedModel)
    network.save_pretrained(folder)
    torch.manual_seed(0)
    return network
