"""One list of detections of an image from those of several views: versions of it, or models."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from detectron2.structures import Boxes, Instances

from ..config.options import Options
from ..modeling.suppression import suppress
from .box_fusion import fuse_boxes


@dataclass(frozen=True)
class Merging:
    """How the detections of several views of an image become one list.

    Attributes:
        method: "hard", "soft_linear" or "soft_gaussian" for one more NMS, see :func:`.suppress`, or
            "wbf", see :func:`.fuse_boxes`.
        iou_thresh: of NMS or of fusion.
        sigma: of "soft_gaussian".
        score_thresh: the detections of the views need a larger score, and so do Soft-NMS's.
        score_type: of "wbf".
        max_detections: number of detections returned at most.
    """

    method: str = "hard"
    iou_thresh: float = 0.6
    sigma: float = 0.5
    score_thresh: float = 0.0
    score_type: str = "avg"
    max_detections: int = 100

    def __call__(
        self, views: Sequence[Instances], weights: Sequence[float] | None = None
    ) -> Instances:
        """
        Args:
            views: one or more, with ``pred_boxes`` in pixels of the same image, ``scores`` and
                ``pred_classes``, finite.
            weights: of the views, positive; by default they are equal. NMS multiplies scores with
                them, relative to the largest one.

        Returns:
            The same fields, by falling score.
        """
        weights = [1.0] * len(views) if weights is None else list(weights)
        boxes, scores, classes = (
            torch.cat(x)
            for x in zip(
                *[(x.pred_boxes.tensor, x.scores, x.pred_classes) for x in views], strict=True
            )
        )
        numbers = torch.tensor([len(x) for x in views], device=scores.device)
        of_view = torch.arange(len(views), device=scores.device).repeat_interleave(numbers)
        if self.method == "wbf":
            boxes, scores, classes = fuse_boxes(
                boxes,
                scores,
                classes,
                of_view,
                weights,
                iou_thresh=self.iou_thresh,
                score_thresh=self.score_thresh,
                score_type=self.score_type,
            )
        else:
            used = scores > self.score_thresh
            scores = scores * (scores.new_tensor(weights) / max(weights))[of_view]
            boxes, scores, classes = boxes[used], scores[used], classes[used]
            kept, scores = suppress(
                boxes,
                scores,
                classes,
                nms_type=self.method,
                nms_thresh=self.iou_thresh,
                sigma=self.sigma,
                score_thresh=self.score_thresh,
                max_detections=self.max_detections,
            )
            boxes, classes = boxes[kept], classes[kept]
        best = slice(self.max_detections)
        return Instances(
            views[0].image_size,
            pred_boxes=Boxes(boxes[best]),
            scores=scores[best],
            pred_classes=classes[best],
        )


def build_merging(options: Options, detector: nn.Module) -> Merging:
    """The merging that the options of a run ask for.

    Args:
        options: of the run.
        detector: has the IoU threshold of NMS, unless the options have another one, and the number
            of detections.
    """
    iou_thresh = options.merge_iou_thresh
    return Merging(
        method=options.merge_method,
        iou_thresh=detector.test_nms_thresh if iou_thresh is None else iou_thresh,
        sigma=options.merge_sigma,
        score_thresh=options.merge_score_thresh,
        score_type=options.merge_score_type,
        max_detections=detector.max_detections_per_image,
    )
