"""One detector for many callers at once, who need not know of each other."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from detectron2.structures import Instances

from ..inference.predictor import ImagePredictor

logger = logging.getLogger(__name__)


class ServedModel(NamedTuple):
    """A predictor, and what it is called."""

    predictor: ImagePredictor
    name: str
    version: str


class Detected(NamedTuple):
    """The detections in an image, and the seconds that it took."""

    instances: Instances
    decoding: float
    queue: float
    network: float
    batch_size: int


class DetectionError(Exception):
    """The model failed on an image."""


@dataclass(eq=False)
class _Job:
    image: np.ndarray
    decoded: float = field(default_factory=time.perf_counter)
    outcome: asyncio.Future = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Batcher:
    """Loads a predictor and detects by it, in a thread of its own.

    Images of the same size go through the network together, so that none is padded more than it
    would be alone, and none changes the others' detections. While a batch is in the network, the
    images of the next one are decoded; all others wait as they came.

    Attributes:
        served: the model, None until it is loaded.
    """

    def __init__(
        self,
        batch_size: int = 1,
        max_delay: float = 0.0,
        report: Callable[[int, float], None] = lambda size, seconds: None,
    ):
        """
        Args:
            batch_size: images of a batch at most.
            max_delay: how long an image waits for others while the network has nothing to do, in
                seconds.
            report: called with the size and the seconds of each batch.
        """
        self.served: ServedModel | None = None
        self._batch_size, self._max_delay, self._report = batch_size, max_delay, report
        self._jobs: list[_Job] = []
        self._has_new = asyncio.Event()
        self._places = asyncio.Semaphore(2 * batch_size)  # of decoded images
        self._num_callers = self._num_in_network = 0

    @property
    def num_waiting(self) -> int:
        """Number of images that are not in the network yet."""
        return max(0, self._num_callers - self._num_in_network)  # callers may leave

    async def run(self, load: Callable[[], ServedModel]) -> None:
        """Loads the model, detects in an empty image, then in the callers' until it is cancelled.

        Raises:
            Exception: what ``load`` or the model raises.
        """
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "detection") as thread:
            served = await loop.run_in_executor(thread, load)
            empty = np.zeros((64, 64, 3), np.uint8)
            await loop.run_in_executor(thread, served.predictor.detect, [empty])
            self.served = served
            logger.info(f"The model {served.name}, version {served.version}, is ready")
            while True:
                jobs = await self._next_batch()
                images, start = [x.image for x in jobs], time.perf_counter()
                self._num_in_network = len(jobs)
                outcomes = await loop.run_in_executor(thread, self._detect, images)
                self._num_in_network = 0
                seconds = time.perf_counter() - start
                self._report(len(jobs), seconds)
                for job, outcome in zip(jobs, outcomes, strict=True):
                    if not job.outcome.done():  # the caller may have left
                        job.outcome.set_result((outcome, start, seconds, len(jobs)))

    async def detect(self, decode: Callable[[], np.ndarray]) -> Detected:
        """Detects in an image, once it is its turn.

        Args:
            decode: gives the image (H, W, 3), uint8 RGB; called in another thread.

        Raises:
            DetectionError: if the model fails, whose error is logged.
            Exception: what ``decode`` raises.
        """
        arrival = time.perf_counter()
        self._num_callers += 1
        try:
            async with self._places:
                turn = time.perf_counter()
                job = _Job(await asyncio.to_thread(decode))
                self._jobs.append(job)
                self._has_new.set()
                found, start, network, batch_size = await job.outcome
        finally:
            self._num_callers -= 1
        if isinstance(found, Exception):
            raise DetectionError from found
        queue = turn - arrival + start - job.decoded
        return Detected(found, job.decoded - turn, queue, network, batch_size)

    async def _next_batch(self) -> list[_Job]:
        """Waits for images; takes the one that came first, and others of its size."""
        while True:
            self._has_new.clear()
            self._jobs = [x for x in self._jobs if not x.outcome.done()]
            seconds = None
            if self._jobs:
                first = self._jobs[0]
                same = [x for x in self._jobs if x.image.shape == first.image.shape]
                batch = same[: self._batch_size]
                seconds = first.decoded + self._max_delay - time.perf_counter()
                if len(batch) == self._batch_size or seconds <= 0:
                    self._jobs = [x for x in self._jobs if x not in batch]
                    return batch
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._has_new.wait(), seconds)

    def _detect(self, images: Sequence[np.ndarray]) -> list[Instances | Exception]:
        try:
            return self.served.predictor.detect(images)
        except Exception as error:
            if len(images) > 1:  # so that one image does not spoil the others
                return [x for image in images for x in self._detect([image])]
            logger.error(f"The model failed on an image: {error!r}", exc_info=error)
            return [error]
