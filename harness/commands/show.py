"""run=show: the first training rows as the model reads them, and what of them is learned."""

from typing import TYPE_CHECKING

from harness.commands.checks import check_installed
from harness.commands.devices import refuse_several_processes
from harness.commands.job import HydraJob

if TYPE_CHECKING:
    import torch

    from harness.task import Inputs, Task
    from harness.task.base import Piece
    from harness.task.tokenizers import FastTokenizer

_ROWS = 3


def run(job: HydraJob) -> None:
    """Print three training rows of each task; on a terminal what is learned is in colour, elsewhere in [[ ]]."""
    config = job.config
    refuse_several_processes("show")
    check_installed(config)
    from rich.console import Console

    from harness.task import build_task
    from harness.task.tokenizers import FastTokenizer
    from harness.trial.inputs import tokens_for

    whole = build_task(config.task)
    tokens, console = tokens_for(config, whole), Console(soft_wrap=True, highlight=False)
    tokenizer = None
    if tokens is not None and tokens.tokenizer is not None and tokens.tokenizer.is_file():
        tokenizer = FastTokenizer(tokens.tokenizer)
    for name, part in (whole.parts if config.task.parts else {"": whole}).items():
        inputs, of_task = part.inputs("train", tokens), f" of task {name}" if name else ""
        for row in range(min(_ROWS, len(inputs))):
            console.print(f"training row {row + 1} of {len(inputs)}{of_task}", style="bold")
            for text, learned in example(part, inputs, row, tokenizer):
                marked = f"[[{text}]]" if learned and not console.is_terminal else text
                console.print(marked, style="bold green" if learned else None, markup=False, end="")
            console.print("\n")


def example(task: "Task", inputs: "Inputs", row: int, tokenizer: "FastTokenizer | None") -> "list[Piece]":
    """Return the text of a training row that a model reads, and its target, which is the learned part."""
    if pieces := inputs.example(row):
        heard = all(learned for _, learned in pieces) and task.names("train")  # what is read is no text
        return [(f"{heard[row]} ", False), *pieces] if heard else pieces
    if tagged := task.tagged("train"):
        return [piece for token, tag in zip(*tagged[row], strict=True) for piece in _tagged(token, tag)]
    batch = inputs.training_batch([row])
    read = _read(batch, tokenizer) if tokenizer is not None and "ids" in batch else []
    if "context" in batch:
        return _span(batch, read)
    names = task.names("train")
    sizes = (f"{name} {tuple(part.shape[1:])}" for name, part in batch.items() if name not in ("labels", "rows"))
    text = " ".join(read) if read else str(names[row]) if names else ", ".join(sizes)
    return [(f"{text} ", False), (_answer(task, batch, row), True)]


def _read(batch: "dict[str, torch.Tensor]", tokenizer: "FastTokenizer") -> list[str]:
    """The tokens of a row that are no padding, as its tokenizer writes them."""
    real = zip(batch["ids"][0].tolist(), batch["mask"][0].tolist(), strict=True)
    return [str(tokenizer.token(each)) for each, is_real in real if is_real]


def _tagged(token: str, tag: str) -> "list[Piece]":
    from harness.task.tags import OUTSIDE

    return [(f"{token} ", False)] if tag == OUTSIDE else [(f"{token}/", False), (tag, True), (" ", False)]


def _span(batch: "dict[str, torch.Tensor]", read: list[str]) -> "list[Piece]":
    """The first window of a question with its context, and the tokens of the answer in it."""
    first, last = batch["labels"][0].tolist()
    parts = (read[:first], read[first : last + 1], read[last + 1 :])
    before, answer, after = (" ".join(part) for part in parts)
    return [(f"{before} ", False), (answer, True), (f" {after}", False)]


def _answer(task: "Task", batch: "dict[str, torch.Tensor]", row: int) -> str:
    if several := task.label_sets("train"):
        return ", ".join(several[row]) or "(none)"
    label = batch["labels"][0]
    if label.ndim:  # of each pixel
        return f"an answer of {tuple(label.shape)}"
    return f"{label.item():g}" if label.is_floating_point() else task.classes[int(label)]
