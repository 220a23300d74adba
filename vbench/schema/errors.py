"""What can go wrong, as names.

VbenchError
├── Refused        bad input: nothing was started; the door prints one line and exits with 2
├── HubFailed      the Hugging Face hub, or the disk its files go to, is out of order; what was fetched stays
└── ServerFailed   the engine did not start or did not survive; carries its kind, log and telling line
"""

from __future__ import annotations

from pathlib import Path

from vbench.schema.failures import Kind


class VbenchError(Exception):
    """Anything vbench raises on purpose."""


class Refused(VbenchError):
    """Input that cannot be run. The message names the key, what is wrong and what to do."""


class HubFailed(VbenchError):
    """The hub did not answer, broke off, or its files could not be written."""


class ServerFailed(VbenchError):
    """The engine did not become ready, or died. `kind` is a word of the taxonomy (vbench.failures).

    A server that was not started here has no log.
    """

    def __init__(self, kind: Kind, telling_line: str, log: Path | None = None) -> None:
        super().__init__(f"{kind}: {telling_line}" + (f" (log: {log})" if log else ""))
        self.kind = kind
        self.telling_line = telling_line
        self.log = log
