"""The mirror holds what the trial said, and cannot fail it."""

import csv
import json
import sys
import time

import pytest

from harness import record
from harness.config import ConfigError, TrackingConfig, check, to_dict
from harness.config.extras import check_extras
from harness.record import tracked
from harness.trial import tracking
from harness.trial.tracking import mirror as mirror_module
from tests.commands import compose
from tests.offline_runs import inspect
from tests.test_record import make


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
    for number in (0, 1):
        tracking.open_run(settings(), run_of(tmp_path, trial=number)).finish(None, failed=False)
    assert len({path.name.rpartition("-")[2] for path in tmp_path.glob("wandb/offline-run-*")} - {"abc123"}) == 2


def settings(**changes):
    return TrackingConfig(**{"mode": "offline", "project": "p", "entity": None} | changes)


def run_of(folder, **changes):
    config = {"lora": {"name": "lora", "rank": 2}, "model": {"name": "m", "shape": {"hidden": 32}}, "sweep": {"x": 1}}
    values = {"study": "s", "trial": 0, "arm": "rank=1", "phase": "search", "config": config, "folder": folder}
    return tracking.Run(**values | changes)


def told(folder, count=1):
    """The offline runs in a folder by name, as W&B's own reader prints them, once all are written."""
    until = time.monotonic() + 20
    while True:
        paths = sorted(folder.glob("wandb/offline-run-*"))
        found = [json.loads(inspect(path, "--summary")) | {"path": path} for path in paths]
        if len(found) == count and all(run["exit_code"] is not None for run in found):
            return {run["name"]: run for run in found}
        assert time.monotonic() < until, found
        time.sleep(0.1)


def header(path):
    """What the run was opened with."""
    return next(line["run"] for line in map(json.loads, inspect(path).splitlines()) if line["type"] == "run")


LAYERED = make(
    0,
    adapter={
        "path": "trials/0000/adapter",
        "ranks": {"layer.0": 1, "layer.1": 1},
        "scales": {"layer.0": 2.0, "layer.1": 2.0},
        "effective_ranks": {"layer.0": 0.5, "layer.1": 1.0},
    },
    merge={"max_logit": 0.5},
    notes=["a", "b"],
)


def test_an_offline_run_says_of_a_trial_what_its_record_says_key_by_key(tmp_path):
    assert tracking.sync_hint(tmp_path) is None
    mirror = tracking.open_run(settings(), run_of(tmp_path))
    mirror.log(10, {"train_loss": 0.5, "val_accuracy": 0.75})
    mirror.log(20, {"train_loss": 0.75, "val_accuracy": 0.625})
    mirror.finish(LAYERED, failed=False)
    run = told(tmp_path)["rank=1-0000"]
    summary = {key: value for key, value in run["summary"].items() if not key.startswith("_")}
    curves = {key: summary.pop(key) for key in ("train_loss", "val_accuracy", "layers")}
    assert summary == tracked(LAYERED, 32)
    tree = record.plain(LAYERED)
    assert summary["score/val"] == tree["scores"]["val"]["accuracy"]
    assert summary["score/test"] == tree["scores"]["test"]["accuracy"]
    assert summary["params/trained"] == tree["parameters"]["trainable"]
    assert summary["memory/peak"] == tree["memory"]["train_peak"] - tree["memory"]["process"]
    assert summary["rank"] == tree["lora"]["rank"]
    for section, own in (("memory", "train_peak"), ("time", "total_s"), ("merge", "max_logit"), ("steps", "made")):
        assert summary[f"{section}/{own}"] == tree[section][own]
    assert curves["val_accuracy"] == {"max": 0.75}
    assert curves["layers"]["nrows"] == 2
    assert len(summary) < 60
    assert not any("layer." in key for key in summary)
    assert tracking.sync_hint(tmp_path) == f"wandb sync {tmp_path}/wandb/offline-run-*"


def test_a_run_has_its_arm_group_kind_and_tags_and_no_sweep(tmp_path):
    tracking.open_run(settings(), run_of(tmp_path, phase="confirm", trial=10_001)).finish(LAYERED, failed=False)
    run = told(tmp_path)["rank=1-10001"]
    assert run["config"]["arm"] == "rank=1"
    assert run["config"]["lora"]["rank"] == 2
    assert run["config"]["origin"]["adapter"] == "trials/0000/adapter"
    assert "sweep" not in run["config"]
    opened = header(run["path"])
    assert opened["run_group"] == "s"
    assert opened["job_type"] == "confirm"
    assert {"m", "confirm", "lora"} <= set(opened["tags"])


def test_the_layers_of_a_trial_are_rows_of_one_table(tmp_path):
    tracking.open_run(settings(), run_of(tmp_path)).finish(LAYERED, failed=False)
    run = told(tmp_path)["rank=1-0000"]
    (path,) = run["path"].rglob("layers*.table.json")
    table = json.loads(path.read_text())
    assert table["columns"] == ["layer", "rank", "scale", "effective rank"]
    assert table["data"] == [["layer.0", 1, 2.0, 0.5], ["layer.1", 1, 2.0, 1.0]]


