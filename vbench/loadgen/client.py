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

from vbench.loadgen.agenda import Agenda
from vbench.loadgen.alarm import Alarm
from vbench.loadgen.connection import CONNECT_TIMEOUT_S, Connection, Replica, clock, resolve_replicas
from vbench.loadgen.heart import Heart
from vbench.loadgen.load import NEVER, Ended, Load, Outcome, Progress
from vbench.loadgen.places import OwnPlaces, Places, SharedPlaces
from vbench.loadgen.routes import Routes
from vbench.loadgen.wire import Reply
from vbench.schema.record import NOT_SENT

AT_ONCE = 8  # requests sent in a row before replies are read
AHEAD_S = 1.0  # connections are opened for requests due this soon
OPENING_AT_ONCE = 128  # a server's backlog is finite
HTTP_OK = 200
BROKEN_OFF = "an earlier request of the session failed"


async def drive(load: Load, first_replica: int, pool: int, barrier: Callable[[Sender], Awaitable[int]]) -> Outcome:
    """Prepares everything, waits at the barrier for the start (ns of `clock`), and sends the load.

    `first_replica`, an integer modulo the number of replicas, gets the first request. Each process passes its number,
    so that they start with different replicas. `pool`: of the places, if processes share them.
    """
    sender = Sender(load, await resolve_replicas(load), first_replica, pool)
    await sender.open_ahead(0)  # the agenda's clock starts with the load
    start = await barrier(sender)
    cpu_s = time.process_time()
    await sender.run(start)
    cpu_s, ended = time.process_time() - cpu_s, clock()
    await sender.hang_up()
    return Outcome(
        start=start,
        due=np.array(sender.agenda.due, np.int64),
        sent=np.array(sender.sent, np.int64),
        finished=np.array(sender.finished, np.int64),
        replica=np.array(sender.replica, np.int64),
        input_tokens=sender.bodies.input_tokens,
        carried=sender.bodies.carried,
        replies=sender.replies,
        errors=sender.errors,
        cpu_s=cpu_s,
        wall_s=(ended - start) / 1e9,
        lags_s=np.array(sender.heart.lags) / 1e9,
    )


