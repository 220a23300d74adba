"""What a session tells as it goes: one line of JSON an event in its folder's `events.jsonl`, and a listener here.

    waiting   wanted                         for its share of the host
    leased    gpus                           it has it: UUIDs
    starting  servers, points, url           url: of a server that already runs
    ready     start_s, version, …            what the servers say of themselves
    measuring run, name, replies             the run's key; replies: how many will come
    tick      run, replies, tokens           so far; at most one a second
    recorded  run, folder, verdict           its record is on disk, in this folder of the session's
    failed    kind, line, log                the session's server, or its client, ended early
    ended     how                            nothing more comes from this process

A driver reads the file as it grows: the job may be on another host. A job that is taken up again goes on below.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vbench.plan.sessions import Run, Session
from vbench.schema.record import Failure, Record

EVENTS = "events.jsonl"
TICK_S = 1.0
LONGEST_SHOWN = 120  # characters of a line that is no event
NUMBER = (int, float)
FACTS: dict[str, dict[str, Any]] = {  # that readers rely on
    "waiting": {"wanted": str},
    "starting": {"servers": int, "points": int, "url": (str, type(None))},
    "ready": {"version": str},
    "measuring": {"run": str, "name": str, "replies": int},
    "tick": {"run": str, "replies": NUMBER, "tokens": NUMBER},
    "recorded": {"run": str, "folder": str, "verdict": str},
    "failed": {"kind": str, "line": str, "log": (str, type(None))},
    "ended": {"how": str},
}


@dataclass(frozen=True)
class Event:
    """One thing that happened."""

    t: float  # seconds since 1970
    kind: str
    facts: dict[str, Any] = field(default_factory=dict)

    def line(self) -> bytes:
        return json.dumps({"t": round(self.t, 3), "event": self.kind, **self.facts}).encode() + b"\n"

    @classmethod
    def recorded(cls, record: Record, folder: Path) -> Event:
        """Of a record that is on disk."""
        facts = {"run": record.run_key, "folder": folder.name, "verdict": record.verdict}
        return cls(time.time(), "recorded", facts)

    @classmethod
    def parse(cls, line: bytes) -> Event:
        """The event of a line. One that no version like this wrote, or that is cut, becomes `unreadable`."""
        try:
            facts = json.loads(line)
            event = cls(t=float(facts.pop("t")), kind=facts.pop("event"), facts=facts)
            known = all(isinstance(facts[key], kind) for key, kind in FACTS.get(event.kind, {}).items())
        except (ValueError, KeyError, TypeError, AttributeError):
            known = False
        return event if known else cls(0.0, "unreadable", {"line": line.decode(errors="replace")[:LONGEST_SHOWN]})


class EventReader:
    """What has been told in a session's folder since it was last read."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / EVENTS
        self._read = 0

    def read(self) -> list[Event]:
        """The new events, in order; half a line waits for its other half."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                whole = file.read()
        except FileNotFoundError:
            return []
        whole = whole[: whole.rfind(b"\n") + 1]
        self._read += len(whole)
        return [Event.parse(line) for line in whole.splitlines()]


class Events:
    """The session's voice. Each event is one append, so that a reader never sees half of two."""

    def __init__(self, folder: Path, listener: Callable[[Event], object] = lambda _: None) -> None:
        self._folder = folder
        self._listener = listener

    def waiting(self, wanted: str) -> None:
        """`wanted`, for people: "2 of h100"."""
        self._tell("waiting", wanted=wanted)

    def leased(self, gpus: Sequence[str]) -> None:
        self._tell("leased", gpus=list(gpus))

    def starting(self, session: Session) -> None:
        servers = session.parallelism.data_parallel_size or 1
        self._tell("starting", servers=servers, points=len(session.runs), url=session.engine.base_url)

    def ready(self, facts: dict[str, Any]) -> None:
        self._tell("ready", **facts)

    def measuring(self, run: Run) -> Callable[[int, int], None]:
        """Says that the run begins, and gives what to call with (completed requests, tokens so far)."""
        self._tell("measuring", run=run.key, name=run.name, replies=run.config.workload.num_prompts)
        last = time.monotonic()

        def tick(replies: int, tokens: int) -> None:
            nonlocal last
            if time.monotonic() - last >= TICK_S:
                last = time.monotonic()
                self._tell("tick", run=run.key, replies=replies, tokens=tokens)

        return tick

    def recorded(self, record: Record, folder: Path) -> None:
        self._pass_on(Event.recorded(record, folder))

    def failed(self, failure: Failure) -> None:
        log = self._folder / "server.log"
        self._tell("failed", kind=failure.kind, line=failure.line, log=str(log) if log.exists() else None)

    def ended(self, how: str) -> None:
        """`how`: completed, or the word for what cut it short."""
        self._tell("ended", how=how)

    def _tell(self, event: str, /, **facts: Any) -> None:
        self._pass_on(Event(time.time(), event, facts))

    def _pass_on(self, happened: Event) -> None:
        file = os.open(self._folder / EVENTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, happened.line())
        finally:
            os.close(file)
        self._listener(happened)
