"""Every shipped config trains, and a YAML config means the same as its LazyConfig twin."""

from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from omegaconf import ListConfig
from torch.overrides import TorchFunctionMode

from detectron2.config import instantiate
from detectron2.data import DatasetCatalog, DatasetMapper
from detectron2.data.detection_utils import read_image
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils.events import EventStorage
from tood_d2.config import Options, load_run

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
TWINS = sorted(path.stem for path in CONFIGS.glob("tood_*.yaml"))
# YAML configs build what their twins do; those two differ from 1x in depth and schedule only.
TRAINED = [("tood_R_50_FPN_1x", ".yaml")] + sorted(
    (str(path.relative_to(CONFIGS).with_suffix("")), path.suffix)
    for path in [*CONFIGS.glob("tood_*.py"), *CONFIGS.glob("ablations/*.py")]
    if path.stem not in ("tood_R_50_FPN_2x", "tood_R_101_FPN_2x")
)
CPU = {".py": ["train.device=cpu"], ".yaml": ["MODEL.DEVICE", "cpu"]}
DEPTH = {".py": "model.backbone.bottom_up.depth={}", ".yaml": "MODEL.RESNETS.DEPTH {}"}
# Options of the smallest network of other kinds of backbones.
SMALL = {
    "Swin": {
        "depths": [2, 1, 1, 1],
        "embed_dim": 24,
        "num_heads": [1, 2, 2, 2],
        "window_size": 4,
    },
    "RegNet": {"depth": 8, "w_0": 16, "w_a": 24, "w_m": 2.5, "group_width": 8},
    "MViT": {"depth": 4, "embed_dim": 16, "last_block_indexes": [0, 1, 2, 3]},
    "ViTDet": {"depth": 2, "embed_dim": 32, "num_heads": 2, "img_size": 64},
    "MobileNetV2": {"name": "mobilenet_v2"},
    "MobileNetV3": {"name": "mobilenet_v3_small"},
    "MobileNetV4": {"name": "mobilenetv4_conv_small_035"},
    "EfficientNet": {"name": "efficientnet_b0"},
    "ConvNeXt": {"name": "convnext_tiny"},
}
# (learning rate, weight decay) of the parameters; the official ones without an entry.
LEARNING = {
    "tood_Swin_T_FPN_1x": {(1e-4, 0.05), (1e-4, 0.0)},
    "tood_RegNetX_4GF_FPN_1x": {(0.01, 5e-5)},
}


def load(name, extension, *overrides):
    return load_run(str(CONFIGS / f"{name}{extension}"), [*CPU[extension], *overrides])


