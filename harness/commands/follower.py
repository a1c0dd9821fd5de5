"""A process of a trial that is not its first: python -m harness.commands.follower ACCELERATOR DEVICES."""

import os
import sys

from harness.commands.failures import exit_codes
from harness.config.processes import process_info


def main() -> None:
    """Take part in every trial that the first process runs."""
    os.umask(0o077)
    from harness.devices import resolve_device
    from harness.system.signals import graceful_stop
    from harness.training import process_group
    from harness.trial.ddp_followers import follow

    accelerator, devices = sys.argv[1:]
    with exit_codes(), process_group(process_info(), resolve_device(accelerator, int(devices))), graceful_stop():
        follow()


if __name__ == "__main__":
    main()
