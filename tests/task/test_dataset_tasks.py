"""Tasks of tokens, pairs of texts and transcripts read data sets of the datasets library, as it saves them."""

import io
import wave

import numpy as np
import pytest

from harness.config import ConfigError
from harness.task.build import read_task

datasets = pytest.importorskip("datasets")

SPLITS = ("train", "validation", "test")
TAGS = ["O", "B-PER", "I-PER"]
WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa")
KINDS = (
    ("task=token_labels", "trainer.objective=f1"),
    ("task=seq2seq", "model=t5_small", "trainer.objective=bleu"),
    ("task=transcripts", "model=whisper_base", "model.language=en", "trainer.objective=wer"),
)


def saved(folder, splits, features):
    made = {name: datasets.Dataset.from_dict(columns, features=features) for name, columns in splits.items()}
    datasets.DatasetDict(made).save_to_disk(str(folder))
    return folder


@pytest.fixture
def read(compose_plain, own_cache):
    def go(*words):
        return read_task(compose_plain(*words).task)

    return go


def _sentences(first, count):
    return [[f"{WORDS[place % 10]}{place}", "met", "Ann", "Lee"] for place in range(first, first + count)]


def test_tagged_tokens_have_the_names_of_their_tags(read, tmp_path):
    tags = datasets.Sequence(datasets.ClassLabel(names=TAGS))
    features = datasets.Features({"tokens": datasets.Sequence(datasets.Value("string")), "ner_tags": tags})
    sizes = {"train": (0, 40), "validation": (100, 10), "test": (200, 10)}
    splits = {
        split: {"tokens": _sentences(*size), "ner_tags": [[0, 0, 1, 2]] * size[1]} for split, size in sizes.items()
    }
    words = [*KINDS[0], f"task.dataset={saved(tmp_path / 'd', splits, features)}"]
    task = read(*words, "task.tags=ner_tags")
    assert [len(task.splits[split]) for split in SPLITS] == [40, 10, 10]
    assert task.splits["test"][0].tags == ("O", "O", "B-PER", "I-PER")
    assert task.splits["test"][0].tokens[0] == "alpha200"
    with pytest.raises(ConfigError, match=r"task\.tags=tags: .* has no such column"):
        read(*words)


def test_pairs_of_texts_may_be_parts_of_a_column(read, tmp_path):
    """As the data sets of translations are: a column with a text of each language."""
    features = datasets.Features({"translation": datasets.Translation(languages=["en", "de"])})
    pairs = [{"en": f"the {word}{place}", "de": f"das {word}{place}"} for place in range(6) for word in WORDS]
    folder = saved(tmp_path / "d", {"train": {"translation": pairs}}, features)
    sides = ('task.source="{translation[en]}"', 'task.target="{translation[de]}"')
    task = read(*KINDS[1], f"task.dataset={folder}", *sides, "task.test_share=0.2")
    found = {}
    for split in SPLITS:
        found |= dict(zip(task.splits[split].sources, task.splits[split].targets, strict=True))
    assert found == {pair["en"]: pair["de"] for pair in pairs}


def _wav(seed):
    samples = np.random.default_rng(seed).integers(-9000, 9000, 4000).astype("<i2")
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.tobytes())
    return held.getvalue()


def test_recordings_may_be_held_beside_their_transcripts(read, tmp_path):
    held = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}  # as datasets.Audio is kept
    features = datasets.Features({"audio": held, "sentence": datasets.Value("string")})
    sizes = {"train": (0, 12), "validation": (50, 4), "test": (90, 4)}
    splits = {
        split: {
            "audio": [{"bytes": _wav(first + place), "path": None} for place in range(count)],
            "sentence": [f"{WORDS[place % 10]} {first + place}" for place in range(count)],
        }
        for split, (first, count) in sizes.items()
    }
    task = read(*KINDS[2], f"task.dataset={saved(tmp_path / 'd', splits, features)}")
    assert [len(task.names(split)) for split in SPLITS] == [12, 4, 4]
    assert sorted(task.texts("test")) == ["alpha 90", "beta 91", "delta 93", "gamma 92"]


@pytest.mark.parametrize("words", KINDS)
def test_files_and_a_data_set_at_once_are_refused(compose_plain, words, tmp_path):
    (tmp_path / "a.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match=r"files, or a data set with its own splits"):
        compose_plain(*words, f"task.data={tmp_path}/a.jsonl", f"task.dataset={tmp_path}")
    with pytest.raises(ConfigError, match=r"task\.train=x: the name of a split of task\.dataset"):
        compose_plain(*words, f"task.data={tmp_path}/a.jsonl", "task.train=x")
    with pytest.raises(ConfigError, match=r"task\.data: missing; .* or task\.dataset"):
        read_task(compose_plain(*words).task)
