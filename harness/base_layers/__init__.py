"""Layers of a base that torch does not have: linear layers of 4 and 8 bits, and transformers' own, recognised."""
