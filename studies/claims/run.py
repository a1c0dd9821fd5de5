"""The command: judge claims about LoRA; each unfinished study is run first."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.commands import study_command
from harness.config import Config
from studies.claims.arguments import read_arguments
from studies.claims.gather import BERT_LARGE, gather
from studies.claims.page import write_claims


@study_command
def command(
    config: Config,
    arguments: Mapping[str, Any],
    compose: Callable[[Sequence[str]], Config],
    run_study: Callable[[Config, Sequence[str]], str],
) -> str:
    """Write the verdicts into the study's folder; returns what is printed."""
    asked = read_arguments(arguments)
    from harness.trial.adapt import count  # torch is imported only once there is something to judge

    results = Path(config.results)
    studies = gather(results, asked, compose, run_study)
    return write_claims(results / config.study, studies, count(compose(BERT_LARGE)), " ".join(BERT_LARGE))
