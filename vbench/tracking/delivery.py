"""Records on their way into MLflow, filed one after another beside whoever measures.

Nothing waits for the store: where it is out of reach a record waits on disk, and is said to.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Container
from pathlib import Path
from queue import SimpleQueue

from vbench import tracking
from vbench.schema.record import RECORD

LESS_URGENT = 5  # as nice(2) counts: a third of the share of others; beyond that a busy host would starve it


class Delivery:
    """A thread that files what it is given, in order. `there` are the digests of records known to be filed."""

    def __init__(self, there: Container[str] = ()) -> None:
        self.waiting = 0  # records that are not filed, once it is closed
        self.why = ""
        self._there = there
        self._seen: set[tuple[Path, int]] = set()
        self._queue: SimpleQueue[Path | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._deliver_all, name="delivery", daemon=True)
        self._thread.start()

    def add(self, folder: Path) -> None:
        """Files the record that this run folder has now, once however often it is added."""
        seen = folder, (folder / RECORD).stat().st_mtime_ns
        if seen not in self._seen:
            self._seen.add(seen)
            self._queue.put(folder)

    def close(self) -> None:
        """Returns when all is filed, or is known to have to wait."""
        self._queue.put(None)
        self._thread.join()

    def _deliver_all(self) -> None:
        # Of this thread only: the store's library takes a second of a core to import, and a load client may need it.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LESS_URGENT)
        late: list[Path] = []
        while folder := self._queue.get():
            if late or not self._delivered(folder):  # each try may take all the patience that a store is given
                late.append(folder)
        while late and self._delivered(late[0]):
            del late[0]
        self.waiting += len(late)

    def _delivered(self, folder: Path) -> bool:
        """False where the store is out of reach; a record that it cannot take is counted, and done with."""
        if not (folder / RECORD).exists():  # put aside since: its successor will be added
            return True
        try:
            if tracking.digest(folder) not in self._there:
                tracking.file(folder)
        except tracking.TrackingFailed as error:
            self.why = str(error)
            return False
        except tracking.UnreadableRecord as error:
            self.why = str(error)
            self.waiting += 1
        return True
