"""Records on their way into MLflow, filed one by one in the background while others measure.

Nothing waits for the store. A record that cannot be filed stays on disk, and stops no other.
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

NICE = 5  # a third of the CPU share of others; beyond that a busy host would starve the thread
LEAVE_S = 10.0  # for a record that is being filed when the command leaves
PATIENCE_S = 30.0  # spent in vain on a store that is out of reach, before further records are left for `close`


class Delivery:
    """A thread that files what it is given, in order. `filed` holds the digests of records that the store has."""

    def __init__(self, filed: Container[str] = ()) -> None:
        self.unfiled: dict[Path, str] = {}  # run folder: why its record is not filed; complete once closed
        self._filed = filed
        self._left = False
        self._seen: set[tuple[Path, int]] = set()
        self._queue: SimpleQueue[Path | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._file_all, name="delivery", daemon=True)
        self._thread.start()

    def add(self, folder: Path) -> None:
        """Files the record that this run folder has now, once however often it is added."""
        seen = folder, (folder / RECORD).stat().st_mtime_ns
        if seen not in self._seen:
            self._seen.add(seen)
            self._queue.put(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the thread behind the record that it is filing: the interpreter must not end while it imports mlflow."""
        self._left = True
        self._queue.put(None)
        self._thread.join(LEAVE_S)

    def close(self) -> None:
        """Returns when every record is filed, or is known not to be."""
        self._queue.put(None)
        self._thread.join()

    def report(self) -> Iterator[str]:
        """A line for each reason why records are not filed, with their number; nothing where all are."""
        reasons = list(self.unfiled.values())
        for reason in dict.fromkeys(reasons):
            count = reasons.count(reason)
            yield f"{'1 run waits' if count == 1 else f'{count} runs wait'} on disk ({reason})"

    def _file_all(self) -> None:
        # Only this thread: the store's library takes a second of CPU to import, which a load client may need.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        left_s = PATIENCE_S
        while (folder := self._queue.get()) and not self._left:
            left_s -= self._try(folder, left_s)
        if self._left:
            return
        left_s = PATIENCE_S  # the store may be back
        for folder in list(self.unfiled):
            left_s -= self._try(folder, left_s)

    def _try(self, folder: Path, left_s: float) -> float:
        """Files the record unless patience has run out; the seconds that were spent in vain."""
        if left_s <= 0:
            self.unfiled.setdefault(folder, next(reversed(self.unfiled.values())))
            return 0.0
        began = time.monotonic()
        try:
            # A record that was put aside since has a successor, which is added by itself.
            if (folder / RECORD).exists() and tracking.digest(folder) not in self._filed:
                tracking.file(folder)
        except Exception as error:  # noqa: BLE001  whatever one record meets, the others are filed, and it is told
            self.unfiled[folder] = _reason(error, folder)
            return time.monotonic() - began
        self.unfiled.pop(folder, None)
        return 0.0


def _reason(error: Exception, folder: Path) -> str:
    """The error in one line, the same for records that meet the same."""
    line = next(iter(str(error).splitlines()), "")
    if not isinstance(error, (tracking.TrackingFailed, tracking.UnreadableRecord)):
        return f"{type(error).__name__}: {line}"
    return re.sub(r" at 0x[0-9a-f]+", "", line.removeprefix(f"cannot file {folder}: "))
