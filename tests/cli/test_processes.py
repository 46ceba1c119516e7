"""What is read from the environments of torchrun and srun."""

import pytest

from tood_d2.cli.processes import Processes, _first_host, started_processes

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "5", "WORLD_SIZE": "8"}
TORCHRUN |= {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
SRUN = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "40007"}
SRUN |= {"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"}
SRUN |= {"SLURM_STEP_NODELIST": "gpu[03-04]"}


def test_torchrun():
    assert started_processes(TORCHRUN) == Processes(5, 8, 1, 4, "env://")


def test_srun():
    # The port is 20000 + 40007 % 20000.
    assert started_processes(SRUN) == Processes(5, 8, 1, 4, "tcp://gpu03:20007")


def test_torchrun_under_slurm_goes_first():
    assert started_processes(SRUN | TORCHRUN).address == "env://"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_JOB_ID": "1", "SLURM_PROCID": "0"},  # of a batch script, without srun
        TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1"},
        SRUN | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NUM_NODES": "1"},
    ],
)
def test_nobody_started_several(environment):
    assert started_processes(environment) is None


@pytest.mark.parametrize(
    "environment, message",
    [
        (SRUN | {"SLURM_STEP_NUM_TASKS": "7"}, "7 tasks on 2 nodes.*--ntasks-per-node"),
        (SRUN | {"SLURM_PROCID": "x"}, "SLURM_PROCID='x'"),
        (SRUN | {"SLURM_JOB_ID": ""}, "SLURM_JOB_ID=''"),
        ({x: SRUN[x] for x in SRUN if x != "SLURM_STEP_NUM_NODES"}, "SLURM_STEP_NUM_NODES=''"),
        (TORCHRUN | {"LOCAL_RANK": "-1"}, "LOCAL_RANK='-1'"),
    ],
)
def test_damaged_environments(environment, message):
    with pytest.raises(ValueError, match=message):
        started_processes(environment)


@pytest.mark.parametrize(
    "hosts, first",
    [
        ("localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("a,b", "a"),
        ("gpu-1.cluster,gpu-2.cluster", "gpu-1.cluster"),
        ("gpu[03-05,7]", "gpu03"),
        ("gpu[3,7-9]-ib,login", "gpu3-ib"),
        ("gpu[12]", "gpu12"),
    ],
)
def test_first_host(hosts, first):
    assert _first_host(hosts) == first
