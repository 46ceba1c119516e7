"""Frames of videos and cameras, read and written by OpenCV."""

import contextlib
from collections.abc import Callable, Iterator

import cv2
import numpy as np


class VideoReader:
    """Frames (H, W, 3) uint8, RGB, of a file, given its path, or a camera, given its number.

    Raises:
        OSError: if it cannot be opened, or has no frame.
    """

    def __init__(self, source: str | int):
        self.capture = cv2.VideoCapture(source)
        found, self._first = self.capture.read() if self.capture.isOpened() else (False, None)
        if not found:
            kind = "camera" if isinstance(source, int) else "video"
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
        frame, found = self._first, True
        while found:
            yield frame[:, :, ::-1]
            found, frame = self.capture.read()
        self.capture.release()


@contextlib.contextmanager
def video_writer(
    path: str, size: tuple[int, int], rate: float
) -> Iterator[Callable[[np.ndarray], None]]:
    """Opens an MP4 file, and gives a function that writes a frame (H, W, 3) uint8, RGB.

    Args:
        path: of the file.
        size: (height, width) of the frames.
        rate: frames per second.

    Raises:
        OSError: if it cannot be written.
    """
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"mp4v"), rate, size[::-1])
    if not writer.isOpened():
        raise OSError(f"{path}: this video cannot be written")
    try:
        yield lambda frame: writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
    finally:
        writer.release()
