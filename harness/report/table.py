"""Records as tables: one row a trial, one row an arm, and what each arm's best trial says against the best of all."""

import csv
import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.record import (
    SHARES,
    Record,
    best_by,
    best_on_validation,
    direction,
    headline_bounds,
    headline_metric,
    headline_score,
    within,
)
from harness.report.chance import Constant, constant_among
from harness.report.statistics import holm, mcnemar_exact, ratio_interval, sign_flip, wilson_interval
from harness.system.figures import difference, figure
from harness.system.study_files import PREDICTIONS, WRITTEN

MIB = 2**20
TIES = ("best on validation", "not told apart", "higher")


@dataclasses.dataclass(frozen=True)
class ArmResult:
    """An arm's trial that did best on validation, if any is complete, and how it compares on the test split.

    `interval` is of its score on `split`: test, or validation where test was left to the trials that confirm.
    """

    arm: str
    best: Record | None
    trials: int
    complete: int
    pruned: int
    failed: int
    interval: tuple[float, float] | None
    p: float | None
    verdict: str

    @property
    def split(self) -> str:
        """The split that the arm is shown on."""
        return "test" if self.best is not None and "test" in self.best.scores else "val"


def tally(records: Sequence[Record]) -> str:
    """Count the trials by how they ended."""
    states = Counter(entry.state for entry in records)
    ended = f"{states['complete']} complete, {states['pruned']} pruned, {states['fail']} failed"
    return f"{len(records)} trials: {ended}."


def failures(records: Sequence[Record]) -> list[str]:
    """A paragraph that names every failed trial and its reason; none where none failed."""
    lines = [f"- trial {entry.trial} ({entry.arm}): {entry.reason}" for entry in records if entry.state == "fail"]
    return ["\n".join(["Failed trials:", *lines])] if lines else []


def arm_results(records: Sequence[Record], folder: Path) -> list[ArmResult]:
    """One row an arm, in the order of the study. Trials are selected on validation; test is only reported."""
    names = list(dict.fromkeys(entry.arm for entry in sorted(records, key=lambda entry: entry.trial)))
    groups = {name: [entry for entry in records if entry.arm == name] for name in names}
    best = best_by(records, lambda entry: entry.arm)
    leader = best_on_validation(list(best.values()))
    p_values = _paired(best, leader, folder) if leader is not None else {}
    return [
        _result(name, groups[name], best=best.get(name), leader=leader, p=p_values.get(name), folder=folder)
        for name in names
    ]


def _result(
    name: str, group: Sequence[Record], *, best: Record | None, leader: Record | None, p: float | None, folder: Path
) -> ArmResult:
    states = [entry.state for entry in group]
    return ArmResult(
        arm=name,
        best=best,
        trials=len(group),
        complete=states.count("complete"),
        pruned=states.count("pruned"),
        failed=states.count("fail"),
        interval=_interval(best, folder) if best else None,
        p=p,
        verdict=_verdict(best, leader, p) if best and leader else "no complete trial",
    )


def _interval(entry: Record, folder: Path) -> tuple[float, float] | None:
    """Over items; None where what each did is not known, and for a measure of the user's own, which may be no mean."""
    split, rows = ("test", "test") if "test" in entry.scores else ("val", "validation")
    if headline_metric(entry) in _ANSWERED:
        return wilson_interval(headline_score(entry, split), entry.data.rows[rows])
    items = outcomes(entry, folder) if split == "test" else None
    if items is None:
        return None
    if headline_metric(entry) in _SHARES_OF_ITEMS:
        return wilson_interval(headline_score(entry, split), len(items))
    return within(ratio_interval(items, item_sizes(entry, folder)), headline_bounds(entry))


def _paired(best: dict[str, Record], leader: Record, folder: Path) -> dict[str, float]:
    reference = outcomes(leader, folder)
    others = {name: outcomes(entry, folder) for name, entry in best.items() if entry is not leader}
    if reference is None:
        return {}
    raw = {
        name: _p_value(items, reference, headline_metric(leader)) for name, items in others.items() if items is not None
    }
    return dict(zip(raw, holm(list(raw.values())), strict=True))


def _p_value(items: list[float], reference: list[float], name: str) -> float:
    if name in _SHARES_OF_ITEMS:
        return mcnemar_exact([item == 1 for item in items], [item == 1 for item in reference])
    return sign_flip([item - other for item, other in zip(items, reference, strict=True)])


_WRITTEN = {"answer_accuracy": "right", "rouge_l": "rouge_l", "wer": "errors", "cer": "character_errors"}
"""Scores of texts that were written: the column of what each of them came to."""
_SIZES = {"wer": "words", "cer": "characters"}
"""Of those that are rates over all texts together: the column of how much each of them counts."""
RATIOS = ("loss", *_SIZES)
"""Measures that are a ratio of sums over items."""


def predictions(entry: Record, folder: Path) -> list[dict[str, str]] | None:
    """Read a trial's answers to the test items from its file; None if there is none."""
    return _rows(entry, folder, PREDICTIONS)


def texts(entry: Record, folder: Path) -> list[dict[str, str]] | None:
    """Read the texts that a trial generated for the first test items; None if there is no file."""
    return _rows(entry, folder, WRITTEN)


