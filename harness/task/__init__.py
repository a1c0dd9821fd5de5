"""What is learned: real data in fixed splits, and how it becomes batches."""

from harness.task.batches import EncodedSplit, LengthBatches, encode, pad
from harness.task.text import Split, TextTask, build_task

__all__ = ["EncodedSplit", "LengthBatches", "Split", "TextTask", "build_task", "encode", "pad"]
