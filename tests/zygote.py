"""Processes of Python that need not import torch again: each is forked off one that has.

A forked process does what a started one does, but for its imports, and for variables that are read at import: tests of
those start a real process. `popen` gives a child of this process, with its own id, pipes and signals; where it starts
commands of its own, those are forked, too.
"""

import atexit
import ctypes
import functools
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

ROOT = Path(__file__).parents[1]
IMPORTED = (
    *("harness.__main__", "harness.cluster.launchers.registry", "harness.cluster.single", "harness.report"),
    *("harness.trial.run", "torch._dynamo", "wandb"),
)
_SET_CHILD_SUBREAPER = 36  # prctl(2)
_libc = ctypes.CDLL(None)


@contextmanager
def _adopting() -> Iterator[None]:
    """Become the parent of grandchildren whose parent ends."""
    _libc.prctl(_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        _libc.prctl(_SET_CHILD_SUBREAPER, 0)


class _Nursery:
    """The socket of the process that is forked off."""

    def __init__(self, asked: socket.socket) -> None:
        self._socket = asked

    def fork_exec(
        self,
        args: Sequence[str],
        _executables: object,
        _close_fds: object,
        _kept: object,
        cwd: str | None,
        environment: Sequence[bytes] | None,
        *rest: Any,
    ) -> int:
        """As subprocess has it, of arguments that begin with a Python: a child of this process, and its id."""
        stdin, _, _, stdout, _, stderr, _, _, _, new_session, _, _, _, _, umask, *_ = rest
        told = [pair.decode().partition("=") for pair in environment or ()]
        message = {
            "arguments": list(args)[1:],
            "cwd": str(cwd or Path.cwd()),
            "environment": {name: value for name, _, value in told} if told else dict(os.environ),
            "new_session": bool(new_session),
            "umask": umask,
        }
        content = json.dumps(message).encode()
        fds = [own if given == -1 else given for given, own in zip((stdin, stdout, stderr), range(3), strict=True)]
        with _adopting():
            socket.send_fds(self._socket, [len(content).to_bytes(8, "big")], fds)
            self._socket.sendall(content)
            answer = self._socket.recv(8)
        assert answer, "the process that others are forked off has ended"
        return int.from_bytes(answer, "big")


class Zygote:
    """The process that is forked off, started with what an environment says."""

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

    def popen(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start what `python ARGUMENTS` starts, `-m MODULE …` or `-c CODE …`; options and texts as of subprocess."""
        with mock.patch.object(subprocess, "_fork_exec", _Nursery(self._socket).fork_exec):
            return subprocess.Popen([sys.executable, *arguments], text=True, **options)

    def python(self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run what `python ARGUMENTS` runs, to its end."""
        pipe = subprocess.PIPE
        with self.popen(arguments, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as process:
            out, error = process.communicate()
        return subprocess.CompletedProcess(list(arguments), process.returncode, out, error)

    def run(self, words: Sequence[str], cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return self.python(["-m", "harness", *words], cwd, env)

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.wait(10)


def serve(asked: socket.socket) -> None:
    """Fork a process for each message and answer with its id, until the other side closes."""
    while True:
        size, fds, _, _ = socket.recv_fds(asked, 8, 3)
        if not size:
            return
        message = b""
        while len(message) < int.from_bytes(size, "big"):
            message += asked.recv(1 << 16)
        pid = _orphan(functools.partial(_become, json.loads(message), fds, asked))
        for handle in fds:
            os.close(handle)
        asked.sendall(pid.to_bytes(8, "big"))


def _orphan(live: Callable[[], NoReturn]) -> int:
    """Fork a process whose parent has ended; its id."""
    read, write = os.pipe()
    if between := os.fork():
        os.close(write)
        os.waitpid(between, 0)
        pid = int.from_bytes(os.read(read, 8), "big")
        os.close(read)
        return pid
    if pid := os.fork():
        os.write(write, pid.to_bytes(8, "big"))
        os._exit(0)
    try:
        os.close(read)
        os.close(write)
        live()
    finally:  # whatever it was, no second server
        traceback.print_exc()
        os._exit(70)


def _become(message: dict[str, Any], fds: Sequence[int], asked: socket.socket) -> NoReturn:
    """Be the process, and end as it does."""
    asked.close()
    _fork_own_commands(fds)
    for number, handle in enumerate(fds):
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    if message["new_session"]:
        os.setsid()
    if message["umask"] >= 0:
        os.umask(message["umask"])
    os.chdir(message["cwd"])
    os.environ.clear()
    os.environ.update(message["environment"])
    code = _run(message["arguments"], message["cwd"])
    with suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _fork_own_commands(fds: Sequence[int]) -> None:
    """Have what this process starts of harness forked by a child that is as this process is now."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        for handle in (ours.detach(), *fds):
            os.close(handle)
        serve(theirs)
        os._exit(0)
    theirs.close()
    nursery, real = _Nursery(ours), subprocess._fork_exec  # type: ignore[attr-defined]

    def fork_exec(args: Sequence[str], *rest: Any) -> int:
        is_ours = args[:2] == [sys.executable, "-m"] and args[2].partition(".")[0] == "harness"
        return int((nursery.fork_exec if is_ours else real)(args, *rest))

    subprocess._fork_exec = fork_exec  # type: ignore[attr-defined]


def _run(arguments: Sequence[str], cwd: str) -> int:
    """What `python ARGUMENTS` does, and its exit code."""
    kind, what, *words = arguments
    sys.orig_argv = [sys.executable, *arguments]
    sys.argv = [kind, *words]
    sys.path[:1] = [cwd, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    import torch  # there since _import_all

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    try:
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _import_all() -> None:
    """What commands import at once or in their course."""
    for name in IMPORTED:
        importlib.import_module(name)
    del sys.modules["harness.__main__"]  # each process runs it anew
    os.fsync = lambda _: None  # for a loss of power, which no test has
    importlib.import_module("harness.trial.adapt").LATENCY_PASSES = 1  # no test looks at how long they take
    _find_out()
    importlib.import_module("tests.frozen")


def _find_out() -> None:
    """What each command finds out once, the same for all: what made it, and the tables of the overrides' grammar."""
    provenance = importlib.import_module("harness.trial.provenance")
    provenance.source()
    provenance.versions()
    importlib.import_module("tests.commands").compose_tree(["run=study", "sweep=rank_alpha_lr"])


if __name__ == "__main__":
    _import_all()
    serve(socket.socket(fileno=int(sys.argv[1])))
