"""What is read from arguments and from the environments of torchrun and srun."""

import pytest
from script_runs import own_logging
from torch.distributed import TCPStore

from tood_d2.cli.arguments import training_argument_parser
from tood_d2.cli.processes import Process, _meet, launch, started_process

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "5", "WORLD_SIZE": "8"}
TORCHRUN |= {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
SRUN = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "40007"}
SRUN |= {"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"}
SRUN |= {"SLURM_STEP_NODELIST": "gpu[03-04]", "SLURM_NODEID": "1"}


def test_torchrun_says_which_process_of_which_machine_this_is():
    # 5 = 4 + 1, the second process of the second machine.
    assert started_process(TORCHRUN) == Process(1, 8, 4, 1, "torchrun://")


def test_srun_says_which_process_of_which_machine_this_is():
    # The port is 20000 + 40007 % 20000.
    assert started_process(SRUN) == Process(1, 8, 4, 1, "tcp://gpu03:20007")


def test_torchrun_under_slurm_goes_first():
    assert started_process(SRUN | TORCHRUN).address == "torchrun://"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_JOB_ID": "1", "SLURM_PROCID": "0"},  # of a batch script, without srun
        TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"},
        SRUN | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NUM_NODES": "1"},
    ],
)
def test_nothing_is_read_where_nobody_started_several(environment):
    assert started_process(environment) is None


@pytest.mark.parametrize(
    "environment, message",
    [
        (SRUN | {"SLURM_STEP_NUM_TASKS": "7"}, "7 processes.*--ntasks-per-node"),
        (SRUN | {"SLURM_NODEID": "x"}, "SLURM_NODEID='x'"),
        (SRUN | {"SLURM_STEP_NUM_TASKS": "6", "SLURM_STEP_NUM_NODES": "4"}, "6 processes"),
        (SRUN | {"SLURM_JOB_ID": ""}, "SLURM_JOB_ID=''"),
        ({x: SRUN[x] for x in SRUN if x != "SLURM_STEP_NUM_NODES"}, "SLURM_STEP_NUM_NODES=''"),
        (TORCHRUN | {"WORLD_SIZE": "7"}, "7 processes"),
        (TORCHRUN | {"LOCAL_RANK": "-1"}, "LOCAL_RANK='-1'"),
    ],
)
def test_a_damaged_environment_is_named(environment, message):
    with pytest.raises(ValueError, match=message):
        started_process(environment)


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
def test_processes_meet_on_the_first_host_of_srun(hosts, first):
    process = started_process(SRUN | {"SLURM_STEP_NODELIST": hosts})
    assert process.address == f"tcp://{first}:20007"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--num-gpus 0", "--num-gpus 0 "),
        ("--num-machines 2 --machine-rank 2 --dist-url tcp://a:1", "--machine-rank 2"),
        ("--num-machines 2", "--dist-url auto: several machines need"),
        ("--num-gpus 2 --dist-url host", "--dist-url host: should be like tcp://host:port"),
        ("--num-gpus 3", "--num-gpus 3: this machine has 2"),
    ],
)
def test_arguments_that_do_not_fit_are_named_at_once(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with own_logging(), pytest.raises(SystemExit, match="2"):
        launch(pytest.fail, training_argument_parser().parse_args(arguments.split()))
    assert message in capsys.readouterr().err


def test_one_process_is_this_one():
    called = []
    with own_logging():
        launch(called.append, args := training_argument_parser().parse_args([]))
    assert called == [args]


def test_processes_that_torchrun_starts_again_do_not_find_the_ones_before(monkeypatch):
    """The agent's store stays; two processes each, of which the last two are no restart."""
    agent = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": agent.port, "WORLD_SIZE": 2}
    for name, value in (variables | {"TORCHELASTIC_USE_AGENT_STORE": True}).items():
        monkeypatch.setenv(name, str(value))
    found = []
    for attempt in (0, 1, 1):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(attempt))
        stores = []
        for rank in (0, 1):
            monkeypatch.setenv("RANK", str(rank))
            store, *numbers = next(_meet("torchrun://"))
            assert numbers == [rank, 2]
            stores.append(store)
        found.append(stores[1].check(["address"]))
        stores[0].set("address", "here")
        assert stores[1].get("address") == b"here"
    assert found == [False, False, False]
