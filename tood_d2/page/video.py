"""Detections drawn on a user's video."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, islice

import cv2
import numpy as np

from ..inference.video import VideoReader, video_writer

MAX_SECONDS = 30
MAX_SIDE = 4096  # pixels
# First bytes of MP4 and MOV (from the fifth on), WebM and Matroska, AVI. Others, such as playlists,
# would have OpenCV read further files.
MAGIC = (("ftyp", 4), ("moov", 4), ("\x1aE\xdf\xa3", 0), ("RIFF", 0))


def open_video(path: str) -> VideoReader:
    """Opens a stranger's video.

    Raises:
        ValueError: says what is wrong with the file, without its folder.
    """
    name = os.path.basename(path)
    with open(path, "rb") as file:
        start = file.read(16)
    if not any(start[at:].startswith(magic.encode("latin-1")) for magic, at in MAGIC):
        raise ValueError(f"{name} is no video, or none of the kinds MP4, MOV, WebM, MKV, AVI")
    capture = cv2.VideoCapture(path)
    sides = [capture.get(x) for x in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
    capture.release()
    if max(sides) > MAX_SIDE:
        width, height = map(int, sides)
        raise ValueError(f"{name} has {width} x {height} pixels: at most {MAX_SIDE} a side")
    try:
        return VideoReader(path)
    except OSError as error:
        raise ValueError(f"{name} cannot be read as a video") from error


def num_frames(video: VideoReader) -> int:
    """How many frames of a video are drawn, at most where it does not tell its length."""
    most = max(1, round(MAX_SECONDS * video.rate))
    return min(len(video) or most, most)


def draw_video(
    video: VideoReader, draw: Callable[[np.ndarray], tuple[np.ndarray, Counter]], output: str
) -> Iterator[Counter]:
    """Draws the first ``MAX_SECONDS`` of a video.

    Args:
        video: to read.
        draw: gives a frame's picture, and the number of objects of each class in it.
        output: file to write, which is there after the last frame.

    Returns:
        The numbers of objects in one frame after the other.

    Raises:
        OSError: if the file cannot be written.
    """
    drawn = map(draw, islice(video, num_frames(video)))
    first = next(drawn)
    with video_writer(output, first[0].shape[:2], video.rate) as write:
        for picture, counts in chain([first], drawn):
            write(picture)
            yield counts
