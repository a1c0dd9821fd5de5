"""The reference of every key: the schema says type and rule, the files under conf/ say default and meaning."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from harness.config import Config, composition

Schema = dict[str, Any]

# What the comments of conf/ do not say, since the name says it to who writes the file.
MEANINGS = {
    "address": "`hub:owner/name@revision`, `pypi:name==version#inner/path`, `https://…` or `path:…`",
    "sha256": "the digest that the download must have; of a hub repository one for each file",
    "name": "the name in records and tables",
    "reader": "the kind of task; the option sets it",
    "kind": "the kind of model; the option sets it",
    "arguments": "the arguments of the constructor of your own class",
    "data": "your own copy: a file or a folder; null: the source named by `asset`",
    "asset": "the source of the data",
    "weights": "the source of the pretrained weights",
    "stand_in": "the task that is trained on if the data cannot be reached; results carry its name",
    "split_seed": "draws the splits; it is apart from `seed`, so that seeds differ on the same data",
    "classes": "the number of classes; null: as many as the data have",
    "validation_share": "share of the data that is held out to choose by",
    "test_share": "share of the data that is held out to report on",
    "validation_rows": "of the validation split, evenly from the classes; null: all",
    "test_rows": "of the test split, evenly from the classes; null: all",
    "max_length": "tokens; longer texts are cut",
    "max_target": "tokens of the target; what is cut there is counted in the record",
    "text": "the column of the texts",
    "label": "the column of the answers",
    "file": "the file inside the asset",
    "catalogues": "the packages that ship the message catalogues",
    "tasks": "the tasks by name; another joins with `+task@task.tasks.NAME=OPTION`",
    "shape": "the dimensions of the network, enough to count parameters without its weights",
    "family": "the architecture; the option sets it",
    "architecture": "the architecture; the option sets it",
    "hidden": "width of a hidden state",
    "layers": "the number of layers, of an encoder-decoder in the encoder",
    "decoder_layers": "the number of layers in the decoder",
    "heads": "attention heads of a layer",
    "head_size": "width of a head; hidden / heads but for T5",
    "ffn": "width of the feed-forward layer",
    "vocabulary": "the number of tokens of the embedding",
    "positions": "the longest sequence in tokens; null: positions are relative",
    "types": "token types (segments) of the embedding",
    "pooling": "the reduction of a sequence's states to one vector",
    "head": "the head on top of the base",
    "made_by": "the command that makes the weights if they are missing",
    "separator": "the text between source and target; a model with a decoder of its own needs none",
    "labels.normalise": "labels that differ in blanks, case or number format: one class, several, or (null) refused",
    "labels.separator": "of `task.answer=labels`: the separator of the labels in a cell",
    "labels.field": "of `task.answer=labels`: the item that is read of each label in lists of mappings",
    "labels.decimal": "the decimal mark of numbers as text; null: detected, and refused if it is ambiguous",
    "labels.unlabelled": "labels that often mean none, as -1 or N/A; `leave_out`: their rows, `keep`: as classes",
    "labels.combined": "classes that are several others joined in one cell; `keep`: as classes",
    "labels.uncertain": "-1 in columns of 0 and 1; `zero` and `one` read it as that, `leave_out` drops its row",
    "labels.blank": "an empty cell in columns of 0 and 1; `zero` reads it as 0",
    "tokenizer": "the source of the tokenizer; null: the one beside the weights",
    "run": "the action of the command",
    "targets": "the layers: names that the model defines, or patterns of module names",
    "dropout": "probability of dropout in training",
    "attention": "the implementation of attention: auto is sdpa if there is one; eager is faster in bf16 on a CPU",
    "rank": "the rank r",
    "scale": "the scale s itself",
    "task_scale": "the scale s of each task's own update",
    "variant": "the method, or several joined by `+`: `dora+rslora`",
    "lr": "the learning rate",
    "clip": "the largest norm of a gradient; null: no clipping",
    "batch_size": "rows of a batch on each device",
    "accelerator": "the device that is used; `auto`: a GPU where there is one",
    "strategy": "`ddp`: a copy of the base on each device; `fsdp`: each holds a part of it",
    "project": "the W&B project",
    "entity": "the W&B user or team; null: the default of your key",
    "workers": "the number of workers",
    "minutes": "a job's time limit; a trial that is running when the time is up continues in the next job",
    "scientific": "the subject of the question: every combination of these values is an arm",
    "nuisance": "the dimensions that are tuned for each arm alike: ranges and choices of values",
    "baselines": "further arms, each with what it `set`s and its own `nuisance` ranges",
    "trials": "trials of each arm",
    "startup": "the first so many trials of an arm are drawn from a Sobol sequence common to all arms",
    "prune_after": "no trial ends early before so many have come as far; null: never, or with a `pruner` no such bound",
    "sampler": "the sampler that proposes after `startup`: a name, or `{name: …}` with its arguments; null: `tpe`",
    "pruner": "the rule that ends trials early: a name, or `{name: …}` with its arguments; null: the median of the arm",
    "lag": "a proposal reads trials more than so many before it: that many and one run at once; null: 0, if joint 4",
    "enqueue": "points of the first trials of each arm but the baselines; missing dimensions are drawn evenly",
    "history": "studies to learn from: a name under `results`, a folder, or `optuna:ADDRESS#NAME`",
    "history_keys": "the keys for the parameters of studies by another program: `{r: lora.rank}`",
    "allocate": "arms with ranks by layer under the budget: a method of `run=allocate` and the study it reads, or null",
    "profiles": "the ranks of `sweep.allocate`, found when the study is begun",
    "mode": "`compared`: every scientific combination is an arm; `joint`: Optuna searches all keys at once",
    "baseline_trials": "in the joint mode, trials of each baseline; null: as many as `trials`",
    "ranks": "ranks by group of layers as dimensions: `by` role, layer, depth or group, from `low` to `high`",
    "budget": "the bound on ranks: one of `parameters`, `memory` in bytes, `flops` of a step",
    "budget.parameters": "the adapter's parameters",
    "budget.memory": "bytes of weights, gradients and AdamW's state of the whole network",
    "budget.flops": "operations of a step on `trainer.batch_size` rows",
    "budget.prices": "what searched ranks cost, found when the study is begun",
    "limits": "the highest ranks of groups whose layers cannot have `high`, found when the study is begun",
    "present": "the further cost of a group of any rank (DoRA's magnitudes), found when the study is begun",
    "fixed": "the cost of ranks by group that does not depend on them, found when the study is begun",
    "objectives": "figures of the record, each `maximize` or `minimize`; null: the validation score alone",
    "constraints": "figures of the record with their upper bounds, as in `{trained_parameters: 200000}`",
    "across": "scientific keys whose values the baselines take, too",
    "set": "the keys that make this arm",
    "low": "the lower bound",
    "high": "the upper bound",
    "log": "draw the logarithm evenly",
    "study": "the folder under `results`, and the group in W&B",
    "results": "the folder of all results; `HARNESS_RESULTS` sets it for every command",
    "seed": "draws the head, the adapters, dropout and the order of batches",
    "task": "the data and the task that is learned",
    "model": "the base that is adapted",
    "lora": "the method",
    "optimizer": "the optimiser and its schedule",
    "trainer": "the length, batches and device of training",
    "terms.name": "the name of the terms",
    "terms.url": "the address of their publication",
    "terms.text": "a copy of their text",
    "tracking": "the mirror of trials in W&B, TensorBoard, MLflow or CSV files",
    "launch": "the place of a study's workers",
    "sweep": "the search of a study",
}


def reference() -> str:
    """Markdown: the keys of the top level, then of each group its options and the keys of each kind of option."""
    schema = TypeAdapter(Config).json_schema()
    own = _comments(composition.CONF / "config.yaml")
    top = yaml.safe_load((composition.CONF / "config.yaml").read_text())
    for chosen in top["defaults"]:
        top |= chosen if isinstance(chosen, dict) else {}
    parts = ["## Top level\n", _table("", schema, [top], MEANINGS | own)]
    for group in schema["properties"]:
        if kinds := list(_objects(schema["properties"][group], schema)):
            parts += [f"\n## {group}\n", *_group(group, kinds, schema)]
    return "\n".join(parts)


def experiments() -> str:
    """Markdown: the experiments with their questions."""
    rows = [[f"`+experiment={name}`", _question("experiment", name)] for name in composition.options("experiment")]
    return _markdown(["experiment", "question"], rows)


def _group(group: str, kinds: list[Schema], schema: Schema) -> Iterator[str]:
    names = composition.options(group) if group in composition.groups() else []
    if names:
        yield _markdown(["option", "what it is"], [[f"`{group}={name}`", _question(group, name)] for name in names])
    trees = {name: _tree(group, name) for name in names}
    for kind in kinds:
        mine = {name: tree for name, tree in trees.items() if tree and _is_of(tree, kind)}
        comments = _all_comments(group, names) | MEANINGS | _all_comments(group, list(mine))
        if len(kinds) > 1:
            yield f"\n### {', '.join(f'`{group}={name}`' for name in mine) or kind['title']}\n"
        yield f"\n{_first_sentence(kind['description'])}\n"
        yield _table(f"{group}.", kind | {"$defs": schema["$defs"]}, list(mine.values()), comments)


def _table(prefix: str, kind: Schema, trees: list[Mapping[str, Any]], comments: Mapping[str, str]) -> str:
    rows = [
        [f"`{prefix}{key}`", _type(field, kind), _default(key, trees), _meaning(key, comments)]
        for key, field in _fields(kind, kind)
    ]
    return _markdown(["key", "type and rule", "default", "meaning"], rows)


def _fields(kind: Schema, root: Schema, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    """The dotted keys of a kind of option, those of nested objects of one kind included; groups are not followed."""
    for key, field in kind["properties"].items():
        yield prefix + key, field
        nested = list(_objects(field, root))
        if len(nested) == 1 and root.get("title") != "Config":
            yield from _fields(nested[0], root, f"{prefix}{key}.")


def _objects(field: Schema, root: Schema) -> Iterator[Schema]:
    """The kinds of object that a field may hold itself; those inside lists and mappings are left out."""
    if "$ref" in field:
        yield root["$defs"][field["$ref"].rpartition("/")[2]]
    for part in field.get("oneOf") or field.get("anyOf") or ():
        yield from _objects(part, root)


def _type(field: Schema, root: Schema) -> str:
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(part, root) for part in field["anyOf"]))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if "$ref" in field or "oneOf" in field:
        return "a group of keys"
    kind = field.get("type")
    if kind == "array" and "prefixItems" in field:
        return "[pattern, value]"
    if kind == "array":
        return f"a list of {_type(field['items'], root)}" if field.get("items") else "a list"
    if kind == "object":
        return "names with values"
    words = {"integer": "integer", "number": "number", "boolean": "`true`, `false`", "string": "text", "null": "null"}
    bounds = (
        ("minimum", "≥"),
        ("exclusiveMinimum", ">"),
        ("maximum", "≤"),
        ("exclusiveMaximum", "<"),
    )
    rules = [f"{sign} {field[name]:g}" for name, sign in bounds if name in field]
    return f"{words.get(str(kind), 'any value')} {', '.join(rules)}".strip()


def _default(key: str, trees: list[Mapping[str, Any]]) -> str:
    found = list(dict.fromkeys(_shown(_at(tree, key)) for tree in trees))
    return found[0] if len(found) == 1 else "by option" if found else ""


def _at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(tree, Mapping) or part not in tree:
            return None
        tree = tree[part]
    return tree


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = re.sub(r"\$\{oc\.select:[\w.]+,(\w+)\}", r"\1", text)  # where the option of another group says nothing
    return f"`{_escaped(text)}`" if text.strip() and len(text) < 40 and "\n" not in text else ""


def _meaning(key: str, comments: Mapping[str, str]) -> str:
    last = key.rpartition(".")[2]  # inside a nested object an option's comment is of that option alone
    return _escaped((MEANINGS.get(key) or MEANINGS.get(last, "")) if "." in key else comments.get(key, ""))


def _is_of(tree: Mapping[str, Any], kind: Schema) -> bool:
    """Return whether a composed option has the keys of a kind, and its constants."""
    for key, field in kind["properties"].items():
        allowed = field.get("enum", [field["const"]] if "const" in field else None)
        if key not in tree and key in kind.get("required", ()):
            return False
        if allowed is not None and key in ("name", "reader", "kind") and tree.get(key) not in allowed:
            return False
    return set(tree) <= set(kind["properties"])


def _tree(group: str, option: str) -> dict[str, Any]:
    """The keys of an option, those that its file takes over from others included; references are not followed."""
    read = yaml.safe_load(_file(group, option).read_text()) or {}
    own = {key: value for key, value in read.items() if key != "defaults"}
    tree: dict[str, Any] = {}
    for entry in read.get("defaults", ()):
        if entry == "_self_":
            continue
        if isinstance(entry, str):
            tree |= _tree(group, entry)
        elif (placed := re.fullmatch(r"/(\w+)@(\w+)", *entry)) is not None:  # another option under a key
            tree[placed[2]] = _tree(placed[1], *entry.values())
    inside: dict[str, Any] = own.get(group, own)  # a file for the whole configuration has its group inside
    return tree | inside


def _file(group: str, option: str) -> Path:
    return (composition.SWEEPS if group == "sweep" else composition.CONF / group) / f"{option}.yaml"


def _question(group: str, option: str) -> str:
    """The first sentence of an option's file, or an experiment's question."""
    lines = _file(group, option).read_text().splitlines()
    opening = []
    for line in lines:
        if line.startswith("# @package"):
            continue
        if not line.startswith("#") or line.startswith("# Command:"):
            break
        opening.append(line.lstrip("# ").strip())
    return _escaped(_first_sentence(" ".join(opening).removeprefix("Question:").strip()))


def _all_comments(group: str, names: Sequence[str]) -> dict[str, str]:
    """The comments of several options; the first that has one for a key decides."""
    found: dict[str, str] = {}
    for name in names:
        found = _comments(_file(group, name)) | found
    return found


def _comments(path: Path) -> dict[str, str]:
    """Read the comment of each key of a file, by its dotted name."""
    found: dict[str, str] = {}
    parents: list[tuple[int, str]] = []
    key = ""
    for line in path.read_text().splitlines():
        entry = re.match(r"^( *)([\w@/.]+):(?: .*?)?(?:\s+#\s+(.*))?$", line)
        more = re.match(r"^ {10,}#\s+(.*)$", line)
        if more and key in found:
            found[key] += f" {more[1].strip()}"
        elif entry:
            depth = len(entry[1])
            parents = [parent for parent in parents if parent[0] < depth]
            key = ".".join([*(name for _, name in parents), entry[2]])
            parents.append((depth, entry[2]))
            if entry[3]:
                found[key] = entry[3].strip()
        else:
            key = ""
    return found


def _first_sentence(text: str) -> str:
    whole = " ".join(text.split())
    end = re.search(r"\.(?= )", whole)
    return whole[: end.start() + 1] if end else whole


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "\\n").strip()


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
