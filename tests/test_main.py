"""The command as a person types it: answers, one-line errors, exit codes, and nothing created on a mistake."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from harness import record
from tests.test_record import make
from tests.tiny import SEARCH_ALONE, words_of


@pytest.fixture
def harness(tmp_path, zygote):
    """Runs a command; with variables of its own in a process that imports everything anew."""

    def call(*words, **environment):
        env = os.environ | {"CUDA_VISIBLE_DEVICES": "", "HARNESS_CACHE": str(tmp_path / "cache")} | environment
        if not environment:
            return zygote.run(words, tmp_path, env)
        command = [sys.executable, "-m", "harness", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)

    return call


@pytest.fixture
def tiny(tiny_base, tiny_data):
    return [
        *words_of(tiny_base, tiny_data),
        "trainer.batch_size=8",
        "trainer.max_steps=8",
        "trainer.evaluations=2",
        "lora.rank=2",
    ]


MISTAKES = [
    (["lora.rnk=4"], "lora.rnk=4: no such key; did you mean lora.rank?"),
    (["+lora.rnk=4"], "lora.rnk: no such key; did you mean lora.rank?"),
    (["++lora.rnk=4"], "lora.rnk: no such key; did you mean lora.rank?"),
    (["lroa.rank=4"], "lroa.rank=4: no such key; did you mean lora.rank?"),
    (["task=movie_snipets"], "task=movie_snipets: no such task; did you mean movie_snippets?"),
    (["tsk=movie_snippets"], "tsk=movie_snippets: no such key; did you mean task?"),
    (["+tsk=movie_snippets"], "tsk: no such key; did you mean task?"),
    (["++tsk=movie_snippets"], "tsk: no such key; did you mean task?"),
    (["model=mnilm"], "model=mnilm: no such model; did you mean minilm?"),
    (["model=null"], "model=null: model takes the name of an option: bert_base, "),
    (["+experiment=sst2_rank_sweep", "sweep=null"], "; ~sweep goes without one"),
    (["+experiment=sst2_rank_swep"], "no such experiment; did you mean sst2_rank_sweep?"),
    (["+experment=sst2_rank_sweep"], "experment: no such key; did you mean experiment?"),
    (["++experment=sst2_rank_sweep"], "experment: no such key; did you mean experiment?"),
    (["experiment=sst2_rank_sweep"], "write +experiment=sst2_rank_sweep"),
    (["sweep=rank_alpha"], "sweep=rank_alpha: no such sweep; did you mean rank_alpha_lr?"),
    (["lora.rank=0"], "lora.rank=0: input should be greater than or equal to 1"),
    (["lora.rank=8.0"], "lora.rank=8.0: input should be a valid integer"),
    (["lora.rank="], 'lora.rank="": input should be a valid integer'),
    (["lora.alpha=nan"], "lora.alpha=NaN: input should be a finite number"),
    (["lora=full", "+lora.rank=4"], "lora.rank: no such key"),
    (["run=sweep"], 'run="sweep": input should be'),
    (["run=study"], "sweep is empty"),
    (["run=studies.claims:command"], "claims: nothing to judge by; +experiment=claims names the studies"),
    (["+experiment=claims", "+claims.studies.rnk=[x]"], "claims.studies.rnk"),
    (["run=report", "study=none"], "study=none: no records in"),
    (["lora.rank"], "lora.rank"),
    (["task=movie_snippets", "task.text=x"], "task.text=x: no such key of task=movie_snippets"),
    (["task.text=x"], "task.text=x: no such key of the task that is chosen"),
    (["task=movie_snippets", "trainer.objective=bleu"], "has none; trainer.objective=accuracy | loss | "),
    (["model=minilm", "model.poling=mean"], "model.poling=mean: no such key; did you mean model.pooling?"),
    (["task=text_csv", "task.labl=y"], "task.labl=y: no such key; did you mean task.label?"),
    (["task.max_length=513"], "task.max_length=513: model=minilm has 512 positions"),
]


@pytest.mark.parametrize(
    ("words", "line"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_mistake_is_one_line_and_creates_nothing(run_here, own_cache, tmp_path, words, line):
    code, out, error = run_here(*words)
    assert code == 2, error
    assert line in error
    assert len(error.strip().splitlines()) == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["lora.targets=[query,vaule]"],
            "target vaule: no such name in model=minilm, and as a pattern it matches no module; did you mean value?",
        ),
        (["lora.rank=385"], "lora.rank=385: above min(inputs, outputs) = 384 of query in model=minilm"),
        (["trainer.accelerator=gpu"], "no GPU was found"),
        (["task=sst2", "task.data=/nowhere"], "task.data=/nowhere: no such folder"),
        (["task=text_csv"], "task.data: missing"),
        (
            ["run=study", "sweep=rank_alpha_lr", "lora.targets=[qery]"],
            "target qery: no such name in model=minilm, and as a pattern it matches no module; did you mean query?",
        ),
        (["run=study", "sweep=rank_alpha_lr", "trainer.accelerator=gpu"], "no GPU was found"),
        (["run=study", "sweep=rank_alpha_lr", "task=sst2", "task.data=/nowhere"], "no such folder"),
        (["results=/proc/nowhere"], "results=/proc/nowhere"),
    ],
)
def test_what_only_the_network_or_the_machine_can_tell_is_one_line_too(harness, tmp_path, words, line):
    done = harness(*words)
    assert done.returncode == 2, done.stderr
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "results").exists()


def test_counting_prints_json_from_shapes_alone(harness, tmp_path):
    done = harness("run=count", "model=bert_large", "lora=lora", "lora.rank=16", "lora.targets=[query,value]")
    counted = json.loads(done.stdout)
    assert counted["params"]["adapter"] == 1_572_864
    assert counted["fewer_trainable_percent"] == 99.531
    assert list(tmp_path.iterdir()) == []


def test_one_trial_prints_its_record_and_is_not_trained_twice(harness, tiny, tmp_path):
    first = harness(*tiny)
    assert first.returncode == 0, first.stderr
    printed = json.loads(first.stdout)
    (stored,) = record.read(tmp_path / "results/single")
    assert printed == json.loads(record.to_json(stored))
    assert "wandb sync" in first.stderr
    again = harness(*tiny)
    assert json.loads(again.stdout) == printed
    assert "trial 0 has the same configuration: looked up, not trained again\n" in again.stderr
    threads = printed["provenance"]["environment"]["threads"]
    elsewhere = harness(*tiny, f"trainer.threads={threads + 1}")
    assert json.loads(elsewhere.stdout) == printed
    assert f"looked up, not trained again; made elsewhere: threads {threads} (now {threads + 1})\n" in elsewhere.stderr
    other = harness(*tiny, "seed=1", "tracking=off")
    assert json.loads(other.stdout)["trial"] == 1
    config = tmp_path / "results/single/trials/0001/config.yaml"
    assert "seed: 1" in config.read_text()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_study_stops_cleanly_and_the_same_command_finishes_it(tiny, zygote, tmp_path, signum, code):
    words = [
        *tiny,
        "run=study",
        "sweep=rank_alpha_lr",
        *SEARCH_ALONE,
        "sweep.scientific={lora.rank: [1, 2]}",
        "sweep.trials=1",
    ]
    words += ["study=s", "tracking=off", "trainer.max_steps=30", "trainer.evaluations=5"]
    environment = os.environ | {"HARNESS_CACHE": str(tmp_path / "cache")}
    log = tmp_path / "results/s" / record.RECORDS
    process = zygote.popen(["-m", "harness", *words], cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signum)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "the same command goes on from here" in said
    kept = record.read(tmp_path / "results/s")
    assert 0 < len(kept) < 4
    done = zygote.run(words, tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert f"{len(kept)} of 4 trials are recorded" in done.stderr
    records = record.read(tmp_path / "results/s")
    assert records[: len(kept)] == kept
    assert len(records) == 4
    assert "Smallest adapter" in done.stdout
    for name in ("config.yaml", "table.csv", "table.md", "pareto.png", "rank_curve.png"):
        assert (tmp_path / "results/s" / name).stat().st_size > 0


def read_letters(folder):
    """Have a base read texts letter by letter: its few words are none of reviews."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = {each: number for number, each in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


