"""MTLoRA as published (Agiza et al., 2024) against its equations written out in plain torch, in float64."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, LlamaConfig, LlamaModel

from harness.lora import (
    MtloraSpec,
    SpecError,
    TaskForkSpec,
    TaskRouter,
    adapt_tasks,
    adapter_parameters,
    export_adapter,
    groups_of,
    import_adapter,
    merge,
    pack,
    task_adapters,
    task_similarity,
)
from harness.model.text_parts import TARGETS
from tests.lora.test_variants import disturb

TASKS = ("movie", "news", "tweets")
ALL = ("query", "key", "value", "output", "ffn_up", "ffn_down")
PLACES = [ALL, ("output",), ("ffn_up",), ("ffn_down",), ("query", "ffn_up", "ffn_down"), ("output", "ffn_down")]
RATES = {"rank": 2, "task_rank": 3, "scale": 0.7, "task_scale": 1.3}


def spec(targets=ALL, **changes) -> MtloraSpec:
    return MtloraSpec(**RATES, targets=tuple(targets), **changes)


def tiny_bert() -> BertModel:
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        vocab_size=30,
        hidden_dropout_prob=0,
    )
    return BertModel(config, add_pooling_layer=False).double().eval()


def adapted_bert(chosen: MtloraSpec, tasks=TASKS) -> tuple[BertModel, BertModel, TaskRouter]:
    base, route = tiny_bert(), TaskRouter()
    net = copy.deepcopy(base)
    adapt_tasks(net, chosen, TARGETS["bert"], tasks, route)
    disturb(net)
    return base, net, route


class Published:
    """The last block of BERT by the published equations: W on the shared stream, B_t A_t on the task's."""

    def __init__(self, net: nn.Module, task: str, both: bool) -> None:
        self.tensors, self.task, self.both = dict(net.named_parameters()), task, both
        self.started = False

    def update(self, name: str, key: str, scale: float, x: Tensor) -> Tensor:
        place = f"{name}.updates.{key}.lora_"
        if f"{place}A" not in self.tensors:
            return torch.zeros(())
        return scale * (x @ self.tensors[f"{place}A"].T @ self.tensors[f"{place}B"].T)

    def fork(self, name: str, shared: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        where = f"{name}.base" if f"{name}.base.weight" in self.tensors else name
        plain = shared @ self.tensors[f"{where}.weight"].T + self.tensors[f"{where}.bias"]
        y = plain + self.update(name, "all", RATES["scale"], shared)
        if where == name:  # without an update each stream goes through W by itself
            return y, own @ self.tensors[f"{where}.weight"].T + self.tensors[f"{where}.bias"]
        task = (y if self.both else plain) + self.update(name, self.task, RATES["task_scale"], own)
        return y, task

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"], 1e-12)

    def linear(self, name: str, x: Tensor) -> Tensor:
        where = f"{name}.base" if f"{name}.base.weight" in self.tensors else name
        y = x @ self.tensors[f"{where}.weight"].T + self.tensors[f"{where}.bias"]
        return y + self.update(name, "all", RATES["scale"], x)

    def block(self, name: str, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        heads = [
            self.linear(f"{name}.attention.self.{part}", x).unflatten(-1, (2, 4)).transpose(1, 2)
            for part in ("query", "key", "value")
        ]
        weights = heads[0] @ heads[1].transpose(-1, -2) / 4**0.5
        weights = weights.masked_fill(mask[:, None, None] == 0, float("-inf")).softmax(-1)
        context = (weights @ heads[2]).transpose(1, 2).flatten(-2)
        shared, own = self.fork(f"{name}.attention.output.dense", context, context)
        shared, own = (self.norm(f"{name}.attention.output.LayerNorm", x + one) for one in (shared, own))
        wide = self.fork(f"{name}.intermediate.dense", shared, own)
        out = self.fork(f"{name}.output.dense", *map(F.gelu, wide))
        return tuple(self.norm(f"{name}.output.LayerNorm", a + b) for a, b in zip((shared, own), out, strict=True))


def by_equations(net: BertModel, ids: Tensor, mask: Tensor, task: str, both: bool) -> Tensor:
    """The features of a task: the first block is shared, the last one forks."""
    plain = Published(net, "none", both)
    x, _ = plain.block("encoder.layer.0", net.embeddings(input_ids=ids), mask)
    return Published(net, task, both).block("encoder.layer.1", x, mask)[1]


IDS = torch.randint(30, (5, 6), generator=torch.Generator().manual_seed(1))
MASK = torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [1] * 6, [1, 0, 0, 0, 0, 0], [1] * 5 + [0]])


