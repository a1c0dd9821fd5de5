"""The finalists of a search, trained again with fresh seeds: what they scored on test, and what can be said of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.record import SHARES, Record, best_by, best_on_validation, headline_bounds, headline_metric, headline_score
from harness.report.chance import Constant, constant_among
from harness.report.ranking import amount, cannot_rank
from harness.report.score_matrices import score_matrices
from harness.report.table import bases, markdown, sign
from harness.report.two_level import Comparison, Mean, Verdict, compare, mean_of
from harness.system.figures import difference, figure

LEAST_SEEDS = 3
"""A verdict takes so many, and so many orders of tasks and speakers where there are several; with fewer, nothing is
decided.
"""
WORDS = (
    "better, worse: the interval leaves 0 out; equal within the margin: it lies inside ±{margin}; not decided: neither."
)


@dataclass(frozen=True)
class Confirmed:
    """A finalist: its trial of the search, its trials with fresh seeds, their mean on test, and what it is against.

    `gap` is None for the reference, and where there are too few seeds to compare.
    """

    arm: str
    chosen: Record
    runs: list[Record]
    mean: Mean
    gap: Comparison | None
    verdict: Verdict | None

    @property
    def entry(self) -> Record:
        """One of its trials, for what they share."""
        return self.runs[0]

    @property
    def alike(self) -> bool:
        """True if only the seeds differ from the trial of the search."""
        return self.chosen.steps.planned == self.entry.steps.planned

    @property
    def difference(self) -> tuple[float, float, float] | None:
        """From the reference, with the ends of its interval, in the score's own direction: of a loss, more is worse."""
        if self.gap is None:
            return None
        up = sign(self.entry)
        low, high = sorted((up * self.gap.low, up * self.gap.high))
        return up * self.gap.difference, low, high

    @property
    def optimism(self) -> float:
        """The margin by which the validation score of the chosen trial exceeds that of fresh seeds."""
        again = math.fsum(headline_score(run, "val") for run in self.runs) / len(self.runs)
        return sign(self.chosen) * (headline_score(self.chosen, "val") - again)


@dataclass(frozen=True)
class Confirmation:
    """The result of a study's confirmation. `cannot_rank` says why its arms cannot be ranked at all, `too_few` why
    there are too few runs for a verdict; empty if there are enough.

    `left_out` are finalists that could not be compared, and why; `failed` says of each arm that has failed trials how
    many and why. `over_items` says whether the intervals count the test rows, too, and `groups` in how many groups,
    where the measure is no mean over rows; else `seeds_alone` says why not. `constant` is what is scored without having
    learned anything.
    """

    reference: str
    seeds: int
    items: int
    margin: float
    arms: list[Confirmed]
    cannot_rank: str
    too_few: str
    left_out: dict[str, str]
    failed: dict[str, str]
    over_items: bool
    groups: int
    seeds_alone: str
    constant: Constant | None

    @property
    def runs(self) -> dict[str, list[Record]]:
        """The trials of each arm."""
        return {each.arm: each.runs for each in self.arms}

    @property
    def unit(self) -> str:
        """The unit of replication: seeds, or orders of the tasks, each with a seed of its own."""
        return "orders" if self.orders > 1 else "seeds"

    @property
    def orders(self) -> int:
        """In how many orders the tasks were learned."""
        return len({tuple(run.continual.tasks) for each in self.arms for run in each.runs})

    @property
    def repeats(self) -> str:
        """The number of seeds or orders; orders may recur with further seeds."""
        again = self.unit == "orders" and self.orders < self.seeds
        return f"{self.seeds} seeds in {self.orders} orders" if again else f"{self.seeds} {self.unit}"

    @property
    def detectable(self) -> float:
        """The least true difference with a power of 80 %, of the adapter that moves most; without one, of any arm."""
        compared = [found for found in self.arms if found.gap is not None]
        adapters = [found for found in compared if found.entry.parameters.adapter]
        return max((found.gap.detectable for found in adapters or compared if found.gap is not None), default=math.inf)


