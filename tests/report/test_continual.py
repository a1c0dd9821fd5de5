"""The report of continual studies, on made-up matrices whose figures are known."""

import dataclasses

import matplotlib.image
import pytest

from harness import record
from harness.record import plain
from harness.report import write_report
from harness.report.confirmed import confirmation, section
from harness.report.continual import continual_results, final_items, fwt_over_head, level_of, new_score
from harness.trial.continual.forgetting import summary
from tests.test_record import make

NAMES = ["a", "b", "c"]
ITEMS = 20


def matrix(new: float, lost: float) -> list[list[float]]:
    """Every task scores `new` when learned and `lost` less from then on; a half before."""
    rows = [[0.5] * 3]
    for learned in range(1, 4):
        row = [new - (lost if task + 1 < learned else 0) if task < learned else 0.5 for task in range(3)]
        rows.append(row)
    return rows


def entry(number, arm, new, lost, val_new=None, **changes):
    test, val = matrix(new, lost), matrix(new if val_new is None else val_new, lost)
    figures = summary(test)
    scores = {
        split: {"score": sum(rows[-1]) / 3, "loss": 1.0} | {f"{name}/accuracy": 0.5 for name in NAMES}
        for split, rows in (("val", val), ("test", test))
    }
    values = {
        "arm": arm,
        "objective": "score",
        "scores": scores,
        "continual": {"tasks": NAMES, "learn": "continued", "heads": "shared", "test": test, "val": val},
        "continual_summary": plain(figures) | {"kept": 12},
        "probe": {"before": 5.0, "after": 5.0 + lost},
        "data": {"name": "continual", "tasks": {name: {"rows": {"test": ITEMS}} for name in NAMES}},
    }
    return make(number, **(values | changes))


RECORDS = [
    entry(0, "learn=continued", 0.80, 0.10),
    entry(1, "learn=continued", 0.855, 0.30),
    entry(2, "learn=separate", 0.85, 0.0),
    entry(3, "learn=separate", 0.75, 0.0),
    entry(4, "full", 0.85, 0.40),
    entry(5, "full", 0.95, 0.45, state="fail", reason="diverged: x"),
]


@pytest.fixture
def folder(tmp_path):
    for item in RECORDS:
        record.append(tmp_path, item)
        path = tmp_path / f"trials/{item.trial:04d}/predictions.csv"
        path.parent.mkdir(parents=True)
        lines = [
            f"{learned},{task},{row},1.0,{float(row < round(score * ITEMS))}"
            for learned, scores in enumerate(item.continual.test)
            for task, score in enumerate(scores)
            for row in range(ITEMS)
        ]
        path.write_text("\n".join(["learned,task,row,label,predicted", *lines]) + "\n")
    return tmp_path


def test_arms_are_compared_where_all_of_them_learn_new_tasks_as_well(folder):
    assert level_of(RECORDS) == pytest.approx(0.85)  # the best of `separate`; a failed trial reaches nothing
    found = {course.arm: course for course in continual_results(RECORDS, folder)}
    assert {arm: course.best.trial for arm, course in found.items()} == {
        "learn=continued": 0,
        "learn=separate": 2,
        "full": 4,
    }
    matched = {arm: course.matched.trial for arm, course in found.items()}
    assert matched == {"learn=continued": 1, "learn=separate": 2, "full": 4}
    assert new_score(RECORDS[0], "test") == pytest.approx(RECORDS[0].continual_summary.new) == pytest.approx(0.8)


def test_a_head_alone_sets_no_level_and_is_not_matched_where_it_learns_less(folder):
    records = [*RECORDS, entry(6, "head", 0.7, 0.0, lora={"name": "head"})]
    assert level_of(records) == pytest.approx(0.85)
    assert {course.arm: course.matched for course in continual_results(records, folder)}["head"] is None


def test_the_level_is_one_of_validation_and_not_of_test(folder):
    flattered = [*RECORDS[:2], entry(2, "learn=separate", 0.99, 0.0, val_new=0.7)]
    assert level_of(flattered) == pytest.approx(0.7)


def test_intervals_are_over_the_same_items_before_and_after(folder):
    found = {course.arm: course for course in continual_results(RECORDS, folder)}
    separate, full = found["learn=separate"], found["full"]
    assert separate.bwt == pytest.approx((0.0, 0.0))  # no item changed
    low, high = full.bwt
    assert low < full.best.continual_summary.bwt < high
    assert (low + high) / 2 == pytest.approx(full.best.continual_summary.bwt)
    assert (full.acc[0] + full.acc[1]) / 2 == pytest.approx(full.best.continual_summary.acc)


