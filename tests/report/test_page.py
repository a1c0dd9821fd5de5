"""The answer of a study from its records: chosen on validation, shown on test, failures counted."""

import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pandas as pd
import pytest

from harness import record
from harness.record import Base, Data
from harness.report import write_report
from harness.report.chance import chance
from harness.report.page import _answer, read_page, report_for_terminal
from harness.report.table import ArmResult, arm_results, pareto
from tests.test_record import make, memory


def entry(number, arm, val, test, adapter, state="complete", peak=1000, name="lora"):
    rank = int(arm.partition("=")[2] or 1)
    lora = {"name": name} | ({"rank": rank, "scale": 2.0, "alpha": 2.0 * rank, "targets": ["query"]} if adapter else {})
    return make(
        number,
        arm=arm,
        state=state,
        lora=lora,
        scores={"val": {"accuracy": val, "loss": 1.0}, "test": {"accuracy": test, "loss": 1.0}} if val else {},
        parameters={"adapter": adapter, "head": 2, "other": 0, "frozen": 1000, "total": 1002 + adapter},
        memory=memory(process=100, train_peak=peak, eval_peak=1),
        reason="diverged: x" if state == "fail" else "",
    )


RECORDS = [
    entry(0, "rank=1", 0.80, 0.83, 10),
    entry(1, "rank=4", 0.82, 0.81, 40, peak=900),
    entry(2, "head", 0.70, 0.71, 0, name="head", peak=800),
    entry(3, "rank=1", 0.79, 0.99, 10),
    entry(4, "rank=4", None, None, 40, state="fail"),
    entry(5, "head", 0.69, 0.7, 0, name="head", state="pruned", peak=800),
]


@pytest.fixture
def folder(tmp_path):
    for item in RECORDS:
        record.append(tmp_path, item)
        if item.scores:
            right = round(100 * item.scores["test"]["accuracy"])
            path = tmp_path / f"trials/{item.trial:04d}/predictions.csv"
            path.parent.mkdir(parents=True)
            path.write_text("row,label,predicted\n" + "".join(f"{i},1,{int(i < right)}\n" for i in range(100)))
    return tmp_path


def test_the_trial_is_chosen_on_validation_and_never_on_test(folder):
    results = {result.arm: result for result in arm_results(RECORDS, folder)}
    assert results["rank=1"].best.trial == 0  # trial 3 is better on test, and that must not matter
    assert results["rank=4"].verdict == "best on validation"
    assert results["rank=1"].verdict == "not told apart"
    assert results["head"].verdict == "lower"
    assert (results["rank=4"].complete, results["rank=4"].failed, results["head"].pruned) == (1, 1, 1)
    low, high = results["rank=1"].interval
    assert low < 0.83 < high


def test_the_front_holds_what_nothing_beats():
    assert [item.trial for item in pareto(RECORDS, "trainable")] == [2, 0, 1]
    assert [item.trial for item in pareto(RECORDS, "memory")] == [2, 1]


def test_the_report_is_written_whole_and_says_what_was_run(folder):
    text = write_report(folder)
    assert "Data: t from x" in text
    assert "6 trials: 4 complete, 1 pruned, 1 failed" in text
    assert "trial 4 (rank=4): diverged: x" in text
    assert "Not decided, with one seed each. Smallest adapter not told apart from the best: rank=1, 10 " in text
    assert "Command: `python -m harness`" in text
    table = pd.read_csv(folder / "table.csv")
    assert table["trial"].tolist() == list(range(6))
    assert (folder / "table.md").read_text() == text.partition("\n\nWritten:")[0] + "\n"
    for name in ("pareto.png", "rank_curve.png"):
        height, width, _ = matplotlib.image.imread(folder / name).shape
        assert width > 800
        assert height > 400


def test_a_study_without_a_complete_trial_still_has_its_table(tmp_path):
    record.append(tmp_path, RECORDS[4])
    assert "1 failed" in write_report(tmp_path)
    assert not (tmp_path / "pareto.png").exists()
    assert "no records yet" in write_report(tmp_path / "nothing")


def test_a_report_imports_no_torch():
    code = "import harness.report, sys; sys.exit(any(m in sys.modules for m in ('torch', 'lightning', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_arm_without_a_complete_trial_keeps_its_row(folder):
    record.append(folder, entry(6, "rank=8", None, None, 80, state="fail"))
    text = write_report(folder)
    (row,) = [line for line in text.splitlines() if line.startswith("| rank=8")]
    assert "0 + 1 failed" in row
    assert "no complete trial" in row


