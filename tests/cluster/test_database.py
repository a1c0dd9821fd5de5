"""Secrets are taken from where they are safe, and out of what is written."""

import pytest

from harness.cluster.database import storage_address
from harness.config import ConfigError
from harness.system.redaction import redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:s3cret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql+psycopg://me:s%40cret@host/db?x=1 failed", "postgresql+psycopg://me:***@host/db?x=1 failed"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
    ],
)
def test_passwords_in_addresses(text, shown):
    assert redact(text) == shown


def test_values_of_secrets_in_the_environment(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert redact(f"key {'k' * 40} refused") == "key *** refused"


def test_the_address_of_the_storage(tmp_path, monkeypatch):
    monkeypatch.delenv("HARNESS_STORAGE", raising=False)
    assert storage_address() == "journal"
    path = tmp_path / "storage"
    path.write_text("postgresql://me:s3cret@host/db\n")
    path.chmod(0o600)
    monkeypatch.setenv("HARNESS_STORAGE_FILE", str(path))
    assert storage_address() == "postgresql://me:s3cret@host/db"
    monkeypatch.setenv("HARNESS_STORAGE", "journal")
    assert storage_address() == "journal"


def test_a_file_that_others_may_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("HARNESS_STORAGE", raising=False)
    path = tmp_path / "storage"
    monkeypatch.setenv("HARNESS_STORAGE_FILE", str(path))
    with pytest.raises(ConfigError, match="No such file"):
        storage_address()
    path.write_text("postgresql://me:s3cret@host/db\n")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="mode 0640, others may read it; chmod 600") as caught:
        storage_address()
    assert "s3cret" not in str(caught.value)
