"""The interface of a model's configuration before torch is imported."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.config.adaptation import Adaptation
from harness.config.probe import ProbeConfig
from harness.config.scalars import AssetConfig

if TYPE_CHECKING:
    from harness.config.models.text import TextModelConfig

ATTENTION = ("query", "key", "value", "output")
FFN = ("ffn_up", "ffn_down")
Attention = Literal["auto", "sdpa", "eager"]

# Where weights lie and what they are called; their digest is in the fingerprint, as is attention that is not the usual.
_NOT_IN_FINGERPRINT = ("weights", "name", "tokenizer", "made_by", "attention")


@dataclasses.dataclass(frozen=True)
class Tokens:
    """The text format of a model: its tokenizer (a file, or a folder of Marian's three) and the ids it sets around
    texts.

    `tokenizer` None: one of `vocabulary` tokens is learned from the training split, `first` and `last` being special
    tokens at the lowest and the highest ids. `decoder_start` is what a decoder starts from, None for a model that reads
    source and target as one sequence, `separator` between them; `begin` is what every text of a model that writes
    begins with. A model that hears recordings has a `sample_rate`, a second, and reads `most_samples` of each, None
    being all. Where it writes what is said, `prompt` stands before each text that is written, of at most
    `most_tokens` with it; without a `decoder_start` it says a character, or `pad` for none, at each frame of its
    `convolutions` (kernel, stride). These characters are those of training transcripts where `of_training`; the base's
    own trained head, of so many, was then `replaced`, which is 0 where it has none.
    """

    tokenizer: Path | None
    pad: int
    end: int | None = None
    decoder_start: int | None = None
    separator: str = ""
    vocabulary: int = 0
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    begin: int | None = None
    sample_rate: int | None = None
    most_samples: int | None = None
    prompt: tuple[int, ...] = ()
    most_tokens: int | None = None
    convolutions: tuple[tuple[int, int], ...] = ()
    of_training: bool = False
    replaced: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Subclasses are pydantic dataclasses with a field `kind`, whose values name them.

    `module` is where the network is built: it has `build`, `base_file` and `tokens`, as harness.model.build says, and
    is imported when the model is built.
    """

    module: ClassVar[str]
    shapes_module: ClassVar[str | None] = None
    """Where its layers are built as shapes alone, by `shapes`, without the libraries that `module` imports."""
    described_by_files: ClassVar[bool] = False
    """Whether only its own files tell what it is, and so which tasks it takes."""
    spreads: ClassVar[bool] = False
    """Whether its weights can be spread over devices (FSDP)."""
    vocabulary_logits: ClassVar[bool] = False
    """Whether its logits are as large as a vocabulary, so that evaluation batches stay as small as in training."""
    extra: ClassVar[str | None] = None
    """The extra of pyproject.toml whose packages build its network or write its texts."""
    extra_to_count: ClassVar[bool] = False
    """Whether they build the network, and so are needed where parameters are only counted."""
    count_with: ClassVar[tuple[str, ...]] = ()
    """Overrides for a task to count its parameters with, where the default task is of another kind."""

    if TYPE_CHECKING:  # fields of every subclass, or of some; a property here would be their default

        @property
        def kind(self) -> str: ...

        @property
        def name(self) -> str: ...

        @property
        def weights(self) -> AssetConfig | None: ...

        @property
        def quantization_skip(self) -> list[str]: ...

    @property
    def quantized(self) -> Literal["int8", "nf4", "nf4-double"] | None:
        """The storage type of its frozen linear layers, if not floats."""
        return None

    @property
    def unquantized(self) -> list[str]:
        """The patterns of the linear layers that stay floats all the same."""
        return []

    @property
    def base_dtype(self) -> Literal["float32", "bfloat16", "float16"]:
        """The type of the frozen base's floats; what is trained is float32."""
        return "float32"

    @property
    def guest(self) -> str | None:
        """The dotted path of the user's own class, where it is one."""
        return None

    @property
    def file_extras(self) -> tuple[str, ...]:
        """The extras that read the files of its weights, which counting needs, too."""
        return ()

    @property
    def use_terms(self) -> str | None:
        """The terms that its weights may be used under, and where they are published; None where none are stated."""
        return None

    @property
    def takes(self) -> str | None:
        """The kind of task it takes; None for a guest, which declares it when it is imported."""
        return self.kind

    @property
    def longest(self) -> int | None:
        """The most tokens it reads; None where there is no limit."""
        return None

    @property
    def attends(self) -> str | None:
        """The attention setting: auto, sdpa or eager; None if the base offers no choice."""
        return None

    @property
    def one_sequence(self) -> bool:
        """True if source and target share its positions."""
        return False

    @property
    def rank_limits(self) -> dict[str, int] | None:
        """The names of its targets, each with the highest rank that all layers of that name can have.

        That is the least of min(inputs, outputs) among them. None where only the network can tell.
        """
        return None

    @property
    def children(self) -> tuple[str, ...]:
        """Children of the network itself that a target without a dot may name, too."""
        return ()

    def mistakes(self) -> list[str]:
        """Return the errors within the model's configuration."""
        return []

    def adapter_mistakes(self, lora: Adaptation) -> list[str]:
        """Return errors in combining it with the method of adaptation."""
        return []

    def length_mistakes(self, max_length: int) -> list[str]:
        """Return errors for texts of this many tokens."""
        if self.longest is None or max_length <= self.longest:
            return []
        where = f"task.max_length={max_length}: model={self.name} has {self.longest} positions"
        return [f"{where}; task.max_length={self.longest}, or less"]

    def seq2seq_mistakes(self, max_source: int, max_target: int) -> list[str]:
        """Return errors for source and target texts of this many tokens."""
        longest = max_source + max_target if self.one_sequence else max(max_source, max_target)
        if self.longest is None or longest <= self.longest:
            return []
        lengths = f"task.max_source={max_source} and task.max_target={max_target}"
        rule = "the two together" if self.one_sequence else "each"
        return [f"{lengths}: model={self.name} has {self.longest} positions; {rule} {self.longest}, or less"]

    def token_mistakes(self, task: str, what: str) -> list[str]:
        """Return errors for a task that reads every token's features; `what` says what it does with them."""
        return []

    def image_mistakes(self, task: str, size: int) -> list[str]:
        """Return errors for images of `size` pixels a side."""
        return []

    @property
    def masked_encoder(self) -> "TextModelConfig | None":
        """Itself, if it is a text encoder, whose tokens a probe for forgetting can hide."""
        return None

    def probe_mistakes(self, probe: ProbeConfig) -> list[str]:
        """Return errors for a probe for forgetting: it hides tokens of a text encoder, or predicts the next one."""
        if probe.hides_tokens:
            return [f"probe={probe.name}: it hides tokens of an encoder; model={self.name} is none of text"]
        if not self.one_sequence:
            return [f"probe={probe.name}: it asks a causal base for the next token; model={self.name} is none"]
        if self.longest is not None and probe.length > self.longest:
            where = f"probe.length={probe.length}: model={self.name} has {self.longest} positions"
            return [f"{where}; probe.length={self.longest}, or less"]
        return []

    def missing_files(self) -> list[str]:
        """A line for weights of the user's own that are not there."""
        address = self.weights.address if self.weights is not None else ""
        if not address.startswith("path:") or Path(address[5:]).expanduser().exists():
            return []
        return [f"model.weights.address={address}: no such file or folder"]

    def hashed(self) -> dict[str, Any]:
        """The keys and values that go into the fingerprint of a trial."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in _NOT_IN_FINGERPRINT}
