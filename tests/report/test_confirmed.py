"""What a confirmation says, of records whose truth is known."""

import dataclasses

import numpy as np
import pytest

from harness import record
from harness.report import costs, plots, write_report
from harness.report.confirmed import _cannot_rank, answer, confirmation
from harness.report.confirmed import section as section_of
from tests.test_record import make

SEEDS = (1_001, 1_002, 1_003, 1_004)
ITEMS = 2_000


def searched(number, arm, name, val, adapter):
    return make(
        number,
        arm=arm,
        lora={"name": name},
        parameters={"adapter": adapter, "head": 2, "other": 0, "frozen": 1_000, "total": 1_002 + adapter},
        scores={"val": {"accuracy": val, "loss": 1 - val}},
        data={"name": "t", "source": "x", "rows": {"train": 10, "validation": 50, "test": ITEMS}},
    )


def again(chosen, place, seed, right):
    """The trial with a fresh seed, of which so many test items are right."""
    share = float(np.mean(right))
    number = (seed - 1_000) * 10_000 + place
    return dataclasses.replace(
        chosen,
        trial=number,
        phase="confirm",
        scores={"val": {"accuracy": share, "loss": 1 - share}, "test": {"accuracy": share, "loss": 1 - share}},
        seeds=record.Seeds(trial=seed),
        adapter=dataclasses.replace(chosen.adapter, path=f"trials/{number:04d}/adapter"),
    )


@pytest.fixture
def study(tmp_path):
    """Arms of given accuracies on test, every item answered by chance of its own; rank=1 is worse, the others alike."""

    def make_study(truth, seeds=SEEDS, items=ITEMS, run_sd=0.002):
        draw = np.random.default_rng(0)
        hard = draw.beta(4, 1, items)
        records = [
            searched(number, arm, "full" if arm == "full" else "lora", 0.80 + 0.001 * number, 10 * number)
            for number, arm in enumerate(truth)
        ]
        for seed in seeds:
            for place, shift in enumerate(truth.values()):
                slope = hard * (1 - hard) / (hard * (1 - hard)).mean()
                chance = np.clip(hard + (shift + draw.normal(0, run_sd)) * slope, 0, 1)
                right = draw.random(items) < chance
                entry = again(records[place], place, seed, right)
                path = tmp_path / f"trials/{entry.trial:04d}/predictions.csv"
                path.parent.mkdir(parents=True)
                labels = np.arange(items) % 2
                rows = zip(range(items), labels, np.where(right, labels, 1 - labels), strict=True)
                path.write_text("row,label,predicted\n" + "".join(f"{i},{a},{b}\n" for i, a, b in rows))
                records.append(entry)
        for entry in records:
            record.append(tmp_path, entry)
        return records

    return make_study


def test_one_arm_that_moves_much_keeps_no_other_from_being_ranked(study, tmp_path):
    study({"full": 0.0, "rank=1": -0.08, "rank=8": 0.0})
    arms = confirmation(record.read(tmp_path), tmp_path, margin=0.03).arms

    def moved(*names):
        return [
            dataclasses.replace(each, gap=dataclasses.replace(each.gap, detectable=0.9)) if each.arm in names else each
            for each in arms
        ]

    assert _cannot_rank(moved("rank=8"), ITEMS, tmp_path) == ""
    said = _cannot_rank(moved("rank=1", "rank=8"), ITEMS, tmp_path)
    assert said.startswith("with 2,000 test rows and 4 seeds a difference")


def test_the_reference_is_the_arm_that_is_named_where_it_was_confirmed(study, tmp_path):
    records = study({"full": 0.0, "rank=1": -0.08, "rank=8": 0.0})
    found = confirmation(records, tmp_path, margin=0.03, reference="rank=1")
    assert found.reference == "rank=1"
    by_full = {each.arm: each for each in confirmation(records, tmp_path, margin=0.03).arms}
    for each in found.arms:
        truth = None if each.arm == "rank=1" else each.mean.mean - by_full["rank=1"].mean.mean
        assert (each.difference and each.difference[0]) == (truth and pytest.approx(truth, abs=1e-9))
    assert confirmation(records, tmp_path, margin=0.03, reference="rank=2").reference == "full"


