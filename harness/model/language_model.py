"""A base under the output layer that its own files have for the next token."""

from harness.config import ConfigError, ModelConfig
from harness.model.base import Network
from harness.model.build import build_model


def language_model(config: ModelConfig, network: Network) -> Network:
    """A network that gives logits of the next token at each token, with the base of `network` as it is now in it.

    It is the network itself, if that writes text. Else the output layer has the pretrained weights, and a copy of them
    where they are tied to the words' embeddings. Raises ConfigError for a base that has none, or reads source and
    target apart.
    """
    if network.gives_next_token:
        return network
    whole = build_model(config, 0)
    if not whole.gives_next_token:
        raise ConfigError(f"probe=perplexity: model={config.name} does not read one sequence; give a causal base")
    from harness.model.hf_heads import inner_name  # which imports transformers

    setattr(whole.base, inner_name(whole.base), network.base)  # type: ignore[arg-type]
    return whole
