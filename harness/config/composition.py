"""The location of the configuration files, and one-line explanations of composition errors."""

import argparse
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.errors import OverrideParseException
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from harness.config import Config, nearest, schema_keys
from harness.config.guests import add_folder, guest_folders
from harness.config.schema_errors import STUDY_FROM

_PACKAGE = Path(__file__).parent.parent
_REFUSED = re.compile(r"ConfigError raised while resolving interpolation: (.*)")  # OmegaConf keeps no cause

_OF_A_SPACE = re.compile(r"sweep\.(scientific|nuisance|baselines\.\w+\.nuisance)\.")


def _folder(name: str) -> Path:
    """In an installed wheel the folder is inside the package, in a checkout beside it."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


CONF = _folder("conf")
SWEEPS = _folder("sweeps")


_SELDOM: dict[str, object] = {"mode": "compared", "transfer": False} | dict.fromkeys(
    (
        "baseline_trials",
        "ranks",
        "budget",
        "objectives",
        "constraints",
        "sampler",
        "pruner",
        "lag",
        "enqueue",
        *("history", "history_keys", "allocate"),
    )
)


class SweepFiles(FileConfigSource):
    """The files of sweeps/, as the options of Hydra's group `sweep`; keys that few of them name are there to be set."""

    @staticmethod
    def scheme() -> str:
        return "sweeps"

    def load_config(self, config_path: str) -> ConfigResult:
        found = super().load_config(_in_sweeps(config_path))
        found.config = OmegaConf.merge(_SELDOM, found.config)
        return found

    def is_group(self, config_path: str) -> bool:
        return config_path in ("", "sweep")

    def is_config(self, config_path: str) -> bool:
        return config_path.startswith("sweep/") and super().is_config(_in_sweeps(config_path))

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        files = sorted(path.stem for path in SWEEPS.glob("*.yaml")) if config_path == "sweep" else []
        groups = ["sweep"] if config_path == "" and results_filter in (None, ObjectType.GROUP) else []
        return groups or (files if results_filter in (None, ObjectType.CONFIG) else [])


class SweepSearchPath(SearchPathPlugin):
    """Has Hydra look for options among the files of sweeps/, too."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("harness", f"{SweepFiles.scheme()}://{SWEEPS}")


def register_sweeps() -> None:
    """Make each file of sweeps/ an option of the group `sweep`."""
    for plugin in (SweepFiles, SweepSearchPath):
        Plugins.instance().register(plugin)


def _in_sweeps(config_path: str) -> str:
    return config_path.removeprefix("sweep/")


def use_config_dir(words: Sequence[str]) -> list[str]:
    """Take the options of groups, and guests, from the folder that --config-dir names, too; it comes first then.

    Hydra's parser takes no option between overrides.
    Python may import from it only once a guest is asked for: Hydra imports every `hydra_plugins` that it can.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd")
    known, others = parser.parse_known_args(list(words))
    if known.config_dir is None:
        return list(words)
    add_folder(known.config_dir)
    return ["--config-dir", known.config_dir, *others]


def _plainly(word: str) -> str:
    """Rewrite a word without blanks around its sign, and without a word processor's characters."""
    key, found, value = word.partition("=")
    if not found:
        key, colon, value = word.partition(":")
        return f"expected key=value{f'; write {key.strip()}={value.strip()}' if colon else ''}"
    plain = value.translate(_TYPOGRAPHIC).strip()
    if key != key.strip() or (plain != value and _NUMBER.fullmatch(plain)):
        return f"write {key.strip()}={plain}, with no blanks and signs of ASCII"
    if value[:1] in "“”„«‘" and value[-1:] in "“”»’":
        return f"its quotes are typographic; write {key}={value[1:-1]}"
    return ""


_TYPOGRAPHIC = str.maketrans({"−": "-", "–": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " "})
_NUMBER = re.compile(r"[-+]?[\d.]+([eE][-+]?\d+)?")


def _quoted(word: str) -> str | None:
    """A word of the command line whose value Hydra's grammar has no letters for, as a shell is to be given it."""
    key, found, value = word.partition("=")
    if not found or value[:1] in ("'", '"') or re.fullmatch(r"[A-Za-z0-9_./+-]*", value):
        return None
    inner = value.replace("\\", "\\\\").replace('"', '\\"')
    return shlex.quote(f'{key}="{inner}"')


def options(group: str) -> list[str]:
    """The names a group can take."""
    folders = [SWEEPS if group == "sweep" else CONF / group, *(Path(folder) / group for folder in guest_folders())]
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})


def groups() -> list[str]:
    """The names of all groups."""
    return sorted([path.name for path in CONF.iterdir() if path.is_dir()] + ["sweep"])


def _chosen(group: str, words: Sequence[str]) -> str:
    """Return the option of a group that the words choose, if any."""
    named = [word.lstrip("+") for word in words if word.lstrip("+").startswith(f"{group}=")]
    return named[-1] if named else f"the {group} that is chosen"


def explain(error: Exception, words: Sequence[str]) -> str:
    """One line for a composition error: the word at fault, the rule, and the nearest valid name."""
    text = str(error)
    if any(word.lstrip("+").partition("=")[0] == "study.from" for word in words):
        return STUDY_FROM
    if "=" in words[1:]:
        near = words[words.index("=", 1) - 1 :][:3]
        return f"{' '.join(near)}: blanks part words of a command; write {''.join(near)}"
    if isinstance(error, OverrideParseException) and (plain := _plainly(error.override)):
        return f"{error.override}: {plain}"
    if isinstance(error, OverrideParseException) and (quoted := _quoted(error.override)):
        return f"{error.override}: Hydra reads such a value in quotes only; write {quoted}"
    refused = _REFUSED.match(text)
    if refused and isinstance(error, InterpolationResolutionError):
        return f"{error.full_key}={refused[1]}" if error.full_key else refused[1]
    for word in words:
        key, found, value = word.lstrip("+~").partition("=")
        if text.startswith("Config group override must be") and key in groups() and value not in options(key):
            without = "; ~sweep goes without one" if key == "sweep" else ""
            return f"{word}: {key} takes the name of an option: {', '.join(options(key))}{without}"
        if not found or not re.search(rf"(?<![\w.]){re.escape(key)}(?![\w.])", text):
            continue
        if key == "experiment" and not word.startswith("+"):
            return f"{word}: an experiment is added; write +{word}"
        if _OF_A_SPACE.match(key) and not word.startswith(("+", "~")):
            return f"{word}: a dimension is added, in place of the file's, too; write +{word}"
        if _OF_A_SPACE.match(key) and "--multirun" in text:
            return f"{word}: Hydra takes this for a multirun; quote the words: '+{key}=\"{value}\"'"
        if key in groups() and value not in options(key):
            return f"{word}: no such {key}{nearest(value, options(key))}; valid: {', '.join(options(key))}"
        valid = [*schema_keys(Config), *groups()]
        if key not in valid:
            return f"{word}: no such key{nearest(key, valid)}"
        if text.startswith("Could not override") and (group := key.partition(".")[0]) in groups():
            return f"{word}: no such key of {_chosen(group, words)}"
        if text.startswith("Error merging override"):
            rule = "a mapping and a list do not merge"
            if key in ("sweep.scientific", "sweep.nuisance"):
                rule += f"; one of the file's dimensions is replaced by itself: +{key}.lora.rank={{low: 1, high: 64}}"
            return f"{word}: {rule}"
    return " ".join(line.strip() for line in text.splitlines() if line.strip())
