"""report.html holds what the records say, and no text of theirs becomes markup or script."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness import record
from harness.record import headline_score
from harness.report import report_for_terminal, write_report
from harness.report.html import Group, page_data, render
from harness.report.html.data import factors
from harness.report.html.trials import thinned
from harness.report.page import read_page
from tests.report.studies import factorial, joint, write_study
from tests.test_record import make

DIFFERING = {"full": 0.0, "rank=1": -0.08, "rank=8": 0.0}
NOWHERE = Path("/nowhere")
HOSTILE = "</script><script>document.title='run'</script><img src=x onerror=alert(1)>"


def data_of(text: str) -> dict:
    (found,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', text, flags=re.DOTALL)
    return json.loads(found)


def test_the_page_holds_every_trial_and_field_as_it_was_recorded(tmp_path):
    folder = write_study(tmp_path / "s", factorial())
    write_report(folder)
    data = data_of((folder / "report.html").read_text())
    records = {entry.trial: entry for entry in record.read(folder)}
    assert [trial["fields"]["trial"] for trial in data["trials"]] == sorted(records)
    for trial in data["trials"]:
        entry, fields = records[trial["fields"]["trial"]], trial["fields"]
        assert fields["val_accuracy"] == pytest.approx(headline_score(entry, "val"), rel=1e-6)
        assert fields["trainable"] == entry.parameters.trainable
        assert fields["memory_needed"] == entry.memory.train_peak - entry.memory.process
        assert trial["folder"] == f"trials/{entry.trial:04d}"
        parts = ("process", "parameters", "gradients", "optimizer", "activations")
        assert sum(fields[f"memory_{part}"] for part in parts) == fields["memory_train_peak"]
        own = data["common"] | trial["config"]
        assert own["lora.rank"] == str(entry.lora.rank or 8)
        assert own["trainer.max_steps"] == "150"


def test_an_arm_is_shown_by_its_best_on_validation(tmp_path):
    records = factorial()
    (group,) = read_page(write_study(tmp_path / "s", records))["groups"]
    assert len(group["arms"]) == 29
    for arm in group["arms"]:
        mine = [entry for entry in records if entry.arm == arm["arm"]]
        assert arm["best"] == max(mine, key=lambda entry: headline_score(entry, "val")).trial
        assert arm["states"] == {"complete": 3, "pruned": 0, "fail": 0}


def test_the_answer_is_that_of_the_table(study, tmp_path):
    study(DIFFERING)
    folder = tmp_path
    write_report(folder)
    page, table = (folder / "report.html").read_text(), (folder / "table.md").read_text()
    (group,) = data_of(page)["groups"]
    assert group["answer"] in table
    assert "has a power of 80 %" in group["answer"]
    assert f"<p>{group['answer']}</p>" in page  # it is there before any script runs


def test_differences_are_those_of_the_confirmation(study, tmp_path):
    study(DIFFERING)
    folder = tmp_path
    (group,) = read_page(folder)["groups"]
    table = write_report(folder)
    confirmed = group["confirmed"]
    compared = {arm: found for arm, found in confirmed["arms"].items() if found["difference"]}
    assert confirmed["reference"] not in compared
    for found in compared.values():
        centre, low, high = found["difference"]
        assert low <= centre <= high
        assert f"{centre:+.4f} [{low:+.4f}, {high:+.4f}]" in table


def test_no_text_of_a_record_becomes_markup(tmp_path):
    records = [make(0, arm=HOSTILE, study=HOSTILE, reason=HOSTILE), make(1, command=HOSTILE, state="fail", scores={})]
    write_study(tmp_path / "s", records)
    text = render(read_page(tmp_path / "s"))
    assert "document.title='run'" in text
    assert "<script>document.title" not in text
    assert "<img" not in text
    assert len(re.findall("<script", text)) == 3  # the data, the library, and the page's own
    assert data_of(text)["trials"][0]["fields"]["arm"] == HOSTILE


def test_scripts_build_no_markup_from_strings():
    text = render(page_data("s", [Group([make(0)], "so")], NOWHERE))
    (own,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "http:",
        "https:",
        "fetch(",
    ):
        assert word not in own.replace('fetch("data.json"', ""), word


def test_the_page_may_reach_nothing_and_a_live_one_its_server_alone():
    plain, live = (render(page_data("s", [Group([make(0)], "so")], NOWHERE), live=live) for live in (False, True))
    assert "default-src 'none'" in plain
    assert "connect-src 'none'" in plain
    assert "connect-src 'self'" in live


def test_passwords_are_left_out(tmp_path):
    write_study(tmp_path / "s", [make(0, command="x storage=postgresql://me:secret@host/db")])
    assert "secret" not in (text := render(read_page(tmp_path / "s")))
    assert "postgresql" in text


def test_five_hundred_trials_fit(tmp_path):
    folder = write_study(tmp_path / "s", joint(500))
    text = render(read_page(folder))
    assert len(text.encode()) < 5_000_000
    assert len(data_of(text)["trials"]) == 500


def test_the_same_records_make_the_same_page(tmp_path):
    folder = write_study(tmp_path / "s", joint(5))
    entries = record.read(folder)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    pages = {render(page_data("s", [Group(entries, "so")], folder, now)) for _ in range(2)}
    assert len(pages) == 1
    assert "2026-01-01T00:00:00" in pages.pop()


def test_each_figure_is_there_as_png_svg_and_pdf(study, tmp_path):
    study(DIFFERING)
    folder = tmp_path
    write_report(folder)
    names = {path.stem for path in folder.glob("*.png")}
    assert {"confirmed", "pareto", "rank_curve", "learning_curves"} <= names
    for name in names:
        assert (folder / f"{name}.svg").read_text().startswith("<?xml")
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    first = (folder / "pareto.svg").read_bytes()
    write_report(folder)
    assert (folder / "pareto.svg").read_bytes() == first


def test_an_arm_says_its_factors():
    assert factors("variant=dora,targets=query+value,rank=4") == {
        "variant": "dora",
        "targets": "query+value",
        "rank": "4",
    }
    assert factors("full") == {}


def test_a_long_curve_keeps_its_ends():
    curve = [[float(step), 0.0] for step in range(1000)]
    short = thinned(curve, 60)
    assert len(short) == 60
    assert (short[0], short[-1]) == (curve[0], curve[-1])
    assert thinned(curve[:5], 60) == curve[:5]


def test_the_terminals_answer_is_that_of_the_page_and_fits_80_columns(study, tmp_path):
    study(DIFFERING)
    text = report_for_terminal(tmp_path, 80)
    (group,) = read_page(tmp_path)["groups"]
    assert " ".join(group["answer"].split()) in " ".join(text.split())
    assert max(len(line) for line in text.splitlines() if str(tmp_path) not in line) <= 80
    for arm, found in group["confirmed"]["arms"].items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"{arm} ")]
        assert f"{found['test'][0]:.4f}" in row
        assert found["verdict"].split()[0] in row
