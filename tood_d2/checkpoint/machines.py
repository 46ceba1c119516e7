"""Checkpoints on several machines, which may or may not share their output folder."""

import contextlib
import logging
import os

import torch.distributed as dist

from detectron2.utils import comm

from .atomic import atomic_write, unfinished_name

logger = logging.getLogger(__name__)

_PART = 1 << 26  # bytes that are sent at once


def writes_checkpoints(folder: str) -> bool:
    """Whether this process is to write checkpoints. To be called by all processes.

    The main one does, and the first one of each machine on which the folder is another one, so
    that training can go on when any of the machines is lost.
    """
    is_main = comm.is_main_process()
    if comm.get_world_size() == 1 or not folder:
        return is_main
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, comm.all_gather(unfinished_name())[0])
    with open(path, "wb") if is_main else contextlib.nullcontext():
        comm.synchronize()
        shared = os.path.basename(path) in os.listdir(folder)
        comm.synchronize()
    if is_main:
        os.remove(path)
    return is_main or (comm.get_local_rank() == 0 and not shared)


def copy_to_others(path: str, source: int, target: str) -> None:
    """Sends a file to all processes, which have to call this.

    Args:
        path: of the file in the process ``source``.
        source: rank.
        target: where this process writes the file, "" for nowhere.
    """
    with contextlib.ExitStack() as stack:
        file = copy = None
        if comm.get_rank() == source:
            logger.info(f"Not all machines have {path}: it is copied to the others")
            file = stack.enter_context(open(path, "rb"))
        if target:
            copy = stack.enter_context(atomic_write(target))
        part = [b"start"]
        while part[0]:
            part = [file.read(_PART) if file else None]
            dist.broadcast_object_list(part, source, comm._get_global_gloo_group())
            if copy:
                copy.write(part[0])
    comm.synchronize()  # the file is whole on all machines
