"""The provenance of a result: versions, code revision and machine, and which of these affect the result."""

import functools
import hashlib
import importlib.metadata
import importlib.resources
import logging
import os
import platform
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import torch

from harness.system.cores import allowed_cores

log = logging.getLogger(__name__)

_DISTRIBUTION = "lora-harness"
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
    _DISTRIBUTION,
)


# Variables that choose other kernels of the same libraries.
_VARIABLES = (
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_CORETYPE"),
    *("CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE"),
)


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what a result depends on; a package that is not installed is left out."""
    found = {name: version for name in _PACKAGES if (version := _version(name)) is not None}
    return {"python": platform.python_version()} | found


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # this code itself, run from a copy of its tree
        return None


@functools.cache
def source() -> dict[str, Any]:
    """Identify this code: see `source_of`."""
    return source_of(Path(str(importlib.resources.files(__name__.partition(".")[0]))).resolve())


_RESULTS = ":(top,exclude)results"  # what trials came to, which none is made by


def source_of(package: Path) -> dict[str, Any]:
    """Identify the code in a package's folder and where it comes from.

    Returns `origin` (git checkout, one that git does not answer for and why, an installed wheel, or a source tree
    without git), `revision` and `dirty` (tracked files changed but for those of results/, or untracked ones in the
    package; both null outside a checkout), and `code`, the first 16 digits of the SHA-256 of the package's Python
    files, which tells two changed trees of one revision apart.
    """
    code = {"code": _digest_of(package)}
    revision = _git(package, "rev-parse", "HEAD") if _is_own_checkout(package) else None
    if revision is not None:
        changes = _git(package, "status", "--porcelain", "--untracked-files=no", "--", ":/", _RESULTS)
        fresh = _git(package, "status", "--porcelain", "--", ".")
        return {"origin": "git checkout", "revision": revision, "dirty": bool(changes or fresh)} | code
    version = _installed_version(package)
    if version:
        origin = f"{_DISTRIBUTION} {version} wheel"
    elif why := _unanswered(package):
        origin = f"checkout that git does not answer for ({why})"
        log.warning("WARNING: records do not say which revision this code is: %s", why)
    else:
        origin = "source tree without git"
    return {"origin": origin, "revision": None, "dirty": None} | code


def _is_own_checkout(package: Path) -> bool:
    """Return whether git tracks the package in a repository of this project: another's says nothing about this code."""
    top = _git(package, "rev-parse", "--show-toplevel")
    return bool(top and _git(package, "ls-files", "--", ".")) and _is_own_tree(Path(str(top)))


def _is_own_tree(top: Path) -> bool:
    try:
        project = tomllib.loads((top / "pyproject.toml").read_text())
    except (OSError, ValueError):
        return False
    return bool(project.get("project", {}).get("name") == _DISTRIBUTION)


def _unanswered(package: Path) -> str:
    """Return why git does not answer in a checkout of this project; empty if it does, or if there is none."""
    top = next((folder for folder in package.parents if (folder / ".git").exists()), None)
    return _asked(package, "rev-parse", "HEAD")[1] if top is not None and _is_own_tree(top) else ""


def _git(folder: Path, *words: str) -> str | None:
    """Return the output of git in a folder, or None if there is no git, or it fails."""
    return _asked(folder, *words)[0]


def _asked(folder: Path, *words: str) -> tuple[str | None, str]:
    """Return the output of git, or None with the reason."""
    # In a hook git's own variables name the repository of the hook.
    # Its configuration may be there, too: where another user owns the checkout, safe.directory.
    kept = {name: value for name, value in os.environ.items() if name[:4] != "GIT_" or name.startswith("GIT_CONFIG_")}
    command = ["git", "--no-optional-locks", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=kept)
    except OSError as error:
        return None, f"git: {error.strerror or error}"
    said = done.stderr.strip().partition("\n")[0] or f"git {words[0]} ended with {done.returncode}"
    return (done.stdout.strip(), "") if done.returncode == 0 else (None, said)


def _installed_version(package: Path) -> str | None:
    """The version of this distribution, if the package's folder is what it installed."""
    try:
        found = importlib.metadata.distribution(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return None
    return found.version if Path(str(found.locate_file(package.name))).resolve() == package else None


def _digest_of(package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def environment(device: torch.device, threads: int) -> dict[str, Any]:
    """Return what affects a result beside the configuration: code, libraries, processor, threads, deterministic flags.

    Two trials of one fingerprint give the same numbers where all of it is the same; the fingerprint leaves it out.
    """
    built = torch.__config__.show()
    found = source() | {
        "torch": str(torch.__version__),
        "blas": _first(r"BLAS_INFO=(\w+)", built),
        "mkl": _first(r"Math Kernel Library Version (\S+)", built),
        "onednn": _first(r"(?:MKL-DNN|oneDNN) v(\S+)", built),
        "transformers": _version("transformers"),
        "lightning": _version("lightning"),
        "cpu": _cpu_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "float32_matmul": torch.get_float32_matmul_precision(),
    }
    if device.type == "cuda":
        found |= {
            "gpu": torch.cuda.get_device_name(device),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        }
    return found | {name: os.environ[name] for name in _VARIABLES if name in os.environ}


def _first(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match[1] if match else None


@functools.cache
def hardware() -> dict[str, Any]:
    """Describe the machine's hardware; the record's device says which part a trial used."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": _cpu_name(),
        "cores": allowed_cores(),
        "gpu": gpu,
        "platform": platform.platform(terse=True),
    }


@functools.cache
def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