def test_arms_are_called_what_they_are(study, tmp_path):
    records = study({"full": 0.0, "rank=1": -0.08, "rank=8": 0.0})
    found = confirmation(records, tmp_path, margin=0.03)
    assert (found.reference, found.seeds, found.items, found.cannot_rank) == ("full", 4, ITEMS, "")
    assert {each.arm: each.verdict for each in found.arms} == {
        "full": None,
        "rank=1": "worse",
        "rank=8": "equal within the margin",
    }
    assert answer(found).startswith(
        "Smallest adapter shown to be enough: rank=8 (20 adapter parameters, test accuracy "
    )
    assert "a difference of" in answer(found)
    assert found.over_items


def test_two_seeds_decide_nothing(study, tmp_path):
    records = study({"full": 0.0, "rank=1": -0.2, "rank=8": 0.0}, seeds=SEEDS[:2])
    found = confirmation(records, tmp_path, margin=0.03)
    assert {each.verdict for each in found.arms} == {None, "not decided"}
    assert "With fewer than 3 seeds nothing is decided." in section_of(found)
    assert answer(found).startswith("Not decided: ")


def test_arms_at_the_level_of_guessing_are_not_ranked(study, tmp_path):
    records = study({"full": -0.3, "rank=1": -0.3, "rank=8": -0.29})
    found = confirmation(records, tmp_path, margin=0.01)
    said = "no arm is shown to be better than always answering the most frequent class (accuracy 0.5000)"
    assert answer(found) == f"Cannot rank: {said}."


LEVELS = {"matthews": 0.0, "auroc": 0.5, "r2": 0.0, "f1": 0.8, "rmse": 3.0, "wer": 0.9, "bleu": 12.0}
"""What is scored without having learned anything."""


@pytest.mark.parametrize("measure", LEVELS)
@pytest.mark.parametrize("learned", [False, True])
def test_of_each_measure_arms_have_to_be_better_than_its_own_baseline(measure, learned, tmp_path):
    """Without a word of the record where zero, or a half, is known of a measure."""
    draw, level = np.random.default_rng(3), LEVELS[measure]
    unit = 0.1 * max(1.0, level)
    up = -1 if measure in ("rmse", "wer") else 1
    scored = {"always yes": {split: {measure: level} for split in ("validation", "test")}}
    details = {} if level in (0.0, 0.5) else {"constants": scored}
    records = []
    for place, arm in enumerate(("full", "rank=1", "rank=8")):
        chosen = searched(place, arm, "full" if arm == "full" else "lora", 0.8, 10 * place)
        data = dataclasses.replace(chosen.data, details=details)
        chosen = dataclasses.replace(chosen, objective=measure, data=data, scores={"val": {measure: level}})
        records.append(chosen)
        for seed in SEEDS:
            value = level + up * (2 * unit * learned - 0.1 * unit) + draw.normal(0, 0.05 * unit)
            scores = {split: {measure: value} for split in ("val", "test")}
            records.append(dataclasses.replace(again(chosen, place, seed, [1]), scores=scores))
    found = confirmation(records, tmp_path, margin=0.01)
    said = "always yes" if details else "knowing nothing"
    why = f"no arm is shown to be better than {said} ({measure} {level:.4f})"
    assert found.cannot_rank == ("" if learned else why)


@pytest.mark.parametrize(("speakers", "verdict"), [(2, "not decided"), (3, "worse")])
def test_test_rows_of_two_speakers_decide_nothing(speakers, verdict, study, tmp_path):
    heard = {"test": [f"voice {number}" for number in range(speakers)]}
    records = [
        dataclasses.replace(each, data=dataclasses.replace(each.data, speakers=heard))
        for each in study({"full": 0.0, "rank=1": -0.1, "rank=8": -0.1})
    ]
    found = confirmation(records, tmp_path, margin=0.01)
    assert {each.verdict for each in found.arms if each.gap} == {verdict}
    few = "With test rows of fewer than 3 speakers nothing is decided."
    assert (few in answer(found)) == (verdict == "not decided")


