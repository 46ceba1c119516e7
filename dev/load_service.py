#!/usr/bin/env python
"""Sends images to `tood serve` from many clients at once, and from one alone.

load_service.py --images images/ --serve --exported model.xml --batch-size 4
load_service.py --images images/ --url http://127.0.0.1:8000

What follows --serve are arguments of `tood serve`, which is started on a free port and ended by
SIGTERM afterwards. Each client has a connection of its own and sends the next image once it has an
answer. A token is taken from TOOD_TOKEN. Errors are answers other than 200, and broken connections;
the status is 1 if there were any. Times are from the request to the end of the answer, of those
without errors.
"""

import argparse
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
from tabulate import tabulate

from tood_d2.cli.messages import short_errors
from tood_d2.inference.image_files import find_images

SECONDS_TO_START = 300


class Load(NamedTuple):
    """What a number of clients saw."""

    clients: int
    seconds: list[float]
    """Of each answer 200."""
    errors: Counter
    """Number by status, or by the type of the exception."""
    batch_sizes: list[int]
    duration: float

    def row(self) -> list:
        middle, high = np.percentile(self.seconds, [50, 95]) if self.seconds else (np.nan, np.nan)
        rate = len(self.seconds) / self.duration
        batch_size = np.mean(self.batch_sizes) if self.seconds else np.nan
        return [self.clients, self.errors.total(), 1000 * middle, 1000 * high, rate, batch_size]


def send(url: str, files: Sequence[bytes], num_requests: int, num_clients: int) -> Load:
    """Sends files in turn, so many requests in all."""
    numbers = iter(range(num_requests))  # shared; taking the next one is atomic
    token = os.environ.get("TOOD_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    seconds, errors, batch_sizes = [], Counter(), []

    def be_client(_: int) -> None:
        with httpx.Client(base_url=url, headers=headers, timeout=120) as client:
            for number in numbers:
                start = time.perf_counter()
                try:
                    answer = client.post("/v1/detect", content=files[number % len(files)])
                except httpx.HTTPError as error:
                    errors[type(error).__name__] += 1
                    continue
                if answer.status_code != 200:
                    errors[answer.status_code] += 1
                    continue
                seconds.append(time.perf_counter() - start)
                batch_sizes.append(answer.json()["batch_size"])

    start = time.perf_counter()
    with ThreadPoolExecutor(num_clients) as threads:
        list(threads.map(be_client, range(num_clients)))
    return Load(num_clients, seconds, errors, batch_sizes, time.perf_counter() - start)


@contextlib.contextmanager
def running_service(arguments: Sequence[str]) -> Iterator[str]:
    """Starts `tood serve` and gives its address once it is ready.

    Raises:
        RuntimeError: if it does not become ready, or does not end well.
    """
    command = [sys.executable, "-m", "tood_d2", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().partition("/docs")[0]
        end = time.monotonic() + SECONDS_TO_START
        while not _is_ready(url):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the service does not become ready")
            time.sleep(0.2)
        yield url
        process.send_signal(signal.SIGTERM)
        if status := process.wait(SECONDS_TO_START):
            raise RuntimeError(f"the service ended with status {status}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--images", nargs="+", required=True, help="images, folders or globs")
    add("--clients", type=int, default=16, help="at once (16)")
    add("--requests", type=int, default=200, help="of all clients, and of the one alone (200)")
    service = parser.add_mutually_exclusive_group(required=True)
    service.add_argument("--url", help="of a service that runs, such as http://127.0.0.1:8000")
    service.add_argument("--serve", nargs=argparse.REMAINDER, help="arguments of `tood serve`")
    args = parser.parse_args()
    for name in ("clients", "requests"):
        if (value := getattr(args, name)) < 1:
            parser.error(f"--{name} {value}: should be at least 1")
    with short_errors(parser.prog):
        paths = itertools.islice(find_images(args.images), args.requests)
        files = [Path(path).read_bytes() for path in paths]
        start = contextlib.nullcontext(args.url) if args.url else running_service(args.serve)
        with start as url:
            send(url, files, 2 * args.clients, args.clients)  # warms up
            loads = [send(url, files, args.requests, x) for x in (1, args.clients)]
    titles = ["clients", "errors", "p50, ms", "p95, ms", "requests/s", "images of a batch"]
    print(tabulate([x.row() for x in loads], titles, floatfmt=".1f"))
    for load in loads:
        for what, number in load.errors.items():
            print(f"{load.clients} clients: {number} times {what}")
    return 1 if any(x.errors for x in loads) else 0


if __name__ == "__main__":
    sys.exit(main())
