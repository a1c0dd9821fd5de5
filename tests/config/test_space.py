"""Dimensions of a search: how they are written, what is wrong with them in a line each, and where they are checked."""

import copy
import dataclasses

import pytest
import yaml
from hydra.errors import HydraException
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from harness.config import Choice, ConfigError, Range, check, read_stored, to_dict
from harness.config.arm_checks import ArmMistakes, corners
from harness.config.composition import explain
from harness.config.preflight import check_same_config, validate_before_import
from harness.config.schema import SweepConfig
from harness.config.space import Dimension, applied, flattened, in_order
from harness.record import RECORDS

RANK = Range(low=1, high=64, integer=True, log=True)
TARGETS = Choice(choices=[["query"], ["query", "value"], ["query", "value", "ffn_up"]])
VARIANT = Choice(choices=["lora", "dora", "lora_plus"])
RATIO = Range(low=1.5, high=16.0, log=True, when={"lora.variant": "lora_plus"})

WORDS = [
    ("choice(1, 2, 4)", Choice(choices=[1, 2, 4])),
    ("choice([query], [query, value])", Choice(choices=[["query"], ["query", "value"]])),
    ("choice('lora', dora)", Choice(choices=["lora", "dora"])),
    ("true,false", Choice(choices=[True, False])),
    ("interval(1, 64)", Range(low=1, high=64)),
    ("tag(log, interval(1e-4, 1e-2))", Range(low=1e-4, high=1e-2, log=True)),
    ("int(interval(1, 64))", Range(low=1, high=64, integer=True)),
    ("tag(log, int(interval(1, 64)))", RANK),
    ("tag(int, log, interval(1, 64))", RANK),
    ("range(1, 10, 2)", Range(low=1, high=9, step=2, integer=True)),
    ("range(9, 0, -2)", Range(low=1, high=9, step=2, integer=True)),
    ("range(0.25, 1.1, 0.25)", Range(low=0.25, high=1.0, step=0.25)),
]
NO_WORDS = [
    *("", "5", "query", "choise(1, 2)", "choice(1, 2", "interval(1)", "interval(1, a)", "glob(*)", "{a: 1}"),
    *("shuffle(choice(1, 2))", "tag(lin, interval(1, 2))", "tag(log, choice(1, 2))", "range(1, 1)", "range(1, 5, 0)"),
    "tag(log, range(1, 5))",
]


@pytest.mark.parametrize(("text", "meant"), WORDS, ids=[text for text, _ in WORDS])
def test_the_words_of_hydras_sweeps_are_understood(text, meant):
    found = TypeAdapter(Dimension).validate_python(text)
    assert type(found) is type(meant)
    assert to_dict(found) == to_dict(meant)
    assert found.mistakes() == []


@pytest.mark.parametrize("text", NO_WORDS)
def test_other_words_are_refused_in_a_line_with_the_key_and_valid_words(tree, text):
    with pytest.raises(ConfigError) as caught:
        check(with_nuisance(tree, {"lora.rank": text}))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f'sweep.nuisance.lora.rank="{text}": not a dimension; valid: choice(1, 2), interval(')


def with_nuisance(tree, nuisance):
    found = tree("sweep=rank_alpha_lr", "run=study")
    found["sweep"] |= {"scientific": {"lora.conv_form": ["branch"]}, "nuisance": nuisance}
    return found


