"""What LoRA is said to keep: accuracy, on a large base, in a CNN, in an LSTM, at whatever rank."""

from collections.abc import Sequence

from harness.record import Record, best_by, best_on_validation, headline_metric
from harness.report.statistics import holm, mcnemar_exact, paired_shares, sign_flip
from harness.report.table import outcomes
from studies.claims.evidence import Study, adapted, better_by, correct_items, full, same_targets
from studies.claims.rules import (
    CANT,
    FEWER_PERCENT,
    LOSS_MARGIN,
    NATS_MARGIN,
    Finding,
    Judgement,
    Verdict,
    above,
    no_loss,
    points,
    untested,
)

_MARGIN = f"{100 * LOSS_MARGIN:.0f} points"
_ITEMS = "predictions were not kept"


def no_accuracy_lost(study: Study) -> Judgement:
    """The other half of the claim about BERT-large, on the base that was there."""
    rule = (
        f"of the trials with at least {FEWER_PERCENT} % fewer trained parameters the best on validation, against full "
        f"fine-tuning: shown on the same test items to lose less than {_MARGIN} (paired, Agresti and Min 2005)"
    )
    claim = f"{FEWER_PERCENT} % fewer without loss of accuracy"
    return Judgement(claim, rule, (_no_accuracy_lost(study),))


def _no_accuracy_lost(study: Study) -> Finding:
    small = [entry for entry in adapted(study) if _fewer(entry) >= FEWER_PERCENT]
    ours, theirs = best_on_validation(small), best_on_validation(full(study))
    if ours is None or theirs is None:
        return untested(study, "no pair of LoRA and full fine-tuning")
    first, second = correct_items(ours, study.folder), correct_items(theirs, study.folder)
    if first is None or second is None:
        return untested(study, _ITEMS)
    estimate = paired_shares(first, second)
    figure = f"{ours.arm} ({_fewer(ours):.2f} % fewer) {points(estimate)} against full"
    where = study.label if ours.model == "bert_large" else f"{study.label} (in place of BERT-large)"
    return Finding(where, figure, f"{len(first):,} test items", no_loss(*estimate[1:]), study.command)


def _fewer(entry: Record) -> float:
    return 100 * (1 - entry.parameters.trainable / entry.parameters.total)


def lstm_compresses(study: Study) -> Judgement:
    """Every rank against full fine-tuning."""
    rule = (
        f"each rank's best on validation, against full fine-tuning's: shown to lose less than {_MARGIN}, all intervals "
        "together at 95 % (Bonferroni); in part where some ranks are shown to"
    )
    return Judgement("an LSTM's update is compressible without loss", rule, (_lstm(study),))


def _lstm(study: Study) -> Finding:
    best = list(best_by(adapted(study), lambda entry: entry.lora.rank).values())
    reference = best_on_validation(full(study))
    if not best or reference is None:
        return untested(study, "no pair of LoRA and full fine-tuning")
    theirs = correct_items(reference, study.folder)
    ours = [correct_items(entry, study.folder) for entry in best]
    if theirs is None:
        return untested(study, _ITEMS)
    level = 1 - 0.05 / len(best)
    found = {
        entry.lora.rank: paired_shares(items, theirs, level)
        for entry, items in zip(best, ours, strict=True)
        if items is not None and entry.lora.rank is not None
    }
    if not found:
        return untested(study, _ITEMS)
    verdicts = {no_loss(*estimate[1:]) for estimate in found.values()}
    kept = [rank for rank, estimate in found.items() if no_loss(*estimate[1:]) == "holds"]
    least = min(found)
    figure = f"rank {least} {points(found[least])} against full; kept at ranks {', '.join(map(str, kept)) or 'none'}"
    verdict: Verdict = "holds in part" if kept else CANT
    if len(verdicts) == 1:
        verdict = verdicts.pop()
    return Finding(study.label, figure, _count(reference, len(theirs)), verdict, study.command)


def _count(entry: Record, items: int) -> str:
    speakers = len(entry.data.speakers.get("test", ()))
    return f"{items:,} test items" + (f" of {speakers} voices" if speakers else "")


