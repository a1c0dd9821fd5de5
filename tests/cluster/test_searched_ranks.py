"""Ranks that are searched by their own keys under a budget: prices, projection, refusals, and a study."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import record
from harness.config import ConfigError, fingerprint
from harness.config.rank_budget import SearchedBudget
from harness.config.searched_ranks import PriceConfig
from harness.search.plan import budget_of
from harness.trial.searched_ranks import with_prices
from tests.cluster import crowd, stub
from tests.tiny import DEVICE, words_of

SIZES = {"query": (16, 16), "output": (16, 16), "ffn_up": (32, 16), "ffn_down": (16, 32)}
"""Outputs and inputs of the tiny base's layers, which has two of each."""
FORKING = ("output", "ffn_up", "ffn_down")
WIDE = ["query", "output", "ffn_up", "ffn_down"]
TASKS = ("good", "size", "again")
SOURCES = ("movie", "amazon", "nyt", "tweets")  # of conf/task/mixture.yaml
SEARCH = ["sweep=rank_alpha_lr", "sweep.mode=joint", "+sweep.scientific.lora.rank=null", "~sweep.baselines.full"]
SEARCH += ["~sweep.baselines.head"]
RANK = "+sweep.scientific.lora.rank={low: 1, high: 8, log: true, integer: true}"
SPACE = [
    RANK,
    *(f"+sweep.scientific.lora.task_ranks.{task}={{low: 0, high: 6, integer: true}}" for task in TASKS[:2]),
    "+sweep.scientific.lora.task_ranks.again=[1,2,4]",
    "+sweep.scientific.lora.blocks=[1,2]",
    f"+sweep.scientific.lora.targets=[[output],[{','.join(WIDE)}]]",
]
FORK = ["lora=task_fork", "lora.task_ranks={good: 1, size: 1, again: 1}"]


@pytest.fixture
def config_of(compose_mixture):
    return lambda *words: compose_mixture("run=study", "study=s", *SEARCH, *words)


def forked(point):
    """The parameters of A and B: a shared pair on each target of both blocks, and one for each task where they fork."""
    pair = {target: sum(SIZES[target]) for target in point["lora.targets"]}
    tasks = sum(point[f"lora.task_ranks.{task}"] for task in TASKS)
    fork = sum(size for target, size in pair.items() if target in FORKING)
    return 2 * point["lora.rank"] * sum(pair.values()) + point["lora.blocks"] * tasks * fork


def mixed(rank, ups, targets, matrix):
    """MTL-LoRA: A, B times `ups`, a matrix or a diagonal for each task, and its shares of the B; two layers of each."""
    each = sum(rank * (inputs + ups * outputs) for outputs, inputs in (SIZES[target] for target in targets))
    own = 3 * (rank**2 if matrix == "full" else rank) + 3 * ups
    return 2 * (each + len(targets) * own)


def all_points(space):
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]


def test_prices_of_a_fork_are_its_shapes_at_every_depth_and_target(config_of):
    config = with_prices(config_of(*FORK, *SPACE, "sweep.budget={parameters: 900}"))
    budget = budget_of(config.sweep)
    ranks = {"lora.rank": (1, 5, 8), **{f"lora.task_ranks.{task}": (0, 4) for task in TASKS[:2]}}
    places = {"lora.blocks": (1, 2), "lora.targets": (["output"], WIDE)}
    for point in all_points({**ranks, "lora.task_ranks.again": (1, 4), **places}):
        assert budget.used(point) == forked(point)


@pytest.mark.parametrize("matrix", ["full", "diagonal"])
def test_a_matrix_of_each_task_costs_the_square_of_the_rank(config_of, matrix):
    words = [RANK, "+sweep.scientific.lora.ups=[1,3]", "+sweep.scientific.lora.targets=[[output],[query,ffn_up]]"]
    words += ["lora=mtl_lora", f"lora.task_matrix={matrix}", "sweep.budget={parameters: 1000}"]
    budget = budget_of(with_prices(config_of(*words)).sweep)
    space = {"lora.rank": range(1, 9), "lora.ups": (1, 3), "lora.targets": (["output"], ["query", "ffn_up"])}
    for point in all_points(space):
        assert budget.used(point) == mixed(point["lora.rank"], point["lora.ups"], point["lora.targets"], matrix)


