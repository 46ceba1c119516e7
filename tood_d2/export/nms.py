"""NMS as a part of an ONNX model, on ONNX's own operator."""

import onnx
from onnx import ModelProto

from .metadata import Metadata

# N images, C candidates, K classes, D detections of an image at most, S selected candidates of all.
_GRAPH = """
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


def append_nms(model: ModelProto, metadata: Metadata) -> ModelProto:
    """Adds NMS within each class and the selection of the best detections of each image.

    Args:
        model: whose outputs are "boxes", "scores" and "classes" of candidates, and others.
        metadata: of it.

    Returns:
        A model with the outputs boxes (N, D, 4), scores (N, D) and classes (N, D) by falling
        score, D being ``max_detections``. Scores of 0 stand for no detection.
    """
    (opset,) = (x.version for x in model.opset_import if x.domain == "")
    text = _GRAPH.format(
        ir_version=model.ir_version,
        opset=opset,
        num_classes=len(metadata.class_names),
        max_detections=metadata.max_detections,
        nms_thresh=metadata.nms_thresh,
        score_thresh=metadata.score_thresh,
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
