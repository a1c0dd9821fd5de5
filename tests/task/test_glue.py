"""GLUE's and SuperGLUE's tasks as presets: their columns, splits and classes as the datasets library has them."""

import json
import re

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from harness.config import ConfigError
from harness.task.build import read_task
from harness.task.measures import named_measure

TEXT = Value("string")
IDX = {name: Value("int32") for name in ("paragraph", "question", "answer")}  # as MultiRC has it; elsewhere not read
SPLITS = {"train": "train", "validation": "validation", "test": "test"}
MNLI = {
    "train": "train",
    "validation_matched": "validation",
    "validation_mismatched": "validation",
    "test_matched": "test",
    "test_mismatched": "test",
}
ENTAILED, OF_TWO = ["entailment", "not_entailment"], ["not_entailment", "entailment"]
ANSWER = ["False", "True"]

# name: columns of text, names of classes (None: a number), the official measure, those beside it, the positive class
GLUE = {
    "cola": (["sentence"], ["unacceptable", "acceptable"], "matthews", [], None),
    "mrpc": (["sentence1", "sentence2"], ["not_equivalent", "equivalent"], "f1", ["accuracy"], "equivalent"),
    "qqp": (["question1", "question2"], ["not_duplicate", "duplicate"], "f1", ["accuracy"], "duplicate"),
    "stsb": (["sentence1", "sentence2"], None, "pearson", ["spearman"], None),
    "mnli": (["premise", "hypothesis"], ["entailment", "neutral", "contradiction"], "accuracy", [], None),
    "mnli_mismatched": (["premise", "hypothesis"], ["entailment", "neutral", "contradiction"], "accuracy", [], None),
    "qnli": (["question", "sentence"], ENTAILED, "accuracy", [], None),
    "rte": (["sentence1", "sentence2"], ENTAILED, "accuracy", [], None),
    "wnli": (["sentence1", "sentence2"], OF_TWO, "accuracy", [], None),
    "boolq": (["question", "passage"], ANSWER, "accuracy", [], None),
    "cb": (["premise", "hypothesis"], ["entailment", "contradiction", "neutral"], "accuracy", ["f1_macro"], None),
    "wic": (["word", "sentence1", "sentence2"], ANSWER, "accuracy", [], None),
    "wsc": (["text", "span1_text", "span2_text"], ANSWER, "accuracy", [], None),
    "multirc": (["paragraph", "question", "answer"], ANSWER, "f1", ["group_exact"], "True"),
}

# name: both texts that are read of a row, by its columns
READ = {
    "cola": ("{sentence}", None),
    "mrpc": ("{sentence1}", "{sentence2}"),
    "qqp": ("{question1}", "{question2}"),
    "stsb": ("{sentence1}", "{sentence2}"),
    "mnli": ("{premise}", "{hypothesis}"),
    "mnli_mismatched": ("{premise}", "{hypothesis}"),
    "qnli": ("{question}", "{sentence}"),
    "rte": ("{sentence1}", "{sentence2}"),
    "wnli": ("{sentence1}", "{sentence2}"),
    "boolq": ("{question}", "{passage}"),
    "cb": ("{premise}", "{hypothesis}"),
    "wic": ("{word}: {sentence1}", "{sentence2}"),
    "wsc": ("{text}", "{span2_text}: {span1_text}"),
    "multirc": ("{paragraph}", "{question} {answer}"),
}


def rows_of(columns, classes, split, kind, count):
    """Texts that say their column, split and row; two rows contradict each other; of test no label is given."""
    found = {name: [f"{name} {split} {row % (count - 1)}" for row in range(count)] for name in columns}
    labels = [row % len(classes) if classes else row / 7 for row in range(count)]
    found["label"] = [-1 if kind == "test" else label for label in labels]
    found["idx"] = [{"paragraph": row, "question": 0, "answer": row} for row in range(count)]
    return found


