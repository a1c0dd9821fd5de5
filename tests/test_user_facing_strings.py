"""What messages, README and the comments in conf/ tell a user to write exists: keys, options, commands, files."""

import ast
import dataclasses
import re
import shlex
import typing
from pathlib import Path

import hydra
import pytest
import yaml
from omegaconf import OmegaConf
from pydantic import TypeAdapter, ValidationError

from harness.config import Config, check, composition
from harness.record import trial_path

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for room in ("harness", "studies") for path in (ROOT / room).rglob("*.py"))
TEXTS = [*(ROOT / name for name in ("README.md", "results/README.md")), *sorted((ROOT / "conf").rglob("*.yaml"))]

# What is written like a key and is none: of other programs, of functions, and the short names of arms.
FOREIGN = {
    *("init_lora_weights", "use_dora", "model_type", "lock_timeout", "nplurals", "password", "sr", "n_fft", "n_mels"),
    *("quantization_config", "load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant"),
    *("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout"),
    *("rank", "targets", "variant", "learn"),
    *("group", "key", "install"),
    *("generation_config", "max_new_tokens"),  # of transformers' generate
    *("charset", "lang", "title", "class", "style"),  # of HTML
}
PAIR = re.compile(r"(?<![\w.{}/?&@-])(\+?(?:[a-z]+@)?[a-z_]+(?:\.\w+)*)=(?!=)([^\s;,)'\"`|…]*)")


