"""One process's part of a load: sends on time, stamps what arrives, parses nothing until the load has ended.

A request is measured from the instant its bytes are handed to the socket. Connections are opened ahead of the schedule,
so that no reply's time includes connecting. It knows nothing about other processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import numpy as np

from vbench.loadgen import request
from vbench.loadgen.alarm import Alarm
from vbench.loadgen.connection import CONNECT_TIMEOUT_S, Connection, Replica, clock
from vbench.loadgen.load import NEVER, Ended, Load, Outcome, Progress
from vbench.loadgen.wire import Reply
from vbench.schema.record import NOT_SENT

AT_ONCE = 8  # requests sent in a row before replies are read
AHEAD_S = 1.0  # connections are opened for requests due this soon
OPENING_AT_ONCE = 128  # a server's backlog is finite
HEARTBEAT_NS = 10_000_000
HTTP_OK = 200


async def drive(load: Load, first_replica: int, barrier: Callable[[Sender], Awaitable[int]]) -> Outcome:
    """Prepares everything, waits at the barrier for the start (ns of `clock`), and sends the load.

    `first_replica`, an integer modulo the number of replicas, gets the first request. Each process passes its number,
    so that they start with different replicas.
    """
    sender = Sender(load, await resolve_replicas(load), first_replica)
    await sender.open_ahead(0.0)
    start = await barrier(sender)
    cpu_s = time.process_time()
    await sender.run(start)
    cpu_s, ended = time.process_time() - cpu_s, clock()
    await sender.hang_up()
    return Outcome(
        start=start,
        sent=np.array(sender.sent, np.int64),
        finished=np.array(sender.finished, np.int64),
        replica=np.array(sender.replica, np.int64),
        replies=sender.replies,
        errors=sender.errors,
        cpu_s=cpu_s,
        wall_s=(ended - start) / 1e9,
        lags_s=np.array(sender.lags) / 1e9,
    )


async def resolve_replicas(load: Load) -> list[Replica]:
    """Returns the resolved endpoints with the requests' bodies, built once for all replicas of one model."""
    written: dict[tuple[str, bool], list[bytes]] = {}
    replicas = []
    for index, endpoint in enumerate(load.endpoints):
        kind = (endpoint.model, endpoint.chat)
        if kind not in written:
            written[kind] = [
                request.body(*kind, prompt, int(length), load.ignore_eos, load.cache_salt)
                for prompt, length in zip(load.prompts, load.output_len, strict=True)
            ]
        replicas.append(Replica(index, endpoint, written[kind]))
        await replicas[-1].find()
    return replicas


