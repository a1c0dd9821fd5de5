"""Texts that are hardly what is to be learned from: names of files, numbers of rows, tokens of another template."""

import re
from collections.abc import Mapping, Sequence

from harness.system.paths import listed
from harness.task.intake.held import shortened

_ENDINGS = (
    "txt|text|csv|tsv|jsonl?|xml|html?|pdf|docx?|xlsx?|rtf|odt|tex|log|dat|bin|exe|dll|zip|gz|md|py|js|java|cpp|php"
    "|jpe?g|png|gif|bmp|tiff?|webp|svg|dcm|npy|npz|wav|mp[34]|flac|ogg|m4a|avi|mov|mkv|webm"
)
_PATH = re.compile(  # a name without a folder may be one of the network
    rf"(?:[A-Za-z]:)?[^\s/\\]*(?:[/\\][^\s/\\]+)+\.[A-Za-z][A-Za-z0-9]{{1,4}}|[^\s/\\]+\.(?i:{_ENDINGS})"
)
_UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_ID = re.compile(rf"(?=\S*\d)(?:[0-9a-fA-F]{{12,}}|{_UUID}|[A-Za-z]{{0,4}}[-_]?\d{{4,}})")
_KINDS = {"names of files": _PATH, "ids": _ID}
_FEWEST = 10  # texts, of which not one stands out
_SHARE = 0.9  # of them
_NAMED = 0.95  # of texts that have the name of their class in them
_SPECIAL = re.compile(
    r"<\|[a-z_]{2,30}\|>|</s>\s*$|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<(?:bos|eos)>"
    r"|^### (?:Instruction|Response|Human|Assistant|User):|### (?:Human|Assistant):",
    re.MULTILINE,
)


def of_no_language(texts: Mapping[str, Sequence[str]]) -> list[str]:
    """Return warnings about columns, by name, whose texts all differ and are file names or ids."""
    told = []
    for column, mine in texts.items():
        if len(mine) < _FEWEST or len(set(mine)) < len(mine):
            continue
        for kind, pattern in _KINDS.items():
            count = sum(pattern.fullmatch(text.strip()) is not None for text in mine)
            if count >= _SHARE * len(mine):
                told.append(f"{count} of {len(mine)} texts of {column} are {kind}, as {mine[0][:40]!r}: is it read?")
                break
    return told


def identical(texts: Mapping[str, tuple[str, str]], columns: Sequence[str]) -> list[str]:
    """Return warnings about rows, by name, whose two texts are identical."""
    rows = [row for row, (first, second) in texts.items() if " ".join(first.split()) == " ".join(second.split())]
    if not rows:
        return []
    return [f"{' and '.join(columns)} are the same text in {len(rows)} of {len(texts)} rows (rows {listed(rows)})"]


def naming_labels(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Return warnings about texts and their classes if nearly every text has the name of its own class in it, and few
    that of another.
    """
    names = sorted({label for _, label in rows})
    if len(names) < 2 or len(rows) < _FEWEST:
        return []
    named = {name: re.compile(rf"(?<![^\W_]){re.escape(name.casefold())}(?![^\W_])") for name in names}
    other = dict(zip(names, [*names[1:], names[0]], strict=True))
    own = [row for row in rows if named[row[1]].search(row[0].casefold())]
    if len(own) < _NAMED * len(rows):
        return []
    others = sum(named[other[label]].search(text.casefold()) is not None for text, label in rows)
    if others > len(rows) / 2:
        return []
    text, label = own[0]
    said = f"{len(own)} of {len(rows)} texts have the name of their class in them, as {label!r} in {shortened(text)!r}"
    return [f"{said}: is the answer given with the question? Take it out"]


def of_templates(texts: Mapping[str, str]) -> list[str]:
    """Return warnings about conversations, by their rows, whose words contain the markers of a chat template."""
    found = {row: said[0] for row, text in texts.items() if (said := _SPECIAL.search(text)) is not None}
    if not found:
        return []
    kinds = listed(map(repr, dict.fromkeys(found.values())))
    line = f"{len(found)} conversations have signs of a chat template in their words, {kinds} (rows {listed(found)})"
    return [f"{line}: the model's own template adds its signs; take these out"]
