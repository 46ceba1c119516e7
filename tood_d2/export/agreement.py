"""How far an exported model agrees with the one that it was made of."""

import torch
from torch import Tensor

from detectron2.modeling.meta_arch.dense_detector import DenseDetector

from .candidates import CandidateDetector, Candidates
from .onnx_detector import ONNXDetector


@torch.no_grad()
def compare_candidates(
    exported: ONNXDetector, model: DenseDetector, size: tuple[int, int], number: int
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
    images, image_sizes = random_batch(number, size)
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
    one: ONNXDetector, other: ONNXDetector, size: tuple[int, int], number: int
) -> bool:
    """Whether two models detect with the same scores in a batch of :func:`random_batch`."""
    images, image_sizes = random_batch(number, size)
    batch = [
        {"image": image[:, :height, :width]}
        for image, (height, width) in zip(images, image_sizes.tolist(), strict=True)
    ]
    return all(
        torch.equal(x["instances"].scores, y["instances"].scores)
        for x, y in zip(one(batch), other(batch), strict=True)
    )


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
