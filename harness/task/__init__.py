"""What is learned: real data in fixed splits, and how it becomes batches."""

from harness.task.base import Inputs, Task
from harness.task.batches import EncodedSplit, LengthBatches, encode
from harness.task.build import build_task
from harness.task.codec import codec_files, train_tokenizer
from harness.task.continual import OneOfTasks, TaskSequence
from harness.task.frames import FrameSplit, read_frames
from harness.task.images import ImageInputs, image_inputs
from harness.task.mixture import MixtureBatches, MixtureInputs, MixtureTask
from harness.task.pairs import PairSplit, PairTask
from harness.task.passages import Passages, cut_passages, hidden_places, read_documents
from harness.task.ragged import cached
from harness.task.sequences import Marks, PairInputs, encode_pairs
from harness.task.speech import SpeechSplit, SpeechTask
from harness.task.text import Split, TextTask
from harness.task.vision import ImageSplit, VisionTask

__all__ = [
    "EncodedSplit",
    "FrameSplit",
    "ImageInputs",
    "ImageSplit",
    "Inputs",
    "LengthBatches",
    "Marks",
    "MixtureBatches",
    "MixtureInputs",
    "MixtureTask",
    "OneOfTasks",
    "PairInputs",
    "PairSplit",
    "PairTask",
    "Passages",
    "SpeechSplit",
    "SpeechTask",
    "Split",
    "Task",
    "TaskSequence",
    "TextTask",
    "VisionTask",
    "build_task",
    "cached",
    "codec_files",
    "cut_passages",
    "encode",
    "encode_pairs",
    "hidden_places",
    "image_inputs",
    "read_documents",
    "read_frames",
    "train_tokenizer",
]