BAD = [
    ({"low": 2, "high": 1}, "=[2, 1]: low must be below high"),
    ({"low": 0, "high": 1, "log": True}, "=[0, 1]: a log range starts above 0"),
    ({"low": 1, "high": 2.5, "integer": True}, "=[1, 2.5]: an integer range has integers as low, high and step"),
    ({"low": 1, "high": 3, "integer": True, "step": 0.5}, "=[1, 3]: an integer range has integers as low, high and"),
    ({"low": 1, "high": 4, "integer": True, "step": 2}, "=[1, 4]: high must be low plus a whole number of steps of 2"),
    ({"low": 1, "high": 3, "step": 2, "log": True}, "=[1, 3]: log, and a step of 2; one of them"),
    ({"low": 1, "high": 3, "step": 0}, ".step=0: input should be greater than 0"),
    ({"low": 1, "high": "x"}, '.high="x": input should be a valid number'),
    ({"low": 1}, ".high: missing"),
    ({"low": 1, "high": 3, "steps": 2}, ".steps: no such key"),
    ({"choices": [1]}, ".choices=[1]: list should have at least 2 items"),
    ({"choices": [1, 2, 1]}, "=[1, 2, 1]: 1 more than once"),
    ({"choices": [1, 2], "log": True}, ".log: no such key"),
    ({"choices": [1, 2], "when": "dora"}, '.when="dora": input should be a valid dictionary'),
    ({"choices": [1, 2], "when": {"lora.scal": 1}}, ".when.lora.scal: no other dimension of this space; did you mean"),
    ({"choices": [1, 2], "when": {"lora.rank": 1}}, ".when.lora.rank: no other dimension of this space; did you mean"),
    ({"choices": [1, 2], "when": {"lora.scale": 9}}, ".when.lora.scale=9: never so; lora.scale is a range [1, 4]"),
    ([1, 2], "=[1, 2]: not a dimension; valid: {low: 1, high: 8}, {choices: [1, 2]}, choice("),
    (None, "=null: not a dimension; valid: {low: 1, high: 8}"),
]


@pytest.mark.parametrize(("value", "line"), BAD, ids=[line for _, line in BAD])
@pytest.mark.parametrize("place", ["sweep.nuisance", "sweep.baselines.full.nuisance"])
def test_each_mistake_is_one_line(tree, place, value, line):
    found = with_nuisance(tree, {})
    arm = found["sweep"] if place == "sweep.nuisance" else found["sweep"]["baselines"]["full"]
    arm["nuisance"] = {"lora.rank": value, "lora.scale": {"low": 1, "high": 4}}
    with pytest.raises(ConfigError) as caught:
        check(found)
    (said,) = str(caught.value).splitlines()
    assert said.startswith(f"{place}.lora.rank{line}")


def test_a_circle_of_conditions_is_one_line(tree):
    one = {"choices": [1, 2], "when": {"lora.dropout": 0.1}}
    other = {"choices": [0.1, 0.2], "when": {"lora.rank": [1, 2]}}
    with pytest.raises(ConfigError) as caught:
        check(with_nuisance(tree, {"lora.rank": one, "lora.dropout": other, "lora.scale": {"low": 1, "high": 4}}))
    assert str(caught.value) == (
        "sweep.nuisance.lora.rank.when: a circle; each of lora.rank, lora.dropout exists only where another of them "
        "does"
    )


@pytest.mark.parametrize("other", [{"low": 1, "high": 4}, {"choices": [1, 2]}, {"low": 1, "high": 4, "integer": True}])
def test_a_key_is_of_one_kind_in_all_arms_since_optuna_has_one_study(tree, other):
    found = with_nuisance(tree, {"optimizer.lr": other})
    with pytest.raises(ConfigError, match=r"^sweep: optimizer\.lr is .* in sweep\.nuisance, log float in sweep\.base"):
        check(found)


