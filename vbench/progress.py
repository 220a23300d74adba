"""What people see while a campaign runs: a line an event, and on a terminal a moving status below."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vbench.intervals import interval
from vbench.plan import Run, Session
from vbench.record import Failure, Record

COLUMNS = {
    "output tok/s": "output_throughput",
    "TTFT ms": "median_ttft_ms",
    "ITL ms": "median_itl_ms",
    "p99 ITL ms": "p99_itl_ms",
}
COLOURS = {"VALID": "green", "INVALID": "yellow", "FAILED": "red"}


class Progress:
    """Prints the story of a campaign as it happens, and remembers its records for the table at the end.

    `on_record` is called with the folder of each new record, at once.
    """

    def __init__(self, on_record: Callable[[Path], object] = lambda _: None) -> None:
        self.console = Console(highlight=False)
        self.records: list[Record] = []
        self._on_record = on_record
        self._status = self.console.status("")

    @property
    def exit_code(self) -> int:
        """0 if every run is VALID, else 1."""
        return int(any(record.verdict != "VALID" for record in self.records))

    @contextmanager
    def starting(self, session: Session, folder: Path) -> Iterator[None]:
        count = session.parallelism.data_parallel_size or 1
        servers = "1 server" if count == 1 else f"{count} servers"
        points = _points(len(session.runs))
        doing = f"starting {servers} for {points}, log {folder}/server.log"
        if session.attached:
            doing = f"{points} on the server at {session.engine.base_url}"
        self.say(f"[bold]{session.folder}[/]: {doing}")
        with self._status:
            self._status.update(f"{session.folder}: starting")
            yield

    def ready(self, session: Session, start: dict[str, Any]) -> None:
        memory = f", KV cache {start['kv_cache_tokens']:,} tokens" if "kv_cache_tokens" in start else ""
        ready = f"ready after {start['start_s']:.1f} s" if "start_s" in start else "answers"
        self.say(f"  {ready}: engine {start['version']}{memory}")
        self._status.update(f"{session.folder}: warming up")

    def ticking(self, run: Run) -> Callable[[int, int], None]:
        """A callback for (completed requests, tokens so far)."""
        total = run.config.workload.num_prompts
        self._status.update(run.name)
        return lambda completed, tokens: self._status.update(
            f"{run.name}: {completed}/{total} replies, {tokens:,} tokens"
        )

    def recorded(self, record: Record, folder: Path) -> None:
        self.records.append(record)
        self.say(f"  {escape(record.name)}: {_numbers(record)}")
        for reason in record.invalid:
            self.say(f"    [yellow]{reason.code}[/]: {escape(reason.sentence)}")
        self._on_record(folder)

    def known(self, record: Record) -> None:
        """A run that was measured before and is not measured again."""
        self.records.append(record)

    def failed(self, failure: Failure, folder: Path) -> None:
        """The session ended early: what it has not measured fails for this reason."""
        log = folder / "server.log"
        self.say(f"  [red]{failure.kind}[/]: {escape(failure.line)}" + (f"\n  log: {log}" if log.exists() else ""))

    def say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True)

    def summary(self) -> None:
        """One table of all points, measured now or known before; repeats share a row, as mean ± half-width."""
        table = Table("run", *COLUMNS, "verdict", box=None, pad_edge=False)
        for column in table.columns[1:-1]:
            column.justify = "right"
        points = _points_of(self.records)
        for records in points:
            table.add_row(escape(_name(records)), *_cells(records), _verdict(records))
        self.console.print(table)
        if any(len(_valid(records)) > 1 for records in points):
            self.say("±: half the 95 % t interval of the mean over VALID repeats")


def _points_of(records: list[Record]) -> list[list[Record]]:
    """The records of each point: those that differ in their seed only, least seed first."""
    points: dict[str, list[Record]] = {}
    for record in records:
        load = {**record.config["workload"], "seed": None}
        points.setdefault(json.dumps([record.experiment, record.session, load], sort_keys=True), []).append(record)
    return [sorted(point, key=_seed) for point in points.values()]


def _name(records: list[Record]) -> str:
    if len(records) == 1:
        return records[0].name
    return records[0].name.removesuffix(f" s{_seed(records[0])}")


def _cells(records: list[Record]) -> list[str]:
    shown = records if len(records) == 1 else _valid(records)  # one run is shown even where it is not to be trusted
    means = [interval(each.metrics[key] for each in shown if key in each.metrics) for key in COLUMNS.values()]
    return ["" if math.isnan(mean.mean) else f"{mean:,.1f}" for mean in means]


def _verdict(records: list[Record]) -> str:
    reasons: list[str] = [each.failure.kind for each in records if each.failure]
    reasons += [reason.code for each in records if not each.failure for reason in each.invalid]
    why = ", ".join(dict.fromkeys(reasons))
    if len(records) == 1:
        return f"[{COLOURS[records[0].verdict]}]{records[0].verdict}[/] {why}"
    valid = len(_valid(records))
    colour = COLOURS["VALID" if valid == len(records) else "INVALID" if valid else "FAILED"]
    return f"[{colour}]{valid} of {len(records)} VALID[/] {why}"


def _valid(records: list[Record]) -> list[Record]:
    return [record for record in records if record.verdict == "VALID"]


def _seed(record: Record) -> int:
    return int(record.config["workload"]["seed"])


def _numbers(record: Record) -> str:
    verdict = f"[{COLOURS[record.verdict]}]{record.verdict}[/]"
    if "output_throughput" not in record.metrics:
        return verdict
    found = record.metrics
    parts = [f"{found['output_throughput']:,.1f} tok/s"]
    parts += [f"ITL {found['median_itl_ms']:.2f} ms"] if "median_itl_ms" in found else []
    parts += [f"TTFT {found['median_ttft_ms']:.1f} ms"] if "median_ttft_ms" in found else []
    return f"{', '.join(parts)} (medians)  {verdict}"


def _points(count: int) -> str:
    return "1 point" if count == 1 else f"{count} points"