class WithoutWeights(TorchFunctionMode):
    """Models that are built in this mode have weights without memory and values.

    Their buffers have values.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.empty:
            kwargs["device"] = "meta"
        elif func is torch.Tensor.to and args[0].is_meta:
            return args[0]
        return func(*args, **kwargs)


def smallest(name, extension):
    """Overrides of a config that make its backbone the smallest of its kind."""
    for kind, settings in SMALL.items():
        if f"_{kind}" in name:
            parent = "net" if kind == "ViTDet" else "bottom_up"
            return [f"model.backbone.{parent}.{key}={value}" for key, value in settings.items()]
    depth = 50 if "DCN" in name or "X_101" in name else 18
    return DEPTH[extension].format(depth).split()


def build_without_weights(run):
    if uses_classifier(run):  # which runs once when it is built
        return run.build_model()
    with WithoutWeights():
        return run.build_model()


def uses_classifier(run):
    return run.options.init_checkpoint.startswith(("torchvision://", "timm://"))


def public_state(module):
    """The settings of an object that are plain values, and those of the assigners."""
    state = {k: v for k, v in vars(module).items() if isinstance(v, int | float | str)}
    sequences = (list, tuple, ListConfig)
    state |= {k: list(v) for k, v in vars(module).items() if isinstance(v, sequences)}
    for name in ("assigner", "initial_assigner"):
        if hasattr(module, name):
            state[name] = vars(getattr(module, name))
    return state


def test_every_yaml_has_a_twin():
    assert TWINS
    for name in TWINS:
        assert (CONFIGS / f"{name}.py").is_file()


@pytest.mark.parametrize(("name", "extension"), TRAINED)
def test_config_trains_one_step(name, extension):
    """With the shallowest backbone of its kind."""
    model = load(name, extension, *smallest(name, extension)).build_model()
    gt = Instances((32, 64))
    gt.gt_boxes = Boxes(torch.tensor([[4.0, 2.0, 44.0, 31.0]]))
    gt.gt_classes = torch.tensor([1])
    image = torch.randint(0, 256, (3, 32, 64), dtype=torch.uint8)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=1e-3)
    with EventStorage():
        losses = model([{"image": image, "instances": gt}])
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.sum().isfinite() for p in trainable)
    optimizer.step()
    assert all(p.sum().isfinite() for p in trainable)


@pytest.mark.parametrize("name", ["tood_R_50_FPN_1x", "tood_R_18_FPN_small"])
def test_mappers_that_derive_from_detectron2s_take_the_place_of_ours(name):
    cfg = load_run(str(CONFIGS / f"{name}.py"), CPU[".py"]).cfg
    for loader in (cfg.dataloader.train, cfg.dataloader.test):
        loader.mapper._target_ = DatasetMapper
        assert type(instantiate(loader.mapper)) is DatasetMapper


@pytest.mark.parametrize("name", TWINS)
def test_twins_build_the_same_model(name):
    runs = [load(name, x) for x in (".py", ".yaml")]
    lazy, yaml = map(build_without_weights, runs)
    assert lazy.head.cls_logits.weight.is_meta != uses_classifier(runs[0])
    assert repr(lazy) == repr(yaml)
    assert public_state(lazy) == public_state(yaml)
    assert public_state(lazy.head) == public_state(yaml.head)
    assert public_state(lazy.head.anchor_generator) == public_state(yaml.head.anchor_generator)
    for (name_a, a), (name_b, b) in zip(lazy.named_buffers(), yaml.named_buffers(), strict=True):
        assert name_a == name_b and torch.equal(a, b)
    for (name_a, a), (name_b, b) in zip(
        lazy.named_parameters(), yaml.named_parameters(), strict=True
    ):
        assert (name_a, a.shape, a.dtype, a.requires_grad) == (
            name_b, b.shape, b.dtype, b.requires_grad
        )  # fmt: skip


def test_twins_start_with_the_same_weights():
    """The smallest twin; the others differ in depth, width and shape of their weights."""
    states = []
    for extension in (".py", ".yaml"):
        torch.manual_seed(0)
        states.append(load("tood_R_50_FPN_1x", extension).build_model().state_dict())
    for name, weights in states[0].items():
        assert torch.equal(weights, states[1][name]), name


@pytest.mark.parametrize("name", TWINS)
def test_twins_train_alike(name):
    lazy, yaml = load(name, ".py"), load(name, ".yaml")
    shared = [x.name for x in fields(Options) if lazy.key(x.name) and yaml.key(x.name)]
    assert {"batch_size", "max_iter", "eval_period", "init_checkpoint"} <= set(shared)
    for option in shared:
        assert getattr(lazy.options, option) == getattr(yaml.options, option), option

    model = build_without_weights(lazy)
    optimizers = [run.build_optimizer(model) for run in (lazy, yaml)]
    groups = [
        [
            (g["lr"], g["weight_decay"], g.get("momentum"), g.get("nesterov"), g.get("betas"), p)
            for g in optimizer.param_groups
            for p in g["params"]
        ]
        for optimizer in optimizers
    ]
    assert len(groups[0]) == sum(p.requires_grad for p in model.parameters())
    assert type(optimizers[0]) is type(optimizers[1])
    for ours, theirs in zip(*groups, strict=True):
        assert ours[:-1] == theirs[:-1] and ours[-1] is theirs[-1]
    # The official optimiser: weight decay on every parameter, norms and biases included.
    assert {g[:2] for g in groups[0]} == LEARNING.get(name, {(0.01, 1e-4)})

    schedule, other = (
        x.build_lr_scheduler(y) for x, y in zip((lazy, yaml), optimizers, strict=True)
    )
    steps = [step + shift for step in yaml.cfg.SOLVER.STEPS for shift in (-1, 0)]
    for iteration in (0, 1, 250, 499, 500, 501, 999, 1000, 1001, *steps):
        where = iteration / lazy.options.max_iter
        assert schedule._multiplier(where) == pytest.approx(other._multiplier(where), rel=1e-12)


def test_official_schedule():
    """Sec. 4 of the paper's protocol at lr 0.01: warm-up to 500, steps after epochs 8 and 11."""
    epoch = 7330
    multiplier = instantiate(load("tood_R_50_FPN_1x", ".py").cfg.lr_multiplier)
    for iteration, expected in (
        (0, 0.001),
        (250, 0.001 + (1 - 0.001) / 2),
        (500, 1.0),
        (8 * epoch - 1, 1.0),
        (8 * epoch, 0.1),
        (11 * epoch - 1, 0.1),
        (11 * epoch, 0.01),
    ):
        assert multiplier(iteration / (12 * epoch)) == pytest.approx(expected, rel=1e-6)