def test_nested_keys_add_replace_and_remove_dotted_ones(tree):
    found = tree(
        "sweep=rank_alpha_lr",
        "run=study",
        "+sweep.scientific.lora.rank=null",
        "+sweep.scientific.lora.variant=[lora, dora]",
        "+sweep.nuisance.lora.rank={low: 1, high: 64, integer: true, log: true}",
        '+sweep.nuisance.lora.targets="choice([query], [query, value])"',
        "+sweep.nuisance.optimizer.lr={low: 1e-5, high: 1e-4}",
        '+sweep.baselines.full.nuisance.optimizer.lr="interval(1e-6, 1e-5)"',
    )
    sweep = check(found).sweep
    assert sweep.scientific == {"lora.variant": ["lora", "dora"]}
    assert list(sweep.nuisance) == ["optimizer.lr", "lora.scale", "lora.rank", "lora.targets"], "replaced in its place"
    assert sweep.nuisance["lora.rank"] == RANK
    assert sweep.nuisance["lora.targets"] == Choice(choices=[["query"], ["query", "value"]])
    assert sweep.nuisance["optimizer.lr"] == Range(low=1e-5, high=1e-4)
    assert sweep.baselines["full"].nuisance == {"optimizer.lr": Range(low=1e-6, high=1e-5)}
    again = check(to_dict(check(found)))
    assert again == check(found), "what is written is read as it was"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "sweep.nuisance.lora.rank=4",
            "a dimension is added, in place of the file's, too; write +sweep.nuisance.lora.r",
        ),
        ("+sweep.nuisance.lora.rank=choice(1,2)", "quote the words: '+sweep.nuisance.lora.rank=\"choice(1,2)\"'"),
        (
            "sweep.scientific={lora.rank: {low: 1, high: 64}}",
            "one of the file's dimensions is replaced by itself: +sweep.scientific.lora.rank={low: 1, high: 64}",
        ),
        ("lora.targets={query: 4}", "lora.targets={query: 4}: a mapping and a list do not merge"),
    ],
)
def test_a_word_that_hydra_refuses_is_answered_with_the_word_to_write(tree, word, said):
    with pytest.raises(HydraException) as caught:
        tree("sweep=rank_alpha_lr", word)
    assert said in explain(caught.value, [word])


def test_what_confirms_is_set_by_nested_keys_too(tree):
    arguments = "+sweep.confirm.set={optimizer.arguments: {fused: true}}"
    found = check(tree("sweep=rank_alpha_lr", arguments, "+sweep.confirm.set.trainer.max_steps=9")).sweep.confirm
    assert found.set == {"optimizer.arguments": {"fused": True}, "trainer.max_steps": 9}


def test_what_has_no_nested_key_stays_as_it_is():
    space = {"a.b": {"low": 1}, "c": {"choices": []}, "d": {"when": {"a.b": 1}}, "e": [1], "f": {}}
    assert flattened(space) == space
    assert flattened({"a": {"b": {"c": None}}}) == {"a.b.c": None}, "there is nothing to be removed"


def test_a_condition_holds_for_its_value_or_one_of_its_values_and_not_where_its_key_is_left_out():
    space = {
        "ratio": RATIO,
        "last": Choice(choices=[1, 2], when={"ratio": 2.0}),
        "lora.variant": VARIANT,
        "some": Choice(choices=[1, 2], when={"lora.variant": ["dora", "lora_plus"]}),
        "sets": Choice(choices=[1, 2], when={"lora.targets": ["query", "value"]}),
        "lora.targets": TARGETS,
    }
    assert in_order(space) == ["lora.variant", "ratio", "last", "some", "lora.targets", "sets"]
    whole = {"ratio": 2.0, "last": 1, "lora.variant": "dora", "some": 1, "sets": 1, "lora.targets": ["query", "value"]}
    assert applied(space, whole) == {key: whole[key] for key in ("lora.variant", "some", "sets", "lora.targets")}
    assert applied(space, whole | {"lora.variant": "lora_plus", "lora.targets": ["query"]}) == {
        "ratio": 2.0,
        "last": 1,
        "lora.variant": "lora_plus",
        "some": 1,
        "lora.targets": ["query"],
    }
    assert list(applied(space, whole)) == [key for key in space if key in applied(space, whole)]


def test_corners_hold_every_choice_and_the_ends_of_conditional_ranges_where_they_exist():
    deep = Range(low=2, high=8, integer=True, step=3, when={"ratio": 16.0})
    space = {"deep": deep, "ratio": RATIO, "lora.variant": VARIANT, "lora.targets": TARGETS, "lora.rank": RANK}
    points = corners(space)
    for key, values in {
        "lora.variant": VARIANT.choices,
        "lora.targets": TARGETS.choices,
        "lora.rank": [1, 64],
        "ratio": [1.5, 16.0],
        "deep": [2, 8],
    }.items():
        assert all(any(point.get(key) == value for point in points) for value in values), key
        assert all(point[key] in values for point in points if key in point)
    for point in points:
        assert ("ratio" in point) == (point["lora.variant"] == "lora_plus")
        assert ("deep" in point) == (point.get("ratio") == 16.0)
        assert type(point["lora.rank"]) is int


