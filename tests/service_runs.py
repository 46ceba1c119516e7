"""A service on a port of its own, with a model that is told what to do."""

import contextlib
import io
import socket
import threading
import time

import httpx
import numpy as np
import torch
from PIL import Image

from detectron2.structures import Boxes, Instances
from tood_d2.cli.addresses import listen
from tood_d2.service.app import Service
from tood_d2.service.batching import ServedModel
from tood_d2.service.server import build_server

DETECT = "/v1/detect"
THREADS = ("detection", "asyncio", "AnyIO")  # that a service may have


class GreyPredictor:
    """Finds one object, the image itself, whose score is the brightness of its first pixel.

    Attributes:
        open: detection waits until this event is set.
        failing: brightness of images that it fails on.
        batches: the brightness of the images of each batch so far.
    """

    class_names, input_format = ["dark", "bright"], "RGB"

    def __init__(self):
        self.open, self.failing, self.batches = threading.Event(), None, []
        self.open.set()

    def detect(self, images):
        values = [int(x[0, 0, 0]) for x in images]
        self.batches.append(values)
        assert self.open.wait(30)
        if self.failing in values:
            raise RuntimeError("secret.py fails")
        return [self._find(*x.shape[:2], value) for x, value in zip(images, values, strict=True)]

    @staticmethod
    def _find(height, width, value):
        found = Instances((height, width), pred_boxes=Boxes([[0, 0, width, height]]))
        found.scores = torch.tensor([value / 255])
        found.pred_classes = torch.tensor([int(value > 127)])
        return found


def png(value: int, size=(6, 4), **how) -> bytes:
    """A file with an image of one brightness."""
    file = io.BytesIO()
    Image.fromarray(np.full((*size[::-1], 3), value, np.uint8)).save(file, "PNG", **how)
    return file.getvalue()


def grey_service(predictor: GreyPredictor, **how) -> Service:
    """A service with this model, which is called grey."""
    return Service(lambda: ServedModel(predictor, "grey", "1"), confidence_threshold=0, **how)


@contextlib.contextmanager
def running(service: Service, ready: bool = True):
    """Runs a service in a thread and gives a client of it; afterwards nothing of it is left."""
    before = {*threading.enumerate()}
    server, listener = build_server(service), listen("127.0.0.1", 0)
    address = "http://{}:{}".format(*listener.getsockname())
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    with httpx.Client(base_url=address, timeout=30) as client:
        try:
            if ready:
                wait_until(lambda: client.get("/readyz").status_code == 200)
            yield client
        finally:
            server.should_exit = True
            thread.join(30)
    left = [x.name for x in {*threading.enumerate()} - before if x.name.startswith(THREADS)]
    assert not thread.is_alive() and not left, left
    assert listener.fileno() == -1, listener


def wait_until(condition, seconds=20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def connect(client: httpx.Client) -> socket.socket:
    """A connection for bytes that no client would send."""
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=20)


def rest(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    content = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            content += data
    return content