@pytest.mark.parametrize("mode", ["task", "both"])
@pytest.mark.parametrize("targets", PLACES, ids="+".join)
def test_an_encoder_computes_the_published_equations(targets, mode):
    _, net, route = adapted_bert(spec(targets, mode=mode))
    for number, task in enumerate(TASKS):
        route.set(number)
        found = net(input_ids=IDS, attention_mask=MASK).last_hidden_state
        torch.testing.assert_close(found, by_equations(net, IDS, MASK, task, mode == "both"), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("targets", PLACES, ids="+".join)
def test_a_mixed_batch_gives_every_row_what_its_task_alone_gives(targets):
    _, net, route = adapted_bert(spec(targets))
    rows = torch.tensor([2, 0, 1, 1, 0])
    route.set(rows)
    mixed = net(input_ids=IDS, attention_mask=MASK).last_hidden_state
    for number in range(3):
        route.set(number)
        alone = net(input_ids=IDS, attention_mask=MASK).last_hidden_state
        torch.testing.assert_close(mixed[rows == number], alone[rows == number], atol=1e-10, rtol=1e-10)


def test_a_task_fork_is_another_network():
    _, net, route = adapted_bert(spec())
    fork = tiny_bert()
    adapt_tasks(fork, TaskForkSpec(**RATES, targets=ALL), TARGETS["bert"], TASKS, route)
    theirs = dict(net.named_parameters())
    with torch.no_grad():
        for name, tensor in fork.named_parameters():
            tensor.copy_(theirs[name])
    out = [one(input_ids=IDS).last_hidden_state for one in (net, fork)]
    assert float((out[0] - out[1]).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("mode", ["task", "both"])
def test_other_encoders_start_as_their_base_and_mix_rows(kind, mode):
    torch.manual_seed(0)
    if kind == "llama":
        config = LlamaConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, vocab_size=20
        )
        base = LlamaModel(config).double().eval()
        targets = ("query", "value", "output", "ffn_gate", "ffn_up", "ffn_down")
    else:
        base = GPT2Model(GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=20, n_positions=8)).double().eval()
        targets = ("query", "value", "output", "ffn_up", "ffn_down")
    net, route = copy.deepcopy(base), TaskRouter()
    adapt_tasks(net, spec(targets, mode=mode), TARGETS[kind], TASKS, route)
    ids = torch.randint(20, (4, 5))
    mask = torch.tensor([[1] * 5, [1] * 5, [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
    rows = torch.tensor([0, 2, 2, 1])
    route.set(rows)
    one, other = (each(input_ids=ids, attention_mask=mask).last_hidden_state for each in (net, base))
    torch.testing.assert_close(one[mask == 1], other[mask == 1], atol=1e-12, rtol=1e-12)
    disturb(net)
    mixed = net(input_ids=ids, attention_mask=mask).last_hidden_state
    for number in range(3):
        route.set(number)
        alone = net(input_ids=ids, attention_mask=mask).last_hidden_state
        torch.testing.assert_close(mixed[rows == number], alone[rows == number], atol=1e-10, rtol=1e-10)
    assert not torch.allclose(mixed, other)


def test_the_attention_of_a_block_that_forks_runs_once():
    _, net, route = adapted_bert(spec())
    seen = []
    net.get_submodule("encoder.layer.1.attention.self.query").register_forward_hook(
        lambda _, inputs, __: seen.append(len(inputs[0]))
    )
    route.set(1)
    net(input_ids=IDS, attention_mask=MASK)
    assert seen == [len(IDS)]


class Stages(nn.Module):
    """A network of two stages with convolutions, which hands out the streams of all stages."""

    last = ("stages.0.blocks.1", "stages.1.blocks.1")

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for width, outputs in ((3, 4), (4, 5)):
            blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.Tanh()) for _ in "ab"])
            self.stages.append(nn.ModuleDict({"blocks": blocks, "down": nn.Conv2d(width, outputs, 2, stride=2)}))

    def forward(self, x: Tensor) -> list[Tensor]:
        size, found = len(x), []
        for stage in self.stages:
            for block in stage["blocks"]:
                x = block(x)
            found.append(x)
            x = stage["down"](x[:size])
        return found


