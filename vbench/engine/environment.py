"""The environment of a run: versions, host and job. Collected once per session."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vbench
from vbench.engine.identity import ask_engine_version, ask_versions
from vbench.host import gpus
from vbench.schema import Engine


def describe_environment(engine: Engine, uuids: Sequence[str]) -> dict[str, Any]:
    """Facts of this host and its software; `uuids` are the GPUs of the session. Values are JSON.

    If the server is external, this host is only the client's, and facts of the server's host are left out.
    """
    remote = engine.base_url is not None
    used = [gpu for gpu in gpus.find_gpus() if gpu.uuid in uuids]
    return {
        "vbench": vbench.__version__,
        "git": _describe_git(),
        "engine": ask_engine_version(engine),
        "torch": None if remote else ask_versions(engine).get("torch"),
        "python": platform.python_version(),
        "host": platform.node(),
        "kernel": platform.release(),
        "cpu": "remote server" if remote else _read_cpu_name(),
        "cores": os.cpu_count(),
        "gpus": [gpu.product for gpu in used],
        "gpu_uuids": [gpu.uuid for gpu in used],
        "driver": None if remote else gpus.read_driver_version(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "slurm_node": os.environ.get("SLURMD_NODENAME"),
    }


def _describe_git() -> str | None:
    here = Path(__file__).parents[2]
    if not (here / ".git").exists():  # installed as a wheel: the repository around it is not ours
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # compute nodes and images often have no git
        return None
    return answer.stdout.strip() or None


def _read_cpu_name() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "unknown")
