"""Addresses that programs serve."""

import errno
import socket


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