def test_a_test_split_of_a_few_rows_ranks_nothing(study, tmp_path):
    records = study({"full": -0.1, "rank=1": -0.1, "rank=8": -0.1}, items=30, run_sd=0.13)
    found = confirmation(records, tmp_path, margin=0.01)
    assert answer(found).startswith("Cannot rank: with 30 test rows and 4 seeds a difference of ")
    assert "better" not in section_of(found).split("Each arm's")[0]
    assert "| cannot rank |" in section_of(found)


def without(records, arm, seeds):
    """The same with failed trials of an arm in place of those with these seeds."""
    return [
        dataclasses.replace(entry, state="fail", reason="diverged: x", scores={})
        if entry.arm == arm and entry.phase == "confirm" and entry.seeds.trial in seeds
        else entry
        for entry in records
    ]


def test_arms_are_compared_over_the_seeds_that_all_of_them_have(study, tmp_path):
    records = study({"full": 0.0, "rank=1": 0.0, "rank=8": 0.0})
    lost = without(without(records, "rank=1", SEEDS[:1]), "full", SEEDS[:1])
    found = confirmation(lost, tmp_path, margin=0.01)
    assert [each.arm for each in found.arms] == ["full", "rank=1", "rank=8"]
    assert found.seeds == 3
    assert found.left_out == {}


def test_an_arm_whose_seeds_failed_in_part_is_said_to_have_failed(study, tmp_path):
    records = study({"full": 0.0, "rank=8": 0.0}, seeds=(*SEEDS, 1_005))
    found = confirmation(without(records, "rank=8", SEEDS[:2]), tmp_path, margin=0.03)
    assert (found.seeds, found.left_out) == (3, {})
    told = "Failed: rank=8 in 2 of 5 trials (trial 10001: diverged: x; trial 20001: diverged: x)."
    assert told in answer(found)
    kept = "Arms are compared over the seeds that ended in all of them."
    assert f"{told} What is said holds for trials that end. {kept}" in section_of(found)
    assert "Failed" not in section_of(confirmation(records, tmp_path, margin=0.03))


def test_a_failed_trial_that_was_tried_again_and_ended_is_no_failure(study, tmp_path):
    records = study({"full": 0.0, "rank=8": 0.0})
    (first,) = [entry for entry in records if entry.arm == "rank=8" and entry.seeds.trial == SEEDS[0]]
    tried = dataclasses.replace(first, trial=9, state="fail", reason="error: x", scores={})
    assert confirmation([*records, tried], tmp_path, margin=0.03).failed == {}


def test_an_arm_with_too_few_seeds_is_left_out_with_the_reason(study, tmp_path):
    records = study({"full": 0.0, "rank=1": 0.0, "rank=8": 0.0})
    found = confirmation(without(records, "rank=1", SEEDS), tmp_path, margin=0.01)
    assert [each.arm for each in found.arms] == ["full", "rank=8"]
    assert found.seeds == 4
    said = section_of(found)
    assert "Left out, with too few complete trials: rank=1 (0 complete, trial 10001: diverged: x)." in said


def test_a_study_whose_confirmation_failed_is_told_so(study, tmp_path):
    records = study({"full": 0.0, "rank=8": 0.0})
    (tmp_path / "records.jsonl").unlink()
    for entry in without(records, "full", SEEDS):
        record.append(tmp_path, entry)
    text = write_report(tmp_path)
    assert "Not decided: of 8 trials that confirm 4 failed, and no two arms share two seeds." in text
    assert "run=confirm" not in text


def test_an_adapter_that_is_the_reference_may_be_the_answer(study, tmp_path):
    records = study({"rank=1": 0.0, "rank=8": -0.1})
    sizes = {"rank=1": 10, "rank=8": 20}
    changed = [
        dataclasses.replace(
            entry,
            scores=entry.scores | {"val": {"accuracy": 0.9 - sizes[entry.arm] / 200, "loss": 0.1}},
            parameters=record.Parameters(
                adapter=sizes[entry.arm], head=2, other=0, frozen=0, total=2 + sizes[entry.arm]
            ),
        )
        for entry in records
    ]
    found = confirmation(changed, tmp_path, margin=0.01)
    assert found.reference == "rank=1"
    assert answer(found).startswith("Smallest adapter shown to be enough: rank=1 (10 adapter parameters")


