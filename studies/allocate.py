"""Ranks by layer under a budget of parameters, read off a finished trial, as a file that `lora.ranks` takes.

python -m harness run=studies.allocate:command study=NAME +allocate.method=spectrum +allocate.parameters=100000
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import record
from harness.commands.guest import Compose, RunStudy, study_command
from harness.config import Config, ConfigError, nearest
from harness.record import Record, best_on_validation
from harness.report.table import markdown
from harness.search.budget import Budget, allocate

METHODS = {
    "uniform": "one rank for all, and what is left over where it fits",
    "spectrum": "the ranks whose singular values of the learned ΔW hold the most energy, found exactly",
    "kept": "the ranks that the trial's own method came to: EVA's, AdaLoRA's",
}
_KEYS = ("method", "parameters", "trial", "file")


@study_command
def command(config: Config, arguments: Mapping[str, Any], compose: Compose, run_study: RunStudy) -> str:
    """Write the profile of a trial; the answer is a table of it. Raises ConfigError for what cannot be read off it."""
    del compose, run_study
    method, most = _checked(arguments)
    folder = Path(config.results) / config.study
    entry = _trial(folder, arguments.get("trial"))
    spectra = _spectra(folder / entry.adapter.path, entry)
    costs = {layer: cost for layer, (cost, _) in spectra.items()}
    if most < min(costs.values()):
        raise ConfigError(f"allocate.parameters={most}: below {min(costs.values())}, what the first rank costs")
    energies = {layer: [value * value for value in values] for layer, (_, values) in spectra.items()}
    ranks = _ranks(method, entry, energies, costs, most)
    path = Path(arguments.get("file") or folder / f"ranks_{method}.json")
    path.write_text(json.dumps([[re.escape(layer), rank] for layer, rank in ranks.items()], indent=1) + "\n")
    used = sum(costs[layer] * rank for layer, rank in ranks.items())
    return "\n\n".join(
        [
            f"{method}, from trial {entry.trial} ({entry.arm}): {METHODS[method]}; {used:,} of {most:,} parameters",
            _table(ranks, costs, energies),
            f"Written: {path}; a trial takes it as lora.ranks",
        ]
    )


def _checked(arguments: Mapping[str, Any]) -> tuple[str, int]:
    if unknown := [key for key in arguments if key not in _KEYS]:
        raise ConfigError(f"allocate.{unknown[0]}: no such key{nearest(unknown[0], _KEYS)}; valid: {', '.join(_KEYS)}")
    method, most = arguments.get("method"), arguments.get("parameters")
    if method not in METHODS:
        hint = nearest(str(method), METHODS)
        raise ConfigError(f"allocate.method={method}: no such method{hint}; valid: {', '.join(METHODS)}")
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise ConfigError(f"allocate.parameters={most}: the most adapter parameters, an integer of at least 1")
    return str(method), most


def _trial(folder: Path, number: Any) -> Record:
    """The trial of that number, or the best of LoRA on validation."""
    records = [entry for entry in record.read(folder) if entry.lora.is_low_rank and entry.state == "complete"]
    if number is not None:
        records = [entry for entry in records if entry.trial == number]
    if (found := best_on_validation(records)) is None:
        which = "" if number is None else f" {number}"
        raise ConfigError(f"study={folder.name}: no complete trial{which} of LoRA in {folder}")
    return found


def _spectra(folder: Path, entry: Record) -> dict[str, tuple[int, list[float]]]:
    """Of each layer, what a rank costs and the singular values of what it has learned, the greatest first."""
    import torch
    from safetensors.torch import load_file

    path = folder / "adapter_model.safetensors"
    if not path.exists():
        raise ConfigError(f"allocate: {path}: no such file; the trial's adapter is needed")
    tensors, found = load_file(path), {}
    for layer in entry.adapter.ranks:
        down, up = (tensors.get(f"base_model.model.{layer}.lora_{part}.weight") for part in "AB")
        if down is None or up is None or down.ndim != 2:
            raise ConfigError(f"allocate: {layer}: no A and B of a linear layer in {path}")
        a, b = down.double(), up.double()
        values = torch.linalg.svdvals(torch.linalg.qr(b).R @ torch.linalg.qr(a.t()).R.t())
        scale = entry.adapter.scales.get(layer, 1.0)
        found[layer] = (a.shape[1] + b.shape[0], [abs(scale) * float(value) for value in values])
    return found


def _ranks(
    method: str, entry: Record, energies: Mapping[str, list[float]], costs: Mapping[str, int], most: int
) -> dict[str, int]:
    if method == "spectrum":
        return allocate(energies, costs, most)
    kept = {str(layer): int(rank) for layer, rank in entry.adapter.kept_ranks} or entry.adapter.ranks
    high = most // min(costs.values())
    wanted = {layer: kept.get(layer, 0) if method == "kept" else 1 for layer in costs}
    return {layer: int(rank) for layer, rank in Budget(costs, 0, high, most).project(wanted).items()}


def _table(ranks: Mapping[str, int], costs: Mapping[str, int], energies: Mapping[str, list[float]]) -> str:
    rows = [["layer", "rank", "parameters", "energy kept"]]
    for layer, rank in ranks.items():
        whole = sum(energies[layer])
        share = f"{sum(energies[layer][:rank]) / whole:.3f}" if whole else ""
        rows.append([layer, str(rank), f"{rank * costs[layer]:,}", share])
    return markdown(rows)
