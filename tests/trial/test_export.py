"""What a trial leaves, exported, is loaded by PEFT and transformers, and gives the same logits."""

import json

import pytest
import torch
from peft import (
    AutoPeftModel,
    AutoPeftModelForCausalLM,
    AutoPeftModelForFeatureExtraction,
    AutoPeftModelForSeq2SeqLM,
    AutoPeftModelForSequenceClassification,
)
from safetensors.torch import load_file
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    pipeline,
)

from harness import record
from harness.config import ConfigError
from harness.model.architectures import AUDIO, DECODERS, IMAGES, SEQ2SEQ, TEXT
from harness.record import trial_path
from harness.trial import TrialContext
from harness.trial.evaluate import evaluate_saved
from harness.trial.export import export_trial
from harness.trial.predict import predict
from harness.trial.run import run_trial
from harness.trial.saved import find_saved
from harness.trial.trained import find_trained, load_trained
from tests.model.small import IDS, MASK, WORDS, save_small
from tests.model.test_hf_audio import SOUNDS, batch_of
from tests.model.test_hf_audio import save_small as save_hearing
from tests.model.test_hf_files import write_gguf
from tests.trial.test_hf_trial import SHORT, based_on, pairs, reviews  # noqa: F401  fixtures

BATCH = {"ids": IDS, "mask": MASK}


@pytest.fixture
def trained(tmp_path, compose_plain, own_cache):
    """The first trial of a study, trained for a few large steps."""

    def train(*words):
        folder = tmp_path / "results" / "s" / trial_path(0)
        folder.mkdir(parents=True)
        config = compose_plain(*SHORT, "optimizer.lr=0.05", *words)
        made = run_trial(config, TrialContext("s", 0, "arm", folder), lambda step, scores: False)
        assert made.state == "complete", made.reason
        record.append(tmp_path / "results" / "s", made)
        return find_trained(str(tmp_path / "results"), "s", None)

    return train


@torch.no_grad()
def logits_of(trained, batch=BATCH):
    return load_trained(trained)(batch)


WAYS = {
    "lora": ["lora.targets=all-linear", "lora.rank=2"],
    "dora": ["lora=dora", "lora.targets=[query,value]", "lora.rank=2"],
    "pissa": ["lora=pissa", "lora.targets=[query,value]", "lora.rank=2"],
    "ranks": ["lora.targets=all-linear", "lora.rank=3", 'lora.ranks=[[".*0.*", 2]]'],
    "loha": ["lora=peft", "lora.method=LOHA", "lora.targets=[query]", "lora.arguments={r: 2}"],
}
WAYS["without contacts"] = [*WAYS["lora"], 'lora.ranks=[["contact_head.*", 0]]']  # it has one output
EVERY_WAY = [("bert", way) for way in WAYS if way != "without contacts"] + [
    (name, "without contacts" if name == "esm" else "lora") for name in TEXT if name != "bert"
]


@pytest.mark.parametrize(("model_type", "way"), EVERY_WAY)
def test_the_adapter_loads_with_peft_and_merged_with_transformers(model_type, way, trained, reviews, tmp_path):  # noqa: F811
    save_small(AutoModelForSequenceClassification, model_type, tmp_path / "base", num_labels=2)
    made = trained(*reviews, *based_on(tmp_path / "base"), *WAYS[way])
    expected = logits_of(made)
    export_trial(made, tmp_path / "out", merged=False)
    said = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (said["task_type"], said["base_model_name_or_path"]) == ("SEQ_CLS", str(tmp_path / "base"))
    theirs = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "out", num_labels=2).eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(input_ids=IDS, attention_mask=MASK).logits, expected, rtol=1e-4, atol=1e-5)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=2).eval()
    assert (plain(IDS, attention_mask=MASK).logits - expected).abs().max() > 0.01
    loads_merged(made, tmp_path / "merged")


@pytest.mark.parametrize(("model_type", "way"), [("bert", "full"), ("bert", "bitfit"), ("gpt2", "head")])
def test_what_leaves_no_adapter_loads_with_transformers(model_type, way, trained, reviews, tmp_path):  # noqa: F811
    save_small(AutoModelForSequenceClassification, model_type, tmp_path / "base", num_labels=2)
    loads_merged(trained(*reviews, *based_on(tmp_path / "base"), f"lora={way}"), tmp_path / "merged")


