"""Several processes put a trial down at the same step, and go on from there as if nothing had been.

The processes are real, two on the CPU over gloo, started as torchrun starts them.
"""

import json

import pytest

from harness.config import apply_overrides
from tests.tiny import ON_GPU
from tests.trial.test_ddp_followers import start

# What both run: rounds of a trial that is stopped by a signal to one of them, until it is complete.
SCRIPT = """
import json, os, signal
from pathlib import Path
from harness.config import check
from harness.config.processes import process_info
from harness.devices import resolve_device
from harness.record import plain
from harness.system.signals import Interrupted, graceful_stop
from harness.trial.ddp_followers import follow
from harness.training import Checkpoints, DivergenceCheck, TrialModule, broadcast_object
from harness.training import process_group
from harness.training import checkpoint
from harness.trial import TrialContext
from harness.trial.run import run_trial

me, stop, steps, saves, tests = process_info().process_index, None, [], [], []
on_step, on_test, save = DivergenceCheck.after_step, TrialModule.test_step, Checkpoints.save

def step(guard, trainer, *rest):
    steps.append(trainer.step)
    if stop == [me, "step", trainer.step]:
        os.kill(os.getpid(), signal.SIGTERM)
    on_step(guard, trainer, *rest)

def test(module, *rest):
    tests.append(0)
    if stop == [me, "test", len(tests)]:
        os.kill(os.getpid(), signal.SIGTERM)
    on_test(module, *rest)

def counted(checkpoints, state):
    saves.append(state["step"])
    save(checkpoints, state)

DivergenceCheck.after_step, TrialModule.test_step, Checkpoints.save = step, test, counted
found = {}
with process_group(process_info(), resolve_device("cpu", 2)):
    for name, tree, stops in json.loads(Path("rounds.json").read_text()):
        rounds = []
        for stop, often in stops:
            steps[:], saves[:], tests[:] = [], [], []
            checkpoint.EVERY_S = 0.0 if me == often else 60.0
            entry = None
            try:
                with graceful_stop():
                    if me:
                        follow()
                    else:
                        folder = Path(name)
                        folder.mkdir(exist_ok=True)
                        try:
                            entry = run_trial(check(tree), TrialContext("s", 0, "arm", folder), lambda *_: False)
                        finally:
                            broadcast_object(None)
            except Interrupted as stopped:
                assert stopped.exit_code == 143
            rounds.append([list(steps), list(saves), [path.name for path in Path(name).glob("checkpoint/*.pt")]])
        if not me:
            found[name] = {
                "rounds": rounds, "state": entry.state, "reason": entry.reason, "steps": plain(entry.steps),
                "scores": entry.scores, "sha256": entry.adapter.sha256, "dead": entry.dead, "lora": plain(entry.lora),
                "ranks": entry.adapter.ranks, "effective_ranks": entry.adapter.effective_ranks,
                "files": [(folder / file).read_text() for file in ("metrics.csv", "predictions.csv")],
            }
        else:
            found[name] = {"rounds": rounds}
        found[name]["open"] = len(os.listdir("/proc/self/fd"))
    if me:
        follow()  # hears that there are no more
Path(f"found{me}.json").write_text(json.dumps(found))
"""

WORDS = [
    "model.dropout=0.2",
    "optimizer.lr=0.01",
    "optimizer.head_lr=0.05",
    "trainer.max_steps=16",
    "optimizer.clip=0.5",
]
WORDS += ["trainer.epochs=20.0", "trainer.evaluations=4", "trainer.score_train=true"]
ALONE = [(None, None)]
# By one process and by the other, mid-epoch, before an evaluation, within it, at the end, in the tests.
STOPS = [([1, "step", 3], None), ([0, "step", 4], None), ([1, "step", 10], 0), ([0, "step", 11], 1)]
STOPS += [([1, "step", 16], None), ([1, "test", 1], None), (None, None)]
SAVES = [[3], [4], [*range(4, 11)], [11], [16], [16], []]
"""The steps after which each round saves: the first one's clock alone counts."""
FEWER = {"fsdp-full": (0, 3, 5, 6)}
"""The rounds of an arm; where none are named, all."""


@pytest.mark.skipif(ON_GPU, reason="two devices")
def test_two_processes_put_down_a_trial_and_go_on(tree, zygote, tmp_path, own_cache):
    adapted = ["lora.rank=2", "lora.dropout=0.2"]
    arms = {"ddp-lora": adapted, "fsdp-lora": adapted, "fsdp-full": ["lora=full"]}
    rounds, chosen = [], {}
    for name, words in arms.items():
        spread = {"trainer.devices": 2, "trainer.strategy": name.partition("-")[0]}
        made = apply_overrides(tree(*WORDS, *words), spread)
        chosen[name] = FEWER.get(name, range(len(STOPS)))
        rounds += [(name, made, ALONE), (f"{name}-again", made, [STOPS[at] for at in chosen[name]])]
    (tmp_path / "rounds.json").write_text(json.dumps(rounds))
    processes = start(zygote, tmp_path, ["-c", SCRIPT])
    said = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "".join(said)
    first, second = (json.loads((tmp_path / f"found{rank}.json").read_text()) for rank in range(2))
    for found in (first, second):
        # Eleven trainings later; each would keep four.
        assert found["fsdp-full-again"]["open"] <= found["fsdp-lora"]["open"] + 8, "a training frees its sockets"
    for name in arms:
        alone, again = first[name], first[f"{name}-again"]
        assert alone["state"] == again["state"] == "complete", (alone["reason"], again["reason"])
        made = [steps for steps, _, _ in again["rounds"]]
        assert made == [steps for steps, _, _ in second[f"{name}-again"]["rounds"]], "both stop at the same step"
        assert [step for part in made for step in part] == alone["rounds"][0][0] == list(range(1, 17))
        saves = [saves for _, saves, _ in again["rounds"]]
        assert saves == [SAVES[at] for at in chosen[name]]
        assert again["rounds"][-1][2] == []
        assert again["steps"].pop("resumed") == 16
        for key in ("steps", "scores", "sha256", "dead", "lora", "files"):
            assert again[key] == alone[key], (name, key)
