"""How far an exported model agrees with the one that it was made of."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from detectron2.layers import batched_nms
from detectron2.modeling.meta_arch.dense_detector import DenseDetector

from .candidates import CandidateDetector, Candidates
from .onnx_detector import ONNXDetector


class Agreement(NamedTuple):
    """For one batch; differences are relative to the largest value."""

    size: tuple[int, int]
    """(height, width) of the input."""
    batch: int
    """Number of images."""
    scores: float
    """Largest difference of the candidates' scores."""
    boxes: float
    """Largest difference of the candidates' boxes."""


@torch.no_grad()
def compare_candidates(
    exported: ONNXDetector, model: DenseDetector, sizes: Iterable[tuple[int, int]], batches
) -> Iterator[Agreement]:
    """Runs both on random images, of which the first of each batch is padded.

    Candidates are compared at their locations: which of them make the best ones is up to rounding,
    where scores are almost equal.

    Args:
        exported: without NMS.
        model: that it was made of.
        sizes: heights and widths of the input.
        batches: numbers of images.
    """
    detector = CandidateDetector(model)
    for height, width in sizes:
        for number in batches:
            images, image_sizes = random_batch(number, (height, width))
            found = Candidates(*exported.run(images, image_sizes))
            scores, boxes = (torch.cat(x, dim=1) for x in detector.predict(images, image_sizes))
            expected = Candidates(*detector(images, image_sizes))
            # The same ones at the same place, and as good ones as there are.
            at_place = scores.flatten(1).gather(
                1, found.locations * scores.shape[2] + found.classes
            )
            kept = found.scores > 0
            at_place = torch.where(kept, at_place, 0)
            limits = image_sizes.flip(1).repeat(1, 2)[:, None].float()
            boxes = boxes.gather(1, found.locations[..., None].expand(-1, -1, 4))
            boxes = boxes.clamp(min=0).minimum(limits)
            yield Agreement(
                (height, width),
                number,
                max(
                    _difference(found.scores, at_place), _difference(found.scores, expected.scores)
                ),
                _difference(found.boxes[kept], boxes[kept]),
            )


def compare_nms(
    with_nms: ONNXDetector, exported: ONNXDetector, size: tuple[int, int], number: int
) -> bool:
    """Whether the NMS of an exported model makes of its candidates what PyTorch's does.

    Args:
        with_nms: the model.
        exported: the same without NMS.
        size: height and width of the input.
        number: of images.
    """
    inputs = random_batch(number, size)
    metadata = with_nms.metadata
    boxes, scores, classes, _ = exported.run(*inputs)
    for i, found in enumerate(zip(*with_nms.run(*inputs), strict=True)):
        kept = torch.nonzero(scores[i] > metadata.score_thresh)[:, 0]
        best = batched_nms(boxes[i][kept], scores[i][kept], classes[i][kept], metadata.nms_thresh)
        kept = kept[best[: metadata.max_detections]]
        expected_scores = torch.zeros(metadata.max_detections)
        expected_scores[: len(kept)] = scores[i][kept]
        if not torch.equal(found[1], expected_scores):
            return False
    return True


def random_batch(number: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Inputs of :class:`CandidateDetector`; the first image is a fifth smaller than the input."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (number, 3, *size), generator=generator).float()
    image_sizes = torch.tensor(size).repeat(number, 1)
    image_sizes[0] -= image_sizes[0] // 5
    return images, image_sizes


def _difference(found: Tensor, expected: Tensor) -> float:
    largest = expected.abs().max() if expected.numel() else 0
    return ((found - expected).abs().max() / largest).item() if largest > 0 else 0.0
