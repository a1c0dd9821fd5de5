"""Several adapters beside one base: what each of them gives alone, and what PEFT gives with them."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import GPT2Config, GPT2Model
from transformers.pytorch_utils import Conv1D

from harness.lora import (
    LoraSpec,
    MtlLoraSpec,
    SpecError,
    TaskForkSpec,
    TaskRouter,
    adapt,
    adapt_tasks,
    export_adapter,
    merge,
    pack,
)
from harness.model.text_parts import TARGETS
from tests.lora.networks import KINDS
from tests.lora.test_variants import disturb


class Net(nn.Module):
    """A linear layer, a transposed one, and one that no adapter touches."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 9), Conv1D(5, 9), nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.second(torch.tanh(self.first(x)))))


SPECS = [
    LoraSpec(2, 0.7, ("first", "second")),
    LoraSpec(3, 1.5, ("second",)),
    LoraSpec(1, None, ("first",), alpha=3.0, variant="rslora"),
    LoraSpec(2, 1.0, ("first", "second"), variant="pissa"),
    LoraSpec(2, 1.0, ("first[0/3]", "first[2/3]", "second")),
]


def written(folder: Path, specs=SPECS) -> tuple[nn.Module, list[nn.Module], list[Path]]:
    """The base, networks adapted alone, and the folders of their adapters."""
    from harness.lora import initialise

    torch.manual_seed(0)
    base = Net().double()
    alone, folders = [], []
    for index, spec in enumerate(specs):
        net = copy.deepcopy(base)
        adapt(net, spec, {})
        initialise(net, spec, lambda _: None)
        disturb(net)
        for tensor in net.parameters():
            tensor.data += 0.1 * index * tensor.requires_grad
        folders.append(folder / str(index))
        export_adapter(net, "path:base", folders[-1])
        alone.append(net)
    return base, alone, folders


def test_a_mixed_batch_gives_every_row_what_its_adapter_alone_gives(tmp_path):
    base, alone, folders = written(tmp_path)
    plain, route = copy.deepcopy(base), TaskRouter()
    ranks = pack(base, folders, route)
    assert ranks == {"first": 4, "second": 4}

    @settings(max_examples=30, deadline=None)
    @given(rows=st.lists(st.integers(0, 4), min_size=1, max_size=9), positions=st.sampled_from([None, 1, 3]))
    def each_row(rows, positions):
        x = torch.randn(len(rows), *([positions] if positions else []), 6, dtype=torch.float64)
        route.set(torch.tensor(rows))
        mixed = base(x)
        for row, number in enumerate(rows):
            torch.testing.assert_close(mixed[row], alone[number](x[row : row + 1])[0], atol=1e-6, rtol=1e-6)
            route.set(number)
            torch.testing.assert_close(mixed[row], base(x[row : row + 1])[0], atol=1e-13, rtol=1e-13)

    each_row()
    x = torch.randn(5, 6, dtype=torch.float64)
    tightly = [number for number, spec in enumerate(SPECS) if spec.variant != "pissa"]
    for number in tightly:  # what PiSSA took out of the weight is put back by rounded sums
        route.set(number)
        undo = merge(alone[number])
        torch.testing.assert_close(base(x), alone[number](x), atol=1e-12, rtol=1e-12)
        undo()
    assert all(
        torch.equal(tensor, base.state_dict()[name.replace("first.", "first.base.").replace("second.", "second.base.")])
        for name, tensor in plain.state_dict().items()
    )


def test_rows_of_peft_adapters_are_what_peft_gives(tmp_path):
    import peft

    torch.manual_seed(0)
    base = GPT2Model(GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=20, n_positions=8)).eval()
    wrapped = None
    for number, rank in enumerate((2, 4)):
        config = peft.LoraConfig(
            r=rank, lora_alpha=3, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False
        )
        one = peft.get_peft_model(copy.deepcopy(base), config)
        one.save_pretrained(str(tmp_path / str(number)))
        wrapped = wrapped or peft.PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path / "0"), "0")
    wrapped.load_adapter(str(tmp_path / "1"), "1")
    ids = torch.randint(20, (5, 6))
    names = ["0", "1", "1", "0", "1"]
    with torch.no_grad():
        expected = wrapped.eval()(input_ids=ids, adapter_names=names).last_hidden_state
        route = TaskRouter()
        pack(base, [tmp_path / "0", tmp_path / "1"], route)
        route.set(torch.tensor([int(name) for name in names]))
        torch.testing.assert_close(base(input_ids=ids).last_hidden_state, expected, atol=1e-5, rtol=1e-5)


NOT_TOLD_APART = [name for name in KINDS if name.startswith(("lstm", "gru", "experts"))]


