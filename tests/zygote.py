"""Commands in processes of their own that need not import torch again: each is forked off one that has.

What a forked command does is what `python -m harness` does, but for the imports: tests of those, and of variables that
are read at import, start a real process.
"""

import atexit
import json
import os
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]


class Zygote:
    """The process that is forked off; `run` is like subprocess.run of the command."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.zygote", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=os.environ | {"PYTHONPATH": path},
            cwd=ROOT,
        )
        theirs.close()

    def run(self, words: Sequence[str], cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:
            message = json.dumps({"words": list(words), "cwd": str(cwd), "env": dict(env)}).encode()
            socket.send_fds(self._socket, [len(message).to_bytes(8, "big")], [out.fileno(), error.fileno()])
            self._socket.sendall(message)
            answer = self._socket.recv(4)
            assert answer, "the process that commands are forked off has ended"
            out.seek(0)
            error.seek(0)
            code = int.from_bytes(answer, "big", signed=True)
            return subprocess.CompletedProcess(list(words), code, out.read(), error.read())

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.wait(10)


def serve(asked: socket.socket) -> None:
    """Fork a command for each message, until the other side closes."""
    import harness.cluster.launchers.registry
    import harness.cluster.single
    import harness.report
    import harness.trial.run  # noqa: F401  with torch and Lightning

    while True:
        size, fds, _, _ = socket.recv_fds(asked, 8, 2)
        if not size:
            return
        message = b""
        while len(message) < int.from_bytes(size, "big"):
            message += asked.recv(1 << 16)
        child = os.fork()
        if child == 0:
            asked.close()
            _become(json.loads(message), fds)
        for handle in fds:
            os.close(handle)
        _, status = os.waitpid(child, 0)
        asked.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))


def _become(message: dict[str, object], fds: Sequence[int]) -> None:
    """Be the command, and end as it does."""
    from harness.__main__ import main

    out, error = fds
    os.dup2(out, 1)
    os.dup2(error, 2)
    os.chdir(str(message["cwd"]))
    os.environ.clear()
    os.environ.update(message["env"])  # type: ignore[call-overload]
    sys.argv = ["harness", *message["words"]]  # type: ignore[misc]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    with suppress(BaseException):
        atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
