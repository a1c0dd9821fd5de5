"""Forgetting of a masked-LM base: its loss on held-out general text, before and after training.

The probe is a fixed instrument: the same passages, the same hidden tokens, the same head, in evaluation mode and
float32. Where the weights file has a masked-LM head it is that one; where it has none, a head is fitted once to the
frozen, unmodified base on other documents of the same text. The head never changes afterwards, nor do the word
embeddings it answers with. An unmodified base scores exactly the same before and after.

Shapes: N passages, L tokens in each, M hidden tokens in all, H hidden size, V vocabulary.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.config import ConfigError, MaskedProbeConfig, ModelConfig, TextModelConfig
from harness.model import Network, base_file, build_model
from harness.model.masked import SPECIALS, MaskedHead, mask_id, masked_head
from harness.model.text import tokenizer_file
from harness.system import assets
from harness.task import Passages, cached, cut_passages, hidden_places, read_documents

_BATCH = 64  # passages; the same before and after, so that sums are added in the same order
# The fit: each draw hides other tokens of every passage.
_DRAWS, _EPOCHS, _ROWS, _LR, _WARMUP = 3, 3, 256, 3e-3, 50


class ProbeLoss(NamedTuple):
    """The mean loss in nats a token, and that of each passage."""

    mean: float
    passages: list[float]


def probe_loss(
    config: MaskedProbeConfig, source: ModelConfig, network: Network, device: torch.device, between: Callable[[], None]
) -> ProbeLoss:
    """Cross-entropy in nats of the hidden tokens of the held-out passages; the base may be adapted or trained.

    Nothing of the probe is kept: it would count as the trial's memory. Randomness and the mode of the base are left as
    they were. Fitting a head takes minutes: `between` is called after each of its steps, and may raise. Raises
    ConfigError for a tokenizer without a mask token, or for too little text.
    """
    model = _encoder(source)
    passages, mask = _passages(config, model)
    held_out = passages["held_out"][: config.passages]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        head = _head(config, model, train=passages["train"], mask=mask, device=device, between=between)
    base, mode = network.base, network.base.training
    base.eval()
    try:
        hidden, labels = _hidden(base, held_out, hidden_places(held_out, config.share, config.seed), mask, device)
        return _mean_loss(head, hidden, labels, len(held_out))
    finally:
        base.train(mode)


def probe_digest(config: MaskedProbeConfig, model: ModelConfig) -> str:
    """The digest of the passages and the mask token."""
    passages, mask = _passages(config, _encoder(model))
    return hashlib.sha256(
        passages["train"].tobytes() + passages["held_out"].tobytes() + bytes([mask % 256])
    ).hexdigest()


def _encoder(model: ModelConfig) -> TextModelConfig:
    encoder = model.masked_encoder
    assert encoder is not None, "a probe of another model was refused with its configuration"
    return encoder


def _passages(config: MaskedProbeConfig, model: TextModelConfig) -> tuple[Passages, int]:
    tokenizer = tokenizer_file(model)
    mask = mask_id(model, tokenizer)
    if mask is None:
        raise ConfigError(f"probe={config.name}: the tokenizer of model={model.name} has no mask token")
    text = assets.fetch(config.asset.address, config.asset.sha256)
    special = SPECIALS[model.family]
    documents = read_documents(text)
    return cut_passages(
        documents, tokenizer, special[:2], length=config.length, share=config.held_out, seed=config.seed
    ), mask


@torch.no_grad()
def _hidden(
    base: nn.Module, passages_NL: np.ndarray, places: np.ndarray, mask: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the base's states of hidden tokens (M, H), and which tokens they are (M)."""
    ids = torch.from_numpy(passages_NL)
    where = torch.from_numpy(places)
    labels, inputs = ids.gather(1, where), ids.scatter(1, where, mask)
    found = []
    for at in range(0, len(ids), _BATCH):
        batch = inputs[at : at + _BATCH].to(device)
        tokens_NLH = base(input_ids=batch, attention_mask=torch.ones_like(batch)).last_hidden_state
        picked = where[at : at + _BATCH, :, None].to(device).expand(-1, -1, tokens_NLH.shape[-1])
        found.append(tokens_NLH.gather(1, picked).flatten(0, 1))
    return torch.cat(found), labels.flatten().to(device)


