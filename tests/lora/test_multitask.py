"""A fork and MTL-LoRA against their formulas in plain torch, against LoRA, against their published count."""

import copy
import dataclasses
from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, LlamaConfig, LlamaModel

from harness.lora import (
    LoraSpec,
    MtlLoraSpec,
    SpecError,
    TaskForkSpec,
    TaskRouter,
    adapt,
    adapt_tasks,
    adapter_parameters,
    effective_ranks,
    export_adapter,
    groups_of,
    import_adapter,
    merge,
    task_adapters,
)
from harness.model.text_parts import TARGETS
from tests.lora.test_variants import disturb

TASKS = ("movie", "news", "tweets")
ALL = ("query", "key", "value", "output", "ffn_up", "ffn_down")


class Encoder(nn.Module):
    """Blocks of two linear layers and a residual: enough to have a fork, a stream after it, and two sizes."""

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.layer = nn.ModuleList(
            [nn.ModuleDict({"up": nn.Linear(6, 9), "down": nn.Linear(9, 6)}) for _ in "x" * blocks]
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.layer:
            x = x + block["down"](torch.tanh(block["up"](x)))
        return x


NAMES = {"up": r"layer\.\d+\.up", "down": r"layer\.\d+\.down"}
SPECS = {
    "task": TaskForkSpec(2, 3, 0.7, 1.3, ("up", "down")),
    "both": TaskForkSpec(2, 3, 0.7, 1.3, ("up", "down"), mode="both"),
    "some": TaskForkSpec(2, 3, 0.7, 1.3, ("up", "down"), (("news", 0), ("t.*", 1)), blocks=2),
    "some, both": TaskForkSpec(2, 3, 0.7, 1.3, ("up", "down"), (("news", 0), ("t.*", 1)), blocks=2, mode="both"),
    "mixture": MtlLoraSpec(2, 0.7, ("up", "down")),
    "diagonal": MtlLoraSpec(2, 0.7, ("up", "down"), task_matrix="diagonal"),
}
FORKS = [name for name in SPECS if name not in ("mixture", "diagonal")]


def adapted(spec, tasks=TASKS) -> tuple[nn.Module, nn.Module, TaskRouter]:
    torch.manual_seed(0)
    base = Encoder().double()
    net, route = copy.deepcopy(base), TaskRouter()
    adapt_tasks(net, spec, NAMES, tasks, route)
    return base, net, route


@pytest.mark.parametrize("name", ["task", "mixture"])
def test_one_specification_checks_and_adapts(name, monkeypatch):
    made = []
    check = LoraSpec.__post_init__
    monkeypatch.setattr(LoraSpec, "__post_init__", lambda self: made.append(self) or check(self))
    adapted(dataclasses.replace(SPECS[name], rank=1))
    assert [spec.rank for spec in made] == [1]


def by_formula(net: nn.Module, spec, x: Tensor, task: str) -> Tensor:
    """The network's output for rows of one task, written out from the tensors by their names."""
    tensors = dict(net.named_parameters())
    forked = 3 - getattr(spec, "blocks", 3)

    def change(place: str, scale: float, x: Tensor) -> Tensor:
        return scale * (x @ tensors[f"{place}.lora_A"].T @ tensors[f"{place}.lora_B"].T)

    def layer(name: str, index: int, x: Tensor) -> Tensor:
        y = x @ tensors[f"{name}.base.weight"].T + tensors[f"{name}.base.bias"]
        updates = f"{name}.updates"
        if isinstance(spec, MtlLoraSpec):
            between = tensors[f"{updates}.all.lora_L.{task}"]
            between = torch.diag(between) if between.ndim == 1 else between
            low = x @ tensors[f"{updates}.all.lora_A"].T @ between.T
            shares = torch.exp(tensors[f"{updates}.all.lora_w.{task}"] / 0.1)
            for share, up in zip(shares / shares.sum(), tensors[f"{updates}.all.lora_B"], strict=True):
                y = y + spec.scale * share * (low @ up.T)
            return y
        own = index >= forked and f"{updates}.{task}.lora_A" in tensors
        if not own or spec.mode == "both":
            y = y + change(f"{updates}.all", spec.scale, x)
        return y + change(f"{updates}.{task}", spec.task_scale, x) if own else y

    for index in range(3):
        hidden = torch.tanh(layer(f"layer.{index}.up", index, x))
        x = x + layer(f"layer.{index}.down", index, hidden)
    return x


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_output_at_the_start_is_that_of_the_base_to_the_bit(spec):
    base, net, route = adapted(spec)
    x = torch.randn(6, 4, 6, dtype=torch.float64)
    for rows in (0, 1, 2, torch.tensor([0, 1, 2, 2, 1, 0])):
        route.set(rows)
        assert torch.equal(net(x), base(x))
    assert set(effective_ranks(net).values()) == {0.0}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("task", TASKS)
def test_the_output_is_that_of_the_formula(spec, task):
    _, net, route = adapted(spec)
    disturb(net)
    x = torch.randn(5, 4, 6, dtype=torch.float64)
    route.set(TASKS.index(task))
    torch.testing.assert_close(net(x), by_formula(net, spec, x, task), atol=1e-10, rtol=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(SPECS)),
    rows=st.lists(st.integers(0, 2), min_size=1, max_size=7),
    positions=st.sampled_from([None, 1, 3]),
    folded=st.booleans(),
)
def test_a_mixed_batch_gives_every_row_what_its_task_alone_gives(name, rows, positions, folded):
    _, net, route = adapted(SPECS[name])
    disturb(net)
    x = torch.randn(len(rows), *([positions] if positions else []), 6, dtype=torch.float64)
    route.set(torch.tensor(rows))
    mixed = net(x.flatten(0, -2)).view(x.shape) if folded else net(x)
    for row, task in enumerate(rows):
        route.set(task)
        torch.testing.assert_close(mixed[row], net(x[row : row + 1])[0], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_mixed_gradients_are_the_sums_of_those_of_each_task(spec):
    _, net, route = adapted(spec)
    disturb(net)
    x = torch.randn(6, 4, 6, dtype=torch.float64)
    rows = torch.tensor([0, 2, 1, 1, 2, 0])
    route.set(rows)
    net(x).square().sum().backward()
    mixed = [tensor.grad for tensor in net.parameters() if tensor.requires_grad]
    net.zero_grad()
    for task in range(3):
        route.set(task)
        net(x[rows == task]).square().sum().backward()
    single = [tensor.grad for tensor in net.parameters() if tensor.requires_grad]
    for one, other in zip(mixed, single, strict=True):
        if one is None or other is None:  # which a tensor without a part in any of them may be
            assert not any(grad is not None and grad.any() for grad in (one, other))
            continue
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_loss_of_a_task_trains_its_own_tensors_and_no_other_tasks(spec):
    _, net, route = adapted(spec)
    disturb(net)
    route.set(TASKS.index("tweets"))
    net(torch.randn(5, 6, dtype=torch.float64)).square().sum().backward()
    alive = {name for name, tensor in net.named_parameters() if tensor.grad is not None}
    assert any(".tweets" in name for name in alive)
    assert not any(f".{other}" in name for name in alive for other in ("movie", "news"))
    assert not any("base." in name for name in alive)


def alive_after_all_tasks(spec) -> set[str]:
    _, net, route = adapted(spec)
    disturb(net)
    for task in range(3):
        route.set(task)
        net(torch.randn(5, 6, dtype=torch.float64)).square().sum().backward()
    trained = {name for name, tensor in net.named_parameters() if tensor.requires_grad}
    return trained - {name for name, tensor in net.named_parameters() if tensor.grad is not None}


def test_in_mode_task_the_shared_pairs_of_forked_layers_are_dead_and_nothing_else_is():
    dead = {f"layer.2.{side}.updates.all.lora_{part}" for side in ("up", "down") for part in "AB"}
    assert alive_after_all_tasks(SPECS["task"]) == dead
    for name in (
        "both",
        "some",
        "some, both",
        "mixture",
        "diagonal",
    ):  # a task without an update goes on with the shared one
        assert alive_after_all_tasks(SPECS[name]) == set()


@pytest.mark.parametrize("name", FORKS)
def test_of_a_fork_the_shared_part_is_merged_and_undone_to_the_bit(name):
    _, net, route = adapted(SPECS[name])
    disturb(net)
    x = torch.randn(6, 4, 6, dtype=torch.float64)
    before = {key: tensor.clone() for key, tensor in net.named_parameters()}
    for rows in (0, 2, torch.tensor([0, 1, 2, 2, 1, 0])):
        route.set(rows)
        apart = net(x)
        undo = merge(net)
        left = {key.split("updates.")[1].split(".")[0] for key, _ in net.named_parameters() if "updates." in key}
        assert left == {"task": {"all", *TASKS}, "both": set(TASKS)}.get(name, left)
        assert "all" not in left or SPECS[name].mode == "task"
        torch.testing.assert_close(net(x), apart, atol=1e-10, rtol=1e-10)
        undo()
        assert all(torch.equal(tensor, before[key]) for key, tensor in net.named_parameters())
        assert torch.equal(net(x), apart)


def test_mtl_lora_is_merged_for_the_task_of_the_route():
    _, net, route = adapted(SPECS["mixture"])
    disturb(net)
    x = torch.randn(6, 4, 6, dtype=torch.float64)
    for task in range(3):
        route.set(task)
        apart = net(x)
        undo = merge(net)
        assert not list(adapter_parameters(net))
        torch.testing.assert_close(net(x), apart, atol=1e-10, rtol=1e-10)
        undo()
        assert torch.equal(net(x), apart)
    route.set(torch.tensor([0, 1, 1, 0, 2, 2]))
    with pytest.raises(SpecError, match="several tasks"):
        merge(net)
    assert len(effective_ranks(net)) == 6 * 3
    assert all(1 < value <= 2 for value in effective_ranks(net).values())


def test_mtl_lora_of_one_task_one_up_and_the_identity_is_lora():
    torch.manual_seed(0)
    plain = Encoder().double()
    net = copy.deepcopy(plain)
    adapt(plain, LoraSpec(2, 0.7, ("up", "down")), NAMES)
    adapt_tasks(net, MtlLoraSpec(2, 0.7, ("up", "down"), ups=1), NAMES, ["movie"], TaskRouter())
    disturb(plain)
    theirs, ours = dict(plain.named_parameters()), dict(net.named_parameters())
    with torch.no_grad():
        for name, tensor in theirs.items():
            if "lora_" in name:
                ours[name].copy_(tensor)
    x = torch.randn(5, 4, 6, dtype=torch.float64)
    assert torch.equal(net(x), plain(x))
    for one in (net, plain):
        one(x).square().sum().backward()
    assert torch.equal(ours["layer.0.up.updates.all.lora_A"].grad, theirs["layer.0.up.updates.all.lora_A"].grad)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_saved_and_loaded_gives_every_task_the_same_output(spec, tmp_path):
    base, net, route = adapted(spec)
    disturb(net)
    export_adapter(net, "path:base", tmp_path)
    ranks = import_adapter(base, tmp_path)
    assert ranks == {name: rank for name, rank in ranks.items() if rank in (1, 2, 3)}
    loaded = task_adapters(base)
    assert loaded.spec == spec
    x = torch.randn(5, 6, dtype=torch.float64)
    for task in range(3):
        route.set(task)
        loaded.route.set(task)
        assert torch.equal(net(x), base(x))
    with pytest.raises(SpecError, match="do not fit"):
        import_adapter(nn.Module.double(Wider()), tmp_path)


class Wider(Encoder):
    def __init__(self) -> None:
        super().__init__()
        for block in self.layer:
            block["up"], block["down"] = nn.Linear(6, 10), nn.Linear(10, 6)


def test_groups_add_up_to_the_adapter():
    _, net, _ = adapted(SPECS["some"])
    shared, both = 2 * 15, 15
    assert groups_of(net) == {"shared": 6 * shared, "movie": 4 * 3 * both, "news": 0, "tweets": 4 * 1 * both}
    _, net, _ = adapted(SPECS["mixture"])
    own = 6 * (2 * 2 + 3)
    assert groups_of(net) == {"shared": 3 * (2 * 6 + 3 * 9 * 2 + 2 * 9 + 3 * 6 * 2), **dict.fromkeys(TASKS, own)}
    assert sum(groups_of(net).values()) == sum(tensor.numel() for tensor in adapter_parameters(net))
    _, net, _ = adapted(SPECS["diagonal"])
    assert {groups_of(net)[task] for task in TASKS} == {6 * (2 + 3)}


def test_the_published_count_of_mtl_lora():
    config = LlamaConfig(
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, intermediate_size=11008, vocab_size=100
    )
    with torch.device("meta"):
        base = LlamaModel(config)
    spec = MtlLoraSpec(8, 2.0, ("query", "key", "value", "output"))
    ranks = adapt_tasks(base, spec, TARGETS["llama"], [f"task{index}" for index in range(8)], TaskRouter())
    assert sum(groups_of(base).values()) == 16_845_824 == 128 * (8 * 4096 + 8 * 64 + 3 * 4096 * 8 + 8 * 3)
    assert len(ranks) == 128


def bert(layers: int = 4) -> BertModel:
    with torch.device("meta"):
        return BertModel(
            BertConfig(hidden_size=32, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=64)
        )


def test_task_pairs_are_in_the_last_blocks_and_never_on_query_key_and_value():
    base = bert()
    ranks = adapt_tasks(base, TaskForkSpec(4, 2, 1.0, 1.0, ALL, blocks=2), TARGETS["bert"], ["movie"], TaskRouter())
    own = {name for name in ranks if name.endswith(".movie")}
    sides = ("attention.output.dense", "intermediate.dense", "output.dense")
    assert own == {f"encoder.layer.{block}.{side}.movie" for block in (2, 3) for side in sides}
    assert len(ranks) == 6 * 4 + len(own)
    assert {ranks[name] for name in own} == {2}
    first = base.get_submodule("encoder.layer.2.attention.output.dense")
    assert (first.first, base.get_submodule("encoder.layer.2.output.dense").first) == (True, False)


def test_a_fused_projection_is_mixed_part_by_part_and_never_forks():
    torch.manual_seed(0)
    base = GPT2Model(GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=20, n_positions=8)).eval()
    net, route = copy.deepcopy(base), TaskRouter()
    adapt_tasks(net, MtlLoraSpec(2, 1.0, ("query", "value")), TARGETS["gpt2"], ["a", "b"], route)
    disturb(net)
    ids = torch.randint(20, (4, 5))
    route.set(torch.tensor([0, 1, 1, 0]))
    mixed = net(ids).last_hidden_state
    for task in range(2):
        route.set(task)
        undo = merge(net)
        merged = net(ids).last_hidden_state
        undo()
        mine = torch.tensor([0, 1, 1, 0]) == task
        torch.testing.assert_close(mixed[mine], merged[mine], atol=1e-4, rtol=1e-4)
    ranks = adapt_tasks(base, TaskForkSpec(2, 2, 1.0, 1.0, ("query", "output")), TARGETS["gpt2"], ["a"], TaskRouter())
    assert [name for name in ranks if name.endswith(".a")] == ["h.1.attn.c_proj.a"]