@pytest.mark.parametrize("wanted", [False, True])
def test_an_adapter_is_an_artifact_where_that_is_asked_for(tmp_path, wanted):
    folder = tmp_path / "trials/0000/adapter"
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    tracking.open_run(settings(adapters=wanted), run_of(tmp_path)).finish(LAYERED, failed=False)
    run = told(tmp_path)["rank=1-0000"]
    found = [line["artifact"] for line in map(json.loads, inspect(run["path"]).splitlines()) if "artifact" in line]
    kinds = [artifact["type"] for artifact in found if artifact["type"] == "adapter"]
    assert kinds == ["adapter"] * wanted
    if wanted:
        (mine,) = [artifact for artifact in found if artifact["type"] == "adapter"]
        assert "adapter_model.safetensors" in json.dumps(mine["manifest"])


@pytest.mark.parametrize(
    ("lora", "parameters", "rank"),
    [
        ({"name": "lora", "rank": 4}, {"adapter": 8}, 4),
        ({"name": "head"}, {}, 0),
        ({"name": "norms"}, {"other": 5}, 0),
        ({"name": "full"}, {"other": 98}, 32),
    ],
)
def test_every_arm_has_a_number_for_a_rank(lora, parameters, rank):
    counts = {"adapter": 0, "head": 2, "other": 0} | parameters
    entry = make(0, lora=lora, parameters=counts | {"frozen": 100 - sum(counts.values()), "total": 100})
    assert tracked(entry, 32)["rank"] == rank


def test_ranks_that_differ_by_layer_are_shown_by_their_mean_and_an_unknown_width_by_nothing():
    entry = make(0, lora={"name": "lora"}, adapter={"ranks": {"a": 2, "b": 4}})
    assert tracked(entry)["rank"] == 3
    full = make(0, lora={"name": "full"}, parameters={"adapter": 0, "head": 2, "other": 98, "frozen": 0, "total": 100})
    assert "rank" not in tracked(full)


def test_a_study_is_a_run_of_its_own_with_its_tables_and_page(tmp_path):
    records = [make(0), make(1, arm="rank=2"), make(2, arm="rank=2", state="fail", scores={}, reason="diverged: x")]
    (tmp_path / "report.html").write_text("<p>so</p>")
    for _ in range(2):  # the second takes the place of the first
        tracking.publish(settings(), "s", records, tmp_path)
        (run,) = told(tmp_path).values()
    assert header(run["path"])["job_type"] == "study"
    summary = run["summary"]
    assert (summary["count/complete"], summary["count/fail"], summary["count/arms"]) == (2, 1, 2)
    tables = {path.name.partition("_")[0]: json.loads(path.read_text()) for path in run["path"].rglob("*.table.json")}
    columns = tables["trials"]["columns"]
    rows = [dict(zip(columns, cells, strict=True)) for cells in tables["trials"]["data"]]
    for entry, cells in zip(records, rows, strict=True):
        assert {key: value for key, value in cells.items() if value is not None} == record.row(entry)
    assert [cells[columns.index("arm")] for cells in tables["arms"]["data"]] == ["rank=1", "rank=2"]
    (page,) = run["path"].rglob("*.html")
    assert "<p>so</p>" in page.read_text()


def rows_of(path):
    return list(csv.reader(path.read_text().splitlines()))


def test_csv_files_hold_the_curves_and_the_figures(tmp_path):
    mirror = tracking.open_run(settings(name="csv"), run_of(tmp_path))
    mirror.log(10, {"train_loss": 0.5})
    mirror.log(20, {"train_loss": 0.25, "val_loss": 0.75})
    mirror.finish(LAYERED, failed=False)
    folder = tmp_path / "tracking/rank=1-0000"
    curves = rows_of(folder / "curves.csv")
    assert curves == [["step", "name", "value"], *POINTS]
    summary = dict(rows_of(folder / "summary.csv")[1:])
    assert summary == {key: str(value) for key, value in (tracked(LAYERED, 32) | {"failed": False}).items()}
    settings_ = dict(rows_of(folder / "config.csv")[1:])
    assert settings_["lora.rank"] == "2"
    assert settings_["arm"] == '"rank=1"'


