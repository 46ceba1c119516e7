"""uvicorn, which speaks HTTP."""

import math
import socket

import uvicorn

from .app import Service, build_app
from .connections import HastyConnection


def build_server(service: Service) -> uvicorn.Server:
    """A server that stops if the service fails.

    It neither trusts headers of proxies nor logs requests. Once it is told to stop, requests have
    as long as their limits allow.
    """
    config = uvicorn.Config(
        build_app(service),
        loop="asyncio",
        http=HastyConnection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(
            service.limits.upload_timeout + service.limits.max_wait + HastyConnection.SECONDS
        ),
    )
    server = uvicorn.Server(config)

    def stop() -> None:
        server.should_exit = True

    service.stop = stop
    return server


def serve(service: Service, listener: socket.socket) -> None:
    """Answers requests until SIGTERM or Ctrl-C come, and what is in work is done.

    Args:
        service: to offer.
        listener: socket that clients connect to, which is closed in the end.

    Raises:
        Exception: what loading the model raises.
    """
    build_server(service).run(sockets=[listener])
    if service.error:
        raise service.error
