"""run=allocate: ranks by layer under a budget of parameters, as a file that `lora.ranks` takes.

python -m harness run=allocate study=NAME method=spectrum parameters=100000
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.checks import check_installed, check_runnable, with_data
from harness.commands.devices import refuse_several_processes
from harness.commands.job import HydraJob
from harness.config import Config, ConfigError
from harness.config.allocation import ALLOCATIONS, OF_A_TRIAL

if TYPE_CHECKING:
    from harness.trial.profiles import Profile
    from harness.trial.trained import Trained


def run(job: HydraJob) -> None:
    """Write the profile and print a table of it. Raises ConfigError for what cannot be read off."""
    config, method = job.config, job.config.method
    refuse_several_processes("allocate")
    if method is None:
        raise ConfigError(f"method: missing; run=allocate method=NAME, one of {', '.join(ALLOCATIONS)}")
    if config.parameters is None and method != "truncate":
        raise ConfigError(f"parameters: missing; run=allocate method={method} parameters=N, the most that they may be")
    if config.steps is not None and method != "truncate":
        raise ConfigError(f"steps={config.steps}: of method=truncate; a profile is trained by a trial that takes it")
    if method in OF_A_TRIAL:
        print(_of_trial(config, method))
        return
    if config.trial is not None:
        raise ConfigError(f"trial={config.trial}: method={method} looks at the network before training; trial=null")
    assert config.parameters is not None
    check_runnable(config)
    from harness.trial.profiles import before_training

    print(_written(config, before_training(with_data(config, job.words), method, config.parameters)))


def _of_trial(config: Config, method: str) -> str:
    from harness.trial.profiles import donor, of_trial

    trained = donor(Path(config.results) / config.study, config.trial, method)
    check_installed(trained.config)
    if method == "truncate":
        return _truncated(config, trained)
    assert config.parameters is not None
    return _written(config, of_trial(trained, method, config.parameters))


def _truncated(config: Config, trained: "Trained") -> str:
    """The scores of the trial cut to every power of two, with one rank and with ranks allocated at equal parameters."""
    from harness.report.truncation import Cut, write_curve
    from harness.trial.allocation import TruncatedTrial
    from harness.trial.profiles import Profile, allocated, check_budget, costs_of, title_of

    costs, title, most = costs_of(trained), title_of(trained, "truncate"), config.parameters
    steps = config.steps
    if most is not None:
        check_budget(most, costs)
    network = TruncatedTrial(trained, steps)
    gains = {layer: [value * value for value in values] for layer, values in network.values.items()}
    highest, cuts = max(map(len, gains.values())), list[Cut]()
    for rank in [*(2**power for power in range(highest.bit_length()) if 2**power < highest), highest]:
        one = {layer: min(rank, len(values)) for layer, values in gains.items()}
        parameters = costs.used(one)
        by_layer = one if rank == highest else allocated(gains, costs, parameters)
        made = Cut(rank, parameters, costs.used(by_layer), network.score(one), network.score(by_layer))
        if steps is not None:
            after = [network.recovered(ranks, steps) for ranks in (one, by_layer)]
            made = replace(made, recovered_score=after[0], recovered_allocated_score=after[1])
        cuts.append(made)
    folder, objective = Path(config.results) / config.study, trained.config.trainer.objective
    curve = write_curve(cuts, folder, f"{title}, {trained.entry.task}, {trained.entry.model}", objective)
    if most is None:
        return f"{title}\n\n{curve}"
    profile = Profile(title, allocated(gains, costs, most), costs, gains)
    score = f"Cut to the ranks below, without training: validation {objective} {network.score(profile.ranks):.4f}"
    return "\n\n".join([curve, score, _written(config, profile)])


def _written(config: Config, profile: "Profile") -> str:
    """Write the file; a table of what is in it."""
    from harness.trial.profiles import METHODS

    assert config.method is not None
    usual = Path(config.results) / config.study / f"ranks_{config.method}.json"
    path = Path(config.output).expanduser() if config.output else usual
    profile.write(path)
    return "\n\n".join(
        [
            f"{profile.title}: {METHODS[config.method]}; {profile.used:,} of {config.parameters:,} parameters",
            _table(profile),
            f"Written: {path}; a trial takes it as lora.ranks",
        ]
    )


def _table(profile: "Profile") -> str:
    from harness.report.table import markdown

    gains = profile.gains
    rows = [["layer", "rank", "parameters", *(("share held",) if gains else ())]]
    for layer, rank in profile.ranks.items():
        whole = sum(gains.get(layer, ()))
        share = (f"{sum(gains[layer][:rank]) / whole:.3f}" if whole else "",) if gains else ()
        rows.append([layer, str(rank), f"{profile.costs.of(layer, rank):,}", *share])
    return markdown(rows)
