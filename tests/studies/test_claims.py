"""Claims are judged from records alone; every verdict can be reached, and figures are those of made-up records."""

import csv
import dataclasses
import math

import matplotlib.image
import numpy as np
import pytest

from harness.record import Continual, ContinualSummary, Merge, Probe, Seeds
from harness.report.two_level import compare
from studies.claims import costs, forgetting, learning, quality
from studies.claims.evidence import Study, time_to_quality
from studies.claims.page import judge, write_claims
from studies.claims.rules import Finding, Judgement, above, less, no_loss, same
from tests.test_record import make, memory

CANT = "can't be tested here"
COUNTED = {
    "model": "bert_large",
    "params": {"adapter": 1_572_864, "base": 335_141_888},
    "fewer_trainable_percent": 99.531,
    "fewer_trainable_percent_with_head": 99.53,
}


class Maker:
    """Trials of a made-up study in a folder of its own."""

    def __init__(self, folder):
        self.folder, self.records, self.confirmed = folder, [], []

    def add(self, name="lora", val=0.8, right=(), curve=(), rank=1, targets=("query",), step=0.1, peak=1000, **changes):
        """A trial; `right` are its test items, `curve` its validation accuracies by step."""
        number = len(self.records)
        place = self.folder / f"trials/{number:04d}"
        place.mkdir(parents=True, exist_ok=True)
        lines = [f"{row},1,{int(hit)}" for row, hit in enumerate(right)]
        (place / "predictions.csv").write_text("\n".join(["row,label,predicted", *lines]) + "\n")
        lines = [f"{at},{score}" for at, score in curve]
        (place / "metrics.csv").write_text("\n".join(["step,val_accuracy", *lines]) + "\n")
        lora = {"name": name} | ({"rank": rank, "targets": list(targets)} if name == "lora" else {})
        adapter = 2 * rank if name == "lora" else 0
        test = float(np.mean(right)) if len(right) else 0.5
        values = {
            "arm": f"{name},rank={rank}",
            "lora": lora,
            "parameters": {
                "adapter": adapter,
                "head": 2,
                "other": 996 if name == "full" else 0,
                "frozen": 2 if name == "full" else 998 - adapter,
                "total": 1000,
            },
            "memory": memory(train_peak=peak, gradients=adapter or 1000, optimizer=2 * adapter or 2000),
            "time": {"step_median_s": step},
            "flops": {"step": 100, "examples": 10},
            "scores": {"val": {"accuracy": val, "loss": 1.0}, "test": {"accuracy": test, "loss": 1.0}},
        } | changes
        self.records.append(make(number, **values))
        return self.records[-1]

    def confirm(self, name="lora", share=0.8, turn=0, seeds=3, **changes):
        """A trial of the search, and trials with fresh seeds right on a share of items, turned round with each seed."""
        chosen = self.add(name, right=hits(0.5), **changes)
        for seed in range(seeds):
            number = 10_000 * (seed + 1) + chosen.trial
            place = self.folder / f"trials/{number:04d}"
            place.mkdir(parents=True)
            lines = [f"{row},1,{int(hit)}" for row, hit in enumerate(hits(share, turn=turn * seed))]
            (place / "predictions.csv").write_text("\n".join(["row,label,predicted", *lines]) + "\n")
            again = {"phase": "confirm", "seeds": Seeds(trial=1000 + seed, split=0), "trial": number}
            scores = {"val": chosen.scores["val"], "test": {"accuracy": share, "loss": 1.0}}
            adapter = dataclasses.replace(chosen.adapter, path=f"trials/{number:04d}/adapter")
            self.confirmed.append(dataclasses.replace(chosen, **again, scores=scores, adapter=adapter))
        return chosen

    @property
    def study(self):
        command = "python -m harness +experiment=made_up"
        return Study(command, self.folder, tuple(self.records), confirmed=tuple(self.confirmed))


@pytest.fixture
def maker(tmp_path):
    return Maker(tmp_path)


def hits(share, items=1000, turn=0):
    """So many right of `items`, the first ones, turned round."""
    return list(np.roll(np.arange(items) < round(share * items), turn))


