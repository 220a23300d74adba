"""The events of a session: one line of JSON each, appended to `events.jsonl` in the session's folder.

    waiting   wanted                         it waits for these GPUs and cores
    leased    gpus                           it holds these GPUs (UUIDs)
    starting  servers, points, url           url: of a running server, else null; fastest_s, slowest_s of earlier starts
    rehearsing steps, of, left_s             progress of a long rehearsal: prefill steps sent, of how many
    ready     start_s, version, …            the servers answer; facts that they report
    measuring run, name, replies             a run begins: its key and name, and the number of replies to expect
    tick      run, replies, tokens           progress of the run, at most once a second; elapsed_s of its load;
                                             ttft_ms, itl_ms: the latest
    loading   line                           while the servers start: the telling part of the log's last line, or when
                                             a server that is not ours asked to be asked again
    recorded  run, folder, verdict           the run's record is on disk, in this subfolder of the session's folder
    failed    kind, line, log                a server or the load client ended early
    ended     how                            the last event of this process

The driver follows the file as it grows, because the job may run on another host. A job that resumes the session appends
to the same file.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vbench.loadgen import Progress
from vbench.plan.sessions import Run, Session
from vbench.schema.record import Failure, Record
from vbench.schema.secrets import redact_plain
from vbench.watch.latencies import LatestLatencies

EVENTS = "events.jsonl"
TICK_S = 1.0
REHEARSING_S = 30.0  # between two reports of a rehearsal
HEAD = 64  # bytes
MAX_SHOWN = 120  # characters of an unreadable line
NUMBER = (int, float)
FACTS: dict[str, dict[str, Any]] = {  # required facts and their types, by kind
    "waiting": {"wanted": str},
    "starting": {"servers": int, "points": int, "url": (str, type(None))},
    "loading": {"line": str},
    "rehearsing": {"steps": int, "of": int, "left_s": NUMBER},
    "ready": {"version": str},
    "measuring": {"run": str, "name": str, "replies": int},
    "tick": {"run": str, "replies": NUMBER, "tokens": NUMBER},
    "recorded": {"run": str, "folder": str, "verdict": str},
    "failed": {"kind": str, "line": str, "log": (str, type(None))},
    "ended": {"how": str},
}
OPTIONAL: dict[str, dict[str, Any]] = {  # facts that are shown if they are there
    "starting": {"fastest_s": NUMBER, "slowest_s": NUMBER},
    "tick": {"elapsed_s": NUMBER, "ttft_ms": NUMBER, "itl_ms": NUMBER},
    "ready": {"start_s": NUMBER, "kv_cache_tokens": NUMBER, "max_model_len": (int, type(None)), "engines": int},
}


@dataclass(frozen=True)
class Event:
    """One event: its time, its kind and its facts."""

    t: float  # seconds since 1970
    kind: str
    facts: dict[str, Any] = field(default_factory=dict)

    def to_line(self) -> bytes:
        """The event as a line of `events.jsonl`, without secrets."""
        facts = redact_plain(self.facts)
        return json.dumps({"t": round(self.t, 3), "event": self.kind, **facts}).encode() + b"\n"

    @classmethod
    def for_record(cls, record: Record, folder: Path) -> Event:
        """The event that reports a record on disk in this folder."""
        facts = {"run": record.run_key, "folder": folder.name, "verdict": record.verdict}
        return cls(time.time(), "recorded", facts)

    @classmethod
    def parse(cls, line: bytes) -> Event:
        """Parses a line of `events.jsonl`. A line that is cut or of an unknown format gives an event `unreadable`."""
        try:
            facts = json.loads(line)
            event = cls(t=float(facts.pop("t")), kind=facts.pop("event"), facts=facts)
            valid = all(isinstance(facts[key], kind) for key, kind in FACTS.get(event.kind, {}).items())
            shown = OPTIONAL.get(event.kind, {})
            valid &= all(isinstance(facts[key], kind) for key, kind in shown.items() if key in facts)
        except (ValueError, KeyError, TypeError, AttributeError):
            valid = False
        return event if valid else cls(0.0, "unreadable", {"line": line.decode(errors="replace")[:MAX_SHOWN]})


class EventReader:
    """Reads the events of a session's folder; each call continues where the last one stopped.

    A file that has taken the place of the one read so far is read from its start: the session has a new job. On a
    network file system an older or shorter version of the file may be seen for a while.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / EVENTS
        self._offset = 0
        self._head = b""  # of the file read so far: its first event has a time, so no other file begins with it

    def read(self) -> list[Event]:
        """The new events, in order. A line that is not complete yet is left for the next call."""
        try:
            with self._path.open("rb") as file:
                self._begin_again_if_replaced(file.read(HEAD))
                file.seek(self._offset)
                appended = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            return []  # it has just been replaced; the next call reads the new one
        complete = appended[: appended.rfind(b"\n") + 1]
        self._offset += len(complete)
        return [Event.parse(line) for line in complete.splitlines()]

    def _begin_again_if_replaced(self, head: bytes) -> None:
        common = min(len(head), len(self._head))
        if head[:common] != self._head[:common]:
            self._head, self._offset = head, 0
        elif len(head) > common:
            self._head = head


