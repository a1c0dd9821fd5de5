"""What a terminal and a log are told of a study: the best so far, how trials ended, the time left, in 80 columns."""

import io
import re
import sys

import pytest

from harness.cluster import progress
from harness.cluster.display import ProgressDisplay, ended_line
from harness.cluster.monitor import StudyStatus
from harness.cluster.screen import wrapped
from harness.report import report_for_terminal
from tests.commands import compose
from tests.report.studies import factorial, joint, write_study
from tests.test_record import make

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(io.StringIO):
    """Standard error that says it is a terminal."""

    def isatty(self):
        return True


class Gone(Terminal):
    def write(self, text):
        raise BrokenPipeError


def play(records, monkeypatch, place, width=80, height=40):
    """What a worker's display writes while it trains all of these."""
    monkeypatch.setattr(sys, "stderr", place)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", str(height))
    monkeypatch.setenv("TERM", "xterm")
    known = []
    with ProgressDisplay(len(records), 0, lambda: known, lambda found, total: 60.0) as display:
        for entry in records:
            display.begin(entry.trial, entry.arm, entry.point)
            display.scores(entry.trial, 75, {"accuracy": 0.5, "loss": 1.0})
            known.append(entry)
            display.end(entry, len(known), len(records))
    return place


def lines_of(place):
    return [line for text in re.split(r"[\r\n]", place.getvalue()) if (line := ESCAPES.sub("", text).rstrip())]


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(monkeypatch, width):
    lines = lines_of(play(factorial()[:40], monkeypatch, Terminal(), width))
    assert max(map(len, lines)) <= width
    assert any("best val" in line for line in lines)


def test_a_terminal_shows_arms_best_first_states_and_the_time_left(monkeypatch):
    records = [*factorial()[:9], make(9, arm="rank=9", state="fail", scores={}, reason="diverged: x")]
    lines = lines_of(play(records, monkeypatch, Terminal()))
    tables = [index for index, line in enumerate(lines) if "best val" in line]
    last = lines[tables[-1] :]
    best = max(factorial()[:9], key=lambda entry: entry.score("val", "accuracy"))
    assert best.arm in last[1]
    assert f"{best.score('val', 'accuracy'):.4f}" in last[1]
    assert any(line.startswith("10 of 10 trials (9 complete, 1 failed)") for line in last)
    assert any("left" in line for line in lines)


def test_more_arms_than_lines_are_counted(monkeypatch):
    lines = lines_of(play(factorial(), monkeypatch, Terminal(), height=20))
    assert any(re.match(r"and \d+ more arms", line) for line in lines)


def test_a_log_has_plain_lines_with_the_time_of_day(monkeypatch):
    place = play([*factorial()[:3], *joint(3)], monkeypatch, io.StringIO())
    assert "\x1b" not in place.getvalue()
    assert "best val" not in place.getvalue()
    lines = place.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    starts = [line for line in lines if not line.startswith(" ")]
    assert len(starts) == 6
    assert all(re.match(r"\d\d:\d\d:\d\d \d/6 trial \d+ ", line) for line in starts)
    assert "best so far" in place.getvalue()


def test_a_terminal_that_is_gone_ends_no_worker(monkeypatch):
    play(factorial()[:2], monkeypatch, Gone())


SEARCH = ["run=study", "study=s", "sweep=rank_alpha_lr", "sweep.scientific={lora.rank: [1, 2]}", "sweep.trials=3"]


def ended(count, seconds=60.0, **more):
    """Records of a study's first trials, of 100 steps of 10 among 4,000 rows."""
    known = {"steps": {"planned": 100}, "data": {"rows": {"train": 4_000}}, "optimizer": {"batch_size": 10}}
    return [make(number, time={"total_s": seconds}, **known | more) for number in range(count)]


def test_trials_that_are_left_take_what_the_others_did():
    config = compose([*SEARCH, "sweep.confirm=null"])  # four arms, three trials of each
    assert progress.work_left(config, ended(3), 12) == 9 * 60
    assert progress.work_left(config, ended(12), 12) == 0
    assert progress.work_left(config, [], 12) is None


def test_trials_that_confirm_take_longer_by_their_steps_until_one_has_ended():
    epoch = "++sweep.confirm.set={trainer.max_steps: null, trainer.epochs: 1.0}"  # 400 steps
    config = compose([*SEARCH, "sweep.confirm.top=1", "sweep.confirm.seeds=2", epoch])
    pruned = ended(4, 20.0, state="pruned")
    assert progress.work_left(config, [*ended(8), *pruned], 12 + 6) == 6 * 4 * 60
    unknown = ended(12, optimizer={"lr": 1e-3})
    assert progress.work_left(config, unknown, 12 + 6) == 6 * 60, "no length without the size of a batch"
    confirming = make(10_000, phase="confirm", time={"total_s": 100.0})
    assert progress.work_left(config, [*ended(12), confirming], 12 + 6) == 5 * 100


def test_the_time_left_follows_what_all_workers_train(monkeypatch):
    now = iter([0.0, 100.0, 100.0, 10.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    pace = progress.Pace(ended(2))
    assert pace.left(ended(3), 600.0) == 600  # one trial alone says nothing of how many run side by side
    assert pace.left(ended(7), 600.0) == 200  # 300 s of trials in 100 s
    assert pace.left(ended(4), 600.0) == 300, "two workers, whose trials began long before"


def test_a_status_says_how_long_it_takes():
    status = StudyStatus(total=10, done=4, states={"complete": 4}, workers={}, left_s=600)
    assert status.lines()[0] == "4 of 10 trials are recorded (4 complete); about 10 min left"
    assert "left" not in StudyStatus(total=4, done=4, states={}, workers={}, left_s=0.0).lines()[0]


@pytest.mark.parametrize(
    ("seconds", "said"), [(5, "5 s"), (89, "89 s"), (600, "10 min"), (5399, "90 min"), (7200, "2.0 h")]
)
def test_a_time_is_as_coarse_as_it_is_known(seconds, said):
    assert progress.duration(seconds) == said


def test_the_best_so_far_is_that_of_its_phase():
    records = [make(0), make(1, scores={"val": {"accuracy": 0.9, "loss": 0.1}})]
    assert "best so far" in ended_line(records[1], records, done=2, total=3, left=90)
    assert "best so far" not in ended_line(records[0], records, done=2, total=3, left=None)


def test_a_word_that_is_longer_than_a_line_stays_whole():
    assert wrapped("x" * 100) == ["x" * 100]
    assert max(map(len, wrapped("word " * 50))) <= 80


@pytest.mark.parametrize("width", [80, 120])
def test_the_answer_and_its_table_fit_the_terminal(tmp_path, width):
    folder = write_study(tmp_path / "s", factorial())
    text = report_for_terminal(folder, width)
    assert max(len(line) for line in text.splitlines() if str(tmp_path) not in line) <= width
    assert "Not decided" in text
    assert text.index("Not decided") < text.index("val acc")
    assert "report.html" in text
    wide = (folder / "table.md").read_text()
    assert max(map(len, wide.splitlines())) > 120


def test_an_arm_in_brackets_is_no_markup(monkeypatch):
    entry = make(0, arm="[bold]x[/nothing]")
    assert any("[bold]x[/nothing]" in line for line in lines_of(play([entry], monkeypatch, Terminal())))
