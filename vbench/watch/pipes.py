"""A command in its surroundings: streams that are closed, a reader that has gone as in `vbench --help | head`, a folder
that was removed, a disk that is full. Each ends it without a traceback, in one line where something is to be done.
"""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Callable

from vbench.schema.errors import Refused, describe_disk_fault

STREAMS = ("stdin", "stdout", "stderr")  # by their descriptors
REFUSED, FAILED = 2, 1  # exit codes
READER_GONE = 128 + 13  # as a shell reports a process that SIGPIPE has ended


def end_quietly(command: Callable[[], int]) -> int:
    """The exit code of the command; 2 if it was refused, READER_GONE if nobody reads its output any more.

    A stream that is closed is /dev/null for the command: its descriptor would else be taken by the next file opened,
    and what is printed would be written into that.
    """
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a locale without "·", a path that is no UTF-8
            stream.reconfigure(errors="replace")
    try:
        os.getcwd().encode()  # noqa: PTH109  Path.cwd() is the same
    except FileNotFoundError:
        return _say("the current folder was removed; cd into one that is there", REFUSED)
    except UnicodeEncodeError:
        return _say("the current folder's path is not UTF-8, and MLflow takes no other; cd into another", REFUSED)
    try:
        code = command()
        sys.stdout.flush()
    except BrokenPipeError:
        if _is_read():
            raise
        # What is left in the buffer is written at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except Refused as refused:
        return _say(str(refused), REFUSED)
    except OSError as error:
        if (fault := describe_disk_fault(error)) is None:
            raise
        return _say(f"{fault}; what was measured is kept, the same command continues", FAILED)
    return code


def _say(why: str, code: int) -> int:
    print(f"vbench: {why}", file=sys.stderr)  # noqa: T201
    return code


def _is_read() -> bool:
    """Whether the output has a reader; poll() reports an error for a pipe without one."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    return not output.poll(0)


def _open_closed_streams() -> None:
    for number, name in enumerate(STREAMS):
        if getattr(sys, name) is None:  # as Python says that its descriptor is closed
            nowhere = os.open(os.devnull, os.O_RDWR)  # which takes the lowest descriptor that is free
            os.set_inheritable(nowhere, True)
            setattr(sys, name, os.fdopen(nowhere, "w" if number else "r"))
