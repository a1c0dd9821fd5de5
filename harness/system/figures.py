"""Scores and differences as text, with digits enough also where they are small, as errors of small numbers are."""

_NOTHING = 1e-12  # what rounding leaves of a difference that is none
_SMALL = 1e-3


def figure(score: float) -> str:
    """A score with four decimals, or with four digits where it is so small that those would be too few."""
    return f"{score:.4g}" if _NOTHING < abs(score) < _SMALL else f"{score:.4f}"


def difference(value: float, decimals: int = 4, sign: str = "+") -> str:
    """A difference, or the end of an interval, with so many decimals; three digits where those would be all zeros."""
    small = _NOTHING < abs(value) < 0.5 * 10.0**-decimals
    return f"{value:{sign}.3g}" if small else f"{value:{sign}.{decimals}f}"
