"""The role of a module in a transformer or a convolutional network, from its name and position.

Every architecture has words of its own for the same parts; the last words of a module's name and those of its parents
say which it is. `harness.model.table` shows what comes of it for the architectures that are tried.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from torch import nn
from transformers import PreTrainedModel

from harness.base_layers.kinds import is_conv1d, is_experts, is_read_only

ALL_LINEAR = "all-linear"

_ATTENTION = {
    **dict.fromkeys(("query", "q_proj", "query_proj", "q_lin", "q", "wq", "to_q", "q_b_proj", "linear_q"), "query"),
    **dict.fromkeys(("key", "k_proj", "key_proj", "k_lin", "k", "wk", "to_k", "linear_k"), "key"),
    **dict.fromkeys(("value", "v_proj", "value_proj", "v_lin", "v", "wv", "to_v", "linear_v"), "value"),
    **dict.fromkeys(
        ("o_proj", "out_proj", "out_lin", "o", "c_proj", "Wo", "wo", "proj", "dense", "to_out", "linear_out"), "output"
    ),
    **dict.fromkeys(("c_attn", "Wqkv", "query_key_value", "qkv", "qkv_proj", "in_proj"), "qkv"),
}
_ELSEWHERE = {
    **dict.fromkeys(("gate_proj", "wi_0", "w1", "linear_1_gate"), "ffn_gate"),
    **dict.fromkeys(("up_proj", "fc1", "c_fc", "lin1", "wi", "wi_1", "w3", "ffn", "fc_in", "linear1"), "ffn_up"),
    **dict.fromkeys(("dense_h_to_4h", "intermediate_dense", "pwconv1", "fc_1"), "ffn_up"),
    **dict.fromkeys(("down_proj", "fc2", "lin2", "wo", "w2", "ffn_output", "fc_out", "linear2", "Wo"), "ffn_down"),
    **dict.fromkeys(("dense_4h_to_h", "output_dense", "pwconv2", "fc_2"), "ffn_down"),
    **dict.fromkeys(("gate_up_proj", "Wi"), "ffn_gate_up"),
}
_IN_ATTENTION = re.compile(r"att|^q_lin$", re.IGNORECASE)
_IN_FFN = re.compile(r"mlp|ffn|feed_?forward|dense_?relu_?dense|expert", re.IGNORECASE)
_CROSS = re.compile(r"cross_?att|enc_?dec_?att|encoder_attn", re.IGNORECASE)
# Fused projections whose outputs are query, key and value one after another, each a third.
_THIRDS = ("c_attn", "Wqkv", "qkv")
# WavLM's attention takes the weights out of its projections: what is put in their place is never called.
_AROUND = "torch_multi_head_self_attention"
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)|^\d+(?=\.)")


def targets_of(base: nn.Module) -> dict[str, str]:
    """The patterns of module names in `base` behind each role, and `all-linear` for every linear layer.

    A fused projection is `qkv` as a whole; where it is query, key and value one after another, these are its thirds.
    """
    around = [f"{name}." for name, module in base.named_modules() if hasattr(module, _AROUND)]
    roles = {
        name: role_of(name, module)
        for name, module in base.named_modules()
        if _has_form(module) and not name.startswith(tuple(around)) and not is_read_only(base, name)
    }
    every = [name for name, _ in base.named_modules()]
    found = {role: _pattern([name for name in roles if roles[name] == role], every) for role in _in_order(roles)}
    for index, part in enumerate(("query", "key", "value")):
        thirds = [name for name, role in roles.items() if role == "qkv" and _is_thirds(base.get_submodule(name), name)]
        if thirds and part not in found and len(thirds) == sum(role == "qkv" for role in roles.values()):
            found[part] = _parts(found["qkv"], index)
    output = base.get_output_embeddings() if isinstance(base, PreTrainedModel) else None  # PEFT leaves it out, too
    linear = [
        name
        for name in roles
        if is_linear(module := base.get_submodule(name)) and module is not output and not _is_uncalled(base, name)
    ]
    return found | ({ALL_LINEAR: _pattern(linear, every)} if linear else {})


def _is_uncalled(base: nn.Module, name: str) -> bool:
    """Return whether the attention around an output projection reads its weight and never calls it.

    PEFT's `all-linear` puts an adapter there that changes nothing: without it what is computed is the same.
    """
    return isinstance(base.get_submodule(name.rpartition(".")[0]), nn.MultiheadAttention)


def role_of(name: str, module: nn.Module) -> str:
    """The role of a layer by its name, its parents and its kind."""
    *parents, last = name.split(".")
    words = [word for word in parents if not word.isdigit()]
    if isinstance(module, nn.Embedding):
        return _embedding(last)
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return _convolution(module)
    if isinstance(module, nn.LSTM | nn.GRU):
        return "recurrent"
    if isinstance(module, nn.MultiheadAttention):
        return "qkv"
    if is_experts(module):
        return "experts"
    role = _linear(last, words)
    return f"cross_{role}" if role in ATTENTION and any(_CROSS.search(word) for word in words) else role


ATTENTION = ("query", "key", "value", "output", "qkv")


def is_linear(module: nn.Module) -> bool:
    """Return whether it is a linear layer as PEFT counts them: nn.Linear, or transformers' own with a transposed
    weight.
    """
    return isinstance(module, nn.Linear) or is_conv1d(module)


def _has_form(module: nn.Module) -> bool:
    kinds = nn.Embedding | nn.Conv1d | nn.Conv2d | nn.LSTM | nn.GRU | nn.MultiheadAttention
    return isinstance(module, kinds) or is_linear(module) or is_experts(module)


def _embedding(last: str) -> str:
    if re.search(r"position|wpe", last):
        return "position_embedding"
    return "type_embedding" if "type" in last else "relative_bias" if "relative" in last else "embedding"


def _convolution(module: nn.Conv1d | nn.Conv2d) -> str:
    if module.groups > 1:
        return "depthwise"
    return "pointwise" if all(size == 1 for size in module.kernel_size) else "conv"


def _linear(last: str, words: list[str]) -> str:
    parent = words[-1] if words else ""
    inside = _innermost(words)
    if last == "dense" and parent == "intermediate":
        return "ffn_up"
    if last == "dense" and parent == "output":
        return "output" if any(_IN_ATTENTION.search(word) for word in words[-2:-1]) else "ffn_down"
    if last in ("gate", "router") or parent == "router":
        return "router"
    if inside == "attention" and last in _ATTENTION:
        return _ATTENTION[last]
    if inside == "ffn" and last in ("c_proj", "dense_2", "proj"):
        return "ffn_down"
    if inside == "ffn" and last == "dense":
        return "ffn_up"
    return _ELSEWHERE.get(last) or (_ATTENTION[last] if last in _UNMISTAKABLE else _own(last, parent))


_UNMISTAKABLE = ("query", "key", "value", "q_proj", "k_proj", "v_proj", "q_lin", "k_lin", "v_lin", "out_lin", "Wqkv")


def _innermost(words: list[str]) -> str:
    for word in reversed(words):
        if _IN_FFN.search(word):
            return "ffn"
        if _IN_ATTENTION.search(word):
            return "attention"
    return ""


def _own(last: str, parent: str) -> str:
    """An unusual name is its own role."""
    word = parent if last in ("dense", "linear", "proj", "fc", "layer") or last.isdigit() else last
    return re.sub(r"\W|^(?=\d)", "_", word or last)


def _is_thirds(module: nn.Module, name: str) -> bool:
    if name.rpartition(".")[2] not in _THIRDS and not isinstance(module, nn.MultiheadAttention):
        return False
    if isinstance(module, nn.MultiheadAttention):
        return module.in_proj_weight is not None
    one, other = module.get_parameter("weight").shape
    return max(one, other) == 3 * min(one, other)


def _parts(pattern: str, index: int) -> str:
    return f"(?:{pattern})[{index}/3]"


def _in_order(roles: Mapping[str, str]) -> list[str]:
    """The roles, those of attention and of the feed-forward network first."""
    first = [*ATTENTION, *(f"cross_{name}" for name in ATTENTION), "ffn_gate", "ffn_gate_up", "ffn_up", "ffn_down"]
    found = set(roles.values())
    return [*(role for role in first if role in found), *sorted(found - set(first))]


def _pattern(names: list[str], every: Sequence[str]) -> str:
    """A pattern of just these of all modules' names: numbers stand for any, where that takes in no other."""
    wanted = set(names)
    groups: dict[str, list[str]] = {}
    for name in every:
        groups.setdefault(_NUMBER.sub("#", name), []).append(name)
    return "|".join(dict.fromkeys(_alternatives(groups, wanted)))


def _alternatives(groups: Mapping[str, list[str]], wanted: set[str]) -> Iterator[str]:
    for shape, members in groups.items():
        inside = [name for name in members if name in wanted]
        if len(inside) == len(members):
            yield re.escape(shape).replace(r"\#", r"\d+")
        else:
            yield from map(re.escape, inside)