POINTS = [["10", "train_loss", "0.5"], ["20", "train_loss", "0.25"], ["20", "val_loss", "0.75"]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_holds_the_curves_and_the_figures(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    mirror = tracking.open_run(settings(name="tensorboard"), run_of(tmp_path))
    mirror.log(10, {"train_loss": 0.5})
    mirror.log(20, {"train_loss": 0.25, "val_loss": 0.75})
    mirror.finish(LAYERED, failed=False)
    events = EventAccumulator(str(tmp_path / "tensorboard/rank=1-0000"))
    events.Reload()
    points = [(event.step, event.value) for event in events.Scalars("train_loss")]
    assert points == [(10, 0.5), (20, 0.25)]
    figures = {key: value for key, value in tracked(LAYERED, 32).items() if isinstance(value, int | float)}
    for key, value in figures.items():
        assert events.Scalars(f"summary/{key}")[-1].value == pytest.approx(value, rel=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_mlflow_holds_the_curves_and_the_figures(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    mirror = tracking.open_run(settings(name="mlflow"), run_of(tmp_path))
    mirror.log(10, {"train_loss": 0.5})
    mirror.finish(LAYERED, failed=False)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("s").experiment_id])
    figures = {key: value for key, value in tracked(LAYERED, 32).items() if isinstance(value, int | float)}
    assert {key: run.data.metrics[key] for key in figures} == pytest.approx(figures)
    assert run.data.params["lora.rank"] == "2"
    assert run.info.status == "FINISHED"


@pytest.mark.filterwarnings("ignore")
def test_trackio_holds_the_curves_and_the_figures(tmp_path, monkeypatch, capsys):
    pytest.importorskip("trackio", reason="the extra trackio is not installed")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)
    mirror = tracking.open_run(settings(name="trackio"), run_of(tmp_path))
    mirror.log(10, {"train_loss": 0.5})
    mirror.log(20, {"train_loss": 0.25, "val_loss": 0.75})
    mirror.finish(LAYERED, failed=False)
    assert capsys.readouterr().out == ""
    from trackio.sqlite_storage import SQLiteStorage

    points = SQLiteStorage.get_logs("s", "rank=1-0000")
    curve = [(point["step"], point["train_loss"]) for point in points if "train_loss" in point]
    assert curve == [(10, 0.5), (20, 0.25)]
    figures = {key: value for key, value in tracked(LAYERED, 32).items() if isinstance(value, int | float)}
    last = points[-1]
    assert last["step"] == 20
    assert {key: last[key] for key in figures} == pytest.approx(figures)
    assert last["failed"] == 0
    settings_ = SQLiteStorage.get_run_config("s", "rank=1-0000")
    assert (settings_["lora"]["rank"], settings_["arm"]) == (2, "rank=1")


def test_curves_are_read_from_the_disk_as_they_were_logged(tmp_path):
    assert list(mirror_module._curves(tmp_path, ["a"])) == []
    for name, loss in (("metrics", 0.5), ("metrics_a", 0.25), ("metrics_b", 0.125)):
        (tmp_path / f"{name}.csv").write_text(f"step,train_loss,val_loss\n10,{loss},\n20,,{loss}\n")
    alone = [(10, {"train_loss": 0.5}), (20, {"val_loss": 0.5})]
    assert list(mirror_module._curves(tmp_path, ())) == alone
    assert list(mirror_module._curves(tmp_path, ["b", "a"])) == [
        *alone,
        (10, {"b/train_loss": 0.125}),
        (20, {"b/val_loss": 0.125}),
        (30, {"a/train_loss": 0.25}),
        (40, {"a/val_loss": 0.25}),
    ]


def test_a_mirror_that_breaks_is_said_once_and_then_silent(caplog):
    class Broken(tracking.Tracker):
        calls = 0

        @classmethod
        def open(cls, settings, run):
            return cls()

        def log(self, step, values):
            Broken.calls += 1
            raise ConnectionError("gone")

        def finish(self, record, failed):
            Broken.calls += 1

    mirror = tracking.Mirror(Broken())
    mirror.log(1, {"a": 1.0})
    mirror.log(2, {"a": 1.0})
    mirror.finish(None, failed=False)
    assert Broken.calls == 1
    assert caplog.text.count("W&B stopped: ConnectionError: gone") == 1


def test_where_no_run_can_be_opened_the_trial_goes_on_without(monkeypatch, tmp_path, caplog):
    def refuse(**_):
        raise TimeoutError("no route")

    monkeypatch.setattr("wandb.init", refuse)
    monkeypatch.setattr("harness.trial.tracking.wandb._refused", set())
    mirror = tracking.open_run(settings(mode="online"), run_of(tmp_path))
    mirror.log(1, {"a": 1.0})
    mirror.finish(None, failed=False)
    assert "W&B online: TimeoutError" in caplog.text
    assert "W&B offline: TimeoutError" in caplog.text


def test_a_missing_package_is_one_line_with_its_extra(monkeypatch):
    monkeypatch.setattr("harness.config.extras.find_spec", lambda name: None if name == "tensorboard" else object())
    with pytest.raises(ConfigError, match=r"^tracking=tensorboard: needs the extra tensorboard: pip install"):
        check_extras(compose(["tracking=tensorboard"]), "")
    check_extras(compose(["tracking=tensorboard", "tracking.mode=off"]), "")


def test_what_only_wandb_has_is_refused_of_others():
    with pytest.raises(ConfigError, match=r"tracking.adapters=true: of tracking=wandb; tracking=csv has none"):
        compose(["tracking=csv", "tracking.adapters=true"])


def test_a_study_from_before_there_were_other_trackers_is_wandbs():
    tree = to_dict(compose([]))
    for key in ("name", "adapters", "system"):
        del tree["tracking"][key]
    assert check(tree).tracking == compose(["tracking=wandb", f"tracking.mode={tree['tracking']['mode']}"]).tracking