def test_the_report_is_written_whole(folder):
    text = write_report(folder)
    assert "6 trials: 5 complete, 0 pruned, 1 failed" in text
    assert "0.8500 on validation is the highest that every arm reaches" in text
    assert "score 0.8500 on validation, within a point: learn=separate 0.0000, learn=continued 0.3000" in text
    assert "Remembered best on validation: learn=separate, final test score 0.8500" in text
    assert "- trial 5 (full): diverged: x" in text
    for name in ("matrices.png", "forgetting.png"):
        height, width, _ = matplotlib.image.imread(folder / name).shape
        assert width > 800
        assert height > 400


def test_a_continual_study_without_a_complete_trial_still_has_its_table(tmp_path):
    record.append(tmp_path, RECORDS[5])
    assert "1 failed" in write_report(tmp_path)
    assert not (tmp_path / "matrices.png").exists()


def in_order(number, arm, order, *, new, lost, seed, head=False):
    """A trial that learned the tasks in an order; task `c` is the hard one, wherever it comes.

    But for a head alone, a learned task gives a tenth on those that are still to come.
    """
    ahead = [[0.0] * 3, *([0.1 * (task >= learned and not head) for task in range(3)] for learned in (1, 2, 3))]
    test = [
        [value + more - 0.2 * (name == "c") for name, value, more in zip(order, row, extra, strict=True)]
        for row, extra in zip(matrix(new, lost), ahead, strict=True)
    ]
    kind = "head" if head else "full" if arm == "full" else "lora"
    return entry(
        number,
        arm,
        new,
        lost,
        phase="confirm" if seed else "search",
        seeds={"trial": seed, "split": 0},
        lora={"name": kind},
        continual={"tasks": order, "learn": "continued", "heads": "shared", "test": test, "val": test},
        continual_summary=plain(summary(test)) | {"kept": 12},
    )


ORDERS = [["a", "b", "c"], ["c", "a", "b"], ["b", "c", "a"]]


@pytest.fixture
def confirmed_in_orders(tmp_path):
    """Two arms in three orders; which items of a task are hard is the same in all of them."""
    arms = {"learn=replay": (0.85, 0.05), "full": (0.75, 0.30), "head": (0.60, 0.0)}
    for place, (arm, (new, lost)) in enumerate(arms.items()):
        for index in range(4):
            order, seed = (NAMES, 0) if index == 0 else (ORDERS[index - 1], 1000 + index)
            jitter = 0.02 * (index - 2) * (index > 0)
            number = 10_000 * index + place
            item = in_order(number, arm, order, new=new + jitter, lost=lost, seed=seed, head=arm == "head")
            record.append(tmp_path, item)
            lines = []
            for learned, scores in enumerate(item.continual.test):
                for task, score in enumerate(scores):
                    hits = [float(row < round(score * ITEMS)) for row in range(ITEMS)]
                    lines += [f"{learned},{task},{row},1.0,{hit}" for row, hit in enumerate(hits)]
            path = tmp_path / f"trials/{number:04d}/predictions.csv"
            path.parent.mkdir(parents=True)
            path.write_text("\n".join(["learned,task,row,label,predicted", *lines]) + "\n")
    return tmp_path


def test_orders_of_the_tasks_are_what_is_repeated(confirmed_in_orders):
    text = write_report(confirmed_in_orders)
    assert "## Confirmed with 3 fresh seeds, each with an order of the tasks" in text
    assert "The unit that is repeated is the order of the tasks" in text
    assert "Intervals are over new orders and new test rows" in text
    assert "With 3 orders and 60 test rows" in text
    assert (confirmed_in_orders / "confirmed.png").stat().st_size > 10_000
    rows = [line for line in text.splitlines() if line.startswith(("| a, b, c |", "| c, a, b |"))]
    assert len(rows) == 2, "a row for each order"
    (last,) = [line for line in text.splitlines() if line.startswith("| b, c, a |")]
    found = [each for each in record.read(confirmed_in_orders) if each.seeds.trial == 1003]
    for item in found:
        assert f"{item.continual_summary.acc:.4f} ({item.continual_summary.bwt:+.4f})" in last