def cnn_dense_layers(study: Study) -> Judgement:
    """The fully connected layer alone against the convolutions alone."""
    rule = (
        "LoRA on the fully connected layers alone, its trial best on validation, against that on the convolutions "
        "alone: shown to be better on the same test items"
    )
    return Judgement("in a CNN the fully connected layers benefit most", rule, (_cnn(study),))


def _cnn(study: Study) -> Finding:
    by_target = best_by(adapted(study), _targets)
    dense, convolutions = by_target.get(("fc",)), by_target.get(("conv",))
    if dense is None or convolutions is None:
        return untested(study, "no pair of fc and conv")
    first, second = correct_items(dense, study.folder), correct_items(convolutions, study.folder)
    if first is None or second is None:
        return untested(study, _ITEMS)
    estimate = paired_shares(first, second)
    figure = f"{dense.arm} {points(estimate)} against {convolutions.arm}"
    head = best_on_validation([entry for entry in study.records if entry.lora.trains_head_alone])
    frozen = correct_items(head, study.folder) if head is not None else None
    if frozen is not None:
        figure += f", {points(paired_shares(first, frozen))} against a frozen base"
    return Finding(study.label, figure, f"{len(first):,} test items", above(*estimate[1:]), study.command)


def _targets(entry: Record) -> tuple[str, ...]:
    return tuple(entry.lora.targets)


def rank_matters(studies: Sequence[Study]) -> Judgement:
    """Whether the choice of a rank changes the outcome once everything else is tuned at each."""
    rule = (
        f"some rank is shown to differ from the one best on validation by more than {_MARGIN} (all paired intervals "
        f"together at 95 %), or {NATS_MARGIN} nats a token with p below 0.05 (sign flips, Holm); does not hold where "
        "all intervals lie within the margin; rate and scale tuned at each"
    )
    return Judgement("the outcome is sensitive to the rank", rule, tuple(_rank(study) for study in studies))


def _rank(study: Study) -> Finding:
    records = same_targets(adapted(study))
    best = list(best_by(records, lambda entry: entry.lora.rank).values())
    leader = best_on_validation(best)
    if leader is None or len(best) < 2:
        return untested(study, "fewer than two ranks")
    others = [entry for entry in best if entry is not leader]
    reference = outcomes(leader, study.folder)
    compared = [outcomes(entry, study.folder) for entry in others]
    if reference is None or any(items is None for items in compared):
        return untested(study, _ITEMS)
    p_values = holm([_p(leader, items, reference) for items in compared if items is not None])
    apart = [better_by(entry, leader) for entry in others]
    margin = LOSS_MARGIN if headline_metric(leader) == "accuracy" else NATS_MARGIN
    shown = [_apart(entry, gain, p) for entry, gain, p in zip(others, apart, p_values, strict=True)]
    verdict: Verdict = CANT
    if headline_metric(leader) == "accuracy":
        right_there = [item == 1 for item in reference]
        level = 1 - 0.05 / len(others)
        spans = [paired_shares([item == 1 for item in items or ()], right_there, level) for items in compared]
        shown = [f"r{entry.lora.rank} {points(span)}" for entry, span in zip(others, spans, strict=True)]
        if any(low > margin or high < -margin for _, low, high in spans):
            verdict = "holds"
        elif all(-margin < low and high < margin for _, low, high in spans):
            verdict = "does not hold"
    elif any(p < 0.05 and abs(gain) > margin for p, gain in zip(p_values, apart, strict=True)):
        verdict = "holds"
    figure = f"against rank {leader.lora.rank}: {', '.join(shown)}"
    return Finding(study.label, figure, f"{len(reference):,} test items", verdict, study.command)


def _p(leader: Record, items: list[float], reference: list[float]) -> float:
    if headline_metric(leader) == "accuracy":
        return mcnemar_exact([item == 1 for item in items], [item == 1 for item in reference])
    return sign_flip([item - other for item, other in zip(items, reference, strict=True)])


def _apart(entry: Record, gain: float, p: float) -> str:
    shown = f"{100 * gain:+.1f}" if headline_metric(entry) == "accuracy" else f"{gain:+.2f} nats"
    return f"r{entry.lora.rank} {shown} (p {p:.2g})"
