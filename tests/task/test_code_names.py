"""Names in code, tagged by what they name."""

from harness.task import build_task

CODE = '''
class Broken(ValueError): pass

class Box:
    async def go(self, größe, *args: Box, **kw):
        """Say nothing."""
        # nothing at all
        for each in args:
            if not isinstance(each, module.Box):
                raise errors.Broken(f"no {größe}")
        try:
            return self.helper(each, size=größe)
        except (Broken, OSError) as error:
            return error.args

def plain(): return int("f very long text, which would be cut into a hundred pieces and more")
'''
NAMES = [
    *("async def", ("go", "B-function"), "(", ("self", "B-parameter"), ",", ("größe", "B-parameter"), ", *"),
    *(("args", "B-parameter"), ":", ("Box", "B-class"), ", **", ("kw", "B-parameter"), ") : for each in"),
    *(("args", "B-parameter"), ": if not", ("isinstance", "B-function"), "( each ,"),
    *(("module", "B-class"), (".", "I-class"), ("Box", "I-class"), ") : raise"),
    *(("errors", "B-exception"), (".", "I-exception"), ("Broken", "I-exception"), '( f"… ) try : return'),
    *(("self", "B-parameter"), ".", ("helper", "B-function"), "( each ,", ("size", "B-parameter"), "="),
    *(("größe", "B-parameter"), ") except (", ("Broken", "B-exception"), ",", ("OSError", "B-exception")),
    ") as error : return error . args",
]


def test_names_in_code_are_tagged_by_what_they_name(compose_plain, tmp_path):
    folder = tmp_path / "package"  # its name is what the splits are drawn by
    folder.mkdir()
    for number in range(12):
        made = CODE.replace("def plain", f"def plain{number}").replace(
            "def go", f"def go{number}" if number else "def go"
        )
        (folder / f"module{number}.py").write_text(made)
    (folder / "template.py").write_text("class {{ name }}: pass")
    words = ["task=code_names", f"task.packages=[{{address: 'path:{folder}', sha256: null}}]", "task.rows=null"]
    config = compose_plain(*words, "task.validation_share=0.2", "task.test_share=0.3").task
    task = build_task(config)
    every = {row.name: row for split in task.splits.values() for row in split}
    assert len(every) == 24
    row = every[f"{folder.name}/module0.py:5"]
    wanted = [
        pair for each in NAMES for pair in ([each] if isinstance(each, tuple) else [(t, "O") for t in each.split()])
    ]
    assert list(zip(row.tokens, row.tags, strict=True)) == wanted
    short_row = every[f"{folder.name}/module3.py:16"]
    assert short_row.tokens == ("def", "plain3", "(", ")", ":", "return", "int", "(", '"…', ")")
    assert short_row.tags[1:2] + short_row.tags[6:7] == ("B-function", "B-class")
    split_of = {split: {row.group for row in rows} for split, rows in task.splits.items()}
    assert not split_of["train"] & (split_of["test"] | split_of["validation"])
    assert task.findings().left_out == {"not Python of this version": ["template.py"]}


def test_code_beside_docstrings_and_in_long_chains_is_read(compose_plain, tmp_path):
    folder = tmp_path / "package"  # its name is what the splits are drawn by
    folder.mkdir()
    chain = "def chain(): return 1" + " + 1" * 2000
    for number in range(12):
        (folder / f"module{number}.py").write_text(
            f'def f{number}(): "Größe."; return 1\n{chain}\nx = 1{" + 1" * 2000}'
        )
    words = ["task=code_names", f"task.packages=[{{address: 'path:{folder}', sha256: null}}]", "task.rows=null"]
    config = compose_plain(*words, "task.validation_share=0.2", "task.test_share=0.3").task
    task = build_task(config)
    rows = [row for split in task.splits.values() for row in split]
    assert {row.tokens[0:1] + row.tokens[2:] for row in rows} == {("def", "(", ")", ":", ";", "return", "1")}
    assert {row.tags for row in rows} == {("O", "B-function", *["O"] * 6)}
    assert len(task.findings().left_out["longer than task.max_tokens"]) == 12
