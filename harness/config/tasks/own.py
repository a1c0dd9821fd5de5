"""Settings for reading a user's own data if the way of reading them changes what is learned."""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal, Self

from pydantic import Field
from pydantic.dataclasses import dataclass

from harness.config.scalars import CLOSED, Column, Flag, Text
from harness.config.tasks.base import TaskConfig

Duplicates = Literal["refuse", "first", "leave_out", "keep"]
"""What becomes of rows that contradict each other: the first is kept, or none of them, or all."""

GapWords = Literal["refuse", "leave_out", "keep"]
"""What becomes of rows with a text that is a word for a gap."""


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class LabelsConfig:
    """`normalise` of labels that differ in blanks, case or number format only, or look alike: one class, or several;
    null: an error where there are any. `separator` parts several labels in a cell of text, `field` is
    what is read of each in a list of mappings. `decimal` is the point of
    numbers, the other one parts thousands; null: found, an error where it may be either. `unlabelled`: what becomes of
    rows whose label, as -1 or N/A, may mean that there is none. `combined`: of classes that are others joined by a
    comma, or the like. Of several columns of labels, `uncertain`: what a cell of -1 is, or that its row is left out;
    `blank`: what an empty one is.
    """

    normalise: Flag | None = None
    separator: Text = ","
    field: Text | None = None
    decimal: Literal[".", ","] | None = None
    unlabelled: Literal["refuse", "leave_out", "keep"] = "keep"
    combined: Literal["refuse", "keep"] = "keep"
    uncertain: Literal["refuse", "zero", "one", "leave_out"] = "refuse"
    blank: Literal["refuse", "zero"] = "refuse"


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class OwnDataConfig(TaskConfig):
    """The keys of everything that reads a user's own files; their defaults refuse what is ambiguous.

    `gaps`: rows without text or label, and files that cannot be read, are left out.
    """

    gaps: Literal["refuse", "leave_out"] = "refuse"

    def uncut(self) -> Self:
        """There are no notes on the cut of splits, and on what they share."""
        plain: dict[str, Any] = {"leaks": "allow", "split": "none", "cut": "drawn", "time": None, "time_format": None}
        return replace(self, **{key: value for key, value in plain.items() if key in vars(self)})


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class OwnTextsConfig(OwnDataConfig):
    """The settings of a user's own texts. `unknown_tokens`: a split of texts that are unknown to the tokenizer for the
    most part.

    `gap_words`: what becomes of rows with a text that is a word for a gap, as nan or #N/A; words that a person may have
    written, as None or NA, are told where such rows are refused.
    """

    unknown_tokens: Literal["refuse", "allow"] = "refuse"
    gap_words: GapWords = "keep"

    @property
    def takes_unknown(self) -> bool:
        return self.unknown_tokens == "allow"


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class OwnLabelledConfig(OwnDataConfig):
    """The settings of a user's own rows with a label. `duplicates`: of rows that contradict each other. `cut`: how the
    splits that are not given are drawn.
    """

    duplicates: Duplicates = "refuse"
    labels: LabelsConfig = LabelsConfig()
    cut: Literal["drawn", "stratified"] = "drawn"

    @property
    def scored_together(self) -> str | None:
        """The column, or template, by whose value rows are right only together."""
        return None

    def cell_mistakes(self, label: str | list[str]) -> list[str]:
        """Return errors if a setting for -1 or empty cells is given without several columns of labels."""
        named = {"uncertain": self.labels.uncertain, "blank": self.labels.blank}
        return [
            f"task.labels.{key}={value}: of a 0 or a 1 in several columns, and task.label={label} is one; refuse"
            for key, value in named.items()
            if value != "refuse" and isinstance(label, str)
        ]


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class OwnTableConfig(OwnDataConfig):
    """The same of tables: their encoding and separator are found where they are not given. `columns` are the names of
    those of a CSV or TSV file without a header.

    `leaks`: a held-out split may share more than a few rows with an earlier one. `split` is the column that says of
    which split each row of `data` is; null: an error where there is one; none: it means something else.
    """

    data: Text | None
    validation: Text | None
    test: Text | None
    leaks: Literal["refuse", "allow"] = "refuse"
    split: Text | None = "none"
    columns: Annotated[list[Column], Field(min_length=1)] | None = None
    encoding: Text | None = None
    separator: Text | None = None

    @property
    def paths(self) -> Mapping[str, str | None]:
        return {"data": self.data, "validation": self.validation, "test": self.test}

    @property
    def read_early(self) -> bool:
        return True


Cut = Literal["hashed", "drawn"]
"""How splits that are not given are cut: by a hash of each group alone, or of all groups by their shares."""


