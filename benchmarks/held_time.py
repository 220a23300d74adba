"""Prints where the time went for which sessions held their GPUs, second by second, from their records.

    python benchmarks/held_time.py multirun/EXPERIMENT
    python benchmarks/held_time.py docs/results/hopper-vllm-0.26/rounds/records.zip

It reads `events.jsonl`, logs of servers and `record.json`, in folders and archives. The first table has a row for each
session. Then each session has a table of its parts: when each began, counted from the lease, and how long it took. A
part ends with the event or the line of vLLM's log that its name tells of. The log's times are whole seconds, so parts
of a start are right within a second; all others are exact.

    imports   the server's processes start and import vLLM, one after another, before the GPU has anything to do
    engine    from the engine's first line until the server answers: weights, compilation, CUDA graphs
    rehearsal every shape of the loads, before the first is measured
    load      from a run's first request to its last reply, as the record counts it; also of runs measured again
    pauses    prompts and checks before a load; metrics, verdict and files after it
    end       from the last record until the servers' processes and their memory are gone
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from vbench.engine.compilelog import COLOUR, STAMP, correct_zone  # noqa: E402
from vbench.schema.archives import walk_runs  # noqa: E402
from vbench.schema.record import find_record  # noqa: E402
from vbench.watch import Event, EventReader  # noqa: E402

KINDS = ("imports", "engine", "rehearsal", "load", "pauses", "end")
# The first lines of vLLM 0.24 to 0.26 that end a part of a start, in the order in which they come.
ENDS = (
    ("imports", "front end: Python and vLLM", re.compile(r"\(APIServer")),
    ("imports", "front end: which class the model has", re.compile(r"Resolved architecture")),
    ("imports", "engine process: Python and vLLM", re.compile(r"\(EngineCore")),
    ("imports", "worker processes: Python and vLLM", re.compile(r"\(Worker")),
    ("engine", "device and communication", re.compile(r"Loading model from scratch|Starting to load model")),
    ("engine", "weights", re.compile(r"Model loading took")),
    ("engine", "torch.compile or its cache", re.compile(r"torch\.compile (?:took|takes)")),
    ("engine", "profiling, size of the KV cache", re.compile(r"GPU KV cache size")),
    ("engine", "CUDA graphs", re.compile(r"Graph capturing finished")),
    ("engine", "warm-up", re.compile(r"init engine \(profile")),
)


@dataclass(frozen=True)
class Part:
    """A part of the time for which a session held its GPUs; `at_s` counts from the lease."""

    kind: str
    name: str
    at_s: float
    seconds: float


@dataclass(frozen=True)
class Mark:
    """The end of a part, in seconds since 1970."""

    t: float
    kind: str
    name: str


def split_lease(events: Sequence[Event], logs: Iterable[str], loads: Mapping[str, float]) -> list[Part]:
    """The parts of one lease, from its event `leased` to its last event: they add up to the time that it lasted.

    `logs`: of the first server, and of those before it. `loads`: seconds under load, by the run's folder.
    """
    began, until = events[0].t, events[-1].t
    marks = [*_mark_events(events), *_mark_loads(events, loads)]
    marks += [mark for log in logs for mark in _mark_start(log, began, until)]
    ordered = [
        Mark(began, "", ""),
        *sorted((mark for mark in marks if began <= mark.t <= until), key=lambda mark: mark.t),
    ]
    return [Part(end.kind, end.name, start.t - began, end.t - start.t) for start, end in pairwise(ordered)]


def _mark_events(events: Sequence[Event]) -> Iterator[Mark]:
    for event in events:
        if event.kind == "starting":
            yield Mark(event.t, "imports", "facts of the host, load processes")
        elif event.kind == "ready":
            yield Mark(event.t - float(event.facts.get("rehearsal_s", 0.0)), "engine", "until the server answers")
            yield Mark(event.t, "rehearsal", _describe_rehearsal(event))
        elif event.kind in ("ended", "failed"):
            yield Mark(event.t, "end", f"the session {event.kind}")


def _describe_rehearsal(ready: Event) -> str:
    told = {"rehearsal_rounds": "rounds", "rehearsal_steps": "steps", "rehearsal_cold_s": "s compiling them"}
    said = [f"{ready.facts[key]:g} {word}" for key, word in told.items() if key in ready.facts]
    return ", ".join(said) or "none"


def _mark_loads(events: Sequence[Event], loads: Mapping[str, float]) -> Iterator[Mark]:
    """The ends of loads and of the pauses around them. A run that was measured again has several loads."""
    begun: list[float] = []
    for event in events:
        if event.kind == "measuring":
            begun.append(event.t)
        elif event.kind == "recorded":
            names = _name_loads(str(event.facts["folder"]), len(begun), loads)
            for name, start, end in zip(names, begun, [*begun[1:], event.t], strict=True):
                yield Mark(start, "pauses", "before a load: prompts, checks")
                yield Mark(min(start + loads[name], end) if name in loads else end, "load", name)
            yield Mark(event.t, "pauses", "after a load: metrics, verdict, files")
            begun.clear()


def _name_loads(folder: str, count: int, loads: Mapping[str, float]) -> list[str]:
    """The folders of a run's loads in the order of measuring; "no record" for one that left none."""
    aside = sorted(
        (name for name in loads if name.rpartition(".")[0] == folder), key=lambda name: int(name.rpartition(".")[2])
    )
    found = [*aside, folder][-count:] if count else []
    return ["no record"] * (count - len(found)) + found


