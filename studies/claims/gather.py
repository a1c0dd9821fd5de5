"""The studies that claims are judged by: read where they are finished, run where they are not."""

import dataclasses
import logging
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from harness import record
from harness.config import Config, ConfigError, ConfirmConfig, SweepConfig
from harness.record import Record, is_final
from harness.search import arms
from harness.search.confirmation import Wanted, finalists
from harness.system.assets import AssetError
from harness.system.study_files import CONFIG
from studies.claims.arguments import Arguments
from studies.claims.evidence import Study

# The claim is about this base; targets and rank as in the first comparisons of LoRA with full fine-tuning.
BERT_LARGE = ["run=count", "model=bert_large", "lora.rank=16", "lora.targets=[query,value]"]

log = logging.getLogger(__name__)

_SWEEP: TypeAdapter[SweepConfig] = TypeAdapter(SweepConfig)

Compose = Callable[[Sequence[str]], Config]
Run = Callable[[Config, Sequence[str]], str]


def gather(results: Path, arguments: Arguments, compose: Compose, run: Run) -> dict[str, Study]:
    """Every study by its part. `run` runs one and returns the name of its folder, which a stand-in's data may change.

    A study that cannot be had is there too, with the reason.
    """
    return {name: _study(results, words, arguments.run, compose, run) for name, words in arguments.studies.items()}


def _study(results: Path, words: list[str], may_run: bool, compose: Compose, run: Run) -> Study:
    command = shlex.join(["python", "-m", "harness", *words])
    try:
        config = compose(words)
        name = config.study
        folders = [results / study for study in (name, *_stand_in(words, config, compose))]
        asked = config.sweep.confirm if config.sweep else None
        confirmed_too = next((folder for folder in folders if complete(folder, asked)), None)
        done = confirmed_too or next((folder for folder in folders if complete(folder)), None)
        if confirmed_too is None and may_run:
            log.info("%s is not finished: running it", name)
            done = _run(results, config, words, run, done)
    except (ConfigError, AssetError) as error:
        return Study(command, missing=" ".join(str(error).splitlines()))
    if done is None or not complete(done):
        begun = done or next((folder for folder in folders if folder.exists()), folders[0])
        return Study(command, missing=f"no finished study {name}{_progress(begun)}")
    every = record.read(done)
    searched, confirmed = (tuple(entry for entry in every if entry.phase == phase) for phase in ("search", "confirm"))
    if not confirmed and any("test" not in entry.scores for entry in searched if entry.state == "complete"):
        why = "was neither scored on test nor confirmed; run=confirm does"
        return Study(command, missing=f"study {done.name}: its search {why}")
    log.info("%s: %d records", done.name, len(every))
    # Its own command may have said more than ours.
    return Study(searched[0].command, folder=done, records=searched, confirmed=confirmed)


def _run(results: Path, config: Config, words: list[str], run: Run, searched: Path | None) -> Path:
    """The folder of the study once it was run; where it cannot be, as it is `searched`, if it is."""
    try:
        return results / run(config, words)
    except (ConfigError, AssetError) as error:
        if searched is None:
            raise
        log.warning("%s is judged as it is, not confirmed: %s", searched.name, " ".join(str(error).splitlines()))
        return searched


def _stand_in(words: list[str], config: Config, compose: Compose) -> list[str]:
    """The name of the study as it is where the data set cannot be reached."""
    name = config.task.fallback
    return [compose([*words, f"task={name}"]).study] if name else []


def complete(folder: Path, asked: ConfirmConfig | None = None) -> bool:
    """Return whether every trial that the study in a folder was begun with has a record.

    The study's own configuration says how many they are; what the schema has gained since does not matter. One of which
    nothing was confirmed yet is confirmed as `asked`.
    """
    planned, left = _trials(folder, asked)
    return planned > 0 and left == 0


def _progress(folder: Path) -> str:
    planned, left = _trials(folder)
    return f" ({planned - left} of {planned} trials)" if planned else ""


def _trials(folder: Path, asked: ConfirmConfig | None = None) -> tuple[int, int]:
    """Return the number of a study's trials and of those without a record; zeros if there is no study."""
    path = folder / CONFIG
    if not path.exists():
        return 0, 0
    try:
        # A study of before there was a confirmation has none.
        stored = {"confirm": None} | (yaml.safe_load(path.read_text()).get("sweep") or {})
        sweep = _SWEEP.validate_python(stored)
    except ValidationError:
        return 0, 0
    ended = [entry for entry in record.read(folder) if is_final(entry)]
    planned = set(range(len(arms(sweep)) * sweep.trials))
    left = planned - {entry.trial for entry in ended if entry.phase == "search"}
    done = sum(entry.phase == "confirm" for entry in ended)
    if asked is not None and not (done and sweep.confirm):
        sweep = dataclasses.replace(sweep, confirm=asked)
    again = 0 if left else _confirming(sweep, ended)
    return len(planned) + again, len(left) or max(0, again - done)


def _confirming(sweep: SweepConfig, searched: Sequence[Record]) -> int:
    """Return how many trials the study trains again with fresh seeds."""
    if sweep.confirm is None:
        return 0
    return sweep.confirm.seeds * len(finalists(arms(sweep), searched, sweep.confirm.top, Wanted.of(sweep)))