@pytest.mark.parametrize(
    ("shift", "sentence"),
    [
        (0.08, "Smallest adapter shown to be better than head: rank=1 (10 adapter parameters, test accuracy "),
        (-0.08, "No confirmed adapter is shown to be better than head; the closest is rank="),
        (0.0, "No confirmed adapter is shown to be better than head; the closest is rank="),
    ],
)
def test_an_adapter_beside_a_head_alone_is_better_or_not_and_never_enough(shift, sentence, study, tmp_path):
    study({"head": 0.0, "rank=1": shift, "rank=8": shift})
    found = confirmation(record.read(tmp_path), tmp_path, margin=0.04, reference="head")
    assert answer(found).startswith(sentence)
    assert "enough" not in answer(found)
    assert "against head" in answer(found)


def test_a_trial_at_another_point_does_not_count(study, tmp_path):
    records = study({"full": 0.0, "rank=8": 0.0})
    moved = [
        dataclasses.replace(entry, point={"optimizer.lr": 0.5})
        if entry.arm == "rank=8" and entry.phase == "confirm"
        else entry
        for entry in records
    ]
    assert confirmation(moved, tmp_path, margin=0.01) is None


def confirmed_ratio(tmp_path, measure, truth, file, columns, items_of):
    """Full fine-tuning and rank 8, whose score is a ratio of sums; `items_of` draws the columns of a trial's items, and
    what their score is.
    """
    records = []
    for place, (arm, value) in enumerate(truth.items()):
        chosen = searched(place, arm, "full" if arm == "full" else "lora", 0.8, 10 * place)
        chosen = dataclasses.replace(chosen, objective=measure, scores={"val": {measure: value}})
        records.append(chosen)
        for seed in SEEDS:
            first, second, score = items_of(value)
            scores = {"val": {measure: float(score)}, "test": {measure: float(score)}}
            entry = dataclasses.replace(again(chosen, place, seed, [1]), scores=scores)
            path = tmp_path / f"trials/{entry.trial:04d}" / file
            path.parent.mkdir(parents=True)
            rows = zip(range(len(first)), first, second, strict=True)
            path.write_text(f"row,{columns}\n" + "".join(f"{i},{a},{b}\n" for i, a, b in rows))
            records.append(entry)
    found = confirmation(records, tmp_path, margin=0.01)
    (adapter,) = [each for each in found.arms if each.arm == "rank=8"]
    scores = [entry.score("test", measure) for entry in records if entry.arm == "rank=8" and entry.phase == "confirm"]
    return found, adapter, scores


def pictured(found, folder):
    """The axes of the picture of what was confirmed."""
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "save_picture", lambda figure, path: kept.extend(figure.axes))
        plots.confirmed_picture(found, "a study", folder / "confirmed.png")
    return kept[0]


def test_a_lower_loss_is_better_and_its_own_unit_is_shown(tmp_path):
    draw = np.random.default_rng(1)

    def items_of(loss):
        tokens = draw.integers(3, 30, 400)
        nats = loss + draw.normal(0, 0.3, 400)
        return nats, tokens, (nats * tokens).sum() / tokens.sum()

    truth = {"full": 2.0, "rank=8": 2.4}
    found, adapter, scores = confirmed_ratio(tmp_path, "loss", truth, "predictions.csv", "loss,tokens", items_of)
    assert adapter.verdict == "worse"
    assert adapter.mean.mean == pytest.approx(np.mean(scores)), "the mean over tokens, not over sentences"
    assert f"+{-adapter.gap.difference:.4f} [" in section_of(found), "a higher loss is shown as higher"
    shown = pictured(found, tmp_path)
    assert shown.xaxis_inverted(), "right is better"
    low, high = adapter.difference[1:]
    (bars,) = [line.get_segments() for line in shown.collections]
    assert bars[0][:, 0] == pytest.approx([low, high])
    assert 0 < low < high


