"""run=data: what is read, before anything is trained."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.checks import check_installed, unmeasured
from harness.commands.devices import refuse_several_processes
from harness.commands.job import HydraJob
from harness.config import Config
from harness.system import assets
from harness.system.jsonl import replace_text
from harness.system.study_files import SPLIT_ROWS

if TYPE_CHECKING:
    from harness.task import Inputs, Task

_LOG = logging.getLogger(__name__)


def run(job: HydraJob) -> None:
    """Print what is in each split, what was left out and why, and write data.md, data.png and splits.csv.

    No base is downloaded: where its tokenizer is not on this machine, rows are not counted in tokens.
    """
    config = job.config
    refuse_several_processes("data")
    check_installed(config)
    from harness.config.preflight import writable

    writable(Path(config.results), config.study)
    from harness.task import build_task

    task = build_task(config.task)
    folder = Path(config.results) / config.study
    folder.mkdir(parents=True, exist_ok=True)
    print(write_data(config, task, folder))


def write_data(config: Config, task: "Task", folder: Path) -> str:
    """Describe a task, or each of several tasks, and write the description to data.md with its picture."""
    said: list[str] = []
    from harness.task.summary import write_rows

    parts = task.parts if config.task.parts else {}
    for name, part in (parts or {"": task}).items():
        said += [*_summary(config, task, part, name), ""]
        _picture(part, folder / (f"data_{name}.png" if name else "data.png"))
        write_rows(part, folder / (f"splits_{name}.csv" if name else SPLIT_ROWS))
    text = "\n".join(said).rstrip() + "\n"
    fence = "````" if "```" in text else "```"  # a conversation may hold blocks of code
    replace_text(folder / "data.md", f"{fence}\n{text}{fence}\n")
    return f"{text}\nwritten to {folder}"


def _summary(config: Config, whole: "Task", part: "Task", name: str) -> list[str]:
    from harness.task.summary import summary
    from harness.trial.constants import constant_lines

    inputs: Mapping[str, Inputs] | None = None
    odd: Sequence[str] = ()
    try:
        with assets.cached_only():
            inputs, odd = _inputs(config, whole, part)
    except assets.Unreachable as error:
        _LOG.info("rows are not counted as the model %s reads them: %s", config.model.name, error)
    shown = inputs["train"].shown() if inputs is not None else []
    scored: list[str] = []
    if part is whole:
        scored = unmeasured(config, part) or constant_lines(part, config.trainer, inputs or {})
    return ([f"task {name}"] if name else []) + summary(part, inputs, scored, odd) + (["", *shown] if shown else [])


def _inputs(config: Config, whole: "Task", part: "Task") -> tuple[Mapping[str, "Inputs"], Sequence[str]]:
    """The splits as the model reads them, and warnings about texts that it cannot read or distinguish."""
    from harness.task import SPLITS
    from harness.task.reading import read_by_tokenizer
    from harness.trial.inputs import tokens_for

    tokens = tokens_for(config, whole)
    inputs = {split: part.inputs(split, tokens) for split in SPLITS}
    return inputs, read_by_tokenizer(part, inputs, tokens, allow=config.task.takes_unknown).told


def _picture(task: "Task", path: Path) -> None:
    from harness.report.data_picture import data_picture
    from harness.task import SPLITS

    lengths = {split: task.lengths(split) for split in SPLITS}
    unit = list(lengths["train"])[-1] if lengths["train"] else ""
    labels = task.describe().get("labels")
    data_picture(
        f"{task.name}: what was read",
        labels=labels if isinstance(labels, Mapping) else {},
        classes=task.classes,
        lengths={split: found[unit] for split, found in lengths.items() if unit},
        unit=unit,
        path=path,
    )