@dataclass(config=CLOSED, frozen=True, kw_only=True)
class OwnDatasetConfig(OwnTableConfig):
    """The same where a data set of the datasets library may stand in place of files.

    `train`, `validation` and `test` are then the names of its splits; null: found by their usual names.
    """

    dataset: Text | None = None
    subset: Text | None = None
    train: Text | None = None

    @property
    def split_names(self) -> dict[str, str | None]:
        """The splits of the data set that are named."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def source_mistakes(self) -> list[str]:
        """Return an error if files and a data set are both named, or a split without a data set."""
        return source_mistakes(self.dataset, self.data, self.train)

    @property
    def paths(self) -> Mapping[str, str | None]:
        return super().paths if self.dataset is None else {"data": self.data}

    @property
    def read_early(self) -> bool:
        return self.dataset is None or is_folder(self.dataset)


def one_each(columns: Mapping[str, str | None]) -> list[str]:
    """Return an error for a column that is named twice; `columns` by key."""
    keys: dict[str, list[str]] = {}
    for key, name in columns.items():
        if name is not None:
            keys.setdefault(name, []).append(key)
    twice = {name: found for name, found in keys.items() if len(found) > 1}
    return [
        f"{' '.join(f'task.{key}={name}' for key in found)}: one column for both; name each by its own"
        for name, found in twice.items()
    ]


def names_in(template: str) -> list[str]:
    """The columns that a template names, or the one that it is."""
    return [re.split(r"[.\[]", field)[0] for field in fields_in(template)] if "{" in template else [template]


def with_breaks(text: str) -> str:
    r"""A text of a setting as it is meant, in which Hydra leaves \n as it is: \n is a line break, \t a tab, \\ a \."""
    return re.sub(r"\\([nt\\])", lambda found: _ESCAPED[found[1]], text)


_ESCAPED = {"n": "\n", "t": "\t", "\\": "\\"}


def fields_in(template: str) -> list[str]:
    """Return the fields between the braces of a template, as `column[item]`, or the column alone."""
    if "{" not in template:
        return [template]
    return [field for _, field, _, _ in Formatter().parse(template) if field is not None]


def shown_answers(label: str, templates: Mapping[str, str | None]) -> list[str]:
    """Return why a row's text would reveal its answer; `templates` by key. Broken ones are reported elsewhere."""
    return [
        _shown(key, template, f"task.label={label}")
        for key, template, read in _answers_read(label, templates)
        if template != label and any(read)
    ]


def shown_targets(target: str, templates: Mapping[str, str | None]) -> list[str]:
    """Return why a row's text would reveal all of its target; `templates` by key."""
    return [
        _shown(key, template, f"task.target={target}")
        for key, template, read in _answers_read(target, templates)
        if read and all(read)
    ]


def _answers_read(answer: str, templates: Mapping[str, str | None]) -> Iterator[tuple[str, str, list[bool]]]:
    """The templates that are not broken, by their keys, and whether each field of the answer is read in them."""
    wanted = [] if _broken(answer) else fields_in(answer)
    for key, template in templates.items():
        if template is not None and not _broken(template):
            fields = fields_in(template)
            yield key, template, [any(_is_of(field, each) for field in fields) for each in wanted]


def _shown(key: str, template: str, answer: str) -> str:
    return f"task.{key}={template}: {answer} is read in it, which is the answer; leave it out"


def _is_of(field: str, whole: str) -> bool:
    """Return whether a field is another, or an item of it."""
    return field == whole or field.startswith((f"{whole}[", f"{whole}."))


def template_mistakes(templates: Mapping[str, str | None]) -> list[str]:
    """Return why a template by key cannot be filled, whatever the columns of the rows."""
    broken = {f"task.{key}={template}": _broken(template) for key, template in templates.items() if template}
    return [f"{where}: {why}; {{column}} stands for one" for where, why in broken.items() if why]


def _broken(template: str) -> str:
    """Return the error in a template; empty if there is none."""
    try:
        names = names_in(template)
    except ValueError as error:
        return f"columns cannot be told in it ({error})"
    if not names:
        return "no column in it"
    unnamed = "{" in template and any(not name or name.isdigit() for name in names)
    return "a column without its name in it" if unnamed else ""


def source_mistakes(dataset: str | None, data: str | None, train: str | None) -> list[str]:
    """Return an error if a file and a data set are both named, or a split without a data set."""
    if dataset is not None and data is not None:
        return [f"task.data={data} task.dataset={dataset}: files, or a data set with its own splits"]
    if dataset is None and train is not None:
        return [f"task.train={train}: the name of a split of task.dataset; task.data is the file of training"]
    return []


def time_mistakes(column: str | None, time_format: str | None, group: str | None) -> list[str]:
    """Return why splits cannot be cut by the times in a column, or not both by times and by groups.

    The format `plain`, numbers or dates like 2024-05-31 whatever else they may be, is that of studies before the key.
    """
    if column is None:
        said = f"task.time_format={time_format}: task.time names no column of times"
        return [said] if time_format not in (None, "plain") else []
    if group is not None:
        return [f"task.group={group} task.time={column}: splits are cut by one of them; the other is null"]
    problem = _no_format(time_format) if time_format not in (None, "number", "plain") else ""
    return (
        [f"task.time_format={time_format}: {problem}; number, or as %d.%m.%Y of Python's strptime"] if problem else []
    )


def _no_format(time_format: str) -> str:
    if "%" not in time_format:
        return "no part of a time in it"
    try:
        time.strptime(time.strftime(time_format, (2000, 12, 31, 0, 0, 0, 6, 366, 0)), time_format)
    except ValueError as error:
        return str(error)
    return ""


def is_folder(dataset: str) -> bool:
    """Return whether a data set of the datasets library is a folder on this machine."""
    return Path(dataset).expanduser().exists()