def _mark_start(log: str, began: float, until: float) -> Iterator[Mark]:
    """The ends of the parts of one server's start: the first line that tells of each."""
    stamped = [(at, line) for line in COLOUR.sub("", log).splitlines() if (at := _parse_time(line, began, until))]
    for kind, name, pattern in ENDS:
        if first := next((at for at, line in stamped if pattern.search(line)), None):
            yield Mark(first, kind, name)


def _parse_time(line: str, began: float, until: float) -> float | None:
    """The time of a line of vLLM's, in seconds since 1970; None if it has none within the lease."""
    stamp = STAMP.search(line)
    if not stamp:
        return None
    year = datetime.fromtimestamp(began).year  # noqa: DTZ006  the log is in local time, and has no year
    at = datetime.strptime(f"{year} {stamp[1]}", "%Y %m-%d %H:%M:%S").timestamp()  # noqa: DTZ007
    return correct_zone(at, began, until)


def find_leases(root: Path) -> dict[str, list[Part]]:
    """The parts of each lease at or below `root`, by the session's name."""
    events: dict[str, list[Event]] = {}
    logs: dict[str, list[str]] = {}
    loads: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for run in walk_runs(root, raw=False):
        record = find_record(run)
        if record is None:
            continue
        name = f"{record.experiment}/{record.session} {record.environment.get('held_since', '')[:19]}"
        if name not in events:
            events[name] = EventReader(run.parent).read()
            logs[name] = [log.read_text(errors="replace") for log in sorted(run.parent.glob("server.log*"))]
        if "duration" in record.metrics:
            warmup_s = record.config["workload"].get("warmup_s") or 0.0  # a duration begins after it
            loads[name][run.name] = record.metrics["duration"] + warmup_s
    leases = {name: _find_lease(found, name) for name, found in events.items()}
    return {name: split_lease(lease, logs[name], loads[name]) for name, lease in leases.items() if lease}


def _find_lease(events: Sequence[Event], name: str) -> list[Event]:
    """The events of the lease in which the records were made that have this name; a resumed session has several."""
    leases: list[list[Event]] = []
    for event in events:
        if event.kind == "leased":
            leases.append([])
        if leases and event.kind != "unreadable":
            leases[-1].append(event)
    since = name.rpartition(" ")[2]
    alike = [lease for lease in leases if datetime.fromtimestamp(lease[0].t, timezone.utc).isoformat()[:19] == since]
    return alike[0] if alike else []


def print_sessions(leases: Mapping[str, Sequence[Part]]) -> None:
    print(f"| session | held s | {' | '.join(KINDS)} | under load |\n|---|---:|{'---:|' * (len(KINDS) + 1)}")
    for name, parts in leases.items():
        sums = {kind: sum(part.seconds for part in parts if part.kind == kind) for kind in KINDS}
        held = sum(part.seconds for part in parts)
        cells = " | ".join(f"{seconds:.1f}" for seconds in sums.values())
        print(f"| {name} | {held:.1f} | {cells} | {sums['load'] / held:.0%} |")


def print_parts(name: str, parts: Sequence[Part]) -> None:
    print(f"\n{name}\n\n| at s | s | kind | what |\n|---:|---:|---|---|")
    for part in parts:
        print(f"| {part.at_s:.1f} | {part.seconds:.2f} | {part.kind} | {part.name} |")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    leases = find_leases(Path(sys.argv[1]))
    if not leases:
        sys.exit(f"{sys.argv[1]}: no records of sessions that held GPUs there")
    print_sessions(leases)
    for name, parts in leases.items():
        print_parts(name, parts)


if __name__ == "__main__":
    main()