def test_of_published_mtlora_task_updates_stand_in_the_last_block_alone(config_of):
    words = [RANK, "+sweep.scientific.lora.task_rank={low: 1, high: 4, integer: true}", "lora=mtlora"]
    budget = budget_of(with_prices(config_of(*words, "lora.targets=[output]", "sweep.budget={parameters: 400}")).sweep)
    for point in all_points({"lora.rank": (1, 4, 8), "lora.task_rank": (1, 2, 4)}):
        assert budget.used(point) == 2 * 32 * point["lora.rank"] + 3 * 32 * point["lora.task_rank"]


def test_every_proposed_trial_keeps_the_budget_and_cheap_ones_stay(config_of, tmp_path, monkeypatch):
    stub.cheap(monkeypatch.setattr, 0.0)
    most = 700
    words = [*SPACE, f"sweep.budget={{parameters: {most}}}", "sweep.trials=24", "sweep.startup=8"]
    words += ["sweep.sampler={name: nsgaii, population_size: 4}"]
    config = with_prices(config_of(*FORK, *words))
    found = [forked(entry.point) for entry in crowd.undisturbed(config, tmp_path)]
    assert max(found) <= most
    assert len(set(found)) > 6
    assert min(found) < most / 2, "fewer parameters can be an objective"
    crowd.same_for_any_number(config, tmp_path / "more", 2, 24)


COSTS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=4)


@settings(deadline=None)
@given(COSTS, st.data())
def test_a_projected_point_keeps_the_budget_grows_no_rank_and_could_have_none_higher(costs, data):
    keys = [f"k{index}" for index in range(len(costs))]
    values = {key: sorted(data.draw(st.sets(st.integers(0, 9), min_size=1, max_size=5))) for key in keys}
    each, square = ({key: pair[place] for key, pair in zip(keys, costs, strict=True)} for place in (0, 1))

    def cost(point):
        return 7 + sum(each[key] * point[key] + square[key] * point[key] ** 2 for key in keys)

    least = cost({key: found[0] for key, found in values.items()})
    most = data.draw(st.integers(least, least + 200))
    price = PriceConfig(where={"where": ["a"]}, each=each, square=square, fixed=7)
    budget = SearchedBudget(values, [price], most)
    point = {key: data.draw(st.sampled_from(found)) for key, found in values.items()} | {"where": ["a"], "lr": 0.1}
    found = budget.project(point)
    assert cost(found) == budget.used(found) <= most
    assert list(found) == list(point)
    assert (found["where"], found["lr"]) == (["a"], 0.1)
    if cost(point) <= most:
        assert found == point
    for key in keys:
        assert found[key] in values[key]
        higher = [value for value in values[key] if found[key] < value <= point[key]]
        assert all(cost(found | {key: value}) > most for value in higher)


def test_ranks_are_scaled_in_their_proportion():
    price = PriceConfig(where={}, each={"a": 10, "b": 1}, square={"a": 0, "b": 0}, fixed=0)
    budget = SearchedBudget({"a": range(17), "b": range(17)}, [price], 88)
    assert budget.project({"a": 16, "b": 16}) == {"a": 8, "b": 8}
    assert budget.project({"a": 16, "b": 0}) == {"a": 8, "b": 0}


