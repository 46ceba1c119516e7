"""The scripts for SLURM, with stand-ins for the programs of SLURM, for Ray and for Python."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "deploy" / "slurm").glob("*.sh"))
PATIENCE = 30  # seconds

pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")

STAND_INS = {
    # Runs the command on each node, which the environment tells apart, and drops its options.
    "srun": """
        echo "srun $*" | head -n 1 >>"$LOG"
        while [[ $1 = -* ]]; do shift; done
        for ((i = 0; i < SLURM_NNODES; i++)); do SLURM_PROCID=$i "$@" & done
        for job in $(jobs -p); do wait "$job" || status=$?; done
        exit "${status:-0}"
    """,
    "scancel": 'echo "scancel $*" >>"$LOG"; kill -TERM $(cat "$LOG".pid*)',
    "scontrol": 'echo "scontrol $*" >>"$LOG"',
    # Works until SIGTERM comes, or ends with the status that it is given.
    "python": """
        echo "python $*" >>"$LOG"
        [ -z "$STATUS" ] || exit "$STATUS"
        trap 'sleep 0.5; exit 143' TERM
        echo $$ >"$LOG.pid${SLURM_PROCID:-}"
        while :; do sleep 0.1; done
    """,
    # There is a cluster once its head has started.
    "ray": """
        [ "$1" != status ] || exec test -e "$LOG.head"
        echo "ray $*" >>"$LOG"
        [ "$2" != --head ] || touch "$LOG.head"
        exec sleep 60
    """,
}


class Job:
    """A batch script that runs, as SLURM starts it."""

    def __init__(self, script, folder, *arguments, status=""):
        programs = folder / "bin"
        programs.mkdir()
        for name, text in STAND_INS.items():
            (programs / name).write_text(f"#!/bin/bash\n{text}")
            (programs / name).chmod(0o755)
        self.log = folder / "log"
        self.log.touch()
        variables = {"SLURM_JOB_ID": "20042", "SLURM_NNODES": "2", "SLURM_CPUS_PER_TASK": "8"}
        variables |= {"LOG": str(self.log), "STATUS": status}
        variables["PATH"] = f"{programs}:{os.environ['PATH']}"
        self.process = subprocess.Popen(
            ["bash", ROOT / "deploy" / "slurm" / script, *arguments],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_until_python_runs(self, number):
        end = time.monotonic() + PATIENCE
        while len([*self.log.parent.glob("log.pid*")]) < number:
            assert time.monotonic() < end and self.process.poll() is None, self.lines()
            time.sleep(0.02)

    def status(self):
        """The exit status, once the script has ended."""
        return self.process.wait(PATIENCE)

    def lines(self):
        """What was called."""
        return self.log.read_text().splitlines()

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def start(tmp_path):
    jobs = []

    def _start(*arguments, **settings):
        jobs.append(Job(arguments[0], tmp_path, *arguments[1:], **settings))
        return jobs[-1]

    yield _start
    for job in jobs:
        try:
            job.close()
        except ProcessLookupError:  # all have ended
            job.process.communicate()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda x: x.name)
def test_the_syntax(script):
    subprocess.run(["bash", "-n", script], check=True)
    if shellcheck := shutil.which("shellcheck"):
        subprocess.run([shellcheck, script], check=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda x: x.name)
def test_the_options_come_before_the_first_command(script):
    """SLURM reads none behind it."""
    lines = script.read_text().splitlines()
    first = next(i for i, x in enumerate(lines) if not x.startswith("#"))
    options = [i for i, x in enumerate(lines) if x.startswith("#SBATCH ")]
    assert len(options) >= 8 and max(options) < first
    # scancel sends TERM, which must not bring a job back.
    assert re.search(r"^#SBATCH --signal=B:USR1@\d+$", "\n".join(lines), re.MULTILINE)
    assert "#SBATCH --requeue" in lines


def test_training_is_called_with_the_arguments(start):
    job = start("train.sh", "--config-file", "a b.py", "train.seed=0", status="0")
    assert job.status() == 0
    call = "python train_net.py --resume --config-file a b.py train.seed=0"
    assert job.lines() == [f"srun --kill-on-bad-exit=1 {call}", call, call]


def test_training_goes_on_after_its_time(start):
    job = start("train.sh", "--config-file", "x.py")
    job.wait_until_python_runs(2)
    job.process.send_signal(signal.SIGUSR1)
    assert job.status() == 143
    assert job.lines()[3:] == ["scancel --signal=TERM 20042", "scontrol requeue 20042"]


def test_training_that_is_cancelled_saves_and_does_not_come_back(start):
    job = start("train.sh", "--config-file", "x.py")
    job.wait_until_python_runs(2)
    job.process.send_signal(signal.SIGTERM)  # as scancel sends it to all
    for file in job.log.parent.glob("log.pid*"):
        os.kill(int(file.read_text()), signal.SIGTERM)
    assert job.status() == 143
    assert len(job.lines()) == 3


def test_training_that_fails_does_not_come_back(start):
    job = start("train.sh", "--config-file", "x.py", status="2")
    assert job.status() == 2
    assert len(job.lines()) == 3


def test_the_first_machine_starts_the_cluster_and_the_others_join(start):
    job = start("predict.sh", "--input", "a", "--output", "b", status="0")
    assert job.status() == 0, job.lines()
    end = time.monotonic() + PATIENCE
    while len(job.lines()) < 4 and time.monotonic() < end:  # the other joins meanwhile
        time.sleep(0.02)
    common = "--num-cpus 8 --disable-usage-stats --block"
    port = 20042  # 20000 + 20042 % 20000
    address = f"{os.uname().nodename}:{port}"
    assert job.lines()[0] == "srun --cpus-per-task=8 --no-kill --kill-on-bad-exit=0 bash -c "
    assert sorted(job.lines()[1:]) == [
        f"python tools/predict.py --ray {address} --workers 16 --input a --output b",
        f"ray start --address {address} {common}",
        f"ray start --head --port {port} --temp-dir /tmp/ray_20042 "
        f"--include-dashboard false {common}",
    ]


def test_the_status_of_detection_is_that_of_the_job(start):
    assert start("predict.sh", "--input", "a", status="2").status() == 2


def test_detection_goes_on_after_its_time(start):
    job = start("predict.sh", "--input", "a")
    job.wait_until_python_runs(1)
    job.process.send_signal(signal.SIGUSR1)
    job.status()
    assert job.lines()[-1] == "scontrol requeue 20042"
