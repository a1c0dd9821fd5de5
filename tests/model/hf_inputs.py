"""Folders and batches that the tests of bases from transformers are made of."""

from safetensors.torch import load_file, save_file

from harness.config import HfModelConfig
from tests.model.small import IDS, MASK

BATCH = {"ids": IDS, "mask": MASK}


def named(folder, **keys):
    usual = {"sha256": None, "pooling": "auto", "head": "fresh", "dropout": None, "separator": "w1", "beams": 1}
    usual |= {"dtype": "float32"}
    return HfModelConfig(kind="hf", name="hf", address=f"path:{folder}", **(usual | keys))


def rewritten(folder, change):
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})