WRONG = [
    ([RANK, "sweep.budget={parameters: 159}"], "parameters=159: the lowest ranks come to up to 160 parameters, "),
    (
        [RANK, "sweep.budget={parameters: 399}", "+sweep.scientific.lora.targets=[[output],[output,ffn_up]]"],
        '400 parameters (lora.targets=["output", "ffn_up"]), the highest to 1520; at least 400 and below 1520',
    ),
    ([RANK, "sweep.budget={memory: 9}"], "sweep.budget.memory: of sweep.ranks; searched ranks share a budget of para"),
    (
        ["+sweep.scientific.lora.rank=[1,2]", "sweep.mode=compared", "sweep.budget={parameters: 500}"],
        "sweep.mode=joint",
    ),
    (
        ["+sweep.scientific.lora.rank={low: 1, high: 8}", "sweep.budget={parameters: 500}"],
        "lora.rank: a range [1, 8]; a",
    ),
    (
        [RANK, "+sweep.nuisance.lora.dropout={choices: [0.0, 0.1]}", "sweep.budget={parameters: 500}"]
        + ["+sweep.scientific.lora.task_rank={low: 1, high: 2, integer: true, when: {lora.dropout: 0.1}}"],
        "sweep.budget: lora.task_rank exists by lora.dropout, which its price cannot depend on",
    ),
    (
        [RANK, "sweep.budget={parameters: 500}"]
        + ["+sweep.baselines.own={set: {}, nuisance: {lora.rank: {low: 1, high: 2, integer: true}}}"],
        "sweep.baselines.own.nuisance.lora.rank: keeps no sweep.budget",
    ),
    (["+sweep.scientific.lora.task_ranks.gud=[1,2]", RANK], "lora.task_ranks.gud: no such key; did you mean lora.task"),
]


@pytest.mark.parametrize(("words", "line"), WRONG, ids=lambda value: value[:40] if isinstance(value, str) else "")
def test_mistakes(config_of, words, line):
    with pytest.raises(ConfigError) as caught:
        with_prices(config_of(*FORK, "lora.targets=[output]", *words))
    assert line in str(caught.value)


def test_ranks_by_task_are_those_of_pairs_and_have_their_fingerprint(compose_mixture):
    named, pairs = "{size: 3, good: 2}", "[[good,2],[size,3]]"
    for lora in ("task_fork", "mtlora"):
        prints = {
            fingerprint(compose_mixture(f"lora={lora}", f"lora.task_ranks={ranks}"), stub.IDENTITY)
            for ranks in (named, pairs)
        }
        assert len(prints) == 1


def test_a_study_over_ranks_depth_and_targets_is_trained_within_its_budget(
    run_here, tiny_base, tiny_data, tiny_numbers, tmp_path, own_cache
):
    """Objectives are what tasks gain together against alone, and the parameters, which the records count themselves."""
    most = 600
    words = [*words_of(tiny_base, tiny_data)[2:-1], "task=mixture", *DEVICE]
    words += [f"~task.tasks.{source}{kind}" for source in SOURCES for kind in ("", "_rating")]
    for task, data in zip(TASKS, (tiny_data, tiny_numbers, tiny_data), strict=True):
        words += [f"+task@task.tasks.{task}=text_csv", f"task.tasks.{task}.data={data}"]
        words += [f"task.tasks.{task}.{key}" for key in ("max_length=40", "cut=drawn", "train_rows=null")]
    words += ["task.tasks.size.answer=number", "task.alone={good: 0.6, size: 0.3, again: 0.6}"]
    words += ["trainer.objective=delta_m", "trainer.max_steps=4", "trainer.batch_size=8", "trainer.evaluations=1"]
    words += [*SEARCH, *FORK, *SPACE, f"sweep.budget={{parameters: {most}}}", "sweep.sampler={name: tpe}"]
    words += ["sweep.objectives={val: maximize, adapter_parameters: minimize}", "sweep.prune_after=null"]
    words += ["sweep.trials=6", "sweep.startup=3", "sweep.confirm=null", "sweep.test=true", "tracking=off"]
    for _ in range(2):  # and taken up again
        code, _, error = run_here(*words, "run=study", "study=s")
        assert code == 0, error
    entries = record.read(tmp_path / "results/s")
    assert len(entries) == 6
    for entry in entries:
        assert (entry.state, entry.reason) == ("complete", "")
        assert entry.parameters.adapter == forked(entry.point) <= most
        assert entry.adapter.ranks
        assert entry.score("val", "delta_m") == entry.scores["val"]["delta_m"]
    assert len({str(entry.point["lora.targets"]) for entry in entries}) == 2
    assert (tmp_path / "results/s/table.md").read_text()
