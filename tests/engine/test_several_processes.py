"""train_net.py on several processes, on the CPU."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from script_runs import Command, run
from torch.distributed import TCPStore

from detectron2.engine.launch import _find_free_port

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--config-file", "configs/tood_R_18_FPN_small.py"]
TWO = ["train_net.py", "--num-gpus", "2", "--dist-url", "auto"]
PATIENCE = 300  # seconds


def read_metrics(folder):
    lines = map(json.loads, (folder / "metrics.json").read_text().splitlines())
    return {line["iteration"]: line for line in lines}


@pytest.fixture
def lazy(tiny_overrides, tmp_path):
    overrides = [
        "dataloader.train.total_batch_size=2",
        "train.max_iter=4",
        "train.eval_period=2",
        "train.gradient_accumulation=2",
        "train.ema.enabled=True",
        "train.validation_loss=True",
        "train.num_pictures=1",
        "train.early_stopping=9",
        f"train.output_dir={tmp_path}",
    ]
    return "tood_R_18_FPN_small.py", [*tiny_overrides, *overrides]


@pytest.fixture
def yaml(shapes, tmp_path):
    options = {
        "DATASETS.TRAIN_JSON": f"{shapes}/train.json",
        "DATASETS.TRAIN_IMAGES": f"{shapes}/train",
        "DATASETS.TEST_JSON": f"{shapes}/val.json",
        "DATASETS.TEST_IMAGES": f"{shapes}/val",
        "MODEL.WEIGHTS": "",
        "MODEL.RESNETS.DEPTH": 18,
        "MODEL.FPN.OUT_CHANNELS": 64,
        "MODEL.TOOD.CONV_DIM": 64,
        "INPUT.MIN_SIZE_TRAIN": "(96,)",
        "INPUT.MIN_SIZE_TEST": 96,
        "DATALOADER.NUM_WORKERS": 0,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.MAX_ITER": 4,
        "SOLVER.GRADIENT_ACCUMULATION": 2,
        "SOLVER.EMA.ENABLED": True,
        "TEST.EVAL_PERIOD": 2,
        "TEST.VALIDATION_LOSS": True,
        "TEST.NUM_PICTURES": 1,
        "TEST.EARLY_STOPPING": 9,
        "OUTPUT_DIR": tmp_path,
    }
    return "tood_R_50_FPN_1x.yaml", [x for item in options.items() for x in item]


@pytest.fixture
def start():
    """Starts Python with arguments and environment variables, in a group of its own."""
    started = []

    def _start(*arguments, **variables):
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env=environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield _start
    for process in started:
        if is_alive(process):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def is_alive(process):
    """Whether there is a process left in the group of this one."""
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def finish(*processes):
    """Their outputs, after they ended well."""
    outputs = [x.communicate(timeout=PATIENCE)[0] for x in processes]
    assert [x.returncode for x in processes] == [0] * len(processes), outputs
    return outputs


def wait_for_iterations(process, folder, number):
    """Waits until training has logged some iterations."""
    end = time.monotonic() + PATIENCE
    log = folder / "metrics.json"
    while not log.exists() or log.read_text().count("\n") < number:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.05)


def wait_for_a_log(folders, number):
    """The folder in which training has logged some iterations."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for folder in folders:
            log = folder / "metrics.json"
            if log.exists() and log.read_text().count("\n") >= number:
                return folder
        time.sleep(0.05)
    raise AssertionError("there are no iterations")


def final_weights(folder):
    return torch.load(folder / "model_final.pth", weights_only=True)["model"]