def test_dropout_is_for_the_shared_stream_and_the_first_fork():
    torch.manual_seed(0)
    base = Encoder().double()
    net, route = copy.deepcopy(base), TaskRouter()
    adapt_tasks(net, TaskForkSpec(2, 2, 1.0, 1.0, ("up", "down"), dropout=0.999999), NAMES, ["movie"], route)
    disturb(net)
    x = torch.randn(4, 6, dtype=torch.float64)
    up, down = net.get_submodule("layer.2.up"), net.get_submodule("layer.2.down")
    torch.testing.assert_close(up(x), up.base(x), atol=1e-2, rtol=0)
    hidden = torch.randn(4, 9, dtype=torch.float64)
    apart = F.linear(F.linear(hidden, down.updates["movie"].lora_A), down.updates["movie"].lora_B)
    torch.testing.assert_close(down(hidden), down.base(hidden) + apart)


def test_shares_are_taken_in_single_precision_under_autocast():
    _, net, _ = adapted(SPECS["mixture"])
    net.float()
    disturb(net)
    update = net.get_submodule("layer.0.up").updates["all"]
    exact = torch.softmax(update.lora_w["movie"].double() / 0.1, 0)
    with torch.autocast("cpu", torch.bfloat16):
        _, up = update.factors_of("movie")
    assert up.dtype == torch.float32
    expected = sum(share * one for share, one in zip(exact, update.lora_B.double(), strict=True))
    torch.testing.assert_close(up.double(), expected, atol=1e-6, rtol=1e-5)
    half = copy.deepcopy(update).bfloat16().factors_of("movie")
    assert {tensor.dtype for tensor in half} == {torch.bfloat16}


