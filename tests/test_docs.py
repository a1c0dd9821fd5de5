"""The pages are true: links, commands, keys, options, paths and generated blocks."""

import ast
import functools
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from harness import __main__ as command
from harness.config import Config, composition, schema_keys
from harness.record import Record
from tests.commands import compose

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import generate  # noqa: E402  docs/ holds scripts, not a package
import keys  # noqa: E402
import stage  # noqa: E402

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in [
        *generate.pages(),
        *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "results/README.md")),
    ]
}
each_page = pytest.mark.parametrize("page", sorted(PAGES))
GROUPS = composition.groups()


def prose(page: str) -> str:
    """A page without its blocks of code, what is generated, and its comments."""
    text = generate.BLOCK.sub("", PAGES[page])
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], flags=re.DOTALL | re.MULTILINE)


def spans(page: str) -> list[str]:
    """What stands between backticks in a page's prose."""
    return re.findall(r"`([^`\n]+)`", prose(page))


# Generated blocks


@each_page
def test_generated_blocks_are_current(page):
    assert generate.rewritten(PAGES[page]) == PAGES[page], "run python docs/generate.py"


def test_every_key_of_the_reference_has_a_type_and_a_meaning():
    rows = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in keys.reference().splitlines()]
    described = {
        row[0].strip("`"): row for row in rows if len(row) >= 4 and row[0].startswith("`") and "=" not in row[0]
    }
    assert {"lora.rank", "trainer.max_steps", "task.asset.sha256", "sweep.scientific", "model.shape.hidden"} < set(
        described
    )
    without = [key for key, row in described.items() if not row[1].strip() or not row[3].strip()]
    assert without == []


def test_the_reference_has_every_key_of_the_schema():
    listed = set(re.findall(r"^\| `([\w.]+)` \|", PAGES["docs/reference/keys.md"], flags=re.MULTILINE))
    # lora.match holds the keys of lora=mtlora or lora=mtl_lora again; the items of a list have no dotted key.
    inside = ("lora.match.", "task.catalogues.", "task.packages.", "model.parts.", "sweep.budget.prices.")
    assert {key for key in schema_keys(Config) if not key.startswith(inside)} == listed


def test_the_reference_says_the_default_that_a_command_has():
    table = PAGES["docs/reference/keys.md"]
    assert "| `lora.rank` | integer ≥ 1 | `8` |" in table
    assert compose([]).lora.rank == 8
    assert "| `trainer.objective` | `accuracy`, `loss`, `score` or text | `accuracy` |" in table


# Links and the site


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links(text: str) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith(("http:", "https:"))]


@each_page
def test_every_link_leads_somewhere(page):
    for link in links(PAGES[page]):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


def listed(entries: list) -> Iterator[str]:
    for entry in entries:
        for value in entry.values():
            yield from listed(value) if isinstance(value, list) else [value]


