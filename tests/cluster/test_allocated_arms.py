"""sweep.allocate: arms with ranks by layer under one budget, found when a study is begun, from two commands on."""

import json
import shutil

import pytest

from harness import record
from harness.config import ConfigError, check
from harness.config.composition import CONF
from harness.search.checks import check_search
from harness.search.plan import SearchPlan
from tests.tiny import words_of

SMALL = [
    *("tracking=off", "trainer.accelerator=cpu", "launch=here", "trainer.batch_size=8", "trainer.max_steps=10"),
    *("trainer.evaluations=1", "sweep.trials=2", "sweep.startup=1"),
]
PER_RANK = 2 * (4 * 32 + 2 * 48)
"""Parameters of a rank of every linear layer of two blocks of width 16."""
BUDGET = 2 * PER_RANK
ARMS = ("uniform", "eva", "gradient", "spectrum", "adalora")


def test_the_experiment_runs_from_its_donor_to_its_verdict(run_here, tiny_base, tiny_data, own_cache, tmp_path):
    words = [*words_of(tiny_base, tiny_data), *SMALL]
    donor = ["+experiment=sst2_per_layer_donor", *words]
    main = [
        "+experiment=sst2_per_layer",
        *words,
        f"sweep.budget.parameters={BUDGET}",
        "sweep.ranks={by: role, high: 8}",
        "sweep.baselines.uniform.set={lora.rank: 2}",
        "sweep.confirm={top: 1, seeds: 2, margin: 0.01, set: {}}",
    ]
    code, _, error = run_here(*main)
    assert (code, error.splitlines()[-1].split(":")[0]) == (2, "sweep.allocate.adalora=text_csv_per_layer_donor")
    assert not (tmp_path / "results/text_csv_per_layer").exists()

    assert run_here(*donor)[0] == 0
    code, _, error = run_here(*main)
    assert code == 0, error
    entries = record.read(tmp_path / "results/text_csv_per_layer")
    searched = [entry for entry in entries if entry.phase == "search"]
    again = [entry for entry in entries if entry.phase == "confirm"]
    assert {arm: sum(entry.arm == arm for entry in searched) for arm in ARMS} == dict.fromkeys(ARMS, 2)
    assert {entry.arm for entry in again} >= set(ARMS)
    assert len({entry.arm for entry in again}) == 6
    assert all(BUDGET - 48 < entry.parameters.adapter <= BUDGET for entry in entries)
    ranks = {arm: next(entry.adapter.ranks for entry in searched if entry.arm == arm) for arm in ARMS}
    assert set(ranks["uniform"].values()) == {2}
    assert len({json.dumps(each, sort_keys=True) for each in ranks.values()}) >= 4, "the ways differ"
    table = (tmp_path / "results/text_csv_per_layer/table.md").read_text()
    assert all(f"| {arm} " in table for arm in ARMS)

    for method, more in (("eva", words), ("gradient", words), ("adalora", ["study=text_csv_per_layer_donor"])):
        given = [word for word in more if not word.startswith("sweep.")]
        layers = ["lora.targets=[all-linear]", "model.dropout=0.0"] if more is words else []
        output = tmp_path / f"{method}.json"
        code, _, error = run_here(
            "run=allocate", *given, *layers, f"method={method}", f"parameters={BUDGET}", f"output={output}"
        )
        assert code == 0, error
        found = {name.replace("\\", ""): rank for name, rank in json.loads(output.read_text()) if rank}
        assert found == ranks[method]

    shutil.rmtree(tmp_path / "results/text_csv_per_layer_donor")
    (tmp_path / "results/text_csv_per_layer_donor").mkdir()
    shutil.copy(tmp_path / "results/text_csv_per_layer/records.jsonl", tmp_path / "results/text_csv_per_layer_donor")
    code, _, error = run_here(*main)
    assert code == 0, error
    assert record.read(tmp_path / "results/text_csv_per_layer") == entries, "taken up as it was begun"


WRONG = [
    (["sweep.allocate={eva: null}"], "sweep.allocate: of a budget; give one, as in sweep.budget.parameters=165888"),
    (["sweep.allocate={eva: a}", "sweep.budget={parameters: 9}"], "sweep.allocate.eva=a: reads no study; null"),
    (
        ["sweep.allocate={spectrum: null}", "sweep.budget={parameters: 9}"],
        "sweep.allocate.spectrum=null: the study w",
    ),
    (
        ["sweep.allocate={truncate: a}", "sweep.budget={parameters: 9}"],
        "sweep.allocate.truncate=a: a trial that i",
    ),
    (["sweep.allocate={evo: a}", "sweep.budget={parameters: 9}"], "sweep.allocate.evo"),
    (["sweep.allocate={spectrum: a}", "sweep.budget={parameters: 9}"], "sweep.allocate.spectrum=a: no such study in "),
    (
        ["sweep.allocate={eva: null}", "sweep.budget={parameters: 9}", "+sweep.nuisance.lora.rank={low: 1, high: 8}"],
        "sweep.allocate: sets ranks by layer, and lora.rank is searched too; one of them",
    ),
]


@pytest.mark.parametrize(("words", "line"), WRONG, ids=[line for _, line in WRONG])
def test_each_mistake_is_a_line(tree, words, line):
    with pytest.raises(ConfigError) as caught:
        check_search(check(tree("run=study", "sweep=variants", *words)))
    assert str(caught.value).splitlines()[0].startswith(line)


def test_a_study_that_was_begun_needs_its_donor_no_more(tree, tmp_path):
    results = tmp_path / "results"
    words = ["sweep.allocate={spectrum: a}", "sweep.budget={parameters: 9}", f"results={results}", "study=s"]
    config = check(tree("run=study", "sweep=variants", *words))
    with pytest.raises(ConfigError, match="no such study"):
        check_search(config)
    (results / "s").mkdir(parents=True)
    (results / "s/attempts.jsonl").write_text("{}\n")
    check_search(config)


def test_the_experiments_compose_with_their_own_sweeps(compose_plain):
    for name, trials in (("sst2_per_layer", 16), ("sst2_per_layer_donor", 6)):
        assert (CONF / f"experiment/{name}.yaml").exists()
        config = compose_plain(f"+experiment={name}")
        assert config.sweep.trials == trials
        assert SearchPlan.of(config).budget is None, "until the layers are known"
