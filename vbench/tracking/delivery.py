"""Files records in MLflow one by one, in the background, while other runs are measured.

Nothing waits for the store. A record that cannot be filed stays on disk and does not block others.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Container, Iterator
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType

from typing_extensions import Self

from vbench import tracking
from vbench.schema.record import RECORD

NICE = 5  # a third of a normal thread's CPU weight; a higher value would starve the thread on a busy host
LEAVE_S = 10.0  # to finish filing a record when the command leaves
PATIENCE_S = 30.0  # spent on an unreachable store before further records are left for `close`


class Delivery:
    """A thread that files records in the order given. `filed` holds the digests of records that the store has."""

    def __init__(self, filed: Container[str] = ()) -> None:
        self.unfiled: dict[Path, str] = {}  # run folder: why its record is not filed; complete once closed
        self._filed = filed
        self._left = False
        self._seen: set[tuple[Path, int]] = set()
        self._queue: SimpleQueue[Path | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._file_all, name="delivery", daemon=True)
        self._thread.start()

    def add(self, folder: Path) -> None:
        """Queues this run folder's current record for filing, only once even if added repeatedly."""
        seen = folder, (folder / RECORD).stat().st_mtime_ns
        if seen not in self._seen:
            self._seen.add(seen)
            self._queue.put(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the thread after the record that it is filing: the interpreter must not exit while it imports mlflow."""
        self._left = True
        self._queue.put(None)
        self._thread.join(LEAVE_S)

    def close(self, wait_s: float | None = None) -> bool:
        """Waits until every record is filed or has failed, or this long; whether that is so."""
        self._queue.put(None)
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def report(self) -> Iterator[str]:
        """A line for each reason why records are not filed, with their number; none if all are filed."""
        reasons = list(self.unfiled.values())
        for reason in dict.fromkeys(reasons):
            count = reasons.count(reason)
            yield f"{'1 run waits' if count == 1 else f'{count} runs wait'} on disk ({reason})"

    def _file_all(self) -> None:
        # Only this thread: importing the store's library takes a second of CPU that a load client may need.
        # A command under `nice -n 10` may not go down to NICE again; it would be refused, and nothing filed.
        own = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, own, max(NICE, os.getpriority(os.PRIO_PROCESS, own)))
        left_s = PATIENCE_S
        while (folder := self._queue.get()) and not self._left:
            left_s -= self._try(folder, left_s)
        if self._left:
            return
        left_s = PATIENCE_S  # the store may be available again
        for folder in list(self.unfiled):
            left_s -= self._try(folder, left_s)

    def _try(self, folder: Path, left_s: float) -> float:
        """Files the record unless PATIENCE_S is used up; returns the seconds wasted."""
        if left_s <= 0:
            self.unfiled.setdefault(folder, next(reversed(self.unfiled.values())))
            return 0.0
        began = time.monotonic()
        try:
            # If the record was put aside since, its successor is added separately.
            if (folder / RECORD).exists() and tracking.digest(folder) not in self._filed:
                tracking.file(folder)
        except Exception as error:  # noqa: BLE001  any error is reported and does not stop the other records
            self.unfiled[folder] = _reason(error, folder)
            return time.monotonic() - began
        self.unfiled.pop(folder, None)
        return 0.0


def _reason(error: Exception, folder: Path) -> str:
    """The error in one line, identical for records that fail for the same reason."""
    line = next(iter(str(error).splitlines()), "")
    if not isinstance(error, (tracking.TrackingFailed, tracking.UnreadableRecord)):
        return f"{type(error).__name__}: {line}"
    return re.sub(r" at 0x[0-9a-f]+", "", line.removeprefix(f"cannot file {folder}: "))
