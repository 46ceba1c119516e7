"""Sockets for programs that serve, and what is said if there is none."""

import socket

import pytest

from tood_d2.cli.addresses import listen


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", pytest.param("::1", marks=pytest.mark.skipif("not has_ipv6()"))],
)
def test_clients_can_connect(host):
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection((host, port)), listener.accept()[0]:
            pass


def test_a_port_that_is_taken():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match=f"^port {port} is taken: choose another one with --port"):
            listen("127.0.0.1", port)
    listen("127.0.0.1", port).close()


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("no.such.invalid", 0)])
def test_what_is_no_address(host, port):
    with pytest.raises(OSError, match=f"^--host {host} --port {port} cannot be served: "):
        listen(host, port)
