"""Source texts and the target texts to be written for them, in fixed splits that share no source."""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.config import CatalogueTaskConfig, ConfigError, FileSeq2seqTaskConfig, ModelConfig, Tokens, nearest
from harness.system import assets
from harness.task.base import SPLITS, Inputs
from harness.task.intake.cuts import refuse_empty, split_of
from harness.task.intake.findings import NO_FINDINGS, DataFindings
from harness.task.own_pairs import read_own_pairs
from harness.task.seq2seq_inputs import Seq2seqSplit, SpecialTokens, encode_seq2seq
from harness.task.writing import WritingTask

if TYPE_CHECKING:
    from polib import POEntry  # it comes with the extra translation; a text user may not have it

Tables = tuple[str, dict[str, pd.DataFrame], dict[str, int], DataFindings]
"""Source, frames by split, what was left out and why, and what else was found out."""

_PLACEHOLDER = re.compile(r"%\(\w+\)[a-zA-Z]|%[sdif]|\{\w*\}")
_WORD = re.compile(r"[^\W\d_]+")


@dataclasses.dataclass(frozen=True)
class Seq2seqTask(WritingTask):
    """Three splits; `left_out` counts the rows that were not taken, by reason."""

    name: str
    source: str
    splits: dict[str, Seq2seqSplit]
    sha256: str
    left_out: dict[str, int]
    max_source: int
    longest_answer: int
    generate_rows: int
    facts: DataFindings = NO_FINDINGS
    answer: str | None = None

    def inputs(self, split: str, tokens: Tokens | None) -> Inputs:
        assert tokens is not None
        assert tokens.tokenizer is not None
        assert tokens.end is not None
        special = SpecialTokens(tokens.pad, tokens.end, tokens.decoder_start, tokens.begin)
        return encode_seq2seq(
            self.splits[split],
            tokens.tokenizer,
            special,
            separator=tokens.separator,
            max_source=self.max_source,
            max_target=self.longest_answer,
        )

    def mistakes(self, model: ModelConfig) -> list[str]:
        return model.seq2seq_mistakes(self.max_source, self.longest_answer)

    def texts(self, split: str) -> tuple[str, ...]:
        return (*self.splits[split].sources, *self.splits[split].targets)

    def copied(self, split: str) -> tuple[str, ...]:
        return self.splits[split].sources

    def lengths(self, split: str) -> dict[str, list[float]]:
        sources, targets = self.splits[split].sources, self.splits[split].targets
        return {
            "words of sources": [len(text.split()) for text in sources],
            "words of targets": [len(text.split()) for text in targets],
        }

    def describe(self) -> dict[str, object]:
        """With the rows that were left out."""
        return super().describe() | {"left_out": self.left_out}


def read_seq2seq(config: FileSeq2seqTaskConfig | CatalogueTaskConfig) -> Seq2seqTask:
    """Read and split a task's texts. Raises ConfigError for data that cannot be learned from."""
    source, frames, left_out, facts = _READERS[config.reader](config)
    splits = {name: Seq2seqSplit(tuple(frames[name]["source"]), tuple(frames[name]["target"])) for name in SPLITS}
    task = seq2seq_task(
        config.name,
        source,
        splits,
        left_out,
        max_source=config.max_source,
        max_target=config.max_target,
        generate_rows=config.generate_rows,
    )
    return dataclasses.replace(task, facts=facts, answer=config.answer)


def seq2seq_task(
    name: str,
    source: str,
    splits: dict[str, Seq2seqSplit],
    left_out: dict[str, int],
    *,
    max_source: int,
    max_target: int,
    generate_rows: int,
) -> Seq2seqTask:
    """A task of these splits, with its digest. Raises ConfigError for an empty one."""
    refuse_empty(f"task={name}", splits)
    digest = hashlib.sha256(repr([(key, split.sources, split.targets) for key, split in splits.items()]).encode())
    return Seq2seqTask(name, source, splits, digest.hexdigest(), left_out, max_source, max_target, generate_rows)


def words_of(message: str) -> str:
    """Return the words of a message in lower case, without placeholders, digits and signs."""
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
    return source, {name: frame[frame["split"] == name] for name in SPLITS}, left_out, NO_FINDINGS


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


_READERS: dict[str, Callable[[Any], Tables]] = {"seq2seq": read_own_pairs, "catalogue": _read_catalogues}
