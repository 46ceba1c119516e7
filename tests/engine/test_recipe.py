"""The recipe for own data, from end to end: what follows from the data stands in config.yaml."""

import json
from pathlib import Path

import pytest

from tood_d2.config import load_run

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "tood_MobileNetV2_FPN_finetune.py"
NARROW = [
    "++model.backbone.bottom_up.width_mult=0.1",
    "model.backbone.out_channels=16",
    "model.head.conv_dim=16",
    "model.head.num_convs=2",
    "model.head.norm=",
]

NOT_KNOWN = "dataset.min_object_size is set: training may have chosen another input size"


@pytest.fixture(scope="module")
def train(load_script):
    script = load_script("train_net.py")

    def _train(config, *opts, eval_only=False):
        flags = ["--eval-only"] * eval_only
        return script.main(script.parse_args([*flags, "--config-file", str(config), *opts]))

    return _train


def test_what_follows_from_the_data(train, shapes, tmp_path):
    data = [f"dataset.{x}_json={shapes}/{x}.json" for x in ("train", "test")]
    data = [x.replace("test.json", "val.json") for x in data]
    data += [f"dataset.train_images={shapes}/train", f"dataset.test_images={shapes}/val"]
    train(
        CONFIG,
        *data,
        *NARROW,
        "dataset.min_object_size=1000",  # larger than any
        "dataloader.train.mapper.augmentations.1.crop_size=[64,64]",
        "dataloader.train.total_batch_size=2",
        "dataloader.train.num_workers=0",
        "train.epochs=0.1",
        "train.min_iter=6",
        "train.eval_period=6",  # not at each iteration
        "train.init_checkpoint=",
        "train.device=cpu",
        "train.seed=0",
        f"train.output_dir={tmp_path}",
    )
    run = load_run(str(tmp_path / "config.yaml"))
    # 6 of 3000 iterations: all that the user did not give is 500 times as short.
    options = run.options
    assert (options.max_iter, options.initial_phase_iters, options.checkpoint_period) == (6, 4, 1)
    (resize,) = run.test_augmentations()
    assert resize.short_edge_length[0] == 640  # twice 320, no more
    assert run.get("dataloader.train.mapper.augmentations")[0]["short_edge_length"] == [640]

    lines = map(json.loads, (tmp_path / "metrics.json").read_text().splitlines())
    final = {key: x for line in lines for key, x in line.items() if key.startswith("bbox/")}
    again = train(
        tmp_path / "config.yaml",
        f"train.init_checkpoint={tmp_path}/model_final.pth",
        eval_only=True,
    )
    # Training evaluates with channels last, which rounds in another way.
    assert again["bbox"]["AP"] == pytest.approx(final["bbox/AP"], abs=0.05)
    assert NOT_KNOWN not in (tmp_path / "log.txt").read_text()


def test_the_config_itself_does_not_know_the_size(train, shapes, tmp_path):
    with pytest.raises(FileNotFoundError, match="no.pth"):
        train(
            CONFIG,
            f"dataset.test_json={shapes}/val.json",
            f"dataset.test_images={shapes}/val",
            "train.device=cpu",
            f"train.output_dir={tmp_path}",
            f"train.init_checkpoint={tmp_path}/no.pth",
            eval_only=True,
        )
    assert NOT_KNOWN in (tmp_path / "log.txt").read_text()