def loads_merged(made, folder):
    """The whole model, exported there, gives transformers the same logits and probabilities."""
    expected = logits_of(made)
    export_trial(made, folder, merged=True)
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(IDS, attention_mask=MASK).logits, expected, rtol=1e-4, atol=1e-5)
    assert theirs.config.problem_type == "single_label_classification"
    text = f"{WORDS[10]} {WORDS[11]}"
    said = pipeline("text-classification", model=str(folder), top_k=None)([text])[0]
    words = [] if theirs.config.model_type == "qwen2" else [10, 11]  # whose own class parts no words of this tokenizer
    row = torch.tensor([[2, *words, 3]])
    wanted = logits_of(made, {"ids": row, "mask": torch.ones_like(row)}).softmax(1)[0]
    assert {each["label"]: each["score"] for each in said} == pytest.approx(
        {"0": wanted[0].item(), "1": wanted[1].item()}, rel=1e-4
    )


@pytest.fixture
def ratings(tmp_path):
    lines = [f"{WORDS[4 + row % 40]} {WORDS[50 + row % 37]},{100 + 7 * (row % 5)}" for row in range(120)]
    (tmp_path / "ratings.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    words = ["task=text_csv", "task.answer=number", "task.max_length=12", "trainer.objective=loss"]
    return [f"task.data={tmp_path}/ratings.csv", *words]


def test_numbers_are_exported_in_the_unit_of_the_data(trained, ratings, tmp_path):
    """The base is of several classes, and says so of its problem."""
    keys = {"num_labels": 3, "problem_type": "multi_label_classification"}
    save_small(AutoModelForSequenceClassification, "bert", tmp_path / "base", **keys)
    made = trained(*ratings, *based_on(tmp_path / "base"), "lora.rank=2")
    text = f"{WORDS[10]} {WORDS[11]}"
    ((expected,),) = predict(made, [text])
    assert 80 < expected < 150
    export_trial(made, tmp_path / "merged", merged=True)
    (said,) = pipeline("text-classification", model=str(tmp_path / "merged"))(text)
    assert said["score"] == pytest.approx(expected, rel=1e-4)
    export_trial(made, tmp_path / "adapter", merged=False)
    theirs = loaded_as_the_card_says(tmp_path / "adapter")
    row = torch.tensor([[2, 10, 11, 3]])
    assert theirs(input_ids=row, attention_mask=torch.ones_like(row)).logits.item() == pytest.approx(expected, rel=1e-4)
    assert "the head holds its mean 113.917 and its deviation" in (tmp_path / "adapter" / "README.md").read_text()


def loaded_as_the_card_says(folder):
    """The network that the lines of code in the card give."""
    code = (folder / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    found = {}
    exec(code.replace("FOLDER", str(folder)), found)
    return found["model"].eval()


def test_a_head_without_bias_cannot_hold_the_mean(trained, ratings, tmp_path):
    save_small(AutoModelForSequenceClassification, "llama", tmp_path / "base")
    made = trained(*ratings, *based_on(tmp_path / "base"), "lora.rank=2")
    with pytest.raises(ConfigError, match="no bias that could add the mean of the data, 113"):
        export_trial(made, tmp_path / "out", merged=True)


def test_a_stored_head_is_put_into_the_order_of_the_tasks_classes(trained, tmp_path):
    names = {"id2label": {0: "Sad", 1: "angry", 2: "GLAD"}, "label2id": {"Sad": 0, "angry": 1, "GLAD": 2}}
    stored = save_small(AutoModelForSequenceClassification, "bert", tmp_path / "base", **names)
    lines = [f"{WORDS[4 + row % 40]} {WORDS[50 + row % 37]},{('glad', 'sad', 'angry')[row % 3]}" for row in range(120)]
    (tmp_path / "moods.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    words = ["task=text_csv", f"task.data={tmp_path}/moods.csv", "task.max_length=12", "model.head=stored"]
    made = trained(*words, *based_on(tmp_path / "base"), "lora=full", "optimizer.lr=1e-9", "optimizer.head_lr=1e-9")
    assert made.classes == ("angry", "glad", "sad")
    expected = stored(IDS, attention_mask=MASK).logits[:, [1, 2, 0]]
    torch.testing.assert_close(logits_of(made), expected, rtol=1e-4, atol=1e-4)
    said = json.loads((made.folder / "weights" / "config.json").read_text())
    assert said["id2label"] == {"0": "angry", "1": "glad", "2": "sad"}
    network = load_trained(made)
    network.take_classes(made.classes)  # unlike at first, as they are
    with pytest.raises(ConfigError, match="its classes are angry, glad, sad, the task's are a, b, c; give"):
        network.take_classes(("a", "b", "c"))


# PEFT gives a base as many tokens as its tokenizer has: transformers' own class of Qwen2's adds one to this one.
@pytest.mark.parametrize("model_type", sorted({*DECODERS, *SEQ2SEQ} - {"qwen2"}))
def test_a_writer_loads(model_type, trained, pairs, tmp_path):  # noqa: F811
    causal = model_type in DECODERS
    plain = AutoModelForCausalLM if causal else AutoModelForSeq2SeqLM
    save_small(plain, model_type, tmp_path / "base")
    made = trained(*pairs, *based_on(tmp_path / "base"), "lora.targets=all-linear", "lora.rank=2")
    written = {} if causal else {"decoder_input_ids": IDS}
    expected = logits_of(made, BATCH | {"decoder_ids": IDS} if written else BATCH)
    for name in ("adapter", "merged"):
        export_trial(made, tmp_path / name, merged=name == "merged")
        kind = plain if name == "merged" else AutoPeftModelForCausalLM if causal else AutoPeftModelForSeq2SeqLM
        theirs = kind.from_pretrained(tmp_path / name).eval()
        with torch.no_grad():
            found = theirs(input_ids=IDS, attention_mask=MASK, **written).logits
        real = MASK.bool()  # T5Gemma's own decoder masks what is padding
        torch.testing.assert_close(found[real], expected[real], rtol=1e-4, atol=1e-4)


CONVOLUTIONS = ("mobilenet_v2", "regnet", "resnet")  # without linear layers


@pytest.mark.parametrize("model_type", IMAGES)
def test_an_image_classifier_loads(model_type, trained, tmp_path):
    save_small(AutoModelForImageClassification, model_type, tmp_path / "base", num_labels=10)
    reads = ["task=digits", "task.image_size=32", *based_on(tmp_path / "base")]
    targets = "conv" if model_type in CONVOLUTIONS else "all-linear"
    made = trained(*reads, f"lora.targets={targets}", "lora.rank=2")
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    expected = logits_of(made, {"images": images})
    # MobileNetV2 reads the stride of its convolutions, which PEFT's layers in their place do not say.
    for name in ("merged",) if model_type == "mobilenet_v2" else ("adapter", "merged"):
        export_trial(made, tmp_path / name, merged=name == "merged")
        if name == "merged":
            theirs = AutoModelForImageClassification.from_pretrained(tmp_path / name).eval()
        else:
            theirs = AutoPeftModel.from_pretrained(tmp_path / name, num_labels=10).eval()
        said = json.loads((tmp_path / name / "preprocessor_config.json").read_text())
        mean, std = (torch.tensor(said[key]).view(3, 1, 1) for key in ("image_mean", "image_std"))
        with torch.no_grad():
            found = theirs(pixel_values=(images / 255 - mean) / std).logits
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_bare_network_of_images_leaves_with_its_head_beside(trained, compose_plain, tmp_path, caplog):
    save_small(AutoModel, "dinov3_vit", tmp_path / "base")
    words = [
        "task=digits",
        "task.image_size=32",
        *based_on(tmp_path / "base"),
        "lora.targets=all-linear",
        "lora.rank=2",
    ]
    made = trained(*words)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    expected = logits_of(made, {"images": images})
    for name in ("adapter", "merged"):
        export_trial(made, tmp_path / name, merged=name == "merged")
        assert "transformers has no class of DINOv3ViTModel with this head, which is in head" in caplog.text
        theirs = loaded_as_the_card_says(tmp_path / name)
        said = json.loads((tmp_path / name / "preprocessor_config.json").read_text())
        mean, std = (torch.tensor(said[key]).view(3, 1, 1) for key in ("image_mean", "image_std"))
        head = load_file(tmp_path / name / "head.safetensors")
        with torch.no_grad():
            features = theirs(pixel_values=(images / 255 - mean) / std).pooler_output
        found = features @ head["weight"].T + head["bias"]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for folder in (made.folder / "adapter", tmp_path / "adapter"):
        found, _ = evaluate_saved(find_saved(str(folder)), compose_plain(*SHORT, *words), "test")
        assert found.scores == made.entry.scores["test"]


def test_pooled_features_load_and_the_head_lies_beside(trained, reviews, tmp_path):  # noqa: F811
    save_small(AutoModelForSequenceClassification, "bert", tmp_path / "base")
    made = trained(*reviews, *based_on(tmp_path / "base"), "model.pooling=mean", "lora.rank=2")
    export_trial(made, tmp_path / "out", merged=False)
    theirs = AutoPeftModelForFeatureExtraction.from_pretrained(tmp_path / "out").eval()
    tokens = theirs(input_ids=IDS, attention_mask=MASK).last_hidden_state
    torch.testing.assert_close(tokens, load_trained(made).base(input_ids=IDS, attention_mask=MASK).last_hidden_state)
    assert (tmp_path / "out" / "head.safetensors").is_file()


def test_what_cannot_be_exported_is_one_line(trained, reviews, tmp_path):  # noqa: F811
    save_small(AutoModelForSequenceClassification, "bert", tmp_path / "base")
    made = trained(*reviews, *based_on(tmp_path / "base"), "lora=bitfit")
    with pytest.raises(ConfigError, match="format=adapter: lora=bitfit leaves no adapter; format=merged"):
        export_trial(made, tmp_path / "out", merged=False)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="trial=7: study=s has no complete trial of it; valid: 0"):
        find_trained(str(tmp_path / "results"), "s", 7)
    with pytest.raises(ConfigError, match="is there already"):
        export_trial(made, tmp_path / "base", merged=True)


def test_the_card_says_where_it_comes_from(trained, reviews, tmp_path):  # noqa: F811
    save_small(AutoModelForSequenceClassification, "gpt2", tmp_path / "base", pad_token_id=None)
    made = trained(*reviews, *based_on(tmp_path / "base"), "lora.rank=2")
    export_trial(made, tmp_path / "out", merged=False)
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: peft\n")
    words = "num_labels=2, id2label={0: '0', 1: '1'}, pad_token_id=0, ignore_mismatched_sizes=True"
    assert f'AutoPeftModelForSequenceClassification.from_pretrained("FOLDER", {words})' in card
    assert f"| test | {made.entry.scores['test']['accuracy']:.4g} |" in card


def test_terms_of_the_base_go_into_the_folder(trained, reviews, tmp_path):  # noqa: F811
    write_gguf(tmp_path / "base.gguf")
    (tmp_path / "terms.html").write_text("be good")
    text = f"{{address: 'path:{tmp_path}/terms.html', sha256: null}}"
    terms = [f"model.terms={{name: Small Terms, url: 'https://host/terms', text: {text}}}", "model.accept_licence=true"]
    reads = ["model=hf", f"model.address=path:{tmp_path}/base.gguf", *terms]
    made = trained(*reviews, *reads, "lora.targets=[query,value]", "lora.rank=2")
    export_trial(made, tmp_path / "out", merged=False)
    assert (tmp_path / "out" / "TERMS.html").read_text() == "be good"
    card = (tmp_path / "out" / "README.md").read_text()
    assert "- Provided under and subject to the Small Terms, https://host/terms; their text is beside this file" in card
    theirs = AutoPeftModelForSequenceClassification.from_pretrained(
        tmp_path / "out", num_labels=2, pad_token_id=0
    ).eval()
    batch = {"ids": IDS % 16, "mask": MASK}
    with torch.no_grad():
        found = theirs(input_ids=batch["ids"], attention_mask=MASK).logits
    torch.testing.assert_close(found, logits_of(made, batch), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # of transformers' WavLM
@pytest.mark.parametrize("model_type", AUDIO)
def test_a_classifier_of_recordings_loads(model_type, trained, tones, tmp_path):
    save_hearing(model_type, tmp_path / "base")
    reads = [*based_on(tmp_path / "base"), "model.window_s=1", "task=spoken_digits", f"task.data={tones}"]
    made = trained(*reads, "task.classes=3", "lora.targets=all-linear", "lora.rank=2")
    assert made.entry.data.cut == {split: {"recording over 1 s": 0} for split in ("train", "validation", "test")}
    expected = logits_of(made, batch_of(SOUNDS))
    more = {} if model_type == "whisper" else {"padding": True}
    for name in ("adapter", "merged"):
        out = tmp_path / name
        export_trial(made, out, merged=name == "merged")
        if name == "merged":
            theirs = AutoModelForAudioClassification.from_pretrained(out).eval()
            assert theirs.config.id2label == {0: "left", 1: "right", 2: "stop"}
            said = pipeline("audio-classification", model=str(out), top_k=1)(SOUNDS[0])
            assert said[0]["label"] == made.classes[int(expected[0].argmax())]
        else:
            theirs = AutoPeftModel.from_pretrained(out, num_labels=3, ignore_mismatched_sizes=True).eval()
        reads = AutoFeatureExtractor.from_pretrained(out)
        with torch.no_grad():
            found = theirs(**reads(SOUNDS, sampling_rate=16_000, return_tensors="pt", **more)).logits
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
