"""Print the versions to install by: requirements.lock, with the CPU build of torch on a machine without a GPU.

    python tools/constraints.py torch [torchvision]

A CPU build (a version that ends in +cpu) is taken only where the package index in use lists one; torchvision has to
have the build of its torch. Anything unexpected leaves the lock as it is, and so does TORCH=default in the environment.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"
_SECONDS = 20  # to wait for the index


def constraints(lock: str, packages: list[str]) -> str:
    """The text of the lock, its versions of `packages` replaced by CPU builds where all of them have one."""
    locked = {name: found[1] for name in packages if (found := re.search(rf"(?m)^{name}==([\d.]+)$", lock))}
    offered = {name: cpu_builds(name) for name in packages}
    if all(version in offered[name] for name, version in locked.items()):
        for name, version in locked.items():
            lock = re.sub(rf"(?m)^{name}==.*$", f"{name}=={version}+cpu", lock)
    return lock


def cpu_builds(package: str) -> list[str]:
    """The versions, without +cpu, of which the index in use lists a CPU build for this Python."""
    command = [sys.executable, "-m", "pip", "index", "versions", package]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return re.findall(r"\b(\d+(?:\.\d+)+)\+cpu\b", done.stdout)


if __name__ == "__main__":
    with_gpu = shutil.which("nvidia-smi") is not None or os.environ.get("TORCH") == "default"
    print(LOCK.read_text() if with_gpu else constraints(LOCK.read_text(), sys.argv[1:]), end="")
