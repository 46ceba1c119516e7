"""train_net.py on two processes, on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


def train(config, output_dir, overrides):
    command = [sys.executable, "train_net.py", "--num-gpus", "2", "--dist-url", "auto"]
    command += ["--config-file", f"configs/{config}", *map(str, overrides)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    lines = (output_dir / "metrics.json").read_text().splitlines()
    return {line["iteration"]: line for line in map(json.loads, lines)}


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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lazy", "yaml"])
def test_two_processes_with_every_hook(kind, request, tmp_path):
    config, overrides = request.getfixturevalue(kind)
    metrics = train(config, tmp_path, overrides)
    assert "validation/total_loss" in metrics[1] and "ema/bbox/AP" in metrics[4]
    final = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert final["iteration"] == 3 and final["ema"]["n_averaged"] == 4
    assert all(x.isfinite().all() for x in final["model"].values())