@pytest.mark.parametrize(
    ("rule", "low", "high", "verdict"),
    [
        (no_loss, -0.01, 0.03, "holds"),
        (no_loss, -0.015, -0.005, "holds in part"),  # a loss is shown, and that it is small
        (no_loss, -0.05, -0.01, "does not hold"),
        (no_loss, -0.05, 0.01, CANT),
        (less, 0.5, 0.9, "holds"),
        (less, 0.5, 1.2, CANT),
        (less, 0.97, 1.2, "does not hold"),
        (same, 0.9, 1.04, "holds"),
        (same, 1.0, 1.2, CANT),
        (same, 1.06, 1.2, "does not hold"),
        (above, 0.1, 0.2, "holds"),
        (above, -0.1, 0.2, CANT),
        (above, -0.2, -0.1, "does not hold"),
    ],
)
def test_an_interval_gives_a_verdict(rule, low, high, verdict):
    assert rule(low, high) == verdict


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (["holds", "holds"], "holds"),
        (["holds", "does not hold"], "holds in part"),
        (["holds", CANT], "holds in part"),
        (["does not hold", "does not hold"], "does not hold"),
        (["does not hold", CANT], "does not hold"),
        ([CANT, CANT], CANT),
        (["holds", None], "holds"),  # what was never asked says nothing
        ([None], CANT),
    ],
)
def test_studies_together_give_a_verdict(found, verdict):
    findings = tuple(Finding("", "", "", word or CANT, "", tested=word is not None) for word in found)
    assert Judgement("", "", findings).verdict == verdict


def test_parameters_are_those_that_were_counted():
    judged = costs.fewer_parameters(COUNTED, "run=count")
    assert judged.verdict == "holds"
    assert "99.53 % fewer: 1,572,864 beside 335,141,888" in judged.findings[0].figure
    assert costs.fewer_parameters(COUNTED | {"fewer_trainable_percent": 99.2}, "").verdict == "does not hold"


@pytest.mark.parametrize(("ours", "verdict"), [(600, "holds"), (1000, "does not hold")])
def test_memory(maker, ours, verdict):
    for _ in range(4):
        maker.add(peak=ours)
        maker.add("full", peak=1000)
    judged = costs.memory_saved([maker.study])
    assert judged.verdict == verdict
    assert f"{ours / 1000:.2f} [{ours / 1000:.2f}, {ours / 1000:.2f}]" in judged.findings[0].figure
    assert "99.8 % less" in judged.findings[0].figure  # 6 bytes beside 3,000
    assert judged.findings[0].items == "4 + 4 trials"


def test_only_trials_that_adapt_what_the_best_does_count_as_its_cost(maker):
    maker.add(val=0.9, targets=("conv",), step=0.2)
    maker.add(val=0.7, targets=("fc",), step=0.01)
    maker.add("full", step=0.2)
    assert costs.faster_steps([maker.study]).verdict == "does not hold"


@pytest.mark.parametrize(
    ("step", "verdict", "hundred"),
    [(0.05, "holds", "does not hold"), (0.0005, "holds", "holds"), (0.1, "does not hold", "does not hold")],
)
def test_steps(maker, step, verdict, hundred):
    maker.add(step=step)
    maker.add("full", step=0.1)
    assert costs.faster_steps([maker.study]).verdict == verdict
    assert costs.hundred_times([maker.study]).verdict == hundred


def test_time_to_a_quality_by_hand(maker):
    # LoRA reaches 0.8, the best that both reach, between steps 10 and 20, full fine-tuning between 20 and 30.
    maker.add(val=0.8, curve=[(10, 0.7), (20, 0.8)], step=0.1)
    maker.add("full", val=0.9, curve=[(10, 0.5), (20, 0.6), (30, 0.9)], step=0.2)
    (value, low, high), target = time_to_quality(maker.study)
    assert target == 0.8
    assert (value, low, high) == pytest.approx((6.0 / 2.0, 4.0 / 2.0, 6.0 / 1.0))
    assert costs.sooner_good([maker.study]).verdict == "holds"


