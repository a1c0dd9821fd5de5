"""A terminal whose last lines are redrawn in place; a log file gets plain lines alone."""

import logging
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

_LOG_WIDTH = 80


class _Terminal(Console):
    """Goes quiet where the terminal is lost; rich's own would end the process, and with it the study."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Screen:
    """Standard error: lines above, and on a terminal a table below them. A terminal that is lost is passed over."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._moved: list[tuple[logging.StreamHandler[Any], Any]] = []

    @property
    def is_terminal(self) -> bool:
        return sys.stderr.isatty()

    @property
    def height(self) -> int:
        """Lines of the terminal."""
        return self._live.console.height if self._live is not None else Console(stderr=True).height

    def lines(self, texts: Sequence[str]) -> None:
        """Write lines; what is longer than a line goes on below, indented."""
        with suppress(OSError):
            if self._live is not None:
                for text in texts:
                    self._live.console.print(Text("\n".join(wrapped(text, self._live.console.width))))
            elif texts:
                print("\n".join(line for text in texts for line in wrapped(text)), file=sys.stderr, flush=True)

    def show(self, table: RenderableType) -> None:
        """Draw the table in place of the last one; nothing where there is no terminal."""
        with suppress(OSError):
            if self._live is None and self.is_terminal:
                self._begin()
            if self._live is not None:
                self._live.update(table, refresh=True)

    def _begin(self) -> None:
        before = sys.stderr
        console = _Terminal(file=before, highlight=False, markup=False)
        self._live = Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")
        self._live.start()
        for handler in logging.getLogger().handlers:  # their lines go above the table, too
            if isinstance(handler, logging.StreamHandler) and handler.stream is before:
                self._moved.append((handler, before))
                handler.setStream(sys.stderr)

    def close(self) -> None:
        """Take the table away; the lines stay."""
        with suppress(OSError):
            if self._live is not None:
                self._live.stop()
        self._live = None
        for handler, stream in self._moved:
            handler.setStream(stream)
        self._moved = []


def wrapped(text: str, width: int = _LOG_WIDTH) -> list[str]:
    """A line as lines of a width; a word that is longer than that stays whole."""
    found = textwrap.wrap(text, width, subsequent_indent=" " * 9, break_long_words=False, break_on_hyphens=False)
    return found or [""]
