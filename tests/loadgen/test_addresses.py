"""A name with several addresses: the server listens on one of them."""

import asyncio
import socket

from vbench.loadgen import Endpoint
from vbench.loadgen.connection import Replica


def test_the_address_that_answers_is_taken_whichever_stands_first(monkeypatch):
    async def find():
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        places = [(socket.AF_INET, ("127.0.0.2", port)), (socket.AF_INET, ("127.0.0.1", port))]
        if socket.has_ipv6:
            places.insert(0, (socket.AF_INET6, ("::1", port, 0, 0)))

        async def resolve(*_, **__):
            return [(family, socket.SOCK_STREAM, 6, "", address) for family, address in places]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        replica = Replica(0, Endpoint(f"http://localhost:{port}", "m"), [])
        await replica.find()
        server.close()
        return replica.family, replica.address, places

    family, address, places = asyncio.run(find())
    assert (family, address) == places[-1]
