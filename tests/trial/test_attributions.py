"""Attributions of a trained trial's predictions: they add up to a difference of logits that is computed apart."""

import csv

import pytest
import torch
from tokenizers import Tokenizer, processors
from transformers import AutoModelForSequenceClassification

from harness.trial.attributions import attribute, write_attributions
from harness.trial.trained import load_trained, untrained
from tests.model.small import save_small
from tests.tiny import words_of
from tests.trial.test_export import trained  # noqa: F401  fixtures
from tests.trial.test_hf_trial import based_on, reviews  # noqa: F401

pytest.importorskip("captum")
TEXTS = ["the film is lovely", "a <b>dull</b> story of people"]
PAD, SPECIAL = 0, {2, 3}


@pytest.fixture
def made(trained, tiny_base, tiny_data, compose_plain):  # noqa: F811
    words = ["lora.rank=2", "trainer.epochs=20.0", "trainer.max_steps=120"]
    words += ["optimizer.lr=0.03", "optimizer.head_lr=0.1"]
    return trained(*words_of(tiny_base, tiny_data), *words)


def logits_of(network, ids):
    return network({"ids": ids, "mask": torch.ones_like(ids)})[0]


def test_attributions_add_up_to_what_the_text_does_to_the_logit(made, tiny_base):
    found = attribute(made, TEXTS)
    tokenizer = Tokenizer.from_file(str(tiny_base / "tokenizer.json"))
    for network, values_of in (
        (untrained(made), lambda each: each.before),
        (load_trained(made), lambda each: each.after),
    ):
        for text, each in zip(TEXTS, found, strict=True):
            ids = torch.tensor([tokenizer.encode(text).ids])
            empty = torch.tensor([[number if number in SPECIAL else PAD for number in ids[0].tolist()]])
            with torch.no_grad():
                target = int(logits_of(load_trained(made), ids).argmax())
                wanted = float(logits_of(network, ids)[target] - logits_of(network, empty)[target])
            assert each.predicted == made.classes[target]
            assert len(each.tokens) == len(values_of(each)) == ids.shape[1]
            assert sum(values_of(each)) == pytest.approx(wanted, abs=0.011)
            assert each.error < 0.01
    assert found[0].tokens == ("[CLS]", "the", "film", "is", "lovely", "[SEP]")


def test_the_word_that_tells_the_class_stands_out_after_training(made):
    (each, _) = attribute(made, TEXTS)
    strongest = max(zip(each.after, each.tokens, strict=True))[1]
    assert (each.predicted, strongest) == ("1", "lovely")
    assert each.before != each.after


def test_the_files_hold_every_token_and_escape_the_text(made, tmp_path):
    found = attribute(made, TEXTS)
    table, page = write_attributions(found, tmp_path)
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["token"] for row in rows] == [token for each in found for token in each.tokens]
    assert [float(row["after"]) for row in rows] == [value for each in found for value in each.after]
    assert "<b>dull" not in page.read_text()


@pytest.mark.parametrize("model_type", ["llama", "roberta", "bart", "t5"])
def test_what_else_a_network_takes_from_the_ids_stays(model_type, trained, reviews, tmp_path):  # noqa: F811
    """The last token's place, the numbers of positions, and where a text ends are those of the text all along."""
    save_small(AutoModelForSequenceClassification, model_type, tmp_path / "base", num_labels=2)
    row = [2, 14, 15, 16, 3]
    if model_type == "llama":  # its head looks at the last word
        tokenizer = Tokenizer.from_file(str(tmp_path / "base" / "tokenizer.json"))
        tokenizer.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 2)])
        tokenizer.save(str(tmp_path / "base" / "tokenizer.json"))
        row = row[:-1]
    made = trained(*reviews, *based_on(tmp_path / "base"), "model.head=stored", "lora.rank=2")
    (each,) = attribute(made, ["w10 w11 w12"])
    assert each.error < 0.01
    network, ids = load_trained(made), torch.tensor([row])
    target = made.classes.index(each.predicted)
    with torch.no_grad():
        full = logits_of(network, ids)[target]
        table = network.base.get_input_embeddings().weight
        table[[14, 15, 16]] = table[0].clone()  # as padding
        rest = logits_of(network, ids)[target]
    assert sum(each.after) == pytest.approx(float(full - rest), abs=0.011)
    assert abs(float(full - rest)) > 0.05
