import os

import cv2
import numpy as np
import pytest

from tood_d2.cli.outputs import check_replaceable
from tood_d2.inference.video import VideoReader, video_writer


@pytest.mark.parametrize("extension", ["mp4", "webm"])
def test_frames_are_read_as_they_were_written(tmp_path, extension):
    path = str(tmp_path / f"video.{extension}")
    grey = (20, 120, 220)
    with video_writer(path, (48, 64), 10.0) as write:
        for value in grey:
            write(np.full((48, 64, 3), value, np.uint8))
    video = VideoReader(path)
    assert (video.size, video.rate, len(video)) == ((48, 64), 10.0, 3)
    assert [frame.mean() for frame in video] == pytest.approx(grey, abs=4)  # it is compressed


@pytest.mark.parametrize("content", [None, b"", b"no video"])
def test_files_that_are_no_video_are_refused(tmp_path, content):
    path = tmp_path / "video.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OSError, match="no video that can be read"):
        VideoReader(str(path))


def test_missing_cameras_are_refused():
    with pytest.raises(OSError, match="99: no camera"):
        VideoReader(99)


def test_paths_that_cannot_be_written_are_refused(tmp_path):
    path = str(tmp_path / "no" / "video.mp4")
    with pytest.raises(OSError, match="cannot be written"), video_writer(path, (48, 64), 10.0):
        pass


def test_odd_sizes_are_extended_by_one_pixel(tmp_path):
    path = str(tmp_path / "video.mp4")
    with video_writer(path, (31, 1), 10.0) as write:
        write(np.full((31, 1, 3), 200, np.uint8))
    video = VideoReader(path)
    assert video.size == (32, 2)
    assert next(iter(video)).mean() == pytest.approx(200, abs=4)


def test_a_video_that_loses_frames_is_refused_and_removed(tmp_path):
    with (
        pytest.raises(OSError, match="video.mp4 cannot be written: only 1 of 2 frames"),
        video_writer(str(tmp_path / "video.mp4"), (48, 64), 10.0) as write,
    ):
        write(np.zeros((48, 64, 3), np.uint8))
        write(np.zeros((20, 20, 3), np.uint8))  # OpenCV leaves it out
    assert not list(tmp_path.iterdir())


def test_a_video_may_be_replaced(tmp_path):
    path = str(tmp_path / "video.mp4")
    with video_writer(path, (48, 64), 10.0) as write:
        write(np.zeros((48, 64, 3), np.uint8))
    assert check_replaceable(path)


def test_a_video_that_is_cut_off_is_told(tmp_path, caplog):
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(10):
        writer.write(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    writer.release()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert 0 < len(list(VideoReader(str(path)))) < 10
    assert "frames can be read" in caplog.text


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "video.mp4")
    with pytest.raises(OSError, match="no video that can be read"):
        VideoReader(str(tmp_path / "video.mp4"))
