"""The claims table, from finished studies: claims.md, claims.csv and two pictures."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.report.table import markdown
from studies.claims import costs, forgetting, learning, pictures, quality
from studies.claims.evidence import Study
from studies.claims.rules import Judgement

_ABSENT = Study("–", missing="the configuration names no such study")
_HEADER = ["claim", "verdict", "measured on", "figure [95 %]", "n", "there", "command: `python -m harness …`"]


def judge(studies: Mapping[str, Study], counted: Mapping[str, Any], words: str) -> list[Judgement]:
    """Every claim. `counted` is the answer of run=count for BERT-large, `words` what was asked for it."""
    part = {name: studies.get(name, _ABSENT) for name in ("rank", "cnn", "lstm", "little", "lr", "continual")}
    both = [studies[name] for name in ("rank", "cnn", "lstm", "translation") if name in studies]
    ranked = [studies[name] for name in ("rank", "lstm", "translation", "cnn") if name in studies]
    timed = [*both, *(studies[name] for name in ("lr",) if name in studies)]
    return [
        costs.fewer_parameters(counted, words),
        quality.no_accuracy_lost(part["rank"]),
        costs.memory_saved(both),
        costs.faster_steps(both),
        costs.sooner_good(timed),
        costs.hundred_times(both),
        costs.no_latency([studies[name] for name in studies]),
        forgetting.forgets_less(part["continual"]),
        learning.overfits_less(part["little"]),
        quality.rank_matters(ranked),
        learning.rate_matters(part["lr"]),
        quality.cnn_dense_layers(part["cnn"]),
        quality.lstm_compresses(part["lstm"]),
    ]


def write_claims(folder: Path, studies: Mapping[str, Study], counted: Mapping[str, Any], words: str) -> str:
    """Write the files and return what the terminal shows."""
    folder.mkdir(parents=True, exist_ok=True)
    judgements = judge(studies, counted, words)
    text = "\n\n".join(["# Claims", markdown(rows(judgements)), rules(judgements)])
    (folder / "claims.md").write_text(text + "\n")
    _write_csv(folder / "claims.csv", judgements)
    written = ["claims.md", "claims.csv", *pictures.draw(studies, folder)]
    return f"{text}\n\nWritten:\n" + "\n".join(f"  {folder / name}" for name in written)


def rows(judgements: Sequence[Judgement]) -> list[list[str]]:
    """The table, header first: a row a finding; claim and verdict stand in the first row of each claim."""
    table = [_HEADER]
    for judgement in judgements:
        first = [judgement.claim, judgement.verdict]
        for finding in judgement.findings:
            command = f"`{finding.command.removeprefix('python -m harness ')}`" if finding.command != "–" else "–"
            there = finding.verdict if len(judgement.findings) > 1 else ""
            table.append([*first, finding.where, finding.figure, finding.items, there, command])
            first = ["", ""]
    return table


def rules(judgements: Sequence[Judgement]) -> str:
    """Describe the rule of each verdict, one line a claim."""
    words = (
        "A claim that several studies bear on holds where all find that it does, and in part where only some do; an "
        "interval that decides neither way can't be tested here. What is said of scores takes three of the unit that "
        "is repeated, named in the table: seeds, or splits of the data. Intervals of costs are over trials. What makes "
        "a claim hold:"
    )
    return "\n".join([words, "", *(f"- *{judgement.claim}*: {judgement.rule}." for judgement in judgements)])


def _write_csv(path: Path, judgements: Sequence[Judgement]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["claim", "verdict", "measured_on", "figure", "n", "verdict_there", "command"])
        for judgement in judgements:
            for finding in judgement.findings:
                cells = (finding.where, finding.figure, finding.items, finding.verdict, finding.command)
                writer.writerow([judgement.claim, judgement.verdict, *cells])
