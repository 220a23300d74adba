"""What a load process says while it waits for the others."""

import asyncio
import time
from multiprocessing import Pipe

from vbench.loadgen.worker import wait_at_barrier

REPORT_S = 0.1


class Idle:
    """A sender before its start: it has no progress to tell."""

    over = asyncio.Event()


def test_a_process_that_waits_longer_than_a_report_takes_says_only_that_it_is_ready():
    here, there = Pipe()
    complaints = []

    async def wait():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        waiting = asyncio.create_task(wait_at_barrier(Idle(), there, loop, REPORT_S))
        await asyncio.sleep(1.2 * REPORT_S)
        here.send(start := time.perf_counter_ns())
        assert await waiting == start
        loop.remove_reader(there.fileno())

    asyncio.run(wait())
    assert here.recv() == ("ready",)
    assert not here.poll()
    assert not complaints
