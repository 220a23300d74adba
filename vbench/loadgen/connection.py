"""Connections to a replica: opened ahead, kept alive, each with at most one request at a time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from vbench.loadgen import request
from vbench.loadgen.bodies import Assembled, Bodies, Prepared
from vbench.loadgen.load import Endpoint, Load
from vbench.loadgen.wire import Reply

CONNECT_TIMEOUT_S = 30.0
ADDRESS_S = 2.0  # to connect, for each of a name's several addresses
KEEP_NS = 1_000_000_000  # a used connection that idled longer may be closing at the server's end

clock = time.perf_counter_ns  # CLOCK_MONOTONIC on Linux: one clock for all processes


class Owner(Protocol):
    """Is notified when a request ends."""

    def on_end(self, connection: Connection) -> None:
        """The request's reply is complete, or can never be."""

    def on_loss(self, connection: Connection, error: Exception | None) -> None:
        """The connection closed during the request."""


class Connection(asyncio.Protocol):
    """Stamps what arrives, and notifies its owner when a reply is over."""

    __slots__ = ("_owner", "_socket", "index", "replica", "reply", "transport", "used_at")
    transport: asyncio.Transport

    def __init__(self, owner: Owner, replica: Replica, own: socket.socket) -> None:
        self._owner = owner
        self._socket = own
        self.replica = replica
        self.reply: Reply | None = None  # the one in progress
        self.index = -1  # its request
        self.used_at = 0  # when its last reply ended; 0 if it never had one

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        reply = self.reply
        if reply is None:  # no request was sent
            self.transport.abort()
        elif reply.feed(data, clock()):
            self._owner.on_end(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self.reply is not None:
            self.reply.close()
            self._owner.on_loss(self, error)

    def send(self, index: int, reply: Reply) -> int:
        """Hands request `index` to the kernel now, not in the loop's next iteration. Returns when (ns of `clock`)."""
        self.index, self.reply = index, reply
        message = self.replica.message(index)
        sent_at = clock()
        handed = 0
        if not self.replica.tls:
            with contextlib.suppress(OSError):  # full or lost: the transport waits, or notices the loss
                handed = self._socket.send(message)
        if handed < len(message):
            self.transport.write(memoryview(message)[handed:])
        return sent_at


@dataclass(eq=False)
class Replica:
    """An endpoint as one process sees it: its address, what to send there, and what is in flight."""

    index: int
    endpoint: Endpoint
    bodies: Bodies
    head: bytes = b""
    family: int = socket.AF_INET
    address: Any = None
    tls: ssl.SSLContext | None = None
    unreachable: OSError | None = None  # its name does not resolve
    in_flight: int = 0
    opening: int = 0
    idle: list[Connection] = field(default_factory=list)

    async def find(self) -> None:
        """Resolves the endpoint's name, once for all connections."""
        url = urlsplit(self.endpoint.base_url)
        secure = url.scheme == "https"
        self.head = request.head(self.endpoint)
        self.tls = ssl.create_default_context() if secure else None
        port = url.port or (443 if secure else 80)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(url.hostname, port, type=socket.SOCK_STREAM)
            self.family, self.address = await _find_answering_address([(each[0], each[4]) for each in found])
        except OSError as error:
            self.unreachable = error

    def message(self, index: int) -> bytes:
        body = self.bodies.build(index, self.endpoint.model)
        return b"%b%d\r\n\r\n%b" % (self.head, len(body), body)

    def take(self) -> Connection | None:
        """Takes an idle connection that is safe to use, the most recently used first."""
        while self.idle:
            connection = self.idle.pop()
            if connection.used_at and clock() - connection.used_at > KEEP_NS:
                connection.transport.close()
            elif not connection.transport.is_closing():
                return connection
        return None

    async def open_for_a_request(self, owner: Owner) -> Connection:
        """Opens a connection for a request that is to be sent at once. Raises OSError; TimeoutError after a while."""
        connection = await asyncio.wait_for(self.open(owner), CONNECT_TIMEOUT_S)
        if connection.transport.is_closing():  # its loss was told already, and would never be told to the request
            raise ConnectionResetError("the server closed the connection at once")
        return connection

    async def open(self, owner: Owner) -> Connection:
        """Opens a new connection, however long it takes. Raises OSError; TLS errors are OSErrors too."""
        if self.unreachable:
            raise self.unreachable
        loop = asyncio.get_running_loop()
        own = socket.socket(self.family, socket.SOCK_STREAM)
        self.opening += 1
        try:
            own.setblocking(False)
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(BlockingIOError):
                own.connect(self.address)
            if not _is_connected(own):  # a server on this host would have answered by now
                await loop.sock_connect(own, self.address)
            _, connection = await loop.create_connection(
                lambda: Connection(owner, self, own),
                sock=own,
                ssl=self.tls,
                server_hostname=urlsplit(self.endpoint.base_url).hostname if self.tls else None,
                ssl_handshake_timeout=CONNECT_TIMEOUT_S if self.tls else None,
            )
        except BaseException:
            own.close()
            raise
        finally:
            self.opening -= 1
        return connection


async def resolve_replicas(load: Load) -> list[Replica]:
    """Returns the resolved endpoints with the requests' bodies, built once for all replicas of one model.

    Bodies that carry replies are joined for all replicas, whatever each calls its model.
    """
    written: dict[tuple[str, bool], Bodies] = {}
    replicas = []
    for index, endpoint in enumerate(load.endpoints):
        structure = load.structure
        kind = ("" if structure else endpoint.model, endpoint.chat)
        if kind not in written:
            written[kind] = Assembled(load, endpoint, structure) if structure else Prepared(load, endpoint)
        replicas.append(Replica(index, endpoint, written[kind]))
        await replicas[-1].find()
    return replicas


async def _find_answering_address(addresses: Sequence[tuple[int, Any]]) -> tuple[int, Any]:
    """The first of a name's addresses (localhost: ::1 and 127.0.0.1) that accepts a connection, else the first."""
    for family, address in addresses if len(addresses) > 1 else ():
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                await asyncio.wait_for(asyncio.get_running_loop().sock_connect(probe, address), ADDRESS_S)
            except (OSError, asyncio.TimeoutError):
                continue
            return family, address
    return addresses[0]


def _is_connected(own: socket.socket) -> bool:
    try:
        own.getpeername()
    except OSError:
        return False
    return True
