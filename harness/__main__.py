"""The command: compose a configuration, check it, and run one trial, one study, or a question about them.

python -m harness +experiment=sst2_rank_sweep
"""

import contextlib
import dataclasses
import json
import logging
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.cluster.database import storage_address
from harness.config import Config, ConfigError, LoraConfig, check, composition
from harness.config.extras import check_extras
from harness.config.preflight import validate_before_import
from harness.config.processes import ProcessInfo, launched_process_group, process_info, trains_remotely
from harness.system import assets
from harness.system.redaction import redact

log = logging.getLogger(__name__)


def main() -> None:
    """Run the command and exit: 0 done, 2 a mistake in the configuration, 69 an asset that cannot be had,
    70 an unforeseen failure, 75 to be started again, 130 or 143 stopped by a signal.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "httpx2", "matplotlib", "huggingface_hub"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.umask(0o077)
    os.environ.pop("WANDB_SERVICE", None)  # another process's writes files with its rights, and ends with it
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and one place below says what went wrong
    composition.register_sweeps(ConfigStore.instance())
    with _answering():
        hydra.main(version_base="1.3", config_path=str(composition.CONF), config_name="config")(_job)()


@contextmanager
def _answering() -> Iterator[None]:
    """Every way a command can fail, as a line and an exit code."""
    try:
        yield
    except ConfigError as error:
        _leave(2, str(error))
    except (HydraException, OmegaConfBaseException) as error:
        _leave(2, composition.explain(error, sys.argv[1:]))
    except assets.AssetError as error:
        _leave(69, str(error))
    except KeyboardInterrupt:  # before there is anything to be put down, or after it was
        _leave(130, "stopped by SIGINT; the same command goes on from here")
    except Exception as error:  # the last line of defence: no bare traceback on a screen that nobody watches
        if code := getattr(error, "exit_code", None):
            _leave(code, f"stopped by {error}; the same command goes on from here")
        _leave(70, f"{type(error).__name__}: {error}\nThe traceback is in {_write_log()}")


def _leave(code: int, message: str) -> None:
    if code == 70 or process_info().rank == 0:  # several processes of a trial make the same mistake
        with contextlib.suppress(OSError):
            print(redact(message), file=sys.stderr, flush=True)
    sys.exit(code)


def _write_log() -> Path:
    with tempfile.NamedTemporaryFile("w", prefix="harness-", suffix=".log", delete=False) as file:
        file.write(redact(traceback.format_exc()))
    return Path(file.name)


def _job(composed: DictConfig) -> None:
    with _answering():  # inside Hydra's job runner, which would add lines of its own
        _run(composed)


def _run(composed: DictConfig) -> None:
    config = _checked(_with_any_task(composed))
    if config.run in ("report", "claims", "rebuild") and (found := process_info()).world > 1:
        raise ConfigError(f"run={config.run}: it takes one process; {found.by} started {found.world}")
    if config.run == "report":
        _report(config)
        return
    check_extras(config, storage_address())
    if config.run == "count":
        from harness.trial.adapt import count  # torch is imported only by what needs it

        print(json.dumps(count(config), indent=2))
        return
    if config.run == "claims":
        _claims(config)
        return
    if config.run in ("worker", "status", "rebuild"):
        _on_study(config)
        return
    started = launched_process_group(config)
    validate_before_import(config)
    _check_runnable(config)
    config = _with_data(config, list(HydraConfig.get().overrides.task))
    _lead_or_follow(config, started, _study if config.run == "study" else _trial)


def _lead_or_follow(config: Config, started: ProcessInfo | None, lead: Callable[[Config], None]) -> None:
    """Lead; or, where several processes were started for every trial and another is the first, do as that one does."""
    if started is None:
        lead(config)
        return
    from harness.devices import resolve_device
    from harness.system.signals import graceful_stop
    from harness.training import process_group
    from harness.trial.ddp_followers import follow

    device = resolve_device(config.trainer.accelerator, config.trainer.devices)
    with process_group(started, device), graceful_stop():
        if started.rank == 0:
            lead(config)
        else:
            follow()


# For counting any task of a model's kind will do, where none was named.
_COUNT_WITH = {"vision": ["task=digits"], "speech": ["task=spoken_digits"], "generator": ["task=pairs"]}


def _with_any_task(composed: DictConfig) -> DictConfig:
    """The composition itself, or, to count a model of another kind than the default task's, with a task that fits."""
    words = list(HydraConfig.get().overrides.task)
    named = any(word.lstrip("+").startswith(("task=", "experiment=")) for word in words)
    more = _COUNT_WITH.get(composed.model.kind, [])
    if composed.run != "count" or named or not more:
        return composed
    if composed.model.kind == "generator":
        more = [*more, "trainer.objective=loss"]
    return hydra.compose("config", overrides=[*words, *more])