@torch.no_grad()
def _mean_loss(head: MaskedHead, hidden: Tensor, labels: Tensor, passages: int) -> ProbeLoss:
    sums, each = [], []
    for at in range(0, len(labels), _ROWS):  # a row of logits is as long as the vocabulary
        logits, wanted = head(hidden[at : at + _ROWS]), labels[at : at + _ROWS]
        sums.append(F.cross_entropy(logits, wanted, reduction="sum").double())
        each.append(F.cross_entropy(logits, wanted, reduction="none").double())
    mean = float(torch.stack(sums).sum() / len(labels))
    return ProbeLoss(mean, torch.cat(each).view(passages, -1).mean(1).tolist())


def _head(
    config: MaskedProbeConfig,
    model: TextModelConfig,
    *,
    train: np.ndarray,
    mask: int,
    device: torch.device,
    between: Callable[[], None],
) -> MaskedHead:
    """The head of the weights file, or one fitted to the unmodified base, from the cache after the first time."""
    head, stored = masked_head(model)
    if not stored:
        weights = base_file(model)
        assert weights is not None
        key = hashlib.sha256(train.tobytes())
        for part in (assets.sha256_of(weights), repr((mask, config.share, _DRAWS, _EPOCHS, _ROWS, _LR, _WARMUP))):
            key.update(part.encode() + b"\0")
        fitted = partial(
            _fitted, model, head, train=train, mask=mask, share=config.share, device=device, between=between
        )
        arrays = cached("heads", key.hexdigest(), fitted)
        head.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return head.to(device).eval()


def _fitted(
    model: TextModelConfig,
    head: MaskedHead,
    *,
    train: np.ndarray,
    mask: int,
    share: float,
    device: torch.device,
    between: Callable[[], None],
) -> dict[str, np.ndarray]:
    """Fit the head to what the unmodified base makes of the training passages."""
    torch.manual_seed(0)
    base = build_model(model, 2).base.to(device).eval()
    draws = [_hidden(base, train, hidden_places(train, share, seed), mask, device) for seed in range(1, _DRAWS + 1)]
    hidden, labels = (torch.cat(parts) for parts in zip(*draws, strict=True))
    head.to(device)
    centre, spread = hidden.mean(0), hidden.std(0).clamp_min(1e-6)
    _begin(head, labels)
    _fit(head, (hidden - centre) / spread, labels, between)
    with torch.no_grad():  # the head reads what the base says as it is: its scale goes into the first layer
        head.dense.weight.div_(spread)
        head.dense.bias.sub_(head.dense.weight @ centre)
    return {name: tensor.cpu().numpy() for name, tensor in head.state_dict().items()}


@torch.no_grad()
def _begin(head: MaskedHead, labels: Tensor) -> None:
    """Begin near the tokens' frequencies."""
    counts = torch.bincount(labels, minlength=len(head.bias)).float() + 0.1
    head.bias.copy_((counts / counts.sum()).log())
    head.norm.weight.fill_(0.1)
    nn.init.normal_(head.dense.weight, std=0.05)
    nn.init.zeros_(head.dense.bias)


def _fit(head: MaskedHead, hidden: Tensor, labels: Tensor, between: Callable[[], None]) -> None:
    optimizer = torch.optim.AdamW(head.parameters(), lr=_LR, weight_decay=0.01, fused=True)
    steps = _EPOCHS * -(-len(labels) // _ROWS)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / _WARMUP) * max(0.0, 1 - step / steps)
    )
    for _ in range(_EPOCHS):
        for rows in torch.randperm(len(labels)).to(hidden.device).split(_ROWS):
            loss = F.cross_entropy(head(hidden[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            between()
