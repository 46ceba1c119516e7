"""A detector up to the candidates of NMS, in a form that can be exported.

N images of H x W pixels with D channels, K classes, C candidates.
"""

from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, nn

from detectron2.modeling.meta_arch.dense_detector import DenseDetector

from ..inference.dense_predictions import check_supported, scores_and_boxes


class Candidates(NamedTuple):
    """(location, class) pairs with the best scores of each level, the best ones first in each."""

    boxes: Tensor
    """(N, C, 4) XYXY in pixels of the input, within the image."""
    scores: Tensor
    """(N, C); 0 where a level has less pairs, or a box is not finite."""
    classes: Tensor
    """(N, C) int64."""
    locations: Tensor
    """(N, C) int64 positions among all locations, level after level, row after row."""


class CandidateDetector(nn.Module):
    """Normalisation, network, decoding and selection of candidates, for tensors of any size."""

    def __init__(self, model: DenseDetector):
        """Takes a model that :func:`.scores_and_boxes` knows; else raises a TypeError."""
        super().__init__()
        check_supported(model)
        self.model = model

    def forward(self, images: Tensor, image_sizes: Tensor) -> tuple[Tensor, ...]:
        """
        Args:
            images: (N, D, H, W) float32 from 0 to 255, channels in the model's order. H and W are
                multiples of the backbone's size divisibility.
            image_sizes: (N, 2) int64, (height, width) of each without padding.

        Returns:
            The parts of :class:`Candidates`; programs of ``torch.export`` have plain types only.
        """
        scores, boxes = self.predict(images, image_sizes)
        height, width = image_sizes[:, None, :1], image_sizes[:, None, 1:]
        limits = torch.cat((width, height, width, height), dim=2).to(boxes[0].dtype)
        found = [self._select(*level) for level in zip(scores, boxes, strict=True)]
        all_boxes, all_scores, classes, locations = zip(*found, strict=True)
        starts = accumulate((x.shape[1] for x in boxes[:-1]), initial=0)
        return (
            torch.cat(all_boxes, dim=1).clamp(min=0).minimum(limits),
            torch.cat(all_scores, dim=1),
            torch.cat(classes, dim=1),
            torch.cat([x + y for x, y in zip(locations, starts, strict=True)], dim=1),
        )

    def predict(self, images: Tensor, image_sizes: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Scores and boxes everywhere, see :func:`.scores_and_boxes`."""
        model = self.model
        rows = torch.arange(images.shape[2], device=images.device)
        columns = torch.arange(images.shape[3], device=images.device)
        height, width = image_sizes[:, :1, None], image_sizes[:, 1:, None]
        inside = (rows[:, None] < height) & (columns < width)  # (N, H, W)
        images = torch.where(inside[:, None], (images - model.pixel_mean) / model.pixel_std, 0)
        features = model.backbone(images)
        features = [features[name] for name in model.head_in_features]
        return scores_and_boxes(model, features, model.head(features))

    def _select(self, scores: Tensor, boxes: Tensor) -> tuple[Tensor, ...]:
        """The best pairs of a level, from (N, R, K) and (N, R, 4)."""
        finite = boxes.isfinite().all(dim=2, keepdim=True)
        scores = torch.where(finite, scores, 0)
        num_classes = scores.shape[2]
        topk = self.model.test_topk_candidates
        # With so many more there are always enough; they are pairs of the first location.
        flat = torch.cat((scores.flatten(1), scores.new_zeros(scores.shape[0], topk)), dim=1)
        best, pairs = flat.topk(topk, dim=1)
        pairs = torch.where(pairs < scores.shape[1] * num_classes, pairs, 0)
        locations = pairs // num_classes
        boxes = torch.where(finite, boxes, 0).gather(1, locations[..., None].expand(-1, -1, 4))
        return boxes, best, pairs % num_classes, locations