def test_an_arm_that_test_was_not_read_for_leaves_its_cell_empty(folder):
    record.append(
        folder, dataclasses.replace(entry(6, "rank=8", 0.5, 0.5, 80), scores={"val": {"accuracy": 0.5, "loss": 1.0}})
    )
    (row,) = [line for line in write_report(folder).splitlines() if line.startswith("| rank=8")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[5:7] == ["0.5000", ""]
    assert cells[-1] == "not compared"


def test_an_arm_that_was_not_compared_is_no_tie(folder):
    for path in folder.glob("trials/*/predictions.csv"):
        path.unlink()
    assert "the best: rank=4, 40 adapter parameters" in write_report(folder)


def test_trials_on_other_data_are_never_compared(folder):
    other = dataclasses.replace(
        entry(7, "rank=1", 0.99, 0.99, 10), task="u", data=Data(name="u", sha256="x", rows={"test": 7})
    )
    record.append(folder, other)
    text = write_report(folder)
    assert text.count("Data: ") == 2
    assert "Data: u" in text
    assert text.index("Data: t") < text.index("| rank=4") < text.index("Data: u")


def test_each_group_of_arms_on_the_same_rows_has_pictures_and_a_title_of_its_own(tmp_path):
    for number, (rank, rows) in enumerate([(1, 50), (4, 50), (1, 800), (4, 800)]):
        of_rows = dataclasses.replace(
            entry(number, f"rank={rank}", 0.5 + rows / 4000, 0.5, rank),
            arm=f"rank={rank},train_rows={rows}",
            data=Data(name="t", sha256=str(rows), rows={"train": rows, "test": 100}),
        )
        record.append(tmp_path, of_rows)
    printed = report_for_terminal(tmp_path, 100)
    assert {path.name for path in tmp_path.glob("*.png")} == {
        f"{name}-train_rows_{rows}.png" for name in ("pareto", "rank_curve") for rows in (50, 800)
    }
    assert [group["title"].rpartition(", ")[2] for group in read_page(tmp_path)["groups"]] == [
        "train_rows=50",
        "train_rows=800",
    ]
    table = printed[printed.index("train_rows=800") :]
    assert "\nrank=4 " in table, "an arm is named by what tells it apart from the others beside it"
    (line,) = [line for line in table.splitlines() if line.startswith("rank=4 ")]
    assert "0.7" in line


def test_arms_on_several_bases_stand_in_one_table_that_names_them(tmp_path):
    other = dataclasses.replace(entry(7, "small", 0.9, 0.9, 10), model="other", base=Base(name="other", sha256="x"))
    for item in (*RECORDS, other):
        record.append(tmp_path, item)
    text = write_report(tmp_path)
    assert text.count("Data: ") == 1
    assert f"Bases: {RECORDS[0].model}, other. " in text
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert next(row for row in rows if row[0] == "arm")[1] == "base"
    assert next(row for row in rows if row[0] == "small")[1] == "other"
    (group,) = read_page(tmp_path)["groups"]
    assert group["title"].endswith(", 2 bases")


def test_loss_is_minimised():
    high = dataclasses.replace(entry(0, "rank=1", 0.9, 0.9, 10), objective="loss")
    low = dataclasses.replace(
        high, trial=1, scores={"val": {"accuracy": 0.1, "loss": 0.2}, "test": {"accuracy": 0.1, "loss": 0.2}}
    )
    (result,) = arm_results([high, low], Path("/nowhere"))
    assert result.best == low


def test_a_control_with_fresh_weights_stands_in_the_same_table(tmp_path):
    control = dataclasses.replace(entry(2, "fresh", 0.5, 0.5, 0, name="full"), base=Base(name="m", sha256="fresh"))
    for item in (*RECORDS[:2], control):
        record.append(tmp_path, item)
    text = write_report(tmp_path)
    assert text.count("Base:") == 1
    assert "| fresh " in text


def test_where_validation_misled_the_answer_says_so():
    arms = [("full", "best on validation", 0), ("rank=1", "not told apart", 10), ("rank=4", "higher", 40)]
    results = [
        ArmResult(arm, entry(index, arm, 0.8, 0.7, adapter), 1, 1, 0, 0, (0.6, 0.9), None, verdict)
        for index, (arm, verdict, adapter) in enumerate(arms)
    ]
    said = _answer(results)
    assert said.startswith("Validation did not find the best run: on test rank=4 did better than full. ")
    assert "Smallest adapter of these: rank=4, 40 adapter parameters" in said


CASES = Path(__file__).parent.parent / "cases"


@pytest.mark.parametrize("study", ["parent_study", "parent_continual", "parent_mixture"])
def test_the_report_of_an_earlier_study_is_what_it_was_to_the_digit(study, tmp_path):
    shutil.copytree(CASES / study, tmp_path / study)
    for name in ("table.md", "table.csv"):
        (tmp_path / study / name).unlink()
    write_report(tmp_path / study)
    ours, theirs = (folder / study for folder in (tmp_path, CASES))  # theirs: as the code before sections wrote them
    table = pd.read_csv(ours / "table.csv", dtype=str)
    known = pd.read_csv(theirs / "table.csv", dtype=str).rename(columns=renamed)
    pd.testing.assert_frame_equal(table[known.columns], known)  # there are further measures now
    assert set(table["phase"]) == {"search"}
    assert figures(ours / "table.md") == figures(theirs / "table.md")


def renamed(column):
    """What a column of the earlier tables is called now."""
    return re.sub("^sequence_", "continual_", column)


def figures(page):
    """The numbers of a page, in order: the words of verdicts are others now."""
    return re.findall(r"\d[\d.,e-]*", page.read_text())


def test_trials_chosen_by_a_measure_are_shown_by_it(tmp_path):
    name = "measures:MacroF1"
    by_measure = {0: (0.5, 0.4), 1: (0.6, 0.7), 2: (0.3, 0.2)}  # val, test; accuracy says otherwise
    for item in RECORDS[:3]:
        scores = {
            split: item.scores[split] | {name: value}
            for split, value in zip(("val", "test"), by_measure[item.trial], strict=True)
        }
        record.append(tmp_path, dataclasses.replace(item, objective=name, scores=scores))
        path = tmp_path / f"trials/{item.trial:04d}/predictions.csv"
        path.parent.mkdir(parents=True)
        path.write_text("row,label,predicted\n0,1,1\n1,1,0\n")
    text = write_report(tmp_path)
    header, _, first, second, third = [line for line in text.splitlines() if line.startswith("|")]
    cells = [cell.strip() for cell in header.split("|")]
    assert (f"val {name}", f"test {name}") == tuple(cells[6:8])
    found = {
        row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[6:8]] for row in (first, second, third)
    }
    assert found == {"rank=1": ["0.5000", "0.4000"], "rank=4": ["0.6000", "0.7000"], "head": ["0.3000", "0.2000"]}
    assert "best on validation" in second
    assert "not compared" in first
    assert f"{name} is a measure of the user's own" in text
    assert "Wilson" not in text
    assert "McNemar" not in text
    assert f": rank=4, 40 adapter parameters, test {name} 0.7000." in text
    assert f"Pareto front, validation {name} against trainable parameters:\n- trial 2 (head): 0.3000 at 2" in text
    assert (tmp_path / "rank_curve.png").exists()


