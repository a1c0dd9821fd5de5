"""The report of task sequences, on made-up matrices whose figures are known."""

import matplotlib.image
import pytest

from harness import record
from harness.record import plain
from harness.report import write_report
from harness.report.continual import continual_results, level_of, new_score
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
        "data": {"name": "sequence", "tasks": {name: {"rows": {"test": ITEMS}} for name in NAMES}},
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


def test_a_study_without_a_complete_sequence_still_has_its_table(tmp_path):
    record.append(tmp_path, RECORDS[5])
    assert "1 failed" in write_report(tmp_path)
    assert not (tmp_path / "matrices.png").exists()


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
