"""Trackers in training on two processes, on the CPU."""

import os
import subprocess
import sys

import pytest
from script_runs import ROOT

mlflow = pytest.importorskip("mlflow")
pytest.importorskip("sqlalchemy")
pytest.importorskip("wandb")


@pytest.mark.slow
def test_only_the_main_process_logs(tiny_overrides, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    options = [
        "train.max_iter=2",
        "train.mlflow_experiment=shapes",
        "train.wandb_project=shapes",
        f"train.output_dir={tmp_path}/out",
    ]
    config = str(ROOT / "configs" / "tood_R_18_FPN_small.py")
    argv = [sys.executable, str(ROOT / "train_net.py"), "--num-gpus", "2", "--config-file", config]
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "WANDB_MODE": "offline",
    }
    subprocess.run([*argv, *tiny_overrides, *options], cwd=tmp_path, env=environment, check=True)
    assert len([*tmp_path.glob("out/wandb/offline-run-*")]) == 1
    (run,) = mlflow.search_runs(experiment_names=["shapes"], output_format="list")
    assert run.info.status == "FINISHED"
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "total_loss")
    assert [x.step for x in history] == [0, 1]
