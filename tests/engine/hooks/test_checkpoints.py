import pytest
import torch
from torch import nn

from tood_d2.checkpoint.training_checkpointer import TrainingCheckpointer
from tood_d2.engine.hooks.checkpoints import CheckpointHook


@pytest.mark.parametrize("has_old_final", [False, True])
def test_a_run_killed_right_before_its_final_checkpoint(steps, tmp_path, has_old_final):
    checkpointer = TrainingCheckpointer(nn.Linear(1, 1), str(tmp_path), [])
    if has_old_final:  # of a shorter run
        checkpointer.save("model_final", iteration=1)
    checkpointer.save("model_0000003", iteration=3)
    steps(CheckpointHook(checkpointer, 2)).train(4, 4)
    assert torch.load(tmp_path / "model_final.pth", weights_only=True)["iteration"] == 3
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
