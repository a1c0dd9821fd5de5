"""Mistakes that people make, each answered in one line with the key, the value and the rule, before anything is made.

The table goes through the command's own job: groups are composed by Hydra, once for all lines that choose alike, and
values are read by Hydra's parser. Some lines are real processes; tests/test_main.py has the misspelt ones as such.
"""

import copy
import csv
import os
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import hydra
import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

import harness.cluster.single
import harness.commands.study
from harness import __main__ as command
from harness import record
from harness.commands import guest
from harness.commands.failures import exit_codes
from harness.commands.job import HydraJob
from harness.config import MODELS, check, composition, to_dict
from harness.config.preflight import check_same_config
from harness.model import build_model
from tests.test_record import make

STUDY = ["run=study", "sweep=rank_alpha_lr"]
CSV = ["task=text_csv", "task.data=given.csv"]
IMAGES = ["task=image_folder", "model=resnet18", "lora.targets=[conv]"]
SPEECH = ["task=spoken_digits", "model=lstm_speech", "lora.targets=[lstm]"]
PAIRS = ["task=seq2seq", "model=t5_small", "trainer.objective=loss"]
CHATS = ["task=chat", "model=gpt2", "lora.targets=[c_attn]", "task.data=given.csv", "trainer.objective=loss"]

RANKLESS = "sweep.scientific={seed: [0]}"
ALL = "arm rank=1, rank=2, rank=4, and 3 more: "


CHOSEN = "or it is tuned; what is confirmed has it as in the search"
WHOLE = "of the study as a whole, the same in every trial"


def confirmed(values: str) -> list[str]:
    return [*STUDY, f"+sweep.confirm.set={values}"]


def dropout(bounds: str) -> str:
    return f"sweep.nuisance={{lora.dropout: {bounds}}}"


def tuned(arm: str, ranges: str) -> str:
    return f"sweep.baselines.{arm}.nuisance={ranges}"


def put(arm: str, values: str) -> str:
    return f"sweep.baselines.{arm}.set={values}"


