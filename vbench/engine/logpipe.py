"""Writes what processes print into a log, without secrets: they write into a pipe, and a thread copies it.

If this process is killed the pipe breaks, so the log ends with it; a server is then stopped by the next session.

`python -m vbench.engine.logpipe` does the same for a shell: it copies its input to its output.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import sys
import termios
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from vbench.schema.secrets import list_values, redact

READ_AT_ONCE = 1 << 16  # bytes
LONGEST_LINE = 1 << 16  # bytes without a line's end, which are then written as they are
CAPACITY = 1 << 20  # bytes that can be printed while this process is busy, before the printing process has to wait
SETTLE_S = 2.0  # for what is in the pipe to reach the log
ASK_S = 0.05  # between two looks at whether to stop


class RedactingPipe:
    """Inside the block processes may print to `writer`; their lines go to the descriptor `file`, which stays open.

    Leaving the block waits until all processes that can print have ended, for `linger_s` at most.
    """

    def __init__(self, file: int, linger_s: float) -> None:
        self._file, self._linger_s = file, linger_s
        self._reader, self.writer = os.pipe()
        fcntl.fcntl(self._reader, fcntl.F_SETPIPE_SZ, CAPACITY)
        self._busy = False
        self._leaving = False
        self._settling = False
        self._rest = b""  # a line whose end has not come yet
        self._thread = threading.Thread(target=self._copy, name="printed", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_writer()
        self._thread.join(self._linger_s)
        self._leaving = True
        self._thread.join()
        os.close(self._reader)

    def close_writer(self) -> None:
        """Closes our own end, once the process that prints has inherited it."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def settle(self) -> None:
        """Waits until everything that has been printed is in the log, or SETTLE_S have passed."""
        deadline = time.monotonic() + SETTLE_S
        self._settling = True
        # First the pipe, then the thread: it is marked busy before it takes anything out.
        while (self._waiting_bytes() or self._busy or self._rest) and time.monotonic() < deadline:
            time.sleep(0.001)
        self._settling = False

    def _waiting_bytes(self) -> int:
        answer = fcntl.ioctl(self._reader, termios.FIONREAD, struct.pack("i", 0))
        return int(struct.unpack("i", answer)[0])

    def _copy(self) -> None:
        while not self._leaving:
            if not select.select([self._reader], [], [], ASK_S)[0]:
                if self._settling:
                    self._write_rest()
                continue
            self._busy = True
            printed = os.read(self._reader, READ_AT_ONCE)
            if not printed:
                break
            self._write_lines(printed)
            self._busy = False
        self._write_rest()
        self._busy = False

    def _write_lines(self, printed: bytes) -> None:
        printed = self._rest + printed
        end = max(printed.rfind(b"\n"), printed.rfind(b"\r")) + 1  # a progress bar ends its lines with \r
        self._rest = printed[end:]
        self._write(printed[:end])
        if len(self._rest) > LONGEST_LINE:
            self._write_rest()

    def _write_rest(self) -> None:
        rest, self._rest = self._rest, b""
        self._write(rest)

    def write(self, text: str) -> None:
        """Writes text of our own, while nothing is printed to `writer`."""
        self._write(text.encode("utf-8", "surrogateescape"))

    def _write(self, data: bytes) -> None:
        values = list_values()
        lines = data.decode("utf-8", "surrogateescape").split("\n")
        rest = "\n".join(redact(line, values) for line in lines).encode("utf-8", "surrogateescape")
        with suppress(OSError):  # a full disk: who prints must not wait for the log, so these lines are lost
            while rest:
                rest = rest[os.write(self._file, rest) :]


class LogPipe(RedactingPipe):
    """The log of a server, readable by its owner only."""

    def __init__(self, log: Path) -> None:
        self.log = log
        super().__init__(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), SETTLE_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        os.close(self._file)


def main() -> None:
    """Copies the input to the output, line by line, until its end."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # the last lines come after a signal to all processes of a job
    for line in sys.stdin.buffer:
        text = redact(line.decode("utf-8", "surrogateescape"))
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
