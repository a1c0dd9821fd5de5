"""The power of a confirmation before it is trained, at the noise measured in this project's own studies."""

import functools

from harness.report.table import markdown
from harness.report.two_level import detectable, equal_within

SPREADS = {"film reviews, MiniLM": 0.006, "spoken digits, LSTM": 0.012}
"""The standard deviation of an arm's accuracy from seed to seed."""
DISAGREE = 0.11
"""The share of test items on which two seeds differ."""
BETWEEN = 0.0096
"""The variance over items of what an adapter and full fine-tuning score differently: film reviews, mean of six arms."""

difference_found = functools.partial(detectable, disagreement=DISAGREE, between=BETWEEN)
margin_held = functools.partial(equal_within, disagreement=DISAGREE, between=BETWEEN)

_SEEDS = (3, 5, 8, 16, 32)
_ROWS = (500, 1_272, 5_000, 20_000)
_ARMS = 5


def margins_table() -> str:
    """Tabulate, by seeds and test rows, the margins in points at which 80 % of studies call equal arms equal."""
    rows = [["test rows", *(f"{seeds} seeds" for seeds in _SEEDS)]]
    for items in _ROWS:
        cells = []
        for seeds in _SEEDS:
            found = (margin_held(_ARMS, seeds, items, run_sd=spread) for spread in SPREADS.values())
            cells.append(" / ".join(f"{100 * margin:.1f}" for margin in found))
        rows.append([f"{items:,}", *cells])
    return markdown(rows)
