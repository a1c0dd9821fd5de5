"""Rows of text out of Python packages: what is read of packages that are written for the test."""

import os
import re

import pytest

from harness.config import ConfigError
from harness.task import build_task

MODULE = '''
class Box:
    @property
    def size{n}(self):
        """The size of box {n}."""
        return self._size

    @classmethod
    def made{n}(cls, of: int = "a {{b}}"):
        """Make box {n}
        of something.

        More of it."""
        if of is None:
            raise ValueError(of)
        return cls(of)

    def each{n}(self):
        """Go through box {n}."""
        # one by one
        def inner():
            """Not a row at all."""
            raise ValueError
        yield from (lambda: (yield))()
        return None

    async def close{n}(self):
        """Close box {n} at once."""
        await super().close()

    def quiet(self):
        """Hush."""
        return 1
'''
DOCSTRINGS = ["The size of box {}.", "Make box {} of something.", "Go through box {}.", "Close box {} at once."]
FACTS = [("property", "returns"), ("of_class", "raises", "returns"), ("yields",), ("extends",)]


@pytest.fixture
def package(tmp_path):
    for number in range(20):
        (tmp_path / f"module{number}.py").write_text(MODULE.format(n=number))
    (tmp_path / "single.py").write_text('def alone():\n    """Be all alone."""\n')
    (tmp_path / "template.py").write_text("class {{ name }}: pass")
    return tmp_path


def words(name, package):
    shares = ("task.validation_share=0.2", "task.test_share=0.3", "task.rows=null")
    return [f"task={name}", f"task.data={package}", *shares]


def test_what_a_function_does_is_read_off_its_body_which_is_not_shown(compose_plain, package):
    config = compose_plain(*words("code_facts", package))
    assert (config.trainer.objective, config.trainer.measures) == ("f1_micro", [])
    task = build_task(config.task)
    assert task.classes == ("extends", "of_class", "property", "raises", "returns", "yields")
    found = {
        text: tuple(sorted(task.classes[label] for label in labels))
        for split in task.splits.values()
        for text, labels in zip(split.texts, split.labels, strict=True)
    }
    assert len(found) == 81
    heads = [
        "def size7 ( self ) :",
        'def made7 ( cls , of : int = "a {b}" ) :',
        "def each7 ( self ) :",
        "async def close7 ( self ) :",
    ]
    wanted = zip(heads, DOCSTRINGS, FACTS, strict=True)
    for head, docstring, facts in wanted:
        assert found[f"{head} {docstring.format(7)}"] == facts
    assert found["def alone ( ) : Be all alone."] == ()
    left = task.findings().left_out
    assert left["not Python of this version"] == ["template.py"]
    assert len(left["no docstring of 3 words"]) == 20
    assert task.describe()["usual_labels"]["labels"]


def test_a_function_stands_beside_its_own_docstring_or_another_of_its_split(compose_plain, package):
    task = build_task(compose_plain(*words("code_docs", package)).task)
    assert task.classes == ("other", "own")
    kinds = dict(zip(["size", "made", "each", "close"], DOCSTRINGS, strict=True))
    mine, modules = [], {}
    for split in task.splits.values():
        rows = list(zip(split.texts, split.pairs, split.labels, strict=True))
        names = [re.search(r"def ([a-z]+)(\d*) ", code).groups() for code, _, _ in rows]
        docstrings = [kinds[kind].format(number) if number else "Be all alone." for kind, number in names]
        for (code, shown, label), own in zip(rows, docstrings, strict=True):
            assert "#" not in code
            assert code.count('"""') == (2 if "def inner" in code else 0)
            assert (shown == own) == (task.classes[label] == "own")
            assert shown in docstrings, "of its own split"
            mine.append(shown == own)
        for _, number in names:
            modules.setdefault(number, set()).add(id(split))
    assert {len(splits) for splits in modules.values()} == {1}
    assert len(mine) == 81
    assert 25 < sum(mine) < 55


def test_what_is_no_module_of_the_users_own_is_passed_over(compose_plain, package):
    (package / ".venv").mkdir()
    (package / ".venv/module.py").write_text(MODULE.format(n=99))
    (package / "gone.py").symlink_to("nowhere")
    (package / "folder.py").mkdir()
    os.mkfifo(package / "pipe.py")
    task = build_task(compose_plain(*words("code_facts", package)).task)
    assert sum(map(len, task.splits.values())) == 81
    left = task.findings().left_out
    assert left["a named pipe, not a file"] == ["pipe.py"]
    assert left["a link to nowhere, which is not there"] == ["gone.py"]


def test_an_answer_of_the_other_kind_and_too_many_rows_are_refused(compose_plain, package):
    with pytest.raises(ConfigError, match=r"task\.answer=class: task=code_facts answers with labels"):
        compose_plain("task=code_facts", f"task.data={package}", "task.answer=class")
    with pytest.raises(ConfigError, match=r"task\.answer=number: task=code_docs answers with class"):
        compose_plain("task=code_docs", f"task.data={package}", "task.answer=number", "trainer.objective=loss")
    config = compose_plain(*words("code_docs", package), "task.rows=200")
    with pytest.raises(ConfigError, match="there are 81 functions; task.rows=null takes all"):
        build_task(config.task)
