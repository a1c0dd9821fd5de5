"""The label that losses and measures leave out: transformers' own."""

IGNORED = -100
