"""Where a result comes from: versions, revision of this code, machine."""

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

_PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "transformers",
    "tokenizers",
    "peft",
    "timm",
    "scikit-learn",
    "soxr",
    "sacrebleu",
    "optuna",
    "numpy",
    "lora-harness",
)


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what a result depends on; packages of extras that are not installed are left out."""
    found = {name: _version(name) for name in _PACKAGES}
    return {"python": platform.python_version()} | {name: version for name, version in found.items() if version}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def source() -> dict[str, Any]:
    """The revision of this code and whether it was changed; null where it was installed without git."""
    here = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    tracked = git("ls-files", "--error-unmatch", "trial.py") is not None
    status = git("status", "--porcelain", "--", ".", "../conf", "../sweeps") if tracked else None
    return {"revision": git("rev-parse", "HEAD") if tracked else None, "dirty": bool(status) if tracked else None}


@functools.cache
def hardware() -> dict[str, Any]:
    """What the machine has; which of it a trial used is its device."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": gpu,
        "platform": platform.platform(terse=True),
    }


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
