"""A secret of the environment leaves the text in every form it may stand in; ordinary words stay."""

import pytest

from harness.system.redaction import redact, redact_tree

KEY, PASSWORD = "0123456789abcdef-key", 'pa"ss/wörd'


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("HARNESS_STORAGE", f"postgresql://me:{PASSWORD}@db/studies")
    monkeypatch.setenv("SOME_TOKEN", "short")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"key {KEY}!", "key ***!"),
        (f"postgresql://me:{PASSWORD}@db/studies", "postgresql://me:***@db/studies"),
        ("postgresql://you:another@db", "postgresql://you:***@db"),
        (PASSWORD, "***"),
        ('{"url": "pa\\"ss/w\\u00f6rd"}', '{"url": "***"}'),
        ("a short token, https://host:80/path, user@host", "a short token, https://host:80/path, user@host"),
    ],
)
def test_secrets_go_and_words_stay(text, said):
    assert redact(text) == said


def test_a_tree_is_redacted_throughout():
    tree = {"a": [KEY, 1, None], KEY: {"b": (f"x{KEY}", 2.5)}}
    assert redact_tree(tree) == {"a": ["***", 1, None], "***": {"b": ("x***", 2.5)}}
