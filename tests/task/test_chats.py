"""Conversations as tokens: what transformers makes of them, and what is trained on."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import ConfigError, Tokens
from harness.task.chat_inputs import ChatSplit, encode_chats, encode_prompts, end_of_turn
from harness.task.chat_template import chat_template
from harness.task.metrics import TokenMetrics
from tests.task.chat_fixtures import (
    CHATML,
    CHATS,
    FORGETS,
    MARKED,
    SPECIAL,
    save_base,
    theirs,
    unmarked,
    write_tokenizer,
)

HEADERS_BARE = unmarked(MARKED["headers"])
NAMES = tuple(f"train {n}" for n in range(1, 100))


def encoded(folder, own=None, chats=CHATS, **changes):
    """Conversations as a base reads them whose tokenizer is in the folder."""
    tokens = Tokens(folder / "tokenizer.json", pad=0, end=2, begin=1)
    settings = {"train_on": "assistant", "longer": "cut", "max_length": 512} | changes
    split = ChatSplit(tuple(map(tuple, chats)), NAMES[: len(chats)])
    return encode_chats(split, chat_template(tokens, own), pad=0, end=2, **settings)


def row_of(inputs, row):
    return inputs.ids.row(row).tolist(), inputs.trained.row(row).tolist()


@pytest.fixture(autouse=True)
def _own(own_cache):
    """Every test has a cache of its own."""


@pytest.mark.parametrize("name", MARKED)
@pytest.mark.parametrize("written", ["marked", "by prefixes"])
@pytest.mark.parametrize("kind", ["bytes", "blanks"])
def test_ids_and_mask_are_those_of_transformers(name, written, kind, tmp_path):
    """Marks are taken as they are, and what a template without them adds by each answer comes to the same."""
    template = MARKED[name] if written == "marked" else unmarked(MARKED[name])
    write_tokenizer(tmp_path, template, kind)
    found = encoded(tmp_path)
    for row, chat in enumerate(CHATS):
        wanted = theirs(tmp_path).apply_chat_template(
            list(chat), chat_template=MARKED[name], return_assistant_tokens_mask=True, return_dict=True
        )
        assert row_of(found, row) == (wanted["input_ids"], wanted["assistant_masks"])
        asked = theirs(tmp_path).apply_chat_template(list(chat[:-1]), add_generation_prompt=True, return_dict=True)
        assert found.prompts.row(row).tolist() == asked["input_ids"]
        assert wanted["input_ids"].count(1) == (name != "chatml"), "one <s> at most, though the tokenizer adds one"


ENDS = {"chatml": "<|im_end|>", "headers": "<|eot|>", "turns": "<end_of_turn>", "inst": "</s>"}


@pytest.mark.parametrize("name", ENDS)
def test_an_answer_is_trained_with_the_token_that_ends_it_and_generated_up_to_it(name, tmp_path):
    write_tokenizer(tmp_path, unmarked(MARKED[name]))
    found = encoded(tmp_path)
    end = SPECIAL.index(ENDS[name])
    assert found.ends == tuple(dict.fromkeys((2, end)))
    ids, trained = map(np.array, row_of(found, 1))
    assert (ids[trained == 1] == end).sum() == 3
    assert ids[np.flatnonzero(trained)[-1]] == end
    answer = theirs(tmp_path).encode("Blue.", add_special_tokens=False)
    assert found.texts(torch.tensor([[*answer, end, 50, 51]])) == ["Blue."]


def test_the_last_answer_alone_or_every_token(tmp_path):
    write_tokenizer(tmp_path, CHATML)
    last, whole = (encoded(tmp_path, train_on=which) for which in ("last", "all"))
    tokenizer = theirs(tmp_path)
    ids, trained = map(np.array, row_of(last, 1))
    assert tokenizer.decode(ids[trained == 1]) == "Black<|im_end|>"
    assert row_of(whole, 0)[1] == [0] + [1] * (len(whole.ids.row(0)) - 1)
    assert row_of(whole, 0)[0] == row_of(last, 0)[0]


@pytest.mark.parametrize("template", [CHATML, unmarked(CHATML)], ids=["marked", "by prefixes"])
def test_a_turn_of_weight_0_is_read_and_not_trained_on(template, tmp_path):
    write_tokenizer(tmp_path, template)
    chat = [{**message, "weight": 0} if message["content"] == "Red.\nOr green." else message for message in CHATS[1]]
    ids, trained = map(np.array, row_of(encoded(tmp_path, chats=[chat]), 0))
    assert ids.tolist() == row_of(encoded(tmp_path), 1)[0]
    assert theirs(tmp_path).decode(ids[trained == 1]) == "Blue.<|im_end|>Black<|im_end|>"
    once = "{% generation %}{% for m in messages %}{{ m.content }}{% endfor %}{% endgeneration %}"
    with pytest.raises(
        ConfigError, match="it marks 1 times what is generated in 3 answers; .* need one in each answer"
    ):
        encoded(tmp_path, once, chats=[chat])


SWITCHED = (
    "{% if enable_thinking is not defined %}{% set enable_thinking = true %}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' + m.content }}"
    "{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"
)
"""As Qwen3's: without thinking, the prompt of an answer has an empty thought."""


