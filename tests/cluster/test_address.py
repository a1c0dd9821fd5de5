"""Whatever HARNESS_STORAGE holds, what is said of it holds no part of the password."""

import os

import pytest

from harness.cluster.address import mistake
from harness.cluster.database import storage_address, storage_kind, unreachable
from harness.cluster.storage import check_storage
from harness.config import ConfigError
from harness.system import redaction
from harness.system.redaction import redact
from tests.tiny import SEARCH_ALONE, words_of

ENCODE = "percent-encode: @ is %40"
FORM = "valid: journal, postgresql://USER:PASSWORD@HOST:PORT/NAME, sqlite:///FILE"

# The address, what would betray the password, and the rule that answers.
WRONG = [
    ("host=h user=me password=s3cret77 dbname=d", ["s3cret77"], "libpq's keyword form (key=value key=value) is not"),
    ("dbname=d password = 's3cret77 more' host=h", ["s3cret77", "more"], "libpq's keyword form"),
    ("password=s3cret77", ["s3cret77"], "libpq's keyword form"),
    ("password=s3://cret77 host=h", ["cret77"], "libpq's keyword form"),
    ("postgresql://me:s3c@ret77@h/d", ["ret77", "s3c"], ENCODE),
    ("postgresql://me:s3c@ret77@h:5432/d?sslmode=require", ["ret77", "s3c"], ENCODE),
    ("postgresql://me:s3c/ret77@h/d", ["ret77", "s3c"], ENCODE),
    ("postgresql://me:s3c:ret77@h/d", ["ret77", "s3c"], ENCODE),
    ("postgresql://me:s3c?ret77@h/d", ["ret77", "s3c"], ENCODE),
    ("postgresql://me:s3c#ret77@h/d", ["ret77", "s3c"], ENCODE),
    ("postgresql://me:s3c ret77@h/d", ["ret77", "s3c"], ENCODE),
    ("postgresql://me:s3c%ret77@h/d", ["ret77", "s3c"], ENCODE),
    ("postgresql://me:s3c[ret77@h/d", ["ret77", "s3c"], ENCODE),
    ("postgresql://me:@s3cret77@h/d", ["s3cret77"], ENCODE),
    ("mysql://me:s3c@ret77@h/d", ["ret77", "s3c"], ENCODE),
    ("postgresql://me:s3cret77/d", ["s3cret77"], "after the @ stands HOST:PORT/NAME, the port a number"),
    ("postgresql://me:s3cret77", ["s3cret77"], "the port a number"),
    ("postgresql://me:pw@h:s3cret77/d", ["s3cret77"], "the port a number"),
    ("postgresql://me@h/d?password=s3c&ret77", ["ret77", "s3c"], "after the ? stands key=value&key=value"),
    ("postgresql://me@h/d?password=s3c ret77", ["ret77", "s3c"], "after the ? stands key=value&key=value"),
    ("sqlite://me:s3cret77@h/d", ["s3cret77"], "sqlite:///FILE"),
    ("s3cret77", ["s3cret77"], "no such storage"),
    ("{'password': 's3cret77'}", ["s3cret77"], "no such storage"),
    ("optuna.journal", ["optuna.journal"], "no such storage"),
]
RIGHT = [
    "journal",
    "postgresql://h/d",
    "postgresql://me@h/d",
    "postgresql://me:pw@h/d",
    "postgresql+psycopg://me:s%40%3A%2Fcret@h:5432/d?sslmode=require&options=-c%20x=y",
    "postgresql://me:pä$s!(w)*+,;=~rd@[::1]:5432/d",
    "postgresql://me:pw@/d?host=/var/run/postgresql",
    "postgresql:///d?host=/var/run/postgresql",
    "sqlite:///a file@home/with:colons.db",
    "sqlite:////absolute.db",
    "mysql://me:pw@h/d",
]


@pytest.mark.parametrize("address", RIGHT)
def test_a_right_form_is_taken(address):
    assert mistake(address) is None


