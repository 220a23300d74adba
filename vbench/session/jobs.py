"""A session as the work of a job's process: read from its file, and ended when its time is over."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from vbench.schema.errors import Refused
from vbench.session import sessionfile
from vbench.session.story import execute
from vbench.watch import Event, Events


def run_job(path: str, minutes: float | None = None, listener: Callable[[Event], object] = lambda _: None) -> None:
    """Executes the session of this file; its events go to events.jsonl next to it, and to the listener.

    After `minutes`, counted from when it has its GPUs, the process gets the signal by which a scheduler ends a job.
    Raises SystemExit if the file is unusable, and Interrupted, a SystemExit, if the job is ended early.
    """
    folder = Path(path).parent
    try:
        session = sessionfile.read(Path(path))
    except Refused as refused:  # written by another version, or unreachable
        Events(folder).write_ended("refused")
        raise SystemExit(f"vbench: {refused}") from None

    def listen(event: Event) -> None:
        if minutes and event.kind == "leased":
            _end_after(minutes)
        listener(event)

    execute(session, folder, Events(folder, listen))


def _end_after(minutes: float) -> None:
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGUSR2))
    signal.setitimer(signal.ITIMER_REAL, minutes * 60)