def test_a_template_takes_arguments_as_transformers_gives_them(tmp_path):
    write_tokenizer(tmp_path, SWITCHED)
    chat, tokens = CHATS[0], Tokens(tmp_path / "tokenizer.json", pad=0, end=2, begin=1)
    trained = {}
    for arguments in ({}, {"enable_thinking": False}):
        template = chat_template(tokens, None, arguments)
        split, how = ChatSplit((chat,), NAMES[:1]), {"train_on": "last", "longer": "cut", "max_length": 512}
        found = encode_chats(split, template, pad=0, end=2, **how)
        form = {"add_generation_prompt": True, "return_dict": True, **arguments}
        prompt = theirs(tmp_path).apply_chat_template(list(chat[:-1]), **form)["input_ids"]
        assert found.prompts.row(0).tolist() == prompt
        assert found.ids.row(0).tolist() == theirs(tmp_path).apply_chat_template(list(chat), **arguments)["input_ids"]
        mask = found.trained.row(0) == 1
        assert np.flatnonzero(mask)[0] == len(prompt)
        trained[len(arguments)] = theirs(tmp_path).decode(found.ids.row(0)[mask])
    assert trained == {0: f"<think>\n\n</think>\n\n{trained[1]}", 1: "Four, naïvely 🙂<|im_end|>"}


def test_an_argument_that_no_template_reads_is_refused(tmp_path):
    write_tokenizer(tmp_path, SWITCHED)
    tokens = Tokens(tmp_path / "tokenizer.json", pad=0, end=2, begin=1)
    with pytest.raises(ConfigError) as error:
        chat_template(tokens, None, {"enable_thinkin": False, "enable_thinking": True})
    assert error.value.args == (
        "task.template_arguments.enable_thinkin: the chat template, the tokenizer's own, reads no such name; did you "
        "mean enable_thinking?; it reads enable_thinking",
    )
    with pytest.raises(ConfigError, match="reads no such name; it reads none"):
        chat_template(tokens, CHATML, {"enable_thinking": False})


def test_a_template_that_drops_thoughts_names_what_to_do(tmp_path):
    write_tokenizer(tmp_path, FORGETS)
    chat = [{**m, "content": f"<think>so</think>{m['content']}"} if m["role"] == "assistant" else m for m in CHATS[1]]
    with pytest.raises(
        ConfigError, match=r"it drops what earlier turns thought, as Qwen3's .*; task\.train_on=last, or"
    ):
        encoded(tmp_path, chats=[chat])
    assert encoded(tmp_path, chats=[chat], train_on="last").trained.ids.any()


def test_a_template_of_the_users_own_comes_first_and_a_file_beside_before_the_configuration(tmp_path):
    write_tokenizer(tmp_path, unmarked(MARKED["inst"]))
    (tmp_path / "chat_template.jinja").write_text(MARKED["turns"])
    tokens = Tokens(tmp_path / "tokenizer.json", pad=0, end=2, begin=1)
    assert chat_template(tokens, None).jinja == theirs(tmp_path).chat_template == MARKED["turns"]
    assert (chat_template(tokens, "x").jinja, chat_template(tokens, "x").origin) == ("x", "file")
    (tmp_path / "chat_template.jinja").unlink()
    said = json.loads((tmp_path / "tokenizer_config.json").read_text())
    several = [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said | {"chat_template": several}))
    assert chat_template(tokens, None).jinja == "d"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said | {"chat_template": several[:1]}))
    with pytest.raises(ConfigError, match="has chat templates rag, and none is the default"):
        chat_template(tokens, None)


