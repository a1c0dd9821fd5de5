"""The figures in README and docs/reference/results.md are those that the commands printed."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CURATED = ROOT / "results/curated"
README = (ROOT / "README.md").read_text()
RESULTS = (ROOT / "docs/reference/results.md").read_text()
ANSWERS = (
    *("Smallest adapter", "No confirmed adapter", "Not decided", "Cannot rank", "Validation did not"),
    *("Remembered best", "Against runs of each task alone", "Best on validation"),
)


def first_table(study):
    """The rows of a curated study's first table, as lines."""
    lines = (CURATED / study / "table.md").read_text().splitlines()
    rest = lines[next(index for index, line in enumerate(lines) if line.startswith("|")) :]
    return rest[: rest.index("")]


def test_the_table_is_the_one_the_sweep_wrote():
    lines = (CURATED / "movie_snippets_rank_sweep/table.md").read_text().splitlines()
    (answer,) = [line for line in lines if line.startswith(ANSWERS)]
    table = first_table("movie_snippets_rank_sweep")
    assert len(table) == 2 + 6, "three adapters, full fine-tuning, a frozen base and a constant answer"
    for line in [*table, answer]:
        assert line in README
        assert line in RESULTS


@pytest.mark.parametrize("study", sorted(path.parent.name for path in CURATED.glob("*/table.md")))
def test_every_curated_study_is_whole_and_its_answer_is_quoted(study):
    folder = CURATED / study
    lines = (folder / "table.md").read_text().splitlines()
    answers = [line for line in lines if line.startswith(ANSWERS)]
    assert any(answer in RESULTS for answer in answers)
    assert f"results/curated/{study}/table.md" in RESULTS
    pictures = {
        "Remembered best": ("matrices", "forgetting"),
        "Against runs of each task alone": ("multitask",),
        "Best on validation": ("multitask",),
    }
    ranks = "layer_ranks" if (folder / "layer_ranks.png").exists() else "rank_curve"
    groups = [
        f"-{line.rpartition(', ')[2].replace('=', '_')}" for line in lines if line.startswith("## ") and "=" in line
    ]
    if (folder / "study.tar.xz").exists() and "## Confirmed" in "\n".join(lines):
        assert (folder / "confirmed.png").stat().st_size > 10_000
    for name in next(
        (pictures[key] for key in pictures for each in answers if each.startswith(key)), ("pareto", ranks)
    ):
        for group in groups or [""]:
            assert (folder / f"{name}{group}.png").stat().st_size > 10_000
    assert "Command: `python -m harness" in (folder / "table.md").read_text()


def test_the_claims_are_as_printed():
    lines = (CURATED / "claims/claims.md").read_text().splitlines()
    assert sum(line.startswith("- *") for line in lines) == 13
    for line in lines[1:]:
        assert line in RESULTS
    for picture in (CURATED / "claims").glob("*.png"):
        assert picture.stat().st_size > 10_000
        assert f"results/curated/claims/{picture.name})" in RESULTS


def test_the_campaign_found_nothing_in_four_hundred_kills():
    lines = (CURATED / "faults.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][1:]
    assert {cell for row in rows for cell in row[4:]} == {"0"}
    kills = {row[0].removeprefix("kill -9 ") for row in rows if row[0].startswith("kill -9")}
    assert {"after_assignment", "before_record", "before_tell", "in_reconcile", "in_training", "in_checkpoint"} < kills
    assert sum(int(row[2]) for row in rows if row[0].startswith("kill -9")) >= 400
    assert {row[1] for row in rows} == {"journal", "PostgreSQL"}


def test_readme_begins_with_what_was_confirmed():
    first = " ".join(README.partition("`harness` answers")[0].split())
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in first_table("movie_snippets_rank_sweep")]
    header, arms = rows[0], {row[0]: row for row in rows[2:]}
    adapter, full = arms["targets=all-linear,rank=4"], arms["full"]
    test, gap = header.index("test accuracy [95 %]"), header.index("against full [95 %, all at once]")
    for row in (adapter, full):
        assert f"{100 * float(row[test].split()[0]):.1f} %" in first
    low, high = (100 * float(bound) for bound in re.findall(r"[+-][\d.]+", adapter[gap])[1:])
    assert f"between {low:+.1f} and {high:+.1f} points" in first
    trained = [int(row[header.index("trained")].replace(",", "")) for row in (adapter, full)]
    assert f"{100 * trained[0] / trained[1]:.1f} % of its trained parameters" in first
    (answer,) = [line for line in README.splitlines() if line.startswith(ANSWERS)]
    assert re.search(r"a difference of ([\d.]+ points) has a power of 80 %", answer)[1] in first
    assert "cannot tell" in first
    assert adapter[-1] == "not decided"


def test_every_confirmed_adapter_beats_the_frozen_base_by_two_points():
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in first_table("movie_snippets_rank_sweep")]
    header, arms = rows[0], {row[0]: row for row in rows[2:]}
    test = {name: float(row[header.index("test accuracy [95 %]")].split()[0]) for name, row in arms.items()}
    assert all(score - test["head"] >= 0.02 for name, score in test.items() if "targets" in name)


def test_the_figures_are_those_of_the_stored_outputs():
    record = json.loads((CURATED / "sst2_rank8.json").read_text())
    assert record["data"]["rows"] == {"train": 6920, "validation": 872, "test": 1821}
    assert record["lora"]["rank"] == 8
    assert record["scores"]["test"]["accuracy"] >= 0.86
    assert f"{record['scores']['test']['accuracy']:.4f}" in RESULTS
    for name in (
        "loop_overhead.txt",
        "against_peft.txt",
        "many_adapters.txt",
        "faults.md",
        "load.md",
        "cluster.txt",
        "search.txt",
        "rank_curve.txt",
    ):
        for line in (CURATED / name).read_text().strip().splitlines():
            assert line in RESULTS


def test_the_share_of_random_searchs_seconds_is_the_measured_one():
    rows = [line.split("|") for line in (CURATED / "search.txt").read_text().splitlines() if line.startswith("| ")]
    share = {cells[1].strip(): cells[-2].strip() for cells in rows}["tpe + halving from the usual point"]
    assert f"[{float(share):.0%} of its seconds]".replace("%", " %") in README


def test_the_readme_counts_the_faults_as_the_campaign_did():
    kills, studies = re.fullmatch(
        r"(\d+) times kill -9, (\d+) studies\.", (CURATED / "faults.md").read_text().splitlines()[-1]
    ).groups()
    assert f"In {studies} disturbed studies with {kills} `kill -9`" in README.replace("\n", " ")


def test_the_clusters_tests_were_green_and_none_was_skipped():
    last = (CURATED / "cluster.txt").read_text().strip().splitlines()[-1]
    assert last in RESULTS
    assert "passed" in last
    assert not {"failed", "skipped", "error"} & set(last.replace(",", "").split())


def test_the_readme_counts_the_variants_as_the_table_has_them():
    table = RESULTS[RESULTS.index("| `lora=` | method") :].partition("<!-- end -->")[0]
    assert len(re.findall(r"^\| [a-z]\w+ \|", table, flags=re.MULTILINE)) == 12
    assert "twelve variants" in README
