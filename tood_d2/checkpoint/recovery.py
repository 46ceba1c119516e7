"""The checkpoint that a run is resumed from."""

import contextlib
import logging
import math
import os
import re
from pathlib import PureWindowsPath
from typing import NamedTuple

from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

from .atomic import atomic_write
from .file import check_state_dict, read_checkpoint
from .machines import copy_to_others

logger = logging.getLogger(__name__)

NOT_RESUMED = (
    "it can't be resumed. To train on from its weights, give another output folder, and the file "
    "as train.init_checkpoint or MODEL.WEIGHTS (YAML), without --resume"
)
_PERIODIC = re.compile(r"model_(\d{7,})\.pth")


class LastCheckpoint(NamedTuple):
    """A checkpoint of training that has been read."""

    path: str
    content: dict


def periodic_checkpoints(folder: str, before: int | None = None) -> list[str]:
    """Paths of the checkpoints that training left in a folder, the oldest first.

    Those of the iteration ``before`` and later ones are left out.
    """
    names = PathManager.ls(folder) if PathManager.isdir(folder) else []
    found = sorted((int(m[1]), name) for name in names if (m := _PERIODIC.fullmatch(name)))
    return [os.path.join(folder, name) for i, name in found if before is None or i < before]


def checkpoint_iteration(name: str) -> float:
    """The iteration after which training left a checkpoint of this name; -1 if it is none."""
    if name == "model_final.pth":
        return math.inf
    return int(match[1]) if (match := _PERIODIC.fullmatch(name)) else -1


def tagged_name(folder: str) -> str:
    """Name of the file that ``last_checkpoint`` names, "" if it names none.

    Its folder may have been another one, on another machine.
    """
    tag = os.path.join(folder, "last_checkpoint")
    with contextlib.suppress(OSError, UnicodeDecodeError), PathManager.open(tag) as file:
        return PureWindowsPath(file.read().strip()).name  # knows / as well
    return ""


def load_last_checkpoint(folder: str) -> LastCheckpoint | None:
    """Reads the newest checkpoint that a run can be resumed from.

    It is the one that ``last_checkpoint`` names. If that one is damaged, or has no state of
    training, the one before is taken, ``last_checkpoint`` names it from now on, and the log says
    so. To be called by all processes. The first one of each machine searches, as the folder may be
    another one on each: then the newest checkpoint of all is copied to machines that lack it.

    Returns:
        None if there is no checkpoint.

    Raises:
        ValueError: if training can't be resumed from any of the checkpoints.
    """
    last, fault = None, ""
    if comm.get_local_rank() == 0:
        try:
            last = _find(folder)
        except ValueError as error:
            fault = str(error)
    mine = (last.path, last.content["trainer"]["iteration"]) if last else ("", -1)
    found, faults = comm.all_gather(mine), comm.all_gather(fault)
    source = max(range(len(found)), key=lambda rank: found[rank][1])
    newest, iteration = found[source]
    if not newest:
        if fault := next(filter(None, faults), ""):
            raise ValueError(fault)
        return None
    path, own_iteration = found[comm.get_rank() - comm.get_local_rank()]
    lacks = own_iteration < iteration
    if any(comm.all_gather(lacks)):
        if lacks:
            path, last = os.path.join(folder, os.path.basename(newest)), None
        writes = lacks and comm.get_local_rank() == 0
        copy_to_others(newest, source, path if writes else "")
        if writes:
            _tag(path)
    return last or LastCheckpoint(path, read_checkpoint(path))


def _tag(path: str) -> None:
    """Makes ``last_checkpoint`` name a checkpoint of its folder."""
    folder, name = os.path.split(path)
    with atomic_write(os.path.join(folder, "last_checkpoint"), "w") as file:
        file.write(name)


def check_classes(last: LastCheckpoint, class_names: list[str]) -> None:
    """Compares the classes of a checkpoint to resume from with those of the run, if both are known.

    Raises:
        ValueError: if they are others, or in another order.
    """
    saved = last.content.get("class_names")
    if saved and class_names and saved != class_names:
        raise ValueError(
            f"{last.path} has the classes {', '.join(saved)}, but this run has "
            f"{', '.join(class_names)}: {NOT_RESUMED}"
        )


def _find(folder: str) -> LastCheckpoint | None:
    tagged = tagged_name(folder)
    if match := _PERIODIC.fullmatch(tagged):
        # Later ones would be left from another run in this folder.
        others = periodic_checkpoints(folder, before=int(match[1]))
    else:
        others = [*periodic_checkpoints(folder), os.path.join(folder, "model_final.pth")]
    candidates = [path for path in reversed(others) if PathManager.exists(path)]
    if tagged:
        candidates.insert(0, os.path.join(folder, tagged))
    faults = []
    for path in dict.fromkeys(candidates):
        try:
            content = read_checkpoint(path)
            if not content.get("model") or not _is_state_of_training(content.get("trainer")):
                raise ValueError("lacks the state of training")
            check_state_dict(content["model"])
        except (OSError, ValueError) as error:
            faults.append(f"{path}: {getattr(error, 'strerror', None) or error}")
            continue
        if faults:
            logger.warning(f"Not resumed from {'; '.join(faults)}. Taking {path} instead.")
        if os.path.basename(path) != tagged:
            _tag(path)
        return LastCheckpoint(path, content)
    if faults:
        raise ValueError(
            f"cannot resume from {'; '.join(faults)}. To start anew, remove these files or give "
            "another output folder; to train on from weights, give them as train.init_checkpoint "
            "or MODEL.WEIGHTS (YAML), without --resume"
        )
    return None


def _is_state_of_training(state: object) -> bool:
    """Whether this is what a trainer saves; other projects may call something else so."""
    if not isinstance(state, dict) or not isinstance(state.get("iteration"), int):
        return False
    step = state.get("_trainer", state)  # earlier versions had its values among the others
    return isinstance(step, dict) and isinstance(step.get("optimizer"), dict)
