"""What texts share that differ in case, blanks and punctuation only."""

import re
import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from harness.task.intake.duplicates import normalised

KEPT = r"[-(.](?=\d)|(?<=\d)[,:](?=\d)|[*/](?= ?\d)|(?<=\d)[*/%]|(?<=\d )(?:[*/]|-(?= \d))"


def character_by_character(text):
    """The same slowly: each sign is looked at with what stands beside it."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    plain = "".join(
        c
        if c.isascii()
        else {"Pd": "-"}.get(unicodedata.category(c), " " if unicodedata.category(c)[0] in "PZC" else c)
        for c in folded
    )
    kept = {match.start() for match in re.finditer(KEPT, plain)}
    kept |= {at for at in range(len(plain)) if re.compile(KEPT).match(plain, at)}
    signs = "!\"#%&'()*,-./:;?@[\\]_{}"
    found = "".join(" " if c in signs and at not in kept else c for at, c in enumerate(plain))
    return " ".join(found.split()) or " ".join(text.split())


@given(st.text(alphabet=st.sampled_from("aB1٣2 -.,:*/%()[]\\_{}'\"!?$+~é—…  ß"), max_size=30))
@example("12-4 is 1,000.5: (3) 50% of a/b [x] \\ C++")
@example("no digit (here), at-all… [x] \\ _y_")
@example("...")
def test_signs_are_left_out_but_beside_digits(text):
    assert normalised(text) == character_by_character(text)
