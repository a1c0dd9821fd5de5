"""Where an arm is checked before its study is begun, and how its mistakes are said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import ConfigError, Range, check
from harness.config.arm_checks import ArmMistakes, corners
from harness.config.composition import options
from harness.config.preflight import validate_before_import

KEYS = ("optimizer.lr", "lora.scale", "lora.dropout", "optimizer.warmup")


@given(st.integers(0, 4))
def test_the_corners_are_a_bounded_number_of_points_of_the_box(count):
    nuisance = {key: Range(low=float(index), high=index + 1.5) for index, key in enumerate(KEYS[:count])}
    points = corners(nuisance)
    assert len(points) == len({tuple(point.items()) for point in points}) <= 2 * count + 2
    assert points[0] == {key: bounds.low for key, bounds in nuisance.items()}
    assert {key: bounds.high for key, bounds in nuisance.items()} in points
    for point in points:
        assert list(point) == list(nuisance)
        assert all(value in (nuisance[key].low, nuisance[key].high) for key, value in point.items())
    for key, bounds in nuisance.items():
        others = [{name: value for name, value in point.items() if name != key} for point in points]
        for end in ("low", "high"):
            rest = {name: getattr(other, end) for name, other in nuisance.items() if name != key}
            alone = {point[key] for point, other in zip(points, others, strict=True) if other == rest}
            assert alone == {bounds.low, bounds.high}


def test_a_mistake_is_said_once_with_its_arms_and_the_first_of_its_values():
    mistakes, bounds = ArmMistakes(), {"x": Range(low=1.0, high=2.5)}
    mistakes.raise_if_any()
    for arm in ("a", "b", "c", "d", "e"):
        for value in (1.0, 2.5):
            mistakes.add(arm, bounds, ConfigError(f"x={value}: wrong"))
    for value in (1.0, 2.5):
        mistakes.add("a", bounds, ConfigError(f"y: x of {value} is wrong, too"))
    with pytest.raises(ConfigError) as caught:
        mistakes.raise_if_any()
    assert str(caught.value).splitlines() == [
        "arm a, b, c, and 2 more: x=1.0: wrong; its range [1, 2.5] reaches it",
        "arm a: y: x of 1.0 is wrong, too",
    ]


def test_ranges_that_no_arm_takes_are_refused(tree):
    found = tree("sweep=rank_alpha_lr", "run=study")
    found["sweep"]["scientific"] = {}
    with pytest.raises(
        ConfigError, match=r"^sweep\.nuisance=\[.*\]: sweep\.scientific is empty, so no arm takes these"
    ):
        check(found)
    found["sweep"]["nuisance"] = {}
    assert check(found).sweep.scientific == {}


@pytest.mark.parametrize("key", ["run", "study", "results", "tracking.mode", "launch.lease_s", "sweep.trials"])
@pytest.mark.parametrize("place", ["scientific", "nuisance"])
def test_what_is_said_of_the_whole_study_is_no_value_of_an_arm(tree, place, key):
    found = tree("sweep=rank_alpha_lr", "run=study")
    found["sweep"][place] = {key: ["x"] if place == "scientific" else {"low": 1.0, "high": 2.0}}
    with pytest.raises(ConfigError, match=rf"sweep\.{place}\.{key}: of the study as a whole"):
        check(found)


_TERMS = {name: ["model.accept_licence=true"] for name in ("gemma_sentiment", "gemma_translation")}  # to be read first


@pytest.mark.parametrize("name", [name for name in options("experiment") if name != "claims"])
def test_a_study_of_ours_is_not_refused(compose_plain, name):
    validate_before_import(compose_plain(f"+experiment={name}", *_TERMS.get(name, [])))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["+sweep.across=[lora.scale]"], "sweep.across: lora.scale is not scientific"),
        (
            ["+sweep.scientific.lora.rank={low: 1, high: 8}"],
            "sweep.scientific.lora.rank: a range [1, 8]; arms are compared",
        ),
    ],
)
def test_a_sweep_without_arms_is_refused_before_they_are_asked_for(tree, words, line):
    with pytest.raises(ConfigError) as caught:
        check(tree("sweep=rank_alpha_lr", "run=study", *words))
    assert str(caught.value).startswith(line)