def test_two_processes_train_like_one(start, tiny_overrides, tmp_path):
    """Weights and losses are those of one process, as no layer sees only a part of the batch."""
    options = [*tiny_overrides, "train.max_iter=3", "train.eval_period=0", "optimizer.eps=1"]
    options += ["model.backbone.bottom_up.norm=FrozenBN"]
    options += ["dataloader.train.mapper.augmentations.1.prob=0"]
    folders = [tmp_path / "one", tmp_path / "two"]
    two = start(*TWO, *SMALL, *options, f"train.output_dir={folders[1]}")
    one = run(Command(["train_net.py", *SMALL, *options, f"train.output_dir={folders[0]}"]), ROOT)
    assert one.status == 0, one.output
    finish(two)
    weights, metrics = map(final_weights, folders), map(read_metrics, folders)
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-5)
    losses = [[x[i]["total_loss"] for i in range(3)] for x in metrics]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and losses[0][0] > 1.5
    assert "Rank of current process: 1" in (folders[1] / "log.txt.rank1").read_text()


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(start, tiny_overrides, tmp_path):
    """From one to two and back, with augmentations: the images and losses stay the same."""
    options = [*tiny_overrides, "train.max_iter=6", "train.eval_period=0", "optimizer.eps=1"]
    options += ["model.backbone.bottom_up.norm=FrozenBN", "train.checkpointer.period=2"]
    options += ["train.log_period=1", f"train.output_dir={tmp_path}", "train.seed=0"]
    finish(start("train_net.py", *SMALL, *options))
    expected = final_weights(tmp_path)
    metrics = []
    for iteration, more in ((1, []), (1, TWO[1:]), (3, [])):
        (tmp_path / "last_checkpoint").write_text(f"model_000000{iteration}.pth")
        (tmp_path / "metrics.json").unlink()
        finish(start("train_net.py", "--resume", *more, *SMALL, *options))
        metrics.append(read_metrics(tmp_path))
    for i in range(2, 6):
        for name in ("loss_cls", "loss_box_reg"):
            assert metrics[1][i][name] == pytest.approx(metrics[0][i][name], rel=1e-4)
    torch.testing.assert_close(final_weights(tmp_path), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_process_that_is_killed_comes_back(start, tiny_overrides, tmp_path):
    """torchrun starts all of them again; the weights are those of an undisturbed run."""
    options = [*tiny_overrides, "dataloader.train.total_batch_size=2", "train.max_iter=8"]
    options += ["train.checkpointer.period=2", "train.seed=0", "train.log_period=1"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    torchrun += ["--max-restarts", 2, "train_net.py", *SMALL, *options]
    weights = []
    for name in ("undisturbed", "killed"):
        folder = tmp_path / name
        process = start(*torchrun, f"train.output_dir={folder}")
        if name == "killed":
            wait_for_iterations(process, folder, 4)
            os.kill(children(process, "train_net.py")[1], signal.SIGKILL)
        finish(process)
        weights.append(final_weights(folder))
    assert "Loading from" in (tmp_path / "killed" / "log.txt").read_text()
    for name, expected in weights[0].items():
        assert torch.equal(weights[1][name], expected), name


@pytest.mark.slow
def test_machines_without_a_shared_folder(start, tiny_overrides, tmp_path):
    """Each keeps checkpoints; the one that has lost its own gets them from the other."""
    options = [*tiny_overrides, "train.max_iter=8", "train.checkpointer.period=2"]
    options += ["train.seed=0", "train.log_period=1", "dataloader.train.total_batch_size=2"]
    options += ["model.backbone.bottom_up.norm=FrozenBN"]
    folders = [tmp_path / "first", tmp_path / "second"]

    def train(*more):
        port = _find_free_port()
        for rank, folder in enumerate(folders):
            run = ["-m", "torch.distributed.run", "--nnodes", 2, "--node-rank", rank]
            run += ["--master-addr", "127.0.0.1", "--master-port", port, "train_net.py", *more]
            yield start(*run, *SMALL, *options, f"train.output_dir={folder}")

    finish(*train())
    expected = final_weights(folders[0])
    for name in ("model_0000003.pth", "model_final.pth", "last_checkpoint"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    shutil.rmtree(folders[0])
    for path in folders[1].glob("model_*.pth"):
        if path.name != "model_0000003.pth":
            path.unlink()
    (folders[1] / "last_checkpoint").write_text("model_0000003.pth")
    output, _ = finish(*train("--resume"))
    assert "Not all machines have" in (folders[1] / "log.txt.rank1").read_text()
    assert "Starting training from iteration 4" in output
    for name, weight in final_weights(folders[0]).items():
        assert torch.equal(weight, expected[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["first", "second"])
def test_a_machine_that_is_lost(start, tiny_overrides, tmp_path, lost):
    """The other one goes on alone, with the same batches."""
    options = [*tiny_overrides, "dataloader.train.total_batch_size=2", "train.max_iter=40"]
    options += ["train.checkpointer.period=2", "train.seed=0", "train.log_period=1"]
    options += ["model.backbone.bottom_up.norm=FrozenBN", "optimizer.eps=1"]
    finish(start("train_net.py", *SMALL, *options, f"train.output_dir={tmp_path}/whole"))
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    run = ["-m", "torch.distributed.run", "--nnodes", "1:2", "--max-restarts", 3]
    run += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{store.port}"]
    run += ["--rdzv-id", "run", "--rdzv-conf", "is_host=false", "--local-addr", "127.0.0.1"]
    run += ["train_net.py", "--resume", *SMALL, *options]
    machines = {x: start(*run, f"train.output_dir={tmp_path}/{x}") for x in ("first", "second")}
    main = wait_for_a_log([tmp_path / x for x in machines], 4)
    is_main = lost == "first"  # the one whose process is the main one is lost, or the other one
    name = next(x for x in machines if (x == main.name) == is_main)
    for pid in [*children(machines[name], "train_net.py"), machines.pop(name).pid]:
        os.kill(pid, signal.SIGKILL)
    ((other, process),) = machines.items()
    (output,) = finish(process)
    assert "The run had 2 processes, it goes on with 1." in output
    weights = final_weights(tmp_path / other)
    torch.testing.assert_close(weights, final_weights(tmp_path / "whole"), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lazy", "yaml"])
def test_every_hook_works_in_two_processes(kind, request, start, tmp_path):
    config, overrides = request.getfixturevalue(kind)
    finish(start(*TWO, "--config-file", f"configs/{config}", *overrides))
    metrics = read_metrics(tmp_path)
    assert "validation/total_loss" in metrics[1] and "ema/bbox/AP" in metrics[4]
    final = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert final["iteration"] == 3 and final["ema"]["n_averaged"] == 4
    assert all(x.isfinite().all() for x in final["model"].values())


@pytest.mark.slow
def test_two_machines_whoever_starts_the_processes(start, tiny_overrides, tmp_path):
    """Two processes on each, which are this machine."""
    options = [*tiny_overrides, "dataloader.train.total_batch_size=4", "train.max_iter=4"]

    def by_train_net(machine, port, output):
        arguments = ["--num-machines", 2, "--machine-rank", machine, "--num-gpus", 2]
        arguments += ["--dist-url", f"tcp://127.0.0.1:{port}"]
        return [start("train_net.py", *arguments, *SMALL, *options, output)]

    def by_torchrun(machine, port, output):
        arguments = ["--nnodes", 2, "--nproc-per-node", 2, "--node-rank", machine]
        arguments += ["--master-addr", "127.0.0.1", "--master-port", port]
        run = ["-m", "torch.distributed.run", *arguments]
        return [start(*run, "train_net.py", *SMALL, *options, output)]

    def by_srun(machine, port, output):
        common = {"SLURM_STEP_ID": "0", "SLURM_JOB_ID": str(port - 20000)}
        common |= {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2"}
        common |= {"SLURM_STEP_NODELIST": "localhost", "SLURM_NODEID": str(machine)}
        return [
            start(
                "train_net.py", *SMALL, *options, output,
                **common, SLURM_PROCID=str(2 * machine + local), SLURM_LOCALID=str(local),
            )
            for local in range(2)
        ]  # fmt: skip

    weights = []
    for way in (by_train_net, by_torchrun, by_srun):
        folder, port = tmp_path / way.__name__, 20000 + _find_free_port() % 20000
        output = f"train.output_dir={folder}"
        finish(*(x for machine in range(2) for x in way(machine, port, output)))
        weights.append(final_weights(folder))
    for other in weights:
        assert other.keys() == weights[0].keys()
        for name, expected in weights[0].items():
            assert expected.isfinite().all()
            torch.testing.assert_close(other[name], expected, rtol=1e-5, atol=1e-5)


def children(process, name="spawn_main"):
    """Ids of the processes that train."""
    ids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(x) for x in ids if name in Path(f"/proc/{x}/cmdline").read_text()]


def is_running(pid):
    """Whether there is a process of this id; one that nobody waits for has no command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def wait_until_all_have_ended(process):
    """Waits a little, as processes save what they have."""
    process.wait()
    end = time.monotonic() + 5
    while is_alive(process) and time.monotonic() < end:
        time.sleep(0.1)
    assert not is_alive(process)


@pytest.fixture
def endless(start, tiny_overrides, tmp_path):
    """A training of two processes, with workers, that does not end by itself."""
    options = ["train.max_iter=100000", "dataloader.train.num_workers=1"]
    process = start(*TWO, *SMALL, *tiny_overrides, *options, f"train.output_dir={tmp_path}")
    wait_for_iterations(process, tmp_path, 2)
    return process


@pytest.mark.slow
def test_the_others_end_when_one_is_killed(endless, tmp_path):
    os.kill(children(endless)[1], signal.SIGKILL)
    output, _ = endless.communicate(timeout=60)
    assert endless.returncode == 128 + signal.SIGKILL
    assert "process 1 was ended by SIGKILL" in output
    assert "Traceback" not in output
    assert "ConnectionError: lost the other processes" in (tmp_path / "log.txt").read_text()
    wait_until_all_have_ended(endless)


@pytest.mark.slow
def test_all_save_and_end_when_the_one_that_started_them_is_killed(endless, tmp_path):
    endless.kill()
    wait_until_all_have_ended(endless)
    assert re.fullmatch(r"model_00000\d\d.pth", (tmp_path / "last_checkpoint").read_text())


@pytest.mark.slow
def test_all_save_and_end_when_torchrun_is_killed(start, tiny_overrides, tmp_path):
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "train_net.py"]
    options = [*tiny_overrides, "train.max_iter=100000", "dataloader.train.total_batch_size=2"]
    process = start(*run, *SMALL, *options, f"train.output_dir={tmp_path}")
    wait_for_iterations(process, tmp_path, 2)
    training = children(process, "train_net.py")
    process.kill()
    process.wait()
    end = time.monotonic() + 15  # after a step, which a busy machine takes long for
    while any(map(is_running, training)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(is_running, training))
    assert re.fullmatch(r"model_00000\d\d.pth", (tmp_path / "last_checkpoint").read_text())


@pytest.mark.slow
def test_all_end_when_the_one_that_started_them_is_killed_at_the_start(start, tmp_path):
    process = start(*TWO, *SMALL, f"train.output_dir={tmp_path}")
    end = time.monotonic() + PATIENCE
    while len(children(process)) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    process.kill()
    process.communicate(timeout=PATIENCE)  # which ends with the last process that prints
    wait_until_all_have_ended(process)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_port_that_is_taken_is_named(start):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        process = start(*TWO[:-1], f"tcp://127.0.0.1:{port}", *SMALL)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert str(port) in output.splitlines()[-1] and "Traceback" not in output


SLOW_EVALUATOR = """
import time
from tood_d2 import model_zoo
from tood_d2.evaluation import IllustratedCOCOEvaluator


class SlowEvaluator(IllustratedCOCOEvaluator):
    def _eval_predictions(self, *args, **kwargs):
        time.sleep(60)


_base = model_zoo.get_config("tood_R_18_FPN_small")
dataloader, dataset, lr_multiplier = _base.dataloader, _base.dataset, _base.lr_multiplier
model, optimizer, train = _base.model, _base.optimizer, _base.train
dataloader.evaluator._target_ = SlowEvaluator
"""


@pytest.mark.slow
def test_an_evaluation_that_takes_longer_than_the_others_wait(start, tiny_overrides, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW_EVALUATOR)
    options = [*tiny_overrides, "train.max_iter=1", "model.test_score_thresh=0.001"]
    config = ["--timeout", "0.1", "--config-file", tmp_path / "slow.py"]
    process = start(*TWO, *config, *options, f"train.output_dir={tmp_path}/out")
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2, output
    assert "did not answer within --timeout 0.1 minutes" in output and "Traceback" not in output


@pytest.mark.slow
def test_two_processes_evaluate_like_one(start, tiny_overrides, shapes, tmp_path):
    """On seven images, which two processes cannot share evenly."""
    content = json.loads((shapes / "train.json").read_text())
    del content["images"][7:]
    ids = {x["id"] for x in content["images"]}
    content["annotations"] = [x for x in content["annotations"] if x["image_id"] in ids]
    (tmp_path / "seven.json").write_text(json.dumps(content))
    options = [*tiny_overrides, "train.max_iter=60", f"train.output_dir={tmp_path}"]
    options += [f"dataset.test_json={tmp_path}/seven.json", f"dataset.test_images={shapes}/train"]
    options += ["model.test_score_thresh=0.001", "model.initial_phase_iters=20"]
    finish(start("train_net.py", *SMALL, *options))

    options.append(f"train.init_checkpoint={tmp_path}/model_final.pth")
    lines = []
    for program in (["train_net.py"], TWO):
        (output,) = finish(start(*program, "--eval-only", *SMALL, *options))
        lines.append(re.findall(r"copypaste: (.*)", output))
    assert lines[0] == lines[1]
    assert float(lines[0][-1].split(",")[0]) > 0, lines


@pytest.mark.slow
def test_sigterm_saves_and_ends_all_and_resuming_gives_the_same_weights(
    start, tiny_overrides, tmp_path
):
    options = [*tiny_overrides, "train.max_iter=30", "train.ema.enabled=True"]
    options += ["train.checkpointer.period=100"]
    finish(start(*TWO, *SMALL, *options, f"train.output_dir={tmp_path}/whole"))

    options.append(f"train.output_dir={tmp_path}/parts")
    process = start(*TWO, *SMALL, *options)
    wait_for_iterations(process, tmp_path / "parts", 3)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert "Traceback" not in output
    last = (tmp_path / "parts" / "last_checkpoint").read_text()
    assert re.fullmatch(r"model_00000\d\d.pth", last)

    (output,) = finish(start(*TWO, "--resume", *SMALL, *options))
    assert f"Starting training from iteration {int(last[6:13]) + 1}" in output
    expected, actual = final_weights(tmp_path / "whole"), final_weights(tmp_path / "parts")
    assert all(torch.equal(actual[name], x) for name, x in expected.items())