def test_a_quality_reached_at_the_first_look_was_reached_at_any_time_before(maker):
    maker.add(val=0.9, curve=[(10, 0.9)], step=0.1)
    maker.add("full", val=0.9, curve=[(10, 0.9)], step=0.1)
    (value, low, high), _ = time_to_quality(maker.study)
    assert (value, low, high) == (1.0, 0.0, math.inf)
    assert costs.sooner_good([maker.study]).verdict == CANT


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "holds"), (1.2, "does not hold")])
def test_latency_is_each_trials_own_pair(maker, factor, verdict):
    for base in (0.1, 1.0, 10.0):  # slow or fast machines
        merge = {"latency_base_s": base, "latency_merged_s": factor * base, "latency_apart_s": 2 * base}
        maker.add(merge=merge)
    judged = costs.no_latency([maker.study])
    assert judged.verdict == verdict
    assert (
        f"merged {factor:.2f} [{factor:.2f}, {factor:.2f}] of the base's; not merged 2.00" in judged.findings[0].figure
    )
    assert judged.findings[0].items == "3 trials"
    assert costs.no_latency([]).verdict == CANT


def test_latency_is_of_the_trials_that_confirm_where_no_other_measured_it(maker):
    maker.add()
    maker.confirm(merge={"latency_base_s": 1.0, "latency_merged_s": 1.01, "latency_apart_s": 2.0})
    maker.records[-1] = dataclasses.replace(maker.records[-1], merge=Merge())
    (finding,) = costs.no_latency([maker.study]).findings
    assert (finding.items, finding.verdict) == ("3 trials", "holds")


@pytest.mark.parametrize(
    ("ours", "turn", "verdict"),
    [(0.80, 0, "holds"), (0.70, 0, "does not hold"), (0.79, 0, "holds in part"), (0.79, 100, CANT)],
)
def test_accuracy_with_fresh_seeds(maker, ours, turn, verdict):
    maker.confirm("full", 0.8)
    maker.confirm(share=ours, turn=turn)  # turned: right on other items with every seed
    maker.confirm(share=1.0, rank=400, val=0.99)  # not 99.5 % fewer
    judged = quality.no_accuracy_lost(maker.study)
    assert judged.verdict == verdict
    assert judged.findings[0].figure.startswith("lora,rank=1 (99.60 % fewer)")
    assert judged.findings[0].items == "3 seeds, 1,000 test items"


def test_intervals_are_those_of_the_two_level_model(maker):
    maker.confirm("full", 0.8, turn=40)
    maker.confirm(share=0.75, turn=10)
    matrices = {
        name: np.array([hits(share, turn=turn * seed) for seed in range(3)], dtype=float)
        for name, share, turn in (("lora", 0.75, 10), ("full", 0.8, 40))
    }
    gap = compare(matrices, "full", {"lora": "adapter", "full": "full"})["lora"]
    said = f"{100 * gap.difference:+.1f} points [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"
    assert said in quality.no_accuracy_lost(maker.study).findings[0].figure


def test_two_seeds_and_single_runs_decide_nothing_about_scores(maker):
    maker.confirm("full", 0.8, seeds=2)
    for rank, targets in ((1, ("fc",)), (8, ("conv",))):
        maker.confirm(share=0.1, rank=rank, targets=targets, seeds=2)
    study = maker.study
    judged = [
        quality.no_accuracy_lost(study),
        quality.lstm_compresses(study),
        quality.rank_matters([study]),
        quality.cnn_dense_layers(study),
        forgetting.forgets_less(study),
    ]
    assert {each.verdict for each in judged} == {CANT}
    name = maker.folder.name
    assert {each.findings[0].figure for each in judged} == {
        f"too few seeds: a verdict takes 3; run=confirm study={name} top=3 trains them"
    }


