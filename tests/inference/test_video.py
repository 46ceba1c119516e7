import numpy as np
import pytest

from tood_d2.inference.video import VideoReader, video_writer


def test_frames_are_read_as_they_were_written(tmp_path):
    path = str(tmp_path / "video.mp4")
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
