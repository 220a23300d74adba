"""Runs `python -m MODULE …` in a process forked from one that has imported the large libraries.

The imports of MLflow and what it needs take more than a second of CPU, and the suite runs hundreds of commands. Only
libraries are imported in advance: every command imports vbench's own modules itself, and has its own environment,
folder and output. A variable that the interpreter or a library reads when it starts (`AT_START`) must have the same
value as in this process; otherwise `run` returns None, and the caller starts an interpreter as usual.

The forking process ends when its standard input is closed, which also happens if pytest is killed. It forks for each
connection, so commands can run at the same time.
"""

from __future__ import annotations

import atexit
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
from collections.abc import Mapping, Sequence
from pathlib import Path

AT_START = ("PYTHON", "LD_", "HF_", "TRANSFORMERS_", "MLFLOW_")
LIBRARIES = (
    "alembic.command", "hydra._internal.hydra", "mlflow.store.tracking.sqlalchemy_store", "pandas", "rich.live",
    "scipy.special", "submitit",
)  # fmt: skip
UNWANTED = ("vbench", "pynvml", "huggingface_hub", "matplotlib")  # ours, fakes, and what reads the environment


def run(
    module: str, words: Sequence[str], cwd: Path, env: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str] | None:
    """The command, to its end; None if it needs an interpreter of its own. Raises TimeoutExpired after killing it."""
    if _at_start(env) != _at_start(dict(_parent_environment(env["PYTHONPATH"]))):
        return None
    argv = [sys.executable, "-m", module, *words]
    with tempfile.TemporaryDirectory(prefix="vbench-warm-") as place, socket.socket(socket.AF_UNIX) as connection:
        out, err = Path(place, "out"), Path(place, "err")
        connection.connect(_parent(env["PYTHONPATH"]))
        asked = {"module": module, "words": words, "cwd": str(cwd), "env": dict(env), "out": str(out), "err": str(err)}
        connection.sendall(json.dumps(asked).encode() + b"\n")
        connection.settimeout(timeout_s)
        answers = connection.makefile()
        pid = int(answers.readline())
        try:
            code = int(answers.readline())
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(argv, timeout_s, out.read_bytes(), err.read_bytes()) from None
        return subprocess.CompletedProcess(argv, code, out.read_text(), err.read_text())


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
    """Tells the command's pid, waits for its end, tells its code; returns in the command's own process."""
    with connection.makefile() as asking:
        request = json.loads(asking.readline())
    child = os.fork()
    if not child:
        connection.close()
        _become(request)
        return request
    connection.sendall(f"{child}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    connection.sendall(f"{code}\n".encode())
    os._exit(0)


def _become(request: dict[str, object]) -> None:
    for number, path in enumerate((os.devnull, request["out"], request["err"])):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
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
