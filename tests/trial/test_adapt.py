"""Exact trainable-parameter counts, from shapes alone."""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch
import yaml
from transformers import (
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    RobertaModel,
)

from harness.config import ConfigError, check, composition
from harness.config.composition import options
from harness.lora import LoraSpec, adapt, adapter_parameters
from harness.model.text_parts import TARGETS
from harness.trial.adapt import count
from harness.trial.methods.low_rank import lora_spec
from tests.commands import compose_tree

QV, QKVO = ("query", "value"), ("query", "key", "value", "output")
ALL, MLP = (*QKVO, "ffn_up", "ffn_down"), ("ffn_gate", "ffn_up", "ffn_down")


def deberta(hidden, layers, heads, ffn):
    config = DebertaV2Config(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=ffn,
        vocab_size=100,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
    )
    return DebertaV2Model(config)


def gpt2(hidden, layers, heads):
    return GPT2Model(GPT2Config(n_embd=hidden, n_layer=layers, n_head=heads, vocab_size=100))


def llama(hidden, layers, heads, groups, ffn):
    config = LlamaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        intermediate_size=ffn,
        vocab_size=100,
    )
    return LlamaModel(config)


GOLDEN = [
    ("deberta", lambda: deberta(1536, 48, 24, 6144), QV, 16, 4_718_592),
    ("deberta", lambda: deberta(768, 12, 12, 3072), ALL, 1, 165_888),
    ("deberta", lambda: deberta(768, 12, 12, 3072), ALL, 2, 331_776),
    ("deberta", lambda: deberta(768, 12, 12, 3072), ALL, 8, 1_327_104),
    ("gpt2", lambda: gpt2(1024, 24, 16), QV, 4, 393_216),
    ("gpt2", lambda: gpt2(1280, 36, 20), QV, 4, 737_280),
    ("gpt2", lambda: gpt2(12288, 96, 96), QV, 1, 4_718_592),
    ("gpt2", lambda: gpt2(12288, 96, 96), QV, 4, 18_874_368),
    ("gpt2", lambda: gpt2(12288, 96, 96), QV, 8, 37_748_736),
    ("llama", lambda: llama(3072, 28, 24, 8, 8192), QV, 32, 9_175_040),
    ("llama", lambda: llama(3072, 28, 24, 8, 8192), MLP, 10, 9_461_760),
    ("llama", lambda: llama(4096, 32, 32, 32, 11008), QKVO, 8, 8_388_608),
]


@pytest.mark.parametrize(("family", "build", "targets", "rank", "expected"), GOLDEN)
def test_published_adapter_counts(family, build, targets, rank, expected):
    with torch.device("meta"):
        base = build()
    adapt(base, LoraSpec(rank, 1.0, targets), TARGETS[family])
    assert sum(tensor.numel() for tensor in adapter_parameters(base)) == expected


MODELS = [
    ("roberta_base", "[query,value]", 8, 294_912, 592_130, 124_055_040),
    ("roberta_large", "[query,value]", 8, 786_432, 1_051_650, 354_310_144),
    ("bert_large", "[query,value]", 1, 98_304, 2_050, 335_141_888),
    ("bert_large", "[query,key,value,output]", 1, 196_608, 2_050, 335_141_888),
    ("bert_large", "[query,key,value,output,ffn_up,ffn_down]", 1, 442_368, 2_050, 335_141_888),
    ("bert_base", "[query,value]", 8, 294_912, 1_538, 109_482_240),
]


@pytest.mark.parametrize(("model", "targets", "rank", "adapter", "head", "base"), MODELS)
def test_the_models_of_conf_have_their_published_sizes(compose_plain, model, targets, rank, adapter, head, base):
    counted = count(compose_plain(f"model={model}", f"lora.targets={targets}", f"lora.rank={rank}"))
    assert counted["params"]["adapter"] == adapter
    assert counted["params"]["head"] == head
    assert counted["params"]["base"] == counted["params"]["frozen"] == base
    assert (
        sum(counted["params"][group] for group in ("adapter", "head", "other", "frozen"))
        == (counted["params"]["total"])
    )


@pytest.mark.parametrize(
    ("targets", "largest"),
    [("[query,value]", 17), ("[query,key,value,output]", 8), ("[query,key,value,output,ffn_up,ffn_down]", 3)],
)
def test_the_largest_rank_that_trains_half_a_percent_of_bert_large(compose_plain, targets, largest):
    def reduction(rank):
        return count(compose_plain("model=bert_large", f"lora.targets={targets}", f"lora.rank={rank}"))

    assert reduction(largest)["fewer_trainable_percent"] >= 99.5 > reduction(largest + 1)["fewer_trainable_percent"]


def test_full_and_head_count_all_and_nothing_of_the_base(compose_plain):
    full = count(compose_plain("model=bert_base", "lora=full"))["params"]
    assert (full["other"], full["frozen"], full["adapter"]) == (109_482_240, 0, 0)
    head = count(compose_plain("model=bert_base", "lora=head"))["params"]
    assert (head["other"], head["frozen"], head["head"]) == (0, 109_482_240, 1_538)


