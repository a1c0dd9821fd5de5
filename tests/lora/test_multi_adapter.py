"""Several adapters beside one base: what each of them gives alone, and what PEFT gives with them."""

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import GPT2Config, GPT2Model
from transformers.pytorch_utils import Conv1D

from harness.lora import LoraSpec, MtlLoraSpec, SpecError, TaskRouter, adapt, adapt_tasks, export_adapter, merge, pack
from harness.model.text_parts import TARGETS
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


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (
            LoraSpec(2, 1.0, ("first",), variant="dora"),
            "first has scaled outputs (DoRA); only A and B",
        ),
        (LoraSpec(2, 1.0, ("conv",)), "conv is Conv1d; only A and B"),
    ],
)
def test_what_cannot_be_packed_is_refused_by_name(spec, line, tmp_path):
    base = Net()
    base.conv = nn.Conv1d(3, 3, 1)
    net = copy.deepcopy(base)
    adapt(net, spec, {})
    export_adapter(net, "path:base", tmp_path)
    with pytest.raises(SpecError) as caught:
        pack(base, [tmp_path], TaskRouter())
    assert line in str(caught.value)


def test_an_adapter_for_several_tasks_stands_alone(tmp_path):
    base = GPT2Model(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=20, n_positions=8))
    net = copy.deepcopy(base)
    adapt_tasks(net, MtlLoraSpec(2, 1.0, ("output",)), TARGETS["gpt2"], ["a", "b"], TaskRouter())
    export_adapter(net, "path:base", tmp_path)
    with pytest.raises(SpecError, match="stands alone"):
        pack(base, [tmp_path], TaskRouter())


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