class Sender:
    """Sends a load's requests when they are due and allowed, and keeps the replies."""

    def __init__(self, load: Load, replicas: list[Replica], first_replica: int) -> None:
        self.replicas = replicas
        self.limit = load.max_concurrency or len(load)
        self.timeout_s, self.sending_s = load.timeout_s, load.sending_s
        self.order = np.argsort(load.scheduled, kind="stable").tolist()
        self.due_s = np.sort(load.scheduled)
        self.output_len = load.output_len.tolist()
        self.due: list[int] = []  # ns of `clock`, set at the start
        self.preferred = first_replica  # the replica to take if several have equally few requests in flight; rotates
        self.next = 0  # position in `order` of the next request to send
        self.in_flight = self.completed = self.reads = 0  # reads: received by completed requests
        self.reported = 0  # how many of `order` the last progress report covered
        self.awaited: list[int] = []  # those of them that had no answer then
        self.newly_ended: list[int] = []  # since the last progress report
        self.live: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.over = asyncio.Event()
        self.lags: list[int] = []
        # Results, one entry for each request:
        self.sent = [NEVER] * len(load)
        self.finished = [NEVER] * len(load)
        self.replica = [0] * len(load)
        self.replies = [Reply() for _ in range(len(load))]
        self.errors = [""] * len(load)

    async def run(self, start: int) -> None:
        """Sends everything from `start` on; returns when all requests have ended, at the latest after `timeout_s`."""
        loop = asyncio.get_running_loop()
        self.start = start
        self.due = (start + (self.due_s * 1e9).astype(np.int64)).tolist()
        self.beat_at = start
        self.alarm, self.heart = Alarm(loop, self.pump), Alarm(loop, self.beat)
        self.alarm.set(start)
        self.heart.set(start)
        self.spawn(self.stay_ahead(start))
        if self.sending_s is not None:
            loop.call_later(self.sending_s + (start - clock()) / 1e9, self.stop_sending)
        try:
            await asyncio.wait_for(self.over.wait(), self.timeout_s + (start - clock()) / 1e9)
        except asyncio.TimeoutError:
            self.give_up("timeout")
        finally:
            for task in self.tasks:
                task.cancel()
            self.alarm.close()
            self.heart.close()

    def pump(self) -> None:
        """Sends what is due and allowed, a few at a time so that replies are stamped in between."""
        for _ in range(AT_ONCE):
            if self.next == len(self.order) or self.in_flight >= self.limit or self.over.is_set():
                return  # in the second case, the end of a reply calls pump again
            if self.due[self.next] > clock():
                self.alarm.set(self.due[self.next])
                return
            self.next += 1
            self.send(self.order[self.next - 1])
        asyncio.get_running_loop().call_soon(self.pump)

    def send(self, index: int) -> None:
        replica = self.least_loaded()
        replica.in_flight += 1
        self.in_flight += 1
        self.replica[index] = replica.index
        if connection := replica.take():
            self.send_request(connection, index)
        else:
            self.spawn(self.connect_and_send(replica, index))

    def least_loaded(self) -> Replica:
        count, preferred = len(self.replicas), self.preferred
        self.preferred = (preferred + 1) % count
        return min(self.replicas, key=lambda replica: (replica.in_flight, (replica.index - preferred) % count))

    def send_request(self, connection: Connection, index: int) -> None:
        self.live.add(connection)
        self.sent[index] = connection.send(index, self.replies[index])

    async def connect_and_send(self, replica: Replica, index: int) -> None:
        try:
            connection = await asyncio.wait_for(replica.open(self), CONNECT_TIMEOUT_S)
        except (OSError, asyncio.TimeoutError) as error:
            self.errors[index] = f"cannot connect: {error or 'no answer'}"
            self.count(replica)
        else:
            self.send_request(connection, index)

    def on_end(self, connection: Connection) -> None:
        reply = self.finish(connection, self.replies[connection.index].times[-1])
        if reply.whole and reply.reusable:
            connection.used_at = reply.times[-1]
            connection.replica.idle.append(connection)
        else:
            connection.transport.close()
        self.count(connection.replica)

    def on_loss(self, connection: Connection, error: Exception | None) -> None:
        if error:
            self.errors[connection.index] = f"the connection was lost: {error}"
        self.finish(connection, clock())
        self.count(connection.replica)

    def finish(self, connection: Connection, at: int) -> Reply:
        reply = self.replies[connection.index]
        self.finished[connection.index] = at
        self.reads += len(reply.times)
        self.newly_ended.append(connection.index)
        self.live.discard(connection)
        connection.reply = None
        return reply

    def count(self, replica: Replica) -> None:
        """Counts a request as completed, and sends the next if the concurrency limit was delaying it."""
        was_full = self.in_flight >= self.limit
        replica.in_flight -= 1
        self.in_flight -= 1
        self.completed += 1
        if self.completed == len(self.order):
            self.over.set()
        elif was_full:
            self.pump()

    def stop_sending(self) -> None:
        """Sends nothing more; what is in flight goes on to its end."""
        for index in self.order[self.next :]:
            self.errors[index] = NOT_SENT
        del self.order[self.next :]
        if self.completed == len(self.order):
            self.over.set()

    def give_up(self, why: str) -> None:
        """Ends open requests with this error; those not yet sent are never sent."""
        if self.over.is_set():
            return
        self.over.set()
        now = clock()
        self.errors = [
            error or (why if finished == NEVER else "")
            for error, finished in zip(self.errors, self.finished, strict=True)
        ]
        for connection in list(self.live):
            self.finish(connection, now)
            connection.transport.abort()

    async def hang_up(self) -> None:
        for replica in self.replicas:
            for connection in replica.idle:
                connection.transport.abort()
        for _ in range(2):  # the transports close in the loop's next iterations
            await asyncio.sleep(0)

    async def open_ahead(self, now_s: float) -> None:
        """Opens connections for the requests due soon, enough for any replica to take its part of them."""
        soon = int(np.searchsorted(self.due_s, now_s + AHEAD_S, side="right")) - self.next
        wanted = -(-min(soon, self.limit - self.in_flight) // len(self.replicas))
        missing = [replica for replica in self.replicas for _ in range(wanted - len(replica.idle) - replica.opening)]
        for first in range(0, len(missing), OPENING_AT_ONCE):
            opening = asyncio.gather(*map(self.open_spare, missing[first : first + OPENING_AT_ONCE]))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(opening, CONNECT_TIMEOUT_S)

    async def open_spare(self, replica: Replica) -> None:
        with contextlib.suppress(OSError):  # the request that needs it will report the error
            replica.idle.append(await replica.open(self))

    async def stay_ahead(self, start: int) -> None:
        while self.next < len(self.order):
            await asyncio.sleep(AHEAD_S / 4)
            await self.open_ahead((clock() - start) / 1e9)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def beat(self) -> None:
        now = clock()
        missed = range(now - self.beat_at, -1, -HEARTBEAT_NS)  # a long stall delays every heartbeat in it
        self.lags += missed
        self.beat_at += len(missed) * HEARTBEAT_NS
        self.heart.set(self.beat_at)

    def progress(self) -> Progress:
        """The progress so far, from existing time stamps: computing it delays the streams by 0.1 ms."""
        self.awaited += self.order[self.reported : self.next]
        self.reported = self.next
        answered = [index for index in self.awaited if len(self.replies[index].times) > 1]
        gone = {*answered, *(index for index in self.awaited if self.finished[index] != NEVER)}
        self.awaited = [index for index in self.awaited if index not in gone]
        ended, self.newly_ended = self.newly_ended, []
        now = clock()
        oldest = min((self.sent[each.index] for each in self.live), default=now)
        return Progress(
            elapsed_s=(now - self.start) / 1e9,
            completed=self.completed,
            reads=self.reads + sum(len(self.replies[each.index].times) for each in self.live),
            in_flight=self.in_flight,
            answered=tuple(
                ((sent - self.start) / 1e9, (self.replies[index].times[1] - sent) / 1e9)
                for index, sent in ((index, self.sent[index]) for index in answered)
            ),
            ended=tuple(self.describe_ended(index) for index in ended),
            oldest_open_s=(oldest - self.start) / 1e9,
        )

    def describe_ended(self, index: int) -> Ended:
        sent, times = self.sent[index], self.replies[index].times
        return Ended(
            sent_s=(sent - self.start) / 1e9,
            ttft_s=(times[1] - sent) / 1e9 if len(times) > 1 else math.inf,
            e2el_s=(self.finished[index] - sent) / 1e9,
            asked_tokens=self.output_len[index],
            succeeded=not self.errors[index] and self.replies[index].status == HTTP_OK,
        )
