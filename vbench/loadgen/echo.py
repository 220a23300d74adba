"""Measures how late an idle client stamps: a thread sends times over loopback to the loop that will read replies."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time

import numpy as np

from vbench.schema.record import Floats

SAMPLES = 200
APART_S = 0.001
_STAMP = struct.Struct("q")


class _Reader(asyncio.Protocol):
    def __init__(self) -> None:
        self.skews: list[int] = []
        self.closed = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter_ns()
        self.skews += [now - stamp for (stamp,) in _STAMP.iter_unpack(data[: len(data) // 8 * 8])]

    def connection_lost(self, _error: Exception | None) -> None:
        self.closed.set_result(None)


def _speak(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(SAMPLES):
            time.sleep(APART_S)
            connection.send(_STAMP.pack(time.perf_counter_ns()))


async def measure_skew_s() -> Floats:
    """Seconds from sending to stamping, (SAMPLES,). Takes a quarter of a second."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_speak, args=(server,), daemon=True).start()
        _, reader = await asyncio.get_running_loop().create_connection(_Reader, *server.getsockname())
        await asyncio.wait_for(reader.closed, 10)
    return np.array(reader.skews) / 1e9
