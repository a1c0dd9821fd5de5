"""One trial as people write it: transformers' Trainer and PEFT, in a process of its own. Called by benchmarks.study.

    python -m benchmarks.trainer_trial BASE DATA RANK LR STEPS DEVICE PRECISION

DATA is a folder of train.csv, validation.csv and test.csv. Prints the best validation accuracy and that of test.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)
from transformers.utils import logging

from benchmarks.fresh import SPECIALS


def main() -> None:
    """Train, keep the best of two evaluations, test."""
    base, data, rank, lr, steps, device, precision = sys.argv[1:]
    print(json.dumps(train(Path(base), Path(data), int(rank), float(lr), int(steps), device, precision)))


def train(base: Path, data: Path, rank: int, lr: float, steps: int, device: str, precision: str) -> dict[str, float]:
    """The scores of a trial."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(base / "tokenizer.json"), pad_token=SPECIALS[0])
    splits = {name: _rows(tokenizer, data / f"{name}.csv") for name in ("train", "validation", "test")}
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    settings = LoraConfig(task_type="SEQ_CLS", r=rank, lora_alpha=2 * rank, target_modules=["query", "value"])
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=16,
            per_device_eval_batch_size=64,
            learning_rate=lr,
            weight_decay=0.01,
            warmup_steps=round(0.06 * steps),
            max_steps=steps,
            eval_strategy="steps",
            eval_steps=steps // 2,
            save_strategy="steps",
            save_steps=steps // 2,
            load_best_model_at_end=True,
            metric_for_best_model="accuracy",
            bf16=precision == "bf16-mixed",
            use_cpu=device == "cpu",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
        )
        trainer = Trainer(
            model=get_peft_model(model, settings),
            args=arguments,
            train_dataset=splits["train"],
            eval_dataset=splits["validation"],
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=_accuracy,
        )
        trainer.train()
        validation = trainer.evaluate()["eval_accuracy"]
        test = trainer.evaluate(splits["test"])["eval_accuracy"]
    return {"validation": float(validation), "test": float(test)}


def _rows(tokenizer: PreTrainedTokenizerFast, path: Path) -> Any:
    table = pd.read_csv(path, keep_default_na=False)
    found = tokenizer(list(table["text"]), truncation=True, max_length=128)
    ids, masks, labels = found["input_ids"], found["attention_mask"], list(table["label"])
    rows = zip(ids, masks, labels, strict=True)
    return [{"input_ids": each, "attention_mask": mask, "labels": int(label)} for each, mask, label in rows]


def _accuracy(found: Any) -> dict[str, float]:
    return {"accuracy": float(np.mean(found.predictions.argmax(-1) == found.label_ids))}


if __name__ == "__main__":
    main()
