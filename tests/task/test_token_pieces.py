"""Tags on the pieces that a tokenizer cuts tokens into."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from harness.config import ConfigError
from harness.task.token_inputs import encode_tokens

TOKENS = ["Zürich", "of", "don't", "\u200b", "New York", "unaffable", "😀😀", "é"]
TEXTS = ["the people of Zürich don't know New York", "unaffable unbelievable affable", "é è ê 😀"]


def bert():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=80, special_tokens=["[UNK]", "[CLS]", "[SEP]"])
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return tokenizer


def bytes_of_text():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    first = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(vocab_size=300, initial_alphabet=first))
    return tokenizer


def sentencepiece():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>"]))
    return tokenizer


@pytest.mark.parametrize("make", [bert, bytes_of_text, sentencepiece])
def test_the_first_piece_of_each_token_carries_its_tag(make, tmp_path, own_cache):
    """Pieces are those of the text; each token's first one is found by decoding what stands before it."""
    tokenizer = make()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    rows = [TOKENS, ["of"], TOKENS[4:] * 2]
    tags = [list(range(len(row))) for row in rows]
    inputs = encode_tokens(rows, tags, tmp_path / "tokenizer.json", 128, 0)
    batch = inputs.batch([0, 1, 2])
    for row, tokens in enumerate(rows):
        encoding = tokenizer.encode(" ".join(tokens))
        assert batch["ids"][row, : len(encoding.ids)].tolist() == encoding.ids
        begin, wanted = 0, {}
        for number, token in enumerate(tokens):
            pieces = [
                place
                for place, (start, end) in enumerate(encoding.offsets)
                if (text := " ".join(tokens)[start:end]).strip(" ")
                and begin <= start + len(text) - len(text.lstrip(" ")) < begin + len(token)
            ]
            if pieces:
                wanted[pieces[0]] = number
            begin += len(token) + 1
        labels = batch["labels"][row]
        assert {place: int(labels[place]) for place in (labels != -100).nonzero().flatten().tolist()} == wanted
        assert len(wanted) >= len(tokens) - 2  # what BERT's normaliser deletes has no piece
    assert batch["tags"][1].tolist() == [0] + [-100] * 7
    assert (batch["places"][1] == -2).sum() == 7


def test_rows_are_cut_and_counted(tmp_path, own_cache):
    bert().save(str(tmp_path / "tokenizer.json"))
    inputs = encode_tokens([["of"] * 9, ["of"] * 3], [[1] * 9, [1] * 3], tmp_path / "tokenizer.json", 6, 0)
    assert inputs.truncated() == {"text": 1}
    assert (inputs.batch([0, 1])["labels"] == 1).sum(1).tolist() == [4, 3]
    with pytest.raises(ConfigError, match=r"task\.max_length=3: it leaves 1 of 1 rows 1 tokens"):
        encode_tokens([["of"] * 9], [[1] * 9], tmp_path / "tokenizer.json", 3, 0)
