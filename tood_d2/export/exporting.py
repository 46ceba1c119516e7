"""Export of the model of a run, with a check of the result and a report of it."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
from onnx import ModelProto
from tabulate import tabulate
from torch import Tensor, nn

from detectron2.data.transforms import ResizeShortestEdge
from detectron2.modeling.meta_arch.dense_detector import DenseDetector

from ..config import Run
from ..inference.runtimes import ExportedDetector, Metadata, load_exported
from .candidates import CandidateDetector, Candidates
from .onnx_export import export_candidates, finish_onnx

TOLERANCE = 1e-4
HALF_TOLERANCE = 5e-3  # with weights in 16 bits
SIZES, BATCHES = ((96, 160), (256, 192), (320, 416)), (1, 3)


def read_metadata(run: Run, model: nn.Module, has_nms: bool, square: int = 0) -> Metadata:
    """What a run and its model say of an exported model.

    Args:
        run, model: that is exported.
        has_nms: see :class:`Metadata`.
        square: side in pixels of the only input that it shall take; 0 for inputs of any size,
            unless the backbone pads all test images to one square.

    Raises:
        ValueError: if images for testing are not resized by their shorter side alone or do not fit
            the square, or the model has Soft-NMS, which ONNX has no operator for.
    """
    if getattr(model, "test_nms_type", "hard") != "hard":
        raise ValueError(
            f"ONNX has no Soft-NMS ({model.test_nms_type}): export with model.test_nms_type=hard, "
            "in YAML MODEL.TOOD.NMS_TYPE_TEST hard"
        )
    resize, *others = run.test_augmentations()
    if others or not isinstance(resize, ResizeShortestEdge) or len({*resize.short_edge_length}) > 1:
        raise ValueError(
            "test images should be resized by one ResizeShortestEdge to one size (LazyConfig: "
            "dataloader.test.mapper.augmentations): those who run the exported model are told no "
            "other"
        )
    divisibility = max(model.backbone.size_divisibility, 1)
    if square and (square % divisibility or resize.max_size > square):
        raise ValueError(
            f"the square should be a multiple of {divisibility} and at least as large as the "
            f"longer side of test images, {resize.max_size} (dataloader.test.mapper.augmentations."
            f"0.max_size or INPUT.MAX_SIZE_TEST (YAML)), not {square}"
        )
    return Metadata(
        class_names=run.class_names,
        category_ids=run.category_ids,
        input_format=run.options.input_format,
        size_divisibility=square or divisibility,
        short_edge_length=int(resize.short_edge_length[0]),
        max_size=int(resize.max_size),
        score_thresh=model.test_score_thresh,
        nms_thresh=model.test_nms_thresh,
        max_detections=model.max_detections_per_image,
        has_nms=has_nms,
    )


def export_model(model: nn.Module, metadata: Metadata, path: str, half: bool = False) -> bool:
    """Writes a file of ONNX or OpenVINO, compares it with the model and prints the differences.

    Args:
        model: the detector.
        metadata: of the file.
        path: of the file, ``.onnx`` or ``.xml``.
        half: whether a file of OpenVINO keeps weights in 16 bits.

    Returns:
        Whether the differences are small enough.

    Raises:
        ValueError: see :func:`.export_program`.
    """
    suffix, tolerance = Path(path).suffix, HALF_TOLERANCE if half else TOLERANCE
    sizes = ((metadata.square,) * 2,) if metadata.square else SIZES
    candidates = export_candidates(model, metadata.square)

    with TemporaryDirectory() as folder:
        bare = replace(metadata, has_nms=False)
        detector = write_exported(candidates, bare, f"{folder}/candidates{suffix}", half)
        rows = [
            (f"{size[0]}x{size[1]}", number, *compare_candidates(detector, model, size, number))
            for size in sizes
            for number in BATCHES
        ]
        print(tabulate(rows, ["size", "images", "scores", "boxes"]))
        agrees = all(max(differences) <= tolerance for _, _, *differences in rows)
        written = write_exported(candidates, metadata, path, half)
        if metadata.has_nms:
            same = same_detections(written, detector, sizes[0], BATCHES[-1])
            print(f"NMS: {'as PyTorch does it' if same else 'NOT as PyTorch does it'}")
            agrees &= same
    verdict = "agrees" if agrees else "DOES NOT AGREE"
    print(f"{path}: {verdict} with PyTorch (relative, {tolerance})")
    return agrees


def write_exported(
    candidates: ModelProto, metadata: Metadata, path: str, half: bool = False
) -> ExportedDetector:
    """Writes a file of ONNX or OpenVINO and loads it.

    Args:
        candidates: see :func:`.export_candidates`.
        metadata, path, half: see :func:`export_model`.
    """
    if path.endswith(".xml"):
        from .openvino_export import save_openvino  # only those who want it need OpenVINO

        save_openvino(candidates, metadata, path, half)
    else:
        onnx.save(finish_onnx(candidates, metadata), path)
    return load_exported(path)


@torch.no_grad()
def compare_candidates(
    exported: ExportedDetector, model: DenseDetector, size: tuple[int, int], number: int
) -> tuple[float, float]:
    """Runs both on a batch of :func:`random_batch`.

    Candidates are compared at their locations: which of them make the best ones is up to rounding,
    where scores are almost equal.

    Args:
        exported: without NMS.
        model: that it was made of.
        size: (height, width) of the input.
        number: of images.

    Returns:
        The largest differences of scores and of boxes, relative to the largest value.
    """
    images, image_sizes = random_batch(number, size, len(model.pixel_mean))
    found = Candidates(*exported.run(images, image_sizes))
    detector = CandidateDetector(model)
    expected = Candidates(*detector(images, image_sizes))
    scores, boxes = (torch.cat(x, dim=1) for x in detector.predict(images, image_sizes))
    # The same ones at the same place, and as good ones as there are.
    pairs = found.locations * scores.shape[2] + found.classes
    kept = found.scores > 0
    at_place = scores.flatten(1).gather(1, pairs).where(kept, 0)
    boxes = boxes.gather(1, found.locations[..., None].expand(-1, -1, 4))
    boxes = boxes.clamp(min=0).minimum(image_sizes.flip(1).repeat(1, 2)[:, None].float())
    return (
        max(_difference(found.scores, x) for x in (at_place, expected.scores)),
        _difference(found.boxes[kept], boxes[kept]),
    )


def same_detections(
    one: ExportedDetector, other: ExportedDetector, size: tuple[int, int], number: int
) -> bool:
    """Whether two models detect with the same scores in a batch of :func:`random_batch`."""
    images, image_sizes = random_batch(number, size, one.num_channels)
    batch = [
        {"image": image[:, :height, :width]}
        for image, (height, width) in zip(images, image_sizes.tolist(), strict=True)
    ]
    return all(
        torch.equal(x["instances"].scores, y["instances"].scores)
        for x, y in zip(one(batch), other(batch), strict=True)
    )


def random_batch(number: int, size: tuple[int, int], channels: int = 3) -> tuple[Tensor, Tensor]:
    """Inputs of :class:`CandidateDetector`; the first image is a fifth smaller than the input."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (number, channels, *size), generator=generator).float()
    image_sizes = torch.tensor(size).repeat(number, 1)
    image_sizes[0] -= image_sizes[0] // 5
    return images, image_sizes


def _difference(found: Tensor, expected: Tensor) -> float:
    largest = expected.abs().max() if expected.numel() else 0
    return ((found - expected).abs().max() / largest).item() if largest > 0 else 0.0
