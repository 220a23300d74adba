"""Sessions of the fake server, and how a test starts their servers."""

import asyncio
import os

from builders import run_config
from doors import FAKE

from vbench.engine.server import start_replicas
from vbench.host.leases import HostLease
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan


def session(*flags, timeout_s=30, **parts):
    engine = {"weights": "dummy", "command": ["python", str(FAKE), *flags], "start_timeout_s": timeout_s}
    engine |= parts.pop("engine", {})
    (made,) = plan([(check_run(run_config(engine=engine, **parts)), "fake")])
    return made


def served(made, folder, uuids=(), during=None):
    """Starts the session's servers, gives them to `during`, ends them; what `during` returned."""

    async def story():
        async with start_replicas(made, HostLease(frozenset(os.sched_getaffinity(0)), tuple(uuids)), folder) as servers:
            return await during(servers) if during else None

    return asyncio.run(story())
