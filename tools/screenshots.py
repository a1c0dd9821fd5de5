"""Photograph a study's report.html, as docs/ show it: on a desktop, and on a phone in the dark.

    python -m tools.screenshots STUDY_FOLDER [IMAGES]

Needs Chromium (apt-get install chromium). IMAGES is docs/images by default.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from tests.browser import Page, browser

IMAGES = Path(__file__).parents[1] / "docs/images"
_DESKTOP, _PHONE = (1280, 1320), (390, 844)
_SHOW = "document.getElementById({name!r}).scrollIntoView({{behavior: 'instant'}})"
_OPEN_TRIAL = "document.querySelector('#leaderboard tbody tr').click()"
_GAP, _GREY = 15, "#808080"


def photograph(study: Path, images: Path) -> list[Path]:
    """Write the page's beginning on a desktop, and three of its parts on a phone side by side; returns the files."""
    desktop, phone = images / "report_desktop.png", images / "report_phone.png"
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as tab:
        tab.resize(*_DESKTOP)
        tab.open((study / "report.html").resolve().as_uri())
        tab.picture(desktop)
        tab.resize(*_PHONE, dark=True)
        tab.open((study / "report.html").resolve().as_uri())
        _side_by_side([Image.open(path) for path in _on_phone(tab, Path(profile))]).save(phone, optimize=True)
        assert tab.problems == [], tab.problems
    return [desktop, phone]


def _on_phone(tab: Page, folder: Path) -> Iterator[Path]:
    """The answer, the front, and the best trial's drawer."""
    for name, action in (("top", ""), ("front", _SHOW.format(name="front")), ("trial", _OPEN_TRIAL)):
        tab.evaluate(f"{action}; new Promise(done => setTimeout(() => done(true), 600))")
        tab.picture(folder / f"{name}.png")
        yield folder / f"{name}.png"


def _side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    width, height = pictures[0].size
    whole = Image.new("RGB", (len(pictures) * (width + _GAP) - _GAP, height), _GREY)
    for index, picture in enumerate(pictures):
        whole.paste(picture, (index * (width + _GAP), 0))
    return whole


def main(words: Sequence[str]) -> None:
    """Photograph what the words name and print the files."""
    study, *more = map(Path, words)
    print(*photograph(study, *(more or [IMAGES])), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
