"""Several objectives: figures of records, the front, its volume, the recommendation, constraints, dominance."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import Range
from harness.config.arms import Arm
from harness.record import figure
from harness.record.figures import figure_names
from harness.record.front import dominates, feasible, front, hypervolume, recommended
from harness.search.confirmation import Wanted, finalists
from harness.search.plan import Earlier, SearchPlan
from harness.search.proposals import propose
from harness.search.pruning import rule
from tests.test_record import make, memory

BOTH = {"val": 1.0, "trained_parameters": -1.0}


def entry(number, accuracy, adapter, **changes):
    scores = {"val": {"accuracy": accuracy, "loss": 1 - accuracy}, "test": {"accuracy": 0.1}}
    counts = {"adapter": adapter, "head": 2, "frozen": 1_000, "total": 1_002 + adapter}
    return make(number, **({"scores": scores, "parameters": counts, "arm": f"a{number}"} | changes))


def test_figures_are_fields_scores_on_validation_and_what_is_forgotten_there():
    found = entry(0, 0.7, 10)
    assert (figure(found, "val"), figure(found, "val.loss")) == (0.7, pytest.approx(0.3))
    assert figure(found, "trained_parameters") == figure(found, "parameters.trainable") == 12
    assert figure(found, "val.bleu") is None
    assert figure(found, "latency") is None
    assert not [name for name in figure_names() if "test" in name or name.startswith("continual")]
    scores = [[0.9, 0.0, 0.0], [0.7, 0.8, 0.0], [0.8, 0.6, 0.7]]
    assert figure(make(1, continual={"val": scores}), "forgetting") == pytest.approx((0.1 + 0.2) / 2)


POINTS = st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=7)


@settings(max_examples=60, deadline=None)
@given(POINTS)
def test_the_hypervolume_is_the_number_of_unit_cubes_that_a_point_covers(points):
    covered = {
        cube
        for cube in itertools.product(range(6), repeat=3)
        if any(all(c < p for c, p in zip(cube, point, strict=True)) for point in points)
    }
    assert hypervolume(points, (0, 0, 0)) == len(covered)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=9))
def test_the_front_is_what_no_other_beats(pairs):
    records = [entry(number, score / 10, cost) for number, (score, cost) in enumerate(pairs)]
    kept = [(figure(each, "val") * 10, figure(each, "adapter_parameters")) for each in front(records, BOTH)]
    truth = {p for p in pairs if not any(q != p and q[0] >= p[0] and q[1] <= p[1] for q in pairs)}
    assert {(round(score), cost) for score, cost in kept} == truth
    assert len(kept) == sum(pair in truth for pair in pairs), "all of those that are equal"
    assert not dominates((1, 1), (1, 1))


RECORDS = [entry(0, 0.80, 900), entry(1, 0.795, 100), entry(2, 0.70, 20), entry(3, 0.79, 500), entry(4, 0.6, 10)]


def test_the_cheapest_within_the_margin_of_the_best_is_recommended():
    assert [each.trial for each in front(RECORDS, BOTH)] == [0, 1, 2, 4]
    assert recommended(RECORDS, BOTH, 0.01).trial == 1
    assert recommended(RECORDS, BOTH, 0.001).trial == 0
    assert recommended(RECORDS, BOTH, 0.5).trial == 4
    assert recommended([], BOTH, 0.1) is None


def test_a_loss_is_a_score_and_a_figure_of_which_more_is_better_a_cost():
    lower = {"val.loss": -1.0, "trained_parameters": -1.0}
    assert recommended(RECORDS, lower, 0.01).trial == 1
    assert recommended(RECORDS, lower, 0.5).trial == 4
    assert recommended(RECORDS, {"val.loss": -1.0, "trained_parameters": 1.0}, 0.5).trial == 0
    assert recommended(RECORDS, {"trained_parameters": 1.0, "val": 1.0}, 0.0).trial == 0, "whichever is named first"


def test_the_recommended_trial_stands_for_its_arm_though_another_of_it_scored_more():
    records = [entry(0, 0.900, 100, arm="r"), entry(1, 0.895, 50, arm="r"), entry(2, 0.8, 10, arm="s")]
    found = finalists([Arm("r", {}, {}), Arm("s", {}, {})], records, 2, Wanted(BOTH, {}, 0.01))
    assert {each.arm.name: each.trial.trial for each in found} == {"r": 1, "s": 2}


def test_a_figure_that_is_not_there_keeps_no_constraint():
    assert not feasible(entry(0, 0.9, 10), {"latency": 1.0})


def test_finalists_are_of_the_front_and_feasible_and_the_recommended_is_one():
    arms = [Arm(each.arm, {}, {}) for each in RECORDS]

    def chosen(top, constraints=None, margin=0.25):
        found = finalists(arms, RECORDS, top, Wanted(BOTH, constraints or {}, margin))
        return [each.trial.trial for each in found]

    assert chosen(2) == [0, 4], "the best, and the cheapest within the margin"
    assert chosen(9) == [0, 1, 2, 4]
    assert chosen(2, {"trained_parameters": 150.0}, 0.0) == [1, 2]
    assert feasible(RECORDS[0], {"trained_parameters": 902.0})
    assert not feasible(RECORDS[0], {"trained_parameters": 901.0})
    only_bound = finalists(arms, RECORDS, 1, Wanted({}, {"trained_parameters": 600.0}, 0.0))
    assert [each.trial.trial for each in only_bound] == [1]


def plan(**changes):
    return SearchPlan(**({"seed": 0, "startup": 1, "objective": "accuracy", "objectives": BOTH} | changes))


def test_dominance_stops_what_a_finished_trial_beats_on_cost_and_score():
    reports = [[10, 0.5], [20, 0.7]]
    other = Earlier({}, entry(0, 0.7, 100, reports=reports))
    running = Earlier({}, None)
    dominance = plan(pruner={"name": "dominance", "margin": 0.1})

    def stops(score, trained, step=20, earlier=(other, running), **changes):
        own = {"parameters.trainable": float(trained), "parameters.adapter": 0.0}
        judged = rule(SearchPlan(**(vars(dominance) | changes)), earlier, lambda: own)
        return judged({step: score}, step)

    assert stops(0.5, 102)
    assert not stops(0.65, 102), "within the margin"
    assert not stops(0.5, 101), "cheaper"
    assert not stops(0.45, 102, step=10)
    assert stops(0.35, 102, step=10), "held against the other's score at that step"
    assert not stops(0.5, 102, step=15), "the other was not judged there"
    assert not stops(0.5, 102, earlier=(Earlier({}, entry(0, 0.7, 100, reports=reports, state="pruned")),))
    assert not stops(0.5, 102, prune_after=2)
    assert not stops(0.5, 102, constraints={"trained_parameters": 50.0}), "the other breaks what this one may keep"


def test_dominance_judges_by_what_a_trial_is_known_to_cost_by_then():
    """Of memory what was needed so far, which may grow; of what is not known nothing is judged."""
    objectives = {"val": 1.0, "memory": -1.0, "flops": -1.0}
    needs = {"memory": memory(process=100, train_peak=1000, eval_peak=900), "flops": {"step": 50}}
    ended = Earlier({}, entry(0, 0.7, 100, reports=[[10, 0.7], [20, 0.7]], **needs))
    own = {"memory.needed": 800.0, "flops.step": 50.0}
    judged = rule(plan(pruner={"name": "dominance"}, objectives=objectives), [ended], lambda: own)
    assert not judged({10: 0.1}, 10), "cheaper so far"
    own |= {"memory.needed": 900.0}
    assert judged({10: 0.1, 20: 0.2}, 20)
    del own["flops.step"]
    assert not judged({10: 0.1, 20: 0.2}, 20)


@pytest.mark.parametrize("name", ["tpe", "nsgaii", "gp"])
def test_proposals_lean_to_the_front_and_keep_within_constraints(name):
    """Score grows with rank and cost too; nothing above rank 16 may be used, and lr has a best value."""
    space = {
        "lora.rank": Range(low=1, high=64, integer=True, log=True),
        "optimizer.lr": Range(low=1e-4, high=1e-2, log=True),
    }
    arm, arguments = Arm("a", {}, space), {"population_size": 6} if name == "nsgaii" else {}
    searched = plan(startup=6, sampler={"name": name} | arguments, constraints={"trained_parameters": 1_602.0}, seed=3)
    ended = []
    for index in range(22 if name == "gp" else 40):
        point = propose(arm, index, searched, [Earlier(each.point, each) for each in ended])
        score = round(0.5 + 0.005 * point["lora.rank"] - abs(point["optimizer.lr"] - 1e-3) * 20, 6)
        ended.append(entry(index, score, 100 * point["lora.rank"], point=point))
    late = [each.point for each in ended[len(ended) // 2 :]]
    assert sum(point["lora.rank"] <= 16 for point in late) >= 0.7 * len(late)
    assert sum(2e-4 < point["optimizer.lr"] < 3e-3 for point in late) >= 0.6 * len(late)
    assert len({point["lora.rank"] for point in late}) > 2, "the front has several ranks"


def test_what_lacks_an_objective_teaches_nothing():
    space = {"x": Range(low=0.0, high=1.0)}
    arm, lacking = Arm("a", {}, space), make(0, point={"x": 0.5}, scores={"val": {"loss": 0.1}})
    known = propose(arm, 1, plan(), [Earlier({"x": 0.5}, entry(0, 0.5, 3, point={"x": 0.5}))])
    assert propose(arm, 1, plan(), [Earlier({"x": 0.5}, lacking)]) != known
