"""Scores of spans against seqeval's, in every scheme."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.task.tag_metrics import TagMetrics
from harness.task.tags import SCHEMES, begun, broken, by_type, scheme_of, span_classes, spans

STRICT = json.loads((Path(__file__).parents[1] / "cases" / "seqeval_strict.json").read_text())["cases"]
SEQEVAL = json.loads((Path(__file__).parents[1] / "cases" / "seqeval.json").read_text())["cases"]


def rows_of(case, key):
    return [row.split() for row in case[key]]


def assert_scores(case, classes, size):
    """Rows by so many at once have seqeval's scores."""
    tags, predicted = rows_of(case, "tags"), rows_of(case, "predicted")
    metrics = TagMetrics(classes, 0, with_spans=True)
    for start in range(0, len(tags), size):
        metrics.update(*as_batch(classes, tags[start : start + size], predicted[start : start + size]))
    scores = metrics.compute_and_reset()
    for name in ("f1", "precision", "recall", "accuracy"):
        assert scores[name] == pytest.approx(case[name], abs=1e-12), name


@pytest.mark.parametrize("size", [1, 64])
@pytest.mark.parametrize("case", SEQEVAL, ids=range(len(SEQEVAL)))
def test_scores_are_seqevals(case, size):
    tags, predicted = rows_of(case, "tags"), rows_of(case, "predicted")
    classes = ("O", *(f"{mark}-{kind}" for kind in ("LOC", "PER", "X") for mark in "BI"))
    assert_scores(case, classes, size)
    found = {line[0]: [float(each) for each in (*line[4:], line[1])] for line in by_type(tags, predicted)}
    assert found == {kind: pytest.approx(values, abs=1e-6) for kind, values in case["types"].items()}


@pytest.mark.parametrize("size", [1, 64])
@pytest.mark.parametrize("case", STRICT, ids=range(len(STRICT)))
def test_scores_of_other_schemes_are_those_of_seqevals_strict_mode(case, size):
    tags, predicted = rows_of(case, "tags"), rows_of(case, "predicted")
    classes = span_classes([tag for row in [*tags, *predicted] for tag in row], case["scheme"])
    assert scheme_of(classes) == case["scheme"]
    assert_scores(case, classes, size)
    lines = by_type(tags, predicted, case["scheme"])
    found = {line[0]: [float(each) for each in (*line[4:], line[1])] for line in lines}
    assert found == {kind: pytest.approx(values, abs=1e-6) for kind, values in case["types"].items()}


@given(st.sampled_from(["bioes", "bilou"]), st.lists(st.tuples(st.sampled_from("ABO"), st.integers(1, 4)), max_size=6))
def test_a_scheme_is_read_as_it_is_written(scheme, parts):
    """Spans in the scheme are those that were written, and what is broken is mended to whole spans."""
    tags, wanted = list[str](), []
    begin, inside, last, single = SCHEMES[scheme]
    for kind, size in parts:
        if kind != "O":
            wanted.append((kind, len(tags), len(tags) + size))
        marks = single if size == 1 else begin + inside * (size - 2) + last
        tags += ["O"] * size if kind == "O" else [f"{mark}-{kind}" for mark in marks]
    assert spans(tags, scheme) == wanted
    assert not list(broken(tags, scheme))
    assert begun(tags, scheme) == tuple(tags)
    torn = [tag.replace(f"{last}-", f"{inside}-") for tag in tags]
    assert not list(broken(begun(torn, scheme), scheme))
    assert not any(size > 1 for kind, size in parts if kind != "O") or list(broken(torn, scheme))


def as_batch(classes, tags, predicted):
    """Logits and a batch in which each token is one piece behind a special one."""
    longest = max(map(len, tags))
    logits = torch.zeros(len(tags), longest + 2, len(classes))
    labels, places = torch.full((len(tags), longest + 2), -100), torch.full((len(tags), longest), -2)
    found = torch.full((len(tags), longest), -100)
    for row, (wanted, said) in enumerate(zip(tags, predicted, strict=True)):
        for place, (tag, guess) in enumerate(zip(wanted, said, strict=True)):
            labels[row, place + 1] = found[row, place] = classes.index(tag)
            places[row, place] = place + 1
            logits[row, place + 1, classes.index(guess)] = 3.0
    return logits, {"labels": labels, "tags": found, "places": places}


def test_a_token_that_is_not_read_counts_as_outside():
    """Beyond the longest row a span is missed, and a token outside of all is right."""
    classes = ("O", "B-X", "I-X")
    logits = torch.zeros(1, 3, 3)
    logits[0, 1, 1] = 5.0
    batch = {"labels": torch.tensor([[-100, 1, -100]])}
    batch |= {"tags": torch.tensor([[1, 1, 0]]), "places": torch.tensor([[1, -1, -1]])}
    metrics = TagMetrics(classes, 0, with_spans=True)
    items = metrics.update(logits, batch)
    scores = metrics.compute_and_reset()
    assert (scores["precision"], scores["recall"], scores["accuracy"]) == (1.0, 0.5, pytest.approx(2 / 3))
    assert metrics.tags(logits, batch) == [[1, 0, 0]]
    counts = [1, 1, 2, 2, 3]  # spans that are right, found, there; tokens that are right, all
    assert items.tolist() == [[pytest.approx(scores["loss"]), 1.0, *counts]]


def test_spans_that_begin_with_i_are_found_and_mended():
    tags = ["I-A", "I-A", "O", "B-B", "I-A", "I-A", "B-A"]
    assert spans(tags) == [("A", 0, 2), ("B", 3, 4), ("A", 4, 6), ("A", 6, 7)]
    assert list(broken(tags)) == [0, 4]
    assert spans(begun(tags)) == spans(tags)
    assert not list(broken(begun(tags)))