def test_every_page_is_in_the_navigation_and_every_entry_is_there():
    nav = set(listed(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert nav == {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")}


def test_the_staged_site_is_whole_in_itself(tmp_path):
    stage.stage(tmp_path / "site")
    pages = list((tmp_path / "site").rglob("*.md"))
    assert len(pages) > 20
    for page in pages:
        for link in links(page.read_text()):
            target = (page.parent / link.partition("#")[0]).resolve()
            assert target.exists(), (page, link)
            assert target.is_relative_to(tmp_path / "site"), (page, link)


def test_the_readme_is_short():
    assert len(PAGES["README.md"].encode()) <= 12 * 1024
    assert len(PAGES["README.md"].splitlines()) <= 150


# Commands

STARTS = re.compile(r"(?:^|\s)(?:-m )?harness (?P<words>.*)$")


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command of the pages, with the words that are composed."""
    for page in sorted(PAGES):
        lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
        lines += [span for span in spans(page) if "python -m harness" in span and "…" not in span]
        for line in lines:
            if "-m harness" in line:
                yield page, shlex.split(line.partition("-m harness")[2], comments=True)


COMMANDS = list(dict.fromkeys((page, tuple(words)) for page, words in commands()))


def test_there_are_commands():
    assert len(COMMANDS) > 60
    assert {"README.md", "docs/tutorial.md", "docs/how-to/cluster.md"} <= {page for page, _ in COMMANDS}


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_a_command_composes(page, words, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    kept = [word for word in words if word not in ("--help", "--version", "--cfg", "job")]
    if "--config-dir" in kept:  # its own test runs it
        return
    compose(kept)


def test_a_command_with_a_key_that_does_not_exist_does_not_compose():
    with pytest.raises(Exception, match="rnk"):
        compose(["lora.rnk=4"])


def test_a_page_s_sweep_runs_from_a_folder_of_one_s_own(tmp_path, capsys, monkeypatch):
    (block,) = [block for block in blocks("docs/how-to/own_sweep.md", "yaml") if "scientific" in block]
    name = re.match(r"# (mine/sweep/\w+\.yaml)\n", block)
    (tmp_path / name[1]).parent.mkdir(parents=True)
    (tmp_path / name[1]).write_text(block)
    ((_, words),) = [found for found in COMMANDS if "--config-dir" in found[1]]
    monkeypatch.setattr(sys, "argv", ["harness", *words, "--cfg", "job", "--resolve"])
    command.main()
    tree = yaml.safe_load(capsys.readouterr().out)
    assert tree["sweep"]["scientific"] == yaml.safe_load(block)["scientific"]


@each_page
def test_a_make_target_exists(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {
        found for text in (*blocks(page, "sh"), *spans(page)) for found in re.findall(r"^make ([\w-]+)", text, re.M)
    }
    assert named <= targets


# Names in the prose


@each_page
def test_a_key_and_an_option_that_are_named_exist(page):
    known = set(schema_keys(Config))
    for span in spans(page):
        for word in re.findall(r"^[a-z]+(?:[.@][\w.]+)?=?[^ ]*|(?<= )[a-z]+\.[\w.]+=[^ ]+", span):
            key, found, value = re.split(r"([=:]|$)", word, maxsplit=1)
            if key.partition(".")[0] not in GROUPS or (not found and "." not in key):
                continue
            if "." not in key and "@" not in key:
                assert value in ("", "NAME", *composition.options(key)), span
            elif not key.endswith((".yaml", ".")) and not key.startswith("task.tasks."):
                assert key in known, span


@each_page
def test_a_value_with_parentheses_is_quoted_for_the_shell_and_for_hydra(page):
    assert not [span for span in spans(page) if re.match(r"[a-z]+[.][\w.]+='[^\"']*[()]", span)]


@each_page
def test_a_path_that_is_named_exists(page):
    for span in spans(page):
        if re.match(r"(conf|sweeps|docs|tests|tools|benchmarks|results/curated)/", span) and "NAME" not in span:
            assert (ROOT / span).exists(), span


def test_every_field_of_a_record_is_described():
    page = PAGES["docs/reference/record.md"]
    missing = [name for name in Record.__dataclass_fields__ if f"`{name}`" not in page]
    assert missing == []


def test_the_exit_codes_are_those_of_the_command():
    rows = re.findall(r"^\| (\d+) \|", PAGES["docs/reference/exit_codes.md"], flags=re.MULTILINE)
    assert set(re.findall(r"\d+", command.main.__doc__)) <= set(rows)
    assert "140" in rows  # SIGUSR2, as SLURM sends it


# Code and other files


@each_page
def test_python_and_yaml_blocks_can_be_read(page):
    for block in blocks(page, "python"):
        ast.parse(block)
    for block in blocks(page, "yaml"):
        yaml.safe_load(block)


@functools.cache
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_citation_changelog_and_package_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == project()["version"]
    assert citation["license"] == project()["license"] == "Apache-2.0"
    assert f"## [{project()['version']}]" in PAGES["CHANGELOG.md"]
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert (ROOT / "harness/py.typed").exists()


def test_the_site_s_tool_is_the_one_of_the_extra():
    (tool,) = project()["optional-dependencies"]["docs"]
    assert f"pip install --quiet '{tool}'" in (ROOT / "Makefile").read_text()


def test_the_hooks_run_the_tools_of_the_tests():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    tools = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks}
    assert tools == {"ruff", "mypy", "lint-imports"}
    assert {hook["language"] for hook in hooks} == {"system"}
