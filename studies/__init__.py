"""Studies of this repository: they import harness, and harness does not import them."""