@pytest.mark.parametrize("written", [False, True])
def test_texts_that_were_written_are_spoken_of_where_there_are_any(written, tmp_path):
    """The loss is the headline of numbers, too."""
    texts = {"bleu": 20.0, "chrf": 40.0} if written else {"rmse": 2.0, "r2": 0.5}
    for number, (arm, val) in enumerate({"rank=1": 0.8, "rank=4": 0.7}.items()):
        scores = {"val": {"loss": val}, "test": {"loss": val, **texts}}
        made = entry(number, arm, 0.5, 0.5, 10)
        record.append(tmp_path, dataclasses.replace(made, objective="loss", scores=scores))
    text = write_report(tmp_path)
    assert "Each row is the arm's trial that did best on validation." in text
    assert ("BLEU and chrF are of the texts written for the first test rows." in text) == written


def test_what_the_base_scored_is_said_with_its_window():
    """Of transcripts; a base whose window was cut is none as it was published."""
    details = {"usual_transcript": {"text": "yes", "test": 0.9}}
    made = entry(0, "rank=1", 0.5, 0.5, 10)
    data, scores = dataclasses.replace(made.data, details=details), {"test": {"wer": 0.2}, "base": {"wer": 0.4}}
    made = dataclasses.replace(made, data=data, scores=scores)
    assert chance(made).endswith("has a test WER of 0.9000. The base as it is has a test WER of 0.4000. ")
    where = dataclasses.replace(made.provenance, arithmetic={"window": "2 s of 30 s"})
    cut = dataclasses.replace(made, provenance=where)
    assert chance(cut).endswith("The base as it is, its window cut to 2 s of 30 s, has a test WER of 0.4000. ")
    searched = dataclasses.replace(made, scores={"val": {"wer": 0.2}})
    assert "The base as it is" not in chance(searched)
    assert chance(searched, [searched, made]) == chance(made), "test is read by the trials that confirm alone"
