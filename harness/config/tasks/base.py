"""The interface of a task's configuration before any data is read."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field

from harness.config.adaptation import Adaptation
from harness.config.models.base import ModelConfig
from harness.system.paths import path_problem

Outputs = int | Mapping[str, int]
"""How many outputs a head has; of each task, where there are several heads."""


class TokenClasses(int):
    """The number of classes, where each token of a row has one."""


class LabelSets(int):
    """The number of classes, where a row may have several of them, or none."""


class AnswerSpan(int):
    """Two outputs for each token of a row: whether the answer begins there, and whether it ends there."""

    def __new__(cls) -> "AnswerSpan":
        return super().__new__(cls, 2)


class Transcribed(int):
    """No classes: a text that is heard, in these `characters` where it is written by its letters alone."""

    characters: str

    def __new__(cls, characters: str = "") -> "Transcribed":
        made = super().__new__(cls, 0)
        made.characters = characters
        return made


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]

FORMER_READERS = {"continual": "sequence", "seq2seq": "pairs"}
"""Readers that had other names: fingerprints are made with those, and files of studies begun then hold them."""

# What does not change what is learned: names and places, and how the data were read and cut. The digest of what came of
# it is in the fingerprint.
_NOT_IN_FINGERPRINT = (
    *("name", "data", "asset", "stand_in", "train", "validation", "test", "catalogues"),
    *("labels", "cut", "time", "time_format", "duplicates", "gaps", "leaks", "split", "encoding", "separator"),
    "columns",
    *("channels", "gradients", "gap_words"),
    *("dataset", "subset", "packages", "broken", "unknown", "tag_names", "unknown_tokens", "sentence"),
    *("template", "template_arguments", "messages", "system", "other_roles"),
    *("answers", "answer_start", "id", "starts", "unanswerable", "impossible", "background", "range"),
    *("objective", "measures"),  # which the trainer has
)
# Trials from before there were these are the same trials.
_LATER_KEYS = {
    "alone": None,
    "train_rows": None,
    "temperature": None,
    "batches": "one_task",
    "text_pair": None,
    "positive": None,
    "replay_rows": 64,
    "input_share": 0.95,
    "input_rows": 256,
    "score_group": None,
}


ORDER_MEASURES = ("auroc", "average_precision")
"""Measures of the order of rows by a class's probability; each split must have rows of that class."""
CLASS_MEASURES = ("balanced_accuracy", "f1", "f1_macro", "f1_micro", "matthews", *ORDER_MEASURES)
NUMBER_MEASURES = ("pearson", "spearman", "mae")
GROUP_MEASURE = "group_exact"
"""The share of groups of rows, as of all answers to a question, that are right as a whole."""
ANSWER_MEASURES = ("answer_accuracy",)
ERROR_RATES = ("wer", "cer")
"""The word and the character error rate of transcripts."""
TEXT_MEASURES = ("bleu", "chrf", "rouge_l", "exact", *ERROR_RATES, *ANSWER_MEASURES)
"""Measures of texts that are written, and of the answers in them, by the names of the record."""
WHOLE_SPLIT = (*CLASS_MEASURES, *NUMBER_MEASURES)
"""Measures that are no mean over rows, and need all of them in one place."""