def _rows(entry: Record, folder: Path, name: str) -> list[dict[str, str]] | None:
    path = folder / Path(entry.adapter.path).parent / name
    if not path.exists():
        return None
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


_ANSWERED = {"accuracy": "predicted", "accuracy_norm": "predicted_norm"}
"""The column of what was answered to each item, by the score that it is right for."""


_MEANS = ("f1", "exact")
"""Scores that are means over items where these have a column of that name: of answers that are spans of a text."""
_GROUPS = "group_exact"
"""The share of groups of items that are right as a whole: what is compared are groups."""
_SHARES_OF_ITEMS = (*SHARES, "exact", _GROUPS)


def outcomes(entry: Record, folder: Path) -> list[float] | None:
    """Return a trial's result on each test item: 1 if it was right, its F1, the nats that its tokens cost, its squared
    error, or the errors of its text.

    Answers are of the items whose texts were written; groups of items are in the order of their numbers. None where its
    file is not there, and where its headline is no mean over items.
    """
    name = headline_metric(entry)
    if name in _WRITTEN:
        return _of_texts(texts(entry, folder), _WRITTEN[name])
    rows = predictions(entry, folder)
    if rows and name in _MEANS and name in rows[0]:
        return [float(row[name]) for row in rows]
    if name == "exact":
        return _of_texts(texts(entry, folder), name)
    if rows and name == _GROUPS:
        return _whole_groups(rows)
    if rows is None or name not in (*SHARES, "loss"):
        return None
    if name in _ANSWERED:
        if "label" not in rows[0]:  # tokens are tagged: no row is right or wrong
            return None
        return [float(row["label"] == row[_ANSWERED[name]]) for row in rows]
    if "tokens" not in rows[0]:  # numbers, whose loss is of standardised answers
        assert entry.data.sd is not None
        return [((float(row["label"]) - float(row["predicted"])) / entry.data.sd) ** 2 for row in rows]
    return [float(row["loss"]) * float(row["tokens"]) for row in rows]


def _of_texts(rows: Sequence[Mapping[str, str]] | None, column: str) -> list[float] | None:
    return [float(row[column]) for row in rows] if rows and column in rows[0] else None


def _whole_groups(rows: Sequence[Mapping[str, str]]) -> list[float]:
    right: dict[float, float] = {}
    for row in rows:
        group = float(row["group"])
        right[group] = min(right.get(group, 1.0), float(row["label"] == row["predicted"]))
    return [right[group] for group in sorted(right)]


def item_sizes(entry: Record, folder: Path) -> list[float]:
    """Return each test item's weight in a score that is a ratio of sums: its tokens, words or characters, else 1."""
    name = headline_metric(entry)
    if name in _SIZES:
        return [float(row[_SIZES[name]]) for row in texts(entry, folder) or ()]
    if name == _GROUPS or name in _WRITTEN or name in _MEANS:
        return [1.0] * len(outcomes(entry, folder) or ())
    return [float(row.get("tokens", 1)) for row in predictions(entry, folder) or ()]


def _verdict(entry: Record, leader: Record, p: float | None) -> str:
    if entry is leader:
        return "best on validation"
    if p is None:
        return "not compared"
    if p >= 0.05:
        return "not told apart"
    mine, best = (sign(item) * headline_score(item, "test") for item in (entry, leader))
    return "higher" if mine > best else "lower"


def sign(entry: Record) -> float:
    """1 where a higher score is better, −1 where a lower one is."""
    return direction(headline_metric(entry))


def pareto(records: Sequence[Record], cost: str) -> list[Record]:
    """Complete trials that no other beats: none has at least as good a validation score at less cost.

    `cost` is trainable (parameters) or memory (bytes), which is known of trials that trained by themselves.
    """
    known = cost == "trainable"
    complete = [entry for entry in records if entry.state == "complete" and (known or entry.pack_size == 1)]
    ordered = sorted(complete, key=lambda entry: (cost_of(entry, cost), -goodness(entry), entry.trial))
    front: list[Record] = []
    for entry in ordered:
        if not front or goodness(entry) > goodness(front[-1]):
            front.append(entry)
    return front


def fronts(records: Sequence[Record]) -> str:
    """The Pareto fronts of a search as text."""
    lines = []
    for cost, unit in (
        ("trainable", "trainable parameters"),
        ("memory", "bytes of memory in training"),
    ):
        lines.append(f"Pareto front, validation {headline_metric(records[0])} against {unit}:")
        lines += [
            f"- trial {entry.trial} ({entry.arm}): {figure(headline_score(entry, 'val'))} at {cost_of(entry, cost):,}"
            for entry in pareto(records, cost)
        ]
        lines.append("")
    return "\n".join(lines).strip()


def goodness(entry: Record) -> float:
    """The validation score that a trial is shown by, its sign changed where lower is better."""
    return sign(entry) * headline_score(entry, "val")


def cost_of(entry: Record, cost: str) -> int:
    """Return a trial's cost: trainable parameters, or bytes of memory in training."""
    return entry.parameters.trainable if cost == "trainable" else entry.memory.needed