@pytest.mark.parametrize("kind", ["bytes", "blanks"])
def test_the_plain_template_is_one_that_transformers_writes_alike(kind, tmp_path):
    write_tokenizer(tmp_path, kind=kind)
    found = encoded(tmp_path)
    assert found.template.origin == "plain"
    for row, chat in enumerate(CHATS):
        wanted = theirs(tmp_path).apply_chat_template(
            list(chat), chat_template=found.template.jinja, return_assistant_tokens_mask=True, return_dict=True
        )
        assert row_of(found, row) == (wanted["input_ids"], wanted["assistant_masks"])
    text = theirs(tmp_path).decode(found.ids.row(1))
    assert text.startswith("<s>System: Be brief.\n\nUser:   Name a colour. \n\nAssistant: Blue.</s>\n\nUser: ")
    assert end_of_turn(found.template) == 2


def test_a_template_that_writes_earlier_turns_otherwise_is_refused_with_the_row(tmp_path):
    write_tokenizer(tmp_path, FORGETS)
    thought = {"role": "assistant", "content": "<think>hm</think>Blue."}
    chat = [*CHATS[1][:2], thought, *CHATS[1][3:]]
    with pytest.raises(ConfigError) as error:
        encoded(tmp_path, chats=[CHATS[0], chat])
    (line,) = error.value.args
    assert "turn 3 is written otherwise once others follow it: " in line
    assert "task.train_on=last" in line
    assert line.endswith("(1 conversations: train 2)")
    found = encoded(tmp_path, chats=[CHATS[0], chat], train_on="last")
    assert found.template.tokenizer.decode(found.ids.row(1)[found.trained.row(1) == 1]) == "Black"


@pytest.mark.parametrize(("template", "said"), [
    ("{% for m in messages %}{{ m.role + ': ' + m.content }}{% endfor %}{% if add_generation_prompt %}>{% endif %}",
     "turn 2 does not begin with the prompt that is generated from"),
    ("{% for m in messages %}{{ m.role", "TemplateSyntaxError"),
    ("{{ raise_exception('System role not supported') }}", "TemplateError: System role not supported"),
    ("{{ ''.__class__.__mro__ }}", "SecurityError: access to attribute '__class__' of 'str' object is unsafe"),
    ("{% for m in messages %}{{ m.content + m.nothing }}{% endfor %}", "UndefinedError"),
    ("{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}",
     "the tokens before an answer are others once it follows"),
])  # fmt: skip
def test_what_a_template_cannot_write_is_one_line_with_the_rows(template, said, tmp_path):
    write_tokenizer(tmp_path, template)
    chat = [CHATS[0][0], {"role": "assistant", "content": "two plus two"}]
    with pytest.raises(ConfigError) as error:
        encoded(tmp_path, chats=[chat, chat])
    (line,) = error.value.args
    assert line.startswith("task.template: the chat template, the tokenizer's own: ")
    assert said in line
    assert line.endswith("(2 conversations: train 1, train 2)")


ALWAYS_ASKS = HEADERS_BARE.replace("{% if add_generation_prompt %}", "").removesuffix("{% endif %}")
"""As in the first Llama 3 Instruct."""


@pytest.mark.parametrize("train_on", ["assistant", "last", "all"])
def test_a_template_that_always_writes_the_prompt_of_an_answer_is_refused(train_on, tmp_path):
    """It would be trained as what ends an answer, and no answer would end."""
    write_tokenizer(tmp_path, ALWAYS_ASKS)
    with pytest.raises(ConfigError, match="writes the prompt of an answer without add_generation_prompt, too"):
        encoded(tmp_path, chats=CHATS[:1], train_on=train_on)


BLANKS = {"role": "assistant", "content": " Blue.\n"}
THINKS = "{{ '<think></think>' if loop.last else '' }}{{ m.content"


@pytest.mark.parametrize(("template", "answer", "wanted"), [
    (MARKED["headers"], BLANKS, "Blue."),
    (HEADERS_BARE, BLANKS, "Blue."),
    (unmarked(CHATML).replace("{{ m.content", THINKS, 1), {**BLANKS, "content": "Blue."}, "<think></think>Blue."),
    (CHATML, BLANKS, " Blue.\n"),
])  # fmt: skip
@pytest.mark.parametrize("train_on", ["assistant", "all"])
def test_answers_are_compared_with_what_a_template_writes_of_them(train_on, template, answer, wanted, tmp_path):
    """A model that writes what it was trained on is right."""
    write_tokenizer(tmp_path, template)
    found = encoded(tmp_path, chats=[[CHATS[0][0], answer]], train_on=train_on)
    ids, prompt = found.ids.row(0), found.prompts.row(0)
    assert found.wanted_texts([answer["content"]]) == [wanted]
    assert found.texts(torch.tensor(ids[len(prompt) :])[None]) == [wanted]
    cut = encoded(tmp_path, chats=[[CHATS[0][0], answer]], train_on=train_on, max_length=len(prompt) + 1)
    assert cut.wanted_texts([""]) == [wanted], "an answer that is trained on by half is wanted as a whole"


