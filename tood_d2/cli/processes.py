"""Processes of training and evaluation, on one machine or several.

R processes in all, numbered by rank, as many on each machine, where they are numbered by local
rank. Whoever starts them, there is a GPU for each, or none is used.
"""

import os
import re
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.multiprocessing.spawn import ProcessExitedException

from detectron2.engine.launch import _find_free_port
from detectron2.utils import comm

from .messages import is_lost_connection, short_errors

_PROGRAM = os.path.basename(sys.argv[0])
_GRACE = 30  # seconds that processes have to end once another one failed


class Processes(NamedTuple):
    """Of which this is one, as somebody else started them."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    address: str
    """Of the first one, as ``init_process_group`` takes it."""


def started_processes(environment: Mapping[str, str]) -> Processes | None:
    """Reads what torchrun, or srun of SLURM, says of the processes that it started.

    Args:
        environment: variables.

    Returns:
        None if neither started more than one.

    Raises:
        ValueError: if a variable is missing or wrong.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        found = Processes(*(_number(environment, x) for x in names), "env://")
    elif "SLURM_STEP_ID" in environment and "SLURM_PROCID" in environment:
        num_tasks, num_nodes = (
            _number(environment, x) for x in ("SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES")
        )
        if num_nodes < 1 or num_tasks % num_nodes:
            raise ValueError(
                f"srun started {num_tasks} tasks on {num_nodes} nodes; there should be as many on "
                "each: give --ntasks-per-node"
            )
        host = _first_host(environment.get("SLURM_STEP_NODELIST", ""))
        # Jobs that share a machine should not meet.
        port = 20000 + _number(environment, "SLURM_JOB_ID") % 20000
        found = Processes(
            _number(environment, "SLURM_PROCID"),
            num_tasks,
            _number(environment, "SLURM_LOCALID"),
            num_tasks // num_nodes,
            f"tcp://{host}:{port}",
        )
    else:
        return None
    return found if found.world_size > 1 else None


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name, "")
    if not value.isdecimal():
        raise ValueError(f"{name}={value!r} in the environment: should be a number")
    return int(value)


def _first_host(hosts: str) -> str:
    """The first name in SLURM's list, as in "gpu[03-05,7]-ib,login"."""
    match = re.match(r"([^,\[]*)(?:\[(\w+)[^\]]*\])?([^,\[]*)", hosts)
    return "".join(x or "" for x in match.groups())


def launch(main: Callable[[Namespace], object], args: Namespace) -> None:
    """Calls a function in each process, and ends with one message if it fails.

    Starts the processes as ``detectron2.engine.launch`` does, unless torchrun or srun did it.

    Args:
        main: importable, as it is called in other processes.
        args: given to it; with Detectron2's ``num_gpus`` (processes of a machine),
            ``num_machines``, ``machine_rank`` and ``dist_url``, with ``timeout``, the minutes that
            processes wait for each other, and with ``traceback``, see :func:`.short_errors`.

    Raises:
        SystemExit: with the status of the process that failed first.
    """
    with short_errors(_PROGRAM, args.traceback):
        started = started_processes(os.environ) if args.num_machines == 1 else None
        if started is None:
            _start(main, args)
            return
        if args.num_gpus not in (1, started.local_world_size):
            raise ValueError(
                f"--num-gpus {args.num_gpus}: {started.local_world_size} processes were started on "
                "this machine already; leave it out"
            )
        _check_gpus(started.local_world_size)
        _run(started, main, args)


def _start(main: Callable[[Namespace], object], args: Namespace) -> None:
    """Calls the function in as many processes as the arguments say."""
    if args.num_gpus < 1 or not 0 <= args.machine_rank < args.num_machines:
        raise ValueError(
            f"--num-gpus {args.num_gpus} --num-machines {args.num_machines} --machine-rank "
            f"{args.machine_rank}: there has to be a process, and machines count from 0"
        )
    _check_gpus(args.num_gpus)
    world_size = args.num_gpus * args.num_machines
    if world_size == 1:
        main(args)
        return
    address = args.dist_url
    if address == "auto":
        if args.num_machines > 1:
            raise ValueError("--dist-url auto: several machines need the first one's address")
        address = f"tcp://127.0.0.1:{_find_free_port()}"
    elif not re.fullmatch(r"\w+://.+", address):
        raise ValueError(f"--dist-url {address}: should be like tcp://host:port, or auto")
    _wait(
        mp.start_processes(_spawned, (world_size, address, main, args), args.num_gpus, join=False)
    )


def _check_gpus(num_processes: int) -> None:
    num_gpus = torch.cuda.device_count()
    if 0 < num_gpus < num_processes:
        raise ValueError(f"--num-gpus {num_processes}: this machine has {num_gpus}")


def _spawned(local_rank: int, world_size: int, address: str, main, args: Namespace) -> None:
    rank = args.machine_rank * args.num_gpus + local_rank
    processes = Processes(rank, world_size, local_rank, args.num_gpus, address)
    with short_errors(f"{_PROGRAM}, process {rank}", args.traceback):
        _run(processes, main, args)


def _run(processes: Processes, main: Callable[[Namespace], object], args: Namespace) -> None:
    """Calls the function in this process once all have come together."""
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(processes.local_rank)
    elif "OMP_NUM_THREADS" not in os.environ:
        # Otherwise each of them would take all cores.
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes.local_world_size))
    try:
        dist.init_process_group(
            backend="NCCL" if has_gpu else "GLOO",
            init_method=processes.address,
            world_size=processes.world_size,
            rank=processes.rank,
            timeout=timedelta(minutes=args.timeout),
        )
        comm.create_local_process_group(processes.local_world_size)
        comm.synchronize()
        main(args)
        dist.destroy_process_group()
    except RuntimeError as error:
        if not is_lost_connection(error):
            raise
        reason = str(error).splitlines()[0]
        raise ConnectionError(
            f"process {processes.rank} of {processes.world_size} lost the others: one of them "
            f"failed, see its message, or does not answer ({reason})"
        ) from error


def _wait(context: mp.ProcessContext) -> None:
    """Waits for all processes to end, passing on what this one is sent.

    Raises:
        SystemExit: if one failed, with its status, once all have ended.
    """

    def forward(number, frame):
        for pid in context.pids():
            os.kill(pid, number)

    # A terminal sends SIGINT to all of them itself.
    old = signal.signal(signal.SIGTERM, forward), signal.signal(signal.SIGINT, lambda *_: None)
    try:
        while not context.join(grace_period=_GRACE):
            pass
    except ProcessExitedException as error:
        status = error.exit_code if error.exit_code >= 0 else 128 - error.exit_code
        if error.exit_code < 0:
            print(f"process {error.error_index} was ended by {error.signal_name}", file=sys.stderr)
        raise SystemExit(status) from None
    finally:
        signal.signal(signal.SIGTERM, old[0])
        signal.signal(signal.SIGINT, old[1])
