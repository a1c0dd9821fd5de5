"""From a figure and its interval to one of four words; every margin is here, with its reason."""

import dataclasses
import math
from typing import Literal

from studies.claims.evidence import Estimate, Study

Verdict = Literal["holds", "holds in part", "does not hold", "can't be tested here"]
CANT: Verdict = "can't be tested here"

# Two points of accuracy. A paired interval over some thousand test items reaches about that far to either side: a
# narrower margin could not be shown here, and a wider one would call half of what fine-tuning gains over a frozen base
# no loss.
LOSS_MARGIN = 0.02
# A tenth of a nat a token for losses of language models: perplexity a tenth higher.
NATS_MARGIN = 0.1
# A cost that is less by under a twentieth is called the same: repeated trials on a shared machine differ by that much.
COST_MARGIN = 0.05
# What was claimed of BERT-large, in percent, and of training time.
FEWER_PERCENT = 99.5
TIMES_FASTER = 100.0


@dataclasses.dataclass(frozen=True)
class Finding:
    """The finding of one study about a claim; `tested` is false if the study could not test it."""

    where: str
    figure: str
    items: str
    verdict: Verdict
    command: str
    tested: bool = True


@dataclasses.dataclass(frozen=True)
class Judgement:
    """A claim, the rule in one line, and what every study that bears on it found."""

    claim: str
    rule: str
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The verdict over all tested studies; in part if some find that it holds and others do not."""
        found = {finding.verdict for finding in self.findings if finding.tested}
        if len(found) == 1:
            return found.pop()
        if found & {"holds", "holds in part"}:
            return "holds in part"
        return "does not hold" if found else "can't be tested here"


def untested(study: Study, why: str = "") -> Finding:
    """There is no such study, or it does not hold what is needed."""
    where = study.label if study.records else "–"
    return Finding(where, study.missing or why, "–", "can't be tested here", study.command, tested=False)


def no_loss(low: float, high: float, margin: float = LOSS_MARGIN) -> Verdict:
    """Judge the interval of a gain (negative: a loss): is it shown that less than the margin is lost?"""
    if low > -margin:
        return "holds" if high >= 0 else "holds in part"
    return "does not hold" if high < 0 else "can't be tested here"


def less(low: float, high: float) -> Verdict:
    """Judge the interval of a ratio of costs: is it shown that the cost is less by more than the margin?"""
    if high < 1 - COST_MARGIN:
        return "holds"
    return "does not hold" if low > 1 - COST_MARGIN else "can't be tested here"


def same(low: float, high: float) -> Verdict:
    """Judge the interval of a ratio of costs: is it shown that the cost is no more than the margin above?"""
    if high < 1 + COST_MARGIN:
        return "holds"
    return "does not hold" if low > 1 + COST_MARGIN else "can't be tested here"


def above(low: float, high: float, margin: float = 0.0) -> Verdict:
    """Judge the interval of a difference: is it shown to be above the margin?"""
    if low > margin:
        return "holds"
    return "does not hold" if high < margin else "can't be tested here"


def points(estimate: Estimate) -> str:
    """A difference of shares in points."""
    value, low, high = (100 * number for number in estimate)
    return f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]"


def difference(estimate: Estimate, metric: str) -> str:
    """A difference of scores: in points where they are shares, else in nats, positive where it is better."""
    if metric != "loss":
        return points(estimate)
    value, low, high = estimate
    return f"{value:+.2f} nats [{low:+.2f}, {high:+.2f}]"


def times(estimate: Estimate) -> str:
    """A ratio."""
    value, low, high = estimate
    return f"{value:.2f} [{low:.2f}, {'∞' if math.isinf(high) else f'{high:.2f}'}]"