def saved(folder, columns, classes, splits):
    label = ClassLabel(names=classes) if classes else Value("float32")
    features = Features(dict.fromkeys(columns, TEXT) | {"label": label, "idx": IDX})
    made = {
        name: Dataset.from_dict(rows_of(columns, classes, name, kind, 61 if kind == "train" else 20), features=features)
        for name, kind in splits.items()
    }
    DatasetDict(made).save_to_disk(str(folder))
    return folder


@pytest.mark.parametrize("name", GLUE)
def test_a_preset_reads_the_published_splits(name, compose_plain, tmp_path):
    columns, classes, objective, measures, positive = GLUE[name]
    splits = MNLI if name.startswith("mnli") else SPLITS
    folder = saved(tmp_path / "d", columns, classes, splits)
    config = compose_plain(f"task={name}", f"task.dataset={folder}", "task.validation_share=0.2")
    assert (config.trainer.objective, config.trainer.measures) == (objective, measures)
    task = read_task(config.task)
    scored = {"mnli": "validation_matched", "mnli_mismatched": "validation_mismatched"}.get(name, "validation")
    assert len(task.splits["test"]) == 20, "all rows, also those that contradict each other"
    read = task.splits["test"]
    for row in range(3):
        cells = {column: f"{column} {scored} {row}" for column in columns}
        text, pair = (template and template.format(**cells) for template in READ[name])
        assert (read.texts[row], read.pairs[row] if read.pairs else None) == (text, pair)
        answer = task.classes[read.labels[row]] if classes else read.labels[row]
        assert answer == (classes[row % len(classes)] if classes else pytest.approx(row / 7, rel=1e-6))
    assert {text.split(" train ")[0].split()[-1] for text in task.splits["validation"].texts} <= set(columns)
    assert 0 < len(task.splits["validation"]) < len(task.splits["train"]) < 61
    assert set(task.classes) == set(classes or ())
    if positive:
        assert task.classes[1] == positive
    for measure in (objective, *measures):
        assert measure in task.metrics().names or named_measure(measure, len(task.classes)) is not None
    told = task.findings().suspicious
    assert any("test" in line and "passed over" in line for line in told)


@pytest.mark.parametrize(
    ("name", "words", "measures"),
    [
        ("cb", ["trainer.objective=f1_macro"], ["accuracy"]),
        ("mrpc", ["trainer.objective=accuracy"], ["f1"]),
        ("stsb", ["trainer.objective=loss"], ["pearson", "spearman"]),
        ("cola", ["trainer.objective=accuracy"], ["matthews"]),
        ("mrpc", ["trainer.objective=accuracy", "trainer.measures=[auroc]"], ["auroc"]),
        ("hf", ["trainer.objective=f1"], []),
        ("hf", ["task.answer=number", "trainer.objective=loss"], []),
    ],
)
def test_official_measures_stay_beside_another_objective(name, words, measures, compose_plain):
    assert compose_plain(f"task={name}", *words).trainer.measures == measures


@pytest.mark.parametrize("name", [*GLUE, "copa"])
def test_a_preset_is_pinned(name, compose_plain):
    task = compose_plain(f"task={name}", *(["model=smollm2_135m"] if name == "copa" else [])).task
    owner, _, revision = task.dataset.partition("@")
    assert owner in ("nyu-mll/glue", "aps/super_glue")
    assert len(revision) == 40
    assert task.subset == {"mnli_mismatched": "mnli", "wsc": "wsc.fixed"}.get(name, name)