def confirmation(
    records: Sequence[Record], folder: Path, margin: float, reference: str | None = None
) -> Confirmation | None:
    """Judge the trials of a study that confirm; None where no two arms have the same two seeds.

    Only trials at the point that the search chose count. Arms are compared over the seeds that all of them have; an arm
    that would leave the others fewer than `LEAST_SEEDS`, as one that failed again and again, is left out and named. The
    reference, where none is named that was confirmed, is full fine-tuning, or without it the arm that the search found
    best on validation.
    """
    chosen = best_by((entry for entry in records if entry.phase == "search"), lambda entry: entry.arm)
    again = [entry for entry in records if entry.phase == "confirm"]
    runs = {name: runs_again(again, chosen[name]) for name in chosen if any(entry.arm == name for entry in again)}
    most = max(map(len, runs.values()), default=0)
    kept = {name: found for name, found in runs.items() if len(found) >= min(LEAST_SEEDS, most)}
    seeds = sorted(set.intersection(*map(set, kept.values()))) if kept else []
    if len(kept) < 2 or len(seeds) < 2:
        return None
    shared = {name: [found[seed] for seed in seeds] for name, found in kept.items()}
    scores = score_matrices(shared, folder)
    values = scores.values
    if reference not in shared:
        reference = _reference({name: chosen[name] for name in shared})
    kinds = {name: "adapter" if entries[0].parameters.adapter else name for name, entries in shared.items()}
    limits = headline_bounds(next(iter(shared.values()))[0])
    too_few = _too_few(next(iter(shared.values())))
    gaps = {name: gap.within(limits[1] - limits[0]) for name, gap in compare(values, reference, kinds).items()}
    found = [
        Confirmed(
            arm=name,
            chosen=chosen[name],
            runs=entries,
            mean=mean_of(sign(entries[0]) * values[name]).within(*limits),
            gap=gaps.get(name),
            verdict=(gaps[name].verdict(margin) if not too_few else "not decided") if name in gaps else None,
        )
        for name, entries in shared.items()
    ]
    return Confirmation(
        reference=reference,
        seeds=len(seeds),
        items=scores.rows or found[0].entry.data.rows.get("test", 0),
        margin=margin,
        arms=found,
        cannot_rank=_cannot_rank(found, scores.rows, folder),
        too_few=too_few,
        left_out={name: _why_left_out(name, again, len(runs[name])) for name in runs if name not in kept},
        failed={name: said for name in runs if (said := failed_again(again, chosen[name]))},
        over_items=scores.rows > 0,
        groups=scores.groups,
        seeds_alone=scores.why,
        constant=constant_among(each.entry for each in found),
    )


def failed_again(again: Sequence[Record], chosen: Record) -> str:
    """Count an arm's trials without a result, with reasons; one that succeeded when tried again is left out."""
    done = runs_again(again, chosen)
    lost = {
        entry.seeds.trial: entry
        for entry in again
        if (entry.arm, entry.point, entry.state) == (chosen.arm, chosen.point, "fail") and entry.seeds.trial not in done
    }
    reasons = "; ".join(f"trial {entry.trial}: {entry.reason}" for entry in lost.values())
    return f"{len(lost)} of {len(lost) + len(done)} trials ({reasons})" if lost else ""


def _why_left_out(name: str, again: Sequence[Record], complete: int) -> str:
    failed = [entry for entry in again if entry.arm == name and entry.state == "fail"]
    return f"{complete} complete" + (f", trial {failed[0].trial}: {failed[0].reason}" if failed else "")


def runs_again(records: Sequence[Record], chosen: Record) -> dict[int, Record]:
    """The complete trials that train the point of a search's trial again, by their seed."""
    mine = (entry for entry in records if entry.phase == "confirm" and entry.arm == chosen.arm)
    return {entry.seeds.trial: entry for entry in mine if entry.state == "complete" and entry.point == chosen.point}


def _reference(chosen: dict[str, Record]) -> str:
    full = [name for name, entry in chosen.items() if entry.lora.trains_whole_base]
    leader = best_on_validation([chosen[name] for name in full] or list(chosen.values()))
    assert leader is not None
    return leader.arm


def _cannot_rank(found: Sequence[Confirmed], items: int, folder: Path) -> str:
    """Return why arms cannot be ranked, judged by the difference that the steadiest arm could show."""
    seen = min(each.gap.detectable for each in found if each.gap is not None)
    rows = f"{items:,} test rows and " if items else ""
    size = f"{rows}{len(found[0].runs)} seeds"
    return cannot_rank(found[0].entry, [each.mean for each in found], seen, size, folder)


