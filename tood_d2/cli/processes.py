"""Processes of training and evaluation, on one machine or several.

Detectron2's ``launch``, torchrun or srun start them, as many on each machine. There is a GPU for
each, or none is used.
"""

import multiprocessing
import os
import re
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import NamedTuple

from .logs import capture_warnings, setup_logging
from .messages import short_errors
from .requirements import check_requirements
from .shared_memory import end_workers_without_memory

# Here for started processes, which import Detectron2 before they call anything.
capture_warnings()


TORCHRUN = "torchrun"
"""Scheme of the address by which the processes of torchrun find each other."""


class Process(NamedTuple):
    """This process among those that torchrun or srun started."""

    local_rank: int
    world_size: int
    local_world_size: int
    machine_rank: int
    address: str
    """Of the first one, as ``init_process_group`` takes it."""


def started_process(environment: Mapping[str, str]) -> Process | None:
    """Reads what torchrun, or srun of SLURM, says of the processes that it started.

    Returns:
        None if neither started more than one.

    Raises:
        ValueError: if a variable is missing or wrong.
    """

    def number(name: str) -> int:
        value = environment.get(name, "")
        if not value.isdecimal():
            raise ValueError(f"{name}={value!r} in the environment: should be a number")
        return int(value)

    if "TORCHELASTIC_RUN_ID" in environment:
        world_size, local_world_size = number("WORLD_SIZE"), max(1, number("LOCAL_WORLD_SIZE"))
        rest, machine_rank = world_size % local_world_size, number("RANK") // local_world_size
        local_rank, address = number("LOCAL_RANK"), f"{TORCHRUN}://"
    elif "SLURM_STEP_ID" in environment and "SLURM_PROCID" in environment:
        world_size = number("SLURM_STEP_NUM_TASKS")
        local_world_size, rest = divmod(world_size, max(1, number("SLURM_STEP_NUM_NODES")))
        machine_rank, local_rank = number("SLURM_NODEID"), number("SLURM_LOCALID")
        # The first name in a list such as "gpu[03-05,7]-ib,login".
        hosts = environment.get("SLURM_STEP_NODELIST", "")
        host = re.match(r"([^,\[]*)(?:\[(\w+)[^\]]*\])?([^,\[]*)", hosts).groups(default="")
        # Jobs that share a machine should not meet.
        address = f"tcp://{''.join(host)}:{20000 + number('SLURM_JOB_ID') % 20000}"
    else:
        return None
    if rest:
        raise ValueError(
            f"{world_size} processes were started on machines with different numbers of them; "
            "start as many on each (srun: --ntasks-per-node)"
        )
    if world_size <= 1:
        return None
    return Process(local_rank, world_size, local_world_size, machine_rank, address)


def launch(main: Callable[[Namespace], object], args: Namespace) -> None:
    """Calls a function in each process, and ends with one message if it fails.

    Starts the processes by ``detectron2.engine.launch``, unless torchrun or srun did it. What
    torchrun starts again after a failure resumes.

    Args:
        main: importable, as it is called in other processes.
        args: of :func:`.training_argument_parser`, given to the function.

    Raises:
        SystemExit: with the status of the process that failed first.
    """
    with short_errors(os.path.basename(sys.argv[0]), args.traceback):
        check_requirements()
        setup_logging()
        end_workers_without_memory()
        if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0 and not args.eval_only:
            args.resume = True
        process = started_process(os.environ) if args.num_machines == 1 else None
        num_processes = process.local_world_size if process else args.num_gpus
        _check(args, num_processes)
        timeout = timedelta(minutes=args.timeout)
        if process is not None:
            from torch.distributed import register_rendezvous_handler
            from torch.multiprocessing import _prctl_pr_set_pdeathsig

            from detectron2.engine.launch import _distributed_worker

            register_rendezvous_handler(TORCHRUN, _meet)
            _prctl_pr_set_pdeathsig(signal.SIGTERM)  # sent when who started this is killed
            local_rank, *others = process
            _distributed_worker(local_rank, _run, *others, (main, args), timeout)
        elif num_processes * args.num_machines == 1:
            main(args)
        else:
            _start(main, args, timeout)