@pytest.mark.parametrize("mode", ["task", "both"])
def test_streams_of_all_tasks_leave_every_stage_and_enter_no_later_block(mode):
    torch.manual_seed(0)
    net = Stages().double()
    names = {"conv": r"stages\.\d\.blocks\.\d\.0"}
    adapt_tasks(net, spec(["conv"], mode=mode), names, TASKS, TaskRouter(), stages=Stages.last, every=True)
    disturb(net)
    tensors = dict(net.named_parameters())
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    found = net(x)

    def convolve(name: str, x: Tensor, task: str | None) -> Tensor:
        weight, bias = tensors[f"{name}.base.weight"], tensors[f"{name}.base.bias"]
        y = F.conv2d(x, weight, bias, padding=1)
        for key, scale in (("all", 0.7), (task, 1.3)):
            spent = task is None and mode == "task" and name == "stages.1.blocks.1.0"  # nothing reads it
            if key is not None and (key != "all" or (task is None and not spent) or mode == "both"):
                down, up = (tensors[f"{name}.updates.{key}.lora_{part}"] for part in "AB")
                y = y + scale * F.conv2d(x, (up @ down).view_as(weight), padding=1)  # B A as one kernel
        return torch.tanh(y)

    for stage in range(2):
        x = convolve(f"stages.{stage}.blocks.0.0", x, None)
        streams = [convolve(f"stages.{stage}.blocks.1.0", x, task) for task in (None, *TASKS)]
        torch.testing.assert_close(found[stage], torch.cat(streams), atol=1e-10, rtol=1e-10)
        down = f"stages.{stage}.down"
        x = F.conv2d(streams[0], tensors[f"{down}.weight"], tensors[f"{down}.bias"], stride=2)


def test_the_loss_of_a_task_trains_its_own_tensors_and_the_shared_ones():
    _, net, route = adapted_bert(spec())
    route.set(2)
    net(input_ids=IDS, attention_mask=MASK).last_hidden_state.square().sum().backward()
    updates = {name: tensor for name, tensor in net.named_parameters() if ".updates." in name}
    alive = {name for name, tensor in updates.items() if tensor.grad is not None}
    assert {name.split("updates.")[1].split(".")[0] for name in alive} == {"all", "tweets"}
    # The shared stream goes on to the W of the next layer; behind the last one nothing reads it.
    dead = {name for name in updates if ".all." in name} - alive
    assert dead == {f"encoder.layer.1.output.dense.updates.all.lora_{part}" for part in "AB"}


def test_norms_are_trained_with_it_and_what_is_asked_for_alone():
    def trained(**changes) -> set[str]:
        _, net, _ = adapted_bert(spec(("output",), **changes))
        return {name for name, tensor in net.named_parameters() if tensor.requires_grad and ".updates." not in name}

    norms = {name for name, _ in tiny_bert().named_parameters() if "LayerNorm" in name}
    assert trained() == trained(train=("norms",)) == norms
    assert trained(train=()) == set()
    with pytest.raises(SpecError, match="train patch_embed: the network has none"):
        trained(train=("patch_embed",))


@pytest.mark.parametrize("mode", ["task", "both"])
def test_saved_and_loaded_gives_every_task_the_same_output_and_the_norms(mode, tmp_path):
    base, net, route = adapted_bert(spec(mode=mode))
    with torch.no_grad():
        net.get_parameter("encoder.layer.0.output.LayerNorm.weight").mul_(1.5)
    export_adapter(net, "path:base", tmp_path)
    import_adapter(base, tmp_path)
    loaded = task_adapters(base)
    assert loaded.spec == spec(mode=mode)
    for number in range(3):
        route.set(number)
        loaded.route.set(number)
        assert torch.equal(net(input_ids=IDS).last_hidden_state, base(input_ids=IDS).last_hidden_state)


def test_a_stage_network_is_saved_and_loaded_with_its_stages(tmp_path):
    torch.manual_seed(0)
    net, names = Stages().double(), {"conv": r"stages\.\d\.blocks\.\d\.0"}
    plain = copy.deepcopy(net)
    adapt_tasks(net, spec(["conv"]), names, TASKS, TaskRouter(), stages=Stages.last, every=True)
    disturb(net)
    export_adapter(net, "path:base", tmp_path)
    import_adapter(plain, tmp_path)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert all(torch.equal(one, other) for one, other in zip(net(x), plain(x), strict=True))