def test_copa_is_a_choice_of_two_columns_by_name(compose_plain, tmp_path):
    names = ["choice1", "choice2"]
    features = Features(dict.fromkeys(["premise", *names, "question"], TEXT) | {"label": ClassLabel(names=names)})
    made = {
        split: Dataset.from_dict(
            {
                "premise": [f"it rained {split} {row}." for row in range(40)],
                "choice1": [f"it was wet {split} {row}" for row in range(40)],
                "choice2": [f"it was dry {split} {row}" for row in range(40)],
                "question": [["cause", "effect"][row % 2] for row in range(40)],
                "label": [-1 if split == "test" else row // 2 % 2 for row in range(40)],
            },
            features=features,
        )
        for split in SPLITS
    }
    DatasetDict(made).save_to_disk(str(tmp_path / "d"))
    task = read_task(compose_plain("task=copa", f"task.dataset={tmp_path}/d", "model=smollm2_135m").task)
    found = task.splits["test"]
    assert found.questions[:2] == (
        "it rained validation 0. What is the cause?",
        "it rained validation 1. What is the effect?",
    )
    assert list(found.answers[:4]) == [0, 0, 1, 1]
    assert task.findings().suspicious == ["the split test was passed over; test is validation"]


def test_the_positive_class_is_the_second_and_f1_is_of_it(compose_plain, tmp_path):
    rows = [f"text {row},{'fault' if row % 4 == 0 else 'normal'}" for row in range(80)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    words = ["task=text_csv", f"task.data={tmp_path}/a.csv"]
    assert read_task(compose_plain(*words).task).classes == ("fault", "normal")
    task = read_task(compose_plain(*words, "task.positive=fault").task)
    assert task.classes == ("normal", "fault")
    assert task.sha256 != read_task(compose_plain(*words).task).sha256
    assert task.describe()["labels"]["test"] == [12, 4]
    with pytest.raises(ConfigError, match=r"task\.positive=broken: one of two classes is expected; fault, normal"):
        read_task(compose_plain(*words, "task.positive=broken").task)
    with pytest.raises(ConfigError, match=r"task\.positive=1: one of two classes, and task\.answer=labels"):
        compose_plain(*words, "task.positive=1", "task.answer=labels", "trainer.objective=loss")


WHAT = {
    "hf": ([], {"text": "a sentence", "label": "x"}),
    "chat": (["trainer.objective=loss", "model=smollm2_135m"], {"prompt": "say", "completion": "said"}),
    "choice": (
        ["trainer.objective=accuracy", "model=smollm2_135m"],
        {"question": "which", "choices": ["a", "b"], "answerKey": "A"},
    ),
    "extractive_qa": (
        ["trainer.objective=f1"],
        {"question": "which", "context": "the dog barks", "answers": {"text": ["dog"], "answer_start": [4]}},
    ),
}


def numbered(row, what, split, number):
    """The row's first text with split and number in it; of classes two of them."""
    first = next(iter(row))
    return {**row, first: f"{row[first]} {split} {number}"} | ({"label": "xy"[number % 2]} if what == "hf" else {})


@pytest.mark.parametrize("what", WHAT)
def test_splits_of_other_names_are_told_and_can_be_named(what, compose_plain, tmp_path):
    words, row = WHAT[what]
    if what == "extractive_qa":  # whose contexts are what is cut by
        contexts = {"context": "the dog barks at "}
    names = ["train", "train_extra", "validation_one", "validation_two"]
    made = {}
    for split in names:
        rows = [numbered(row, what, split, number) for number in range(60)]
        if what == "extractive_qa":
            rows = [each | {"context": f"{contexts['context']}{split} {at}"} for at, each in enumerate(rows)]
        made[split] = Dataset.from_list(rows)
    DatasetDict(made).save_to_disk(str(tmp_path / "d"))
    base = [f"task={what}", f"task.dataset={tmp_path}/d", *words]
    task = read_task(compose_plain(*base).task)
    over = [line for line in task.findings().suspicious if "passed over" in line]
    assert over == [
        f"the split {name} is none of train, validation and test, and was passed over" for name in names[1:]
    ]
    named = ["task.validation=validation_one", "task.test=validation_two", "task.train=train_extra"]
    task = read_task(compose_plain(*base, *named).task)
    assert dict(task.describe()["rows"]) == dict.fromkeys(SPLITS, 60)
    over = [line for line in task.findings().suspicious if "passed over" in line]
    assert over == ["the split train was passed over; train is train_extra"]
    with pytest.raises(
        ConfigError, match=r"task\.test=validation_on: no such split; did you mean validation_(one|two)\?; splits"
    ):
        read_task(compose_plain(*base, "task.test=validation_on").task)
    with pytest.raises(ConfigError, match=r"task\.test=train_extra: the train split, too; it is one of them"):
        read_task(compose_plain(*base, "task.train=train_extra", "task.test=train_extra").task)


def test_a_data_set_without_a_train_split_says_how_it_is_named(compose_plain, tmp_path):
    rows = [numbered({"text": "a sentence"}, "hf", "x", number) for number in range(60)]
    DatasetDict(train_sft=Dataset.from_list(rows), test_sft=Dataset.from_list(rows)).save_to_disk(str(tmp_path / "d"))
    with pytest.raises(
        ConfigError, match=r"no train split; splits: train_sft, test_sft; task\.train=train_sft names it"
    ):
        read_task(compose_plain("task=hf", f"task.dataset={tmp_path}/d").task)
    with pytest.raises(ConfigError, match=r"task\.train=x: the name of a split of task\.dataset"):
        compose_plain("task=chat", "task.train=x", "task.data=a.jsonl", "model=smollm2_135m", "trainer.objective=loss")
    with pytest.raises(ConfigError, match=r"task\.data=a\.csv: task=hf reads task\.dataset; task=text_csv reads files"):
        compose_plain("task=hf", "task.data=a.csv")


def test_a_template_makes_a_text_of_several_columns(compose_plain, tmp_path):
    rows = [{"a": f"one {row}", "b": row, "label": "xy"[row % 2]} for row in range(60)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ["task=text_csv", f"task.data={tmp_path}/a.jsonl", "task.text='{a}, then {b}'"]
    task = read_task(compose_plain(*words).task)
    assert {text for split in task.splits.values() for text in split.texts} == {
        f"one {row}, then {row}" for row in range(60)
    }
    rows[7]["b"] = None
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert "1 rows have no b, which task.text names" in " ".join(read_task(compose_plain(*words).task).facts.suspicious)
    rows[7]["a"] = None
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ConfigError, match=r"1 rows have no \{a\}, then \{b\} or no label \(rows 8\)"):
        read_task(compose_plain(*words).task)
    with pytest.raises(ConfigError, match=r"task\.text=\{c\}: .*has no column c"):
        read_task(compose_plain(*words[:2], "task.text='{c}'").task)


TEMPLATES = {
    "{}": "a column without its name in it",
    "{0} and {a}": "a column without its name in it",
    "{[0]}": "a column without its name in it",
    "{a": r"columns cannot be told in it \(expected '}' before end of string\)",
    "{a}}": r"columns cannot be told in it \(Single '}' encountered in format string\)",
    "only {{": "no column in it",
}
OF_TASKS = {
    "text_csv": ("task.data=a.csv", "text", "text_pair", "label"),
    "seq2seq": ("task.data=a.csv model=smollm2_135m trainer.objective=loss", "source", "target", "group"),
    "chat": ("task.data=a.csv task.target=b model=smollm2_135m trainer.objective=loss", "source", "system"),
    "choice": ("task.data=a.csv model=smollm2_135m", "question"),
}


@pytest.mark.parametrize(("task", "key"), [(task, key) for task, (_, *keys) in OF_TASKS.items() for key in keys])
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_that_names_no_column_is_refused_by_its_key(template, task, key, compose_plain):
    words = [f"task={task}", *OF_TASKS[task][0].split(), f"task.{key}='{template}'"]
    if key == "system":
        words.append("task.source=a")
    with pytest.raises(ConfigError) as error:
        compose_plain(*words)
    assert re.fullmatch(
        f"{re.escape(f'task.{key}={template}')}: {TEMPLATES[template]}; {{column}} stands for one", str(error.value)
    )


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["task=text_csv", "task.text='{text} ({label})'"], "text"),
        (["task=text_csv", "task.text_pair='{more[0]} {label[name]}'"], "text_pair"),
        (["task=text_csv", "task.text='{a}'", "task.label=a"], "text"),
        (["task=text_csv", "task.text=a", "task.label='{a}{b}'"], "text"),
        (["task=choice", "model=smollm2_135m", "task.question='{question} {answerKey!s}'"], "question"),
    ],
)
def test_a_template_does_not_show_the_answer(words, key, compose_plain):
    with pytest.raises(ConfigError, match=rf"^task\.{key}=\S.*: task\.label=\S+ is read in it, which is the answer"):
        compose_plain("task.data=a.csv", *words)


