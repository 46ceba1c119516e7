"""Export of the model of a run, with a check of the result and a report of it."""

from dataclasses import replace

import onnx
from tabulate import tabulate
from torch import nn

from detectron2.data.transforms import ResizeShortestEdge

from ..config import Run
from .agreement import compare_candidates, same_detections
from .metadata import Metadata
from .onnx_detector import ONNXDetector
from .onnx_export import export_candidates, finish_onnx

TOLERANCE = 1e-4
SIZES, BATCHES = ((96, 160), (256, 192), (320, 416)), (1, 3)


def read_metadata(run: Run, model: nn.Module, has_nms: bool) -> Metadata:
    """What a run and its model say of an exported model.

    Raises:
        ValueError: if images for testing are not resized by their shorter side alone.
    """
    resize, *others = run.test_augmentations()
    if others or not isinstance(resize, ResizeShortestEdge) or len({*resize.short_edge_length}) > 1:
        raise ValueError(
            "test images should be resized by one ResizeShortestEdge to one size (LazyConfig: "
            "dataloader.test.mapper.augmentations): those who run the exported model are told no "
            "other"
        )
    return Metadata(
        class_names=run.class_names,
        category_ids=run.category_ids,
        input_format=run.input_format,
        size_divisibility=max(model.backbone.size_divisibility, 1),
        short_edge_length=int(resize.short_edge_length[0]),
        max_size=int(resize.max_size),
        score_thresh=model.test_score_thresh,
        nms_thresh=model.test_nms_thresh,
        max_detections=model.max_detections_per_image,
        has_nms=has_nms,
    )


def export_onnx(model: nn.Module, metadata: Metadata, path: str) -> bool:
    """Writes an ONNX file, compares it with the model and prints the differences.

    Returns:
        Whether they are small enough.
    """
    candidates = export_candidates(model)
    onnx.save(finish_onnx(candidates, metadata), path)
    without_nms = finish_onnx(candidates, replace(metadata, has_nms=False))
    detector = ONNXDetector(without_nms.SerializeToString())
    rows = [
        (f"{size[0]}x{size[1]}", number, *compare_candidates(detector, model, size, number))
        for size in SIZES
        for number in BATCHES
    ]
    print(tabulate(rows, ["size", "images", "scores", "boxes"]))
    agrees = all(max(differences) <= TOLERANCE for _, _, *differences in rows)
    if metadata.has_nms:
        same = same_detections(ONNXDetector(path), detector, SIZES[0], BATCHES[-1])
        print(f"NMS: {'as PyTorch does it' if same else 'NOT as PyTorch does it'}")
        agrees &= same
    verdict = "agrees" if agrees else "DOES NOT AGREE"
    print(f"{path}: {verdict} with PyTorch (relative, {TOLERANCE})")
    return agrees