def step_seconds(entry: Record) -> float:
    """The median optimiser step of a trial that made one."""
    assert entry.time.step_median_s is not None
    return entry.time.step_median_s


# What a generator wrote for test rows (conf/task: generate_rows says for how many): BLEU and chrF of 0 to 100.
_TEXT_SCORES = {
    "bleu": ("BLEU", ".1f"),
    "chrf": ("chrF", ".1f"),
    "answer_accuracy": ("answers right", ".4f"),
    "no_answer": ("no answer", ".4f"),
}


def bases(records: Iterable[Record]) -> list[str]:
    """The names of the bases that trials are on, in their order."""
    return list(dict.fromkeys(entry.model for entry in records))


def bases_said(records: Sequence[Record]) -> str:
    """The sentence that names them."""
    found = bases(records)
    return f"{'Base' if len(found) == 1 else 'Bases'}: {', '.join(found)}."


def arm_rows(results: Sequence[ArmResult]) -> list[list[str]]:
    """The table of arms as text, header first."""
    name = next((headline_metric(result.best) for result in results if result.best), "accuracy")
    short = "acc" if name == "accuracy" else name
    written = [
        score
        for score in _TEXT_SCORES
        if score != name and any(result.best and score in result.best.scores.get("test", {}) for result in results)
    ]
    tested = any(result.split == "test" for result in results)
    brackets = " [95 %]" if any(result.interval for result in results) else ""
    searched = any(rank_cell(result.best) and "rank=" not in result.arm for result in results if result.best)
    several = len(bases(result.best for result in results if result.best)) > 1
    header = [
        "arm",
        *(("base",) if several else ()),
        "trials",
        *(("rank",) if searched else ()),
        "adapter",
        "trainable",
        "fewer",
        *((f"val {short}", f"test {short}{brackets}") if tested else (f"val {short}{brackets}",)),
        *(_TEXT_SCORES[score][0] for score in written),
        "lr",
        "scale",
        "memory MiB",
        "step ms",
        *(("vs best",) if tested else ()),
    ]
    rows = [header]
    for result in results:
        ended = f"{result.complete} + {result.pruned} pruned" if result.pruned else f"{result.complete}"
        ended += f" + {result.failed} failed" if result.failed else ""
        verdict = result.verdict + (f" (p {result.p:.2g})" if result.p is not None else "")
        blank = [""] * (len(header) - 2 - tested - searched - several)
        cells = _best_cells(result.best, result.interval, written, tested) if result.best else blank
        cells = [rank_cell(result.best) if result.best else "", *cells] if searched else cells
        base = [result.best.model if result.best else ""] if several else []
        rows.append([result.arm, *base, ended, *cells, *((verdict,) if tested else ())])
    always = constant_among(result.best for result in results if result.best)
    return rows if always is None else [*rows, _constant_row(always, header, short)]


def _constant_row(always: Constant, header: Sequence[str], short: str) -> list[str]:
    """Return the row of a constant answer's scores, below the trained arms."""
    scores = {f"val {short}": always.val, f"test {short}": always.test}
    return [always.row, *(always.cell(scores.get(title.removesuffix(" [95 %]"))) for title in header[1:])]


def rank_cell(entry: Record) -> str:
    """The rank of a trial of LoRA; where layers differ, their mean and range."""
    ranks = list(entry.adapter.ranks.values())
    if not entry.lora.is_low_rank or entry.lora.rank is None:
        return ""
    if len(set(ranks)) < 2:
        return str(entry.lora.rank)
    return f"{sum(ranks) / len(ranks):.3g} ({min(ranks)} to {max(ranks)})"


def _best_cells(entry: Record, interval: tuple[float, float] | None, written: Sequence[str], tested: bool) -> list[str]:
    """The cells of an arm's best trial; `tested`: the table has a column for test, which this trial may leave empty."""
    val = figure(headline_score(entry, "val"))
    shown = f"{figure(headline_score(entry, 'test'))}{span(interval, '.3f')}" if "test" in entry.scores else ""
    return [
        f"{entry.parameters.adapter:,}",
        f"{entry.parameters.trainable:,}",
        f"{100 * (1 - entry.parameters.trainable / entry.parameters.total):.2f} %",
        *((val, shown) if tested else (f"{val}{span(interval, '.3f')}",)),
        *(
            f"{found:{_TEXT_SCORES[score][1]}}"
            if (found := entry.scores.get("test", {}).get(score)) is not None
            else ""
            for score in written
        ),
        f"{entry.rate:.3g}",
        f"{entry.lora.scale:.3g}" if entry.lora.scale else "",
        f"{cost_of(entry, 'memory') / MIB:.0f}",
        f"{1000 * step_seconds(entry):.0f}",
    ]


def span(interval: tuple[float, float] | None, form: str) -> str:
    """An interval after its figure; nothing where there is none."""
    if interval and form == ".3f":
        return f" [{', '.join(difference(end, 3, '') for end in interval)}]"
    return f" [{interval[0]:{form}}, {interval[1]:{form}}]" if interval else ""


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, columns aligned so that it reads in a terminal too."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