@given(st.integers(-50, 50), st.integers(1, 9), st.integers(1, 40), st.floats(0, 1))
def test_a_step_range_has_only_its_own_values(low, step, steps, fraction):
    for unit, integer in ((1, True), (0.01, False)):
        bounds = Range(low=low * unit, high=(low + step * steps) * unit, step=step * unit, integer=integer)
        assert bounds.mistakes() == []
        value = bounds.at(fraction)
        assert any(value == pytest.approx((low + step * place) * unit) for place in range(steps + 1))
        assert isinstance(value, int) == integer
        assert bounds.holds(value)
        assert bounds.at(0.0) == bounds.ends[0]
        assert bounds.at(1.0) == bounds.ends[1]


def test_every_wrong_choice_is_said_and_of_a_range_the_first_value():
    mistakes, space = ArmMistakes(), {"x": Range(low=1, high=9), "y": Choice(choices=["a", "b", "c"])}
    for line in ("x=1: wrong", "x=9: wrong", 'y="a": wrong', 'y="c": wrong', 'y="a": wrong'):
        mistakes.add("arm", space, ConfigError(line))
    with pytest.raises(ConfigError) as caught:
        mistakes.raise_if_any()
    assert str(caught.value).splitlines() == [
        "arm arm: x=1: wrong; its range [1, 9] reaches it",
        'arm arm: y="a": wrong; its choice of "a", "b", "c" reaches it',
        'arm arm: y="c": wrong; its choice of "a", "b", "c" reaches it',
    ]


def test_a_range_of_a_rank_names_the_key_that_makes_it_whole(tree):
    bounds = {"low": 1, "high": 16, "log": True}
    with pytest.raises(ConfigError, match=r"lora\.rank=1\.0: .*reaches it; integer: true beside low and high"):
        validate_before_import(check(with_nuisance(tree, {"lora.rank": bounds})))
    validate_before_import(check(with_nuisance(tree, {"lora.rank": bounds | {"integer": True}})))


def test_a_wrong_value_in_the_middle_of_a_choice_is_refused_before_torch_is_imported(tree):
    config = check(
        with_nuisance(tree, {"lora.rank": {"choices": [1, 0, 2]}, "lora.targets": "choice([query],[x],[y])"})
    )
    with pytest.raises(ConfigError, match=r"lora\.rank=0: .*; its choice of 1, 0, 2 reaches it"):
        validate_before_import(config)
    wrong = dataclasses.replace(config.sweep, nuisance={"lora.targets": config.sweep.nuisance["lora.targets"]})
    with pytest.raises(ConfigError) as caught:
        validate_before_import(dataclasses.replace(config, sweep=wrong))
    assert ["target x" in line or "target y" in line for line in str(caught.value).splitlines()] == [True, True]


def test_a_study_from_before_there_were_integers_is_the_same_study(tree, tmp_path):
    now = to_dict(check(tree("sweep=rank_alpha_lr", "run=study", "study=s")))
    before = copy.deepcopy(now)
    for space in (before["sweep"]["nuisance"], *(arm["nuisance"] for arm in before["sweep"]["baselines"].values())):
        for bounds in space.values():
            for key in ("integer", "step", "when"):
                del bounds[key]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(before))
    (tmp_path / RECORDS).write_text("{}\n")
    check_same_config(tmp_path, now)
    assert check(read_stored(tmp_path / "config.yaml")).sweep == check(now).sweep
    now["sweep"]["nuisance"]["lora.scale"]["integer"] = True
    with pytest.raises(
        ConfigError, match=r"sweep\.nuisance\.lora\.scale\.integer=true: study=s was begun with another"
    ):
        check_same_config(tmp_path, now)


def test_a_sweep_from_before_a_key_was_there_reads_as_what_was_done_then(tmp_path):
    """Else its study could not be resumed: what is compared is the whole tree."""
    required = {"scientific": {}, "nuisance": {}, "baselines": {}, "trials": 1, "startup": 1, "prune_after": 1}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"sweep": required}))
    stored = read_stored(tmp_path / "config.yaml")["sweep"]
    later = {field.name: field.default for field in dataclasses.fields(SweepConfig) if field.name not in required}
    assert {key: stored.get(key) for key in later} == later | {"test": True, "confirm": None}
