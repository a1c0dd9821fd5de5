"""A user's own conversations: every form read alike, what is none refused with its row, splits cut."""

import json

import pandas as pd
import pytest

from harness.config import ConfigError
from harness.task.build import read_task

ROWS = [
    [
        *([{"role": "system", "content": "Be brief."}] if n % 2 else []),
        {"role": "user", "content": f"question {n} of {n % 5}?"},
        {"role": "assistant", "content": f"answer {n}"},
        *(
            [{"role": "user", "content": "and then?"}, {"role": "assistant", "content": f"more {n}"}]
            if n % 3 == 0
            else []
        ),
    ]
    for n in range(60)
]


def sharegpt(chat):
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    return [{"from": names[message["role"]], "value": message["content"]} for message in chat]


def write_jsonl(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return f"task.data={path}"


def write_openai(folder):
    return write_jsonl(folder / "chats.jsonl", [{"messages": chat} for chat in ROWS])


def write_sharegpt(folder):
    (folder / "chats.json").write_text(
        json.dumps([{"id": n, "conversations": sharegpt(c)} for n, c in enumerate(ROWS)])
    )
    return f"task.data={folder}/chats.json"


def write_parquet(folder):
    pd.DataFrame({"conversation": ROWS}).to_parquet(folder / "chats.parquet")
    return f"task.data={folder}/chats.parquet"


def write_csv(folder):
    pd.DataFrame({"messages": [json.dumps(chat) for chat in ROWS]}).to_csv(folder / "chats.csv", index=False)
    return f"task.data={folder}/chats.csv"


def write_saved(folder):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list([{"messages": chat} for chat in ROWS]).save_to_disk(folder / "saved")
    return f"task.dataset={folder}/saved"


def write_prompts(folder):
    rows = [{"prompt": chat[:-1], "completion": chat[-1:]} for chat in ROWS]
    return write_jsonl(folder / "prompts.jsonl", rows)


def write_parts(folder):
    """Texts in parts, and roles in capitals."""
    rows = [
        [{"role": m["role"].title(), "content": [{"type": "text", "text": m["content"]}]} for m in chat]
        for chat in ROWS
    ]
    return write_jsonl(folder / "parts.jsonl", [{"messages": chat} for chat in rows])


FORMS = [write_openai, write_sharegpt, write_parquet, write_csv, write_saved, write_prompts, write_parts]


@pytest.fixture
def task_of(compose_plain):
    def read(*words):
        return read_task(compose_plain("task=chat", "model=gpt2", "trainer.objective=loss", *words).task)

    return read


@pytest.mark.parametrize("write", FORMS)
def test_every_form_is_the_same_conversations(write, task_of, tmp_path):
    task = task_of(write(tmp_path))
    found = [list(map(dict, chat)) for split in task.splits.values() for chat in split.conversations]
    assert sorted(map(str, found)) == sorted(map(str, ROWS))
    reference = task_of(write_openai(tmp_path))
    assert task.sha256 == reference.sha256
    assert sum(task.describe()["rows"].values()) == 60


@pytest.mark.parametrize(("columns", "words", "asked"), [
    ({"instruction": "Add.", "input": "1 and {n}", "output": "{n}"}, [], "Add.\n\n1 and {n}"),
    ({"instruction": "Add {n}.", "input": "", "output": "{n}"}, [], "Add {n}."),
    ({"prompt": "Add {n}.", "response": "{n}"}, [], "Add {n}."),
    ({"q": "{n}", "a": "{n}"}, ["task.source='What of {q}?'", "task.target=a"], "What of {n}?"),
])  # fmt: skip
def test_a_prompt_and_its_answer_are_two_turns(columns, words, asked, task_of, tmp_path):
    rows = [{name: text.format(n=n) for name, text in columns.items()} for n in range(60)]
    task = task_of(write_jsonl(tmp_path / "rows.jsonl", rows), *words)
    for split in task.splits.values():
        for (user, answer), row in zip(split.conversations, split.names, strict=True):
            n = int(row.split()[1]) - 1
            assert user == {"role": "user", "content": asked.format(n=n)}
            assert answer == {"role": "assistant", "content": str(n)}


@pytest.mark.parametrize(
    "signs",
    [("\n\nHuman: ", "\n\nAssistant: "), ("### Human: ", "### Assistant: "), ("### Human: ", "\n### Assistant:")],
)
def test_turns_in_one_text_are_read_where_their_column_is_named(signs, task_of, tmp_path):
    chats = [[turn for turn in chat if turn["role"] != "system"] for chat in ROWS]
    texts = ["".join(signs[turn["role"] == "assistant"] + turn["content"] for turn in chat) for chat in chats]
    data = write_jsonl(tmp_path / "chats.jsonl", [{"chosen": text, "rejected": "another"} for text in texts])
    with pytest.raises(
        ConfigError, match=r"no conversations .* '### Human: .* are read by task.messages; columns: chosen"
    ):
        task_of(data)
    task = task_of(data, "task.messages=chosen")
    found = [list(map(dict, chat)) for split in task.splits.values() for chat in split.conversations]
    assert sorted(map(str, found)) == sorted(map(str, chats))
    with pytest.raises(ConfigError, match=r"rejected is 'another' \(str\), no list; texts as 'Human: "):
        task_of(data, "task.messages=rejected")


def test_a_system_prompt_is_set_where_there_is_none(task_of, tmp_path):
    rows = [{"messages": chat, "tone": f"tone {n % 2}"} for n, chat in enumerate(ROWS)]
    data = write_jsonl(tmp_path / "chats.jsonl", rows)
    for words, wanted in ((["task.system=Answer."], "Answer."), (["task.system='In {tone}.'"], "In tone 0.")):
        found = {chat[0]["content"] for split in task_of(data, *words).splits.values() for chat in split.conversations}
        assert found == {"Be brief.", wanted}


@pytest.mark.parametrize("words", [[], ["task.system=Answer."], ["task.group=system"]])
def test_a_column_of_system_prompts_comes_first(words, task_of, tmp_path):
    """As ShareGPT's and OpenOrca's."""
    rows = [
        {"system": f"tone {n}" if n % 2 else "", "conversations": sharegpt(turns(n, 1)), "id": n} for n in range(60)
    ]
    asked = [
        {"system": f"tone {n}" if n % 2 else None, "question": f"turn 0 of {n}", "response": f"turn 1 of {n}"}
        for n in range(60)
    ]
    for name, columns in (("a", rows), ("b", asked)):
        told = ["task.source=question", "task.target=response"] if name == "b" else []
        task = task_of(write_jsonl(tmp_path / f"{name}.jsonl", columns), *words, *told)
        found = [chat for split in task.splits.values() for chat in split.conversations]
        assert len(found) == 60
        for chat in found:
            n = int(chat[-1]["content"].split()[-1])
            system = f"tone {n}" if n % 2 else words == ["task.system=Answer."] and "Answer."
            assert list(chat) == [*([{"role": "system", "content": system}] if system else []), *turns(n, 1)]


@pytest.mark.parametrize(("columns", "words", "unread"), [
    ({"instruction": "{n}", "context": "c", "response": "a", "category": "x"}, [], "context, category"),
    ({"instruction": "{n}", "input": "i", "output": "a", "history": "h"}, [], "history"),
    ({"instruction": "{n}", "input": "i", "output": "a"}, [], None),
    ({"id": "{n}", "instruction": "{n}", "input": "i", "output": "a"}, [], None),
    ({"q": "{n}", "c": "i", "a": "a", "of": "{n}", "more": "", "tone": "t"},
     ["task.source='{q} {c}'", "task.target=a", "task.group=of", "task.system='In {tone}'"], "more"),
])  # fmt: skip
def test_columns_that_are_not_read_are_said(columns, words, unread, task_of, tmp_path):
    rows = [{name: text.format(n=n) for name, text in columns.items()} for n in range(60)]
    facts = task_of(write_jsonl(tmp_path / "rows.jsonl", rows), *words).findings()
    assert facts.suspicious == ([f"columns not read: {unread}"] if unread else [])


@pytest.mark.parametrize("roles", ["refuse", "pass", "leave_out"])
def test_conversations_with_tools_are_refused_or_left_out(roles, task_of, tmp_path):
    tools = {1: [{"name": "f"}], 2: [], 3: None, 4: "[]"}
    data = write_jsonl(tmp_path / "t.jsonl", [{"messages": chat, "tools": tools.get(n)} for n, chat in enumerate(ROWS)])
    words = [data, f"task.other_roles={roles}"]
    if roles == "leave_out":
        assert task_of(*words).findings().left_out == {"tools": ["train 2"]}
        return
    with pytest.raises(ConfigError, match=r"1 conversations with a list of tools \(rows 2\); .*=leave_out leaves"):
        task_of(*words)
    tools = [[{"name": "f"}] if n == 1 else [] for n in range(len(ROWS))]
    pd.DataFrame({"messages": ROWS, "tools": tools}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match=r"1 conversations with a list of tools \(rows 2\)"):
        task_of(f"task.data={tmp_path}/t.parquet", *words[1:])


def test_a_last_answer_of_weight_0_is_nothing_to_learn_where_it_alone_is_trained_on(task_of, tmp_path):
    chats = [*ROWS, [*turns(0, 1), turns(0, 2)[2], {**turns(0, 2)[3], "weight": 0}]]
    data = write_jsonl(tmp_path / "chats.jsonl", [{"messages": chat} for chat in chats])
    assert sum(task_of(data).describe()["rows"].values()) == 61
    with pytest.raises(ConfigError, match=r"\(rows 61\): a last turn of the assistant of weight 0 in 1; task.gaps="):
        task_of(data, "task.train_on=last")


def test_what_messages_hold_beside_texts_is_passed_on_out_of_parquet(task_of, tmp_path):
    when = [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02")]
    digests = set()
    for at in when:
        rows = [[{**message, "when": at} for message in chat] for chat in ROWS]
        pd.DataFrame({"messages": rows}).to_parquet(tmp_path / "chats.parquet")
        digests.add(task_of(f"task.data={tmp_path}/chats.parquet", "task.other_roles=pass").sha256)
    assert len(digests) == 2


def test_groups_and_like_conversations_stay_together(task_of, tmp_path):
    rows = [{"messages": chat, "of": f"p{n % 12}"} for n, chat in enumerate(ROWS)]
    again = [
        {"messages": [{"role": "user", "content": f"QUESTION {n} of {n % 5}"}, ROWS[n][-1]], "of": None} for n in (2, 4)
    ]
    task = task_of(write_jsonl(tmp_path / "chats.jsonl", rows + again), "task.group=of", "task.test_share=0.3")
    of = {str(n + 1): row["of"] for n, row in enumerate(rows)} | {"61": "p2", "62": "p4"}
    groups = [{of[name.split()[1]] for name in split.names} for split in task.splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 12
    assert all(groups)


def test_files_that_share_prompts_are_refused(task_of, tmp_path):
    data = write_openai(tmp_path)
    held = write_jsonl(tmp_path / "held.jsonl", [{"messages": chat} for chat in ROWS[:3]])
    held = held.replace("task.data", "task.test")
    with pytest.raises(
        ConfigError, match=r"task=chat: 3 sources of the test split stand in train too \(rows 1, 2, 3\)"
    ):
        task_of(data, held)
    assert len(task_of(data, held, "task.leaks=allow").splits["test"]) == 3


def turns(n, count):
    """The first turns of a conversation."""
    return [
        {"role": "assistant" if place % 2 else "user", "content": f"turn {place} of {n}"} for place in range(2 * count)
    ]


@pytest.mark.parametrize("words", [[], ["task.group=of"]], ids=["no group", "a group by row"])
def test_beginnings_of_a_conversation_stay_with_it(words, task_of, tmp_path):
    """A row for each turn of the assistant, as some data sets are written."""
    rows = [{"messages": turns(n, count), "of": f"{n}-{count}"} for n in range(40) for count in (1, 2, 3)]
    task = task_of(write_jsonl(tmp_path / "chats.jsonl", rows), "task.test_share=0.3", *words)
    splits = [{chat[0]["content"] for chat in split.conversations} for split in task.splits.values()]
    assert all(splits)
    assert sum(map(len, splits)) == len(set.union(*splits)) == 40


@pytest.mark.parametrize("held", [1, 3], ids=["its beginning", "going on with it"])
def test_a_file_with_the_beginning_of_a_conversation_in_another_is_refused(held, task_of, tmp_path):
    data = write_jsonl(tmp_path / "chats.jsonl", [{"messages": turns(n, 2)} for n in range(200)])
    same = {"messages": turns(7, held)}
    other = [{"messages": [*turns(7, 1)[:1], *turns(n, 3)]} for n in range(200, 400)]  # the first turn alone is shared
    test = write_jsonl(tmp_path / "held.jsonl", [same, *other]).replace("task.data", "task.test")
    with pytest.raises(ConfigError, match=r"1 conversations of the test split are the beginning of .* \(rows 1\)"):
        task_of(data, test)
    assert len(task_of(data, test, "task.leaks=allow").splits["test"]) == 201


def test_an_assistant_that_speaks_first_does_so_behind_a_system_prompt(task_of, tmp_path):
    greeting = {"role": "assistant", "content": "Hi, how can I help?"}
    data = write_jsonl(tmp_path / "chats.jsonl", [{"messages": [greeting, *turns(n, 1)]} for n in range(40)])
    with pytest.raises(
        ConfigError, match=r"nothing before the assistant's first turn in 40; .*; task\.system=TEXT has"
    ):
        task_of(data)
    task = task_of(data, "task.system='Be kind.'")
    assert {name: len(split.conversations) for name, split in task.splits.items()} == {
        "train": 32,
        "validation": 4,
        "test": 4,
    }, "the same greeting makes no one conversation of them"
    assert all(chat[1] == greeting for chat in task.splits["train"].conversations)


ASKED, SAID = ROWS[0][:2]
CALL = {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}
TOOL = [ASKED, CALL, {"role": "tool", "content": "1"}, SAID]
WRONG = {
    "no turn of the assistant in 1": [ASKED],
    "a turn of the assistant without text in 1": [ASKED, {"role": "assistant", "content": " "}],
    "nothing before the assistant's first turn in 1": [SAID],
    "none of system, user, assistant: tool, tool_calls (rows 61); task.other_roles=leave_out": TOOL,
    "no turn of the assistant but of weight 0 in 1": [ASKED, {**SAID, "weight": 0}],
    "row 61: messages: message 2: its weight is '0.5'; 1, or 0 where it is not trained on": [
        ASKED,
        {**SAID, "weight": 0.5},
    ],
    "row 61: messages: message 1: its content is list": [{"role": "user", "content": [{"type": "image"}]}],
    "row 61: messages: message 2 has no role; names: text; expected {role, content}": [ASKED, {"text": "x"}],
    "row 61: messages: message 1 is str 'hello'; expected {role, content}": ["hello"],
    "row 61: messages is 'hello' (str), no list": "hello",
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_no_conversation_is_one_line(said, task_of, tmp_path):
    data = write_jsonl(tmp_path / "chats.jsonl", [{"messages": chat} for chat in [*ROWS, WRONG[said]]])
    with pytest.raises(ConfigError) as error:
        task_of(data)
    (line,) = error.value.args
    assert said in line
    assert line.startswith(f"task.data={tmp_path}/chats.jsonl: ")


def test_what_is_left_out_is_counted_and_what_is_not_read_is_said(task_of, tmp_path):
    odd = [{"messages": ROWS[1][:1]}, {"messages": TOOL}, {"messages": [{**m, "name": "x"} for m in ROWS[2]]}]
    odd += [{"messages": [*ROWS[4], {"role": "user", "content": "thanks"}]}]
    data = write_jsonl(tmp_path / "chats.jsonl", [*({"messages": chat} for chat in ROWS), *odd])
    facts = task_of(data, "task.gaps=leave_out", "task.other_roles=leave_out").findings()
    assert facts.left_out == {
        "other roles": ["train 62"],
        "no turn of the assistant": ["train 61"],
        "repeated": ["train 63", "train 64"],
    }
    assert facts.suspicious == [
        "2 messages have name, which is not read",
        "1 conversations go on after the assistant's last turn; what follows is not read",
    ]


def test_other_roles_are_passed_to_the_template_as_they_are(task_of, tmp_path):
    data = write_jsonl(tmp_path / "chats.jsonl", [*({"messages": chat} for chat in ROWS), {"messages": TOOL}])
    task = task_of(data, "task.other_roles=pass")
    chats = [chat for split in task.splits.values() for chat in split.conversations]
    (found,) = [chat for chat in chats if any(message["role"] == "tool" for message in chat)]
    assert list(map(dict, found)) == [ASKED, {**CALL, "content": ""}, *TOOL[2:]]


def test_an_answer_that_is_no_text_is_one_line(task_of, tmp_path):
    rows = [{"prompt": "x", "completion": "y"}, {"prompt": "z", "completion": {"text": "y"}}]
    with pytest.raises(ConfigError, match=r"task\.target=completion: .*: row 2: .* \(dict\) is no text"):
        task_of(write_jsonl(tmp_path / "rows.jsonl", rows))


def test_texts_of_nobody_name_the_templates_that_read_two_of_them(task_of, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", [{"conversations": [f"what is {n}", f"it is {n}"]} for n in range(60)])
    with pytest.raises(ConfigError, match=r"a list of texts, which says of none whose it is; 'task\.source=\"\{conv"):
        task_of(data)
    two = ['task.source="{conversations[0]}"', 'task.target="{conversations[1]}"']
    chats = [chat for split in task_of(data, *two).splits.values() for chat in split.conversations]
    assert {len(chat) for chat in chats} == {2}


def test_no_conversations_are_told_with_the_columns(task_of, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", [{"a": "x", "b": "y"}])
    with pytest.raises(ConfigError, match=r"no conversations found; expected messages, .* columns: a, b$"):
        task_of(data)
    capitals = write_jsonl(tmp_path / "faq.jsonl", [{"Question": "x", "Answer": "y"}])
    with pytest.raises(ConfigError, match=r"task\.source=Question task\.target=Answer are there$"):
        task_of(capitals)
    with pytest.raises(ConfigError, match=r"^task\.data: missing; give the path"):
        task_of()
    with pytest.raises(ConfigError, match="task.messages=chat: .* has no such column"):
        task_of(data, "task.messages=chat")
    (tmp_path / "t.jinja").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"task\.template="):
        task_of(write_openai(tmp_path), f"task.template={tmp_path}/t.jinja")
    (tmp_path / "t.jinja").write_text("{% for m in messages %}")
    with pytest.raises(
        ConfigError, match=r"task\.template=.*t\.jinja: TemplateSyntaxError: Unexpected end of template"
    ):
        task_of(write_openai(tmp_path), f"task.template={tmp_path}/t.jinja")
    (tmp_path / "t.jinja").write_text("{{ messages[0].content + messages[1].nothing }}")
    assert task_of(write_openai(tmp_path), f"task.template={tmp_path}/t.jinja").jinja  # of conversations: told by row


def test_a_system_prompt_does_not_show_answers_of_columns_that_are_found(task_of, tmp_path):
    with pytest.raises(ConfigError, match=r"a\.jsonl: task\.system=\{answer\}: task\.target=answer is read in it"):
        task_of(write_jsonl(tmp_path / "a.jsonl", [{"question": "q", "answer": "a"}]), "task.system='{answer}'")


@pytest.mark.parametrize(("words", "said"), [
    (["model=t5_small"], "model=t5_small: it has an encoder and a decoder; task=chat needs a causal language model"),
    (["model=gpt2", "task.max_length=1000"], "task.max_length=1000 and task.max_new_tokens=256: model=gpt2 has 1024"),
    (["model=gpt2", "task.dataset=d"], "task.data=x.jsonl task.dataset=d: files, or a data set with its own splits"),
    (["model=gpt2", "task.source=a"], "task.source and task.target: both of them, or none"),
    (["model=gpt2", "task.source=a", "task.target=b", "task.messages=c"], "task.messages=c task.source=a: one of them"),
])  # fmt: skip
def test_settings_at_odds_are_refused_before_anything_is_read(words, said, compose_plain):
    with pytest.raises(ConfigError) as error:
        compose_plain("task=chat", "task.data=x.jsonl", "trainer.objective=loss", *words)
    assert said in error.value.args[0]


@pytest.mark.parametrize("content", ["", "  ", None])
def test_an_empty_system_prompt_is_none(content, task_of, tmp_path):
    bare = [[message for message in chat if message["role"] != "system"] for chat in ROWS]
    empty = [[{"role": "system", "content": content}, *chat] for chat in bare]
    for words in ([], ["task.system=Be kind."]):
        read = [
            task_of(write_jsonl(tmp_path / f"{n}.jsonl", [{"messages": chat} for chat in rows]), *words)
            for n, rows in enumerate((bare, empty))
        ]
        assert read[0].sha256 == read[1].sha256


def test_breaks_in_templates_are_read_as_they_are_meant(task_of, tmp_path):
    rows = [{"q": f"what is {n}?", "more": f"a {n}\\n b", "a": f"it is {n}"} for n in range(60)]
    words = ["task.target=a", r"""task.source="{q}\n\n{more}\\n" """.strip(), r"task.system='Be kind.\nBe brief.'"]
    task = task_of(write_jsonl(tmp_path / "rows.jsonl", rows), *words)
    chats = [chat for split in task.splits.values() for chat in split.conversations]
    assert {chat[0]["content"] for chat in chats} == {"Be kind.\nBe brief."}
    assert {chat[1]["content"] for chat in chats} == {f"{row['q']}\n\n{row['more']}\\n" for row in rows}