@pytest.mark.parametrize(("address", "parts", "rule"), WRONG, ids=[address for address, *_ in WRONG])
@pytest.mark.parametrize("kept", ["variable", "file"])
def test_a_wrong_form_is_one_line_without_any_of_it(monkeypatch, tmp_path, address, parts, rule, kept):
    monkeypatch.delenv("HARNESS_STORAGE", raising=False)
    path = tmp_path / "address"
    path.write_text(address)
    path.chmod(0o600)
    monkeypatch.setenv(*(("HARNESS_STORAGE", address) if kept == "variable" else ("HARNESS_STORAGE_FILE", str(path))))
    with pytest.raises(ConfigError) as caught:
        storage_address()
    said = str(caught.value)
    assert said.startswith("HARNESS_STORAGE")
    assert rule in said
    assert len(said.splitlines()) == 1
    assert not any(part in said for part in parts)
    assert redact(said) == said, "what is valid is still said when it is printed"


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:s3cret77@127.0.0.1:9/d",
        "postgresql://me@127.0.0.1:9/d?password=s3cret77",
        "postgresql://me@127.0.0.1:9/d?password=pw&scretseventyseven=1",
        "postgresql://me:pw@127.0.0.1:9/d?sslpassword=s3cret77",
        "postgresql+nothing://me:s3cret77@h/d",
        "postgresql+psycopg2://me:s3cret77@h/d",
        "postgresql://me:s3cret77@h/d?connect_timeout=soon",
    ],
)
def test_a_storage_that_does_not_answer_is_one_line_without_the_password(monkeypatch, address):
    monkeypatch.setenv("HARNESS_STORAGE", address)
    with pytest.raises(ConfigError, match="^HARNESS_STORAGE=postgresql.*: cannot be opened: ") as caught:
        check_storage()
    said = redact(str(caught.value)) + str(caught.value).partition("cannot be")[2]
    assert "s3cret77" not in said
    assert "seventyseven" not in said
    assert len(str(caught.value).splitlines()) == 1


def test_a_driver_that_quotes_the_password_is_not_quoted(monkeypatch, tmp_path):
    monkeypatch.delenv("HARNESS_STORAGE", raising=False)
    path = tmp_path / "address"
    path.write_text("postgresql://me:s3%40cret77@h/d")
    path.chmod(0o600)
    monkeypatch.setenv("HARNESS_STORAGE_FILE", str(path))
    assert storage_kind(storage_address()) == "postgresql"
    for quoted in ("s3@cret77", "s3%40cret77"):
        said = str(unreachable(RuntimeError(f"password {quoted} refused")))
        assert "cret77" not in said
        assert "cret77" not in redact(f"later, elsewhere: {quoted}")


def test_a_file_that_is_no_text_is_one_line(monkeypatch, tmp_path):
    monkeypatch.delenv("HARNESS_STORAGE", raising=False)
    path = tmp_path / "address"
    path.write_bytes(b"\xff\xfes\x003\x00")
    path.chmod(0o600)
    monkeypatch.setenv("HARNESS_STORAGE_FILE", str(path))
    with pytest.raises(ConfigError, match=f"^HARNESS_STORAGE_FILE={path}: it is not UTF-8 text$"):
        storage_address()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("connection to host=h password=s3cret77 dbname=d failed", "connection to host=h password=*** dbname=d failed"),
        ("password = 'two words' host=h", "password = *** host=h"),
        ("postgresql://me@h/d?password=s3cret77&x=1", "postgresql://me@h/d?password=***"),
        ("postgresql://me@h/d?password=***: cannot", "postgresql://me@h/d?password=***: cannot"),
        ("postgresql://me:a@b@h/d", "postgresql://me:***@h/d"),
        ("write postgresql://USER:PASSWORD@HOST/NAME", "write postgresql://USER:PASSWORD@HOST/NAME"),
        ("see https://h:80/x, and me@home", "see https://h:80/x, and me@home"),
    ],
)
def test_passwords_leave_a_text_by_where_they_stand(text, shown):
    assert redact(text) == shown


def test_more_names_sound_like_secrets_than_are_taken_out_of_texts(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-value-to-be-taken-out")
    assert redact("a-value-to-be-taken-out") == "***"
    assert redaction.is_secret("SOME_KEY_ID", "results")
    assert not redaction.is_secret("GIT_AUTHOR_NAME", "me")


@pytest.mark.parametrize("address", ["host=h user=me password=s3cret77", "postgresql://me:s3c@ret77@h/d"])
def test_a_real_process_says_and_writes_none_of_it(tmp_path, tiny_base, tiny_data, zygote, address):
    words = [
        *words_of(tiny_base, tiny_data),
        "run=study",
        "sweep=rank_alpha_lr",
        *SEARCH_ALONE,
        "sweep.scientific={lora.rank: [1]}",
    ]
    done = zygote.run(words, tmp_path, os.environ | {"HARNESS_STORAGE": address, "TMPDIR": str(tmp_path)})
    assert done.returncode == 2, done.stderr
    assert "ret77" not in done.stderr + done.stdout
    assert done.stderr.startswith("HARNESS_STORAGE: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
