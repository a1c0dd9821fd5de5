"""Pairs out of files and out of message catalogues: what is taken, what is left out, and that no source is in two
splits.
"""

import dataclasses

import pandas as pd
import pytest

from harness.config import AssetConfig, CatalogueTaskConfig, ConfigError, FileSeq2seqTaskConfig
from harness.task import build_task
from harness.task.seq2seq import SPLITS, split_of, words_of

COMMON = {"split_seed": 0, "validation_share": 0.2, "test_share": 0.2}
COMMON |= {"max_source": 20, "max_target": 20, "generate_rows": 5}


def pairs(path, **changes):
    made = FileSeq2seqTaskConfig(
        name="mine",
        reader="seq2seq",
        asset=None,
        data=str(path) if path else None,
        validation=None,
        test=None,
        source="source",
        target="target",
        group=None,
        **COMMON,
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "pairs.csv"
    frame = pd.DataFrame({"source": [f"say {index}" for index in range(200)]})
    frame["target"] = frame["source"].str.upper()
    frame["document"] = [str(index // 10) for index in range(200)]
    frame.to_csv(path, index=False)
    return path


def sources(task):
    return {name: set(split.sources) for name, split in task.splits.items()}


def test_splits_hold_every_row_once_and_near_the_shares_asked_for(table):
    task = build_task(pairs(table))
    found = sources(task)
    assert set.union(*found.values()) == {f"say {index}" for index in range(200)}
    assert sum(map(len, found.values())) == 200
    assert 25 <= len(found["test"]) <= 55
    assert all(target == source.upper() for split in task.splits.values() for source, target in zip(
        split.sources, split.targets, strict=True))  # fmt: skip
    assert task.outputs == 0
    assert task.describe()["rows"] == {name: len(found[name]) for name in SPLITS}


def test_a_group_is_never_divided(table):
    task = build_task(pairs(table, group="document"))
    documents = {name: {int(text.split()[1]) // 10 for text in found} for name, found in sources(task).items()}
    assert not documents["train"] & documents["test"]
    assert not documents["train"] & documents["validation"]
    assert len(documents["train"] | documents["test"] | documents["validation"]) == 20


def test_the_split_seed_changes_the_splits_and_the_digest_and_nothing_else_does(table):
    first, same, other = (build_task(pairs(table, split_seed=seed)) for seed in (0, 0, 1))
    assert first.sha256 == same.sha256 != other.sha256
    assert sources(first)["test"] != sources(other)["test"]


def test_columns_and_templates_make_a_question_answering_source(tmp_path):
    path = tmp_path / "qa.jsonl"
    rows = [
        {"context": f"It is {index}.", "question": "What?", "answers": {"text": [str(index)]}} for index in range(50)
    ]
    pd.DataFrame(rows).to_json(path, orient="records", lines=True)
    task = build_task(pairs(path, source="question: {question} context: {context}", target="{answers[text][0]}"))
    split = task.splits["train"]
    assert split.sources[0].startswith("question: What? context: It is ")
    assert split.targets[0] == split.sources[0].removesuffix(".").rpartition(" ")[2]


def test_an_empty_field_of_a_sources_template_is_taken_and_told_and_one_of_the_targets_refused(tmp_path):
    path = tmp_path / "qa.csv"
    path.write_text(
        "context,question,answer\n" + "".join(f"It is {i}.,{'' if i == 7 else 'What?'},{i}\n" for i in range(50))
    )
    task = build_task(pairs(path, source="{context} {question}", target="answer"))
    sources = [source for split in task.splits.values() for source in split.sources]
    assert "It is 7." in sources
    assert "It is 8. What?" in sources
    assert task.describe()["suspicious"] == ["train: 1 rows have no question, which task.source names"]
    with pytest.raises(ConfigError, match=r"1 rows have no source or no target \(rows 9\); task.gaps=leave_out"):
        build_task(pairs(path, source="context", target="{question} {answer}"))


def test_given_splits_are_kept_as_they_are_and_may_share_no_source(table, tmp_path):
    held = tmp_path / "held.csv"
    held.write_text("source,target\nnew,NEW\n")
    task = build_task(pairs(table, validation=str(held)))
    assert task.splits["validation"].sources == ("new",)
    assert len(task.splits["train"]) + len(task.splits["test"]) == 200
    with pytest.raises(ConfigError, match="200 sources of the test split stand in train too"):
        build_task(pairs(table, validation=str(held), test=str(table)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": None}, "task.data: missing; give the path"),
        ({"source": "sorce"}, r"task.source=sorce: .* has no such column; did you mean source\?"),
        ({"target": "to {targt}"}, r"has no column targt; did you mean target\?"),
        ({"target": "{target.nothing}"}, "it cannot be filled"),
    ],
)
def test_mistakes_name_the_key_and_the_nearest_column(table, changes, message):
    with pytest.raises(ConfigError, match=message):
        build_task(pairs(table, **changes))


CATALOGUE = """
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\\n"
"Plural-Forms: nplurals={plurals}; plural=(n != 1);\\n"

msgid "Delete %(name)s?"
msgstr "{mark}%(name)s löschen?"

msgid "delete %(other)s"
msgstr "{mark}%(other)s löschen"

msgid "Lost its place %s"
msgstr "Ohne"

msgid "%s"
msgstr "%s"

msgid "Nothing yet"
msgstr ""

#, fuzzy
msgid "Unsure"
msgstr "Unsicher"

msgid "One page"
msgid_plural "%d pages"
msgstr[0] "{mark}Eine Seite"
msgstr[1] "{mark}%d Seiten"

#~ msgid "Gone"
#~ msgstr "Weg"
"""


@pytest.fixture
def packages(tmp_path):
    """Two folders of catalogues, the second of which repeats a message of the first."""
    for language, plurals in (("de", 2), ("ru", 3)):
        folder = tmp_path / "one" / "app" / "locale" / language / "LC_MESSAGES"
        folder.mkdir(parents=True)
        text = CATALOGUE.replace("{mark}", f"{language} ").replace("{plurals}", str(plurals))
        text += "".join(
            f'\nmsgid "word {chr(97 + i)}{chr(97 + j)}"\nmsgstr "wort"\n' for i in range(5) for j in range(8)
        )
        (folder / "django.po").write_text(text, encoding="utf-8")
    folder = tmp_path / "two" / "locale" / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "django.po").write_text('msgid "Delete %(name)s?"\nmsgstr "anders %(name)s"\n', encoding="utf-8")
    return [AssetConfig(address=f"path:{tmp_path / name}", sha256=None) for name in ("one", "two")]


def catalogue(packages, *languages):
    return CatalogueTaskConfig(
        name="c",
        reader="catalogue",
        catalogues=packages,
        languages=list(languages),
        prompt="{language}: {source}",
        **COMMON,
    )


def everything(task):
    return {pair for split in task.splits.values() for pair in zip(split.sources, split.targets, strict=True)}


def test_catalogues_give_what_is_translated_and_say_what_they_leave_out(packages):
    task = build_task(catalogue(packages, "de"))
    found = everything(task)
    assert ("de: Delete %(name)s?", "de %(name)s löschen?") in found
    assert {("de: One page", "de Eine Seite"), ("de: %d pages", "de %d Seiten")} <= found
    assert len(found) == 4 + 40
    reasons = {"obsolete or fuzzy": 2, "not translated": 1, "without words": 1, "other placeholders": 1, "repeated": 1}
    assert task.left_out == reasons


def test_plurals_of_three_forms_are_left_out(packages):
    task = build_task(catalogue(packages, "ru"))
    assert task.left_out["plural of more than two forms"] == 1
    assert not any("page" in source for source, _ in everything(task))


def test_messages_alike_but_for_placeholders_and_case_share_a_split_in_every_language(packages):
    assert words_of("Delete %(name)s?") == words_of("delete %(other)s") == "delete"
    task = build_task(catalogue(packages, "de", "ru"))
    where = {source: name for name, split in task.splits.items() for source in split.sources}
    assert len({where[f"{language}: {text}"] for language in ("de", "ru") for text in (
        "Delete %(name)s?", "delete %(other)s")}) == 1  # fmt: skip
    alone = build_task(catalogue(packages, "ru"))
    assert all(where[source] == name for name, split in alone.splits.items() for source in split.sources)


def test_an_unknown_language_is_answered_with_the_nearest(packages):
    with pytest.raises(ConfigError, match=r"task.languages=deu: no catalogue; did you mean de\?"):
        build_task(catalogue(packages, "deu"))


def test_the_share_of_a_split_is_what_was_asked_for():
    names = [split_of(f"message {index}", 3, 0.1, 0.3) for index in range(4000)]
    assert abs(names.count("test") / 4000 - 0.3) < 0.03
    assert abs(names.count("validation") / 4000 - 0.1) < 0.02
