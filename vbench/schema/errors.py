"""The exceptions that vbench raises on purpose.

VbenchError
├── Refused        bad input: nothing was started; the command prints one line and exits with 2
├── HubFailed      the Hugging Face hub did not deliver, or the disk did not take its files; what was fetched is kept
└── ServerFailed   the engine did not start, or died; carries the kind of failure, the log and its telling line
    └── ServerChanged   another server answers in its place: what was planned for the first cannot be measured on it
"""

from __future__ import annotations

import errno
from pathlib import Path

from vbench.schema.failures import Kind
from vbench.schema.secrets import redact
from vbench.schema.text import one_line

DISK_FAULTS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE, errno.EACCES, errno.EPERM, errno.EMFILE}
    | {errno.ENOTDIR}
)


def describe_disk_fault(error: OSError) -> str | None:
    """The error in one line, if it is the host's and not ours: a full or failing disk, a file that we may not write."""
    if error.errno not in DISK_FAULTS:
        return None
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


class VbenchError(Exception):
    """Base of the exceptions above. Messages are printed and recorded, so secrets in them are masked."""

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))


class Refused(VbenchError):
    """Input that cannot be run. The message names the key, says what is wrong and what to do, in one line.

    It may quote names and values of a file with line breaks or control characters in them.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class HubFailed(VbenchError):
    """The hub did not answer or broke off, or its files could not be written."""


class ServerFailed(VbenchError):
    """The engine did not become ready, or died. `kind` is one of `vbench.schema.failures`.

    `log` is None for an external server, whose log is not ours.
    """

    def __init__(self, kind: Kind, telling_line: str, log: Path | None = None) -> None:
        super().__init__(f"{kind}: {telling_line}" + (f" (log: {log})" if log else ""))
        self.kind = kind
        self.telling_line = redact(telling_line)
        self.log = log


class ServerChanged(ServerFailed):
    """Another server answers in place of the external one that the session's runs were planned for.

    The command plans anew, with what answers now; a job that is tried again would keep the plan.
    """

    def __init__(self, what: str) -> None:
        super().__init__("engine_error", f"{what}; run the same command again with rerun=failed")
