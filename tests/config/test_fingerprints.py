"""Fingerprints of trials that are recorded already stay what they are, and files of earlier studies are understood."""

import json
from pathlib import Path

import pytest
import yaml

import harness
from harness.config import ConfigError, apply_overrides, check, fingerprint, read_stored, to_dict
from harness.config.preflight import check_same_config

CASES = Path(__file__).parents[1] / "cases"

# Taken when readers had other names (sequence, pairs) and kinds were told apart in other ways.
RECORDED = [
    ([], "70772c5c35735bd3"),
    (["task=sst2", "model=roberta_base", "lora=dora", "trainer.score_train=true"], "a748aec5a59e7daf"),
    (
        [
            "task=text_csv",
            "task.data=x.csv",
            "task.validation=v.csv",
            "task.answer=number",
            "trainer.objective=loss",
            "task.train_rows=100",
        ],
        "c078f8973247265c",
    ),
    (["task=fashion_mnist", "model=resnet18", "lora.targets=[conv]", "task.train_rows=500"], "ef5bac80c4a7256f"),
    (["task=digits", "model=vit_b_16", "task.image_size=32", "model.image_size=32", "lora=full"], "b3a65d179d40c161"),
    (["task=image_folder", "task.data=d", "model=efficientnet_lite0", "lora.targets=[conv]"], "644686bab7d3a61c"),
    (
        ["task=spoken_digits", "model=lstm_speech", "lora.targets=[lstm]", "task.test_speakers=[theo]"],
        "f1004831527bf629",
    ),
    (
        ["task=seq2seq", "model=t5_small", "trainer.objective=loss", "task.data=p.csv", "lora.alpha=16"],
        "2b561b6ee90f1a59",
    ),
    (["task=chat", "model=gpt2", "trainer.objective=loss", "task.data=c.jsonl"], "525385b9d01bcc12"),
    (["task=catalogue_pt", "model=opus_mt", "trainer.objective=loss", "lora=peft"], "902e19b74ab26821"),
    (["task=catalogue_five", "model=small_gpt2", "trainer.objective=loss", "lora=full"], "bf9ed83d79ff624d"),
    (["task=mixture", "trainer.objective=score", "lora=task_fork", "task.weighting=uncertainty"], "08531accfd0770aa"),
    (
        [
            "task=mixture",
            "trainer.objective=score",
            "task.only=[movie,tweets]",
            "lora.match={name: mtl_lora, rank: 4, scale: 1.0, targets: [query], dropout: 0.0, ups: 2, "
            "temperature: 0.5}",
        ],
        "f18c0c3c43b81308",
    ),
    (["task=continual", "trainer.objective=score", "task.learn=orthogonal"], "c40ce33976e1b16b"),
    (
        ["task=continual", "trainer.objective=score", "task.order=[tweets,movie]", "task.heads=separate", "probe=mlm"],
        "5efb94e15f1c19d1",
    ),
]


@pytest.mark.parametrize(("words", "recorded"), RECORDED, ids=lambda value: " ".join(value)[:60])
def test_a_recorded_fingerprint_stays_the_same(compose_as_is, words, recorded):
    assert fingerprint(compose_as_is(*words), {"data": "d", "base": "b"}) == recorded


@pytest.fixture
def compose_as_is():
    import hydra
    from omegaconf import OmegaConf

    from harness.config import composition

    def compose(*words):
        composition.register_sweeps()
        with hydra.initialize_config_dir(str(composition.CONF), version_base="1.3"):
            return check(OmegaConf.to_container(hydra.compose("config", overrides=list(words)), resolve=True))

    return compose


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [
        ("continual", "sequence", ["trainer.objective=score"]),
        ("seq2seq", "pairs", ["task.data=p.csv", "model=t5_small", "trainer.objective=loss"]),
    ],
)
def test_a_study_begun_under_a_reader_s_former_name_goes_on(compose_as_is, tmp_path, now, before, words):
    config = compose_as_is(f"task={now}", *words)
    tree = json.loads(json.dumps(to_dict(config)))
    tree["task"] |= {"reader": before, "name": before}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    (tmp_path / "records.jsonl").write_text("{}\n")
    assert check(read_stored(tmp_path / "config.yaml")) == config
    check_same_config(tmp_path, to_dict(config))
    tree["seed"] = 5
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match="seed=0: study=single was begun with another configuration, 5"):
        check_same_config(tmp_path, to_dict(config))


def test_a_misspelt_reader_gets_the_nearest_name(compose_as_is):
    tree = to_dict(compose_as_is())
    tree["task"]["reader"] = "ratd"
    with pytest.raises(ConfigError, match=r'^task\.reader="ratd": no such reader; did you mean rated\?; valid: .*glue'):
        check(tree)


def test_a_bound_that_is_no_multiple_of_evaluations_makes_another_trial_than_before_it_was_one(compose_as_is):
    def printed(*words):
        return fingerprint(compose_as_is(*words), {})

    even, uneven = ["trainer.max_steps=12", "trainer.evaluations=4"], ["trainer.max_steps=10", "trainer.evaluations=4"]
    assert printed(*even) == printed(*even, "trainer.round_up=true")
    assert printed(*uneven) != printed(*uneven, "trainer.round_up=true")
    assert printed() == printed("trainer.round_up=true")


def test_a_stored_mtlora_from_before_it_was_as_published_is_a_fork_with_the_same_fingerprint():
    stored = check(read_stored(CASES / "parent_mixture" / "config.yaml"))
    arm = check(apply_overrides(to_dict(stored), stored.sweep.baselines["mtlora"].set))
    assert (arm.lora.name, arm.lora.blocks, arm.lora.identity()["name"]) == ("task_fork", 1, "mtlora")
    published = {key: value for key, value in to_dict(arm.lora).items() if key != "blocks"}
    other = check(to_dict(arm) | {"lora": published | {"name": "mtlora", "train": None}})
    assert fingerprint(arm, {}) != fingerprint(other, {})
    (record,) = [entry for entry in harness.read(CASES / "parent_mixture") if entry.arm == "mtlora"]
    tuned = check(apply_overrides(to_dict(arm), record.point))
    assert fingerprint(tuned, record.provenance.inputs) == record.fingerprint


def test_a_diagonal_between_a_and_b_is_another_trial_and_a_matrix_is_the_same_as_before(compose_as_is):
    words = ["task=mixture", "trainer.objective=score", "lora=mtl_lora"]
    full, diagonal = (compose_as_is(*words, f"lora.task_matrix={form}") for form in ("full", "diagonal"))
    assert "task_matrix" not in full.lora.identity()
    assert fingerprint(full, {}) != fingerprint(diagonal, {})