def test_orders_that_come_again_are_counted_once(confirmed_in_orders):
    entries = [
        dataclasses.replace(each, continual=dataclasses.replace(each.continual, tasks=NAMES))
        if each.seeds.trial == 1003
        else each
        for each in record.read(confirmed_in_orders)
    ]
    found = confirmation(entries, confirmed_in_orders, margin=0.01)
    assert (found.seeds, found.orders) == (3, 2)
    text = section(found)
    assert "## Confirmed with 3 fresh seeds, each with an order of the tasks, 2 in all" in text
    assert {each.verdict for each in found.arms} == {None, "not decided"}
    assert "With fewer than 3 orders of the tasks nothing is decided." in text
    assert "The search had one order of the tasks, these trials 2." in text


def test_items_of_a_task_are_paired_whatever_its_place(confirmed_in_orders):
    """Read by place, the hard task would be another third of the items in each order, and items would seem to vary."""
    found = {each.trial: each for each in record.read(confirmed_in_orders)}
    rows = [final_items(found[10_000 * index], confirmed_in_orders) for index in (1, 2, 3)]
    for index, items in enumerate(rows, start=1):
        assert sum(items) / len(items) == pytest.approx(
            sum(float(round(score * ITEMS)) / ITEMS for score in found[10_000 * index].continual.test[-1]) / 3
        )
        assert sum(items[2 * ITEMS :]) < sum(items[:ITEMS]), "the hard task c comes last by its name"


def test_forward_transfer_is_measured_against_a_head_that_was_trained_too(confirmed_in_orders):
    text = write_report(confirmed_in_orders)
    _, header, table = text.partition(next(line for line in text.splitlines() if "FWT against head" in line))
    place = [cell.strip() for cell in header.split("|")].index("FWT against head [95 %]")
    line = next(line for line in table.splitlines() if line.startswith("| learn=replay"))
    cell = line.split("|")[place].strip()
    found = {(each.arm, each.seeds.trial): each for each in record.read(confirmed_in_orders)}
    gains = [
        found["learn=replay", seed].continual.test[task][task] - found["head", seed].continual.test[task][task]
        for seed in (1001, 1002, 1003)
        for task in (1, 2)
    ]
    assert float(cell.split()[0]) == pytest.approx(sum(gains) / len(gains), abs=1e-4)


def test_a_head_of_another_order_or_of_heads_apart_is_no_measure():
    one = in_order(0, "learn=replay", NAMES, new=0.8, lost=0.1, seed=0)
    head = in_order(1, "head", NAMES, new=0.7, lost=0.0, seed=0, head=True)
    other = in_order(2, "head", ORDERS[1], new=0.7, lost=0.0, seed=0, head=True)
    assert fwt_over_head(one, head) == pytest.approx(0.1)
    knows = dataclasses.replace(one.continual, test=[[0.5, 0.9, 0.9], *one.continual.test[1:]])
    assert fwt_over_head(dataclasses.replace(one, continual=knows), head) == pytest.approx(0.1), "not over the start"
    assert fwt_over_head(one, other) is None
    assert fwt_over_head(one, None) is None
    apart = dataclasses.replace(one.continual, heads="separate")
    assert fwt_over_head(dataclasses.replace(one, continual=apart), head) is None


@pytest.fixture
def confirmed(tmp_path):
    """Three arms with three fresh seeds each: one forgets less and ends better, each by as much with every seed."""
    arms = {"learn=continued": (0.80, 0.10), "learn=separate": (0.85, 0.0), "full": (0.80, 0.30)}
    for place, (arm, (new, lost)) in enumerate(arms.items()):
        for index in range(4):
            jitter = 0.0 if index == 0 else 0.01 * (index - 2)
            item = entry(
                10_000 * index + place,
                arm,
                new + jitter,
                lost,
                phase="confirm" if index else "search",
                seeds={"trial": 1000 + index if index else 0, "split": 0},
                lora={"name": "full" if arm == "full" else "lora"},
            )
            record.append(tmp_path, item)
    return tmp_path


def test_ways_to_learn_in_turn_are_judged_over_seeds(confirmed):
    text = write_report(confirmed)
    assert "## Confirmed with 3 fresh seeds" in text
    assert "The unit that is repeated is the seed" in text
    line = next(line for line in text.splitlines() if line.startswith("| learn=separate") and "better" in line)
    assert "+0.8500 [" in line or "0.8500 [" in line
    forgetting = [line for line in text.splitlines() if line.startswith("| learn=separate ")][1].split("|")
    assert float(forgetting[2]) == pytest.approx(0.0)
    assert float(forgetting[3].split()[0]) == pytest.approx(0.30)  # full fine-tuning loses 0.30 of each earlier task
    assert forgetting[4].strip() == "better"
