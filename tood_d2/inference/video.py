"""Frames of videos and cameras, read and written by OpenCV."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from ..cli.outputs import mark_video, whole_file

CODECS = {".mp4": "mp4v", ".webm": "VP80"}  # browsers play the latter

logger = logging.getLogger(__name__)


class VideoReader:
    """Frames (H, W, 3) uint8, RGB, of a file, given its path, or a camera, given its number.

    Raises:
        OSError: if it cannot be opened, or has no frame.
    """

    def __init__(self, source: str | int):
        self.source = source
        is_camera = isinstance(source, int)
        # OpenCV would wait for a pipe.
        is_open = is_camera or os.path.isfile(source) or not os.path.exists(source)
        self.capture = cv2.VideoCapture(source) if is_open else None
        found, self._first = self.capture.read() if is_open else (False, None)
        if not found:
            kind = "camera" if is_camera else "video"
            raise OSError(f"{source}: no {kind} that can be read")
        self.size: tuple[int, int] = self._first.shape[:2]
        """(height, width) of the frames."""
        rate = self.capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate < 1000 else 30.0
        """Frames per second, 30 where a camera does not tell."""

    def __len__(self) -> int:
        """The number of frames, 0 if it is not known."""
        return max(0, int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __iter__(self) -> Iterator[np.ndarray]:
        frame, found, number, expected = self._first, True, 0, len(self)
        while found:
            yield frame[:, :, ::-1]
            number += 1
            found, frame = self.capture.read()
        self.capture.release()
        if number < expected:
            logger.warning(f"{self.source}: only {number} of its {expected} frames can be read")


@contextlib.contextmanager
def video_writer(
    path: str, size: tuple[int, int], rate: float
) -> Iterator[Callable[[np.ndarray], None]]:
    """Opens a video file, and gives a function that writes a frame (H, W, 3) uint8, RGB.

    MP4 has no odd sizes: the last row or column of such a frame is repeated.

    Args:
        path: of the file, .mp4 or .webm, which is there once it is complete.
        size: (height, width) of the frames.
        rate: frames per second.

    Raises:
        OSError: if it cannot be written.
    """
    number, (bottom, right) = 0, (x % 2 for x in size)
    extension = os.path.splitext(path)[1]
    shape = size[1] + right, size[0] + bottom

    def write(frame: np.ndarray) -> None:
        nonlocal number
        number += 1
        frame = np.pad(frame, ((0, bottom), (0, right), (0, 0)), mode="edge")
        writer.write(np.ascontiguousarray(frame[:, :, ::-1]))

    with whole_file(path) as scratch:
        writer = cv2.VideoWriter(scratch, cv2.VideoWriter_fourcc(*CODECS[extension]), rate, shape)
        if not writer.isOpened():
            raise OSError("OpenCV cannot open it")
        try:
            yield write
        finally:
            writer.release()
        # OpenCV is silent about frames that it leaves out, as on a full disk.
        written = _count_frames(scratch)
        if written < number:
            raise OSError(f"only {written} of {number} frames, is the disk full?")
        if extension == ".mp4":
            mark_video(scratch)


def _count_frames(path: str) -> int:
    capture = cv2.VideoCapture(path)
    return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
