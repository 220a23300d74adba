"""The end of a command whose reader has gone, as in `vbench --help | head`."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable

READER_GONE = 128 + 13  # as a shell reports a process that SIGPIPE has ended


def end_quietly(command: Callable[[], int]) -> int:
    """The exit code of the command; READER_GONE, and no traceback, if nobody reads its output any more."""
    try:
        code = command()
        sys.stdout.flush()
    except BrokenPipeError:
        if _is_read():
            raise
        # What is left in the buffer is written at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    return code


def _is_read() -> bool:
    """Whether the output has a reader; poll() reports an error for a pipe without one."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    return not output.poll(0)
