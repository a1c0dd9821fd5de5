"""Files of the user's own as text: only regular files, their encoding found, what is no data named as what it is."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.config import ConfigError
from harness.system.paths import LFS_POINTER, path_problem

_SIGNATURES = (
    (LFS_POINTER, "a Git LFS pointer, not the data; `git lfs pull` fetches those"),
    (b"/annex/objects/", "a git-annex pointer, not the data; `git annex get` fetches those"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet; unpack it, or save it as CSV"),
    (b"\xd0\xcf\x11\xe0", "an Excel file; save it as CSV"),
    (b"\x1f\x8b", "compressed with gzip; unpack it"),
    (b"BZh", "compressed with bzip2; unpack it"),
    (b"\xfd7zXZ", "compressed with xz; unpack it"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it"),
    (b"PAR1", "a Parquet file under another name; end its name in .parquet"),
    (b"ARROW1", "an Arrow file under another name; end its name in .arrow"),
    (b"%PDF", "a PDF, not a table"),
)
_WEB_PAGE = re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE)
_BOMS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_CHARACTER = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")


def given_files(data: str | None, validation: str | None, test: str | None) -> Iterator[tuple[str, str, str]]:
    """Split, key and path, as it was written, of each file that is given."""
    keys = {"train": ("task.data", data), "validation": ("task.validation", validation), "test": ("task.test", test)}
    return ((split, key, path) for split, (key, path) in keys.items() if path is not None)


def read_bytes(path: Path, key: str) -> bytes:
    """A file whole. Raises ConfigError, with `key`, for what is no regular file, is empty or stands for other data."""
    if problem := path_problem(path, "file"):
        raise ConfigError(f"{key}={path}: {problem}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{key}={path}: {error.strerror}") from None
    if reason := unlike_data(content[:512]):
        raise ConfigError(f"{key}={path}: {reason}")
    return content


def unlike_data(head: bytes) -> str | None:
    """Return the type of a file whose first bytes are `head`, if it is not data of its own kind."""
    if not head:
        return "an empty file"
    if _WEB_PAGE.match(head):
        return "a web page, not data"
    return next((said for start, said in _SIGNATURES if head.startswith(start)), None)


def what_it_is(path: Path) -> str:
    """Describe a file with an unsupported suffix, to begin an error message; empty if its type is unknown."""
    if path_problem(path, "file"):
        return ""
    try:
        with open(path, "rb") as file:
            reason = unlike_data(file.read(512))
    except OSError:
        return ""
    return "" if reason is None else f"{reason}; "


def unwritable(text: str) -> str | None:
    """Return what a text file cannot hold, or what would end it: an unpaired UTF-16 surrogate, or a zero byte."""
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return "half a character in it (a lone surrogate)"
    return "a character of zero in it (U+0000)" if "\0" in text else None


def decode(content: bytes, encoding: str | None) -> tuple[str, str]:
    """A file's text and its encoding: the one that is given, that of its byte order mark, UTF-8, UTF-16 or
    Windows-1252. Raises ValueError where none of them can be right.
    """
    found = encoding or _encoding(content)
    try:
        text = content.decode(found)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        said = f"line {line}: {error.reason}, {error.object[error.start : error.start + 1].hex()}"
        raise ValueError(f"it cannot be read as {found} ({said}); task.encoding names its encoding") from None
    except LookupError as error:
        raise ValueError(f"it cannot be read as {found} ({error}); task.encoding names its encoding") from None
    return text.removeprefix("\ufeff"), found


def _encoding(content: bytes) -> str:
    for mark, name in _BOMS:
        if content.startswith(mark):
            return name
    if b"\0" in content:
        return _wide(content)
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return _single_byte(content, content.count(b"\n", 0, error.start) + 1)
    return "utf-8"


def _wide(content: bytes) -> str:
    """UTF-16 without a mark has a zero in every other byte of Latin text."""
    half = max(1, len(content) // 2)
    for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if content[first::2].count(0) > 0.4 * half and content[1 - first :: 2].count(0) < 0.1 * half:
            return name
    line = content.count(b"\n", 0, content.index(b"\0")) + 1
    rule = "not a text file, or one in an encoding that task.encoding has to name"
    raise ValueError(f"bytes of zero in it, the first in line {line}: {rule}")


def _single_byte(content: bytes, line: int) -> str:
    characters = sum(len(found) for found in _CHARACTER.findall(content))
    foreign = sum(byte >= 0x80 for byte in content)
    if characters > foreign / 2:
        raise ValueError(f"UTF-8, but for line {line}; save it as UTF-8 again, or name its encoding by task.encoding")
    runs = sum(len(run) for run in re.findall(rb"[\x80-\xff]{3,}", content))
    try:
        content.decode("cp1252")
    except UnicodeDecodeError:
        runs = foreign
    if runs > foreign / 2:  # Greek, Cyrillic or Japanese; accents and quotes stand alone
        raise ValueError(f"not UTF-8 (line {line}), and not Windows-1252; name its encoding by task.encoding")
    accented = [word for word in _WORD.findall(content.decode("cp1252")) if not word.isascii()]
    odd = [word for word in accented if not _is_western(word)]
    name = "cp1250"
    if len(odd) <= max(1, 0.05 * len(accented)):
        odd, name = _of_turkish(accented), "cp1254"
    if odd:
        said = f"words like {', '.join(list(dict.fromkeys(odd))[:3])} where it is read as Windows-1252"
        raise ValueError(f"not UTF-8 (line {line}), and {said}; name its encoding by task.encoding, as in {name}")
    return "cp1252"


_LETTERS = "A-Za-zÀ-ÖØ-öø-ÿŒœŠšŽžŸ"
_SYMBOLS = "¡-©«-¬®-³µ¶¸-¿×÷‚ƒ„†‡ˆ‰‹•˜™›ªº"
_WORD = re.compile(rf"[{_LETTERS}]+(?:[{_SYMBOLS}]+[{_LETTERS}]+)*")
_ODD = re.compile(
    rf"[{_SYMBOLS}]|[a-zß-öø-ÿœšž][À-ÖØ-ÞŒŠŽŸ]|[A-Z][ŠŽŸ][a-z]|Ÿ[a-z]|^ð|þ$"
)  # Icelandic has no such words
_ALPHABETS = (
    *("àâæçéèêëîïôœùûüÿ", "äöüßéà", "áéíóúüñ", "àèéíïòóúüç", "áâãàçéêíóôúü", "àèéìíîòóùú", "áéíóúàèìòù"),
    *("áéíóúàèëïöüêôîû", "åäöéàü", "äõöüšž", "åäöšžé", "æøåéèêóòôâäöü", "áéíóúýðþæö", "áíóúýðæø", "âêîôûäëïöü"),
)
"""The letters beyond ASCII of French, German, Spanish, Catalan, Portuguese, Italian, Gaelic, Dutch, Swedish, Estonian,
Finnish, Danish, Icelandic, Faroese and Welsh.
"""


def _of_turkish(accented: Sequence[str]) -> list[str]:
    """Words that have what Windows-1252 makes of Turkish letters, ş, ğ and ı, where hardly one has what Icelandic and
    Faroese ones have beside them.
    """
    found = [word for word in accented if re.search("[þðýÞÐÝ]", word)]
    others = sum(re.search("[áéíóúæ]", word.lower()) is not None for word in accented)
    return found if len(set(found)) > 1 and len(found) > max(5, 10 * others) else []


def _is_western(word: str) -> bool:
    """Return whether a word can be of a language that Windows-1252 covers: all its letters are of one alphabet."""
    if _ODD.search(word):
        return False
    foreign = {character for character in word.lower().replace("õe", "ãe") if not character.isascii()}
    return any(foreign <= set(alphabet) for alphabet in _ALPHABETS)
