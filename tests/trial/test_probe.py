"""The probe of forgetting: exactly no change where nothing changed, a stored head read as its authors mean it."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import stats
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM, RobertaConfig, RobertaForMaskedLM

from harness.config import ConfigError
from harness.model import build_model
from harness.model.masked import masked_head
from harness.task import cut_passages, hidden_places, read_documents
from harness.trial import TrialContext, perplexity
from harness.trial import probe as probe_module
from harness.trial.fingerprints import fingerprint_of
from harness.trial.inputs import input_digests
from harness.trial.probe import probe_digest, probe_loss
from harness.trial.run import run_trial
from tests.tiny import BAD, FILLER, GOOD

CPU = torch.device("cpu")


@pytest.fixture
def general(tmp_path):
    """A file of 92 documents of one word each, all words being as frequent: context gives a hidden one away."""
    words = [*FILLER, *GOOD, *BAD]
    path = tmp_path / "general.json"
    documents = [" ".join([words[index % len(words)]] * 200) for index in range(4 * len(words))]
    path.write_text(json.dumps([{"name": "short", "documents": documents}]))
    return path


@pytest.fixture
def probing(compose, general, own_cache):
    def go(*overrides):
        words = ["probe=mlm", f"probe.asset.address=path:{general}", "probe.asset.sha256=null"]
        return compose(*words, "probe.length=12", "probe.passages=30", *overrides)

    return go


def trial(config, tmp_path, number=0):
    folder = tmp_path / "s" / f"{number:04d}"
    folder.mkdir(parents=True)
    return run_trial(config, TrialContext("s", number, "arm", folder), lambda step, scores: False)


def test_an_unmodified_base_scores_exactly_no_change(probing, tmp_path):
    entry = trial(probing("lora=head"), tmp_path)
    assert (entry.state, entry.reason) == ("complete", "")
    assert entry.probe.change == 0.0
    assert entry.probe.before == entry.probe.after > 0


def test_an_adapter_that_has_learned_nothing_changes_nothing(probing, tiny_base):
    from harness.trial.adapt import prepare

    config = probing()
    model = build_model(config.model, 2)
    before = probe_loss(config.probe, config.model, model, CPU, lambda: None)
    prepare(model, config)
    assert probe_loss(config.probe, config.model, model, CPU, lambda: None) == before


@pytest.mark.parametrize("arm", ["lora", "full"])
def test_training_changes_it_and_the_record_says_by_how_much(probing, tmp_path, arm):
    words = ["optimizer.lr=0.03", *(["lora.rank=2"] if arm == "lora" else [])]
    entry = trial(probing(f"lora={arm}", *words), tmp_path)
    assert entry.probe.change == entry.probe.after - entry.probe.before != 0
    again = trial(probing(f"lora={arm}", *words), tmp_path, number=1)
    assert again.probe == entry.probe


def test_a_probe_does_not_move_the_trial(probing, compose, tmp_path):
    with_probe, without = trial(probing(), tmp_path), trial(compose(), tmp_path, number=1)
    assert with_probe.scores == without.scores
    assert not without.probe
    assert with_probe.fingerprint != without.fingerprint


def test_the_fitted_head_knows_more_than_how_frequent_words_are(probing, tiny_base, tmp_path):
    tensors = load_file(tiny_base / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"] *= 50  # as far apart as those of a trained base
    (tmp_path / "vivid").mkdir()
    save_file(tensors, tmp_path / "vivid/model.safetensors", {"format": "pt"})
    (tmp_path / "vivid/tokenizer.json").write_text((tiny_base / "tokenizer.json").read_text())
    config = probing("probe.passages=100", f"model.weights.address=path:{tmp_path}/vivid")
    loss = probe_loss(config.probe, config.model, build_model(config.model, 2), CPU, lambda: None)
    assert loss.mean < np.log(len([*FILLER, *GOOD, *BAD])) - 0.5


def test_the_fit_is_made_once_and_leaves_randomness_alone(probing, own_cache):
    config = probing()
    model = build_model(config.model, 2).train()
    torch.manual_seed(7)
    first = probe_loss(config.probe, config.model, model, CPU, lambda: None)
    drawn = torch.rand(3)
    (stored,) = (own_cache / "heads").glob("*.npz")
    stamp = stored.stat().st_mtime_ns
    torch.manual_seed(7)
    assert probe_loss(config.probe, config.model, model, CPU, lambda: None) == first
    assert torch.equal(torch.rand(3), drawn)
    torch.manual_seed(7)
    assert torch.equal(torch.rand(3), drawn)
    assert stored.stat().st_mtime_ns == stamp
    assert model.base.training


def test_a_fit_that_is_left_leaves_nothing(probing, own_cache):
    def leave():
        raise InterruptedError

    config = probing()
    with pytest.raises(InterruptedError):
        probe_loss(config.probe, config.model, build_model(config.model, 2), CPU, leave)
    assert not list((own_cache / "heads").glob("*.npz"))


@pytest.mark.parametrize(("config", "kind"), [(BertConfig, BertForMaskedLM), (RobertaConfig, RobertaForMaskedLM)])
def test_a_stored_head_is_the_one_its_authors_made(compose, tmp_path, tiny_base, config, kind):
    made = config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=40,
        max_position_embeddings=40,
        layer_norm_eps=1e-12 if kind is BertForMaskedLM else 1e-5,  # as published
    )
    torch.manual_seed(1)
    whole = kind(made).eval()
    for tensor in whole.parameters():
        tensor.data += 0.1 * torch.randn_like(tensor)
    whole.save_pretrained(tmp_path / "whole")
    (tmp_path / "whole/tokenizer.json").write_text((tiny_base / "tokenizer.json").read_text())
    family = "bert" if kind is BertForMaskedLM else "roberta"
    model = compose(
        f"model.weights.address=path:{tmp_path}/whole", f"model.family={family}", "task.max_length=30"
    ).model
    head, stored = masked_head(model)
    assert stored
    ids = torch.randint(4, 40, (3, 9))
    with torch.no_grad():
        hidden = getattr(whole, whole.base_model_prefix)(input_ids=ids).last_hidden_state
        assert torch.allclose(head(hidden), whole(input_ids=ids).logits, atol=1e-5)


def test_passages_are_whole_and_documents_are_on_one_side(general, tiny_base, own_cache):
    documents = read_documents(general)
    assert len(documents) == 92
    passages = cut_passages(documents, tiny_base / "tokenizer.json", ("[CLS]", "[SEP]"), length=12, share=0.2, seed=0)
    assert passages["train"].shape == (74 * 20, 12)
    assert passages["held_out"].shape == (18 * 20, 12)
    for rows in passages.values():
        assert set(rows[:, 0]) == {2}
        assert set(rows[:, -1]) == {3}
    starts = {int(row[1]) for row in passages["held_out"]}
    other = cut_passages(documents, tiny_base / "tokenizer.json", ("[CLS]", "[SEP]"), length=12, share=0.2, seed=1)
    assert {int(row[1]) for row in other["held_out"]} != starts


def test_places_are_drawn_by_the_seed_and_never_at_the_ends():
    places = hidden_places(np.zeros((50, 12)), 0.3, 0)
    assert places.shape == (50, 3)
    assert places.min() >= 1
    assert places.max() <= 10
    assert all(len(set(row)) == 3 for row in places.tolist())
    assert np.array_equal(places, hidden_places(np.zeros((50, 12)), 0.3, 0))
    assert not np.array_equal(places, hidden_places(np.zeros((50, 12)), 0.3, 1))


def test_blank_lines_part_the_documents_of_a_text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("too short\n\n" + "word " * 40 + "\nmore\n\n" + "other " * 40)
    assert [text.split()[0] for text in read_documents(path)] == ["word", "other"]


def test_the_text_is_part_of_what_a_trial_is(probing, general, compose):
    config = probing()
    before, digest = fingerprint_of(config), probe_digest(config.probe, config.model)
    general.write_text(general.read_text().replace("town", "music"))
    assert probe_digest(config.probe, config.model) != digest
    assert fingerprint_of(config) != before
    assert "probe" not in input_digests(compose())


def test_a_probe_that_cannot_be_is_named(probing, tmp_path, tiny_base):
    with pytest.raises(ConfigError, match=r"probe.length=41: model=minilm has 40 positions"):
        probing("probe.length=41")
    config = probing("probe.length=40", "probe.asset.address=path:" + str(_short(tmp_path)))
    with pytest.raises(
        ConfigError, match=r"probe.length=40: the text has no passage of that many tokens for train and held_out"
    ):
        probe_digest(config.probe, config.model)


def _short(folder):
    path = folder / "short.txt"
    path.write_text("\n\n".join(["the film is a story of people and music in town " * 3] * 5))
    return path


def test_the_interval_of_the_change_is_that_of_paired_passages(probing, tmp_path, monkeypatch):
    found = []
    measure = probe_module.probe_loss

    def keep(*given):
        found.append(measure(*given))
        return found[-1]

    monkeypatch.setattr(probe_module, "probe_loss", keep)
    entry = trial(probing("lora=full", "optimizer.lr=0.03"), tmp_path)
    before, after = (np.array(loss.passages) for loss in found)
    assert len(before) == 30
    assert found[0].mean == pytest.approx(before.mean(), abs=1e-6) == pytest.approx(entry.probe.before, abs=1e-6)
    moved = stats.ttest_1samp(after - before, 0).confidence_interval(0.95)
    assert (entry.probe.low, entry.probe.high) == pytest.approx((moved.low, moved.high))
    assert entry.probe.low < entry.probe.change < entry.probe.high


@pytest.fixture
def causal(compose_plain, general, tiny_data, own_cache, tmp_path):
    """A small causal base with an output layer of its own, as a classifier; and the whole of it."""
    folder = tmp_path / "causal"
    torch.manual_seed(2)
    made = LlamaConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, intermediate_size=24,
        vocab_size=400, max_position_embeddings=64, pad_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    whole = LlamaForCausalLM(made).eval()
    for tensor in whole.parameters():
        tensor.data += 0.2 * torch.randn_like(tensor)
    whole.save_pretrained(folder)
    learned = Tokenizer(models.WordLevel({"[UNK]": 0}, "[UNK]"))
    learned.pre_tokenizer = pre_tokenizers.Whitespace()
    learned.train_from_iterator(read_documents(general), trainers.WordLevelTrainer(special_tokens=["[UNK]", "<s>"]))
    learned.save(str(folder / "tokenizer.json"))

    def go(*words):
        probe = ["probe=perplexity", f"probe.asset.address=path:{general}", "probe.asset.sha256=null"]
        model = ["model=hf", f"model.address=path:{folder}"]
        task = ["task=text_csv", f"task.data={tiny_data}", "task.max_length=20", "trainer.max_steps=8"]
        return compose_plain(*probe, "probe.length=12", "probe.passages=10", *task, *model, *words)

    return go, whole


def test_a_causal_base_is_scored_by_its_own_output_layer_at_the_next_token(causal):
    go, whole = causal
    config = go()
    model = build_model(config.model, 2).train()
    found = probe_loss(config.probe, config.model, model, CPU, lambda: None)
    passages = torch.from_numpy(perplexity._passages(config.probe, config.model)["held_out"][:10])
    with torch.no_grad():
        expected = [float(whole(input_ids=row[None], labels=row[None]).loss) for row in passages]
    assert found.passages == pytest.approx(expected, abs=1e-5)
    assert found.mean == pytest.approx(np.mean(expected), abs=1e-5)
    assert model.training
    with torch.no_grad():
        for tensor in model.base.parameters():
            tensor += 0.3 * torch.randn_like(tensor)
    moved = probe_loss(config.probe, config.model, model, CPU, lambda: None)
    assert abs(moved.mean - found.mean) > 0.01, "the base as it is now is what is scored"


def test_an_adapter_on_a_causal_classifier_changes_it_and_a_head_alone_does_not(causal, tmp_path):
    go, _ = causal
    head = trial(go("lora=head"), tmp_path)
    assert (head.state, head.probe.change, head.probe.low, head.probe.high) == ("complete", 0.0, 0.0, 0.0)
    lora = trial(go("lora.rank=2", "lora.targets=[query,ffn_up]", "optimizer.lr=0.03"), tmp_path, number=1)
    assert lora.state == "complete", lora.reason
    assert lora.probe.change != 0
    assert lora.probe.low < lora.probe.change < lora.probe.high


def test_a_base_that_asks_for_no_next_token_is_refused(probing, compose):
    with pytest.raises(ConfigError, match="probe=perplexity: it asks a causal base for the next token; model="):
        compose("probe=perplexity")
