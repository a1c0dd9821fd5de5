"""A sweep that misuses samplers and pruners gets a line for each mistake, before torch is imported."""

import dataclasses
import subprocess
import sys

import pytest

from harness.config import ConfigError, check, to_dict, to_yaml
from harness.config.composition import options
from harness.search.checks import check_search
from harness.system.study_files import CONFIG, RECORDS

SWEEP = {
    "scientific": {"lora.rank": [1, 2]},
    "nuisance": {"optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "lora.scale": {"low": 0.5, "high": 4.0}},
    "baselines": {},
    "trials": 60,
    "startup": 3,
}
CHOICE = {"lora.conv_form": {"choices": ["branch", "delta"]}}
WHEN = CHOICE | {"lora.dropout": {"low": 0.0, "high": 0.2, "step": 0.1, "when": {"lora.conv_form": "branch"}}}
OWN_KEY = {
    "lora.variant": {"choices": ["lora", "lora_plus"]},
    "lora.lr_ratio": {"low": 1.5, "high": 16.0, "when": {"lora.variant": "lora_plus"}},
}

ONE = {"optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
FULL = {"full": {"set": {"lora": {"name": "full"}}, "nuisance": ONE}}

COSTS = {"val": "maximize", "trained_parameters": "minimize"}

WRONG = [
    ({"sampler": "tpf"}, "sweep.sampler=tpf: no such sampler; did you mean tpe?; valid: tpe, gp, cmaes, nsgaii"),
    ({"sampler": {"seed": 1}}, "sweep.sampler.name: missing; valid: tpe, gp"),
    ({"sampler": 4}, "sweep.sampler=4: input should be a valid dictionary"),
    (
        {"sampler": {"name": "tpe", "multivariat": True}},
        "sweep.sampler.multivariat=true: TPESampler takes no such argument; did you mean multivariate?",
    ),
    ({"sampler": {"name": "tpe", "seed": 3}}, "sweep.sampler.seed=3: not to be set; the study's seed decides it"),
    (
        {"sampler": {"name": "gp", "n_startup_trials": 3}},
        "sweep.sampler.n_startup_trials=3: not to be set; sweep.startup says it",
    ),
    ({"sampler": {"name": "tpe", "group": "yes"}}, "sweep.sampler.group=yes: TPESampler takes bool here"),
    ({"sampler": {"name": "tpe", "gamma": 3}}, "sweep.sampler.gamma=3: takes an object of Python's; write a class"),
    ({"sampler": {"name": "random", "x": 1}}, "sweep.sampler.x=1: RandomSampler takes no such argument; it takes none"),
    ({"sampler": {"name": "tpe", "group": True, "multivariate": False}}, "sweep.sampler: TPESampler: ``group`` option"),
    ({"sampler": {"name": "nsgaii", "population_size": 1}}, "sweep.sampler: NSGAIISampler: `population_size`"),
    (
        {"sampler": "nsgaii", "trials": 12},
        "sweep.sampler=nsgaii: the first 50 trials of an arm (population_size) are",
    ),
    ({"sampler": "gp", "trials": 3}, "sweep.startup=3: not below sweep.trials=3, so that sweep.sampler=gp would prop"),
    ({"sampler": "cmaes", "nuisance": CHOICE}, "sweep.sampler=cmaes: takes numbers alone, and lora.conv_form is a ch"),
    ({"sampler": {"name": "tpe", "n_ei_candidates": -5}}, "sweep.sampler=tpe: proposes nothing: "),
    (
        {"sampler": {"name": "tests.search.samplers:Broken"}},
        "sweep.sampler=tests.search.samplers:Broken: proposes noth",
    ),
    ({"sampler": "tests.search.samplers:Seedless"}, "sweep.sampler=tests.search.samplers:Seedless: its class has no a"),
    ({"constraints": {"trained_parameters": 0}}, "sweep.constraints.trained_parameters=0: always above 0, so that no"),
    ({"constraints": {"memory": -1.0}}, "sweep.constraints.memory=-1: always above 0, so that no trial keeps it"),
    ({"sampler": "cmaes", "nuisance": ONE}, "sweep.sampler=cmaes: needs two dimensions, and arm rank=1 has 1; tpe and"),
    (
        {"sampler": "cmaes", "scientific": {}, "nuisance": {}, "baselines": FULL},
        "sweep.sampler=cmaes: takes the dimensions of no arm, whose trials would all be drawn evenly; tpe takes them",
    ),
    ({"sampler": "gp", "nuisance": WHEN}, "sweep.sampler=gp: takes no conditional dimension, and lora.dropout is o"),
    ({"sampler": "qmc", "nuisance": WHEN}, "sweep.sampler=qmc: takes no conditional dimension, and lora.dropout is"),
    ({"sampler": "grid", "nuisance": WHEN, "trials": 2}, "sweep.sampler=grid: takes no conditional dimension, and lo"),
    ({"sampler": "grid"}, "sweep.sampler=grid: optimizer.lr is a range [0.0001, 0.01] without end; give it a step, i"),
    ({"sampler": "brute_force"}, "sweep.sampler=brute_force: optimizer.lr is a range [0.0001, 0.01] without end; giv"),
    ({"sampler": "brute_force", "nuisance": WHEN}, "sweep.trials=60: sweep.sampler=brute_force has 4 points in arm r"),
    ({"sampler": "nowhere_at:All"}, "sweep.sampler=nowhere_at:All: importing nowhere_at failed, ModuleNotFoundError"),
    ({"sampler": "optuna.pruners:NopPruner"}, "sweep.sampler=optuna.pruners:NopPruner: no subclass of optuna.sampler"),
    ({"pruner": "medium"}, "sweep.pruner=medium: no such pruner; did you mean median?; valid: median, percentile"),
    ({"pruner": "percentile"}, "sweep.pruner: PercentilePruner: missing 1 required positional argument"),
    ({"pruner": "threshold"}, "sweep.pruner: ThresholdPruner: Either lower or upper must be specified."),
    (
        {"pruner": {"name": "hyperband", "factor": 3}},
        "sweep.pruner.factor=3: HyperbandPruner takes no such argument; d",
    ),
    ({"pruner": {"name": "dominance", "x": 3}}, "sweep.pruner.x: dominance takes no such argument; valid: margin"),
    (
        {"pruner": {"name": "dominance", "margin": -1}},
        "sweep.pruner.margin=-1: a number of at least 0, in units of the",
    ),
    (
        {"pruner": {"name": "synchronous_halving", "reduction_factor": 1}},
        "sweep.pruner.reduction_factor=1: an integer of at least 2",
    ),
    (
        {"pruner": {"name": "synchronous_halving", "bracket": 4.0}},
        "sweep.pruner.bracket=4.0: an integer of at least 2",
    ),
    (
        {"pruner": {"name": "asynchronous_halving", "bracket": 4}},
        "sweep.pruner.bracket: asynchronous_halving takes no such argument; valid: reduction_factor, min_resource",
    ),
    (
        {"pruner": "synchronous_halving", "lag": 2},
        "sweep.lag=2: sweep.pruner=synchronous_halving decides which trials run side by side; sweep.lag=null",
    ),
    (
        {"pruner": "synchronous_halving", "startup": 1},
        "sweep.pruner=synchronous_halving: brackets of sweep.startup=1; sweep.pruner.bracket says another number",
    ),
    (
        {"pruner": "asynchronous_halving", "sampler": {"name": "nsgaii", "population_size": 4}},
        "sweep.pruner=asynchronous_halving: sweep.sampler=nsgaii makes its proposals again from the records, which",
    ),
    (
        {"pruner": "synchronous_halving", "objectives": COSTS},
        "sweep.pruner=synchronous_halving: judges by one value, and sweep.objectives has others; dominance, none",
    ),
    *(
        (
            {"pruner": pruner, "nuisance": {key: {"choices": choices}}},
            f"sweep.pruner={pruner}: {key} is searched, and trials of a rung would be scored at different steps; give",
        )
        for pruner, key, choices in [
            ("synchronous_halving", "trainer.max_steps", [10, 20]),
            ("asynchronous_halving", "trainer.epochs", [1.0, 2.0]),
            ("synchronous_halving", "trainer.batch_size", [8, 16]),
            ("synchronous_halving", "trainer.accumulate", [1, 2]),
            ("asynchronous_halving", "trainer.evaluations", [2, 4]),
        ]
    ),
    (
        {"pruner": "synchronous_halving", "nuisance": {"lora.variant": {"choices": ["lora", "adalora"]}}},
        "sweep.pruner=synchronous_halving: lora.variant is searched with adalora, which is scored from a later step",
    ),
    (
        {"pruner": {"name": "synchronous_halving", "bracket": 60}},
        "sweep.pruner.bracket=60: not below sweep.trials=60, so that sweep.sampler=tpe would propose nothing; a",
    ),
    (
        {"pruner": {"name": "synchronous_halving", "bracket": 8}},
        "sweep.trials=60: the last bracket would have 4 trials of 8; 56 or 64",
    ),
    (
        {"pruner": "synchronous_halving", "mode": "joint", "baseline_trials": 2},
        "sweep.baseline_trials=2: the last bracket would have 2 trials of 3; 3",
    ),
    ({"pruner": "dominance"}, "sweep.pruner=dominance: needs sweep.objectives of a score and a cost"),
    (
        {"enqueue": [{"optimizer.rl": 1e-3}]},
        "sweep.enqueue.0.optimizer.rl=0.001: no dimension; did you mean optimizer",
    ),
    ({"enqueue": [{"optimizer.lr": 1.0}]}, "sweep.enqueue.0.optimizer.lr=1.0: not in its range [0.0001, 0.01]"),
    (
        {"enqueue": [{"lora.lr_ratio": 4, "lora.variant": "lora"}], "nuisance": OWN_KEY},
        "sweep.enqueue.0.lora.lr_ratio=4: exists only with lora.variant=lora_plus, which this point must have, too",
    ),
    (
        {"enqueue": [{"lora.lr_ratio": 4}], "nuisance": OWN_KEY},
        "sweep.enqueue.0.lora.lr_ratio=4: exists only with lora.variant=lora_plus, which this point must have, too",
    ),
    ({"enqueue": [{"lora.ranks.query": 8}]}, "sweep.enqueue.0.lora.ranks.query=8: no dimension"),
    ({"enqueue": [{}] * 61}, "sweep.enqueue: 61 points, above sweep.trials=60"),
    ({"enqueue": [{}], "sampler": "qmc"}, "sweep.enqueue: sweep.sampler=qmc has points of its own from the first"),
    ({"objectives": {"val": "minimize"}}, "sweep.objectives.val=minimize: of trainer.objective=accuracy more is bett"),
    ({"objectives": {"val.loss": "maximize"}}, "sweep.objectives.val.loss=maximize: less is better"),
    ({"objectives": {"val.accuracy": "minimize"}}, "sweep.objectives.val.accuracy=minimize: more is better"),
    (
        {"objectives": COSTS | {"forgetting": "minimize"}},
        "sweep.objectives.forgetting: no trial has it: task=text_csv is not learned one after another",
    ),
    ({"constraints": {"forgetting": 0.1}}, "sweep.constraints.forgetting: no trial has it: task=text_csv is not learn"),
    ({"objectives": COSTS | {"probe.change": "minimize"}}, "sweep.objectives.probe.change: no trial has it: probe=nul"),
    ({"objectives": {"val": "up"}}, "sweep.objectives.val=\"up\": input should be 'maximize' or 'minimize'"),
    ({"objectives": {"memry": "minimize"}}, "sweep.objectives.memry: no figure of a record; did you mean memory?"),
    (
        {"objectives": {"val.accuarcy": "maximize"}},
        "sweep.objectives.val.accuarcy: task=text_csv has no such score; did you mean",
    ),
    ({"objectives": {"test": "maximize"}}, "sweep.objectives.test: no figure of a record (no choice reads test)"),
    ({"constraints": {"parameters": 10.0}}, "sweep.constraints.parameters: no figure of a record; did you mean"),
    ({"constraints": {"memory": "much"}}, 'sweep.constraints.memory="much": input should be a valid number'),
    ({"objectives": COSTS, "prune_after": 2}, "sweep.prune_after=2: judges by the score alone, and a trial below th"),
    ({"objectives": COSTS, "pruner": "median"}, "sweep.pruner=median: judges by one value, and sweep.objectives has"),
    (
        {"objectives": COSTS | {"step_time": "minimize"}, "pruner": "dominance"},
        "sweep.pruner=dominance: step_time is known only when a trial has ended; costs known before that are trained_p",
    ),
    (
        {"constraints": {"memory": 1e9}, "sampler": "cmaes"},
        "sweep.sampler=cmaes: proposes as if there were no sweep.con",
    ),
    ({"objectives": COSTS, "sampler": "cmaes"}, "sweep.sampler=cmaes: takes one objective; tpe, gp, nsgaii and"),
    ({"pruner": {"name": "none", "x": 3}}, "sweep.pruner.x: none takes no such argument"),
    (
        {"pruner": {"name": "patient", "patience": 1, "wrapped_pruner": "medium"}},
        "sweep.pruner.wrapped_pruner=medium: no such wrapped_pruner; did you mean median?",
    ),
    (
        {"pruner": {"name": "patient", "patience": 1, "wrapped_pruner": {"name": "median", "n": 1}}},
        "sweep.pruner.wrapped_pruner.n=1: MedianPruner takes no such argument",
    ),
    ({"pruner": {"name": "successive_halving", "reduction_factor": 1}}, "sweep.pruner: SuccessiveHalvingPruner: The v"),
]


@pytest.fixture
def config_of(tree):
    def config_of(**changes):
        found = tree("sweep=rank_alpha_lr", "run=study", "trainer.evaluations=6")
        return check(found | {"sweep": SWEEP | {"prune_after": None} | changes})

    return config_of


@pytest.mark.parametrize(("changes", "line"), WRONG, ids=[line for _, line in WRONG])
def test_each_mistake_is_a_line(config_of, changes, line, monkeypatch):
    monkeypatch.setattr("harness.search.checks.find_spec", lambda name: True)
    with pytest.raises(ConfigError) as caught:
        check_search(config_of(**changes))
    assert str(caught.value).startswith(line)
    assert len(str(caught.value).splitlines()) <= 3, "of two arms, and one more of the same"


@pytest.mark.parametrize("name", ["synchronous_halving", "asynchronous_halving"])
def test_a_first_rung_after_the_last_step_is_refused(tree, name):
    def checked(first):
        found = tree("sweep=rank_alpha_lr", "run=study", "trainer.max_steps=20")
        pruner = {"name": name, "min_resource": first}
        check_search(check(found | {"sweep": SWEEP | {"prune_after": None, "pruner": pruner}}))

    checked(19)
    with pytest.raises(
        ConfigError, match=r"^sweep\.pruner\.min_resource=20: not below trainer\.max_steps=20: no trial"
    ):
        checked(20)


IDLE = [
    ({"pruner": "median"}, ["trainer.evaluations=1"]),
    ({"objectives": COSTS, "pruner": "dominance"}, ["trainer.evaluations=1"]),
    ({"pruner": {"name": "threshold", "lower": 0.5}}, ["trainer.evaluations=1"]),
    ({"pruner": {"name": "percentile", "percentile": 25}, "trials": 4}, []),
    ({"pruner": {"name": "median", "n_startup_trials": 60}}, []),
    ({"pruner": {"name": "median", "n_warmup_steps": 150}}, ["trainer.max_steps=150"]),
    *(({"pruner": "wilcoxon"}, [f"trainer.evaluations={count}"]) for count in (2, 3, 4)),
    ({"pruner": {"name": "successive_halving", "min_resource": 1000}}, ["trainer.max_steps=150"]),
    ({"pruner": {"name": "hyperband", "min_resource": 4, "max_resource": 2}}, ["trainer.max_steps=150"]),
    ({"pruner": {"name": "patient", "patience": 3, "wrapped_pruner": "median"}}, []),
    ({"pruner": {"name": "percentile", "percentile": 25.0}, "prune_after": 60}, []),
]


@pytest.mark.parametrize(("changes", "words"), IDLE, ids=map(str, IDLE))
def test_a_pruner_that_could_end_no_trial_is_refused(tree, changes, words):
    found = tree("sweep=rank_alpha_lr", "run=study", "trainer.max_steps=null", "trainer.evaluations=4", *words)
    with pytest.raises(ConfigError, match=r"^sweep\.pruner=\w+: (ends no|trainer\.eva)"):
        check_search(check(found | {"sweep": SWEEP | {"prune_after": None} | changes}))


BUSY = [
    ({"pruner": {"name": "percentile", "percentile": 25}, "trials": 4, "prune_after": 2}, []),
    ({"pruner": {"name": "median"}, "prune_after": 59}, []),
    ({"pruner": "wilcoxon"}, ["trainer.evaluations=5"]),
    ({"pruner": {"name": "successive_halving", "min_resource": 100}}, ["trainer.max_steps=150"]),
    ({"pruner": {"name": "hyperband", "reduction_factor": 2}, "trials": 12}, []),
    ({"pruner": {"name": "threshold", "upper": 0.5}}, []),
    ({"pruner": {"name": "patient", "patience": 1, "wrapped_pruner": "median"}}, []),
]


@pytest.mark.parametrize(("changes", "words"), BUSY, ids=map(str, BUSY))
def test_a_pruner_that_may_end_one_is_not_refused(tree, changes, words):
    found = tree("sweep=rank_alpha_lr", "run=study", "trainer.max_steps=null", "trainer.evaluations=4", *words)
    check_search(check(found | {"sweep": SWEEP | {"prune_after": None} | changes}))


@pytest.mark.parametrize("words", ["pruner={name: percentile, percentile: 25}", "pruner=successive_halving"])
def test_the_pruners_of_the_documentation_may_end_a_trial(compose_plain, words):
    check_search(compose_plain("sweep=rank_alpha_lr", "run=study", f"sweep.{words}"))


RIGHT = [
    {"sampler": {"name": "tpe", "multivariate": True, "n_ei_candidates": 12}},
    *({"sampler": name} for name in ("gp", "random", "qmc", "nsgaii", "optuna.samplers:TPESampler")),
    {"sampler": {"name": "gp", "deterministic_objective": True}},
    {"sampler": {"name": "nsgaiii", "population_size": 8, "dividing_parameter": 4}},
    {"sampler": "grid", "nuisance": CHOICE, "trials": 2},
    {"sampler": "grid", "nuisance": CHOICE, "trials": 2, "baselines": FULL},
    {"sampler": "brute_force", "nuisance": WHEN, "trials": 4, "baselines": FULL},
    {"sampler": "cmaes", "baselines": FULL},
    {"sampler": "brute_force", "nuisance": WHEN, "trials": 4},
    *({"pruner": name} for name in ("median", "successive_halving", "hyperband", "wilcoxon", "none")),
    {"pruner": {"name": "percentile", "percentile": 25}},
    {"pruner": {"name": "threshold", "lower": 0.5}},
    {"pruner": {"name": "patient", "patience": 1, "wrapped_pruner": {"name": "percentile", "percentile": 10.0}}},
    {"pruner": {"name": "patient", "patience": 1, "wrapped_pruner": None}},
    {"pruner": "optuna.pruners:NopPruner"},
    {
        "pruner": {"name": "synchronous_halving", "reduction_factor": 2, "bracket": 8, "min_resource": 2},
        "trials": 64,
    },
    {"pruner": "asynchronous_halving", "sampler": "random"},
    {"pruner": {"name": "synchronous_halving", "bracket": 60}, "sampler": "random"},
    {"pruner": "synchronous_halving", "nuisance": {"lora.variant": {"choices": ["lora", "dora"]}}},
    {"pruner": "none", "nuisance": {"trainer.batch_size": {"choices": [8, 16]}}},
    {"enqueue": [{"optimizer.lr": 1e-3}, {"optimizer.lr": 1e-3, "lora.scale": 2}]},
    {"enqueue": [{"lora.lr_ratio": 4, "lora.variant": "lora_plus"}, {"lora.variant": "lora"}], "nuisance": OWN_KEY},
    {
        "enqueue": [{"lora.lr_ratio": 4}],
        "scientific": {"lora.variant": ["lora", "lora_plus"]},
        "nuisance": {"lora.lr_ratio": OWN_KEY["lora.lr_ratio"], "optimizer.lr": {"low": 1e-4, "high": 1e-2}},
    },
    {"objectives": COSTS, "pruner": {"name": "dominance", "margin": 0.02}, "prune_after": 2},
    {"objectives": COSTS | {"memory": "minimize", "flops": "minimize"}, "pruner": "dominance"},
    {"objectives": COSTS | {"memory": "minimize", "time.train_s": "minimize"}, "sampler": "nsgaiii"},
    {"objectives": {"val": "maximize", "val.loss": "minimize"}, "sampler": "gp", "constraints": {"memory": 2e9}},
]


@pytest.mark.parametrize("changes", RIGHT, ids=map(str, RIGHT))
def test_what_can_be_used_is_not_refused(config_of, changes, monkeypatch):
    monkeypatch.setattr("harness.search.checks.find_spec", lambda name: True)
    check_search(config_of(**changes))


def test_a_package_that_is_not_there_is_named(config_of, monkeypatch):
    monkeypatch.setattr("harness.search.checks.find_spec", lambda name: None)
    for name in ("cmaes", "gp"):
        with pytest.raises(ConfigError, match=rf"^sweep\.sampler={name}: needs the package .*: pip install"):
            check_search(config_of(sampler=name))


def test_a_method_is_chosen_on_the_command_line_in_a_word(tree):
    sweep = check(tree("sweep=rank_alpha_lr", "run=study", "sweep.sampler=gp", "sweep.pruner=hyperband")).sweep
    assert (sweep.sampler, sweep.pruner) == ({"name": "gp"}, {"name": "hyperband"})
    words = "sweep.sampler={name: tpe, group: true}"
    assert check(tree("sweep=variants", "run=study", words)).sweep.sampler == {"name": "tpe", "group": True}


def test_checking_a_search_imports_no_torch():
    code = "import sys, harness.search.checks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["rank_alpha_lr", "rank_and_layers", "variants", "joint", "pareto", "per_layer"])
def test_no_sweep_of_ours_is_refused(compose_plain, name):
    config = compose_plain(f"sweep={name}", "run=study")
    check_search(config)
    assert check(to_dict(config)) == config


@pytest.mark.parametrize("name", [name for name in options("experiment") if name.startswith("sst2")])
def test_no_experiment_of_ours_is_refused(compose_plain, name):
    check_search(compose_plain(f"+experiment={name}"))


def test_a_short_bracket_that_was_decided_stays_as_it_is(config_of, tmp_path):
    """A study that was begun before such numbers were refused is taken up again, and takes no more trials."""
    pruner = {"name": "synchronous_halving", "bracket": 8}
    folder = tmp_path / "results" / "s"
    for trials, begun in ((60, True), (64, False)):
        config = config_of(pruner=pruner, trials=trials)
        config = dataclasses.replace(config, study="s", results=str(folder.parent))
        if begun:
            folder.mkdir(parents=True)
            (folder / CONFIG).write_text(to_yaml(to_dict(config)))
            (folder / RECORDS).write_text("{}")
            check_search(config)
        else:
            with pytest.raises(
                ConfigError, match="sweep.trials=64: the last bracket of the 60 trials so far has 4; set"
            ):
                check_search(config)


def test_dominance_may_judge_our_search_of_a_front(compose_plain):
    check_search(compose_plain("sweep=pareto", "run=study", "sweep.pruner=dominance"))
