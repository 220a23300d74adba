"""A tracking server of MLflow's own, for a while."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from vbench.host.ports import find_free_ports

UP_S = 180


@contextmanager
def serving(folder: Path):
    """Its address, on a free port of loopback; what it stores is below the folder."""
    pytest.importorskip("flask", reason="needs full mlflow")
    (port,) = find_free_ports(1)
    url = f"http://127.0.0.1:{port}"
    stores = [f"--backend-store-uri=sqlite:///{folder}/server.db", f"--artifacts-destination={folder}/artifacts"]
    command = [sys.executable, "-m", "mlflow", "server", *stores, "--workers=1", f"--port={port}"]
    env = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with subprocess.Popen(command, env=env, stdout=-3, stderr=-3, start_new_session=True) as process:
        try:
            _wait_for(url, process)
            yield url
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + UP_S
    while not _answers(url):
        assert process.poll() is None, f"the server has ended with {process.returncode}"
        assert time.monotonic() < deadline, f"{url} did not come up"
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/health", timeout=5).close()
    except OSError:
        return False
    return True
