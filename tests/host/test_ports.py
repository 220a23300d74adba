"""Ports for servers that bind them later."""

import socket

import pytest

from vbench.host import ports


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Tells which range the kernel takes clients' ports from."""

    def tell(text):
        (tmp_path / "range").write_text(text)
        monkeypatch.setattr(ports, "EPHEMERAL", tmp_path / "range")

    return tell


def test_no_connection_of_a_client_can_take_the_port_before_its_server_binds_it(kernel):
    for lowest, highest in ((32_768, 60_999), (10_000, 30_000), (9_000, 65_000)):
        kernel(f"{lowest}\t{highest}\n")
        found = ports.find_free_ports(20)
        assert len(set(found)) == 20
        assert not [port for port in found if lowest <= port <= highest]


def test_a_port_that_somebody_listens_on_is_left_out(kernel, monkeypatch):
    kernel("1\t1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(ports, "FIRST", taken.getsockname()[1])
        monkeypatch.setattr(ports, "END", taken.getsockname()[1] + 1)
        assert ports.find_free_ports(1) != [ports.FIRST]


@pytest.mark.parametrize("text", ["1024\t65535", "unreadable"])
def test_where_clients_may_get_any_port_or_nobody_tells_a_free_one_is_taken(kernel, text):
    kernel(text)
    (port,) = ports.find_free_ports(1)
    assert 1024 <= port < 65_536
