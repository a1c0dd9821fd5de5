"""rsLoRA: s = alpha/√rank (Kalajdzievski, 2023)."""

from harness.lora.variants.base import Variant

VARIANT = Variant("rsLoRA", "Kalajdzievski, 2023", root=True)