def _check_runnable(config: Config) -> None:
    """Say what cannot run before anything is fetched or made, what is quick to see first."""
    if not trains_remotely(config):
        from harness.devices import resolve_device

        resolve_device(config.trainer.accelerator, config.trainer.devices)
    _check_variant(config)
    own = config.task.reader in ("table", "image_folder", "pairs", "spoken")
    if own and getattr(config.task, "asset", None) is None:
        from harness.task import build_task

        build_task(config.task)
    if config.run == "study":
        from harness.cluster import check_study, check_workers
        from harness.cluster.launchers import check_launch

        check_workers(getattr(config.launch, "workers", 1))
        check_launch(config)
        check_study(config)
        return
    folder = Path(config.results) / config.study
    if (folder / "config.yaml").exists():
        raise ConfigError(f"study={config.study}: that is a study; give single trials a name of their own")
    from harness.trial.adapt import count

    count(config)


def _check_variant(config: Config) -> None:
    if isinstance(config.lora, LoraConfig):
        from harness.lora import SpecError, variant

        try:
            variant(config.lora.variant)
        except SpecError as error:
            raise ConfigError(f"lora.variant={config.lora.variant}: {error}") from None


def _checked(composed: DictConfig) -> Config:
    tree = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(tree, dict)
    return check({str(key): value for key, value in tree.items()})


def _with_data(config: Config, overrides: list[str]) -> Config:
    """The same configuration, or, where the data set cannot be reached, with its stand-in, under its own name."""
    stand_in = getattr(config.task, "stand_in", None)
    if stand_in is None or getattr(config.task, "data", None) is not None:
        return config
    from harness.task import build_task

    try:
        build_task(config.task)
        return config
    except assets.Unreachable as error:
        log.warning(
            "WARNING: %s cannot be reached (%s).\n"
            "WARNING: training on %s instead; results carry that name. task.data=FOLDER gives a local copy.",
            config.task.name,
            error,
            stand_in,
        )
    # What was said of the data set is not true of its stand-in; how much of it to read and how to split it still is.
    keys = ("max_length", "split_seed", "image_size", "train_rows", "validation_rows", "test_rows")
    kept = tuple(f"task.{key}=" for key in keys)
    words = []
    for word in overrides:
        bare = word.lstrip("+~")
        if not bare.startswith(("task=", "task.")) or bare.startswith(kept):
            words.append(word)
        elif bare.startswith("task."):
            log.warning("WARNING: %s was said of %s; it is not taken over.", word, config.task.name)
    return _checked(hydra.compose("config", overrides=[*words, f"task={stand_in}"]))


def _report(config: Config) -> None:
    from harness.report import write_report

    folder = Path(config.results) / config.study
    if not _has_records(folder):
        known = sorted(
            path.parent.name for path in Path(config.results).glob("*/records.jsonl") if _has_records(path.parent)
        )
        raise ConfigError(f"study={config.study}: no records in {folder}; studies there: {', '.join(known) or 'none'}")
    print(write_report(folder))


def _has_records(folder: Path) -> bool:
    path = folder / "records.jsonl"
    return path.exists() and path.stat().st_size > 0


def _claims(config: Config) -> None:
    """Judge what is said of LoRA; each study that is not finished is run first, and tells its progress as ever."""
    from harness.claims import BERT_LARGE, gather
    from harness.report.claims import write_claims
    from harness.trial.adapt import count

    assert config.claims is not None

    def compose(words: list[str]) -> Config:
        try:
            return _as_here(_checked(hydra.compose("config", overrides=words)), config)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(composition.explain(error, words)) from None

    def run(part: Config, words: list[str]) -> str:
        check_extras(part, storage_address())
        _check_runnable(part)
        part = _as_here(_with_data(part, words), config)
        with contextlib.redirect_stdout(sys.stderr):  # the answer of this command is the claims
            _study(part)
        return part.study

    studies = gather(Path(config.results), config.claims, compose, run)
    print(write_claims(Path(config.results) / config.study, studies, count(compose(BERT_LARGE)), " ".join(BERT_LARGE)))


