"""A trial that learns several tasks one after another."""
