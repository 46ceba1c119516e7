"""What Prometheus is told."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one service."""

    def __init__(self):
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "tood_requests", "Answered requests", ["path", "status"], registry=registry
        )
        self._seconds = Histogram(
            "tood_request_seconds",
            "Time from the headers of a request to the end of its answer",
            ["path"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._network = Histogram(
            "tood_network_seconds", "Time of a batch", buckets=_SECONDS, registry=registry
        )
        self._sizes = Histogram(
            "tood_batch_size", "Images of a batch", buckets=_SIZES, registry=registry
        )
        self._queue = Gauge(
            "tood_queue_length", "Images that are not in the network yet", registry=registry
        )

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Takes a function that tells how long the queue is."""
        self._queue.set_function(length)

    def count_batch(self, size: int, seconds: float) -> None:
        self._sizes.observe(size)
        self._network.observe(seconds)

    def count_request(self, path: str, status: int, seconds: float) -> None:
        self._requests.labels(path, status).inc()
        self._seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        """In the form of Prometheus."""
        return generate_latest(self._registry)


class Measured:
    """ASGI middleware that counts requests."""

    def __init__(self, app, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, status = time.perf_counter(), 500

        async def send_and_note(message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        finally:
            # What is asked for by strangers should not become names of time series.
            path = getattr(scope.get("route"), "path", "other")
            self.metrics.count_request(path, status, time.perf_counter() - start)
