"""A network as it is trained: loss, optimiser groups, schedule, scores."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.task import Losses
from harness.task.answer_spans import span_loss
from harness.task.ctc import ctc_nats
from harness.task.metrics import Metrics
from harness.training.graphs import StepGraphs
from harness.training.muon import outer_tensors
from harness.training.schedules import rate

Batch = dict[str, Tensor]


class Diverged(Exception):
    """The loss or the logits are not finite."""


class Pruned(Exception):
    """The trial was ended early: other trials of its arm were better at this step."""


def mean_loss(model: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
    """The mean loss of a batch: the squared error for float labels (B), the binary cross-entropy for sets of classes
    (B, C), else the cross-entropy over examples or tokens, where IGNORED labels are left out; of characters at frames,
    with a `blank`, the nats a character; of answers in a `context`, of their first and last tokens. Of labels with
    `weights` it is the mean that these weight.
    """
    logits, labels = model(batch), batch["labels"]
    if "blank" in batch:
        return ctc_nats(logits, batch).sum() / (labels >= 0).sum()
    if "context" in batch:
        return span_loss(logits, batch)
    if labels.is_floating_point() and labels.ndim == 2:
        return F.binary_cross_entropy_with_logits(logits.float(), labels)
    if labels.is_floating_point():
        return F.mse_loss(logits.squeeze(-1).float(), labels)
    if "weights" in batch:
        nats = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
        return (nats * batch["weights"].flatten()).sum() / batch["weights"].sum()
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten())


def task_losses(model: Callable[[Batch], Tensor], batch: Batch, losses: Losses | None) -> tuple[Tensor, Tensor]:
    """The mean loss of each task that the rows have answers of, and its number (T); without `losses`, of one task."""
    if losses is not None:
        return losses(model(batch), batch)
    loss = mean_loss(model, batch)[None]
    return loss, batch["tasks"][:1] if "tasks" in batch else torch.zeros_like(loss, dtype=torch.long)


def trained_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors that training changes, by name: trained weights and all buffers, which include running
    statistics.
    """
    yield from ((name, tensor) for name, tensor in module.named_parameters() if tensor.requires_grad)
    yield from module.named_buffers()


_FUSED = partial(torch.optim.AdamW, fused=True)