MIX, FORK = SPECS["mixture"], SPECS["task"]
WRONG = [
    (lambda: TaskForkSpec(0, 1, 1.0, 1.0, ALL), "rank 0: must be at least 1"),
    (lambda: TaskForkSpec(1, -1, 1.0, 1.0, ALL), "task_rank -1: must be at least 0"),
    (lambda: TaskForkSpec(1, 1, 1.0, 0.0, ALL), "task_scale 0.0: must be above 0"),
    (lambda: TaskForkSpec(1, 1, 1.0, 1.0, ALL, blocks=0), "blocks 0: must be at least 1"),
    (lambda: TaskForkSpec(1, 1, 1.0, 1.0, ALL, (("(", 1),)), "task_ranks (:"),
    (lambda: TaskForkSpec(1, 1, 1.0, 1.0, ALL, mode="none"), "mode none: task or both"),
    (lambda: MtlLoraSpec(1, 1.0, ALL, ups=0), "ups 0: must be at least 1"),
    (lambda: MtlLoraSpec(1, 1.0, ALL, temperature=0.0), "temperature 0.0: must be above 0"),
]


@pytest.mark.parametrize(("make", "line"), WRONG)
def test_a_specification_that_makes_no_sense_is_refused(make, line):
    with pytest.raises(SpecError) as caught:
        make()
    assert line in str(caught.value)