def test_sst2_out_of_reach_is_trained_on_its_stand_in_under_its_own_name(harness, tiny, tiny_base, tmp_path):
    base = shutil.copytree(tiny_base, tmp_path / "letters")
    read_letters(base)
    done = harness(
        *[word.replace(str(tiny_base), str(base)) for word in tiny if word.startswith(("model", "lora"))],
        "task=sst2",
        "task.max_length=40",
        "run=trial",
        "trainer.max_steps=1",
        "trainer.evaluations=1",
        "tracking=off",
        HF_ENDPOINT="http://127.0.0.1:9",
        HF_HUB_OFFLINE="0",
    )
    assert "sst2 cannot be reached" in done.stderr
    assert "training on movie_snippets instead" in done.stderr
    assert done.returncode == 0, done.stderr
    entry = json.loads(done.stdout)
    assert (entry["task"], entry["data"]["name"]) == ("movie_snippets", "movie_snippets")


def test_hydras_own_habits_work(harness, tmp_path):
    assert "rank: 8" in harness("--cfg", "job").stdout
    assert "rank_alpha_lr" in harness("--help").stdout
    assert "run: study" in harness("--cfg", "job", "+experiment=sst2_rank_sweep").stdout
    complete = subprocess.run(
        [sys.executable, "-m", "harness", "-sc", "query=bash"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"COMP_LINE": "harness model=mini", "COMP_POINT": "99"},
    )
    assert "model=minilm" in complete.stdout
    assert [path for path in tmp_path.iterdir() if path.name != "cache"] == []


