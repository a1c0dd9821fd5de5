"""Token ids and batches of pairs, against what a model must see; tokenizers learned and read."""

import json

import numpy as np
import pytest
import sentencepiece

from harness.config import ConfigError
from harness.system import assets
from harness.task import Seq2seqSplit, SpecialTokens, encode_seq2seq, train_tokenizer
from harness.task.tokenizers import load_tokenizer

TEXTS = [f"the {word} of page {number} is {state} — größer" for word in ("name", "owner") for number in range(60)
         for state in ("here", "not there")]  # fmt: skip
SPLIT = Seq2seqSplit(("ab", "abcd"), ("xyz", "x"))


@pytest.fixture
def folder(own_cache):
    return train_tokenizer(TEXTS, 300, ("<pad>", "</s>"), ())


def ids(folder, text):
    return load_tokenizer(folder).sources([text])[0]


def test_a_learned_tokenizer_has_the_size_asked_for_and_loses_no_character(folder):
    made = json.loads((folder / "tokenizer.json").read_text())
    assert len(made["model"]["vocab"]) == 300
    tokenizer = load_tokenizer(folder)
    texts = ["der größte 名 %(name)s\n", " two  spaces "]
    assert [tokenizer.decode(row) for row in tokenizer.targets(texts)] == texts
    assert tokenizer.decode([*ids(folder, "ab"), 1, 0]) == "ab"
    assert train_tokenizer(TEXTS, 300, ("<pad>", "</s>"), ()) == folder


def test_special_tokens_are_first_or_last(own_cache):
    last = load_tokenizer(train_tokenizer(TEXTS, 300, (), ("<|endoftext|>",)))
    assert last.tokenizer.token_to_id("<|endoftext|>") == 299


def test_too_few_texts_for_a_vocabulary_are_said_to_be_so(own_cache):
    with pytest.raises(
        ConfigError,
        match=r"vocabulary=5000: the training texts yield (\d+) tokens; model\.shape\.vocabulary=\1, or fewer",
    ):
        train_tokenizer(TEXTS, 5000, ("<pad>", "</s>"), ())
    with pytest.raises(ConfigError, match=r"yield \d+ tokens; 300 are the least, for which there is too little text$"):
        train_tokenizer(["ab ab"], 300, ("<pad>", "</s>"), ())


def test_an_encoder_decoder_reads_source_and_end_and_writes_target_and_end(folder):
    inputs = encode_seq2seq(SPLIT, folder, SpecialTokens(0, 1, 0), separator="", max_source=10, max_target=10)
    given = inputs.batch([0, 1])
    a, b, x, xyz = (ids(folder, text) for text in ("ab", "abcd", "x", "xyz"))
    width = max(len(a), len(b)) + 1
    assert given["ids"].tolist() == [row + [1] + [0] * (width - len(row) - 1) for row in (a, b)]
    assert given["mask"].sum(1).tolist() == [len(a) + 1, len(b) + 1]
    longest = max(len(x), len(xyz)) + 1
    assert given["labels"].tolist() == [row + [1] + [-100] * (longest - len(row) - 1) for row in (xyz, x)]
    assert given["decoder_ids"].tolist() == [[0, *row] + [0] * (longest - len(row) - 1) for row in (xyz, x)]
    assert given["rows"].tolist() == [0, 1]
    assert inputs.lengths.tolist() == [len(a) + len(xyz) + 2, len(b) + len(x) + 2]


def test_a_causal_model_is_asked_for_the_target_alone(folder):
    inputs = encode_seq2seq(SPLIT, folder, SpecialTokens(1, 1, None), separator="\n", max_source=10, max_target=10)
    given = inputs.batch([1, 0])
    for row, (source, target) in enumerate((("abcd", "x"), ("ab", "xyz"))):
        prompt, written = [*ids(folder, source), *ids(folder, "\n")], [*ids(folder, target), 1]
        length = len(prompt) + len(written) - 1
        assert given["mask"][row].tolist() == [1] * length + [0] * (given["mask"].shape[1] - length)
        assert given["ids"][row, :length].tolist() == [*prompt, *written[:-1]]
        assert given["prompt"][row] == len(prompt)
        labels = given["labels"][row]
        assert labels[labels != -100].tolist() == written
        # The logits at a place are about the next id: the first label stands where the prompt ends.
        places = given["places"][row][labels != -100].tolist()
        assert places == list(range(len(prompt) - 1, len(prompt) - 1 + len(written)))


def test_what_is_cut_is_counted_and_a_cut_target_has_no_end(folder):
    inputs = encode_seq2seq(
        Seq2seqSplit(("ab", "abcdefgh" * 3), ("xyz" * 9, "x")),
        folder,
        SpecialTokens(0, 1, 0),
        separator="",
        max_source=6,
        max_target=4,
    )
    assert inputs.cut == {"source": 1, "target": 1}
    given = inputs.batch([0, 1])
    assert given["ids"].shape[1] == 6
    assert given["ids"][1, -1] == 1
    assert 1 not in given["labels"][0].tolist()
    assert given["labels"][0].tolist() == ids(folder, "xyz" * 9)[:4]


def test_ids_come_from_the_cache_the_second_time(folder, own_cache):
    first = encode_seq2seq(SPLIT, folder, SpecialTokens(0, 1, 0), separator="", max_source=10, max_target=10)
    (path,) = (own_cache / "tokens").iterdir()
    stamp = path.stat().st_mtime_ns
    second = encode_seq2seq(SPLIT, folder, SpecialTokens(0, 1, 0), separator="", max_source=10, max_target=10)
    assert path.stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(first.sources.ids, second.sources.ids)
    encode_seq2seq(SPLIT, folder, SpecialTokens(0, 1, 0), separator="", max_source=3, max_target=10)
    assert len(list((own_cache / "tokens").iterdir())) == 2


@pytest.fixture
def marian(tmp_path):
    """Marian's files: two vocabularies of pieces, numbered together, and the marks."""
    pieces = set()
    for side, texts in (("source", TEXTS), ("target", [text.upper() for text in TEXTS])):
        corpus = tmp_path / f"{side}.txt"
        corpus.write_text("\n".join(texts))
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus), model_prefix=str(tmp_path / side), vocab_size=40, minloglevel=2
        )
        (tmp_path / f"{side}.model").rename(tmp_path / f"{side}.spm")
        model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / f"{side}.spm"))
        pieces |= {model.id_to_piece(index) for index in range(3, model.get_piece_size())}
    numbers = {piece: index for index, piece in enumerate(["</s>", "<unk>", *sorted(pieces), "<pad>"])}
    (tmp_path / "vocab.json").write_text(json.dumps(numbers))
    return tmp_path


@pytest.mark.filterwarnings("ignore:Recommended:UserWarning")
def test_marian_reads_by_one_vocabulary_and_writes_by_the_other(marian):
    tokenizer = load_tokenizer(marian)
    text = "the name of page 7 is here"
    assert tokenizer.decode(tokenizer.targets([text.upper()])[0]) == text.upper()
    assert tokenizer.decode([*tokenizer.targets([text.upper()])[0], 0]) == text.upper()
    assert tokenizer.sources([text]) != tokenizer.targets([text])
    from transformers import MarianTokenizer

    theirs = MarianTokenizer.from_pretrained(marian)
    assert [*tokenizer.sources([text])[0], 0] == theirs(text)["input_ids"]
    assert [*tokenizer.targets([text.upper()])[0], 0] == theirs(text_target=text.upper())["input_ids"]


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(assets.AssetError, match=r"no tokenizer.json and no source.spm"):
        load_tokenizer(tmp_path)
