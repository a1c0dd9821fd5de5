"""The command: what was asked, and the file of harness/commands that answers it.

python -m harness +experiment=sst2_rank_sweep
"""

import importlib.metadata
import io
import logging
import os
import sys
from collections.abc import Callable, Mapping

from harness.commands import (
    allocate,
    analyse,
    attribute,
    confirm,
    count,
    data,
    evaluate,
    export,
    guest,
    predict,
    rebuild,
    repeat,
    report,
    show,
    status,
    study,
    targets,
    trial,
    wandb_workspace,
    watch,
    worker,
)
from harness.commands.failures import exit_codes
from harness.commands.job import HydraJob, composed_jobs
from harness.config import composition, hydra_checks
from harness.system.hub_models import use_lock

COMMANDS: Mapping[str, Callable[[HydraJob], None]] = {
    "trial": trial.run,
    "study": study.run,
    "confirm": confirm.run,
    "repeat": repeat.run,
    "worker": worker.run,
    "status": status.run,
    "report": report.run,
    "analyse": analyse.run,
    "watch": watch.run,
    "data": data.run,
    "show": show.run,
    "rebuild": rebuild.run,
    "wandb_workspace": wandb_workspace.run,
    "count": count.run,
    "targets": targets.run,
    "export": export.run,
    "predict": predict.run,
    "attribute": attribute.run,
    "evaluate": evaluate.run,
    "allocate": allocate.run,
}
"""What each `run` calls; any other names a guest's command."""


def main() -> None:
    """Run the command and exit: 0 done, 2 a mistake in the configuration, 69 an asset that cannot be had,
    70 an unforeseen failure, 75 to be started again, 130 or 143 stopped by a signal, 141 with its output closed.
    """
    if sys.argv[1:] == ["--version"]:
        print(f"harness {importlib.metadata.version('lora-harness')}")
        return
    _prepare_process()
    with exit_codes():
        hydra_checks.install()
        sys.argv[1:] = composition.use_config_dir(sys.argv[1:])
        with composed_jobs() as jobs:
            for job in jobs:
                use_lock(job.study_folder)
                COMMANDS.get(job.run, guest.run)(job)


def _prepare_process() -> None:
    for stream in (sys.stdout, sys.stderr):  # a letter that a terminal has not must not end a trial
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "httpx2", "matplotlib", "fontTools", "huggingface_hub"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # that it found no package to fetch kernels with
    os.umask(0o077)
    os.environ.pop("WANDB_SERVICE", None)  # another process's writes files with its rights, and ends with it
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and `exit_codes` says what went wrong


if __name__ == "__main__":
    main()
