"""Detectors on backbones of torchvision and timm agree with their ONNX files."""

import importlib.util
from dataclasses import replace

import pytest
from torch import nn

from tood_d2.export.exporting import compare_candidates
from tood_d2.export.onnx_export import export_candidates, finish_onnx
from tood_d2.inference.runtimes.onnx_runtime import ONNXDetector
from tood_d2.modeling import TimmBackbone, TorchvisionBackbone, build_fpn

HAS_TIMM = importlib.util.find_spec("timm") is not None
BACKBONES = {
    "mobilenet_v2": lambda **x: TorchvisionBackbone("mobilenet_v2", width_mult=0.25, **x),
    "mobilenet_v3_small": lambda **x: TorchvisionBackbone("mobilenet_v3_small", **x),
    "regnet_x_400mf": lambda **x: TorchvisionBackbone("regnet_x_400mf", **x),
    "convnext_tiny": lambda **x: TorchvisionBackbone("convnext_tiny", out_norm="LN", **x),
    "efficientnet_b0": lambda **x: TorchvisionBackbone("efficientnet_b0", **x),
}
if HAS_TIMM:
    BACKBONES |= {
        "test_efficientnet": lambda **x: TimmBackbone("test_efficientnet", **x),
        "test_convnext": lambda **x: TimmBackbone("test_convnext", out_norm="LN", **x),
        "swin": lambda **x: TimmBackbone(
            "swin_tiny_patch4_window7_224", strict_img_size=False, window_size=4, **x
        ),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_files_agree_for_all_sizes_and_batches(name, tiny_tood, exported_tood):
    backbone = BACKBONES[name](out_features=("res3", "res4"))
    fpn = build_fpn(backbone, out_channels=64, num_top_levels=0)
    model = tiny_tood(backbone=fpn, strides=(8, 16)).eval()
    nn.init.normal_(model.head.cls_logits.weight, std=0.2)
    metadata = replace(exported_tood.metadata, has_nms=False)
    detector = ONNXDetector(finish_onnx(export_candidates(model), metadata).SerializeToString())
    for size, number in (((32, 32), 3), ((96, 160), 1)):
        assert max(compare_candidates(detector, model, size, number)) < 1e-4