TARGET = ["task.target=b", "model=smollm2_135m", "trainer.objective=loss"]


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["task=seq2seq", *TARGET, "task.source='{a} {b}'"], "source"),
        (["task=seq2seq", *TARGET, "task.source='{b[0]}'"], "source"),
        (["task=seq2seq", *TARGET, "task.source=b"], "source"),
        (["task=seq2seq", *TARGET, "task.source='{a} {b} {c}'", "task.target='{a} {b}'"], "source"),
        (["task=chat", *TARGET, "task.source='{a} {b}'"], "source"),
        (["task=chat", *TARGET, "task.source=a", "task.system='{b}'"], "system"),
    ],
)
def test_a_template_does_not_show_the_target(words, key, compose_plain):
    with pytest.raises(ConfigError, match=rf"^task\.{key}=\S.*: task\.target=.+ is read in it, which is the answer"):
        compose_plain("task.data=a.jsonl", *words)


@pytest.mark.parametrize(
    "words",
    [
        ["task=seq2seq", *TARGET, "task.source='Into {a}: {c}'", "task.target='{a}: {b}'"],
        ["task=chat", *TARGET, "task.source=a", "task.system=b"],
    ],
)
def test_a_template_may_name_a_part_of_the_target_and_a_text_may_be_named_so(words, compose_plain):
    assert compose_plain("task.data=a.jsonl", *words).task.target in ("b", "{a}: {b}")