def _meet(url: str, **kwargs) -> Iterator[tuple]:
    """The processes of torchrun meet as by ``env://``, but at a place of their own.

    Torchrun of PyTorch 2.14 keeps its store when it starts processes again. Without this, they
    would find the addresses of those before them there, and often wait for them for ever.

    Yields:
        Store, rank and number of processes, once.
    """
    from torch.distributed import PrefixStore, rendezvous

    store, rank, world_size = next(rendezvous("env://", **kwargs))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    # Other machines may come without counting as a restart.
    number = (store.add(f"tood_d2/{attempt}", 1) - 1) // world_size
    yield PrefixStore(f"tood_d2/{attempt}/{number}", store), rank, world_size


def _check(args: Namespace, num_processes: int) -> None:
    """Raises a ValueError that names an argument which does not fit the processes here."""
    from torch.cuda import device_count

    if args.num_gpus not in (1, num_processes):
        raise ValueError(
            f"--num-gpus {args.num_gpus}: {num_processes} processes were started on this machine "
            "already; leave it out"
        )
    if num_processes < 1 or not 0 <= args.machine_rank < args.num_machines:
        raise ValueError(
            f"--num-gpus {args.num_gpus} --num-machines {args.num_machines} --machine-rank "
            f"{args.machine_rank}: there has to be a process, and machines count from 0"
        )
    if args.dist_url == "auto" and args.num_machines > 1:
        raise ValueError("--dist-url auto: several machines need the first one's address")
    if args.dist_url != "auto" and not re.fullmatch(r"\w+://.+", args.dist_url):
        raise ValueError(f"--dist-url {args.dist_url}: should be like tcp://host:port, or auto")
    if 0 < (num_gpus := device_count()) < num_processes:
        raise ValueError(f"--num-gpus {num_processes}: this machine has {num_gpus}")


def _start(main: Callable[[Namespace], object], args: Namespace, timeout: timedelta) -> None:
    """Starts processes and waits for them, passing SIGTERM on.

    Raises:
        SystemExit: with the status of the process that failed first, once all have ended.
        ConnectionError: if they did not come together.
    """
    from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

    from detectron2.engine import launch as start_processes

    def forward(number, frame):
        for child in multiprocessing.active_children():
            child.terminate()

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, lambda *_: None)  # a terminal sends it to all of them
    machines = args.num_machines, args.machine_rank, args.dist_url
    try:
        start_processes(_run, args.num_gpus, *machines, args=(main, args), timeout=timeout)
    except ProcessExitedException as error:
        if error.exit_code >= 0:
            raise SystemExit(error.exit_code) from None
        print(f"process {error.error_index} was ended by {error.signal_name}", file=sys.stderr)
        raise SystemExit(128 - error.exit_code) from None
    except ProcessRaisedException as error:
        last_line = str(error).strip().splitlines()[-1]
        raise ConnectionError(f"process {error.error_index}: {last_line}") from error


def _run(main: Callable[[Namespace], object], args: Namespace) -> None:
    """Calls the function in one of several processes, which have come together."""
    import torch
    import torch.distributed as dist

    from detectron2.utils import comm

    parent = multiprocessing.parent_process()
    if parent and not parent.is_alive():  # PyTorch tells only processes that it has started fully
        raise SystemExit(1)
    setup_logging(rank=comm.get_rank())
    end_workers_without_memory()
    if not torch.cuda.is_available() and "OMP_NUM_THREADS" not in os.environ:
        # Otherwise each of them would take all cores.
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // comm.get_local_size()))
    program = f"{os.path.basename(sys.argv[0])}, process {comm.get_rank()}"
    with short_errors(program, args.traceback):
        try:
            main(args)
            comm.synchronize()  # or one that ends early cuts the others off
            dist.destroy_process_group()
        except RuntimeError as error:
            # Gloo's errors have no type of their own.
            if not isinstance(error, dist.DistError) and "gloo" not in str(error):
                raise
            raise ConnectionError(
                "lost the other processes: one of them failed, see its message, or did not answer "
                f"within --timeout {args.timeout:g} minutes, which evaluation should take less "
                f"than ({str(error).splitlines()[0]})"
            ) from error