def _as_here(part: Config, config: Config) -> Config:
    """A study's configuration, run where and as this command is."""
    trainer = dataclasses.replace(part.trainer, accelerator=config.trainer.accelerator, threads=config.trainer.threads)
    return dataclasses.replace(
        part, results=config.results, tracking=config.tracking, launch=config.launch, trainer=trainer
    )


def _on_study(config: Config) -> None:
    """What is asked of a study that was begun: its own file says what it is."""
    from harness.cluster import load_study, rebuild, standing, study_folder

    config = dataclasses.replace(load_study(config.results, config.study), run=config.run)
    folder = study_folder(config)
    words = [word for word in HydraConfig.get().overrides.task if not word.startswith(("run=", "study=", "results="))]
    if config.run == "worker" and words:
        log.info("run=worker does what %s says; not heard here: %s", folder / "config.yaml", " ".join(words))
    if config.run == "status":
        print("\n".join(standing(config, folder).lines()))
    elif config.run == "rebuild":
        log.info(rebuild(config, folder))
    else:
        check_extras(config, storage_address())
        _lead_or_follow(config, launched_process_group(config), _work)


def _work(config: Config) -> None:
    from harness.cluster import join, study_folder
    from harness.cluster.launchers import restart_when_unhealthy
    from harness.system.signals import graceful_stop

    with restart_when_unhealthy(config), graceful_stop(), join(config, study_folder(config)) as worker:
        worker.work()


def _study(config: Config) -> None:
    from harness.cluster import begin_study, input_identity
    from harness.cluster.launchers import restart_when_unhealthy, run_workers
    from harness.report import write_report
    from harness.system.signals import graceful_stop
    from harness.trial.tracking import sync_hint

    input_identity(config)  # data and weights are read and checked before anything is made
    folder = begin_study(config)
    with restart_when_unhealthy(config), graceful_stop():
        run_workers(config, folder)
    print(write_report(folder))
    if hint := sync_hint(folder):
        log.info("W&B runs are offline; to upload them: %s", hint)


def _trial(config: Config) -> None:
    from harness.cluster import open_ledger
    from harness.record import Record, to_json
    from harness.system.signals import graceful_stop
    from harness.training import is_follower
    from harness.trial import TrialContext, fingerprint_of, run_trial
    from harness.trial.tracking import sync_hint

    fingerprint = fingerprint_of(config)
    if is_follower():
        # Rank 0 keeps the record; the other devices of its trial train beside it and leave nothing.
        with tempfile.TemporaryDirectory() as scratch, graceful_stop():
            quiet = dataclasses.replace(config, tracking=dataclasses.replace(config.tracking, mode="off"))
            entry = run_trial(quiet, TrialContext(config.study, 0, config.lora.name, Path(scratch)), lambda *_: False)
        if entry.state == "fail":
            _leave(70, f"a follower of the trial failed: {entry.reason}")
        return
    with open_ledger(Path(config.results), config.study) as ledger:
        known = ledger.find(fingerprint)
        if known is not None:
            log.info("trial %d has the same configuration: looked up, not trained again", known.trial)
            print(to_json(known, indent=2))
            return
        number = ledger.next_number()
        folder = ledger.trial_folder(number)
        started = time.perf_counter()

        def say(step: int, scores: dict[str, float]) -> bool:
            shown = ", ".join(f"{name} {value:.4f}" for name, value in scores.items() if "/" not in name)
            log.info("step %d, %.0f s: validation %s", step, time.perf_counter() - started, shown)
            return False

        def keep(entry: Record) -> bool:
            ledger.add(entry)
            return True

        with graceful_stop():
            record = run_trial(config, TrialContext(config.study, number, config.lora.name, folder), say, keep)
        print(to_json(record, indent=2))
        if hint := sync_hint(ledger.folder):
            log.info("W&B runs are offline; to upload them: %s", hint)
        if record.state == "fail":
            _leave(70, f"trial {number} failed: {record.reason}")


if __name__ == "__main__":
    main()
