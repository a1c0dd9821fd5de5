"""The mirror holds what the trial said, and cannot fail it."""

import time

import pytest

from harness.config import ConfigError
from harness.trial import tracking


@pytest.fixture(autouse=True)
def no_wandb_settings(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("mode", "environment", "resolved"),
    [
        ("auto", {}, "offline"),
        ("auto", {"WANDB_API_KEY": "k"}, "online"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "disabled"}, "disabled"),
        ("off", {"WANDB_API_KEY": "k"}, "disabled"),
        ("offline", {"WANDB_API_KEY": "k"}, "offline"),
    ],
)
def test_the_mode_follows_the_key_and_the_setting(monkeypatch, mode, environment, resolved):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert tracking.resolve_mode(mode) == resolved


def test_a_misspelt_mode_in_the_environment_is_refused(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offlin")
    with pytest.raises(ConfigError, match="WANDB_MODE=offlin: no such mode; did you mean offline?"):
        tracking.resolve_mode("auto")
    assert tracking.resolve_mode("off") == "disabled"


def test_an_id_in_the_environment_does_not_become_that_of_every_trial(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_RUN_ID", "abc123")
    monkeypatch.setenv("WANDB_RESUME", "must")
    for name in ("first", "second"):
        mirror = tracking.open_run(
            mode="offline", project="p", entity=None, group="g", name=name, config={}, folder=tmp_path
        )
        mirror.finish({}, failed=False)
    assert len({path.name.rpartition("-")[2] for path in tmp_path.glob("wandb/offline-run-*")} - {"abc123"}) == 2


def test_an_offline_run_is_on_disk_with_the_line_that_syncs_it(tmp_path):
    assert tracking.sync_hint(tmp_path) is None
    mirror = tracking.open_run(
        mode="offline",
        project="p",
        entity=None,
        group="study",
        name="trial-0",
        config={"lora": {"rank": 2}},
        folder=tmp_path,
    )
    mirror.log(1, {"train_loss": 0.5})
    mirror.finish({"scores": {"val": {"accuracy": 0.75}}}, failed=False)
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 20
    while b"accuracy" not in (content := file.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.1)  # another process writes it
    for said in (b"train_loss", b"rank", b"accuracy", b"study"):
        assert said in content
    assert tracking.sync_hint(tmp_path) == f"wandb sync {tmp_path}/wandb/offline-run-*"


def test_curves_are_read_from_the_disk_as_they_were_logged(tmp_path):
    assert list(tracking._curves(tmp_path, ["a"])) == []
    for name, loss in (("metrics", 0.5), ("metrics_a", 0.25), ("metrics_b", 0.125)):
        (tmp_path / f"{name}.csv").write_text(f"step,train_loss,val_loss\n10,{loss},\n20,,{loss}\n")
    alone = [(10, {"train_loss": 0.5}), (20, {"val_loss": 0.5})]
    assert list(tracking._curves(tmp_path, ())) == alone
    assert list(tracking._curves(tmp_path, ["b", "a"])) == [
        *alone,
        (10, {"b/train_loss": 0.125}),
        (20, {"b/val_loss": 0.125}),
        (30, {"a/train_loss": 0.25}),
        (40, {"a/val_loss": 0.25}),
    ]


def test_a_mirror_that_breaks_is_said_once_and_then_silent(caplog):
    class Broken:
        calls = 0

        def log(self, *_, **__):
            Broken.calls += 1
            raise ConnectionError("gone")

    mirror = tracking.Mirror(Broken())
    mirror.log(1, {"a": 1.0})
    mirror.log(2, {"a": 1.0})
    mirror.finish({}, failed=False)
    assert Broken.calls == 1
    assert caplog.text.count("W&B stopped: ConnectionError: gone") == 1


def test_where_no_run_can_be_opened_the_trial_goes_on_without(monkeypatch, tmp_path, caplog):
    def refuse(**_):
        raise TimeoutError("no route")

    monkeypatch.setattr("wandb.init", refuse)
    mirror = tracking.open_run(mode="online", project="p", entity=None, group="g", name="n", config={}, folder=tmp_path)
    mirror.log(1, {"a": 1.0})
    mirror.finish({}, failed=False)
    assert "W&B online: TimeoutError" in caplog.text
    assert "W&B offline: TimeoutError" in caplog.text