UNFIT = [
    (TaskForkSpec(1, 1, 1.0, 1.0, ("query", "value")), TASKS, "never fork"),
    (TaskForkSpec(1, 1, 1.0, 1.0, ("ffn_ip",)), TASKS, "did you mean ffn_up?"),
    (TaskForkSpec(33, 1, 1.0, 1.0, ALL), TASKS, "rank 33: above min(inputs, outputs) = 32"),
    (TaskForkSpec(1, 33, 1.0, 1.0, ALL), TASKS, "task_rank 33: above min(inputs, outputs) = 32 of encoder.layer.3."),
    (TaskForkSpec(1, 1, 1.0, 1.0, ALL, blocks=5), TASKS, "blocks 5: the network has 4"),
    (TaskForkSpec(1, 1, 1.0, 1.0, (r"encoder\.layer\.0\.output\.dense",)), TASKS, "no target is in the last"),
    (TaskForkSpec(1, 1, 1.0, 1.0, ALL, (("movies", 1),)), TASKS, "matches no task; did you mean movie?"),
    (TaskForkSpec(1, 0, 1.0, 1.0, ALL), TASKS, "no task has an adapter"),
    (MtlLoraSpec(1, 1.0, (r"embeddings\.word_embeddings",)), TASKS, "on linear layers only, not on Embedding"),
    (MtlLoraSpec(1, 1.0, ALL), ("a", "a"), "one name for each"),
    (MtlLoraSpec(1, 1.0, ALL), (), "one name for each"),
    (MtlLoraSpec(1, 1.0, ALL), ("keys",), "task keys:"),
    (MtlLoraSpec(1, 1.0, ALL), ("a.b",), "task a.b:"),
    (MtlLoraSpec(1, 1.0, ALL), ("shared",), "task shared:"),
]