class Events:
    """Writes a session's events and passes them to a listener. Each event is one append, so lines never interleave."""

    def __init__(self, folder: Path, listener: Callable[[Event], object] = lambda _: None) -> None:
        self._folder = folder
        self._listener = listener

    def write_waiting(self, wanted: str) -> None:
        """`wanted` is shown to people: "2 of h100"."""
        self._write("waiting", wanted=wanted)

    def write_leased(self, gpus: Sequence[str]) -> None:
        self._write("leased", gpus=list(gpus))

    def write_starting(self, session: Session, usual: tuple[float, float] | None = None) -> None:
        """`usual`: seconds of the fastest and the slowest of the latest starts like this one on this host."""
        known = {"fastest_s": round(usual[0], 1), "slowest_s": round(usual[1], 1)} if usual else {}
        servers = session.parallelism.data_parallel_size or 1
        self._write("starting", servers=servers, points=len(session.runs), url=session.engine.base_url, **known)

    def write_loading(self, line: str) -> None:
        self._write("loading", line=line)

    def write_rehearsing(self, total: int) -> Callable[[int], None]:
        """Returns `tick(steps)`, which reports how many of the rehearsal's steps were sent, if it takes long."""
        began = last = time.monotonic()

        def tick(steps: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= REHEARSING_S:
                last = now
                self._write("rehearsing", steps=steps, of=total, left_s=round((now - began) / steps * (total - steps)))

        return tick

    def write_ready(self, facts: dict[str, Any]) -> None:
        self._write("ready", **facts)

    def write_measuring(self, run: Run) -> Callable[[Progress], None]:
        """Reports that the run begins. Returns `tick(progress)`, which reports its totals and latest latencies."""
        self._write("measuring", run=run.key, name=run.name, replies=run.config.workload.request_count)
        last, latencies = time.monotonic(), LatestLatencies()

        def tick(progress: Progress) -> None:
            nonlocal last
            latencies.add(progress)
            if time.monotonic() - last >= TICK_S:
                last = time.monotonic()
                totals = {"replies": progress.completed, "tokens": progress.reads}
                elapsed_s = round(progress.elapsed_s, 3)
                self._write("tick", run=run.key, **totals, elapsed_s=elapsed_s, **latencies.summarise())

        return tick

    def write_recorded(self, record: Record, folder: Path) -> None:
        self._append(Event.for_record(record, folder))

    def write_failed(self, failure: Failure) -> None:
        log = self._folder / "server.log"
        self._write("failed", kind=failure.kind, line=failure.line, log=str(log) if log.exists() else None)

    def write_ended(self, how: str) -> None:
        """`how` is `completed`, or the reason why the session ended early."""
        self._write("ended", how=how)

    def _write(self, kind: str, /, **facts: Any) -> None:
        self._append(Event(time.time(), kind, facts))

    def _append(self, event: Event) -> None:
        file = os.open(self._folder / EVENTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, event.to_line())
        finally:
            os.close(file)
        self._listener(event)
