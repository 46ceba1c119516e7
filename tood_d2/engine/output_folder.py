"""The output folder of a run: fit to be written to, and what an earlier run left there."""

import contextlib
import itertools
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from detectron2.utils import comm

from ..checkpoint.remote import RemoteFolder
from ..config.run import Run

logger = logging.getLogger(__name__)

_OF_A_RUN = re.compile(r"metrics\.json|last_checkpoint|model_\w+\.pth")


def check_output_folder(run: Run) -> None:
    """Makes the output folder of a run, if it is not there.

    Raises:
        OSError: if it cannot be made or written to.
        ValueError: if it is no folder of this machine, or the folder of the images.
    """
    options, key = run.options, run.key("output_dir")
    path = options.output_dir
    if not path or "://" in path or path.endswith((".txt", ".log")):  # which loggers take for files
        raise ValueError(
            f"{key}={path}: should be a folder of this machine, not ending in .txt. "
            f"{run.key('remote_dir')} copies it elsewhere"
        )
    try:
        if os.path.exists(path) and not os.path.isdir(path):
            raise NotADirectoryError(None, "there is a file of that name")
        os.makedirs(path, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(None, "it cannot be written to")
    except OSError as error:
        raise OSError(f"{key}={path}: no output folder, {error.strerror}") from error
    for name in ("train_images", "test_images"):
        images = getattr(options, name)
        if images and os.path.isdir(images) and os.path.samefile(images, path):
            raise ValueError(f"{key}={path}: these are the images of {run.key(name)}, give another")


def use_remote_folder(run: Run, resume: bool) -> str:
    """Checks the remote folder of a run, if it has one, and copies from there what it resumes.

    To be called in the main process.

    Returns:
        For the log, what was copied.

    Raises:
        OSError: if the folder cannot be written to.
        ValueError: if it has another run.
    """
    options, key = run.options, run.key("remote_dir")
    if not options.remote_dir:
        return ""
    remote = RemoteFolder(options.remote_dir)
    try:
        remote.check()
    except OSError as error:
        raise OSError(f"{key}={error}") from error
    last = remote.last()
    if last and not resume:
        raise ValueError(
            f"{key}={remote.url}: there is a run already. --resume continues it; give another "
            "folder for another run"
        )
    copied = resume and remote.pull(options.output_dir)
    return f"{options.output_dir} gets {last} and the logs from {remote.url}" if copied else ""


def leave_earlier_run(run: Run) -> None:
    """Says what a new run will replace, and begins a new ``metrics.json``.

    To be called in the main process before anything is written.
    """
    folder = Path(run.options.output_dir)
    found = sorted(x.name for x in folder.iterdir() if _OF_A_RUN.fullmatch(x.name))
    if not found:
        return
    kept = ""
    if (metrics := folder / "metrics.json").is_file():
        metrics.rename(unused := _unused(metrics))
        kept = f", its metrics are kept as {unused.name}"
    logger.warning(
        f"{folder} holds another run ({', '.join(found[:6])}). It is replaced file by file{kept}. "
        "Until this run has saved a checkpoint, --resume would continue the other one. Give "
        f"another {run.key('output_dir')} to keep both."
    )


@contextlib.contextmanager
def keeping_config(run: Run) -> Iterator[None]:
    """Keeps a ``config.yaml`` that is replaced by a different one, as ``config.1.yaml``."""
    path = Path(run.options.output_dir, "config.yaml")
    if not comm.is_main_process() or not path.is_file():
        yield
        return
    others = path.parent.glob("config*.yaml")
    before = path.read_bytes()
    is_kept = any(x.read_bytes() == before for x in others if x != path)
    kept = _unused(path)
    if not is_kept:
        shutil.copy2(path, kept)
    yield
    if is_kept:
        return
    if path.read_bytes() == before:
        kept.unlink()
    else:
        logger.info(f"The config.yaml that was there before is kept as {kept}")


def end_last_record(path: str) -> None:
    """Removes what a full disk or a killed process left of the last line of ``metrics.json``."""
    with contextlib.suppress(FileNotFoundError), open(path, "r+b") as file:
        start = file.read().rfind(b"\n") + 1
        file.seek(start)
        rest = file.read()
        try:
            json.loads(rest or b"{}")
        except ValueError:
            file.truncate(start)
        else:
            file.write(b"\n" if rest else b"")


def _unused(path: Path) -> Path:
    """The same with the first number before its ending that makes a new name."""
    names = (path.with_suffix(f".{i}{path.suffix}") for i in itertools.count(1))
    return next(x for x in names if not x.exists())