def test_word_error_rates_are_judged_over_the_transcripts_that_were_written(tmp_path):
    draw = np.random.default_rng(2)
    words = draw.integers(3, 30, 300)

    def items_of(rate):
        errors = draw.binomial(words, rate)
        return errors, words, errors.sum() / words.sum()

    truth = {"full": 0.10, "rank=8": 0.20}
    found, adapter, scores = confirmed_ratio(tmp_path, "wer", truth, "written.csv", "errors,words", items_of)
    assert (found.over_items, found.items) == (True, 300), f"of {ITEMS} test rows so many were written"
    assert adapter.verdict == "worse"
    assert adapter.mean.mean == pytest.approx(np.mean(scores)), "the rate over all words, not over transcripts"


def test_a_measure_without_a_part_for_each_item_is_judged_over_seeds(study, tmp_path):
    records = study({"full": 0.0, "rank=1": -0.2, "rank=8": 0.0})
    for path in tmp_path.glob("trials/*/predictions.csv"):
        path.unlink()
    found = confirmation(records, tmp_path, margin=0.05)
    worse = {each.arm: each.verdict for each in found.arms}
    assert worse["rank=1"] == "worse"
    assert not found.over_items
    assert "Intervals are over new seeds alone;" in section_of(found)
    assert "test rows a difference" not in answer(found)


def test_the_report_puts_what_is_confirmed_first_and_the_search_after_it(study, tmp_path):
    study({"full": 0.0, "rank=1": -0.08, "rank=8": 0.0})
    text = write_report(tmp_path)
    assert text.index("## Confirmed with 4 fresh seeds") < text.index("## Search")
    table = text[text.index("## Search") :]
    assert "test acc" not in table
    assert "vs best" not in table
    assert "Test was left unread." in table
    for name in ("confirmed.png", "learning_curves.png"):
        assert (tmp_path / name).stat().st_size > 0


def test_a_search_that_nobody_confirmed_recommends_nothing(tmp_path):
    for number, arm in enumerate(("full", "rank=1")):
        record.append(tmp_path, searched(number, arm, "full" if arm == "full" else "lora", 0.8 - number / 10, 10))
    text = write_report(tmp_path)
    assert "Not decided: one seed for each trial" in text
    assert "run=confirm study=s" in text


def test_costs_are_shown_with_their_spread_and_not_compared_where_the_machine_was_busy(study, tmp_path):
    records = study({"full": 0.0, "rank=8": 0.0})
    timed = [
        dataclasses.replace(
            entry,
            time=record.Time(step_median_s=0.1 + 0.01 * place, step_cpu_s=0.2, load=2.0 + place / 100),
            provenance=record.Provenance(hardware={"cores": 3}),
        )
        for place, entry in enumerate(records)
    ]
    text = costs.section(confirmation(timed, tmp_path, margin=0.01))
    (row,) = [line for line in text.splitlines() if line.startswith("| rank=8")]
    mine = [1_000 * entry.time.step_median_s for entry in timed if entry.arm == "rank=8" and entry.phase == "confirm"]
    assert f"{np.median(mine):.0f} [{min(mine):.0f}, {max(mine):.0f}]" in row
    assert "200 [200, 200]" in row
    assert "do not compare" not in text
    busy = [dataclasses.replace(entry, time=dataclasses.replace(entry.time, load=7.5)) for entry in timed]
    text = costs.section(confirmation(busy, tmp_path, margin=0.01))
    assert "Times do not compare: more wanted the processor than there are cores (load 7.5 on 3 cores in trial" in text


def test_what_to_bear_in_mind_of_trials_that_confirm_stands_in_the_report(study, tmp_path):
    for entry in study({"full": 0.0, "rank=8": 0.0}):
        if entry.phase == "confirm" and entry.arm == "rank=8":
            record.append(tmp_path, dataclasses.replace(entry, notes=["its best weights are of step 3 of 9"]))
    text = write_report(tmp_path)
    assert "- rank=8: its best weights are of step 3 of 9 (4 of 4 trials)" in text.split("## Search")[0]
