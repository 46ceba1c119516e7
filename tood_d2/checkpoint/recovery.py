"""Which checkpoint of an output folder a run can be resumed from."""

import logging
import os
import re
import zipfile

from detectron2.utils.file_io import PathManager

from .atomic import atomic_write
from .file import read_checkpoint

logger = logging.getLogger(__name__)

_PERIODIC = re.compile(r"model_(\d{7,})\.pth")
_FINAL = "model_final.pth"
_TAG = "last_checkpoint"


def periodic_checkpoints(folder: str, before: int | None = None) -> list[str]:
    """Paths of the checkpoints that were saved in the course of training, the oldest first.

    Args:
        folder: output folder of the run.
        before: iteration, to leave out those from there on.
    """
    names = PathManager.ls(folder) if PathManager.isdir(folder) else []
    by_iteration = {int(m[1]): name for name in names if (m := _PERIODIC.fullmatch(name))}
    return [
        os.path.join(folder, by_iteration[i])
        for i in sorted(by_iteration)
        if before is None or i < before
    ]


def recover_checkpoint(folder: str) -> str:
    """Finds the newest whole checkpoint of a run, and has ``last_checkpoint`` name it.

    To be called by one process. Other checkpoints than the one that ``last_checkpoint`` names are
    looked at only if that one is damaged or missing.

    Returns:
        Its path, "" if there is no checkpoint.

    Raises:
        ValueError: if there are checkpoints, but all are damaged.
    """
    tagged = _tagged(folder)
    if match := _PERIODIC.fullmatch(tagged):
        # Later ones would be left from another run in this folder.
        others = periodic_checkpoints(folder, before=int(match[1]))
    else:
        others = [*periodic_checkpoints(folder), os.path.join(folder, _FINAL)]
    candidates = [os.path.join(folder, tagged), *reversed(others)]
    candidates = [path for path in dict.fromkeys(candidates) if PathManager.isfile(path)]
    for i, path in enumerate(candidates):
        if is_whole(PathManager.get_local_path(path)):
            if i:
                logger.warning(f"Damaged: {', '.join(candidates[:i])}. Taking {path} instead.")
            if os.path.basename(path) != tagged:
                with atomic_write(os.path.join(folder, _TAG), "w") as f:
                    f.write(os.path.basename(path))
            return path
    if candidates:
        raise ValueError(
            f"cannot resume from damaged checkpoints: {', '.join(candidates)}. To start anew, "
            "remove them or give another output folder"
        )
    return ""


def _tagged(folder: str) -> str:
    """The file name in ``last_checkpoint``, "" if there is none to be read."""
    try:
        with PathManager.open(os.path.join(folder, _TAG)) as f:
            return os.path.basename(f.read().strip())
    except (OSError, UnicodeDecodeError):
        return ""


def is_whole(path: str) -> bool:
    """Whether a file of ``torch.save`` has all of its bytes as they were written."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError):
        return False


def saved_seed(path: str) -> int | None:
    """The seed of the run that a checkpoint is of, None if it does not tell."""
    return read_checkpoint(PathManager.get_local_path(path)).get("seed")