def test_scale_is_what_is_given_or_alpha_over_rank_or_two(compose):
    assert lora_spec(compose("lora.rank=4").lora).scale_at("", 4) == 2.0
    assert lora_spec(compose("lora.rank=4", "lora.alpha=16").lora).scale_at("", 4) == 4.0


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "lora.targets=[query,valeu]",
            "target valeu: no such name, and as a pattern it matches no module; did you mean",
        ),
        ("lora.targets=[nothing]", "valid: query, key, value, output, ffn_up, ffn_down"),
        ("lora.rank=17", "above min(inputs, outputs) = 16 of encoder.layer.0.attention.self.query"),
    ],
)
def test_a_specification_that_does_not_fit_is_named(compose, override, line):
    with pytest.raises(ConfigError) as caught:
        count(compose(override))
    assert line in str(caught.value)


def test_counting_imports_no_trainer():
    code = "import harness.trial.adapt, sys; print([m for m in ('lightning', 'optuna', 'wandb') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_bert_and_roberta_share_their_names(family):
    kind = {"bert": BertModel, "roberta": RobertaModel}[family]
    with torch.device("meta"):
        base = kind(kind.config_class(num_hidden_layers=2))
    ranks = adapt(base, LoraSpec(1, 1.0, ALL), TARGETS[family])
    assert len(ranks) == 12


TARGETS_OF = {
    "vision": "[conv]",
    "speech": "[lstm]",
    "text": "[query,value]",
    "generator": "[query,value]",
    "dense": "[pointwise]",
}


# Those whose folder says what they are have tests of their own.
OF_A_FOLDER = ("hf", "timm", "gemma3_270m", "smollm2_135m", "whisper_base")


# Other sizes of minilm, roberta_base and small_t5, built and named by the same code.
SIZES = ("bert_base", "bert_large", "roberta_large", "catalogue_t5")
PAIRS = [
    (model, lora)
    for model in options("model")
    for lora in options("lora")
    if lora not in ("peft", "loftq") and model not in OF_A_FOLDER and (model not in SIZES or lora in ("lora", "full"))
]


@pytest.mark.parametrize(("model", "lora"), PAIRS)
def test_every_model_is_counted_with_every_variant_from_shapes_alone(model, lora):
    kind = compose_kind(model)
    words = [f"model={model}", f"task={TASK_OF[kind]}", "lora=head"]
    words += ["trainer.objective=loss"] if kind == "generator" else []
    variant = [f"lora={lora}"]
    if kind == "dense":
        words += ["trainer.objective=score", *(["task.image_size=448"] if model.startswith("swin") else [])]
    if kind == "dense" and lora == "shared":
        match = "[output]" if "swin" in model else "[pointwise]"
        variant += ["lora@lora.match=mtlora", f"lora.match.targets={match}"]
    if lora not in ("full", "head", "bitfit", "norms"):
        targets = "[query,output]" if model.startswith(("vit", "swin")) else TARGETS_OF[kind]
        variant += [f"lora.targets={targets}", "lora.rank=1"]
    tree = compose_tree(words) | {"lora": compose_tree(variant)["lora"]}
    if reason := nothing_there(model, kind, lora):
        with pytest.raises(ConfigError, match=reason):
            count(check(tree))
        return
    params = count(check(tree))["params"]
    assert params["adapter"] + params["head"] + params["other"] == params["trainable"]
    assert params["trainable"] + params["frozen"] == params["total"]
    assert (params["adapter"] > 0) == (lora not in ("full", "head", "bitfit", "norms"))


def nothing_there(model: str, kind: str, lora: str) -> str | None:
    """Why a model has nothing for a variant, as the error says it."""
    if kind == "dense" and lora in ("task_fork", "mtl_lora"):
        return "a row is of one task there"
    if kind != "dense" and lora in ("task_fork", "mtlora", "mtl_lora", "shared"):
        return "adapters for several tasks"
    if model.startswith("small_") and lora != "full":
        return "fresh weights"
    if kind == "generator" and lora == "head":
        return "no fresh head"
    if (lora, kind) == ("norms", "speech") or (lora == "bitfit" and model in ("t5_small", "catalogue_t5")):
        return "the network has none"
    if lora == "eva" and (kind == "speech" or model.startswith(("vit", "efficientnet"))):
        return "EVA needs"
    return None


TASK_OF = {
    "vision": "digits",
    "speech": "spoken_digits",
    "text": "movie_snippets",
    "generator": "seq2seq",
    "dense": "shapes_dense",
}


