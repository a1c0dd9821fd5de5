"""A study that was begun before there was a key goes on as it was begun, though its data would be refused today."""

from dataclasses import replace

import pytest
import yaml

from harness.config import ConfigError, to_dict
from harness.config.former import as_begun
from harness.config.preflight import check_same_config
from harness.task.build import read_task

TIMES = {
    "numbers that may be months": [f"{1 + row % 12:02}.{2015 + row // 12}" for row in range(60)],
    "numbers on two scales": [str((1577836800 + row) * (1000 if row < 30 else 1)) for row in range(60)],
    "plain numbers": [str(row / 7) for row in range(60)],
    "dates of which some have a zone": [f"2024-01-{1 + row // 3:02}T10:{row:02}{'Z' * (row % 2)}" for row in range(60)],
}


@pytest.fixture
def study(compose_plain, tmp_path):
    """What is asked for now, of a study that was begun without the key."""

    def begun(times, *words):
        rows = "".join(
            f"word{row} of {row * row},{'no' if row % 2 else 'yes'},{when}\n" for row, when in enumerate(times)
        )
        (tmp_path / "a.csv").write_text(f"text,label,when\n{rows}")
        given = ["task=text_csv", f"task.data={tmp_path}/a.csv", "task.time=when", f"results={tmp_path}", "study=s"]
        now = compose_plain(*given, *words)
        tree = to_dict(now)
        del tree["task"]["time_format"]
        folder = tmp_path / "s"
        folder.mkdir()
        (folder / "config.yaml").write_text(yaml.safe_dump(tree))
        (folder / "records.jsonl").write_text("{}\n")
        return now, folder

    return begun


@pytest.mark.parametrize("kind", TIMES)
def test_times_are_read_as_they_were(kind, study):
    now, folder = study(TIMES[kind])
    if kind != "plain numbers":
        with pytest.raises(ConfigError, match="may be months|on several scales|has a zone"):
            read_task(now.task)
    former = as_begun(now, ["task.data", "task.time"])
    assert former.task.time_format == "plain"
    check_same_config(folder, to_dict(former))
    task = read_task(former.task)
    order = sorted(range(60), key=lambda row: _as_it_was(TIMES[kind][row]))
    last = {int(name) - 2 for name in task.findings().kept["test"]}
    assert last == set(order[-len(last) :])
    assert len(last) == 12


def _as_it_was(cell):
    return cell.rstrip("Z") if "T" in cell else float(cell)


def test_a_key_that_is_named_is_not_what_it_was(study):
    now, folder = study(TIMES["numbers that may be months"], "task.time_format='%m.%Y'")
    asked = as_begun(now, ["task.time_format"])
    assert asked.task.time_format == "%m.%Y"
    with pytest.raises(ConfigError, match="task.time_format=.*was begun with another configuration"):
        check_same_config(folder, to_dict(asked))


def test_what_is_neither_number_nor_date_is_refused_as_it_was(study):
    now, _ = study([*TIMES["plain numbers"][:59], "soon"])
    with pytest.raises(ConfigError, match="when is a number in 59 rows, and none in rows 61"):
        read_task(replace(now.task, time_format="plain"))
