"""Claims about quality: LoRA keeps accuracy on a large base, in a CNN, in an LSTM, at whatever rank."""

from collections.abc import Sequence

from harness.record import Record, headline_metric
from studies.claims.evidence import (
    Finalist,
    Study,
    against,
    best_of,
    finalists,
    fine_tuned,
    leader,
    low_rank,
    too_few_seeds,
    turned,
)
from studies.claims.rules import (
    CANT,
    FEWER_PERCENT,
    LOSS_MARGIN,
    NATS_MARGIN,
    Finding,
    Judgement,
    Verdict,
    above,
    difference,
    no_loss,
    points,
    untested,
)

_MARGIN = f"{100 * LOSS_MARGIN:.0f} points"
_AGAIN = "trained again with fresh seeds (over seeds and test items, all intervals together at 95 %)"


def no_accuracy_lost(study: Study) -> Judgement:
    """The other half of the claim about BERT-large, on the base that was there."""
    rule = (
        f"of the arms with at least {FEWER_PERCENT} % fewer trained parameters the best on validation, against full "
        f"fine-tuning, both {_AGAIN}: shown to lose less than {_MARGIN}"
    )
    claim = f"{FEWER_PERCENT} % fewer without loss of accuracy"
    return Judgement(claim, rule, (_no_accuracy_lost(study),))


def _no_accuracy_lost(study: Study) -> Finding:
    found = finalists(study)
    ours = leader([each for each in low_rank(found) if _fewer(each.chosen) >= FEWER_PERCENT])
    theirs = leader(fine_tuned(found))
    if ours is None or theirs is None:
        return untested(study, too_few_seeds(study))
    compared = against(study, [ours], theirs)
    if compared is None:
        return untested(study, too_few_seeds(study))
    gap = compared.gaps[ours.arm]
    figure = f"{ours.arm} ({_fewer(ours.chosen):.2f} % fewer) {points(gap)} against full"
    where = study.label if ours.chosen.model == "bert_large" else f"{study.label} (in place of BERT-large)"
    return Finding(where, figure, compared.unit, no_loss(*gap[1:]), study.command)


def _fewer(entry: Record) -> float:
    return 100 * (1 - entry.parameters.trainable / entry.parameters.total)


def lstm_compresses(study: Study) -> Judgement:
    """Every rank against full fine-tuning."""
    rule = (
        f"each rank's best on validation, against full fine-tuning's, all {_AGAIN}: shown to lose less than {_MARGIN}; "
        "in part where some ranks are shown to"
    )
    return Judgement("an LSTM's update is compressible without loss", rule, (_lstm(study),))


def _lstm(study: Study) -> Finding:
    found = finalists(study)
    ranks, reference = _by_rank(low_rank(found)), leader(fine_tuned(found))
    compared = against(study, list(ranks.values()), reference) if ranks and reference is not None else None
    if compared is None:
        return untested(study, too_few_seeds(study))
    verdicts = {rank: no_loss(*compared.gaps[each.arm][1:]) for rank, each in ranks.items()}
    kept = [str(rank) for rank, verdict in verdicts.items() if verdict == "holds"]
    least = min(ranks)
    gap = points(compared.gaps[ranks[least].arm])
    figure = f"rank {least} {gap} against full; kept at ranks {', '.join(kept) or 'none'}"
    verdict: Verdict = "holds in part" if kept else CANT
    if len(set(verdicts.values())) == 1:
        verdict = verdicts[least]
    return Finding(study.label, figure, compared.unit, verdict, study.command)


def _by_rank(found: Sequence[Finalist]) -> dict[int, Finalist]:
    best = best_of(found, lambda entry: entry.lora.rank)
    return {rank: best[rank] for rank in best if rank is not None}


def cnn_dense_layers(study: Study) -> Judgement:
    """The fully connected layer alone against the convolutions alone."""
    rule = (
        "LoRA on the fully connected layers alone, its arm best on validation, against that on the convolutions alone, "
        f"both {_AGAIN}: shown to be better"
    )
    return Judgement("in a CNN the fully connected layers benefit most", rule, (_cnn(study),))


def _cnn(study: Study) -> Finding:
    found = finalists(study)
    by_target = best_of(low_rank(found), lambda entry: tuple(entry.lora.targets))
    dense, convolutions = by_target.get(("fc",)), by_target.get(("conv",))
    if dense is None or convolutions is None:
        return untested(study, too_few_seeds(study))
    head = leader([each for each in found if each.chosen.lora.trains_head_alone])
    compared = against(study, [convolutions, *([head] if head else [])], dense)
    if compared is None:
        return untested(study, too_few_seeds(study))
    gap = turned(compared.gaps[convolutions.arm])
    figure = f"{dense.arm} {points(gap)} against {convolutions.arm}"
    if head is not None:
        figure += f", {points(turned(compared.gaps[head.arm]))} against a frozen base"
    return Finding(study.label, figure, compared.unit, above(*gap[1:]), study.command)


def rank_matters(studies: Sequence[Study]) -> Judgement:
    """Judge whether the choice of a rank changes the outcome once everything else is tuned at each."""
    rule = (
        f"some rank is shown to differ from the one best on validation by more than {_MARGIN}, or {NATS_MARGIN} nats a "
        f"token, all {_AGAIN}; does not hold where all intervals lie within the margin; rate and scale tuned at each"
    )
    return Judgement("the outcome is sensitive to the rank", rule, tuple(_rank(study) for study in studies))


def _rank(study: Study) -> Finding:
    found = low_rank(finalists(study))
    best = leader(found)
    if best is None:
        return untested(study, too_few_seeds(study))
    ranks = _by_rank([each for each in found if each.chosen.lora.targets == best.chosen.lora.targets])
    others = {rank: each for rank, each in ranks.items() if each is not best}
    compared = against(study, list(others.values()), best) if others else None
    if compared is None:
        return untested(study, too_few_seeds(study))
    metric = headline_metric(best.chosen)
    margin = LOSS_MARGIN if metric == "accuracy" else NATS_MARGIN
    shown = [f"r{rank} {difference(compared.gaps[each.arm], metric)}" for rank, each in others.items()]
    figure = f"against rank {best.chosen.lora.rank}: {', '.join(shown)}"
    spans = compared.gaps.values()
    verdict: Verdict = CANT
    if any(low > margin or high < -margin for _, low, high in spans):
        verdict = "holds"
    elif all(-margin < low and high < margin for _, low, high in spans):
        verdict = "does not hold"
    return Finding(study.label, figure, compared.unit, verdict, study.command)
