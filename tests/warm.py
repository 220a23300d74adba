"""Runs or starts `python -m MODULE …` in a process forked from one that has imported the large libraries.

The imports of MLflow and what it needs take more than a second of CPU, and the suite runs hundreds of commands. Only
libraries are imported in advance: every command imports vbench's own modules itself, and has its own environment,
folder and output. A variable that the interpreter or a library reads when it starts (`AT_START`) must have the same
value as in this process; otherwise `run` and `start` return None, and the caller starts an interpreter as usual.

The forking process ends when its standard input is closed, which also happens if pytest is killed. It forks for each
connection, so commands can run at the same time.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

AT_START = ("PYTHON", "LD_", "MLFLOW_")
LIBRARIES = (
    "alembic.command", "hydra._internal.hydra", "mlflow.store.tracking.sqlalchemy_store", "pandas", "rich.live",
    "scipy.special", "submitit",
)  # fmt: skip
UNWANTED = ("vbench", "pynvml", "huggingface_hub", "transformers", "matplotlib")  # ours, fakes, environment readers


def run(
    module: str, words: Sequence[str], cwd: Path, env: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str] | None:
    """The command, to its end; None if it needs an interpreter of its own. Raises TimeoutExpired after killing it."""
    if not _can_fork(env):
        return None
    argv = [sys.executable, "-m", module, *words]
    with tempfile.TemporaryDirectory(prefix="vbench-warm-") as place:
        out, err = Path(place, "out"), Path(place, "err")
        with Path(os.devnull).open() as nothing, out.open("a") as to_out, err.open("a") as to_err:
            files = [nothing.fileno(), to_out.fileno(), to_err.fileno()]
            command = Command(module, words, cwd, env, files, group=False)
        with command:
            try:
                code = command.wait(timeout_s)
            except subprocess.TimeoutExpired:
                command.kill()
                raise subprocess.TimeoutExpired(argv, timeout_s, out.read_bytes(), err.read_bytes()) from None
        return subprocess.CompletedProcess(argv, code, out.read_text(), err.read_text())


def start(module: str, words: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Command | None:
    """The command under way, as at a terminal: in a process group of its own, which Ctrl-C reaches as a whole."""
    if not _can_fork(env):
        return None
    (stdin, to_stdin), (from_stdout, stdout) = os.pipe(), os.pipe()
    try:
        command = Command(module, words, cwd, env, [stdin, stdout, stdout], group=True)
    finally:
        os.close(stdin)
        os.close(stdout)
    command.stdin, command.stdout = os.fdopen(to_stdin, "w"), os.fdopen(from_stdout)
    return command


class Command:
    """A command that was forked, with what tests use of a `subprocess.Popen`."""

    def __init__(
        self, module: str, words: Sequence[str], cwd: Path, env: Mapping[str, str], files: list[int], *, group: bool
    ) -> None:
        self.args = [sys.executable, "-m", module, *words]
        self.stdin: TextIO | None = None
        self.stdout: TextIO | None = None
        self.returncode: int | None = None
        self._heard = ""
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(_parent(env["PYTHONPATH"]))
        asked = {"module": module, "words": words, "cwd": str(cwd), "env": dict(env), "group": group}
        socket.send_fds(self._connection, [b" "], files)
        self._connection.sendall(json.dumps(asked).encode() + b"\n")
        self.pid = self._number()

    def poll(self) -> int | None:
        """Its code, None as long as it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its code, at its end. Raises TimeoutExpired, and leaves it running."""
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = self._number()
            self._connection.close()
        return self.returncode

    def communicate(self, said: str = "", timeout: float | None = None) -> tuple[str, None]:
        """Tells it this, and nothing more; what it printed until its end. Raises TimeoutExpired as `wait`."""
        until = None if timeout is None else time.monotonic() + timeout
        if not self.stdout.closed:
            self._hear(said, timeout)
        self.wait(None if until is None else max(until - time.monotonic(), 0))
        return self._heard, None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:  # until its code is read nothing else can have its pid
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Command:  # noqa: PYI034  Python 3.10 has no typing.Self
        return self

    def __exit__(self, *_: object) -> None:
        for each in filter(None, (self.stdin, self.stdout)):
            with contextlib.suppress(BrokenPipeError):
                each.close()
        self.wait()

    def _hear(self, said: str, timeout: float | None) -> None:
        with contextlib.suppress(BrokenPipeError), self.stdin:
            self.stdin.write(said)
        heard: list[str] = []
        listener = threading.Thread(target=lambda: heard.append(self.stdout.read()), daemon=True)
        listener.start()
        listener.join(timeout)
        if listener.is_alive():
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.stdout.close()
        (self._heard,) = heard

    def _number(self) -> int:
        line = b""
        while not line.endswith(b"\n"):
            line += self._connection.recv(1) or b"\n"
        return int(line)


def _can_fork(env: Mapping[str, str]) -> bool:
    return _at_start(env) == _at_start(dict(_parent_environment(env["PYTHONPATH"])))


def _at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in env.items() if key.startswith(AT_START)}


def _parent_environment(path: str) -> Mapping[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return kept | {"PYTHONPATH": path}


@functools.cache
def _parent(path: str) -> str:
    """Starts the process that forks; the address at which it listens."""
    folder = tempfile.mkdtemp(prefix="warm-", dir="/tmp")  # a socket's path must be short
    address = f"{folder}/socket"
    parent = subprocess.Popen(
        [sys.executable, __file__, address],
        env=_parent_environment(path), cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(parent.wait)
    atexit.register(parent.stdin.close)
    assert parent.stdout.readline() == b"ready\n"
    return address


def _listen(address: str) -> dict[str, object]:
    """Answers connections until standard input ends; in a process that is to become a command, returns the request."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(16)
    os.write(1, b"ready\n")
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:
            os._exit(0)
        connection, _ = listener.accept()
        if not os.fork():
            listener.close()
            return _serve(connection)
        connection.close()
        _reap()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _serve(connection: socket.socket) -> dict[str, object]:
    """Tells the command's pid, waits for its end, tells its code; returns in the command's own process.

    Until the caller hangs up the command keeps its pid, so a late signal reaches nobody else.
    """
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile() as asking:
        request = json.loads(asking.readline())
    child = os.fork()
    if not child:
        connection.close()
        _become(request, files)
        return request
    for each in files:
        os.close(each)
    connection.sendall(f"{child}\n".encode())
    code = _told(os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT))
    with contextlib.suppress(OSError):
        connection.sendall(f"{code}\n".encode())
        connection.recv(1)
    os.waitpid(child, 0)
    os._exit(0)


def _told(ended: os.waitid_result) -> int:
    """The code as subprocess tells it: minus the number of the signal that ended the command."""
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _become(request: Mapping[str, object], files: Sequence[int]) -> None:
    for number, opened in enumerate(files):
        os.dup2(opened, number)
        os.close(opened)
    # Streams of its own, as an interpreter has: those of this process remember whether its own files can be sought.
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    if request["group"]:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell is started deaf to it
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])


if __name__ == "__main__":
    for library in LIBRARIES:
        importlib.import_module(library)
    if unwanted := {each.partition(".")[0] for each in sys.modules} & {*UNWANTED}:
        sys.exit(f"imported by a library: {unwanted}")
    gc.collect()
    gc.freeze()
    asked = _listen(sys.argv[1])
    sys.path[0] = asked["cwd"]
    sys.argv = [asked["module"], *asked["words"]]
    runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
