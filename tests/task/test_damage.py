"""Texts whose characters were lost before they came here are told; texts with accents are not."""

import pytest

from harness.task.intake.damage import damaged

WHOLE = [
    "déjà vu, café",
    "Âge légal",
    "SÃO PAULO, NÃO",
    "Ærø å",
    "50 € – “so”",
    "£5 and 3 µm",
    "ÄÖÜ",
    "plain",
    "日本語",
    "Â 5",
]


@pytest.mark.parametrize("text", WHOLE)
def test_accents_are_no_damage(text):
    assert damaged({"1": text}) == []


@pytest.mark.parametrize("text", ["café", "naïve", "50 €", "it’s", "Łódź", "Zürich"])
def test_utf8_that_was_read_as_another_encoding_is_told(text):
    twice = text.encode().decode("cp1252", "ignore")
    (told,) = damaged({"train 4": "plain", "train 7": twice})
    assert told.startswith("1 texts look like UTF-8 that was read as Windows-1252, as ")
    assert told.endswith("(rows train 7)")


def test_signs_of_replacement_are_told():
    assert damaged({"2": "caf\ufffd", "3": "b"}) == [
        "1 texts have the sign of a character that could not be read (rows 2)"
    ]
