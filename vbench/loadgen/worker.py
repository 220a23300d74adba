"""The load process: `python -m vbench.loadgen.worker FD POOL`, started once a session; it gets a part of each load.

It imports neither vllm, torch, mlflow nor hydra: a lean process keeps time steadily. Parent and process exchange
pickled plain data over the socket FD; POOL is that of the places (`loadgen.places`):

    →  (Load, int)                   what to prepare, and which of the processes this is
    ←  ("ready",)
    →  int                           the start, an instant of CLOCK_MONOTONIC in ns
    ←  ("progress", Progress)         every `Load.report_s`
    →  str                           break off, and why (may arrive after the load has ended)
    ←  ("result", Requests, facts)   or ("failed", text)
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import uvloop

from vbench.loadgen.client import Sender, drive
from vbench.loadgen.echo import measure_skew_s
from vbench.loadgen.lag import lags_at
from vbench.loadgen.load import NEVER, Load, Outcome, Progress
from vbench.loadgen.reading import Reading, read
from vbench.schema.record import Floats, Ints, Requests


def main(fd: int, pool: int) -> None:
    for signal_to_the_job in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(signal_to_the_job, signal.SIG_IGN)  # the parent decides; this process ends with its socket
    parent = Connection(fd)
    loop = uvloop.new_event_loop()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    parent.send(("skew", loop.run_until_complete(measure_skew_s())))
    gc.collect()
    gc.freeze()  # these objects live to the end: garbage collection skips them from now on
    while True:
        try:
            asked = parent.recv()
        except EOFError:
            return
        if isinstance(asked, str):  # asked to break off a load that has ended meanwhile
            continue
        load, number = asked
        try:
            parent.send(run(load, number, pool, parent, loop))
        except Exception:  # noqa: BLE001  the parent must learn of any error
            parent.send(("failed", traceback.format_exc()))


def run(
    load: Load, number: int, pool: int, parent: Connection, loop: asyncio.AbstractEventLoop
) -> tuple[str, Requests, dict[str, Any]]:
    """Sends this process's part of the load; afterwards reads the replies."""
    gc.collect()
    gc.disable()
    try:
        outcome = loop.run_until_complete(
            drive(load, number, pool, lambda sender: wait_at_barrier(sender, parent, loop, load.report_s))
        )
    finally:
        loop.remove_reader(parent.fileno())
        gc.enable()
    found = requests(load, outcome, parent)
    first_tokens = found.chunk_times[found.offsets[:-1][np.diff(found.offsets) > 0]]
    facts = {
        "cpu_s": outcome.cpu_s,
        "wall_s": outcome.wall_s,
        "lags_s": outcome.lags_s,
        "ttft_lags_s": lags_at(first_tokens, outcome.lags_s),
    }
    return "result", found, facts


async def wait_at_barrier(sender: Sender, parent: Connection, loop: asyncio.AbstractEventLoop, report_s: float) -> int:
    """Reports that all is prepared and waits for the start. From here on, losing the parent ends this process."""
    start: asyncio.Future[int] = loop.create_future()

    def on_message() -> None:
        try:
            word = parent.recv()
        except EOFError:
            os._exit(1)
        if isinstance(word, str):
            sender.give_up(word)
        else:
            start.set_result(word)

    def report() -> None:
        if not sender.over.is_set():
            parent.send(("progress", sender.progress()))
            loop.call_later(report_s, report)

    loop.add_reader(parent.fileno(), on_message)
    os.set_blocking(parent.fileno(), True)  # add_reader has cleared it
    parent.send(("ready",))
    started = await start  # other processes may take long to be ready, and until then there is no progress
    loop.call_later(report_s, report)
    return started


def requests(load: Load, outcome: Outcome, parent: Connection) -> Requests:
    """The results in columns, with times in seconds since the start."""
    readings: list[Reading] = []
    done = _final_progress(outcome)
    for index, reply in enumerate(outcome.replies):
        readings.append(read(reply, int(load.output_len[index])))
        reply.reads.clear()
        if index % 1000 == 999:  # the parent treats silence as a lost process
            parent.send(("progress", done))
    replies = outcome.replies
    never = outcome.sent == NEVER

    first_bytes = np.array([reply.times[0] if reply.times else NEVER for reply in replies], np.int64)

    def seconds(instants: Ints) -> Floats:
        since_start: Floats = (instants - outcome.start) / 1e9
        return since_start

    return Requests(
        scheduled=np.where(outcome.due == NEVER, load.scheduled, seconds(outcome.due))
        if load.structure
        else load.scheduled,
        sent=np.where(never, np.nan, seconds(outcome.sent)),
        first_byte=np.where(first_bytes == NEVER, np.nan, seconds(first_bytes)),
        finished=np.where(outcome.finished == NEVER, np.nan, seconds(outcome.finished)),
        input_tokens=outcome.input_tokens,
        carried=outcome.carried,
        asked_tokens=load.output_len,
        output_tokens=np.array([reading.output_tokens for reading in readings], np.int64),
        status=np.array([reply.status for reply in replies], np.int64),
        replica=outcome.replica,
        finish_reason=np.array([reading.finish_reason for reading in readings], np.str_),
        error=np.array(
            [
                redact_keys(outside or reading.error, load)
                for outside, reading in zip(outcome.errors, readings, strict=True)
            ],
            np.str_,
        ),
        offsets=np.concatenate([[0], np.cumsum([len(reading.times) for reading in readings])]).astype(np.int64),
        chunk_times=seconds(np.concatenate([np.empty(0, np.int64), *(reading.times for reading in readings)])),
        chunk_tokens=np.concatenate([np.empty(0, np.int64), *(reading.tokens for reading in readings)]),
        usage_input_tokens=np.array([reading.input_tokens for reading in readings], np.int64),
    )


def _final_progress(outcome: Outcome) -> Progress:
    """The progress of a load that has ended."""
    reads = [len(reply.times) for reply in outcome.replies]
    streamed = [
        finished - reply.times[1]
        for reply, finished in zip(outcome.replies, outcome.finished.tolist(), strict=True)
        if len(reply.times) > 1
    ]
    return Progress(
        elapsed_s=outcome.wall_s,
        completed=len(reads),
        reads=sum(max(each - 1, 0) for each in reads),
        in_flight=0,
        gaps=sum(max(each - 2, 0) for each in reads),
        streaming_s=sum(streamed) / 1e9,
    )


def redact_keys(text: str, load: Load) -> str:
    """Removes API keys from the text: some servers quote the request that they refuse."""
    for endpoint in load.endpoints:
        text = text.replace(endpoint.api_key, "***") if endpoint.api_key else text
    return text


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
