"""Every way a command can fail, as a line on standard error and an exit code."""

import contextlib
import os
import select
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from harness.config import ConfigError, composition
from harness.config.processes import process_info
from harness.system import assets
from harness.system.redaction import redact


@contextmanager
def exit_codes() -> Iterator[None]:
    """Inside, failures end the process with the codes that `main` lists."""
    try:
        yield
    except ConfigError as error:
        leave(2, str(error))
    except (HydraException, OmegaConfBaseException) as error:
        leave(2, composition.explain(error, sys.argv[1:]))
    except assets.AssetError as error:
        leave(69, str(error))
    except KeyboardInterrupt:  # before there is anything to be put down, or after it was
        leave(130, "stopped by SIGINT; the same command goes on from here")
    except BrokenPipeError as error:
        if not _stdout_is_closed():
            leave(70, _unforeseen(error))
        sys.exit(141)
    except Exception as error:  # the last line of defence: no bare traceback on a screen that nobody watches
        if code := getattr(error, "exit_code", None):
            leave(code, f"stopped by {error}; the same command goes on from here")
        leave(70, _unforeseen(error))


def leave(code: int, message: str) -> NoReturn:
    """Say why, and exit."""
    if code == 70 or process_info().process_index == 0:  # several processes of a trial make the same mistake
        with contextlib.suppress(OSError):
            print(redact(message), file=sys.stderr, flush=True)
    sys.exit(code)


def _stdout_is_closed() -> bool:
    """Return whether the reader of the output has gone, as `head` does; further output is then discarded."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    closed = any(event & select.POLLERR for _, event in poll.poll(0))
    if closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return closed


def _unforeseen(error: Exception) -> str:
    return f"{type(error).__name__}: {error}\nThe traceback is in {_write_log()}"


def _write_log() -> Path:
    with tempfile.NamedTemporaryFile("w", prefix="harness-", suffix=".log", delete=False) as file:
        file.write(redact(traceback.format_exc()))
    return Path(file.name)