@pytest.fixture
def tiny_coco(tmp_path):
    """Three images under the names of the COCO splits."""
    rng = np.random.default_rng(0)
    dicts = []
    for i, (height, width) in enumerate([(60, 80), (90, 40), (64, 64)]):
        path = tmp_path / f"{i}.png"
        cv2.imwrite(str(path), rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        box = {"bbox": [5, 6, 20, 30], "bbox_mode": BoxMode.XYWH_ABS, "category_id": i}
        dicts.append(
            {
                "file_name": str(path),
                "image_id": i,
                "height": height,
                "width": width,
                "annotations": [{**box, "iscrowd": 0}],
            }
        )
    saved = {name: DatasetCatalog[name] for name in ("coco_2017_train", "coco_2017_val")}
    for name in saved:
        DatasetCatalog.pop(name)
        DatasetCatalog.register(name, lambda: dicts)
    yield dicts
    for name, function in saved.items():
        DatasetCatalog.pop(name)
        DatasetCatalog.register(name, function)


@pytest.mark.parametrize("name", TWINS)
def test_twins_read_the_same_data(name, tiny_coco):
    lazy = load(name, ".py", "dataloader.train.num_workers=0", "train.seed=1")
    yaml = load(name, ".yaml", "DATALOADER.NUM_WORKERS", "0", "SEED", "1")
    assert lazy.test_names == yaml.test_names == ["coco_2017_val"]

    runs = [run.with_options(batch_size=1) for run in (lazy, yaml)]
    for loaders in (
        [run.build_train_loader() for run in runs],
        [run.build_test_loader("coco_2017_val") for run in runs],
    ):
        mappers = [find_mapper(loader) for loader in loaders]
        steps = [
            [(type(step), public_state(step)) for step in mapper.augmentations.augs]
            for mapper in mappers
        ]
        assert steps[0] == steps[1]
        for key in ("is_train", "image_format", "use_instance_mask", "recompute_boxes"):
            assert getattr(mappers[0], key) == getattr(mappers[1], key)
        assert [type(loader) for loader in loaders] == [type(loaders[0])] * 2
    # The model gets the channels in the order of its mean and deviation: RGB here.
    (item,) = next(iter(loaders[0]))
    image = read_image(item["file_name"], format="RGB")
    expected = image.reshape(-1, 3).mean(axis=0)
    assert item["image"].float().mean(dim=(1, 2)).numpy() == pytest.approx(expected, abs=2)


def find_mapper(loader):
    """The dataset mapper inside a data loader, which wraps it in several layers."""
    seen = loader
    for _ in range(8):
        if hasattr(seen, "mapper"):
            return seen.mapper
        if hasattr(seen, "_map_func"):
            found = getattr(seen._map_func, "_obj", seen._map_func)
            return getattr(found, "mapper", found)
        seen = seen.dataset
    raise AssertionError("no mapper found")