@pytest.mark.parametrize(
    ("shares", "verdict", "kept"),
    [
        ({1: 0.8, 4: 0.82}, "holds", "1, 4"),
        ({1: 0.6, 4: 0.8}, "holds in part", "4"),
        ({1: 0.6, 4: 0.7}, "does not hold", "none"),
    ],
)
def test_every_rank_of_an_lstm(maker, shares, verdict, kept):
    maker.confirm("full", 0.8)
    for rank, share in shares.items():
        maker.confirm(share=share, rank=rank)
        maker.add(rank=rank, val=0.1, right=hits(0.1))  # its rank's worse trial on validation
    judged = quality.lstm_compresses(maker.study)
    assert judged.verdict == verdict
    assert f"kept at ranks {kept}" in judged.findings[0].figure


@pytest.mark.parametrize(("dense", "verdict"), [(0.9, "holds"), (0.7, "does not hold"), (0.8, CANT)])
def test_where_in_a_cnn(maker, dense, verdict):
    maker.confirm(share=0.8, targets=("conv",), arm="conv")
    maker.confirm(share=dense, targets=("fc",), arm="fc", turn=50 if dense == 0.8 else 0)
    maker.confirm("head", 0.7)
    judged = quality.cnn_dense_layers(maker.study)
    assert judged.verdict == verdict
    assert "against a frozen base" in judged.findings[0].figure


@pytest.mark.parametrize(("other", "verdict"), [(0.8, "does not hold"), (0.79, "does not hold"), (0.7, "holds")])
def test_rank_matters_where_a_difference_is_shown_and_large(maker, other, verdict):
    maker.confirm(share=0.8, rank=1, val=0.9)
    maker.confirm(share=other, rank=8)
    judged = quality.rank_matters([maker.study])
    assert judged.verdict == verdict
    assert f"against rank 1: r8 {100 * (other - 0.8):+.1f}" in judged.findings[0].figure


def little(maker, gaps, tests):
    """LoRA's and full's training accuracy less test accuracy, and their test accuracies, with noise between splits."""
    for split in range(3):
        for rows in (50, 200, 10_000):  # the last is seen once
            for name, gap, test in zip(("lora", "full"), gaps, tests, strict=True):
                share = test + 0.01 * split
                maker.add(
                    name,
                    right=hits(share),
                    scores={
                        "val": {"accuracy": 0.8, "loss": 1.0},
                        "train": {"accuracy": share + (gap + 0.002 * split * (name == "lora")), "loss": 0.0},
                        "test": {"accuracy": share, "loss": gap},
                    },
                    steps={"made": 100},
                    optimizer={"lr": 1e-3, "head_lr": None, "batch_size": 8},
                    data={"name": "t", "rows": {"train": rows, "validation": 5, "test": 1000}},
                    seeds={"split": split},
                )
    return maker.study


@pytest.mark.parametrize(
    ("gaps", "tests", "verdict"),
    [
        ((0.1, 0.2), (0.7, 0.7), "holds"),
        ((0.1, 0.2), (0.6, 0.7), "holds in part"),
        ((0.2, 0.1), (0.7, 0.7), "does not hold"),
        ((0.1, 0.101), (0.7, 0.7), CANT),
    ],
)
def test_over_fitting(maker, gaps, tests, verdict):
    judged = learning.overfits_less(little(maker, gaps, tests))
    assert judged.verdict == verdict
    assert judged.findings[0].items == "3 splits of 50, 200 rows"
    # The mean of three splits whose gaps differ by 0, 0.2 and 0.4 points more.
    assert f"gap {100 * (gaps[0] - gaps[1] + 0.002):+.1f} points" in judged.findings[0].figure


def rates(maker, ours, theirs=(0.5, 0.7, 0.8, 0.7), noise=0.0):
    for name, shares in (("lora", ours), ("full", theirs)):
        for lr, share in zip((1e-4, 1e-3, 1e-2, 1e-1), shares, strict=True):
            for seed in range(3):
                optimizer, right = {"lr": lr, "head_lr": None}, hits(share + noise * (seed - 1) * (lr < 1e-2))
                maker.add(name, val=share, right=right, optimizer=optimizer, seeds={"trial": seed, "split": 0})
    return maker.study


