"""Source texts and the target texts to be written for them, in fixed splits that share no source."""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.config import CatalogueTaskConfig, ConfigError, FileSeq2seqTaskConfig, ModelConfig, Tokens, nearest
from harness.system import assets
from harness.task.base import SPLITS, Generation, Inputs, Task
from harness.task.seq2seq_inputs import Seq2seqSplit, SpecialTokens, encode_seq2seq
from harness.task.text import load_table

if TYPE_CHECKING:
    from polib import POEntry  # it comes with the extra translation; a text user may not have it

    from harness.task.metrics import Metrics

Tables = tuple[str, dict[str, pd.DataFrame], dict[str, int]]  # source, frames by split, what was left out and why

_PLACEHOLDER = re.compile(r"%\(\w+\)[a-zA-Z]|%[sdif]|\{\w*\}")
_WORD = re.compile(r"[^\W\d_]+")


@dataclasses.dataclass(frozen=True)
class Seq2seqTask(Task):
    """Three splits; `left_out` counts the rows that were not taken, by reason. Lengths are in tokens, and texts are
    generated for the first `generate_rows` test rows.
    """

    name: str
    source: str
    splits: dict[str, Seq2seqSplit]
    sha256: str
    left_out: dict[str, int]
    max_source: int
    max_target: int
    generate_rows: int

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    @property
    def outputs(self) -> int:
        """No head: what comes out is text."""
        return 0

    def inputs(self, split: str, tokens: Tokens | None) -> Inputs:
        assert tokens is not None
        assert tokens.tokenizer is not None
        assert tokens.end is not None
        special = SpecialTokens(tokens.pad, tokens.end, tokens.start)
        return encode_seq2seq(
            self.splits[split], tokens.tokenizer, special, tokens.separator, self.max_source, self.max_target
        )

    def metrics(self) -> "Metrics":
        """The cross-entropy of target tokens, and perplexity."""
        from harness.task.metrics import TokenMetrics

        return TokenMetrics()

    @property
    def generation(self) -> Generation | None:
        references = self.splits["test"].targets[: self.generate_rows]
        return Generation(self.max_target, references) if references else None

    def mistakes(self, model: ModelConfig) -> list[str]:
        return model.seq2seq_mistakes(self.max_source, self.max_target)

    def texts(self, split: str) -> tuple[str, ...]:
        return (*self.splits[split].sources, *self.splits[split].targets)

    def describe(self) -> dict[str, object]:
        """With the characters of the targets."""
        return {
            "name": self.name,
            "source": self.source,
            "sha256": self.sha256,
            "rows": {name: len(split) for name, split in self.splits.items()},
            "characters": {name: sum(map(len, split.targets)) for name, split in self.splits.items()},
            "left_out": self.left_out,
        }


def read_seq2seq(config: FileSeq2seqTaskConfig | CatalogueTaskConfig) -> Seq2seqTask:
    """Read and split a task's texts. Raises ConfigError for data that cannot be learned from."""
    source, frames, left_out = _READERS[config.reader](config)
    splits = {name: Seq2seqSplit(tuple(frames[name]["source"]), tuple(frames[name]["target"])) for name in SPLITS}
    lengths = config.max_source, config.max_target
    return seq2seq_task(config.name, source, splits, left_out, *lengths, config.generate_rows)


def seq2seq_task(
    name: str,
    source: str,
    splits: dict[str, Seq2seqSplit],
    left_out: dict[str, int],
    max_source: int,
    max_target: int,
    generate_rows: int,
) -> Seq2seqTask:
    """A task of these splits, with its digest. Raises ConfigError for an empty one."""
    for key, split in splits.items():
        if not len(split):
            raise ConfigError(f"task={name}: the {key} split has no rows")
    digest = hashlib.sha256(repr([(key, split.sources, split.targets) for key, split in splits.items()]).encode())
    return Seq2seqTask(name, source, splits, digest.hexdigest(), left_out, max_source, max_target, generate_rows)


