"""Trials on conversations: their loss, their answers, and what PEFT and transformers make of what they leave."""

import csv
import json
import re

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.config import ConfigError
from harness.task import build_task
from harness.trial.export import export_trial
from harness.trial.predict_chats import answer, read_chats, write_answers
from tests.model.small import save_small
from tests.task.chat_fixtures import CHATML, MARKED, save_base, unmarked
from tests.trial.test_export import trained  # noqa: F401  a fixture
from tests.trial.test_hf_trial import based_on

WORDS = ("two", "plus", "name", "colour", "last", "another", "green", "black", "blue", "red")


@pytest.fixture
def chats(tmp_path):
    """The assistant says the user's last word again."""
    rows = []
    for n in range(90):
        asked = f"{WORDS[n % 10]} {n} {WORDS[n // 10]}"
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": WORDS[n // 10]}]
        if n % 3 == 0:
            turns += [{"role": "user", "content": WORDS[n % 7]}, {"role": "assistant", "content": WORDS[n % 7]}]
        rows.append(json.dumps({"messages": turns}))
    (tmp_path / "chats.jsonl").write_text("\n".join(rows) + "\n")
    few = ["task.max_length=64", "task.max_new_tokens=6", "task.generate_rows=5", "trainer.objective=loss"]
    return ["task=chat", f"task.data={tmp_path}/chats.jsonl", *few]


@pytest.mark.parametrize("own", [None, "marked", "plain"])
def test_peft_and_transformers_score_and_write_what_the_trial_does(own, chats, trained, tmp_path):  # noqa: F811
    """The tokenizer's own template, one from a file beside another of the tokenizer's, and the plain one."""
    jinja = MARKED["turns"]
    save_base(tmp_path / "base", {None: unmarked(jinja), "marked": CHATML, "plain": None}[own])
    (tmp_path / "mine.jinja").write_text(jinja)
    words = [f"task.template={tmp_path}/mine.jinja"] if own == "marked" else []
    made = trained(*chats, *based_on(tmp_path / "base"), "lora.targets=all-linear", "lora.rank=2", *words)
    export_trial(made, tmp_path / "out", merged=False)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    network = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    split = build_task(made.config.task).splits["validation"]
    marked = tokenizer.chat_template if own == "plain" else jinja
    nats = count = 0
    for chat in split.conversations:
        found = tokenizer.apply_chat_template(
            list(chat), chat_template=marked, return_assistant_tokens_mask=True, return_dict=True, return_tensors="pt"
        )
        labels = found["input_ids"].where(found["assistant_masks"] == 1, -100)
        with torch.no_grad():
            loss = network(input_ids=found["input_ids"], labels=labels).loss
        nats, count = (
            nats + float(loss) * int((labels[:, 1:] != -100).sum()),
            count + int((labels[:, 1:] != -100).sum()),
        )
    assert made.entry.scores["val"]["loss"] == pytest.approx(nats / count, rel=1e-5)
    asked = read_chats(made.config.task, tmp_path / "chats.jsonl")[:6]
    assert answer(made, asked) == [as_the_card_says(tmp_path / "out", network, chat) for chat in asked]
    before = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()
    assert answer(made, asked) != [as_the_card_says(tmp_path / "out", before, chat) for chat in asked]
    assert made.entry.provenance.inputs["template"].split()[0] == {None: "tokenizer", "marked": "file"}.get(own, own)


