"""What is learned: real data in fixed splits, and how it becomes batches."""

from harness.task.base import Inputs, Task
from harness.task.batches import EncodedSplit, LengthBatches, encode
from harness.task.build import build_task
from harness.task.text import Split, TextTask

__all__ = ["EncodedSplit", "Inputs", "LengthBatches", "Split", "Task", "TextTask", "build_task", "encode"]