def _too_few(runs: Sequence[Record]) -> str:
    """Return why there are too few repetitions for a verdict; empty if there are enough. `runs` are of one arm."""
    orders = len({tuple(run.continual.tasks) for run in runs})
    speakers = len(runs[0].data.speakers.get("test", ()))
    if len(runs) < LEAST_SEEDS:
        return f"fewer than {LEAST_SEEDS} {'orders' if orders > 1 else 'seeds'}"
    if 1 < orders < LEAST_SEEDS:
        return f"fewer than {LEAST_SEEDS} orders of the tasks"
    if 0 < speakers < LEAST_SEEDS:
        return f"test rows of fewer than {LEAST_SEEDS} speakers"
    return ""


def section(found: Confirmation) -> str:
    """The confirmation in Markdown: what is concluded, a row for each arm, and what the words mean."""
    entry = found.arms[0].entry
    name = headline_metric(entry)
    several = len(bases(each.entry for each in found.arms)) > 1
    header = [
        "arm",
        *(["base"] if several else []),
        "adapter",
        "trained",
        f"search val {name}",
        f"val {name} again",
        f"test {name} [95 %]",
        f"sd over {found.unit}",
        f"against {found.reference} [95 %, all at once]",
        "verdict",
    ]
    rows = [header, *(_row(each, found, several) for each in found.arms)]
    if (always := found.constant) is not None:
        scores = {f"val {name} again": always.val, f"test {name} [95 %]": always.test}
        rows.append([always.row, *(always.cell(scores.get(title)) for title in header[1:])])
    again = f", {found.orders} in all" if found.orders < found.seeds else ""
    apart = f", each with an order of the tasks{again}" if found.unit == "orders" else ""
    title = f"## Confirmed with {found.seeds} fresh seeds{apart}"
    return "\n\n".join([title, answer(found), markdown(rows), _notes(found)])


def _row(each: Confirmed, found: Confirmation, several: bool) -> list[str]:
    verdict = "cannot rank" if found.cannot_rank and each.verdict else each.verdict
    entry, mean = each.entry, each.mean
    again = headline_score(each.chosen, "val") - sign(entry) * each.optimism
    against = "" if each.difference is None else _signed(*each.difference)
    return [
        each.arm,
        *([entry.model] if several else []),
        f"{entry.parameters.adapter:,}",
        f"{entry.parameters.trainable:,}",
        figure(headline_score(each.chosen, "val")),
        figure(again),
        f"{figure(mean.mean)} [{figure(mean.low)}, {figure(mean.high)}]",
        difference(mean.spread, sign=""),
        against,
        verdict or "reference",
    ]


def answer(found: Confirmation) -> str:
    """State the conclusion in a sentence or two; without a verdict there is no recommendation."""
    if found.cannot_rank:
        return f"Cannot rank: {found.cannot_rank}. {failures_told(found.failed)}".strip()
    adapters = [each for each in found.arms if each.entry.parameters.adapter]
    words, wanted, short = _asked(found)
    enough = [each for each in adapters if each.gap is None or each.verdict in wanted]
    compared = [each for each in adapters if each.gap is not None]
    settled = any(each.gap is not None for each in enough) or all(each.verdict == "worse" for each in compared)
    if enough and settled:
        smallest = min(enough, key=lambda each: each.entry.parameters.adapter)
        said = f": {smallest.verdict}" if smallest.verdict and smallest.verdict not in words else ""
        sentence = f"Smallest adapter shown to be {words}: {_figures(smallest, found)}{said}."
    elif others := [each for each in compared if each.verdict == "not decided"]:
        sentence = f"Not decided: {_figures(max(others, key=_goodness), found)}."
    elif compared:
        closest = max(compared, key=_goodness)
        sentence = f"No confirmed adapter {short} {found.reference}; the closest is {_figures(closest, found)}."
    else:
        sentence = f"No confirmed adapter beside {found.reference}."
    return " ".join(filter(None, [sentence, failures_told(found.failed), _power(found)]))


