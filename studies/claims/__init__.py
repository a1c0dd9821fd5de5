"""Claims about LoRA, judged by finished studies.

python -m harness +experiment=claims
"""

from studies.claims.run import command

__all__ = ["command"]