# What is said, and what the answer holds.
MISTAKES = [
    # what is said for another command
    ([*STUDY, "seeds=5"], "seeds=5: of run=confirm; what a study begins with is sweep.confirm.seeds"),
    ([*STUDY, "top=2"], "top=2: of run=confirm; what a study begins with is sweep.confirm.top"),
    ([*STUDY, "orders=true"], "orders=true: of run=confirm; what a study begins with is sweep.confirm.orders"),
    ([*STUDY, "+sweep.confirm.orders=true"], "is not learned in turn, as task=continual is; set it to false"),
    (
        [
            *("run=study", "task=continual", "sweep=continual", "trainer.objective=score"),
            "+sweep.scientific.task.order=[[movie,nyt],[nyt,movie]]",
        ],
        "sweep.confirm.orders=true: arms differ in task.order, and the orders are the same in every arm",
    ),
    (
        [
            *("run=study", "task=continual", "sweep=continual", "trainer.objective=score"),
            *("task.order=[movie,nyt]", "sweep.confirm.seeds=3"),
        ],
        "sweep.confirm.orders=true: 2 tasks have 2 orders, sweep.confirm.seeds=3; at most 2 seeds, or set it to false",
    ),
    (["run=report", "margin=0.02"], "margin=0.02: of run=confirm; what a study begins with is sweep.confirm.margin"),
    (["run=trial", "trial=3"], "trial=3: of run=repeat"),
    # what trials that confirm have otherwise
    (confirmed("{lora.rank: 8}"), f"sweep.confirm.set.lora.rank: arms differ in lora.rank, {CHOSEN}"),
    (confirmed("{optimizer.lr: 0.1}"), f"sweep.confirm.set.optimizer.lr: arms differ in optimizer.lr, {CHOSEN}"),
    (confirmed("{optimizer: {lr: 0.1}}"), f"sweep.confirm.set.optimizer.lr: arms differ in optimizer.lr, {CHOSEN}"),
    (confirmed("{seed: 1}"), f"sweep.confirm.set.seed: {WHOLE}"),
    (confirmed("{task.train_rows: 9}"), f"sweep.confirm.set.task.train_rows: {WHOLE}"),
    (confirmed("{model: bert_base}"), f"sweep.confirm.set.model: {WHOLE}"),
    (confirmed("{tracking.mode: online}"), f"sweep.confirm.set.tracking.mode: {WHOLE}"),
    (confirmed("{trainer.max_step: 9}"), "sweep: trainer.max_step: no such key; did you mean trainer.max_steps?"),
    # times
    ([*CSV, "task.time_format='%Y'"], "task.time_format=%Y: task.time names no column of times"),
    (
        [*CSV, "task.time=day", "task.time_format=dd.mm.yyyy"],
        "task.time_format=dd.mm.yyyy: no part of a time in it; number",
    ),
    ([*CSV, "task.time=day", "task.time_format='%d.%Q'"], "task.time_format=%d.%Q: 'Q' is a bad directive in format"),
    ([*CHATS, "task.time=day", "task.group=by"], "task.group=by task.time=day: splits are cut by one of them"),
    # ranks and scales
    (["lora.rank=0"], "lora.rank=0: input should be greater than or equal to 1"),
    (["lora.rank=-1"], "lora.rank=-1: input should be greater than or equal to 1"),
    (["lora.rank=abc"], 'lora.rank="abc": input should be a valid integer'),
    (["lora.rank=8.0"], "lora.rank=8.0: input should be a valid integer"),
    (["lora.rank=true"], "lora.rank=true: input should be a valid integer"),
    (["lora.rank=''"], 'lora.rank="": input should be a valid integer'),
    (["lora.rank=null"], "lora.rank=null: input should be a valid integer"),
    (["lora.rank=1e3"], "lora.rank=1000.0: input should be a valid integer"),
    (["lora.rank=[4,8]"], "lora.rank=[4, 8]: input should be a valid integer"),
    (["lora.rank=385"], "lora.rank=385: above min(inputs, outputs) = 384 of query in model=minilm"),
    (["lora.rank=385", "lora.targets=[ffn_up]"], "= 384 of ffn_up in model=minilm"),
    (["model=bert_base", "lora.rank=1000"], "lora.rank=1000: above min(inputs, outputs) = 768 of query"),
    ([*SPEECH, "lora.rank=41"], "lora.rank=41: above min(inputs, outputs) = 40 of lstm"),
    (["task=digits", "model=efficientnet_lite0", "lora.targets=[depthwise]", "lora.rank=10"], "= 9 of depthwise"),
    (["lora.alpha=0"], "lora.alpha=0: input should be greater than 0"),
    (["lora.alpha=-2"], "lora.alpha=-2: input should be greater than 0"),
    (["lora.alpha=nan"], "lora.alpha=NaN: input should be a finite number"),
    (["lora.alpha=inf"], "lora.alpha=Infinity: input should be a finite number"),
    (["lora.alpha=16", "lora.scale=2"], "lora.scale=2.0 and lora.alpha=16.0: give one of them, never both"),
    (["lora.scale=two"], 'lora.scale="two": input should be a valid number'),
    (["lora.dropout=1"], "lora.dropout=1: input should be less than 1"),
    (["lora.dropout=-0.1"], "lora.dropout=-0.1: input should be greater than or equal to 0"),
    # where
    (["lora.targets=3"], "lora.targets=3: input should be a valid list"),
    (["lora.targets=[]"], "lora.targets=[]: list should have at least 1 item"),
    (["lora.targets=[query,query]"], 'lora.targets=["query", "query"]: query named twice'),
    (["lora.targets=[1]"], "lora.targets.0=1: input should be a valid string"),
    (["lora.targets=[qery]"], "target qery: no such name in model=minilm"),
    (["lora.targets=[query,vaule]"], "did you mean value?"),
    (["lora.targets=[conv]"], "target conv: no such name in model=minilm"),
    (["task=digits", "model=resnet18", "lora.targets=[query]"], "valid: conv, pointwise, stem, fc"),
    ([*SPEECH, "lora.targets=[lsmt]"], "did you mean lstm?"),
    (['lora.targets=["[bad"]'], "target [bad: unterminated character set"),
    (["lora.targets=[pooler]"], "target pooler: no such name, and as a pattern it matches no module"),
    (["lora.targets=[.*attention.*]"], "has no low-rank form here"),
    (['lora.ranks=[[".*",a]]'], 'lora.ranks.0.1="a": input should be a valid integer'),
    (['lora.ranks=[[".*nothing.*",2]]'], "ranks .*nothing.*: matches none of the targets' layers"),
    (['lora.ranks=[[".*",0]]'], "every layer has rank 0; lora=head trains the head alone"),
    # variants and methods
    (["lora.variant=doar"], "lora.variant=doar: variant doar: no variant doar; did you mean dora?"),
    (["lora.variant=dora+adalora"], "more than one of them changes the same thing"),
    (["lora.variant=rslora"], "give alpha, not scale"),
    (["lora.lr_ratio=4"], "lr_ratio 4.0: above 0, and only with variant lora_plus"),
    (["lora.redistribute=0.5"], "lora.redistribute=0.5: input should be greater than or equal to 1"),
    (["lora.initial_rank=2"], "initial_rank 2: at least rank, and only with variant adalora"),
    (["lora=peft", "lora.method=LOKO"], "method LOKO: no such method; did you mean LOKR?"),
    (["lora=lroa"], "lora=lroa: no such lora; did you mean lora?"),
    # model
    (["model=minlm"], "model=minlm: no such model; did you mean minilm?"),
    (["model=resnet18"], "model=resnet18: a vision model"),
    (["model=bert_base", "task=digits"], "task=digits needs a vision model"),
    (["model.pooling=max"], 'model.pooling="max": input should be'),
    (["model.shape.hidden=0"], "model.shape.hidden=0: input should be greater than or equal to 1"),
    (["model.shape.heads=7"], "model.shape.heads=7: model.shape.hidden=384 is no multiple of it"),
    (["model.weights.address=nowhere"], 'model.weights.address="nowhere": string should match pattern'),
    (["model=hf", "model.address=gpt2"], "+'; a repository of the hub is hub:owner/name, a folder path:FOLDER"),
    (
        ["model=hf", "model.address=https://huggingface.co/openai-community/gpt2/tree/main"],
        'gpt2/tree/main": the page of a repository; write hub:openai-community/gpt2',
    ),
    (["model.weights.address=path:/nowhere"], "model.weights.address=path:/nowhere: no such file or folder"),
    (["model.weights.sha256=abc"], 'model.weights.sha256="abc": string should match pattern'),
    # data
    (["task=movi_snippets"], "task=movi_snippets: no such task; did you mean movie_snippets?"),
    (["task.max_length=1"], "task.max_length=1: input should be greater than or equal to 2"),
    (["task.max_length=513"], "task.max_length=513: model=minilm has 512 positions"),
    (["task.validation_share=0"], "task.validation_share=0: input should be greater than 0"),
    (["task.test_share=0.9"], "task.test_share=0.9: input should be less than or equal to 0.4"),
    (["task.split_seed=-1"], "task.split_seed=-1: input should be greater than or equal to 0"),
    (["task.name=a/b"], 'task.name="a/b": string should match pattern'),
    (["task.classes=1"], "task.classes=1: input should be greater than or equal to 2"),
    (["task=text_csv"], "task.data: missing; give the path of a CSV, TSV, JSONL or Parquet file"),
    (["task=text_csv", "task.data=/nowhere.csv"], "task.data=/nowhere.csv: no such file"),
    (["task=text_csv", "task.data=given.txt2"], "task.data=given.txt2: expected a file that ends in .csv"),
    (
        ["task=text_csv", "task.data=."],
        "task.data=.: a folder, not a file; task=text_csv reads a file, task=image_folder",
    ),
    (["task=text_csv", "task.data=3"], "task.data=3: input should be a valid string"),
    (["task=text_csv", "task.data=header.csv"], "task.data=header.csv: the train split has no rows"),
    (["task=text_csv", "task.data=greek.csv"], "task.data=greek.csv: not UTF-8 (line 2), and not Windows-1252"),
    (["task=text_csv", "task.data=one.csv"], "task.data=one.csv: the training split has 1 classes"),
    (["task=text_csv", "task.data=empty.csv"], "task.data=empty.csv: an empty file"),
    (["task=text_csv", "task.data=ragged.csv"], "row 3 has 3 fields, the first has 2"),
    (["task=text_csv", "task.data=gaps.csv"], "task.data=gaps.csv: 1 rows have no text or no label"),
    (["task=text_csv", "task.data=broken.parquet"], "task.data=broken.parquet: "),
    ([*CSV, "task.text=txt"], "task.text=txt: given.csv has no such column; did you mean text?"),
    ([*CSV, "task.label=lable"], "task.label=lable: given.csv has no such column; did you mean label?"),
    ([*CSV, "task.classes=5"], "2 classes in the training split, task.classes=5"),
    ([*CSV, "task.test=other.csv"], "absent from training: 'maybe'"),
    ([*CSV, "task.validation=given.csv", "task.test=given.csv"], "validation sentences stand in train too"),
    ([*CSV, "task.test=gone.csv"], "task.test=gone.csv: no such file"),
    ([*IMAGES], "task.data: missing; give a folder of class-named folders of images"),
    ([*IMAGES, "task.data=gone"], "task.data=gone: no such folder"),
    ([*IMAGES, "task.data=hollow"], "task.data=hollow: no image in a, b"),
    (["task=digits", "model=resnet18", "task.image_size=4"], "task.image_size=4: input should be greater than"),
    (["task=digits", "model=vit_b_16", "task.image_size=20"], "task.image_size=20: model=vit_b_16 reads patches of 16"),
    ([*SPEECH, "task.data=gone"], "task.data=gone: no such folder"),
    ([*SPEECH, "task.data=hollow"], "task.data=hollow: no .wav file in it"),
    ([*PAIRS[:2]], "trainer.objective=accuracy: "),
    ([*PAIRS, "task.data=gone.csv"], "task.data=gone.csv: no such file"),
    ([*PAIRS, "task.data=given.csv", "task.source=txt"], "task.source=txt: given.csv has no such column"),
    ([*PAIRS, "task.max_target=1"], "task.max_target=1: input should be greater than or equal to 2"),
    (["task=sst2", "task.data=gone"], "task.data=gone: no such folder"),
    (["task=mixture", "trainer.objective=score", "task.only=[movy]"], 'task.only=["movy"]: no task movy; did you mean'),
    (["task=mixture", "task.sampling=random"], 'task.sampling="random": input should be'),
    # optimiser and trainer
    (["optimizer=sgd"], "optimizer=sgd: no such optimizer; valid: adamw"),
    (["optimizer.lr=0"], "optimizer.lr=0: input should be greater than 0"),
    (["optimizer.lr=nan"], "optimizer.lr=NaN: input should be a finite number"),
    (["optimizer.lr=1e-3x"], 'optimizer.lr="1e-3x": input should be a valid number'),
    (["optimizer.weight_decay=-1"], "optimizer.weight_decay=-1: input should be greater than or equal to 0"),
    (["optimizer.warmup=1.5"], "optimizer.warmup=1.5: input should be less than 1"),
    (["optimizer.clip=0"], "optimizer.clip=0: input should be greater than 0"),
    (["trainer=gup"], "trainer=gup: no such trainer"),
    (["trainer.epochs=0"], "trainer.epochs=0: input should be greater than 0"),
    (["trainer.max_steps=0"], "trainer.max_steps=0: input should be greater than or equal to 1"),
    (["trainer.batch_size=1.5"], "trainer.batch_size=1.5: input should be a valid integer"),
    (["trainer.evaluations=0"], "trainer.evaluations=0: input should be greater than or equal to 1"),
    (["trainer.objective=f1_marco"], "did you mean f1_macro?"),
    (["trainer.objective=measures:"], 'trainer.objective="measures:": input should be'),
    (["trainer.objective=nowhere:F1"], "trainer.objective=nowhere:F1: importing nowhere failed, ModuleNotFoundError"),
    (["trainer.objective=pandas:read_pickle"], "trainer.objective=pandas:read_pickle: no subclass of harness.task."),
    (["task=mixture", "trainer.objective=nowhere:F1"], "trainer.objective=nowhere:F1: task=mixture is several tasks"),
    (["trainer.accelerator=tpu"], 'trainer.accelerator="tpu": input should be'),
    (["trainer.devices=auto"], 'trainer.devices="auto": input should be a valid integer'),
    (["trainer.devices=4096"], "trainer.devices=4096: there are"),
    (["trainer.precision=fp16"], 'trainer.precision="fp16": input should be'),
    (["trainer.strategy=deepspeed"], 'trainer.strategy="deepspeed": input should be'),
    (
        ["trainer=fsdp", *IMAGES, "task.data=."],
        "trainer.strategy=fsdp: for bases of transformers and timm; model=resnet18",
    ),
    ([*STUDY, "trainer=ddp"], "trainer.devices=2: all processes of a study are started first, by torchrun"),
    # where results go
    (["tracking.mode=sometimes"], 'tracking.mode="sometimes": input should be'),
    (["seed=1.5"], "seed=1.5: input should be a valid integer"),
    (["study=a/b"], 'study="a/b": string should match pattern'),
    (["study=a b"], "; a name has letters of English, digits, _, . and -"),
    ([f"study={'a' * 201}"], "string should have at most 200 characters"),
    (["study=given.csv", "results=."], "study=given.csv: given.csv: a file, not a folder; name another study"),
    (["seed=4294967296"], "seed=4294967296: input should be less than 4294967296"),
    # words that are no override
    (["lora.rank", "=", "4"], "lora.rank = 4: blanks part words of a command; write lora.rank=4"),
    (["lora.rank = 4"], "lora.rank = 4: write lora.rank=4, with no blanks"),
    (["lora.rank:4"], "lora.rank:4: expected key=value; write lora.rank=4"),
    (["optimizer.lr=1e\N{MINUS SIGN}3"], "write optimizer.lr=1e-3, with no blanks and signs of ASCII"),
    (["lora.rank=4\N{NO-BREAK SPACE}"], "write lora.rank=4, with no blanks and signs of ASCII"),
    (["study=\N{LEFT DOUBLE QUOTATION MARK}a\N{RIGHT DOUBLE QUOTATION MARK}"], "typographic; write study=a"),
    (["study=.."], 'study="..": string should match pattern'),
    (["results=''"], 'results="": string should have at least 1 character'),
    (["results=/proc/nowhere"], "results=/proc/nowhere: /proc cannot be written"),
    (["results=given.csv/inside"], "results=given.csv/inside: "),
    (["run=report", "study=none"], "study=none: no records in"),
    (["run=sweep"], 'run="sweep": input should be'),
    # what is searched
    (["run=study"], "run=study: sweep is empty"),
    ([*STUDY, "sweep.trials=0"], "sweep.trials=0: input should be greater than or equal to 1"),
    ([*STUDY, "sweep.nuisance={optimizer.lr: {low: 1.0, high: 0.1, log: true}}"], "low must be below high"),
    ([*STUDY, "sweep.nuisance={optimizer.lr: {low: 0.0, high: 0.1, log: true}}"], "a log range starts above 0"),
    ([*STUDY, "sweep.nuisance={optimizer.lrr: {low: 0.1, high: 0.2}}"], "optimizer.lrr: no such key; did you mean"),
    ([*STUDY, "sweep.scientific={}", "sweep.baselines={}"], "sweep.scientific: an empty search space"),
    ([*STUDY, "sweep.scientific={lora.rnk: [1, 2]}"], "lora.rnk: no such key; did you mean lora.rank?"),
    ([*STUDY, "sweep.scientific={lora.rank: []}"], "list should have at least 1 item"),
    ([*STUDY, "sweep.scientific={lora.rank: [0, 2]}"], "lora.rank=0: input should be greater than or equal to 1"),
    ([*STUDY, "sweep.scientific={lora.rank: [1, 1000]}"], "lora.rank=1000: above min(inputs, outputs) = 384"),
    ([*STUDY, "sweep.scientific={lora.rank: [2, 2]}"], "sweep: two arms are called rank=2"),
    # a dimension on the command line
    ([*STUDY, '+sweep.nuisance.lora.rank="choise(1,2)"'], 'sweep.nuisance.lora.rank="choise(1,2)": not a dimension; v'),
    ([*STUDY, '+sweep.nuisance.lora.rnk="choice(1,2)"'], "sweep: lora.rnk: no such key; did you mean lora.rank?"),
    (
        [*STUDY, RANKLESS, '+sweep.nuisance.lora.rank="choice(1, 1000)"'],
        "lora.rank=1000: above min(inputs, outputs) = 384",
    ),
    # values in a range, not at its low end, and all that an arm can be given
    (
        [*STUDY, dropout("{low: 0.0, high: 1.9}")],
        f"{ALL}lora.dropout=1.9: input should be less than 1; its range [0, 1.9]",
    ),
    (
        [*STUDY, dropout("{low: 0.0, high: 1.0}")],
        f"{ALL}lora.dropout=1.0: input should be less than 1; its range [0, 1]",
    ),
    (
        [*STUDY, dropout("{low: -0.5, high: 0.5}")],
        f"{ALL}lora.dropout=-0.5: input should be greater than or equal to 0",
    ),
    (
        [*STUDY, dropout("{low: -1.0, high: 1.9}")],
        f"{ALL}lora.dropout=-1.0: input should be greater than or equal to 0",
    ),
    ([*STUDY, dropout("{low: 0.9, high: 0.1}")], "sweep.nuisance.lora.dropout=[0.9, 0.1]: low must be below high"),
    ([*STUDY, dropout("{low: 0.1, high: 0.1}")], "sweep.nuisance.lora.dropout=[0.1, 0.1]: low must be below high"),
    ([*STUDY, dropout("{low: 0.0, high: 0.1, log: true}")], "lora.dropout=[0, 0.1]: a log range starts above 0"),
    (
        [*STUDY, dropout("{low: 0.0, high: inf}")],
        "sweep.nuisance.lora.dropout.high=Infinity: input should be a finite",
    ),
    ([*STUDY, dropout("{low: 0.0}")], "sweep.nuisance.lora.dropout.high: missing"),
    ([*STUDY, dropout("[0.0, 0.1]")], "sweep.nuisance.lora.dropout"),
    (
        [*STUDY, "sweep.nuisance={lora.rank: {low: 1, high: 64}}", RANKLESS],
        "lora.rank=1.0: input should be a valid integer",
    ),
    (
        [*STUDY, "sweep.nuisance={trainer.max_steps: {low: 9, high: 99}}"],
        f"{ALL}trainer.max_steps=9.0: input should be a",
    ),
    (
        [*STUDY, "sweep.nuisance={lora.initial_rank: {low: 9, high: 99}}"],
        "lora.initial_rank=9.0: input should be a valid",
    ),
    (
        [*STUDY, "sweep.nuisance={seed: {low: 1, high: 2}}"],
        f"{ALL}seed=1.0: input should be a valid integer; its range",
    ),
    (
        [*STUDY, "sweep.nuisance={lora.targets: {low: 1, high: 2}}"],
        f"{ALL}lora.targets=1.0: input should be a valid list",
    ),
    (
        [*STUDY, "sweep.nuisance={lora.each_gate: {low: 0, high: 1}}"],
        f"{ALL}lora.each_gate=0.0: input should be a valid",
    ),
    ([*STUDY, "sweep.nuisance={optimizer: {low: 1, high: 2}}"], f"{ALL}optimizer=1.0: input should be"),
    (
        [*STUDY, tuned("full", "{optimizer.warmup: {low: 0.1, high: 1.2}}")],
        "arm full: optimizer.warmup=1.2: input should be",
    ),
    (
        [*STUDY, tuned("full", "{optimizer.lrr: {low: 0.1, high: 0.2}}")],
        "arm full: optimizer.lrr: no such key; did you mean",
    ),
    ([*STUDY, tuned("full", "{lora.scale: {low: 0.1, high: 0.2, log: true}}")], "arm full: lora.scale: no such key"),
    (
        [*STUDY, "sweep.scientific={}"],
        'sweep.nuisance=["optimizer.lr", "lora.scale"]: sweep.scientific is empty, so no',
    ),
    (
        [*STUDY, "sweep.nuisance={launch.lease_s: {low: 9, high: 99}}"],
        "sweep.nuisance.launch.lease_s: of the study as a",
    ),
    (
        [*STUDY, "sweep.scientific={study: [a, b]}"],
        "sweep.scientific.study: of the study as a whole, the same in every arm",
    ),
    ([*STUDY, put("full", "{results: elsewhere}")], "sweep.baselines.full.set.results: of the study as a whole"),
    (
        [*STUDY, put("full", "{lora: {name: full}, optimizer.lr: 0.1}")],
        "full.set.optimizer.lr: its range or sweep.across sets",
    ),
    (
        [*STUDY, "sweep.across=[lora.rank]", tuned("full", "{lora.rank: {low: 1, high: 2}}")],
        "lora.rank: in sweep.across, too",
    ),
    (
        [*STUDY, put("full", "{lora: {name: full}, lorra.rank: 1}")],
        "arm full: lorra.rank: no such key; did you mean lora.rank?",
    ),
    # one objective for all arms
    (
        [*STUDY, "sweep.scientific={trainer.objective: [accuracy, loss]}"],
        "arm objective=loss: trainer.objective=loss: the study compares its arms by trainer.objective=acc",
    ),
    (
        [*STUDY, put("full", "{lora: {name: full}, trainer.objective: loss}")],
        "arm full: trainer.objective=loss: the study",
    ),
    (
        [*STUDY, *CHATS, "sweep.baselines={}", "sweep.scientific={task.train_on: [assistant, last]}"],
        "arm train_on=last: task.train_on=last: the study compares its arms by trainer.objective=loss of the tokens of",
    ),
    (
        [*STUDY, *CHATS, "sweep.baselines={}", "sweep.nuisance={task.train_on: {choices: [assistant, all]}}"],
        "task.train_on=all: the study compares its arms by trainer.objective=loss of the tokens of",
    ),
    ([*STUDY, "lora.targets=[qery]"], "target qery: no such name in model=minilm"),
    ([*STUDY, "task.data=gone"], "task.data=gone: no such file"),
    # a study that was begun as it is composed from conf/, with ranks 1 and 2
    ([*STUDY, "study=begun"], "sweep.scientific.lora.rank=[1, 2, 4, 8, 16, 32]: study=begun was begun with another"),
]
assert len(MISTAKES) >= 80


