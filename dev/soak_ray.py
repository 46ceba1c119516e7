"""Detection on two Ray nodes on this machine, one of which dies: a part of soak.py."""

import argparse
import contextlib
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from soak_kills import ROOT, run_for
from soak_predictions import Detection
from tabulate import tabulate

from detectron2.engine.launch import _find_free_port
from tood_d2.batch_prediction.job import ResultFolder

PATIENCE = 120  # seconds
# Keeps both nodes busy for a while, and detects something that can be compared.
MODEL = [
    "model.test_score_thresh=0.001",
    "model.max_detections_per_image=5",
    "dataloader.test.mapper.augmentations.0.short_edge_length=240",
]
NODE = ["--num-cpus", "1", "--object-store-memory", "100000000", "--disable-usage-stats", "--block"]


class Cluster:
    """Programs that share a cluster of Ray, each in a group of its own; all are killed at last."""

    def __init__(self, folder: Path):
        """Starts the first node.

        Args:
            folder: for what the programs print, with a short path: sockets are in it.
        """
        self.folder, self.programs = folder, []
        self.address = f"127.0.0.1:{_find_free_port()}"
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        one_core = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
        self.environment = {**os.environ, **one_core, **token}
        port = self.address.rpartition(":")[2]
        options = ["--port", port, "--include-dashboard", "false", "--temp-dir", str(folder / "r")]
        self._start_node("--head", *options)

    def start(self, command: list[str]) -> subprocess.Popen:
        """Starts a program."""
        with open(self.folder / f"program{len(self.programs)}.txt", "w") as file:
            self.programs.append(
                subprocess.Popen(
                    command,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=self.environment,
                    start_new_session=True,
                )
            )
        return self.programs[-1]

    def add_node(self) -> subprocess.Popen:
        """Starts another node."""
        return self._start_node("--address", self.address)

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Waits for something to come true.

        Raises:
            TimeoutError: if it takes too long, with the end of what was printed.
        """
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"nothing happened for {PATIENCE} seconds: {self.output()}")
            time.sleep(0.05)

    def output(self) -> str:
        """The end of what the programs printed."""
        files = sorted(self.folder.glob("program*.txt"))
        return "\n".join(f"{x.name}: {x.read_text()[-1000:]}" for x in files)

    def close(self) -> None:
        for process in self.programs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start_node(self, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments, *NODE]
        node = self.start(command)
        self.wait_until(lambda: raylets(node))
        return node


def raylets(node: subprocess.Popen) -> list[int]:
    """Id of the process that stands for a node, nothing if it is dead."""
    return _children(node.pid, "raylet/raylet")


def actors(node: subprocess.Popen) -> list[int]:
    """Ids of the processes that detect on a node."""
    return [x for raylet in raylets(node) for x in _children(raylet, "ShardDetector")]


def _children(pid: int, name: str) -> list[int]:
    """Ids of the processes that a process started and whose command line has this in it."""
    found = []
    with contextlib.suppress(OSError):  # they may end meanwhile
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if name in Path(f"/proc/{child}/cmdline").read_text():
                found.append(int(child))
    return found


def nodes(args: argparse.Namespace, folder: Path) -> int:
    """Kills the second of two nodes while tools/predict.py detects on both."""
    generator = random.Random(args.seed)
    detection = Detection(folder, args.images, MODEL)
    run_for(detection.command(folder / "here"), folder / "here.txt")
    here, there = (ResultFolder(str(folder / x)) for x in ("here", "there"))
    num_shards = here.read_job().num_shards
    moments = sorted(generator.randrange(1, num_shards) for _ in range(args.kills))
    counts = {"shards": num_shards, "kills": 0}

    cluster = Cluster(folder)
    with contextlib.closing(cluster):
        node = cluster.add_node()
        program = cluster.start(detection.command(folder / "there", "--ray", cluster.address))
        while program.poll() is None:
            num_done = len([*(folder / "there").glob("shard-*")])
            if moments and num_done >= moments[0] and actors(node):
                os.kill(*raylets(node), signal.SIGKILL)
                node.wait(PATIENCE)
                moments.pop(0)
                counts["kills"] += 1
                print(f"a node was killed after {num_done} of {num_shards} shards", flush=True)
                node = cluster.add_node()
            time.sleep(0.05)
        if program.returncode:
            raise RuntimeError(f"tools/predict.py: status {program.returncode}: {cluster.output()}")
    expected, rows = [*here.rows()], [*there.rows()]
    counts["rows"] = len(rows)
    counts["images"] = len({x["file_name"] for x in rows})
    counts["detections"] = sum(len(x["scores"]) for x in rows)
    counts["rows that differ"] = sum(x != y for x, y in zip(rows, expected, strict=False))
    print(tabulate([*counts.items()]))
    is_tested = counts["kills"] == args.kills and counts["detections"]
    return 0 if is_tested and rows == expected and len(rows) == args.images else 1
