"""What a server prints is in its log before the log is read."""

import os
import time

from vbench.engine.compilelog import LogPosition
from vbench.engine.logpipe import LogPipe
from vbench.session.context import Servers

LINE = b"WARNING 11-27 12:00:00 [m.py:1] Triton kernel JIT compilation during inference: _topk. This causes\n"


class SlowPipe(LogPipe):
    """The thread that copies is late, as on a busy host."""

    def _write_lines(self, printed):
        time.sleep(0.3)
        super()._write_lines(printed)


class OneServer:
    def __init__(self, printed):
        self.log, self.settle_log = printed.log, printed.settle


def test_a_compilation_that_is_still_in_the_pipe_is_counted(tmp_path):
    with SlowPipe(tmp_path / "server.log") as printed:
        servers = Servers([OneServer(printed)], {})
        before = LogPosition.at_end(servers.logs)
        os.write(printed.writer, LINE)
        servers.settle_logs()
        assert [each.kernel for each in before.find_compilations()] == ["_topk"]
