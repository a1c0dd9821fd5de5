"""The answer as a terminal shows it: a short paragraph and a narrow table; the wide one is in table.md."""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.record import Record, best_by, headline_metric, headline_score
from harness.report.chance import chance, constant_among
from harness.report.confirmed import Confirmation
from harness.report.confirmed_tasks import ConfirmedMultitask
from harness.report.groups import shortened
from harness.report.html import Group
from harness.report.table import MIB, sign, tally
from harness.system.figures import difference, figure

LEAST_WIDTH, MOST_WIDTH = 60, 120
_BESIDE_ARM = 62  # columns that the other cells of a confirmed arm take


def answer_text(study: str, groups: Sequence[Group], files: Sequence[str], folder: Path, width: int) -> str:
    """The answer of each group of trials, with a table, and the files that were written."""
    width = max(LEAST_WIDTH, min(MOST_WIDTH, width))
    parts = []
    for group in groups:
        first = group.records[0]
        title = f"{study}: {group.title}. {tally(group.records)}"
        said = [title, group.answer, *filter(None, [chance(first, group.records).strip()])]
        parts += [*(textwrap.fill(each, width) for each in said), _drawn(_table(shortened(group), width), width)]
    names = textwrap.fill(", ".join(files), width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    return "\n\n".join([*parts, f"Written to {folder}:\n{names}"])


def _table(group: Group, width: int) -> Table:
    if group.confirmed is not None:
        return _confirmed_table(group.confirmed, max(20, width - _BESIDE_ARM))
    return _multitask_table(group.multitask) if group.multitask is not None else _search_table(group.records)


def _new_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(columns[0], overflow="fold", ratio=1)
    for name in columns[1:]:
        table.add_column(name, justify="left" if name == "verdict" else "right", no_wrap=name != "verdict")
    return table


def _confirmed_table(found: Confirmation, room: int) -> Table:
    name = headline_metric(found.arms[0].entry)
    table = _new_table("arm", "trained", f"test {_short(name)}", f"against {found.reference} [95 %]", "verdict")
    for each in found.arms:
        up, gap = sign(each.entry), each.gap
        ends = [0.0, 0.0] if gap is None else sorted((up * gap.low, up * gap.high))
        middle = 0.0 if gap is None else up * gap.difference
        low, mid, high = _interval(ends[0], middle, ends[1])
        against = "" if gap is None else f"{mid} [{low}, {high}]"
        verdict = "cannot rank" if found.cannot_rank and each.verdict else each.verdict or "reference"
        arm = each.arm if len(each.arm) <= room else each.arm.replace(",", ",\n")
        cells = [arm, f"{each.entry.parameters.trainable:,}", figure(each.mean.mean), against, verdict]
        table.add_row(*map(Text, cells))
    if (always := found.constant) is not None:
        table.add_row(*map(Text, [always.row, "", always.cell(always.test), "", ""]))
    return table


def _interval(*values: float) -> list[str]:
    """Differences with three decimals, or with three digits where those would be zeros in all of them."""
    wide = max(map(abs, values)) >= 0.0005
    return [f"{value:+.3f}" if wide else difference(value, 3) for value in values]


def _multitask_table(found: ConfirmedMultitask) -> Table:
    table = _new_table("arm", "trained", "Δm % against alone [95 %]", "verdict")
    for arm in found.arms:
        delta = f"{arm.delta.difference:+.2f} [{arm.delta.low:+.2f}, {arm.delta.high:+.2f}]"
        table.add_row(*map(Text, [arm.arm, f"{arm.runs[0].parameters.trainable:,}", delta, arm.verdict]))
    return table


def _search_table(records: Sequence[Record]) -> Table:
    """A row for each arm of the search, by its trial that did best on validation."""
    searched = [entry for entry in records if entry.phase == "search"]
    best = best_by(searched, lambda entry: entry.arm)
    name = _short(headline_metric(records[0]))
    tested = any("test" in entry.scores for entry in best.values())
    table = _new_table("arm", "trials", "trained", f"val {name}", *([f"test {name}"] if tested else []), "memory MiB")
    for arm in dict.fromkeys(entry.arm for entry in searched):
        count = str(sum(entry.arm == arm for entry in searched))
        table.add_row(*map(Text, [arm, count, *_figures(best.get(arm), tested)]))
    if (always := constant_among(best.values())) is not None:
        scores = [always.cell(always.val), *([always.cell(always.test)] if tested else [])]
        table.add_row(*map(Text, [always.row, "", "", *scores, ""]))
    return table


def _figures(entry: Record | None, tested: bool) -> list[str]:
    if entry is None:
        return ["no complete trial"]
    test = [figure(headline_score(entry, "test")) if "test" in entry.scores else ""] if tested else []
    trained, memory = f"{entry.parameters.trainable:,}", f"{entry.memory.needed / MIB:.0f}"
    return [trained, figure(headline_score(entry, "val")), *test, memory]


def _short(metric: str) -> str:
    return "acc" if metric == "accuracy" else metric


def _drawn(table: Table, width: int) -> str:
    """The table as plain lines."""
    place = io.StringIO()
    Console(file=place, width=width, color_system=None, markup=False, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in place.getvalue().rstrip().splitlines())
