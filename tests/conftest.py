"""What the tests share.

One file for all folders: what processes are sent has to be found in the one module "conftest".
"""

import importlib.util
import logging
import os
import resource
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from hypothesis import settings
from torch import nn

from detectron2.config import LazyConfig
from detectron2.engine import TrainerBase
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from tood_d2.config import load_run, register_datasets
from tood_d2.data.shapes import make_shapes
from tood_d2.modeling import TOOD, ATSSAssigner, TaskAlignedAssigner, TaskAlignedHead

# Export takes packages that not everyone has.
if not all(importlib.util.find_spec(x) for x in ("onnx", "onnxruntime", "onnxscript")):
    collect_ignore = ["export", "tools/test_export_model.py"]

ROOT = Path(__file__).resolve().parents[1]

# HYPOTHESIS_PROFILE=thorough tries ten times as many examples of each property.
settings.register_profile("quick", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


class ConvPyramid(Backbone):
    """One strided convolution per level, p3 on."""

    size_divisibility = 32

    def __init__(self, strides: tuple[int, ...], channels: int = 64):
        super().__init__()
        self.strides = strides
        self.convs = nn.ModuleList([nn.Conv2d(3, channels, strides[0], strides[0])])
        self.convs.extend(nn.Conv2d(channels, channels, 3, 2, 1) for _ in strides[1:])

    def forward(self, x):
        features = {}
        for level, conv in enumerate(self.convs, start=3):
            features[f"p{level}"] = x = conv(x)
        return features

    def output_shape(self):
        return {
            f"p{level}": ShapeSpec(channels=self.convs[0].out_channels, stride=stride)
            for level, stride in enumerate(self.strides, start=3)
        }


def build_anchor_generator(strides=(8, 16, 32, 64, 128)) -> DefaultAnchorGenerator:
    return DefaultAnchorGenerator(
        sizes=[[8 * stride] for stride in strides],
        aspect_ratios=[[1.0]],
        strides=list(strides),
        offset=0.0,
    )


def build_tiny_tood(
    *, backbone=None, strides=(8, 16, 32, 64, 128), num_classes=3, head=None, **settings
) -> TOOD:
    """A model with 64 channels and two interactive layers.

    Args:
        backbone: a :class:`ConvPyramid` unless given.
        strides: of the levels, each twice the one before.
        num_classes: K.
        head: arguments of ``TaskAlignedHead`` to override.
        settings: arguments of ``TOOD`` to override.
    """
    backbone = backbone or ConvPyramid(strides)
    (in_channels,) = {shape.channels for shape in backbone.output_shape().values()}
    head_settings = {"conv_dim": 64, "num_convs": 2} | (head or {})
    settings = {
        "assigner": TaskAlignedAssigner(),
        "initial_assigner": ATSSAssigner(),
        "initial_phase_iters": 1,
        "head_in_features": None,
        "pixel_mean": (123.675, 116.28, 103.53),
        "pixel_std": (58.395, 57.12, 57.375),
    } | settings
    return TOOD(
        backbone=backbone,
        head=TaskAlignedHead(
            in_channels=in_channels,
            num_classes=num_classes,
            anchor_generator=build_anchor_generator(strides),
            **head_settings,
        ),
        num_classes=num_classes,
        **settings,
    )


@pytest.fixture(scope="session")
def tiny_tood():
    """The function :func:`build_tiny_tood`."""
    return build_tiny_tood


@pytest.fixture(scope="session")
def anchor_generator():
    """The function :func:`build_anchor_generator`."""
    return build_anchor_generator


@pytest.fixture(scope="session")
def load_script():
    """Imports a script of the project as a module, by its path from the project's root."""

    def load(path):
        spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """A folder with a few generated images: train.json, train/, val.json, val/."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    make_shapes(folder, num_train=8, num_val=3, seed=0)
    return folder


@pytest.fixture(scope="session")
def tiny_overrides(shapes):
    """LazyConfig overrides that make the small config tiny, on the generated images."""
    return [
        f"dataset.train_json={shapes}/train.json",
        f"dataset.train_images={shapes}/train",
        f"dataset.test_json={shapes}/val.json",
        f"dataset.test_images={shapes}/val",
        "model.head.num_convs=2",
        "dataloader.train.total_batch_size=2",
        "dataloader.train.num_workers=0",
        "dataloader.train.mapper.augmentations.0.short_edge_length=[96]",
        "dataloader.test.mapper.augmentations.0.short_edge_length=96",
        "train.device=cpu",
        "train.seed=0",
        "train.log_period=1",
    ]


@pytest.fixture(scope="session")
def detecting_model(tiny_overrides, tmp_path_factory):
    """A folder with config.yaml and model_final.pth of a small model that detects much."""
    folder = tmp_path_factory.mktemp("models") / "demo"
    folder.mkdir()
    run = load_run(str(ROOT / "configs" / "tood_R_18_FPN_small.py"), tiny_overrides)
    run = register_datasets(run)
    torch.manual_seed(0)
    model = run.build_model()
    nn.init.zeros_(model.head.cls_logits.bias)
    nn.init.zeros_(model.head.cls_alignment[-1].bias)
    torch.save({"model": model.state_dict()}, folder / "model_final.pth")
    LazyConfig.save(run.cfg, str(folder / "config.yaml"))
    return folder


@pytest.fixture
def content():
    """COCO JSON without problems: two images with two boxes, ids with gaps, no info or licences."""
    box = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 10, 30, 20], "area": 600}
    box |= {"iscrowd": 0}
    other = {"id": 5, "image_id": 20, "category_id": 9, "bbox": [0, 0, 64, 48]}
    return {
        "images": [
            {"id": 7, "file_name": "sub/a.png", "width": 100, "height": 80},
            {"id": 20, "file_name": "b.png", "width": 64, "height": 48},
        ],
        "annotations": [box, box | other],
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
    }


class Steps(TrainerBase):
    """A trainer whose steps do nothing; that of iteration ``fails_at`` fails."""

    def __init__(self, *hooks, fails_at=None):
        super().__init__()
        self.fails_at = fails_at
        self.register_hooks(hooks)

    def run_step(self):
        if self.iter == self.fails_at:
            raise RuntimeError("as intended")


@pytest.fixture(scope="session")
def steps():
    """The class :class:`Steps`."""
    return Steps


@pytest.fixture(scope="session")
def huge_png():
    """The beginning of a file of 20000 x 20000 pixels."""
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in (
        (b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(100))),
    ):
        checksum = zlib.crc32(kind + content)
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
    return data


@pytest.fixture
def limited_memory():
    """Fails a test after which the process has held 600 MB more than before."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000


@pytest.fixture
def log(caplog, monkeypatch):
    """What the project logs, also after Detectron2's ``setup_logger``."""
    monkeypatch.setattr(logging.getLogger("tood_d2"), "propagate", True)
    caplog.set_level(logging.INFO, "tood_d2")
    return caplog


@pytest.fixture(scope="session")
def exported_tood():
    """A tiny TOOD of two levels with scores from low to high, and what is exported of it."""
    from tood_d2.export import onnx_export
    from tood_d2.inference.runtimes.metadata import Metadata

    torch.manual_seed(0)
    model = build_tiny_tood(num_classes=3, strides=(8, 16)).eval()
    nn.init.normal_(model.head.cls_logits.weight, std=0.2)
    nn.init.normal_(model.head.inter_convs[-1].weight, std=0.05)
    metadata = Metadata(
        class_names=["cat", "dog", "owl"],
        category_ids=[1, 2, 4],
        input_format="RGB",
        size_divisibility=32,
        short_edge_length=96,
        max_size=160,
        score_thresh=model.test_score_thresh,
        nms_thresh=model.test_nms_thresh,
        max_detections=model.max_detections_per_image,
        has_nms=True,
    )
    program = onnx_export.export_program(model)
    with mock.patch.object(onnx_export, "export_program", return_value=program):
        candidates = onnx_export.export_candidates(model)  # of the same program, to save seconds
    return SimpleNamespace(model=model, metadata=metadata, program=program, candidates=candidates)
