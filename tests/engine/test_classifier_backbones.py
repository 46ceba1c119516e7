"""Configs with classifiers as backbones, made small, train, evaluate, resume and detect."""

import importlib.util
import json
from pathlib import Path

import cv2
import pytest
import torch

from tood_d2.config import load_run
from tood_d2.inference import Predictor
from tood_d2.programs import train as programs_train

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
NAMES = {
    "tood_MobileNetV3_L_FPN_1x": "mobilenet_v3_small",
    "tood_EfficientNet_B3_FPN_1x": "efficientnet_b0",
    "tood_MobileNetV4_M_FPN_1x": "test_efficientnet",
    "tood_R_50_FPN_P2_1x": None,
}
if importlib.util.find_spec("timm") is None:
    del NAMES["tood_MobileNetV4_M_FPN_1x"]
SLOW = ("tood_EfficientNet_B3_FPN_1x", "tood_R_50_FPN_P2_1x")


@pytest.fixture
def train(tiny_overrides, tmp_path):
    """Trains a config for four iterations, or the rest of them."""

    def _train(config, resume=False):
        backbone = "model.backbone.bottom_up"
        options = [x for x in tiny_overrides if "augmentations" not in x]
        for part, sides in (("train", "[64]"), ("test", "64")):
            resize = f"dataloader.{part}.mapper.augmentations.0"
            options += [f"{resize}.short_edge_length={sides}", f"{resize}.max_size=96"]
        if NAMES[config]:
            options += [f"{backbone}.name={NAMES[config]}"]
        else:
            options += [f"{backbone}.{x}" for x in ("depth=18", "width=8", "norm=BN")]
        options += ["model.backbone.out_channels=64", "model.head.conv_dim=64"]
        options += ["model.initial_phase_iters=2", "train.init_checkpoint=''", "train.max_iter=4"]
        options += ["train.checkpointer.period=2", "train.eval_period=4", "optimizer.lr=0.001"]
        options += [f"train.output_dir={tmp_path}"]
        arguments = ["--config-file", str(CONFIGS / f"{config}.py"), *["--resume"] * resume]
        programs_train.train(programs_train.parse_args([*arguments, *options]))
        return torch.load(tmp_path / "model_final.pth", weights_only=True)["model"]

    return _train


@pytest.mark.parametrize(
    "config", [pytest.param(x, marks=[pytest.mark.slow] if x in SLOW else []) for x in NAMES]
)
def test_resumed_training_is_the_same_and_its_config_is_enough_to_detect(
    config, train, shapes, tmp_path
):
    expected = train(config)
    middle = torch.load(tmp_path / "model_0000001.pth", weights_only=True)["model"]
    moved = [name for name, x in middle.items() if not torch.equal(x, expected[name])]
    assert len(moved) > len(middle) / 4  # not those that are frozen
    lines = (tmp_path / "metrics.json").read_text().splitlines()
    assert any("bbox/AP" in json.loads(line) for line in lines)

    (tmp_path / "model_final.pth").unlink()
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    resumed = train(config, resume=True)
    for name, x in expected.items():
        assert torch.equal(x, resumed[name]), name

    # A dumped config may call only what is known to be harmless.
    run = load_run(str(tmp_path / "config.yaml"), weights=str(tmp_path / "model_final.pth"))
    image = cv2.imread(str(next((shapes / "val").iterdir())))
    assert Predictor(run)(image)["instances"].pred_boxes.tensor.isfinite().all()