@pytest.mark.parametrize(("spec", "tasks", "line"), UNFIT)
def test_a_specification_that_does_not_fit_is_refused_by_name(spec, tasks, line):
    with pytest.raises(SpecError) as caught:
        adapt_tasks(bert(), spec, TARGETS["bert"], tasks, TaskRouter())
    assert line in str(caught.value)


def test_a_network_without_numbered_blocks_has_no_last_one():
    net = nn.ModuleDict({"first": nn.Linear(3, 3)})
    with pytest.raises(SpecError, match="no numbered blocks"):
        adapt_tasks(net, TaskForkSpec(1, 1, 1.0, 1.0, ("first",)), {}, TASKS, TaskRouter())


@pytest.mark.parametrize(
    ("names", "last"),
    [
        (["stem1", "layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1"], "layer2.0.conv1"),
        (["h.0.attn.c_proj", "h.11.attn.c_proj", "wte"], "h.11.attn.c_proj"),
        (
            ["encoder.layers.encoder_layer_9.mlp.0", "encoder.layers.encoder_layer_10.mlp.0"],
            "encoder.layers.encoder_layer_10.mlp.0",
        ),
    ],
)
def test_the_last_block_is_found_by_its_number(names, last):
    from harness.lora.multitask import _blocks

    assert _blocks(names)[-1] == [last]
    with suppress(SpecError):
        _blocks(["fc"])
        raise AssertionError


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_half_precision_under_autocast_is_near_the_whole_and_trains(spec):
    _, net, route = adapted(spec)
    net.float()
    disturb(net)
    x = torch.randn(6, 4, 6)
    for rows in (0, torch.tensor([0, 1, 2, 2, 1, 0])):
        route.set(rows)
        exact = net(x).detach()
        with torch.autocast("cpu", torch.bfloat16):
            out = net(x)
        torch.testing.assert_close(out.float(), exact, atol=0.2, rtol=0.05)
        out.float().square().sum().backward()
    assert all(tensor.grad.isfinite().all() for tensor in net.parameters() if tensor.grad is not None)
