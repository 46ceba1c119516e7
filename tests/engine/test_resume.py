"""A run that is interrupted and resumed is, to the last bit, the uninterrupted one."""

import json
import os
import signal

import pytest
import torch

from tood_d2.engine.step import AccumulatingTrainer


@pytest.fixture(scope="module")
def run(load_script):
    script = load_script("train_net.py")

    def _run(config, *opts, resume=False):
        path = f"{os.path.dirname(__file__)}/../../configs/{config}"
        flags = ["--resume"] * resume
        script.main(script.parse_args([*flags, "--config-file", path, *map(str, opts)]))

    return _run


@pytest.fixture
def train(request, run, shapes, tiny_overrides):
    """Trains for six iterations, with a phase change after four, and random sizes of images."""

    def lazy(folder, num_workers, *more, resume=False):
        overrides = [x for x in tiny_overrides if "seed" not in x and "num_workers" not in x]
        run(
            "tood_R_18_FPN_small.py",
            *overrides,
            "dataloader.train.mapper.augmentations.0.short_edge_length=[64,96]",
            f"dataloader.train.num_workers={num_workers}",
            "train.max_iter=6",
            "train.checkpointer.period=3",
            "train.eval_period=0",
            "train.ema.enabled=True",
            "train.gradient_accumulation=2",
            "model.initial_phase_iters=4",
            f"train.output_dir={folder}",
            *([] if resume else ["train.seed=5"]),
            *more,
            resume=resume,
        )

    def yaml(folder, num_workers, resume=False):
        options = {
            "DATASETS.TRAIN_JSON": f"{shapes}/train.json",
            "DATASETS.TRAIN_IMAGES": f"{shapes}/train",
            "DATASETS.TEST_JSON": f"{shapes}/val.json",
            "DATASETS.TEST_IMAGES": f"{shapes}/val",
            "MODEL.WEIGHTS": "",
            "MODEL.RESNETS.DEPTH": 18,
            "MODEL.RESNETS.NORM": "BN",
            "MODEL.BACKBONE.FREEZE_AT": 0,
            "MODEL.FPN.OUT_CHANNELS": 64,
            "MODEL.TOOD.CONV_DIM": 64,
            "MODEL.TOOD.NUM_CONVS": 2,
            "MODEL.TOOD.INITIAL_PHASE.ITERS": 4,
            "MODEL.DEVICE": "cpu",
            "INPUT.MIN_SIZE_TRAIN": "(64, 96)",
            "INPUT.MIN_SIZE_TEST": 96,
            "DATALOADER.NUM_WORKERS": num_workers,
            "SOLVER.IMS_PER_BATCH": 2,
            "SOLVER.MAX_ITER": 6,
            "SOLVER.CHECKPOINT_PERIOD": 3,
            "SOLVER.EMA.ENABLED": True,
            "SOLVER.BASE_LR": 0.01,
            "TEST.EVAL_PERIOD": 0,
            "OUTPUT_DIR": folder,
            **({} if resume else {"SEED": 5}),
        }
        overrides = [str(x) for item in options.items() for x in item]
        run("tood_R_50_FPN_1x.yaml", *overrides, resume=resume)

    return {"lazy": lazy, "yaml": yaml}[request.param]


def end_in(monkeypatch, iteration, action):
    """Does something when the step of an iteration begins."""
    run_step = AccumulatingTrainer.run_step

    def run_step_or_end(self):
        if self.iter == iteration:
            action()
        run_step(self)

    monkeypatch.setattr(AccumulatingTrainer, "run_step", run_step_or_end)


def fail():
    raise RuntimeError("as if killed")


def leaves(value):
    """All tensors and numbers in a checkpoint."""
    if isinstance(value, dict):
        return [(k, *x) for k in sorted(value, key=str) for x in leaves(value[k])]
    if isinstance(value, list):
        return [(i, *x) for i, item in enumerate(value) for x in leaves(item)]
    return [(value,)]


def assert_equal(folder, other):
    for name in ("model_final.pth", "model_final_ema.pth"):
        contents = [leaves(torch.load(x / name, weights_only=True)) for x in (folder, other)]
        assert len(contents[0]) > 100
        for (*key, value), (*other_key, other_value) in zip(*contents, strict=True):
            assert key == other_key
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, other_value), key
            else:
                assert value == other_value, key


@pytest.mark.parametrize("train", ["lazy"], indirect=True)
def test_a_run_resumed_after_sigterm_equals_the_whole_run(train, tmp_path, monkeypatch):
    """The state is saved after iteration 4, whose step is the first of the second phase."""
    train(tmp_path / "whole", num_workers=0)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        end_in(patch, 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
        train(tmp_path / "terminated", num_workers=1)
    assert (tmp_path / "terminated" / "last_checkpoint").read_text() == "model_0000004.pth"
    train(tmp_path / "terminated", num_workers=0, resume=True)
    assert_equal(tmp_path / "whole", tmp_path / "terminated")


@pytest.mark.parametrize("train", ["yaml"], indirect=True)
def test_a_run_resumed_after_a_failure_equals_the_whole_run(train, tmp_path, monkeypatch):
    """The last checkpoint is that of iteration 2."""
    train(tmp_path / "whole", num_workers=0)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        end_in(patch, 4, fail)
        train(tmp_path / "failed", num_workers=0)
    assert (tmp_path / "failed" / "last_checkpoint").read_text() == "model_0000002.pth"
    train(tmp_path / "failed", num_workers=2, resume=True)
    assert_equal(tmp_path / "whole", tmp_path / "failed")


@pytest.mark.parametrize("train", ["lazy"], indirect=True)
def test_a_run_goes_on_where_its_output_folder_is_lost(train, tmp_path, monkeypatch):
    """Its remote copy has the checkpoint, which was written in the background, and the logs."""
    train(tmp_path / "whole", 0)
    remote = f"train.remote_dir={tmp_path}/remote", "train.checkpointer.background=True"
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        end_in(patch, 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
        train(tmp_path / "lost", 0, *remote)
    assert (tmp_path / "remote" / "last_checkpoint").read_text() == "model_0000004.pth"
    with pytest.raises(ValueError, match="remote: there is a run already. --resume continues it"):
        train(tmp_path / "new", 0, *remote)
    assert os.listdir(tmp_path / "new") == []
    train(tmp_path / "new", 0, *remote, resume=True)
    assert_equal(tmp_path / "whole", tmp_path / "new")
    assert_equal(tmp_path / "whole", tmp_path / "remote")
    train(tmp_path / "newer", 0, *remote, "train.max_iter=7", resume=True)
    log = (tmp_path / "newer" / "log.txt").read_text()
    assert "training ends after iteration 4" in log  # of the first part
    assert "new gets model_0000004.pth and the logs from" in log
    assert "newer gets model_final.pth and the logs from" in log
    assert "The run had 6 iterations, it goes on with 7." in log
    names = os.listdir(tmp_path / "remote")
    assert "model_0000005.pth" in names and "model_final.pth" in names
    metrics = (tmp_path / "remote" / "metrics.json").read_text().splitlines()
    assert {*range(7)} <= {json.loads(x)["iteration"] for x in metrics}