@pytest.mark.parametrize("train_on", ["assistant", "all"])
def test_a_prompt_that_no_turn_begins_with_is_refused_of_marked_templates_too(train_on, tmp_path):
    write_tokenizer(tmp_path, CHATML.replace("assistant\\n' }}", "assistant\\n<think>' }}"))
    with pytest.raises(ConfigError, match="the last turn does not begin with the prompt that is generated from"):
        encoded(tmp_path, train_on=train_on)


def test_a_mark_in_a_comment_is_none(tmp_path):
    write_tokenizer(tmp_path, "{# {% generation %} is not\n needed #}" + unmarked(CHATML))
    assert row_of(encoded(tmp_path), 1) == row_of(encoded(tmp_path, unmarked(CHATML)), 1)


def test_several_marks_in_one_answer_are_one_turn(tmp_path):
    """With the last turn alone, and with a turn of weight 0."""
    marks = "{% generation %}{{ m.content }}{% endgeneration %}{% generation %}{{ '<|im_end|>' }}{% endgeneration %}"
    whole = "{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}"
    assert whole in CHATML
    write_tokenizer(tmp_path, CHATML.replace(whole, marks))
    light = [{**message, "weight": 0} if message["content"] == "Blue." else message for message in CHATS[1]]
    for chat, train_on, wanted in (
        (CHATS[1], "last", "Black<|im_end|>"),
        (light, "assistant", "Red.\nOr green.<|im_end|>Black<|im_end|>"),
    ):
        found = encoded(tmp_path, chats=[chat], train_on=train_on)
        ids, trained = map(np.array, row_of(found, 0))
        assert theirs(tmp_path).decode(ids[trained == 1]) == wanted


def test_what_is_cut_down_to_turns_of_weight_0_blames_the_length(tmp_path):
    write_tokenizer(tmp_path, unmarked(CHATML))
    chat = [*CHATS[0], {"role": "user", "content": "Another?"}, {"role": "assistant", "content": "No", "weight": 0}]
    with pytest.raises(ConfigError, match=r"task\.max_length=25: every turn that is left is of weight 0; raise"):
        encoded(tmp_path, chats=[chat], max_length=25)


@pytest.mark.parametrize("train_on", ["assistant", "all"])
def test_no_prompt_is_longer_than_a_conversation_may_be(train_on, tmp_path):
    write_tokenizer(tmp_path, CHATML)
    chat = [CHATS[0][0], CHATS[1][2], {"role": "assistant", "content": "green " * 40}, CHATS[1][4]]
    with pytest.raises(ConfigError, match=r"task\.max_length=40: no token of the last answer fits"):
        encoded(tmp_path, chats=[chat], max_length=40, train_on=train_on)


def test_what_is_too_long_loses_its_first_turns_and_then_its_end(tmp_path):
    write_tokenizer(tmp_path, CHATML)
    shorter = (CHATS[1][0], *CHATS[1][3:])
    whole, wanted = (encoded(tmp_path, chats=[chat]) for chat in (CHATS[1], shorter))
    size = len(wanted.ids.row(0))
    assert size < len(whole.ids.row(0))
    for most in (len(whole.ids.row(0)) - 1, size):
        cut = encoded(tmp_path, chats=[CHATS[1], CHATS[0]], max_length=most)
        assert row_of(cut, 0) == row_of(wanted, 0)
        assert cut.truncated() == {"turns": 1, "answers": 0}
        asked = theirs(tmp_path).apply_chat_template(list(shorter[:-1]), add_generation_prompt=True)["input_ids"]
        assert cut.prompts.row(0).tolist() == asked
    one = encoded(tmp_path, chats=[CHATS[0]])
    prompt, last = len(one.prompts.row(0)), len(one.ids.row(0)) - 3  # without the token that ends it and a line break
    short = encoded(tmp_path, chats=[CHATS[0]], max_length=last)
    assert short.truncated() == {"turns": 0, "answers": 1}
    assert row_of(short, 0) == tuple(part[:last] for part in row_of(one, 0))
    with pytest.raises(ConfigError, match=r"task\.max_length=\d+: no token of the last answer fits .*train 1\)"):
        encoded(tmp_path, chats=[CHATS[0]], max_length=prompt)
    with pytest.raises(ConfigError, match=r"task\.max_length=20: longer conversations; .* \(2 conversations: train 1"):
        encoded(tmp_path, max_length=20, longer="refuse")


