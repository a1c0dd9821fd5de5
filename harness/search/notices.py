"""Notices about a study's search before it begins: what cannot be repeated, and what the sampler does not do."""

from collections.abc import Iterator

from harness.config import Config
from harness.config.arms import arms
from harness.record.figures import is_measured
from harness.search.methods import sampler_kind, takes


def notices(config: Config, *, on_cpu: bool) -> Iterator[str]:
    """A line for each; `on_cpu`: the trials are known to run where memory is counted."""
    sweep = config.sweep
    if sweep is None:
        return
    pruner, kind = (sweep.pruner or {"name": ""})["name"], sampler_kind(sweep.sampler)
    if pruner == "asynchronous_halving":
        yield (
            "sweep.pruner=asynchronous_halving: which trials go on depends on which worker is faster, so the study "
            "cannot be repeated; synchronous_halving can"
        )
    measured = [name for name in (*(sweep.objectives or {}), *(sweep.constraints or {})) if is_measured(name, on_cpu)]
    if measured and (kind.learns or pruner == "dominance"):
        yield (
            f"{', '.join(dict.fromkeys(measured))}: measured, not counted, so what is proposed depends on how busy the "
            "machine is, and the study cannot be repeated"
        )
    even = [arm.name for arm in arms(sweep) if arm.baseline and arm.nuisance and not takes(kind, arm)]
    if even and sweep.sampler is not None:
        yield (
            f"sweep.sampler={sweep.sampler['name']}: does not take the dimensions of {', '.join(even)}, whose trials "
            "are drawn evenly"
        )
