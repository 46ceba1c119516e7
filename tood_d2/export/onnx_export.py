"""Export of detectors to ``torch.export`` programs and to ONNX."""

import onnx
import torch
from onnx import ModelProto
from onnxscript import opset20 as op

from detectron2.modeling.backbone import MViT, ViT
from detectron2.modeling.meta_arch.dense_detector import DenseDetector

from ..inference.optimization import fold_norms
from ..inference.runtimes.metadata import Metadata
from .candidates import CandidateDetector, Candidates
from .compatibility import allow_old_runtimes

OPSET = 20
MAX_SIDE = 8192  # pixels of the input

ONE_SIZE = (ViT, MViT)
"""Backbones that interpolate positions and pad windows only where the size of the input asks it."""

# NMS on ONNX's own operator.
# N images, C candidates, K classes, D detections of an image at most, S selected candidates of all.
_NMS = """
<ir_version: {ir_version}, opset_import: ["" : {opset}]>
nms (float[N, C, 4] all_boxes, float[N, C] all_scores, int64[N, C] all_classes)
    => (float[N, {max_detections}, 4] boxes, float[N, {max_detections}] scores,
        int64[N, {max_detections}] classes)
<
    int64 zero = {{0}}, int64 one = {{1}}, int64[1] first = {{1}}, int64[1] last = {{-1}},
    int64 num_classes = {{{num_classes}}}, int64[1] max_detections = {{{max_detections}}},
    int64[3] as_column = {{1, -1, 1}}, int64[2] image_and_candidate = {{0, 2}},
    int64[3] four = {{1, 1, 4}},
    float nothing = {{0.0}}, float nms_thresh = {{{nms_thresh}}},
    float score_thresh = {{{score_thresh}}}
>
{{
    class_range = Range (zero, num_classes, one)
    class_column = Reshape (class_range, as_column)
    classes_row = Unsqueeze (all_classes, first)
    scores_row = Unsqueeze (all_scores, first)
    is_class = Equal (classes_row, class_column)
    class_scores = Where (is_class, scores_row, nothing)
    selected = NonMaxSuppression
        (all_boxes, class_scores, max_detections, nms_thresh, score_thresh)
    places = Gather <axis = 1> (selected, image_and_candidate)
    kept_scores = GatherND (all_scores, places)
    shape = Shape (all_scores)
    empty = ConstantOfShape (shape)
    masked = ScatterND (empty, places, kept_scores)
    scores, best = TopK <axis = 1> (masked, max_detections)
    classes = GatherElements <axis = 1> (all_classes, best)
    best_column = Unsqueeze (best, last)
    best_sides = Expand (best_column, four)
    boxes = GatherElements <axis = 1> (all_boxes, best_sides)
}}
"""


def export_program(model: DenseDetector, square: int = 0) -> torch.export.ExportedProgram:
    """Exports a detector up to its candidates, for any number of images.

    A copy of the model is exported, with the inputs and outputs of :class:`CandidateDetector`.

    Args:
        model: the detector.
        square: side in pixels of the only input that the program takes; 0 for inputs of any size.

    Raises:
        ValueError: if the backbone takes other steps for other sizes, as :data:`ONE_SIZE` do.
    """
    fixed = next((x for x in model.backbone.modules() if isinstance(x, ONE_SIZE)), None)
    if fixed is not None and not square:
        raise ValueError(
            f"{type(fixed).__name__} can be exported for inputs of one size only: give the side of "
            "a square that all test images fit in by --square (in Python: square)"
        )
    detector = CandidateDetector(fold_norms(model))
    divisibility = max(model.backbone.size_divisibility, 1)
    # Large enough that no level has a side of one location, which would be taken for a constant.
    height, width = (square, square) if square else (9 * divisibility, 13 * divisibility)
    images = torch.zeros(2, len(model.pixel_mean), height, width, device=model.device)
    image_sizes = torch.tensor([[height, width]] * 2, device=model.device)
    number = torch.export.Dim("N", min=1)
    shapes = {"images": {0: number}, "image_sizes": {0: number}}
    if not square:
        for axis, name in ((2, "rows"), (3, "columns")):
            multiple = torch.export.Dim(name, min=1, max=MAX_SIDE // divisibility)
            shapes["images"][axis] = divisibility * multiple
    with torch.no_grad():
        return torch.export.export(
            detector, (images, image_sizes), dynamic_shapes=shapes, strict=False
        )


def export_candidates(model: DenseDetector, square: int = 0) -> ModelProto:
    """Exports a detector to ONNX, with the inputs and outputs of :class:`CandidateDetector`.

    Args, Raises: see :func:`export_program`.
    """
    program = torch.onnx.export(
        export_program(model, square),
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
    model.CopyFrom(_append_nms(candidates, metadata) if metadata.has_nms else candidates)
    onnx.helper.set_model_props(model, metadata.to_properties())
    model.producer_name = "tood_d2"
    allow_old_runtimes(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def _append_nms(model: ModelProto, metadata: Metadata) -> ModelProto:
    """Adds NMS within each class and the selection of the best detections of each image.

    Outputs are then boxes (N, D, 4), scores (N, D) and classes (N, D) by falling score, D being
    ``max_detections``. Scores of 0 stand for no detection.
    """
    (opset,) = (x.version for x in model.opset_import if x.domain == "")
    text = _NMS.format(
        ir_version=model.ir_version,
        opset=opset,
        num_classes=len(metadata.class_names),
        **vars(metadata),
    )
    part = onnx.parser.parse_model(text)
    names = ("boxes", "scores", "classes")
    merged = onnx.compose.merge_models(
        onnx.compose.add_prefix(model, "candidates_", rename_inputs=False),
        onnx.compose.add_prefix(part, "nms_", rename_outputs=False),
        io_map=[(f"candidates_{name}", f"nms_all_{name}") for name in names],
        outputs=list(names),
    )
    del merged.opset_import[:]  # of both parts
    merged.opset_import.extend(model.opset_import)
    return merged


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