def literals(path: Path) -> list[str]:
    """The strings of a Python file, `{}` for what is filled in."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    joined = [node for node in nodes if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for node in joined for part in ast.walk(node)}
    plain = [node.value for node in nodes if isinstance(node, ast.Constant) and id(node) not in parts]
    filled = [
        "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values) for node in joined
    ]
    return [text for text in plain if isinstance(text, str)] + filled


def hints_of(kind: type, prefix: str = "") -> dict[str, list[object]]:
    """Every dotted key of the schema with the types that its value may have."""
    found: dict[str, list[object]] = {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        if typing.get_origin(hint) is typing.ClassVar:  # no key: all of this kind have it alike
            continue
        found.setdefault(prefix + name, []).append(hint)
        for part in schemas_in(hint):
            for key, hints in hints_of(part, f"{prefix}{name}.").items():
                found.setdefault(key, []).extend(hints)
    return found


def schemas_in(hint: object) -> list[type]:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return [typing.cast(type, hint)]
    inside = () if typing.get_origin(hint) is dict else typing.get_args(hint)
    return [found for part in inside for found in schemas_in(part)]


HINTS = hints_of(Config)
USERS_OWN = (
    *(f"{key}." for key, hints in HINTS.items() if any("dict[" in str(hint) for hint in hints)),
    *("claims.", "allocate."),
)


def mistake(key: str, value: str) -> str | None:
    """What is wrong with `key=value` as words of a command; None where a user may write it."""
    group, _, name = key.lstrip("+").rpartition("@")
    if name == "experiment" and value and not key.startswith("+"):
        return f"{key}={value}: an experiment is added with +"
    if name not in {*HINTS, *composition.groups()} and not name.startswith(USERS_OWN):
        return f"{key}={value}: no such key"
    if not value or value[0] in "[{$" or "{}" in value or value.isupper():  # a template, or cut short
        return None
    if (group or name) in composition.groups():
        return None if value in (*composition.options(group or name), "null") else f"{key}={value}: no such option"
    return None if fits(HINTS.get(name, [object]), yaml.safe_load(value)) else f"{key}={value}: no such value"


def fits(hints: list[object], value: object) -> bool:
    for hint in hints:
        try:
            TypeAdapter(hint).validate_python(value)
            return True
        except ValidationError:
            continue
    return False


def mistakes_in(texts: list[str]) -> list[str]:
    pairs = {(key, value.rstrip(".:")) for text in texts for key, value in PAIR.findall(text)}
    return sorted(found for key, value in pairs if key not in FOREIGN and (found := mistake(key, value)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trainer.max_step=3 ends it", ["trainer.max_step=3: no such key"]),
        ("write lora=lorra", ["lora=lorra: no such option"]),
        ("experiment=claims has them", ["experiment=claims: an experiment is added with +"]),
        ("+experiment=nothing", ["+experiment=nothing: no such option"]),
        ("run=reports or conv_form=delta", ["conv_form=delta: no such key", "run=reports: no such value"]),
        ("trainer.strategy=dpp; task.train_rows=null", ["trainer.strategy=dpp: no such value"]),
        ("lora@lora.match=mtl_lor", ["lora@lora.match=mtl_lor: no such option"]),
        ("run=worker study={}: task.data=FOLDER lora={}, launch=slurm: +experiment=claims", []),
        ("+task@task.tasks.NAME=text_csv task.tasks.NAME.data=FILE lora@lora.match=mtl_lora.", []),
    ],
)
def test_the_check_itself_tells_what_exists_from_what_does_not(text, said):
    assert mistakes_in([text]) == said


@pytest.mark.parametrize("path", [*SOURCES, *TEXTS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_keys_and_options_in_texts_exist(path):
    texts = literals(path) if path.suffix == ".py" else [path.read_text()]
    assert mistakes_in(texts) == []


def commands_in(text: str) -> list[list[str]]:
    """The words of every `-m harness …` in a text that sets a key."""
    found = []
    for line in re.findall(r"-m harness ([^`#\n]*)", text):
        words = shlex.split(re.split(r"\s{2,}|…", line)[0])
        found.append([word for word in words if "=" in word and not word.startswith("-")])
    return [words for words in found if words]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_in_texts_compose(path):
    commands = commands_in(path.read_text())
    assert commands or path.name != "README.md" or path.parent != ROOT
    composition.register_sweeps()
    with hydra.initialize_config_dir(str(composition.CONF), version_base="1.3"):
        for words in commands:
            composed = hydra.compose("config", overrides=words)
            assert check(typing.cast(dict, OmegaConf.to_container(composed, resolve=True))), words


@pytest.mark.parametrize("task", ["mixture", "continual"])
def test_another_task_joins_as_the_comment_says(task):
    (words,) = re.findall(r"joins with (\+.*)\.\n", (composition.CONF / "task" / f"{task}.yaml").read_text())
    (words,) = commands_in(f"-m harness task={task} trainer.objective=score {words.replace('NAME', 'mine')}")
    with hydra.initialize_config_dir(str(composition.CONF), version_base="1.3"):
        composed = hydra.compose("config", overrides=words)
    assert "mine" in check(typing.cast(dict, OmegaConf.to_container(composed, resolve=True))).task.tasks


def test_the_command_that_makes_a_base_makes_it_where_the_model_looks_for_it(monkeypatch):
    monkeypatch.setenv("HARNESS_RESULTS", "results")
    with hydra.initialize_config_dir(str(composition.CONF), version_base="1.3"):
        model = hydra.compose("config", overrides=["model=catalogue_t5"]).model
        (words,) = commands_in(model.made_by)
        study = hydra.compose("config", overrides=words).study
    assert model.weights.address == f"path:results/{study}/{trial_path(0)}/adapter"
    assert model.tokenizer.address == model.weights.address


def test_links_commands_variables_and_files_in_texts_exist():
    written = {text for path in (*SOURCES, *(ROOT / "tools").glob("*.py")) for text in literals(path)}
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for path in TEXTS:
        text = path.read_text()
        if path.suffix == ".md":
            for link in re.findall(r"\]\(([^)#:]+)\)", text):
                assert (path.parent / link).exists(), link
        for target in re.findall(r"`make ([a-z-]+)|^ {4}make ([a-z-]+)", text, re.MULTILINE):
            assert "".join(target) in targets
        for variable in re.findall(r"HARNESS_[A-Z_]+", text):
            assert variable in written or f"oc.env:{variable}" in (ROOT / "conf/config.yaml").read_text(), variable
        for folder, name in re.findall(r"python -m (harness|benchmarks)\.([\w.]+\w)", text):
            assert (ROOT / folder / f"{name.replace('.', '/')}.py").exists(), name
    left = re.findall(
        r"[\w.]+\.(?:yaml|jsonl|json|csv|md|png|journal)\b",
        re.sub(r"\]\(.*?\)", "]", (ROOT / "results/README.md").read_text()),
    )
    names = {name.replace("TASK", "{}") for name in left if not list((ROOT / "docs").rglob(name))}
    assert {name for name in names if not any(name in text for text in written)} == set()
