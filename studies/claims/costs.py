"""Claims about costs: parameters, memory, time, and no time lost once LoRA is merged."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from harness.record import Merge
from harness.report.statistics import t_interval
from harness.report.table import step_seconds
from studies.claims.evidence import (
    Study,
    adapted,
    cost_ratio,
    full,
    held_for_training,
    latency_ratio,
    merged,
    peak,
    same_targets,
    time_to_quality,
)
from studies.claims.rules import (
    COST_MARGIN,
    FEWER_PERCENT,
    TIMES_FASTER,
    Finding,
    Judgement,
    Verdict,
    less,
    same,
    times,
    untested,
)

_MARGIN = f"{100 * COST_MARGIN:.0f} %"


def fewer_parameters(counted: Mapping[str, Any], words: str) -> Judgement:
    """From `python -m harness run=count`."""
    percent, params = counted["fewer_trainable_percent"], counted["params"]
    whole = counted["fewer_trainable_percent_with_head"]
    figure = f"{percent:.2f} % fewer: {params['adapter']:,} beside {params['base']:,}; with its head {whole:.2f} %"
    verdict: Verdict = "holds" if percent >= FEWER_PERCENT else "does not hold"
    finding = Finding(counted["model"], figure, "exact", verdict, f"python -m harness {words}")
    rule = f"the adapter has at least {FEWER_PERCENT} % fewer parameters than the base"
    return Judgement(f"{FEWER_PERCENT} % fewer trainable parameters on BERT-large", rule, (finding,))


def memory_saved(studies: Sequence[Study]) -> Judgement:
    """The peak of memory in training, and the part of it that is known exactly."""
    rule = (
        f"the peak in training above the bare process, as a ratio to full fine-tuning's, is shown to be below 1 by "
        f"more than {_MARGIN} (medians over trials, bootstrap)"
    )
    return Judgement("memory saved in training", rule, tuple(_memory(study) for study in studies))


def _memory(study: Study) -> Finding:
    found, exact = cost_ratio(study, peak), cost_ratio(study, held_for_training)
    if found is None or exact is None:
        return untested(study, "no pair of LoRA and full fine-tuning")
    estimate, ours, theirs = found
    figure = f"peak {times(estimate)} of full's; gradients and optimiser {100 * (1 - exact[0][0]):.1f} % less"
    return Finding(study.label, figure, f"{ours} + {theirs} trials", less(*estimate[1:]), study.command)


def faster_steps(studies: Sequence[Study]) -> Judgement:
    """The time of an optimiser step."""
    rule = f"the median step, as a ratio to full fine-tuning's, is shown to be below 1 by more than {_MARGIN}"
    return Judgement("training time saved: a step", rule, tuple(_step(study) for study in studies))


def _step(study: Study) -> Finding:
    found = cost_ratio(study, step_seconds)
    if found is None:
        return untested(study, "no pair of LoRA and full fine-tuning")
    estimate, ours, theirs = found
    figure = f"{times(estimate)} of full's; {_flops(study):.2f} of its operations"
    return Finding(study.label, figure, f"{ours} + {theirs} trials", less(*estimate[1:]), study.command)


def _flops(study: Study) -> float:
    """Compare the operations of a step, which no other work on the machine affects: LoRA's over full fine-tuning's."""
    ours, theirs = (
        statistics.median(entry.flops.step / entry.flops.examples for entry in group)
        for group in (same_targets(adapted(study)), full(study))
    )
    return ours / theirs


def sooner_good(studies: Sequence[Study]) -> Judgement:
    """The time to a quality that both reach."""
    rule = (
        "time of steps until the best validation score that both reach, of each the trial best on validation: shown to "
        "be less; the brackets hold every time between the evaluations around it, not chance between seeds"
    )
    return Judgement("training time saved: to the same quality", rule, tuple(_sooner(study) for study in studies))


def _sooner(study: Study) -> Finding:
    found = time_to_quality(study)
    if found is None:
        return untested(study, "no pair of LoRA and full fine-tuning")
    (value, low, high), target = found
    verdict: Verdict = "holds" if low > 1 else "does not hold" if high < 1 else "can't be tested here"
    figure = f"{times((value, low, high))} times as fast to {target:.3f}"
    return Finding(study.label, figure, "1 + 1 trials", verdict, study.command)


def hundred_times(studies: Sequence[Study]) -> Judgement:
    """The largest gain in speed that any study leaves possible."""
    rule = f"some study shows a step {TIMES_FASTER:.0f} times as fast (does not hold where all exclude it)"
    name = f'"up to {TIMES_FASTER:.0f}× less training time"'
    found = [(study, ratio[0], ratio[1] + ratio[2]) for study in studies if (ratio := cost_ratio(study, step_seconds))]
    if not found:
        return Judgement(name, rule, (_nothing("no finished study"),))
    study, (value, low, high), trials = min(found, key=lambda item: item[1][0])
    fastest = min(estimate[1] for _, estimate, _ in found)
    verdict: Verdict = "can't be tested here"
    if 1 / high >= TIMES_FASTER:
        verdict = "holds"
    elif 1 / fastest < TIMES_FASTER:
        verdict = "does not hold"
    figure = f"at most {times((1 / value, 1 / high, 1 / low))} times as fast a step, of {len(found)} studies"
    return Judgement(name, rule, (Finding(study.label, figure, f"{trials} trials", verdict, study.command),))


def no_latency(studies: Sequence[Study]) -> Judgement:
    """Merged against the same network without adapters, each trial measured against itself."""
    rule = (
        f"latency of the merged network over that of the plain base, each trial's own pair: shown to be no more than "
        f"{_MARGIN} above (mean of logarithms over trials, Student's t)"
    )
    findings = tuple(_latency(study) for study in studies if len(latency_ratio(merged(study), _merged)) > 1)
    return Judgement(
        "no latency once merged", rule, findings or (_nothing("no finished study measured the plain base"),)
    )


def _nothing(why: str) -> Finding:
    return Finding("–", why, "–", "can't be tested here", "–", tested=False)


def _merged(merge: Merge) -> float | None:
    return merge.latency_merged_s


def _apart(merge: Merge) -> float | None:
    return merge.latency_apart_s


def _latency(study: Study) -> Finding:
    ratios = latency_ratio(merged(study), _merged)
    value, low, high = (math.exp(number) for number in t_interval(ratios))
    apart = math.exp(t_interval(latency_ratio(merged(study), _apart))[0])
    figure = f"merged {times((value, low, high))} of the base's; not merged {apart:.2f}"
    return Finding(study.label, figure, f"{len(ratios)} trials", same(low, high), study.command)