class TrialModule(nn.Module):
    """Trains `model(batch) -> logits` with an optimiser (AdamW by default), linear warm-up and a schedule to the end.

    `head_lr` is the learning rate of `model.head` and of the learned weights of tasks, `lr` that of everything else,
    and the tensors in `fast` learn `fast_ratio` times as fast (LoRA+). `warmup` is a share of `steps`. With
    `matrices_apart` groups say whether they are `hidden`: of the matrices inside, without head, embeddings and output.

    Where rows have answers of several tasks, `losses` gives the loss of each, and they are added up. `penalty` is added
    to the loss, after `weigh` has weighted it by task. `written` returns further scores of an evaluation, of texts that
    the model writes. With `as_graphs` steps on a GPU are graphs where batches of one shape come often: of one loss,
    without `weigh`, `penalty`, or parts.

    The fused AdamW is several times faster than the default one, on a CPU too; Lightning does not combine it with
    clipping of scaled gradients. Weight decay leaves biases and norms (all tensors of fewer than two dimensions) alone.
    """

    def __init__(
        self,
        model: nn.Module,
        metrics: Metrics,
        *,
        lr: float,
        head_lr: float,
        weight_decay: float,
        warmup: float,
        steps: int,
        make_optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer] = _FUSED,
        matrices_apart: bool = False,
        schedule: str = "linear",
        decay: float = 0.2,
        fast: Collection[nn.Parameter] = (),
        fast_ratio: float = 1.0,
        penalty: Callable[[], Tensor] | None = None,
        weigh: Callable[[Tensor, Tensor], Tensor] | None = None,
        losses: Losses | None = None,
        written: Callable[[], dict[str, float]] | None = None,
        as_graphs: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.lr, self.head_lr, self.weight_decay = lr, head_lr, weight_decay
        self.warmup_steps, self.steps = round(warmup * steps), steps
        self.matrices_apart = matrices_apart
        self.make_optimizer, self.schedule, self.decay = make_optimizer, schedule, decay
        self.metrics, self.penalty, self.weigh, self.losses = metrics, penalty, weigh, losses
        # By name: sharding replaces a model's weights.
        ids = {id(tensor) for tensor in fast}
        self.fast = {name for name, tensor in model.named_parameters() if id(tensor) in ids}
        self.fast_ratio, self.written = fast_ratio, written
        self.graphs = StepGraphs(model, mean_loss, steps) if as_graphs else None
        self.scores: dict[str, float] = {}
        self.predictions: list[tuple[Tensor, Tensor]] = []
        self.shares: list[Tensor] = []
        self.tags: dict[int, list[int]] = {}

    def forward(self, batch: Batch, share: Sequence[float] | None = None, last: bool = True) -> Batch:
        """`loss`: the mean loss, weighted and with the penalty if there are any; `bare`: the mean loss alone.

        For a part of a step's batch they are its contribution, by its `share` of each task; the `last` one has the
        penalty.
        """
        losses, tasks = task_losses(self.model, batch, self.losses)
        if share is None:
            bare = losses.sum()
            loss = bare if self.weigh is None else self.weigh(losses, tasks)
        else:
            share_T = torch.tensor(share, dtype=losses.dtype).to(losses.device, non_blocking=True)
            losses = losses.where(share_T > 0, 0.0)  # the mean of no labels is NaN
            bare, loss = (losses * share_T).sum(), (self._weighted_each(losses, tasks) * share_T).sum()
        return {"loss": loss + self.penalty() if self.penalty and last else loss, "bare": bare.detach()}

    def _weighted_each(self, losses_T: Tensor, tasks_T: Tensor) -> Tensor:
        if self.weigh is None:
            return losses_T
        each = zip(losses_T.split(1), tasks_T.split(1), strict=True)
        return torch.stack([self.weigh(loss, task) for loss, task in each])

    def recorded_loss(self, batch: dict[str, Any], step: int) -> Tensor | None:
        """The loss of a step that is a graph, whose gradients are then there; else nothing."""
        return None if self.graphs is None else self.graphs.loss(batch, step)

    def release_graphs(self) -> None:
        """After the last step: their memory is of the GPU."""
        if self.graphs is not None:
            self.graphs.release()

    def zero_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Clear the gradients before a step that is not run as a graph."""
        if self.graphs is None:
            optimizer.zero_grad()
        else:
            self.graphs.zero_gradients()

    def validation_step(self, batch: Batch) -> None:
        self.metrics.update(self.model(batch), batch)

    def test_step(self, batch: Batch) -> None:
        """Add a batch to the scores, and keep its rows for the predictions."""
        logits = self.model(batch)
        items = self.metrics.update(logits, batch)
        self.predictions.append((batch["rows"].cpu(), items.cpu()))
        if (shares := self.metrics.shares(logits)) is not None:
            self.shares.append(shares.cpu())
        self.tags.update(zip(batch["rows"].tolist(), self.metrics.tags(logits, batch), strict=False))

    def begin_test(self) -> None:
        """Each test has its own predictions."""
        self.predictions, self.shares, self.tags = [], [], {}

    def end_validation(self, step: int) -> None:
        """Compute the scores of the validation split, including those of `written` texts."""
        self._compute_scores(step)
        if self.written is not None:
            self.scores |= self.written()

    def end_test(self, step: int, processes: int = 1) -> None:
        """Compute the scores of the test split; of several processes, gather the predictions of all."""
        self._compute_scores(step)
        if processes > 1:
            everyone: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(processes)]
            torch.distributed.all_gather_object(everyone, self.predictions)
            self.predictions = [batch for part in everyone for batch in part]

    def new_optimizer(self) -> torch.optim.Optimizer:
        """The optimiser over groups of one learning rate each, decayed or not, before the first step."""
        fresh = [part for name, part in self.model.named_children() if name in ("head", "weighting")]
        head = {id(tensor) for part in fresh for tensor in part.parameters()}
        outer = head | outer_tensors(self.model) if self.matrices_apart else head
        members: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
        for name, tensor in self._trained():
            lr = self.head_lr if id(tensor) in head else self.lr
            lr *= self.fast_ratio if name in self.fast else 1.0
            hidden = self.matrices_apart and tensor.ndim == 2 and id(tensor) not in outer
            members.setdefault((lr, self.weight_decay if tensor.ndim >= 2 else 0.0, hidden), []).append(tensor)
        optimizer = self.make_optimizer(
            [
                {"params": tensors, "lr": lr, "initial_lr": lr, "weight_decay": decay}
                | ({"hidden": hidden} if self.matrices_apart else {})
                for (lr, decay, hidden), tensors in members.items()
            ]
        )
        self.set_rate(optimizer, 0)
        return optimizer

    def set_rate(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """The learning rates after so many steps."""
        share = self._rate(step)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * share

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, tensor) for name, tensor in self.model.named_parameters() if tensor.requires_grad)

    def _rate(self, step: int) -> float:
        return rate(self.schedule, step, steps=self.steps, warmup_steps=self.warmup_steps, decay=self.decay)

    def _compute_scores(self, step: int) -> None:
        scores = self.metrics.compute_and_reset()
        # NaN logits have an accuracy too: the share of class 0. Only the loss tells.
        if not torch.isfinite(torch.tensor(scores["loss"])):
            raise Diverged(f"evaluation loss {scores['loss']} after step {step}")
        self.scores = scores


@contextmanager
def in_evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Inside there are no gradients either; afterwards each layer is in the mode that it was in."""
    modes = [(layer, layer.training) for layer in module.modules()]
    module.eval()
    # What is sharded, or broadcast to several processes, may not be of inference alone.
    with torch.no_grad() if torch.distributed.is_initialized() else torch.inference_mode():
        yield
    for layer, mode in modes:
        layer.training = mode


@contextmanager
def recurrent_backward(module: nn.Module) -> Iterator[None]:
    """Recurrent layers of a module in evaluation train, without dropout: cuDNN has no backward pass of them else."""
    found = [(layer, layer.dropout) for layer in module.modules() if isinstance(layer, nn.RNNBase)]
    for layer, _ in found:
        layer.training, layer.dropout = True, 0.0
    try:
        yield
    finally:
        for layer, dropout in found:
            layer.training, layer.dropout = False, dropout
