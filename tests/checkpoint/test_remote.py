"""Copies of an output folder on another file system."""

import os

import fsspec
import pytest

from tood_d2.checkpoint.remote import RemoteFolder


@pytest.fixture(scope="module")
def bucket():
    """Of a server on this machine that speaks S3's language."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}
    keys["AWS_ENDPOINT_URL"] = "http://{}:{}".format(*server.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in keys.items():
            patch.setenv(name, value)
        fsspec.filesystem("s3").mkdir("bucket")
        yield "s3://bucket"
    server.stop()


@pytest.fixture(params=["folder", "S3"])
def url(request, tmp_path):
    if request.param == "folder":
        return str(tmp_path / "remote")
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


@pytest.fixture
def remote(url):
    folder = RemoteFolder(url, max_to_keep=2)
    folder.check()
    return folder


@pytest.fixture
def local(tmp_path):
    """A function that makes an output folder with checkpoints of iterations, the last one named."""

    def _local(*iterations, name="local"):
        folder = tmp_path / name
        (folder / "inference").mkdir(parents=True, exist_ok=True)
        for i in iterations:
            (folder / f"model_{i:07}.pth").write_text(f"weights {i}")
        (folder / "last_checkpoint").write_text(f"model_{iterations[-1]:07}.pth")
        (folder / "metrics.json").write_text("{}\n" * iterations[-1])
        (folder / "inference" / "results.json").write_text("[]")
        (folder / "another_run").mkdir(exist_ok=True)
        (folder / "another_run" / "model_final.pth").touch()
        (folder / ".tood_d2-00000000000000000000000000000000.tmp").write_text("half")
        return folder

    return _local


def names(folder):
    filesystem, path = fsspec.url_to_fs(folder)
    filesystem.invalidate_cache()
    found = filesystem.find(path)
    return sorted(os.path.relpath(x, filesystem._strip_protocol(folder)) for x in found)


OTHERS = ["inference/results.json", "last_checkpoint", "metrics.json"]


def test_a_new_machine_gets_the_last_checkpoint_and_the_logs(remote, local, url, tmp_path):
    assert remote.last() == ""
    remote.push(str(local(4, 9)))
    assert names(url) == [*OTHERS, "model_0000004.pth", "model_0000009.pth"]
    assert remote.last() == "model_0000009.pth"
    new = tmp_path / "new"
    new.mkdir()
    assert RemoteFolder(url).pull(str(new))
    assert names(str(new)) == [*OTHERS, "model_0000009.pth"]
    assert (new / "model_0000009.pth").read_text() == "weights 9"
    assert (new / "metrics.json").read_text() == "{}\n" * 9
    assert not RemoteFolder(url).pull(str(new))


def test_the_latest_checkpoints_are_kept(remote, local, url):
    remote.push(str(local(4, 9)))
    remote.push(str(local(9, 14)))
    assert names(url) == [*OTHERS, "model_0000009.pth", "model_0000014.pth"]


def test_what_has_not_changed_is_not_copied_again(remote, local, url, tmp_path):
    remote.push(str(local(4)))
    filesystem, path = fsspec.url_to_fs(url)
    filesystem.pipe_file(f"{path}/inference/results.json", b"other")
    folder = local(9, name="second")
    before = tmp_path / "local" / "inference" / "results.json"
    after = folder / "inference" / "results.json"
    os.utime(after, ns=(0, os.stat(before).st_mtime_ns))
    remote.push(str(folder))
    assert filesystem.cat_file(f"{path}/inference/results.json") == b"other"
    assert remote.last() == "model_0000009.pth"


def test_a_later_local_run_is_left_alone(remote, local):
    remote.push(str(local(4)))
    folder = local(9, name="other")
    assert not remote.pull(str(folder))
    assert (folder / "last_checkpoint").read_text() == "model_0000009.pth"


def test_the_end_of_training_is_the_latest(remote, local, tmp_path):
    folder = local(9)
    (folder / "model_final.pth").write_text("final")
    (folder / "last_checkpoint").write_text("model_final.pth")
    remote.push(str(folder))
    assert remote.pull(str(local(99, name="other")))
    assert (tmp_path / "other" / "model_final.pth").read_text() == "final"


def test_a_failure_leaves_the_tag_of_the_last_whole_checkpoint(remote, local, url, monkeypatch):
    remote.push(str(local(4)))

    def fail(self, path, name):
        raise OSError("the line is cut")

    with monkeypatch.context() as patch:
        patch.setattr(RemoteFolder, "_put", fail)
        with pytest.raises(OSError, match="the line is cut"):
            remote.push(str(local(4, 9)))
    assert remote.last() == "model_0000004.pth"
    remote.push(str(local(4, 9)))
    assert remote.last() == "model_0000009.pth"


def test_a_checkpoint_that_comes_meanwhile_is_named_with_the_next_copy(remote, local, monkeypatch):
    folder, put = local(4), RemoteFolder._put

    def put_and_save(self, path, name):
        put(self, path, name)
        local(4, 9)

    with monkeypatch.context() as patch:
        patch.setattr(RemoteFolder, "_put", put_and_save)
        remote.push(str(folder))
    assert remote.last() == "model_0000004.pth"
    remote.push(str(folder))
    assert remote.last() == "model_0000009.pth"


def test_a_folder_that_is_gone_is_an_error(remote, local, monkeypatch):
    def fail(self, path, name):
        raise FileNotFoundError("the bucket")

    monkeypatch.setattr(RemoteFolder, "_put", fail)
    with pytest.raises(FileNotFoundError, match="the bucket"):
        remote.push(str(local(4)))
    assert remote.last() == ""


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=f"{tmp_path}/file/x: cannot be written to"):
        RemoteFolder(f"{tmp_path}/file/x").check()
    with pytest.raises(OSError, match="nosuch://x: cannot be written to .*nosuch"):
        RemoteFolder("nosuch://x").check()


def test_a_missing_bucket(bucket):
    with pytest.raises(OSError, match="s3://missing_bucket_/x: cannot be written to"):
        RemoteFolder("s3://missing_bucket_/x").check()
