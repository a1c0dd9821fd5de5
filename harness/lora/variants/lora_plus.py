"""LoRA+: B learns faster than A (Hayou et al., 2024)."""

from harness.lora.variants.base import Variant

RATIO = 16.0
"""How much faster B learns than A: the power of two that Hayou et al. (2024) found best on most tasks."""

VARIANT = Variant("LoRA+", "Hayou et al., 2024", plus=RATIO)
