"""Tasks: real data in fixed splits, and how it becomes batches."""

from harness.task.base import SPLITS, Generation, Inputs, Losses, ScoredTexts, Task
from harness.task.batches import EncodedSplit, Split, encode
from harness.task.build import build_task
from harness.task.continual import ContinualTask, OneOfTasks
from harness.task.dense import DenseTask
from harness.task.frames import FrameSplit, SpeechSplit, read_frames
from harness.task.guest import GuestTask, guest_task_class
from harness.task.guest_measure import GuestMeasure, read_measure
from harness.task.images import ImageInputs, ImageSplit, image_inputs
from harness.task.mixture import MixtureBatches, MixtureInputs, MixtureTask
from harness.task.passages import Passages, cut_passages, hidden_places, read_documents
from harness.task.ragged import cached
from harness.task.replay import check_replay, with_replay
from harness.task.sampling import LengthBatches, pieces_of
from harness.task.seq2seq import Seq2seqTask
from harness.task.seq2seq_inputs import Seq2seqInputs, Seq2seqSplit, SpecialTokens, encode_seq2seq
from harness.task.speech import SpeechTask
from harness.task.text import TextTask
from harness.task.tokenizers import tokenizer_files, train_tokenizer
from harness.task.vision import VisionTask

__all__ = [
    "SPLITS",
    "ContinualTask",
    "DenseTask",
    "EncodedSplit",
    "FrameSplit",
    "Generation",
    "GuestMeasure",
    "GuestTask",
    "ImageInputs",
    "ImageSplit",
    "Inputs",
    "LengthBatches",
    "Losses",
    "MixtureBatches",
    "MixtureInputs",
    "MixtureTask",
    "OneOfTasks",
    "Passages",
    "ScoredTexts",
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
    "check_replay",
    "cut_passages",
    "encode",
    "encode_seq2seq",
    "guest_task_class",
    "hidden_places",
    "image_inputs",
    "pieces_of",
    "read_documents",
    "read_frames",
    "read_measure",
    "tokenizer_files",
    "train_tokenizer",
    "with_replay",
]
