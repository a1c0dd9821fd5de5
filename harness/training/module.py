"""A network as a LightningModule: loss, optimiser groups, schedule, scores."""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional as F

from harness.task import Losses
from harness.task.answer_spans import span_loss
from harness.task.ctc import ctc_nats
from harness.task.metrics import Metrics
from harness.training.graphs import StepGraphs
from harness.training.schedules import rate
from harness.training.sharding import shard

Batch = dict[str, Tensor]


class Diverged(Exception):
    """The loss or the logits are not finite."""


class Pruned(Exception):
    """The trial was ended early: other trials of its arm were better at this step."""


def mean_loss(model: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
    """The mean loss of a batch: the squared error for float labels (B), the binary cross-entropy for sets of classes
    (B, C), else the cross-entropy over examples or tokens, where the label -100 is ignored; of characters at frames,
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
    """What training changes, by name: trained weights, and all buffers, since running statistics are among them."""
    yield from ((name, tensor) for name, tensor in module.named_parameters() if tensor.requires_grad)
    yield from module.named_buffers()


_FUSED = partial(torch.optim.AdamW, fused=True)


class TrialModule(L.LightningModule):
    """Trains `model(batch) -> logits` with an optimiser (AdamW by default), linear warm-up and a schedule to the end.

    `head_lr` is the learning rate of `model.head` and of the learned weights of tasks, `lr` that of everything else,
    and the tensors in `fast` learn `fast_ratio` times as fast (LoRA+). `warmup` is a share of `steps`.

    Where rows have answers of several tasks, `losses` gives the loss of each, and they are added up. `penalty` is added
    to the loss, after `weigh` has weighted it by task. With `spread` the weights are sharded over the devices.
    `written` returns further scores of an evaluation, of texts that the model writes. With `as_graphs` steps on a GPU
    are graphs where batches of one shape come often: of one loss, without `weigh`, `penalty`, or parts.

    `scaled` says that gradients are of a scaled loss, as in 16-mixed. The fused AdamW is several times faster than the
    default one, on a CPU too; Lightning does not combine it with clipping of scaled gradients. Weight decay leaves
    biases and norms (all tensors of fewer than two dimensions) alone.
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
        scaled: bool = False,
        schedule: str = "linear",
        decay: float = 0.2,
        fast: Collection[nn.Parameter] = (),
        fast_ratio: float = 1.0,
        penalty: Callable[[], Tensor] | None = None,
        weigh: Callable[[Tensor, Tensor], Tensor] | None = None,
        losses: Losses | None = None,
        spread: bool = False,
        written: Callable[[], dict[str, float]] | None = None,
        as_graphs: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.lr, self.head_lr, self.weight_decay = lr, head_lr, weight_decay
        self.warmup_steps, self.steps = round(warmup * steps), steps
        self.make_optimizer, self.schedule, self.decay = make_optimizer, schedule, decay
        self.scaled = scaled
        self.metrics, self.penalty, self.weigh, self.losses = metrics, penalty, weigh, losses
        # By name: sharding replaces a model's weights.
        ids = {id(tensor) for tensor in fast}
        self.fast = {name for name, tensor in model.named_parameters() if id(tensor) in ids}
        self.fast_ratio, self.spread, self.written = fast_ratio, spread, written
        self.graphs = StepGraphs(model, mean_loss, steps) if as_graphs else None
        self._keeps_gradients = self._has_gradients = False
        self.scores: dict[str, float] = {}
        self.predictions: list[tuple[Tensor, Tensor]] = []
        self.shares: list[Tensor] = []
        self.tags: dict[int, list[int]] = {}

    def configure_model(self) -> None:
        """Called by the trainer before it creates the optimiser."""
        if self.spread:
            assert self.device_mesh is not None
            shard(self.model, self.device_mesh["data_parallel"])

    def training_step(self, batch: dict[str, Any], _: int) -> Batch:
        """`loss`: the mean loss, weighted and with the penalty if there are any; `bare`: the mean loss alone.

        Of a batch in parts, `loss` is what the last one adds; the gradients of the others are there already.
        """
        self._keeps_gradients = "parts" in batch
        if self._keeps_gradients:
            return self._accumulate(batch["parts"], batch["shares"])
        recorded = None if self.graphs is None else self.graphs.loss(batch, self.global_step)
        self._has_gradients = recorded is not None
        if recorded is not None:
            return {"loss": recorded, "bare": recorded}
        losses, tasks = task_losses(self.model, batch, self.losses)
        bare = losses.sum()
        loss = bare if self.weigh is None else self.weigh(losses, tasks)
        return {"loss": loss if self.penalty is None else loss + self.penalty(), "bare": bare.detach()}

    def _accumulate(self, parts: Sequence[Batch], shares: Sequence[Sequence[float]]) -> Batch:
        optimizer = self.trainer.optimizers[0]
        optimizer.zero_grad()
        bare = torch.zeros((), device=self.device)
        for number, (part, share) in enumerate(zip(parts, shares, strict=True), 1):
            losses, tasks = task_losses(self.model, part, self.losses)
            share_T = losses.new_tensor(share)
            losses = losses.where(share_T > 0, 0.0)  # the mean of no labels is NaN
            bare += (losses.detach() * share_T).sum()
            loss = (self._weighted_each(losses, tasks) * share_T).sum()
            if number < len(parts):
                with torch.autocast(self.device.type, enabled=False):
                    # Inside DDP's forward pass nothing is reduced: that is left to the last part.
                    self.trainer.strategy.backward(loss, optimizer)
        return {"loss": loss if self.penalty is None else loss + self.penalty(), "bare": bare}

    def _weighted_each(self, losses_T: Tensor, tasks_T: Tensor) -> Tensor:
        if self.weigh is None:
            return losses_T
        each = zip(losses_T.split(1), tasks_T.split(1), strict=True)
        return torch.stack([self.weigh(loss, task) for loss, task in each])

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """The trainer calls it after `training_step`, where gradients that are there already have to stay."""
        if self._keeps_gradients or self._has_gradients:
            return
        if self.graphs is None:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)
        else:
            self.graphs.zero_gradients()

    def backward(self, loss: Tensor, *_: Any) -> None:
        """Nothing is left to do of a step that was a graph."""
        if not self._has_gradients:
            loss.backward()

    def validation_step(self, batch: Batch, _: int) -> None:
        self.metrics.update(self.model(batch), batch)

    def test_step(self, batch: Batch, _: int) -> None:
        """Add a batch to the scores, and keep its rows for the predictions."""
        logits = self.model(batch)
        items = self.metrics.update(logits, batch)
        self.predictions.append((batch["rows"].cpu(), items.cpu()))
        if (shares := self.metrics.shares(logits)) is not None:
            self.shares.append(shares.cpu())
        self.tags.update(zip(batch["rows"].tolist(), self.metrics.tags(logits, batch), strict=False))

    def on_test_start(self) -> None:
        """Each test has its own predictions."""
        self.predictions, self.shares, self.tags = [], [], {}

    def on_validation_epoch_end(self) -> None:
        """Compute the scores of the validation split, those of `written` texts among them."""
        self._compute_scores()
        if self.written is not None and not self.trainer.sanity_checking:
            self.scores |= self.written()

    def on_test_epoch_end(self) -> None:
        """Compute the scores of the test split; with several devices, gather the predictions of all."""
        self._compute_scores()
        if self.trainer.world_size > 1:
            everyone: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(self.trainer.world_size)]
            torch.distributed.all_gather_object(everyone, self.predictions)
            self.predictions = [batch for part in everyone for batch in part]

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser over groups of one learning rate each, decayed or not."""
        fresh = [part for name, part in self.model.named_children() if name in ("head", "weighting")]
        head = {id(tensor) for part in fresh for tensor in part.parameters()}
        members: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, tensor in self._trained():
            lr = self.head_lr if id(tensor) in head else self.lr
            lr *= self.fast_ratio if name in self.fast else 1.0
            members.setdefault((lr, self.weight_decay if tensor.ndim >= 2 else 0.0), []).append(tensor)
        groups = [{"params": tensors, "lr": lr, "weight_decay": decay} for (lr, decay), tensors in members.items()]
        optimizer = self.make_optimizer(groups)
        if not self.scaled:
            # By it Lightning refuses to clip for a fused optimiser, which bf16, that scales nothing, would allow.
            optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, tensor) for name, tensor in self.model.named_parameters() if tensor.requires_grad)

    def _rate(self, step: int) -> float:
        return rate(self.schedule, step, steps=self.steps, warmup_steps=self.warmup_steps, decay=self.decay)

    def _compute_scores(self) -> None:
        scores = self.metrics.compute_and_reset()
        # NaN logits have an accuracy too: the share of class 0. Only the loss tells.
        if not torch.isfinite(torch.tensor(scores["loss"])):
            raise Diverged(f"evaluation loss {scores['loss']} after step {self.global_step}")
        self.scores = scores