def test_prompts_lose_their_first_turns_too_and_one_that_does_not_fit_is_one_line(tmp_path):
    write_tokenizer(tmp_path, CHATML)
    template = chat_template(Tokens(tmp_path / "tokenizer.json", pad=0, end=2), None)
    asked = CHATS[1][:-1]
    whole, cut = (theirs(tmp_path).apply_chat_template(list(chat), add_generation_prompt=True)["input_ids"]
                  for chat in (asked, (asked[0], *asked[3:])))  # fmt: skip
    for most, wanted in ((len(whole), whole), (len(whole) - 1, cut)):
        found = encode_prompts([asked], template, pad=0, end=2, max_length=most)
        batch = found.batch([0])
        assert batch["prompt_ids"][0, : batch["prompt"][0]].tolist() == wanted
    with pytest.raises(ConfigError, match="input: conversation 1: its last exchange alone has more than"):
        encode_prompts([asked], template, pad=0, end=2, max_length=9)


def test_the_loss_is_the_one_that_transformers_computes_of_the_same_labels(tmp_path):
    network = save_base(tmp_path, unmarked(MARKED["turns"]))
    inputs = encoded(tmp_path)
    ids = torch.full((2, max(inputs.lengths)), 0)
    labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
    for row in range(2):
        own, trained = (torch.tensor(part) for part in row_of(inputs, row))
        ids[row, : len(own)], mask[row, : len(own)] = own, 1
        labels[row, : len(own)] = own.where(trained == 1, -100)
    from harness.model.generator import Generator

    own = Generator(network, {}, beams=1)
    metrics = TokenMetrics()
    with torch.no_grad():
        expected = network(input_ids=ids, attention_mask=mask, labels=labels).loss
        for row in range(2):  # whatever batches they come in
            batch = inputs.batch([row])
            metrics.update(own(batch), batch)
        together = inputs.batch([0, 1])
        logits = own(together)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), together["labels"].flatten())
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    assert metrics.compute_and_reset()["loss"] == pytest.approx(float(expected), rel=1e-6)


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)


@settings(max_examples=40, deadline=None)
@given(turns=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4), name=st.sampled_from(sorted(MARKED)))
def test_prefixes_tell_what_marks_tell_whatever_is_said(turns, name, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    tokens = Tokens(folder / "tokenizer.json", pad=0, end=2)
    chat = [
        {"role": role, "content": text}
        for pair in turns
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    by_marks = chat_template(tokens, MARKED[name]).spans(chat)
    assert chat_template(tokens, unmarked(MARKED[name])).spans(chat) == by_marks


def test_a_row_is_shown_with_what_is_trained_on(tmp_path):
    write_tokenizer(tmp_path, CHATML)
    lines = encoded(tmp_path).shown()
    assert lines[0] == "chat template: the tokenizer's own"
    text = "\n".join(lines)
    shown = text.partition("in [[ ]]:\n\n")[2]
    assert shown.count("[[") == 1
    prompt, _, answer = shown.partition("[[")
    bare = prompt.replace("<|", "<").replace("|>", ">").replace("|", "")
    assert bare == "<im_start>user\nWhat is two plus two?<im_end>\n<im_start>assistant\n"
    assert answer.startswith("F")
    assert answer.endswith("|<|im_end|>]]|\n")


def test_a_special_token_in_what_is_said_and_an_answer_without_end_are_pointed_out(tmp_path):
    """Conversations that were written by a template before hold its tokens."""
    write_tokenizer(tmp_path, CHATML)
    twice = [{"role": "user", "content": "<|im_start|>user\nHi<|im_end|>"}, CHATS[0][1]]
    assert not any("to be looked at" in line for line in encoded(tmp_path).shown())
    (line,) = [line for line in encoded(tmp_path, chats=[*CHATS, twice]).shown() if "to be looked at" in line]
    assert line == "to be looked at: special tokens of the tokenizer stand in the text of 1 conversations"
    write_tokenizer(tmp_path, unmarked(CHATML).replace("<|im_end|>", ""))
    (line,) = [line for line in encoded(tmp_path).shown() if "to be looked at" in line]
    assert line.endswith("no special token ends an answer: generated answers run to task.max_new_tokens")