@pytest.mark.parametrize("mode", ["task", "both"])
def test_the_shared_part_is_merged_where_the_tasks_have_it_and_undone_to_the_bit(mode):
    _, net, route = adapted_bert(spec(mode=mode))
    route.set(torch.tensor([0, 1, 2, 2, 1]))
    apart = net(input_ids=IDS, attention_mask=MASK).last_hidden_state
    undo = merge(net)
    left = {name.split("updates.")[1].split(".")[0] for name, _ in net.named_parameters() if "updates." in name}
    assert left == ({*TASKS} if mode == "both" else {"all", *TASKS})
    merged = net(input_ids=IDS, attention_mask=MASK).last_hidden_state
    torch.testing.assert_close(merged, apart, atol=1e-10, rtol=1e-10)
    undo()
    assert torch.equal(net(input_ids=IDS, attention_mask=MASK).last_hidden_state, apart)


def test_it_is_not_packed_beside_other_adapters(tmp_path):
    base, net, _ = adapted_bert(spec())
    export_adapter(net, "path:base", tmp_path)
    with pytest.raises(SpecError, match="for several tasks"):
        pack(base, [tmp_path], TaskRouter())


def test_groups_add_up_and_tasks_are_in_the_last_block_alone():
    _, net, _ = adapted_bert(spec())
    blocks = 4 * 2 * (8 + 8) + 2 * 2 * (8 + 12)
    own = 3 * (8 + 8) + 2 * 3 * (8 + 12)
    assert groups_of(net) == {"shared": 2 * blocks, **dict.fromkeys(TASKS, own)}
    assert sum(groups_of(net).values()) == sum(tensor.numel() for tensor in adapter_parameters(net))


def test_dropout_is_for_the_shared_stream_and_what_forks_from_it():
    chosen = spec(("output", "ffn_up"), dropout=0.999999)
    _, net, route = adapted_bert(chosen)
    net.train()
    route.set(0)
    output, up = (
        net.get_submodule(f"encoder.layer.1.{name}") for name in ("attention.output.dense", "intermediate.dense")
    )
    output.streams.count = 2
    x = torch.randn(4, 6, 8, dtype=torch.float64)
    torch.testing.assert_close(output(x), output.base(x[:2]).repeat(2, 1, 1), atol=1e-2, rtol=0)
    expected = up.base(x[:2]) + 1.3 * F.linear(F.linear(x[2:], up.updates["movie"].lora_A), up.updates["movie"].lora_B)
    torch.testing.assert_close(up(x)[2:], expected, atol=1e-10, rtol=0)


def test_similarity_is_the_share_of_directions_that_two_tasks_write_to():
    _, net, _ = adapted_bert(spec(("output",)))
    layer = net.get_submodule("encoder.layer.1.attention.output.dense")
    ups = {task: layer.updates[task].lora_B for task in TASKS}
    with torch.no_grad():
        for task, columns in (("movie", [0, 1, 2]), ("news", [2, 3, 4]), ("tweets", [5, 6, 7])):
            ups[task].zero_()
            for place, column in enumerate(columns):
                ups[task][column, place] = 1.0 + place
    found = torch.tensor(task_similarity(net))
    third = 1 / 3
    torch.testing.assert_close(found, torch.tensor([[1, third, 0], [third, 1, 0], [0, 0, 1]]), atol=1e-6, rtol=0)
    with torch.no_grad():
        ups["news"].zero_()
    assert task_similarity(net) == []
    assert task_similarity(tiny_bert()) == []


def test_a_copy_of_the_network_has_streams_of_its_own():
    _, net, route = adapted_bert(spec())
    twin = copy.deepcopy(net)
    task_adapters(twin).route.set(2)
    route.set(0)
    one, other = (each(input_ids=IDS).last_hidden_state for each in (net, twin))
    route.set(2)
    assert torch.equal(net(input_ids=IDS).last_hidden_state, other)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: spec(train=("norm",)), "train norm: valid: norms, patch_embed"),
        (lambda: MtloraSpec(1, 0, 1.0, 1.0, ALL), "task_rank 0: must be at least 1"),
        (lambda: MtloraSpec(1, 1, 1.0, 1.0, ALL, (("a", 0),)), "task_ranks a: rank 0 must be at least 1"),
        (lambda: adapted_bert(spec(("query", "value"))), "never fork"),
        (lambda: adapted_bert(spec((r"encoder\.layer\.0\.output\.dense",))), "no target is in the last"),
        (lambda: adapted_bert(spec((*ALL, r"embeddings\.word_embeddings"))), None),
    ],
)
def test_what_makes_no_sense_is_refused(make, line):
    if line is None:  # an embedding has a shared update and never forks
        make()
        return
    with pytest.raises(SpecError) as caught:
        make()
    assert line in str(caught.value)
