"""The records of a session: those in its folder, and those that only the store has."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import vbench
from vbench import tracking
from vbench.plan.reusable import is_reusable
from vbench.plan.sessions import Run, Session
from vbench.schema import Rerun
from vbench.schema.record import RECORD, Failure, Record, find_record, is_aside, put_aside, record_flaw
from vbench.session.context import blank_record
from vbench.watch import Event


@dataclasses.dataclass
class Results:
    """The records of one session."""

    session: Session
    folder: Path
    in_store: dict[str, Record] = dataclasses.field(default_factory=dict)  # by run key: records that only the store has
    unreadable_in_store: list[str] = dataclasses.field(default_factory=list)  # what is wrong with each such record

    def pair_with_records(self) -> Iterator[tuple[Run, Record | None]]:
        """The runs of the plan with their records, from disk or from the store."""
        for run in self.session.runs:
            yield run, find_record(self.folder / run.folder) or self.in_store.get(run.key)

    def find_missing(self, rerun: Rerun) -> tuple[Run, ...]:
        """The runs to be measured."""
        return tuple(run for run, record in self.pair_with_records() if not is_reusable(record, rerun))

    def find_on_disk(self) -> Iterator[tuple[Path, Record]]:
        """The records on disk with their run folders: the probes of a search before the search itself."""
        for run in self.session.runs:
            record = find_record(self.folder / run.folder)
            if record and run.config.workload.search:
                yield from self._probes(run)
            if record:
                yield self.folder / run.folder, record

    def collect_for_summary(self) -> list[Record]:
        """All records, under this campaign's run names: an earlier one may have named the same runs differently."""
        found = [record for _, record in self.find_on_disk()]
        found += [record for run, record in self.in_store.items() if all(run != each.run_key for each in found)]
        names = {run.key: run.name for run in self.session.runs}
        return [dataclasses.replace(each, name=names.get(each.run_key, each.name)) for each in found]

    def record_failure(self, run: Run, failure: Failure, began: datetime) -> Event:
        """Records the run as failed, and puts an earlier record aside; returns the event for it."""
        folder = self.folder / run.folder
        put_aside(folder)
        folder.mkdir(parents=True, exist_ok=True)
        record = dataclasses.replace(
            blank_record(self.session, run, {"vbench": vbench.__version__}, began), failure=failure
        )
        record.save(folder)
        return Event.for_record(record, folder)

    def put_probes_aside(self, runs: Sequence[Run]) -> None:
        """Puts old probes of these searches aside, so that they are not mistaken for new ones."""
        for folder, _ in [each for run in runs if run.config.workload.search for each in self._probes(run)]:
            put_aside(folder)

    def describe_unreadable(self) -> Iterator[str]:
        """A line for each record that this version cannot read. One on disk is kept next to its successor."""
        yield from (f"{flaw}; ignored" for flaw in self.unreadable_in_store)
        for run in self.session.runs:
            folder = self.folder / run.folder
            if flaw := record_flaw(folder):
                yield f"{folder / RECORD}: not a record of this version ({flaw}); ignored"

    def _probes(self, run: Run) -> Iterator[tuple[Path, Record]]:
        for path in sorted(self.folder.glob(f"*/{RECORD}"), key=lambda path: path.stat().st_mtime):
            probe = find_record(path.parent)
            if probe and probe.parent == run.key and not is_aside(path.parent):
                yield path.parent, probe


def look_up_store(results: list[Results]) -> set[str]:
    """Returns the digests of the records in the store; adds records that only the store has to the results.

    If the store is unreachable, nothing is added; the delivery reports why records cannot be filed.
    """
    try:
        filed = {name: tracking.standing(name) for name in {each.session.experiment for each in results}}
    except tracking.TrackingFailed:
        return set()
    for each in results:
        for run, record in each.pair_with_records():
            there = filed[each.session.experiment].get(run.key)
            if record is None and there:
                try:
                    each.in_store[run.key] = tracking.record(there.run_id)
                except (tracking.TrackingFailed, tracking.UnreadableRecord) as error:
                    each.unreadable_in_store.append(str(error))
    return {standing.digest for runs in filed.values() for standing in runs.values()}
