"""Names of classes in any writing: drawn where a font has them, else by number, and nothing warned of."""

import warnings

import pytest
from matplotlib import font_manager
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font

from harness.report.data_picture import data_picture
from harness.report.fonts import USUAL, fonts_for, is_drawable


def missing_in(path, name):
    return [letter for letter in name if not FT2Font(path).get_char_index(ord(letter))]


@pytest.mark.parametrize("name", ["plain", "grün", "良い", "हिन्दी", "a良", "🙂"])
def test_a_name_is_drawable_where_each_letter_is_in_a_font(name):
    fonts = fonts_for([name])
    files = [font_manager.findfont(FontProperties(family=[font])) for font in fonts]
    assert is_drawable(name, fonts) == all(any(not missing_in(file, letter) for file in files) for letter in name)
    if not missing_in(font_manager.findfont(USUAL), name):
        assert fonts == [USUAL]


def test_another_font_that_has_the_letters_is_taken(monkeypatch):
    assert not missing_in(font_manager.findfont("DejaVu Sans"), "ж")
    monkeypatch.setattr("harness.report.fonts.USUAL", "cmr10")  # which is of Latin letters alone
    own = [each for each in font_manager.fontManager.ttflist if each.name in ("cmr10", "DejaVu Sans")]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    assert fonts_for(["ж"]) == ["cmr10", "DejaVu Sans"]
    assert fonts_for(["a"]) == ["cmr10"]


def test_a_picture_of_classes_of_any_name(tmp_path):
    names = ["良い", "$a_b$ and $", "हिन्दी"]
    labels = {"train": [3, 2, 1], "validation": [1, 1, 1]}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        data_picture("t", labels=labels, classes=names, lengths={}, unit="", path=tmp_path / "data.png")
    assert (tmp_path / "data.pdf").exists()