@pytest.mark.parametrize(
    ("ours", "verdict", "flat"),
    [
        ((0.5, 0.7, 0.8, 0.79), "holds", 2),
        ((0.6, 0.79, 0.8, 0.79), "holds in part", 3),
        ((0.79, 0.79, 0.8, 0.79), "does not hold", 4),
    ],
)
def test_learning_rates(maker, ours, verdict, flat):
    judged = learning.rate_matters(rates(maker, ours))
    assert judged.verdict == verdict
    assert judged.findings[0].figure.startswith("best 0.01; ×10.0 off")
    assert f"over {flat} of 4 rates, full 1 of 4" in judged.findings[0].figure
    assert judged.findings[0].items == "3 seeds"


def test_learning_rates_whose_costs_are_too_uncertain_decide_nothing(maker):
    judged = learning.rate_matters(rates(maker, (0.79, 0.79, 0.8, 0.79), noise=0.04))
    assert judged.verdict == CANT


@pytest.mark.parametrize("few", ["lora", "full"])
def test_learning_rates_with_too_few_seeds_two_steps_off_the_best_decide_nothing(maker, few):
    study = rates(maker, (0.5, 0.7, 0.8, 0.79))
    lost = [entry for entry in study.records if entry.lora.name == few and entry.optimizer.lr == 1e-4][1:]
    left = [entry for entry in study.records if entry not in lost]
    judged = learning.rate_matters(dataclasses.replace(study, records=tuple(left)))
    assert judged.verdict == CANT
    assert "3 seeds at the best rate, at a rate one step off" in judged.findings[0].figure


