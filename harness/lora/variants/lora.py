"""LoRA: y = Wx + b + s·BA·drop(x) (Hu et al., 2022, equation 3)."""

from harness.lora.variants.base import Variant

VARIANT = Variant("LoRA", "Hu et al., 2022")
