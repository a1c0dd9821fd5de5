"""LoRA experiments: which rank, where in the network, at what cost."""