def _asked(found: Confirmation) -> tuple[str, tuple[Verdict, ...], str]:
    """Return the question about an adapter: as good as full fine-tuning or an adapter, or better than a lesser arm."""
    reference = next(each.entry for each in found.arms if each.gap is None)
    if reference.lora.trains_whole_base or reference.parameters.adapter:
        return "enough", ("better", "equal within the margin"), "reaches"
    return f"better than {found.reference}", ("better",), "is shown to be better than"


def failures_told(failed: Mapping[str, str]) -> str:
    """Describe failures: other trials with a failed seed are not compared, so those that ended are a selection."""
    if not failed:
        return ""
    named = "; ".join(f"{name} in {said}" for name, said in failed.items())
    return f"Failed: {named}. What is said holds for trials that end."


def _goodness(each: Confirmed) -> float:
    return sign(each.entry) * each.mean.mean


def _figures(each: Confirmed, found: Confirmation) -> str:
    name = headline_metric(each.entry)
    what = f"{each.arm} ({each.entry.parameters.adapter:,} adapter parameters, test {name} {figure(each.mean.mean)})"
    if each.difference is None:
        return f"{what}, the reference"
    return f"{what}, {_signed(*each.difference)} against {found.reference}"


def _power(found: Confirmation) -> str:
    """The difference that the study could have found; with too few of what is repeated it could find none."""
    if found.too_few:
        return f"With {found.too_few} nothing is decided."
    name = headline_metric(found.arms[0].entry)
    seen = amount(name, found.detectable)
    margin = amount(name, found.margin) if name in SHARES else f"{found.margin:g}"
    rows = f" and {found.items:,} test rows" if found.over_items else ""
    return f"With {found.repeats}{rows} a difference of {seen} has a power of 80 %; the margin is {margin}."


def _notes(found: Confirmation) -> str:
    parts = [_words(found), _counted(found)]
    if found.failed:
        parts.append(f"{failures_told(found.failed)} Arms are compared over the seeds that ended in all of them.")
    if found.left_out:
        named = "; ".join(f"{name} ({why})" for name, why in found.left_out.items())
        parts.append(f"Left out, with too few complete trials: {named}.")
    speakers = len(found.arms[0].entry.data.speakers.get("test", ()))
    if speakers:
        parts.append(f"The test rows are of {speakers} speakers; intervals are over rows, not over voices.")
    if found.unit == "orders":
        parts.append(f"The search had one order of the tasks, these trials {found.orders}.")
    elif all(each.alike for each in found.arms):
        lost = math.fsum(each.optimism for each in found.arms) / len(found.arms)
        told = f"better by {lost:.4f}" if lost > 0 else "no better"
        lucky = ": the best of several is lucky" if lost > 0 else ""
        parts.append(f"On validation the chosen trials of the search scored {told} than their arms do again{lucky}.")
    else:
        lengths = {(each.chosen.steps.planned, each.entry.steps.planned) for each in found.arms}
        said = ", ".join(f"{before:,} and {after:,}" for before, after in sorted(lengths))
        parts.append(f"Steps of the search and of these trials: {said}.")
    return " ".join(filter(None, parts))


def _counted(found: Confirmation) -> str:
    """Describe how test rows count in a measure that is no mean over them, or why they do not."""
    if found.seeds_alone:
        return f"Test rows are not counted: {found.seeds_alone}."
    if found.groups:
        name = headline_metric(found.arms[0].entry)
        return f"{name} is no mean over test rows: each of {found.groups} groups of them counts by what it adds."
    return ""


def _words(found: Confirmation) -> str:
    over = f"new {found.unit} and new test rows" if found.over_items else f"new {found.unit} alone"
    unread = all("test" not in each.chosen.scores for each in found.arms)
    only = ", and only these read test" if unread else ""
    return (
        "Each arm's best trial of the search was trained again with seeds that the search never had, the same in every "
        f"arm{only}. Intervals are over {over}; those against {found.reference} hold all at once in 95 % of studies. "
        f"{WORDS.format(margin=f'{found.margin:g}')}"
    )


def _signed(centre: float, low: float, high: float) -> str:
    return f"{difference(centre)} [{difference(low)}, {difference(high)}]"
