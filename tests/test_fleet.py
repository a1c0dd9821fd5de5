"""Workers of this machine under one command, which may go and come again."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from harness import record


@pytest.fixture
def launch(tiny_base, tiny_data, tmp_path):
    """The command of a tiny study with two workers; further words on top."""
    shape = "{hidden: 16, layers: 2, heads: 2, ffn: 32, vocabulary: 40, positions: 40, types: 2}"
    words = [
        "task=text_csv",
        f"task.data={tiny_data}",
        f"model.shape={shape}",
        f"model.weights.address=path:{tiny_base}",
        "model.weights.sha256=null",
        "task.max_length=40",
        "trainer=cpu",
        "trainer.batch_size=8",
        "trainer.max_steps=30",
        "trainer.evaluations=3",
        "tracking=off",
        "run=study",
        "study=s",
        "sweep=rank_alpha_lr",
        "sweep.scientific={lora.rank: [1, 2]}",
        "sweep.trials=1",
        "launch=local",
        "launch.workers=2",
    ]

    def start(*more):
        return subprocess.Popen(
            [sys.executable, "-m", "harness", *words, *more],
            cwd=tmp_path,
            env=os.environ | {"HARNESS_CACHE": str(tmp_path / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def wait_for(condition, within_s=300):
    end = time.monotonic() + within_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


def test_a_launcher_that_is_killed_is_started_again_and_finds_its_workers(launch, tmp_path):
    folder = tmp_path / "results/s"
    first = launch()
    wait_for(lambda: len(list((folder / ".locks").glob("*.sign"))) == 2 if folder.exists() else False)
    first.kill()
    first.communicate()
    pids = {json.loads(path.read_text())["pid"] for path in (folder / ".locks").glob("*.sign")}
    again = launch()
    out, said = again.communicate(timeout=400)
    assert again.returncode == 0, said
    assert "of 4 trials are recorded" in said
    assert "Smallest adapter" in out
    claims = [json.loads(line) for line in (folder / "claims.jsonl").read_text().splitlines()]
    assert {int(claim["worker"].split("-")[-2]) for claim in claims} <= pids, "more workers than were asked for"
    assert [claim["attempt"] for claim in claims] == [1] * 4
    assert sorted(entry.trial for entry in record.read(folder)) == [0, 1, 2, 3]
    assert all(entry.hardware["threads"] == 1 for entry in record.read(folder))


def test_ctrl_c_reaches_all_workers_and_the_same_command_goes_on(launch, tmp_path):
    folder = tmp_path / "results/s"
    first = launch("trainer.max_steps=2000", "trainer.epochs=100.0")
    wait_for(lambda: (folder / "claims.jsonl").exists())
    time.sleep(2)
    first.send_signal(signal.SIGINT)
    asked = time.monotonic()
    _, said = first.communicate(timeout=60)
    assert first.returncode == 130, said
    assert time.monotonic() - asked < 20
    assert not list((folder / ".locks").glob("*.sign"))
    events = [json.loads(line) for line in (folder / "claims.jsonl").read_text().splitlines()]
    assert {event["event"] for event in events} == {"claim", "back"}