class Sender:
    """Sends a load's requests when they are due and allowed, and keeps the replies."""

    def __init__(self, load: Load, replicas: list[Replica], first_replica: int, pool: int) -> None:
        self.replicas = replicas
        self.limit = load.max_concurrency or len(load)  # of shared places only its part, for which it is prepared
        self.timeout_s, self.sending_s = load.timeout_s, load.sending_s
        self.bodies = replicas[0].bodies  # replicas serve one model, so they share them
        self.agenda = Agenda(load)
        self.routes = Routes(load, replicas, first_replica)
        self.output_len = load.output_len.tolist()
        self.order: list[int] = []  # requests in the order in which they were sent
        self.to_send = len(load)
        self.in_flight = self.completed = self.reads = self.gaps = 0  # reads, gaps: of completed requests
        self.streaming = self.streaming_ns = 0  # replies that stream; the ends less the starts of all that did or do
        self.reported = 0  # how many of `order` the last progress report covered
        self.awaited: list[int] = []  # those of them that had no answer then
        self.newly_ended: list[int] = []  # since the last progress report
        self.live: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.over = asyncio.Event()
        self.places: Places = OwnPlaces(self.limit)
        if load.shared_places:
            self.places = SharedPlaces(pool, asyncio.get_running_loop(), self.pump)
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
        self.agenda.start(start)
        self.alarm, self.heart = Alarm(loop, self.pump), Heart(loop, start)
        self.alarm.set(start)
        self.spawn(self.stay_ahead())
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
            self.places.close()

    def pump(self) -> None:
        """Sends what is due and allowed, a few at a time so that replies are stamped in between."""
        for _ in range(AT_ONCE):
            due = self.agenda.next_due()
            if due is None or self.over.is_set():
                return
            if due > clock():
                self.alarm.set(due)
                return
            if not self.places.take():
                return  # one that is put back calls pump again
            self.send(self.agenda.pop())
        asyncio.get_running_loop().call_soon(self.pump)

    def send(self, index: int) -> None:
        self.order.append(index)
        replica = self.replicas[self.routes.choose(index)]
        replica.in_flight += 1
        self.in_flight += 1
        self.replica[index] = replica.index
        if connection := replica.take():
            self.send_request(connection, index)
        else:
            self.spawn(self.connect_and_send(replica, index))

    def send_request(self, connection: Connection, index: int) -> None:
        self.live.add(connection)
        self.sent[index] = connection.send(index, self.replies[index])

    async def connect_and_send(self, replica: Replica, index: int) -> None:
        try:
            connection = await replica.open_for_a_request(self)
        except (OSError, asyncio.TimeoutError) as error:
            self.errors[index] = f"cannot connect: {error or 'no answer'}"
            self.count(replica, index)
        else:
            self.send_request(connection, index)

    def on_end(self, connection: Connection) -> None:
        reply = self.finish(connection, self.replies[connection.index].times[-1])
        if reply.whole and reply.reusable:
            connection.used_at = reply.times[-1]
            connection.replica.idle.append(connection)
        else:
            connection.transport.close()
        self.count(connection.replica, connection.index)

    def on_loss(self, connection: Connection, error: Exception | None) -> None:
        if error:
            self.errors[connection.index] = f"the connection was lost: {error}"
        self.finish(connection, clock())
        self.count(connection.replica, connection.index)

    def finish(self, connection: Connection, at: int) -> Reply:
        reply = self.replies[connection.index]
        self.finished[connection.index] = at
        self.reads += max(len(reply.times) - 1, 0)
        self.gaps += max(len(reply.times) - 2, 0)
        self.newly_ended.append(connection.index)
        self.live.discard(connection)
        connection.reply = None
        return reply

    def count(self, replica: Replica, index: int) -> None:
        """Counts a request as completed, and sends what the concurrency limit or this request was delaying."""
        replica.in_flight -= 1
        self.in_flight -= 1
        self.places.put_back()
        self.completed += 1
        earliest = self.agenda.next_due()
        self.follow(index)
        if self.completed == self.to_send:
            self.over.set()
        elif self.places.is_awaited or self.agenda.next_due() != earliest:
            self.pump()

    def follow(self, index: int) -> None:
        """Makes due what waited for this request; if it failed, the rest of its session is never sent."""
        at, reply = self.finished[index], self.replies[index]
        if reply.whole and reply.status == HTTP_OK and not self.errors[index]:
            self.bodies.keep_reply(index, reply)
            self.agenda.end(index, at)
            return
        for later in self.agenda.break_off(index, clock()):
            self.errors[later] = BROKEN_OFF
            self.to_send -= 1

    def stop_sending(self) -> None:
        """Sends nothing more; what is in flight goes on to its end."""
        self.agenda.clear()
        sent = set(self.order)
        for index in range(len(self.errors)):
            if index not in sent and not self.errors[index]:
                self.errors[index] = NOT_SENT
        self.to_send = len(sent)
        if self.completed == self.to_send:
            self.over.set()

    def give_up(self, why: str) -> None:
        """Ends open requests with this error; those not yet sent are never sent, as where time ends the load."""
        if self.over.is_set():
            return
        self.over.set()
        now, begun = clock(), set(self.order)
        for index, finished in enumerate(self.finished):
            if finished == NEVER and not self.errors[index]:
                self.errors[index] = NOT_SENT if self.sending_s is not None and index not in begun else why
        for connection in list(self.live):
            self.finish(connection, now)
            connection.transport.abort()

    async def hang_up(self) -> None:
        for replica in self.replicas:
            for connection in replica.idle:
                connection.transport.abort()
        for _ in range(2):  # the transports close in the loop's next iterations
            await asyncio.sleep(0)

    async def open_ahead(self, now: int) -> None:
        """Opens connections for the requests due soon, enough for any replica to take its part of them."""
        soon = self.agenda.count_due(now + int(AHEAD_S * 1e9))
        wanted = -(-min(soon, self.limit - self.in_flight) // len(self.replicas))
        missing = [replica for replica in self.replicas for _ in range(wanted - len(replica.idle) - replica.opening)]
        for first in range(0, len(missing), OPENING_AT_ONCE):
            opening = asyncio.gather(*map(self.open_spare, missing[first : first + OPENING_AT_ONCE]))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(opening, CONNECT_TIMEOUT_S)

    async def open_spare(self, replica: Replica) -> None:
        with contextlib.suppress(OSError):  # the request that needs it will report the error
            replica.idle.append(await replica.open(self))

    async def stay_ahead(self) -> None:
        while len(self.order) < self.to_send:
            await asyncio.sleep(AHEAD_S / 4)
            await self.open_ahead(clock())

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def progress(self) -> Progress:
        """The progress so far, from existing time stamps: computing it delays the streams by 0.1 ms."""
        self.awaited += self.order[self.reported :]
        self.reported = len(self.order)
        answered = [index for index in self.awaited if len(self.replies[index].times) > 1]
        gone = {*answered, *(index for index in self.awaited if self.finished[index] != NEVER)}
        self.awaited = [index for index in self.awaited if index not in gone]
        now, ended, self.newly_ended = clock(), self.newly_ended, []
        self.streaming += len(answered)
        self.streaming_ns -= sum(self.replies[index].times[1] for index in answered)
        over = [self.finished[index] for index in ended if len(self.replies[index].times) > 1]
        self.streaming, self.streaming_ns = self.streaming - len(over), self.streaming_ns + sum(over)
        live = [len(self.replies[each.index].times) for each in self.live]
        opened = [self.sent[each.index] for each in self.live]
        newest = math.inf if self.in_flight > len(opened) else max(opened, default=self.start)
        return Progress(
            elapsed_s=(now - self.start) / 1e9,
            completed=self.completed,
            reads=self.reads + sum(max(reads - 1, 0) for reads in live),
            in_flight=self.in_flight,
            gaps=self.gaps + sum(max(reads - 2, 0) for reads in live),
            streaming_s=(self.streaming_ns + self.streaming * now) / 1e9,
            answered=tuple(
                ((sent - self.start) / 1e9, (self.replies[index].times[1] - sent) / 1e9)
                for index, sent in ((index, self.sent[index]) for index in answered)
            ),
            ended=tuple(self.describe_ended(index) for index in ended),
            oldest_open_s=(min(opened, default=now) - self.start) / 1e9,
            newest_open_s=(newest - self.start) / 1e9,
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