def split_of(group: str, seed: int, validation_share: float, test_share: float) -> str:
    """The split of a group, from its text alone: the same whatever else is in the data, so that a base trained on
    one language has seen no test source of another.
    """
    digest = hashlib.sha256(f"{seed}\0{group}".encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64
    if place < test_share:
        return "test"
    return "validation" if place < test_share + validation_share else "train"


def words_of(message: str) -> str:
    """What near-identical messages share: their words in lower case, without placeholders, digits and signs."""
    return " ".join(_WORD.findall(_PLACEHOLDER.sub(" ", message).lower()))


def _read_catalogues(config: CatalogueTaskConfig) -> Tables:
    """English messages and their translations out of packages' .po files, near-identical messages in one split."""
    folders = [assets.fetch(item.address, item.sha256) for item in config.catalogues]
    left_out: dict[str, int] = {}
    rows: list[tuple[str, str, str]] = []
    for language in config.languages:
        pairs: dict[str, str] = {}
        for folder in folders:
            for path in sorted(folder.rglob(f"locale/{language}/LC_MESSAGES/*.po")):
                for message, translation in _messages(path, left_out):
                    if message in pairs:
                        left_out["repeated"] = left_out.get("repeated", 0) + 1
                    pairs.setdefault(message, translation)
        if not pairs:
            valid = sorted({path.parent.name for folder in folders for path in folder.rglob("locale/*/LC_MESSAGES")})
            raise ConfigError(f"task.languages={language}: no catalogue{nearest(language, valid)}")
        rows += [
            (split_of(words_of(message), config.split_seed, config.validation_share, config.test_share),
             config.prompt.format(language=language, source=message), translation)
            for message, translation in pairs.items()
        ]  # fmt: skip
    # In an order of their own: the first rows, whose texts are written, would else be of one file.
    rows.sort(key=lambda row: hashlib.sha256(row[1].encode()).digest())
    frame = pd.DataFrame(rows, columns=["split", "source", "target"])
    source = ", ".join(item.address for item in config.catalogues)
    return source, {name: frame[frame["split"] == name] for name in SPLITS}, left_out


def _messages(path: Path, left_out: dict[str, int]) -> Iterable[tuple[str, str]]:
    """The usable messages of one catalogue; why others are not is counted in `left_out`."""
    import polib

    catalogue = polib.pofile(str(path))
    two_forms = "nplurals=2" in catalogue.metadata.get("Plural-Forms", "").replace(" ", "")
    for entry in catalogue:
        for message, translation, reason in _forms(entry, two_forms):
            reason = reason or _unfit(message, translation)
            if reason:
                left_out[reason] = left_out.get(reason, 0) + 1
            else:
                yield message, translation


def _forms(entry: "POEntry", two_forms: bool) -> list[tuple[str, str, str]]:
    """(message, translation, why it is left out or nothing): one, or singular and plural where they correspond."""
    if entry.obsolete or entry.fuzzy:
        return [(entry.msgid, "", "obsolete or fuzzy")]
    if not entry.msgid_plural:
        return [(entry.msgid, entry.msgstr, "")]
    if not two_forms:  # which of three or four forms the English plural is depends on the number
        return [(entry.msgid, "", "plural of more than two forms")]
    return [(entry.msgid, entry.msgstr_plural[0], ""), (entry.msgid_plural, entry.msgstr_plural[1], "")]


def _unfit(message: str, translation: str) -> str:
    if not translation.strip():
        return "not translated"
    if not words_of(message):
        return "without words"
    if sorted(_PLACEHOLDER.findall(message)) != sorted(_PLACEHOLDER.findall(translation)):
        return "other placeholders"
    return ""


def _read_tables(config: FileSeq2seqTaskConfig) -> Tables:
    """A user's or a hub's files. Where a split is not given it is cut off the training file, whole groups at a time."""
    if config.data is None:
        raise ConfigError("task.data: missing; give the path of a CSV, TSV, JSONL or Parquet file")
    root = assets.fetch(config.asset.address, config.asset.sha256) if config.asset else Path()
    given = {"train": config.data, "validation": config.validation, "test": config.test}
    keys = {"train": "task.data", "validation": "task.validation", "test": "task.test"}
    left_out: dict[str, int] = {}
    frames = {
        name: _columns(config, root / Path(path).expanduser(), keys[name], left_out)
        for name, path in given.items()
        if path is not None
    }
    shares = {"validation": config.validation_share, "test": config.test_share}
    cut = {name: 0.0 if name in frames else share for name, share in shares.items()}
    if any(cut.values()):
        train = frames["train"]
        place = train["group"].map(lambda group: split_of(group, config.split_seed, cut["validation"], cut["test"]))
        frames |= {name: train[place == name] for name in SPLITS if name == "train" or cut[name]}
    _refuse_shared(config, frames)
    origin = f"{config.asset.address}/{config.data}" if config.asset else config.data
    return origin, frames, left_out


_READERS: dict[str, Callable[[Any], Tables]] = {"seq2seq": _read_tables, "catalogue": _read_catalogues}


def _columns(config: FileSeq2seqTaskConfig, path: Path, key: str, left_out: dict[str, int]) -> pd.DataFrame:
    """Columns source, target and group of one file, without repeated rows."""
    table = load_table(path, key)
    group = config.group or config.source
    frame = pd.DataFrame(
        {
            "source": _filled(table, "task.source", config.source, path),
            "target": _filled(table, "task.target", config.target, path),
            "group": _filled(table, "task.group", group, path),
        }
    )
    blank = frame["source"].str.strip().eq("") | frame["target"].str.strip().eq("")
    if missing := int(blank.sum()):
        raise ConfigError(f"{key}={path}: {missing} rows have no source or no target")
    once = frame.drop_duplicates(["source", "target"])
    if repeated := len(frame) - len(once):
        left_out["repeated"] = left_out.get("repeated", 0) + repeated
    return once


def _filled(table: pd.DataFrame, key: str, template: str, path: Path) -> list[str]:
    """A column, or a template with {column} in it, for every row."""
    names = [str(name) for name in table.columns]
    if "{" not in template:
        if template not in names:
            raise ConfigError(f"{key}={template}: {path} has no such column{nearest(template, names)}")
        return ["" if _is_gap(cell) else str(cell) for cell in table[template]]
    try:
        return [_fill(template, dict(zip(names, row, strict=True))) for row in table.itertuples(index=False, name=None)]
    except KeyError as error:
        name = str(error.args[0])
        raise ConfigError(f"{key}={template}: {path} has no column {name}{nearest(name, names)}") from None
    except (IndexError, ValueError, AttributeError) as error:
        raise ConfigError(f"{key}={template}: it cannot be filled from {path}: {error}") from None


def _fill(template: str, row: Mapping[str, object]) -> str:
    """The template with a row's cells in it; nothing, and so refused, where a cell it names is a gap."""
    named = {re.split(r"[.\[]", field)[0] for _, field, _, _ in Formatter().parse(template) if field}
    return "" if any(_is_gap(row[name]) or row[name] == "" for name in named) else template.format(**row)


def _is_gap(cell: object) -> bool:
    return cell is None or (isinstance(cell, float) and bool(np.isnan(cell)))


def _refuse_shared(config: FileSeq2seqTaskConfig, frames: Mapping[str, pd.DataFrame]) -> None:
    """A source in two splits would be scored on what was learned by heart."""
    for index, first in enumerate(SPLITS):
        known = set(frames[first]["source"])
        for second in SPLITS[index + 1 :]:
            shared = int(frames[second]["source"].isin(known).sum())
            if shared:
                raise ConfigError(f"task={config.name}: {shared} sources of the {second} split stand in {first} too")
