"""Export of detectors to ``torch.export`` programs and to ONNX."""

import onnx
import torch
from onnx import ModelProto
from onnxscript import opset20 as op

from detectron2.modeling.meta_arch.dense_detector import DenseDetector

from ..inference.optimization import fold_norms
from .candidates import CandidateDetector, Candidates
from .metadata import Metadata
from .nms import append_nms

OPSET = 20
MAX_SIDE = 8192  # pixels of the input


def export_program(model: DenseDetector) -> torch.export.ExportedProgram:
    """Exports a detector up to its candidates, for any number and size of images.

    A copy of the model is exported, with the inputs and outputs of :class:`CandidateDetector`.
    """
    detector = CandidateDetector(fold_norms(model))
    divisibility = max(model.backbone.size_divisibility, 1)
    # Large enough that no level has a side of one location, which would be taken for a constant.
    height, width = 9 * divisibility, 13 * divisibility
    images = torch.zeros(2, 3, height, width, device=model.device)
    image_sizes = torch.tensor([[height, width]] * 2, device=model.device)
    number = torch.export.Dim("N", min=1)
    sides = [
        divisibility * torch.export.Dim(name, min=1, max=MAX_SIDE // divisibility)
        for name in ("rows", "columns")
    ]
    shapes = {"images": {0: number, 2: sides[0], 3: sides[1]}, "image_sizes": {0: number}}
    with torch.no_grad():
        return torch.export.export(
            detector, (images, image_sizes), dynamic_shapes=shapes, strict=False
        )


def export_candidates(model: DenseDetector) -> ModelProto:
    """Exports a detector to ONNX, with the inputs and outputs of :class:`CandidateDetector`."""
    program = torch.onnx.export(
        export_program(model),
        input_names=("images", "image_sizes"),
        output_names=Candidates._fields,
        opset_version=OPSET,
        custom_translation_table={torch.ops.torchvision.deform_conv2d.default: _deform_conv2d},
        verbose=False,
    )
    return program.model_proto


def finish_onnx(candidates: ModelProto, metadata: Metadata) -> ModelProto:
    """Adds NMS, if the metadata say so, and the metadata. The checker of ONNX approves the result.

    Args:
        candidates: see :func:`export_candidates`; not changed.
        metadata: of the result.
    """
    model = ModelProto()
    model.CopyFrom(append_nms(candidates, metadata) if metadata.has_nms else candidates)
    onnx.helper.set_model_props(model, metadata.to_properties())
    model.producer_name = "tood_d2"
    onnx.checker.check_model(model, full_check=True)
    return model


def _deform_conv2d(
    x, weight, offset, mask, bias, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w,
    groups, offset_groups, use_mask,
):  # fmt: skip
    """torchvision's operator by ONNX's, which is defined alike."""
    inputs = x, weight, offset, bias, mask if use_mask else None
    return op.DeformConv(
        *inputs,
        strides=(stride_h, stride_w),
        pads=(pad_h, pad_w, pad_h, pad_w),
        dilations=(dilation_h, dilation_w),
        group=groups,
        offset_group=offset_groups,
    )