@pytest.fixture(scope="module")
def composed():
    """Trees by the groups that were chosen, with what Hydra says of itself."""
    known = {}
    composition.register_sweeps()

    def compose(groups):
        if groups not in known:
            with hydra.initialize_config_dir(str(composition.CONF), version_base="1.3"):
                known[groups] = hydra.compose("config", overrides=list(groups), return_hydra_config=True)
        return copy.deepcopy(known[groups])

    yield compose
    HydraConfig.instance().cfg = None


@pytest.fixture
def files(tmp_path):
    """Data with one thing wrong in each file, and a study that was begun."""
    good = [(f"sentence number {n}", n % 2) for n in range(40)]
    write(tmp_path / "given.csv", good)
    write(tmp_path / "given.txt2", good)
    write(tmp_path / "header.csv", [])
    write(tmp_path / "one.csv", [(text, 1) for text, _ in good])
    write(tmp_path / "other.csv", [("another sentence", "maybe")])
    write(tmp_path / "gaps.csv", [*good, ("", 1)])
    (tmp_path / "greek.csv").write_bytes("text,label\nκαλημέρα κόσμε,1\nκαληνύχτα,0\n".encode("cp1253"))
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "ragged.csv").write_text("text,label\na,0\nb,1,2\n")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not one")
    for name in ("hollow/a", "hollow/b", "results/begun"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def write(path: Path, rows: list[tuple[str, object]]) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


def begin(folder: Path, tree: dict) -> None:
    """A study's folder as it is after its first record."""
    kept = to_dict(check(tree))
    kept["sweep"]["scientific"] = {"lora.rank": [1, 2]}
    (folder / "config.yaml").write_text(yaml.safe_dump(kept))
    record.append(folder, make(0))


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def answer(composed, monkeypatch):
    """Run the command's job on some words; what it would train is not trained."""
    for place, name in ((harness.commands.study, "opened_study"), (harness.cluster.single, "join_single")):
        monkeypatch.setattr(place, name, lambda _: pytest.fail("it was accepted"))
    parser = OverridesParser.create()

    def job(words: list[str]) -> int:
        chosen = tuple(word for word in words if word.partition("=")[0] in composition.groups())
        with exit_codes():
            tree = composed(chosen)
            HydraConfig.instance().set_config(tree)
            said = tuple(HydraConfig.get().overrides.task)
            OmegaConf.set_struct(tree, False)
            del tree["hydra"]
            for override in parser.parse_overrides([word for word in words if word not in chosen]):
                OmegaConf.update(tree, override.key_or_group, override.value(), merge=False)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                asked = HydraJob(tree, said)
                command.COMMANDS.get(asked.run, guest.run)(asked)
        return 0

    def run(words: list[str]) -> int:
        monkeypatch.setattr(sys, "argv", ["harness", *words])  # what a composition error is explained from
        with pytest.raises(SystemExit) as left:
            job(words)
        return left.value.code

    return run


@pytest.mark.parametrize(
    ("words", "line"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_mistake_is_answered_in_one_line_and_nothing_is_made(answer, composed, files, capsys, words, line):
    if "study=begun" in words:
        tree = OmegaConf.to_container(composed(tuple(STUDY)), resolve=True)
        del tree["hydra"]
        begin(files / "results/begun", tree | {"study": "begun"})
    before = listing(files)
    assert answer(words) == 2
    said = capsys.readouterr()
    assert line in said.err
    assert len(said.err.strip().splitlines()) == 1, said.err
    assert said.out == ""
    assert listing(files) == before


REAL = [
    (["lora.rank=385"], "lora.rank=385: above min(inputs, outputs) = 384"),
    (["task=text_csv", "task.data=gone.csv"], "task.data=gone.csv: no such file"),
    ([*STUDY, "sweep.scientific={lora.rank: [0]}"], "lora.rank=0: input should be"),
    ([*STUDY, f"+{dropout('{low: 0.0, high: 1.9}')}"], "lora.dropout=1.9: input should be less than 1"),
    (["trainer.accelerator=gpu"], "no GPU was found"),
    (["task.data=donn\u00e9es/a.csv"], "in quotes only; write 'task.data=\"donn\u00e9es/a.csv\"'"),
    (["results=a[1]/b"], "in quotes only; write 'results=\"a[1]/b\"'"),
    (["task=tweets", "+task.text=tweet"], "task.text: no such key of task=tweets"),
]


@pytest.mark.parametrize(("words", "line"), REAL, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_real_process_answers_soon(tmp_path, words, line):
    """In seconds of the processor, which a busy machine does not stretch: under 3 here, and room for a slower one."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "HARNESS_CACHE": str(tmp_path / "cache")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "harness", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 6
    said = [text for text in done.stderr.splitlines() if not text.startswith("import time:")]
    assert done.returncode == 2
    assert len(said) == 1
    assert line in said[0]
    imported = {text.rpartition("|")[2].strip() for text in done.stderr.splitlines()}
    assert not imported & {"lightning", "transformers", "torchvision", "timm", "peft"}
    assert ("torch" in imported) == ("accelerator" in words[0])
    assert list(tmp_path.iterdir()) == []


def test_a_letter_that_the_terminal_has_not_ends_no_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "harness", 'study="caf\u00e9"', "task.data=/nowhere"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "HARNESS_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 2, done.stderr


def test_an_experiment_that_begins_with_a_byte_order_mark_is_read(tmp_path, zygote):
    (tmp_path / "conf/experiment").mkdir(parents=True)
    content = b"\xef\xbb\xbf# @package _global_\r\ntrainer:\r\n  max_steps: -3\r\n"
    (tmp_path / "conf/experiment/win.yaml").write_bytes(content)
    done = zygote.run(["--config-dir", "conf", "+experiment=win"], tmp_path, os.environ)
    assert (done.returncode, done.stderr) == (2, "trainer.max_steps=-3: input should be greater than or equal to 1\n")


ONLY_THE_NETWORK_TELLS = {"hf", "timm", "gemma3_270m", "smollm2_135m", "whisper_base", "dense_lite0", "swin_tiny"}


@pytest.mark.parametrize(
    "model",
    sorted(
        path.stem for path in (composition.CONF / "model").glob("*.yaml") if path.stem not in ONLY_THE_NETWORK_TELLS
    ),
)
def test_the_limits_said_early_are_those_of_the_network(composed, model):
    from harness.lora import LoraSpec
    from harness.lora.inject import find_targets

    words = MODELS[composed((f"model={model}", "task=digits")).model.kind].count_with
    tree = OmegaConf.to_container(composed((f"model={model}", *words, "lora=full")), resolve=True)
    del tree["hydra"]
    config = check(tree)
    network = build_model(config.model, 10, weights=False)
    spec = LoraSpec(rank=1, scale=1.0, targets=())
    known = config.model.rank_limits
    assert set(known) == set(network.targets)
    for name, most in known.items():
        found = find_targets(network.base, [name], network.targets, spec)
        shapes = [
            site.where.of(network.base.get_submodule(site.module).get_parameter(site.where.weight).detach()).shape
            for site in found
        ]
        assert min(min(shape) for shape in shapes) == most, name
    inside = {name for name, _ in network.base.named_children()}
    assert inside <= set(config.model.children), "a target may name any child of the network"


def test_a_study_may_be_taken_up_with_what_does_not_change_its_question(tree, tmp_path):
    now = to_dict(check(tree("sweep=rank_alpha_lr", "run=study", "study=begun")))
    begin(tmp_path, now)
    kept = yaml.safe_load((tmp_path / "config.yaml").read_text())
    free = kept | {"results": "elsewhere", "trainer": kept["trainer"] | {"threads": 1, "strategy": "ddp"}}
    check_same_config(tmp_path, free)
