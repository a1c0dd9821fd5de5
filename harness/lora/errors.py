"""The errors of an adaptation: its specification, and its start."""


class SpecError(ValueError):
    """A specification that does not fit the network: the message names the layer or target, and the rule."""


class InitialisationError(Exception):
    """The data do not carry the start that a variant asks for: a matter of this trial, not of its configuration."""
