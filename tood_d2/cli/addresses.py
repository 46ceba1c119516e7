"""Addresses that programs serve."""

import errno
import socket
from argparse import ArgumentParser, Namespace


def add_address(parser: ArgumentParser, port: int) -> None:
    """Adds ``--host`` and ``--port`` of a server, by default one for this machine alone."""
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to serve; 0.0.0.0 lets other machines in")
    add("--port", type=int, default=port, help=f"port to serve ({port})")


def check_address(parser: ArgumentParser, args: Namespace) -> None:
    """Ends the program if what :func:`add_address` added cannot be served."""
    try:
        listen(args.host, args.port).close()
    except OSError as error:
        parser.error(str(error))


def listen(host: str, port: int) -> socket.socket:
    """A socket that clients can connect to.

    Args:
        host: address or name of this machine.
        port: 0 for any that is free.

    Raises:
        OSError: says in one line what is wrong with ``--host`` and ``--port``.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise OSError(f"port {port} is taken: choose another one with --port") from error
        raise OSError(f"--host {host} --port {port} cannot be served: {error}") from error