@pytest.mark.parametrize(
    "words",
    [
        ["task.text='{label_of} of {labels[0]}: {{label}}'", "task.group=g", "task.text_pair='{g}'"],
        ["task.text='{of[text]}'", "task.label='{of[label]}'"],
    ],
)
def test_a_template_may_name_what_is_no_answer(words, compose_plain):
    assert compose_plain("task=text_csv", "task.data=a.csv", *words).task.text in words[0]


def test_a_part_of_a_folder_is_named_by_its_subset(compose_plain, tmp_path):
    (tmp_path / "d/mrpc").mkdir(parents=True)
    rows = [numbered({"text": "a sentence"}, "hf", "x", number) for number in range(60)]
    Dataset.from_list(rows).to_parquet(tmp_path / "d/mrpc/train-00000-of-00001.parquet")
    words = ["task=hf", f"task.dataset={tmp_path}/d"]
    assert len(read_task(compose_plain(*words, "task.subset=mrpc").task).splits["train"]) > 30
    with pytest.raises(ConfigError, match=r"nor Parquet files; task\.subset names one of its folders: mrpc"):
        read_task(compose_plain(*words).task)
    with pytest.raises(ConfigError, match=r"task\.subset=mrp: no such folder .*; folders: mrpc; did you mean mrpc\?"):
        read_task(compose_plain(*words, "task.subset=mrp").task)


@pytest.mark.parametrize("words", [["task.label=text"], ["task.text_pair=text"], ["task.text=label"]])
def test_a_column_is_not_both_of_two_things(words, compose_plain):
    with pytest.raises(ConfigError, match="one column for both; name each by its own"):
        compose_plain("task=text_csv", "task.data=a.csv", *words)


def test_a_question_is_not_its_own_answer(compose_plain):
    with pytest.raises(ConfigError, match=r"task\.question=answerKey task\.label=answerKey: one column for both"):
        compose_plain("task=choice", "task.data=a.csv", "model=smollm2_135m", "task.question=answerKey")