def continual(maker, name, new, lost, change, learn="continued", seeds=3, orders=(("a", "b"),)):
    """An arm over two tasks whose first loses `lost` of its accuracy while the second is learned."""
    chosen = maker.confirm(name, arm=f"{name},{learn}", val=new, seeds=0)
    matrix = [[0.5, 0.5], [new, 0.5], [new - lost, new]]
    for seed in range(seeds):
        number = 10_000 * (seed + 1) + chosen.trial
        place = maker.folder / f"trials/{number:04d}"
        place.mkdir(parents=True)
        again = dataclasses.replace(
            chosen,
            phase="confirm",
            trial=number,
            seeds=Seeds(trial=1000 + seed, split=0),
            adapter=dataclasses.replace(chosen.adapter, path=f"trials/{number:04d}/adapter"),
            continual=Continual(tasks=list(orders[seed % len(orders)]), learn=learn, val=matrix),
            continual_summary=ContinualSummary(new=new, kept=1),
            probe=Probe(before=2.0, after=2.0 + change + 0.001 * seed),
        )
        maker.confirmed.append(again)
        with open(place / "predictions.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["learned", "task", "row", "label", "predicted"])
            for learned in range(3):
                for task in range(2):
                    share = 0.5 if learned <= task else new - lost if learned > task + 1 else new
                    table.writerows([learned, task, row, 1, int(hit)] for row, hit in enumerate(hits(share)))
    maker.records[-1] = dataclasses.replace(chosen, continual=Continual(tasks=["a", "b"], learn=learn, val=matrix))


@pytest.mark.parametrize(
    ("ours", "change", "verdict"),
    [
        (0.02, 0.1, "holds"),
        (0.02, 0.95, "holds in part"),
        (0.3, 1.0, "does not hold"),
    ],
)
def test_forgetting_is_compared_where_as_much_was_learned(maker, ours, change, verdict):
    continual(maker, "lora", 0.8, ours, change)
    continual(maker, "lora", 0.9, 0.0, 0.0, learn="separate")  # another way of learning the tasks
    continual(maker, "full", 0.805, 0.1, 1.0)
    continual(maker, "full", 0.9, 0.0, 0.0, learn="replay")  # what a replay keeps is not of full fine-tuning
    judged = forgetting.forgets_less(maker.study)
    assert judged.verdict == verdict
    assert f"lose {100 * ours:.1f} points, full 10.0: {100 * (ours - 0.1):+.1f} points" in judged.findings[0].figure
    assert "new tasks 0.800 and 0.805" in judged.findings[0].figure
    assert f"{change + 0.001:+.3f} nats, full +1.001" in judged.findings[1].figure
    assert [finding.items for finding in judged.findings] == ["3 seeds, 1,000 test items", "3 seeds"]


def test_with_several_orders_of_the_tasks_the_orders_are_what_is_repeated(maker):
    orders = (("a", "b"), ("b", "a"))
    continual(maker, "lora", 0.8, 0.02, 0.1, orders=orders)
    continual(maker, "full", 0.8, 0.1, 1.0, orders=orders)
    judged = forgetting.forgets_less(maker.study)
    assert judged.verdict == "holds"
    assert "earlier tasks lose 2.0 points, full 10.0: -8.0 points [-8.0, -8.0]" in judged.findings[0].figure
    assert judged.findings[0].items == "3 seeds, 2 orders of the tasks"


@pytest.mark.parametrize("seeds", [2, 3])
def test_nothing_is_said_of_forgetting_where_less_was_learned_or_too_few_seeds(maker, seeds):
    continual(maker, "lora", 0.6 if seeds == 3 else 0.8, 0.0, 0.0, seeds=seeds)
    continual(maker, "full", 0.8, 0.1, 1.0, seeds=seeds)
    judged = forgetting.forgets_less(maker.study)
    assert judged.verdict == CANT
    assert ("not learned alike: -20.0 points" if seeds == 3 else "too few seeds") in judged.findings[0].figure


def test_every_task_counts_alike_whatever_it_has_of_items():
    shares = forgetting._shares([(0, 0), (1, 0), (1, 1), (1, 2)])
    assert float((shares * np.array([1.0, 0.5, 0.5, 0.5])).mean()) == pytest.approx(0.75)


def test_without_studies_every_claim_but_the_arithmetic_is_left_open(tmp_path):
    judged = judge({"cnn": Study("python -m harness x", missing="task.data: missing")}, COUNTED, "run=count")
    assert [judgement.verdict for judgement in judged] == ["holds"] + [CANT] * 12
    text = write_claims(tmp_path / "claims", {}, COUNTED, "run=count")
    assert (tmp_path / "claims/claims.md").read_text() == text.partition("\n\nWritten:")[0] + "\n"
    assert not list(tmp_path.glob("claims/*.png"))


def test_the_table_names_each_claim_once_and_the_reason_why_one_was_not_tested(maker, tmp_path):
    maker.add("full", right=hits(0.8))
    maker.add(right=hits(0.8))
    studies = {"rank": maker.study, "lstm": Study("python -m harness y", missing="task.data: missing")}
    write_claims(tmp_path / "claims", studies, COUNTED, "run=count")
    with open(tmp_path / "claims/claims.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len({row["claim"] for row in table}) == 13
    (lstm,) = [row for row in table if row["claim"].startswith("an LSTM")]
    assert (lstm["verdict"], lstm["figure"], lstm["command"]) == (CANT, "task.data: missing", "python -m harness y")
    text = (tmp_path / "claims/claims.md").read_text()
    assert text.count("| memory saved in training ") == 1
    assert text.count("*memory saved in training*: the peak") == 1


def test_pictures(maker, tmp_path):
    rates(maker, (0.5, 0.7, 0.8, 0.79))
    other = Maker(tmp_path / "little")
    studies = {"lr": maker.study, "little": little(other, (0.1, 0.2), (0.7, 0.7))}
    assert "little_data.png" in write_claims(tmp_path / "claims", studies, COUNTED, "run=count")
    for name in ("little_data.png", "learning_rate.png"):
        height, width, _ = matplotlib.image.imread(tmp_path / "claims" / name).shape
        assert min(height, width) > 400


def test_trials_that_failed_are_no_evidence(maker):
    maker.add(peak=1)
    maker.records[0] = dataclasses.replace(maker.records[0], state="fail")
    maker.add("full")
    assert costs.memory_saved([maker.study]).verdict == CANT