def test_multirun_makes_a_record_for_each(harness, tiny, tmp_path):
    done = harness("-m", *[word for word in tiny if not word.startswith("lora.rank")], "lora.rank=1,2", "tracking=off")
    assert done.returncode == 0, done.stderr
    assert [entry.lora.rank for entry in record.read(tmp_path / "results/single")] == [1, 2]
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "results"}


def test_a_report_is_made_again_from_the_records(harness, tmp_path):
    folder = tmp_path / "results/s"
    folder.mkdir(parents=True)
    record.append(folder, make(0))
    done = harness("run=report", "study=s")
    assert done.returncode == 0, done.stderr
    assert "1 trials: 1 complete" in done.stdout
    assert (folder / "rank_curve.png").exists()


def test_claims_run_the_study_they_need_once_and_judge_from_its_records(harness, tiny, tmp_path):
    words = [*tiny, "run=study", "study=s", "sweep=rank_alpha_lr", *SEARCH_ALONE, "sweep.scientific={lora.rank: [1]}"]
    words += ["sweep.trials=1"]
    quoted = ",".join(f"'{word}'" for word in words)
    left_out = [f"~claims.studies.{name}" for name in ("cnn", "translation", "little", "lr", "continual")]
    claims = ["+experiment=claims", "tracking=off", *left_out, "claims.studies.lstm=['+experiment=none']"]
    claims += [f"claims.studies.rank=[{quoted}]"]
    done = harness(*claims)
    assert done.returncode == 0, done.stderr
    assert "s is not finished: running it" in done.stderr
    assert [entry.arm for entry in record.read(tmp_path / "results/s")] == ["rank=1", "full", "head"]
    assert "| 99.5 % fewer trainable parameters on BERT-large" in done.stdout
    assert "| 1 + 1 trials" in done.stdout
    assert "+experiment=none: no such experiment" in done.stdout
    again = harness(*claims, "claims.run=false")
    assert again.stdout == done.stdout
    assert (tmp_path / "results/claims/claims.md").exists()


def test_an_unforeseen_failure_names_its_log(harness, tmp_path):
    folder = tmp_path / "results/s"
    folder.mkdir(parents=True)
    (folder / record.RECORDS).write_text('{"not": "a record"}\n')
    done = harness("run=report", "study=s")
    assert done.returncode == 70
    path = done.stderr.strip().rpartition(" ")[2]
    assert "Traceback" in Path(path).read_text()
    Path(path).unlink()
    assert "Traceback" not in done.stderr


def test_output_that_nobody_reads_any_more_is_no_failure(tmp_path):
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "harness", "run=count", "model=minilm"]
    done = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (141, "")


def test_several_devices_make_one_record_over_all_test_items(harness, tiny, tmp_path):
    done = harness(*tiny, "trainer.accelerator=cpu", "trainer.devices=2", "tracking=off")
    assert done.returncode == 0, done.stderr
    (entry,) = record.read(tmp_path / "results/single")
    assert entry.state == "complete", entry.reason
    predictions = (tmp_path / "results/single/trials/0000/predictions.csv").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in predictions[1:]] == list(range(48))
    right = sum(line.split(",")[1] == line.split(",")[2] for line in predictions[1:])
    assert entry.scores["test"]["accuracy"] == pytest.approx(right / 48)
    assert harness(*tiny, "run=study", "sweep=rank_alpha_lr", "trainer.devices=2").returncode == 2


def test_an_installed_wheel_carries_its_configurations(tmp_path):
    root = Path(__file__).parents[1]
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(root)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as bundle:
        bundle.extractall(tmp_path / "site")

    def installed(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "harness", *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path / "site"), "PYTHONSAFEPATH": "1"},
        )

    done = installed("--cfg", "job", "+experiment=sst2_rank_sweep")
    assert "run: study" in done.stdout, done.stderr
    assert "scientific:" in done.stdout
    refused = installed("+experiment=claims", "claims.run=maybe")
    assert refused.returncode == 2, "its command is there, and reads its own node"
    assert refused.stderr.startswith("claims.run: "), refused.stderr


def test_an_order_of_rows_is_asked_for_of_a_split_that_lacks_a_class(run_here, tmp_path):
    for name, labels in (("train", "abc"), ("held", "ab")):
        rows = [f"text {name} {row},{labels[row % len(labels)]}" for row in range(30)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]))
    words = [f"task.data={tmp_path}/train.csv", f"task.validation={tmp_path}/held.csv", "trainer.objective=auroc"]
    code, _, said = run_here("task=text_csv", *words, f"results={tmp_path}/r")
    assert code == 2
    assert said.strip().startswith(
        "trainer.objective=auroc: validation has no row of c, and auroc is the mean over all"
    )