READ_FILES = (
    "task=text_csv, task=image_table, task=audio_table, task=token_labels, task=extractive_qa, task=seq2seq, "
    "task=chat, task=choice and task=transcripts read files"
)
_READ_BY = {
    "a file,": READ_FILES,
    "a folder,": "task=image_folder, task=audio_folder, task=spoken_digits and task=sst2 read folders",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """Subclasses are pydantic dataclasses with a field `reader`, whose values name them.

    `builder` is the function, as `module:name`, that reads the data; it is imported when the task is built.
    """

    builder: ClassVar[str]
    predictor: ClassVar[str | None] = "harness.trial.predict:write_of_texts"
    """The function, as `module:name`, that writes what its network says of a file's rows; None: there is none."""
    answers_files: ClassVar[bool] = False
    """Whether it answers for files as a whole, images or recordings: a folder of them can be predicted."""
    needs_model: ClassVar[str | None]
    """The kind of model that takes what this task reads; None for a guest, which says so when it is imported."""
    extra: ClassVar[str | None] = None
    """The extra of pyproject.toml whose packages read its data."""
    part_of_several: ClassVar[bool] = False
    """Whether it can be one of the tasks of a mixture, or one that is learned in turn with others."""
    in_turn: ClassVar[bool] = False
    """Whether its tasks are learned one after another."""
    path_kind: ClassVar[str] = "folder"

    if TYPE_CHECKING:  # fields of every subclass; a property here would be their default

        @property
        def reader(self) -> str: ...

        @property
        def name(self) -> str: ...

        @property
        def split_seed(self) -> int: ...

    @property
    def label_columns(self) -> Sequence[str]:
        """The columns of a table that hold its labels; none where it has no such columns."""
        return ()

    @property
    def guests(self) -> tuple[str, ...]:
        """The dotted paths of the user's own classes: its own, or those of its parts."""
        return tuple(path for part in self.parts.values() for path in part.guests)

    @property
    def extras(self) -> frozenset[str]:
        """The extras that read its data, or those of its parts."""
        own = {self.extra} if self.extra is not None else set()
        return frozenset(own).union(*(part.extras for part in self.parts.values()))

    @property
    def model_kind(self) -> str | None:
        """The kind of model that takes what this task reads."""
        return self.needs_model

    @property
    def reads_texts(self) -> bool:
        """True if its rows may be texts, whose lengths are in tokens; a guest's may."""
        return self.model_kind in ("text", "generator", None)

    @property
    def parts(self) -> Mapping[str, "TaskConfig"]:
        """Its tasks by name, where it is several; none where it is one."""
        return {}

    @property
    def objectives(self) -> tuple[str, ...]:
        """The measures that can choose the best weights, the usual one first; empty if that depends on the data."""
        return ("accuracy", "loss", *CLASS_MEASURES)

    @property
    def known_outputs(self) -> Outputs | None:
        """The outputs of its head, or of each head; None where only the data can tell."""
        return None

    @property
    def takes_unknown(self) -> bool:
        """True if most texts may be unknown to the model's tokenizer."""
        return False

    @property
    def written_rows(self) -> int | None:
        """The number of held-out rows for which texts are generated; None if the answer is no text."""
        return None

    @property
    def answer_taken(self) -> str | None:
        """The part of generated texts that is compared, too; None if they are compared as a whole only."""
        return None

    @property
    def tags_tokens(self) -> bool:
        """True if each token of a row has an answer of its own."""
        return False

    @property
    def marks_answers(self) -> bool:
        """True if its answer is a span of a text that is read."""
        return False

    @property
    def several_labels(self) -> bool:
        """True if a row may have more than one label."""
        return False

    @property
    def reads_pairs(self) -> bool:
        """True if a row is two texts."""
        return False

    @property
    def transcribes(self) -> bool:
        """True if its answer is the transcript of a recording."""
        return False

    @property
    def holds_chats(self) -> bool:
        """True if its rows are conversations to which answers are written."""
        return False

    @property
    def offers_options(self) -> bool:
        """True if each row has its own options and the answer is the likeliest one."""
        return False

    @property
    def scored_tokens(self) -> str | None:
        """The tokens of a text that its loss covers, if that can be chosen."""
        return None

    def head_outputs(self, classes: int) -> Outputs:
        """The outputs of its head, where the data have so many classes."""
        return classes

    @property
    def head_names(self) -> tuple[str, ...]:
        """The tasks that have a head of their own; empty where there is one head."""
        return ()

    @property
    def mixed(self) -> tuple[str, ...]:
        """The tasks that take turns batch by batch, for adapters that tell them apart; empty for one task."""
        return ()

    @property
    def rows_of_all_tasks(self) -> bool:
        """True if each row has an answer of every task."""
        return False

    @property
    def trains_in_part(self) -> bool:
        """True if a step may leave some of the trained weights alone: the heads and adapters of other tasks."""
        return bool(self.parts) or self.rows_of_all_tasks

    @property
    def mixes_rows(self) -> bool:
        """True if a batch has rows of several tasks."""
        return False

    @property
    def weighted_by(self) -> str:
        """The weighting of the losses of several tasks; equal: all have the same weight."""
        return "equal"

    @property
    def watches_gradients(self) -> bool:
        """True if the gradients of its tasks are compared at each evaluation."""
        return False

    @property
    def overlap_penalty(self) -> float | None:
        """The weight of the penalty on overlap with adapters of earlier tasks, if new ones are kept orthogonal."""
        return None

    @property
    def learned_in_turn(self) -> tuple[str, ...]:
        """The tasks that are learned one after another, in their order."""
        return ()

    @property
    def input_memory(self) -> tuple[float, int] | None:
        """The settings of InfLoRA: the share of each task's inputs to keep, and the rows they are computed on."""
        return None

    @property
    def replayed_rows(self) -> int | None:
        """The number of rows of each earlier task that are kept and mixed into the batches of later ones."""
        return None

    @property
    def fallback(self) -> str | None:
        """The name of the task that is trained on where this one's data cannot be reached."""
        return None

    @property
    def paths(self) -> Mapping[str, str | None]:
        """The user's own files or folders, by key."""
        return {}

    def kind_of(self, path: Path) -> str:
        """Return the kind of path, file or folder, expected for the user's own data."""
        return self.path_kind

    @property
    def read_early(self) -> bool:
        """True if the data are the user's own files, which are read and checked before anything else is created."""
        return False

    def mistakes(self, model: ModelConfig) -> list[str]:
        """Return errors within the task, or with a model of its kind."""
        return []

    def adapter_mistakes(self, lora: Adaptation) -> list[str]:
        """Return errors in combining it with the method of adaptation."""
        return []

    def missing_files(self, prefix: str = "task.") -> list[str]:
        """A line for each file or folder that is named and not there."""
        found = {
            f"{prefix}{key}={path}": path_problem(Path(path).expanduser(), self.kind_of(Path(path).expanduser()))
            for key, path in self.paths.items()
            if path is not None
        }
        missing = [f"{where}: {problem}{self._read_by(problem)}" for where, problem in found.items() if problem]
        of_parts = (part.missing_files(f"task.tasks.{name}.") for name, part in self.parts.items())
        return [*missing, *itertools.chain.from_iterable(of_parts)]

    def _read_by(self, problem: str) -> str:
        """Return the tasks that read the data at a path instead."""
        other = next((others for start, others in _READ_BY.items() if problem.startswith(start)), None)
        return f"; task={self.name} reads a {self.path_kind}, {other}" if other is not None else ""

    def uncut(self) -> "Self | None":
        """The task with all its rows scored together, whatever their split; None where the splits are fixed."""
        return None

    def hashed(self) -> dict[str, Any]:
        """The keys and values that go into the fingerprint of a trial."""
        return _hashed(dataclasses.asdict(self))


def _hashed(tree: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in tree.items() if key not in _NOT_IN_FINGERPRINT}
    for key, default in _LATER_KEYS.items():
        if key in kept and kept[key] == default:
            del kept[key]
    if kept.get("answer") in ("class", None):  # a class, or of written texts: compared as a whole
        kept.pop("answer", None)
    if kept.get("learn") == "replay":
        kept["drawn"] = "by epoch"  # before, a batch that came again brought the same rows of earlier tasks
    if kept["reader"] in ("table", "hf"):  # others have it from the beginning
        del kept["group"]
    kept["reader"] = FORMER_READERS.get(kept["reader"], kept["reader"])
    if "tasks" in kept:
        kept["tasks"] = {name: _hashed(part) for name, part in kept["tasks"].items()}
    return kept
