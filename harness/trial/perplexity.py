"""Forgetting of a causal base: its next-token loss on held-out general text, before and after training.

The output layer is the pretrained one: where the task has a head of its own, the base is put under the output layer
that its files have for it, which never changes. A base that writes answers has it inside, and may train it.

Shapes: N passages, L tokens in each, V vocabulary.
"""

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from harness.config import ConfigError, ModelConfig, ProbeConfig
from harness.model import Network, language_model, model_tokens
from harness.system import assets
from harness.task import cut_passages, read_documents
from harness.trial.masked_probe import ProbeLoss

_BATCH = 4  # passages: of each token a row of logits is as long as the vocabulary


@torch.no_grad()
def probe_loss(
    config: ProbeConfig, source: ModelConfig, model: Network, device: torch.device, between: Callable[[], None]
) -> ProbeLoss:
    """Mean cross-entropy in nats of all tokens of the held-out passages but their first; `model` may be adapted.

    Randomness and the mode of `model` are left as they were. Raises ConfigError for a base without an output layer for
    the next token, for one without a tokenizer of its own, and for too little text.
    """
    passages_NL = _passages(config, source)["held_out"][: config.passages]
    mode = model.training
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        whole = language_model(source, model)
    whole.to(device).eval()
    try:
        means = []
        for at in range(0, len(passages_NL), _BATCH):
            ids = torch.from_numpy(passages_NL[at : at + _BATCH]).to(device)
            logits = whole({"ids": ids, "mask": torch.ones_like(ids)})[:, :-1].float()
            each = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
            means += each.double().view(len(ids), -1).mean(1).tolist()
    finally:
        model.train(mode)
    return ProbeLoss(float(np.mean(means)), means)


def probe_digest(config: ProbeConfig, model: ModelConfig) -> str:
    """The digest of the held-out passages."""
    return hashlib.sha256(_passages(config, model)["held_out"].tobytes()).hexdigest()


def _passages(config: ProbeConfig, model: ModelConfig) -> dict[str, np.ndarray]:
    tokens = model_tokens(model)
    if tokens is None or tokens.tokenizer is None:
        raise ConfigError(
            f"probe={config.name}: model={model.name} has no tokenizer of its own; give pretrained weights"
        )
    from tokenizers import Tokenizer

    begin = None if tokens.begin is None else Tokenizer.from_file(str(tokens.tokenizer)).id_to_token(tokens.begin)
    documents = read_documents(assets.fetch(config.asset.address, config.asset.sha256))
    return cut_passages(
        documents, tokens.tokenizer, (begin or "", ""), length=config.length, share=config.held_out, seed=config.seed
    )