def compose_kind(model: str) -> str:
    read = yaml.safe_load((composition.CONF / "model" / f"{model}.yaml").read_text())
    return read["kind"] if "kind" in read else compose_kind(read["defaults"][0])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["model=vit_b_16", "lora.targets=[query,value]", "lora.rank=8"], 12 * 2 * 8 * (768 + 768)),
        (["model=vit_b_16", "lora.targets=[output,ffn_up]", "lora.rank=1"], 12 * (768 + 768 + 768 + 3072)),
        (["model=efficientnet_lite0", "lora.targets=[fc]", "lora.rank=4"], 4 * (1280 + 1000)),
        (["model=efficientnet_lite0", "lora.targets=[stem,fc]", "lora.rank=2"], 2 * (3 * 3 * 3 + 32 + 1280 + 1000)),
        (["model=resnet18", "lora.targets=[pointwise]", "lora.rank=4"], 4 * (64 + 128 + 128 + 256 + 256 + 512)),
    ],
)
def test_image_networks_are_adapted_where_their_targets_say(compose_plain, words, expected):
    counted = count(compose_plain("task=digits", *words))
    assert counted["params"]["adapter"] == expected


@pytest.mark.parametrize("targets", ["conv", "fc", "conv,fc", "depthwise"])
def test_the_arms_of_the_cnn_experiment_fit_the_network(compose_plain, targets):
    rank = 16 if targets != "depthwise" else 9
    counted = count(compose_plain("+experiment=cnn_where", f"lora.targets=[{targets}]", f"lora.rank={rank}"))
    assert set(counted["ranks"].values()) == {rank}


MINILM, TASKS = (384, 1536), 8  # sizes, and tasks of the packaged mixture
PER_RANK = 4 * 2 * MINILM[0] + 2 * sum(MINILM)  # all linear layers of one block
FORKED = 2 * MINILM[0] + 2 * sum(MINILM)  # but for query, key and value
MIXED = 5 * MINILM[0] + MINILM[1]  # their inputs


@pytest.mark.parametrize(
    ("words", "shared", "own"),
    [
        (["lora=task_fork"], 6 * 8 * PER_RANK, 8 * FORKED),
        (["lora=task_fork", "lora.rank=4", "lora.task_rank=2", "lora.blocks=3"], 6 * 4 * PER_RANK, 3 * 2 * FORKED),
        (
            ["lora=mtl_lora", "lora.rank=4", "lora.ups=2"],
            6 * 4 * (MIXED + 2 * (PER_RANK - MIXED)),
            6 * 6 * (4 * 4 + 2),
        ),
    ],
)
def test_adapters_of_tasks_are_counted_by_group_without_data(compose_plain, words, shared, own):
    counted = count(compose_plain("task=mixture", "run=count", *words))
    groups = counted["groups"]
    assert groups.pop("shared") == shared
    assert set(groups.values()) == {own}
    assert len(groups) == TASKS
    assert counted["params"]["adapter"] == shared + TASKS * own
    only = count(compose_plain("task=mixture", "run=count", "task.only=[nyt,tweets]", *words))["groups"]
    assert only == {"shared": shared, "nyt": own, "tweets": own}


@pytest.mark.parametrize("words", [[], ["lora@lora.match=mtl_lora"], ["lora.match.rank=3"], ["lora.variant=dora"]])
def test_one_adapter_for_all_tasks_has_the_rank_nearest_to_another_ways_count(compose_plain, words):
    config = compose_plain("task=mixture", "run=count", "lora=shared", *words)
    counted = count(config)
    (rank,) = set(counted["ranks"].values())
    wanted = count(dataclasses.replace(config, lora=config.lora.match))["params"]["adapter"]

    def size(rank):
        changed = dataclasses.replace(config.lora, match=None, rank=rank)
        return count(dataclasses.replace(config, lora=changed))["params"]["adapter"]

    assert counted["params"]["adapter"] == size(rank)
    assert abs(size(rank) - wanted) <= min(abs(size(rank - 1) - wanted), abs(size(rank + 1) - wanted))
    assert "groups" not in counted


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["task=tweets", "lora=task_fork"], "lora=task_fork: adapters for several tasks; task=tweets is one"),
        (["task=tweets", "lora=shared"], "lora.match=task_fork: adapters for several tasks"),
        (["task=mixture", "lora=shared", "lora.ranks=[[.*,1]]"], "lora.match=task_fork: sets one rank for all layers"),
        (["task=mixture", "lora=task_fork", "lora.targets=[query,query]"], "query named twice"),
        (["task=mixture", "lora=task_fork", "lora.targets=[query,value]"], "never fork, so that task adapters have no"),
        (["task=mixture", "lora=task_fork", "lora.task_ranks=[[move,1]]"], "matches no task; did you mean movie?"),
        (["task=mixture", "lora=task_fork", "lora.blocks=7"], "blocks 7: the network has 6"),
    ],
)
def test_adapters_of_tasks_that_do_not_fit_are_refused_by_name(compose_plain, words, line):
    with pytest.raises(ConfigError) as caught:
        count(compose_plain("run=count", *words))
    assert line in str(caught.value)