@pytest.mark.parametrize("variant", ["lora", "dora"])
@pytest.mark.parametrize("kind", [name for name in KINDS if name not in NOT_TOLD_APART])
def test_adapters_of_every_other_form_lie_beside_plain_ones(kind, variant, tmp_path):
    """The second adapter leaves the layer alone, the third is LoRA again, of another rank."""
    torch.manual_seed(0)
    found = KINDS[kind]
    base, x = found.build().double().eval(), found.x()
    alone, folders = [], []
    for number, spec in enumerate(
        [LoraSpec(2, 0.7, tuple(found.names), variant=variant), LoraSpec(1, 1.5, tuple(found.names))]
    ):
        net = copy.deepcopy(base)
        try:
            adapt(net, dataclasses.replace(spec, **found.changes), found.names)
        except SpecError:
            pytest.skip(f"{variant} has no form there")
        disturb(net)
        folders.append(tmp_path / str(number))
        export_adapter(net, "path:base", folders[-1])
        alone.append(net.eval())
    route = TaskRouter()
    packed = copy.deepcopy(base)
    pack(packed, [folders[0], folders[1], folders[0]], route)
    rows = torch.tensor([1, 0, 2, 1, 0])[: len(x)]
    route.set(rows)
    with torch.no_grad():
        mixed = packed(x)
        for row, number in enumerate(rows.tolist()):
            expected = alone[number % 2](x)[row]
            torch.testing.assert_close(mixed[row], expected, atol=1e-6, rtol=1e-6)
            route.set(number)
            torch.testing.assert_close(packed(x)[row], expected, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(mixed, base(x), atol=1e-3)


def test_a_layer_that_one_adapter_leaves_alone_is_the_plain_one_for_its_rows(tmp_path):
    base, alone, folders = written(
        tmp_path, [LoraSpec(2, 0.7, ("first",), variant="dora"), LoraSpec(3, 1.5, ("second",))]
    )
    route, x = TaskRouter(), torch.randn(4, 3, 6, dtype=torch.float64)
    pack(base, folders, route)
    route.set(torch.tensor([1, 0, 1, 0]))
    for row, number in enumerate([1, 0, 1, 0]):
        torch.testing.assert_close(base(x)[row], alone[number](x)[row], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", NOT_TOLD_APART)
def test_what_cannot_be_packed_is_refused_by_name(kind, tmp_path):
    found = KINDS[kind]
    base = found.build()
    net = copy.deepcopy(base)
    adapt(net, LoraSpec(1, 1.0, tuple(found.names)), found.names)
    export_adapter(net, "path:base", tmp_path)
    with pytest.raises(SpecError, match=r"is (LSTM|GRU|\w+Experts), whose rows are not told apart"):
        pack(base, [tmp_path], TaskRouter())


@pytest.mark.parametrize(
    "spec",
    [
        MtlLoraSpec(2, 0.8, ("query", "output")),
        MtlLoraSpec(2, 0.8, ("output",), task_matrix="diagonal"),
        TaskForkSpec(2, 1, 0.8, 1.3, ("query", "output", "ffn_up")),
        TaskForkSpec(2, 1, 0.8, 1.3, ("output", "ffn_up"), mode="both"),
        TaskForkSpec(2, 2, 0.8, 1.3, ("output",), task_ranks=(("b", 0),)),
    ],
    ids=lambda spec: f"{type(spec).__name__}",
)
def test_each_task_of_an_adapter_for_several_is_one_beside_others(spec, tmp_path):
    torch.manual_seed(0)
    base = GPT2Model(GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=20, n_positions=8)).double().eval()
    net, own = copy.deepcopy(base), TaskRouter()
    adapt_tasks(net, spec, TARGETS["gpt2"], ["a", "b"], own)
    disturb(net)
    export_adapter(net.eval(), "path:base", tmp_path / "tasks")
    other = copy.deepcopy(base)
    adapt(other, LoraSpec(3, 1.1, ("query", "ffn_up")), TARGETS["gpt2"])
    disturb(other)
    export_adapter(other.eval(), "path:base", tmp_path / "other")
    route, ids = TaskRouter(), torch.randint(20, (5, 6))
    folders = [tmp_path / name for name in ("other", "tasks", "tasks")]
    packed = copy.deepcopy(base)
    pack(packed, folders, route, [None, "b", "a"])
    numbers = [2, 0, 1, 2, 1]
    route.set(torch.tensor(numbers))
    with torch.no_grad():
        mixed = packed(input_ids=ids).last_hidden_state
        for number in range(3):
            own.set({1: 1, 2: 0}.get(number, 0))
            expected = (other if number == 0 else net)(input_ids=ids).last_hidden_state
            mine = torch.tensor(numbers) == number
            torch.testing.assert_close(mixed[mine], expected[mine], atol=1e-6, rtol=1e-6)
    with pytest.raises(SpecError, match="an adapter of the tasks a, b; name one of them"):
        pack(copy.deepcopy(base), folders[1:2], TaskRouter())


def test_half_precision_under_autocast_is_near_the_whole(tmp_path):
    base, _, folders = written(tmp_path)
    route = TaskRouter()
    base.float()
    pack(base, folders, route)
    x = torch.randn(6, 3, 6)
    for rows in (3, torch.tensor([0, 1, 2, 3, 4, 0])):
        route.set(rows)
        exact = base(x)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(base(x).float(), exact, atol=0.1, rtol=0.05)
