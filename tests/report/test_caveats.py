"""What is said of a best trial at the edge of a range, and of none in the middle or at a choice."""

import yaml

from harness.report.caveats import caveats, caveats_again
from tests.test_record import make, memory

NUISANCE = {
    "optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "lora.rank": {"low": 1, "high": 64, "log": True, "integer": True},
    "lora.targets": {"choices": [["query"], ["query", "value"]]},
}


def said(folder, **point):
    (folder / "config.yaml").write_text(yaml.safe_dump({"sweep": {"nuisance": NUISANCE, "baselines": {}}}))
    return caveats(
        [make(3, arm="variant=lora", point={key.replace("_", ".", 1): at for key, at in point.items()})], folder
    )


def test_a_search_that_cannot_be_repeated_says_so(tmp_path):
    sweep = {"nuisance": {}, "baselines": {}, "pruner": {"name": "asynchronous_halving"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"sweep": sweep}))
    (text,) = caveats([], tmp_path)
    assert text.splitlines()[1].startswith("- The search cannot be repeated: ")
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump({"sweep": sweep | {"pruner": {"name": "synchronous_halving"}}})
    )
    assert caveats([], tmp_path) == []


def test_a_search_that_learned_from_what_is_measured_says_so(tmp_path):
    sweep = {"nuisance": {}, "baselines": {}, "objectives": {"val": "maximize", "memory": "minimize"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"sweep": sweep}))
    counted = memory(process=1, parameters=1, train_peak=9) | {"step": 3}
    assert caveats([make(0, memory=counted)], tmp_path) == []
    (text,) = caveats([make(0, memory=memory(process=1, train_peak=9))], tmp_path)
    assert text.splitlines()[1] == "- The search cannot be repeated: it learned from what is measured, memory."


def test_a_value_at_the_edge_of_its_range_is_named_and_a_choice_has_none(tmp_path):
    (text,) = said(tmp_path, optimizer_lr=1e-3, lora_rank=64, lora_targets=["query"])
    assert text.splitlines()[1:] == ["- variant=lora (trial 3): lora.rank=64 won at the high edge of [1, 64]: widen it"]
    assert said(tmp_path, optimizer_lr=1e-3, lora_rank=8, lora_targets=["query", "value"]) == []
    assert said(tmp_path, lora_rank=8) == [], "a dimension that does not exist there"


def test_what_trials_that_confirm_have_alike_is_said_once(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"sweep": {"nuisance": NUISANCE, "baselines": {}}}))
    half = "its best weights are of step {} of 90: the learning rate had not decayed"
    runs = {
        "rank=8": [
            make(10_000 * number, arm="rank=8", point={"optimizer.lr": 1e-2}, notes=[half.format(step)] if step else [])
            for number, step in ((1, 30), (2, 60), (3, 0))
        ],
        "full": [make(10_001, arm="full", point={"optimizer.lr": 1e-3})],
    }
    (text,) = caveats_again(runs, tmp_path)
    assert text.splitlines() == [
        "To bear in mind of the trials that confirm:",
        f"- rank=8: {half.format(30)} (2 of 3 trials, such as trial 10000); "
        "optimizer.lr=0.01 won at the high edge of [0.0001, 0.01]: widen it (3 of 3 trials)",
    ]
    assert caveats_again({"full": runs["full"]}, tmp_path) == []
