"""What a job prints, without secrets: its log is submitit's file, which anybody may read who may read the folder."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vbench.engine.logpipe import RedactingPipe

OUTPUT = (1, 2)


@contextmanager
def redacted_output() -> Iterator[None]:
    """In the block this process and its children print without secrets.

    An exception is printed here and becomes SystemExit: submitit would print it after the block, and pickle it.
    """
    _flush()
    log = [os.dup(number) for number in OUTPUT]
    with RedactingPipe(log[0], linger_s=0) as pipe:
        for number in OUTPUT:
            os.dup2(pipe.writer, number)
        pipe.close_writer()
        try:
            yield
        except SystemExit as ended:
            if not isinstance(ended.code, str):
                raise
            _flush()
            print(ended.code, file=sys.stderr)  # noqa: T201
            raise SystemExit(1) from None
        except BaseException:  # noqa: BLE001
            _flush()  # the exception comes last, where it is looked for
            traceback.print_exc()
            raise SystemExit(1) from None
        finally:
            _flush()
            for number, file in zip(OUTPUT, log, strict=True):
                os.dup2(file, number)
            pipe.settle()
    for file in log:
        os.close(file)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def wrap_setup(setup: Sequence[str]) -> list[str]:
    """These lines of bash, changed so that a failing line ends the job, and that they print without secrets."""
    if not setup:
        return []
    redact = shlex.join([sys.executable, "-m", "vbench.engine.logpipe"])
    return [
        f"exec {{_vbench_log}}>&1 > >(exec {redact}) 2>&1; _vbench_printer=$!",
        # What they printed comes before what the job prints; a daemon that they started may hold the pipe for ever.
        "_vbench_end() { { set +x; } 2> /dev/null; exec >&$_vbench_log 2>&1 {_vbench_log}>&-",
        "for _ in {1..30}; do kill -0 $_vbench_printer 2> /dev/null || break; sleep 0.1; done; }",
        "trap _vbench_end EXIT",
        "set -e",
        *setup,
        "set +e",
        "trap - EXIT; _vbench_end",
    ]
