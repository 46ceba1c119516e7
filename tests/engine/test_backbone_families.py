"""The configs of Detectron2's backbones, made small, train, resume and detect."""

from pathlib import Path

import cv2
import pytest
import torch

from tood_d2.config import load_run
from tood_d2.inference import Predictor
from tood_d2.programs import train as programs_train

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SIZES = {
    "tood_Swin_T_FPN_3x": ["bottom_up.embed_dim=8", "bottom_up.num_heads=[1,1,2,2]"],
    "tood_RegNetX_4GF_FPN_1x": [
        *("bottom_up.depth=4", "bottom_up.w_0=8", "bottom_up.w_a=8", "bottom_up.w_m=1.4"),
        *("bottom_up.group_width=8", "bottom_up.freeze_at=0"),
    ],
    "tood_MViTv2_T_FPN_3x": [
        *("bottom_up.embed_dim=8", "bottom_up.depth=4", "bottom_up.last_block_indexes=[0,1,2,3]"),
    ],
    "tood_ViTDet_B_100ep": [
        *("net.embed_dim=8", "net.depth=2", "net.num_heads=1", "net.img_size=128"),
        "net.global_blocks=[1]",
    ],
}


@pytest.fixture
def train(tiny_overrides, tmp_path):
    """Trains a config for so many iterations, or goes on to them."""

    def _train(name, max_iter, resume=False):
        options = [x for x in tiny_overrides if "augmentations" not in x]
        options += [f"model.backbone.{x}" for x in SIZES[name]]
        options += ["model.backbone.out_channels=64", "model.head.conv_dim=64"]
        options += ["dataloader.test.mapper.augmentations.0.short_edge_length=64"]
        options += ["dataloader.test.mapper.augmentations.0.max_size=64"]
        options += ["train.amp.dtype=bfloat16", "train.init_checkpoint=''", "train.eval_period=2"]
        options += [f"train.max_iter={max_iter}", f"train.output_dir={tmp_path}"]
        if "ViTDet" in name:
            # At 64 pixels P6 has one location, where PyTorch's bfloat16 gradient of P7's strided
            # convolution can be nan on a CPU.
            augmentations = "dataloader.train.mapper.augmentations"
            options += [f"{augmentations}.1.target_{x}=128" for x in ("height", "width")]
            options += [f"{augmentations}.2.crop_size=[128,128]"]
        elif "1x" in name:
            options += ["dataloader.train.mapper.augmentations.0.short_edge_length=[64]"]
        else:
            augmentations = "dataloader.train.mapper.augmentations"
            first = f"{augmentations}.0.tfm_or_aug.augs"
            options += [f"{first}.0.short_edge_length=[64]", f"{first}.1.crop_size=[32,48]"]
            options += [f"{augmentations}.1.short_edge_length=[48,64]"]
        arguments = ["--config-file", str(CONFIGS / f"{name}.py"), *["--resume"] * resume]
        programs_train.train(programs_train.parse_args([*arguments, *options]))

    return _train


@pytest.mark.parametrize("name", SIZES)
def test_training_goes_on_and_its_config_is_enough_to_detect(name, train, shapes, tmp_path):
    train(name, 2)
    first = torch.load(tmp_path / "model_final.pth", weights_only=True)
    train(name, 3, resume=True)
    last = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert (first["iteration"], last["iteration"]) == (1, 2)
    moved = [k for k, x in first["model"].items() if not torch.equal(x, last["model"][k])]
    assert len(moved) > len(first["model"]) / 2

    # A dumped config may call only what is known to be harmless.
    run = load_run(str(tmp_path / "config.yaml"), weights=str(tmp_path / "model_final.pth"))
    image = cv2.imread(str(next((shapes / "val").iterdir())))
    boxes = Predictor(run)(image)["instances"].pred_boxes.tensor
    assert boxes.isfinite().all()