def as_the_card_says(folder, network, chat):
    """What the code in the card writes, with another network in place of the one that it loads."""
    code = (folder / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    lines = [line for line in code.splitlines() if not line.startswith(("model =", "chat =", "print(", "from peft"))]
    found = {"model": network, "chat": [dict(message) for message in chat]}
    exec("\n".join(lines).replace("FOLDER", str(folder)).replace("max_new_tokens=256", "max_new_tokens=6"), found)
    return found["tokenizer"].decode(found["answer"], skip_special_tokens=True)


def test_arguments_of_the_template_are_in_the_record_and_in_the_card(chats, trained, tmp_path):  # noqa: F811
    shouted = "{% if m.role == 'assistant' and shout %}{{ '! ' }}{% endif %}"
    save_base(tmp_path / "base", unmarked(CHATML).replace("{% if m.role", shouted + "{% if m.role", 1))
    words = ["'task.template_arguments={shout: true}'", "lora.targets=all-linear", "lora.rank=2"]
    made = trained(*chats, *based_on(tmp_path / "base"), *(word.strip("'") for word in words))
    assert made.entry.provenance.inputs["template_arguments"] == '{"shout": true}'
    export_trial(made, tmp_path / "out", merged=False)
    network = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    asked = [
        [{"role": "user", "content": "red"}, {"role": "assistant", "content": "red"}, {"role": "user", "content": n}]
        for n in WORDS[:4]
    ]
    assert answer(made, asked) == [as_the_card_says(tmp_path / "out", network, chat) for chat in asked]
    assert '"shout": True' in (tmp_path / "out" / "README.md").read_text()


def test_a_merged_trial_ends_its_answers_by_itself(chats, trained, tmp_path):  # noqa: F811
    save_base(tmp_path / "base", MARKED["turns"])
    made = trained(*chats, *based_on(tmp_path / "base"), "lora.targets=all-linear", "lora.rank=2")
    export_trial(made, tmp_path / "out", merged=True)
    network = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert network.generation_config.eos_token_id == [2, 9]
    asked = read_chats(made.config.task, tmp_path / "chats.jsonl")[:4]
    assert answer(made, asked) == [as_the_card_says(tmp_path / "out", network, chat) for chat in asked]


def test_the_best_weights_write_the_best_answers(chats, trained, tmp_path):  # noqa: F811
    """Compared with the answers as the template writes them: here in capitals."""
    save_base(tmp_path / "base", CHATML.replace("generation %}{{ m.content", "generation %}{{ m.content | upper"))
    words = ["trainer.objective=chrf", "trainer.measures=[exact,rouge_l]", "lora.targets=all-linear", "lora.rank=2"]
    made = trained(*chats, *based_on(tmp_path / "base"), *words)
    assert set(made.entry.scores["val"]) == {"loss", "perplexity", "chrf", "exact", "rouge_l"}
    assert set(made.entry.scores["test"]) == {"loss", "perplexity", "bleu", "chrf", "exact", "rouge_l"}
    split = build_task(made.config.task).splits["test"]
    with open(made.folder / "written.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["wanted"] for row in rows] == [said.upper() for said in split.answers[:5]]
    assert [row["written"] for row in rows] == answer(made, [chat[:-1] for chat in split.conversations[:5]])


def test_answers_are_predicted_for_a_file(chats, trained, tmp_path, run_here):  # noqa: F811
    save_base(tmp_path / "base", CHATML)
    words = ["lora.targets=all-linear", "lora.rank=2", "task.system='Say it again.'"]
    made = trained(*chats, *based_on(tmp_path / "base"), *words)
    (tmp_path / "ask.txt").write_text("red 1 blue\nname two\n")
    (tmp_path / "ask.csv").write_text("instruction,input\nred 1 blue,\nname two,\n")
    system = {"role": "system", "content": "Say it again."}
    wanted = [[system, {"role": "user", "content": text}] for text in ("red 1 blue", "name two")]
    for name in ("ask.txt", "ask.csv"):
        assert read_chats(made.config.task, tmp_path / name) == wanted
    command = ["run=predict", "study=s", f"results={tmp_path}/results", f"input={tmp_path}/ask.txt"]
    code, said, _ = run_here(*command, f"output={tmp_path}/said.csv")
    assert (code, said.strip()) == (0, f"{tmp_path}/said.csv")
    with open(tmp_path / "said.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = answer(made, wanted)
    assert [tuple(row.values()) for row in rows] == [("red 1 blue", texts[0]), ("name two", texts[1])]
    (tmp_path / "bad.jsonl").write_text('{"messages": [{"role": "system", "content": "x"}]}\n')
    with pytest.raises(ConfigError, match=r"input=.*bad\.jsonl: no turn of the user in 1 rows \(1\)"):
        read_chats(made.config.task, tmp_path / "bad.jsonl")
    save_base(tmp_path / "base", unmarked(CHATML))
    with pytest.raises(ConfigError, match="task.template=null: the tokenizer's: another chat template now than that"):
        answer(made, wanted)


def test_conversations_that_the_tokenizer_does_not_know_are_told(chats, trained, tmp_path, caplog):  # noqa: F811
    save_small(AutoModelForCausalLM, "llama", tmp_path / "base")
    words = ["lora.targets=all-linear", "lora.rank=2", "task.unknown_tokens=allow", "task.max_length=50"]
    made = trained(*chats, *based_on(tmp_path / "base"), *words)
    strange = " ".join(["ቃ", "ና"] * 8)
    (tmp_path / "ask.txt").write_text(f"{'w1 w2 ' * 8}\n{strange}\n")
    write_answers(made, tmp_path / "ask.txt", tmp_path / "said.csv")
    assert "are unknown to the model's tokenizer; in 1 texts more than half (rows 2)" in caplog.text


def test_three_rows_are_shown_with_what_is_learned_in_colour(chats, tmp_path, run_here, own_cache, monkeypatch):
    save_base(tmp_path / "base", CHATML)
    code, said, _ = run_here("run=show", *chats, *based_on(tmp_path / "base"))
    assert code == 0
    assert said.count("training row ") == 3
    turns = re.findall(r"<\|im_start\|>assistant\n(.*?<\|im_end\|>.*)", said)
    assert turns
    assert all(re.fullmatch(r"\[\[\w+<\|im_end\|>\]\]", turn) for turn in turns)
    assert said.count("[[") == len(turns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    code, coloured, _ = run_here("run=show", *chats, *based_on(tmp_path / "base"))
    assert code == 0
    assert "[[" not in coloured
    assert len(re.findall(r"\x1b\[1;32m\w+<\|im_end\|>\x1b\[0m", coloured)) == len(turns)


def test_a_look_at_the_data_shows_a_row_with_what_is_trained_on(chats, tmp_path, run_here, own_cache):
    save_base(tmp_path / "base", CHATML)
    code, said, _ = run_here("run=data", *chats, *based_on(tmp_path / "base"), f"results={tmp_path}/results")
    assert code == 0
    assert "chat template: the tokenizer's own\ntrained on: " in said
    assert "|<|im_end|>]]|\n" in said
    assert (tmp_path / "results" / "single" / "data.md").read_text().count("[[") == said.count("[[") > 0
