"""What is learned: real data in fixed splits, and how it becomes batches."""

from harness.task.base import Inputs, Task
from harness.task.batches import EncodedSplit, LengthBatches, encode
from harness.task.build import build_task
from harness.task.continual import ContinualTask, OneOfTasks
from harness.task.frames import FrameSplit, read_frames
from harness.task.images import ImageInputs, image_inputs
from harness.task.mixture import MixtureBatches, MixtureInputs, MixtureTask
from harness.task.passages import Passages, cut_passages, hidden_places, read_documents
from harness.task.ragged import cached
from harness.task.seq2seq import Seq2seqSplit, Seq2seqTask
from harness.task.seq2seq_inputs import Seq2seqInputs, SpecialTokens, encode_seq2seq
from harness.task.speech import SpeechSplit, SpeechTask
from harness.task.text import Split, TextTask
from harness.task.tokenizers import tokenizer_files, train_tokenizer
from harness.task.vision import ImageSplit, VisionTask

__all__ = [
    "ContinualTask",
    "EncodedSplit",
    "FrameSplit",
    "ImageInputs",
    "ImageSplit",
    "Inputs",
    "LengthBatches",
    "MixtureBatches",
    "MixtureInputs",
    "MixtureTask",
    "OneOfTasks",
    "Passages",
    "Seq2seqInputs",
    "Seq2seqSplit",
    "Seq2seqTask",
    "SpecialTokens",
    "SpeechSplit",
    "SpeechTask",
    "Split",
    "Task",
    "TextTask",
    "VisionTask",
    "build_task",
    "cached",
    "cut_passages",
    "encode",
    "encode_seq2seq",
    "hidden_places",
    "image_inputs",
    "read_documents",
    "read_frames",
    "tokenizer_files",
    "train_tokenizer",
]
