"""The TOOD detector: data flow, targets, losses, post-processing.

N images, L levels, R anchors in all levels (one per location), M ground-truth boxes,
K classes. Boxes are XYXY in pixels of the network input; the background label is K.
"""

import torch
import torch.nn.functional as F
from fvcore.nn import sigmoid_focal_loss
from fvcore.nn.distributed import differentiable_all_reduce
from torch import Tensor, nn

from detectron2.config import configurable
from detectron2.layers import cat
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage

from .assigners import BACKGROUND, ATSSAssigner, TaskAlignedAssigner
from .heads import HEADS
from .inputs import check_channels, check_levels, check_stem, ground_truth
from .losses import giou_loss, task_aligned_focal_loss
from .postprocessing import select_detections
from .suppression import check_nms_type
from .targets import (
    SIZES,
    Targets,
    assignment_metrics,
    centered_in_image,
    image_targets,
    stack_targets,
    target_centerness,
)

ALWAYS = -1
"""Length of an initial phase that lasts for all of training."""


@META_ARCH_REGISTRY.register()
class TOOD(DenseDetector):
    """Task-aligned one-stage object detection (arXiv 2108.07755).

    For the first ``initial_phase_iters`` iterations anchors are assigned by ATSS and scores
    learned by focal loss, as in the official code; then task alignment learning begins.
    The phase follows from the iteration alone, so a resumed run is in the phase that it left.

    With a :class:`ParallelHead` that predicts centre-ness and an initial phase that lasts
    forever this is the ATSS detector (arXiv 1912.02424).

    Attributes:
        assignment_metrics: see :func:`assignment_metrics`, of the last training batch, for who
            logs them; before the first one there are none.
        object_counts: (2, 3), objects of that batch and those without an anchor, by size, see
            :data:`SIZES`.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: list[str],
        num_classes: int,
        assigner: TaskAlignedAssigner,
        initial_assigner: ATSSAssigner,
        initial_phase_iters: int,
        focal_loss_alpha: float = 0.25,
        focal_loss_gamma: float = 2.0,
        box_loss_weight: float = 2.0,
        test_score_thresh: float = 0.05,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.6,
        test_nms_type: str = "hard",
        test_soft_nms_sigma: float = 0.5,
        max_detections_per_image: int = 100,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
        input_format: str = "RGB",
    ):
        """
        Args:
            backbone: see ``DenseDetector``.
            head: see :class:`DenseHead`; it may predict logits of centre-ness (N, 1, Hi, Wi), too.
            head_in_features: names of the backbone's features, from fine to coarse.
            num_classes: K.
            assigner: of task alignment learning.
            initial_assigner: of the initial phase.
            initial_phase_iters: length of the initial phase, 0 for none, -1 for all of training.
            focal_loss_alpha: weight of positives in the initial phase.
            focal_loss_gamma: focusing exponent in both phases.
            box_loss_weight: of the GIoU loss in both phases.
            test_score_thresh, test_topk_candidates, test_nms_thresh, max_detections_per_image:
                see :func:`select_detections`.
            test_nms_type: "hard", "soft_linear" or "soft_gaussian", see :func:`.suppress`.
            test_soft_nms_sigma: of "soft_gaussian".
            pixel_mean, pixel_std: of the image's channels in the order of ``input_format``.
            input_format: "RGB", "BGR" or "L" (grey), what the images are expected in.

        Raises:
            ValueError: on a focusing exponent with an infinite gradient, an unknown type of NMS,
                or if the numbers of channels do not fit each other.
        """
        check_stem(backbone, pixel_mean, pixel_std)
        check_nms_type(test_nms_type, test_soft_nms_sigma)
        mean, std = (tuple(map(float, x)) for x in (pixel_mean, pixel_std))
        super().__init__(backbone, head, head_in_features, pixel_mean=mean, pixel_std=std)
        check_levels(backbone, self.head_in_features, head.anchor_generator.strides)
        self.num_classes = num_classes
        self.assigner = assigner
        self.initial_assigner = initial_assigner
        self.initial_phase_iters = initial_phase_iters
        self.focal_loss_alpha = focal_loss_alpha
        if focal_loss_gamma != 0 and not focal_loss_gamma >= 1:
            raise ValueError(
                "focal_loss_gamma or MODEL.TOOD.FOCAL_LOSS_GAMMA (YAML) should be 0 or at least 1, "
                f"not {focal_loss_gamma}: the gradient would be infinite"
            )
        self.focal_loss_gamma = focal_loss_gamma
        self.box_loss_weight = box_loss_weight
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.test_nms_type = test_nms_type
        self.test_soft_nms_sigma = test_soft_nms_sigma
        self.max_detections_per_image = max_detections_per_image
        self.input_format = input_format
        self.assignment_metrics: dict[str, Tensor] = {}
        self.object_counts = torch.zeros(2, len(SIZES), dtype=torch.int64)

    @classmethod
    def from_config(cls, cfg):
        node = cfg.MODEL.TOOD
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        feature_shapes = [shapes[name] for name in node.IN_FEATURES]
        return {
            "backbone": backbone,
            "head": HEADS.get(node.HEAD)(cfg, feature_shapes),
            "head_in_features": node.IN_FEATURES,
            "num_classes": node.NUM_CLASSES,
            "assigner": TaskAlignedAssigner(
                topk=node.ASSIGNER.TOPK,
                alpha=node.ASSIGNER.ALPHA,
                beta=node.ASSIGNER.BETA,
                conflict=node.ASSIGNER.CONFLICT,
                min_candidate_size=node.ASSIGNER.MIN_CANDIDATE_SIZE,
                min_positives=node.ASSIGNER.MIN_POSITIVES,
            ),
            "initial_assigner": ATSSAssigner(
                topk=node.INITIAL_PHASE.TOPK,
                min_candidate_size=node.INITIAL_PHASE.MIN_CANDIDATE_SIZE,
                min_positives=node.INITIAL_PHASE.MIN_POSITIVES,
            ),
            "initial_phase_iters": node.INITIAL_PHASE.ITERS,
            "focal_loss_alpha": node.INITIAL_PHASE.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": node.FOCAL_LOSS_GAMMA,
            "box_loss_weight": node.BOX_LOSS_WEIGHT,
            "test_score_thresh": node.SCORE_THRESH_TEST,
            "test_topk_candidates": node.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": node.NMS_THRESH_TEST,
            "test_nms_type": node.NMS_TYPE_TEST,
            "test_soft_nms_sigma": node.SOFT_NMS_SIGMA_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "input_format": cfg.INPUT.FORMAT,
        }

    def in_initial_phase(self, iteration: int) -> bool:
        """Whether an iteration of training belongs to the initial phase."""
        return self.initial_phase_iters == ALWAYS or iteration < self.initial_phase_iters

    def forward(
        self, batched_inputs: list[dict], iteration: int | None = None
    ) -> dict[str, Tensor] | list[dict]:
        """
        Args:
            batched_inputs: see ``DenseDetector.forward``.
            iteration: of training, which decides on the phase; by default the one of Detectron2's
                event storage, for trainers that know nothing of phases.

        Returns:
            In training mode the losses, see :meth:`losses`; else see ``DenseDetector.forward``.

        Raises:
            ValueError: see :func:`check_channels` and :func:`ground_truth`.
        """
        if not self.training:
            return super().forward(batched_inputs)
        gt_instances = ground_truth(batched_inputs, self.num_classes)  # before any long work
        gt_instances = [x.to(self.device) for x in gt_instances]
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        features = [features[name] for name in self.head_in_features]
        anchors = self.head.anchor_generator(features)
        predictions = self.head(features, anchors)
        iteration = get_event_storage().iter if iteration is None else iteration
        return self.forward_training(
            images, anchors, predictions, gt_instances, self.in_initial_phase(iteration)
        )

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """See ``DenseDetector.preprocess_image``; pixels may be numbers of any type."""
        check_channels(batched_inputs, len(self.pixel_mean))
        images = super().preprocess_image(batched_inputs)
        images.tensor = images.tensor.to(self.pixel_mean.dtype)  # of float64
        return images

    def forward_training(
        self,
        images: ImageList,
        anchors: list[Boxes],
        predictions: tuple[list[Tensor], ...],
        gt_instances: list[Instances],
        initial_phase: bool,
    ) -> dict[str, Tensor]:
        """Losses of one batch, see :meth:`losses`."""
        pred_logits, pred_boxes, *pred_centerness = (
            cat(x, dim=1) for x in self._transpose_predictions(predictions)
        )
        targets = self.label_anchors(
            anchors, pred_logits, pred_boxes, gt_instances, images.image_sizes, initial_phase
        )
        level_sizes = {
            name: len(level) for name, level in zip(self.head_in_features, anchors, strict=True)
        }
        self.assignment_metrics = assignment_metrics(targets, level_sizes)
        self.object_counts = torch.stack((targets.num_objects, targets.num_unmatched)).sum(dim=1)
        losses = self.losses(anchors, pred_logits, pred_boxes, targets, initial_phase)
        if pred_centerness:
            losses["loss_centerness"] = self.centerness_loss(anchors, *pred_centerness, targets)
        return losses

    def _transpose_predictions(self, predictions: tuple[list[Tensor], ...]) -> list[list[Tensor]]:
        """(N, D, Hi, Wi) of each prediction and level to (N, Hi * Wi, D)."""
        dims = [self.num_classes, 4, 1][: len(predictions)]
        return self._transpose_dense_predictions(predictions, dims)

    @torch.no_grad()
    def label_anchors(
        self,
        anchors: list[Boxes],
        pred_logits: Tensor,
        pred_boxes: Tensor,
        gt_instances: list[Instances],
        image_sizes: list[tuple[int, int]],
        initial_phase: bool,
    ) -> Targets:
        """Matches the ground truth to the anchors.

        Anchors in the padding of the batch are matched to nothing.

        Args:
            anchors: the anchors of each level.
            pred_logits: (N, R, K).
            pred_boxes: (N, R, 4).
            gt_instances: N instances with ``gt_boxes`` and ``gt_classes``.
            image_sizes: (height, width) of the N images before padding.
            initial_phase: whether to match by ATSS.
        """
        multiple = max(self.backbone.size_divisibility, 1)
        all_anchors = Boxes.cat(anchors)
        targets = []
        for logits, boxes, gt, image_size in zip(
            pred_logits, pred_boxes, gt_instances, image_sizes, strict=True
        ):
            valid = centered_in_image(all_anchors, image_size, multiple)
            if initial_phase:
                matched_idxs = self.initial_assigner(anchors, gt.gt_boxes, valid)
                alignment = (matched_idxs != BACKGROUND).to(boxes.dtype)
            else:
                matched_idxs, alignment = self.assigner(
                    logits.sigmoid(), Boxes(boxes), all_anchors, gt.gt_boxes, gt.gt_classes, valid
                )
            targets.append(image_targets(matched_idxs, alignment, valid, gt, self.num_classes))
        return stack_targets(targets)

    def losses(
        self,
        anchors: list[Boxes],
        pred_logits: Tensor,
        pred_boxes: Tensor,
        targets: Targets,
        initial_phase: bool,
    ) -> dict[str, Tensor]:
        """Task alignment losses (Eq. 11 and 12), or those of the initial phase.

        Args:
            anchors: the anchors of each level.
            pred_logits: (N, R, K).
            pred_boxes: (N, R, 4).
            targets: see :meth:`label_anchors`.
            initial_phase: whether to use focal loss and centre-ness weights.

        Returns:
            ``loss_cls`` and ``loss_box_reg``, each divided by its sum of target weights,
            averaged over the processes.
        """
        # Whatever concerns some anchors only is computed for all and masked: to select them, the
        # device would have to be waited for.
        positive = targets.positive[..., None]
        cls_targets = torch.zeros_like(pred_logits).scatter_(
            2,
            targets.labels.clamp(max=self.num_classes - 1)[..., None],
            targets.alignment[..., None],
        )
        if initial_phase:
            loss_cls = sigmoid_focal_loss(
                pred_logits,
                cls_targets,
                alpha=self.focal_loss_alpha,
                gamma=self.focal_loss_gamma,
            )
            loss_cls = torch.where(targets.valid[..., None], loss_cls, 0).sum()
            box_weights = target_centerness(Boxes.cat(anchors), targets)
        else:
            loss_cls = task_aligned_focal_loss(pred_logits, cls_targets, self.focal_loss_gamma)
            box_weights = targets.alignment
        boxes = torch.where(positive, pred_boxes, targets.boxes)
        giou_losses = giou_loss(boxes, targets.boxes)
        loss_box_reg = self.box_loss_weight * (box_weights * giou_losses).sum()

        normalizers = torch.stack((targets.alignment.sum(), box_weights.sum()))
        normalizers = _mean_over_processes(normalizers)
        return {
            "loss_cls": loss_cls / normalizers[0],
            "loss_box_reg": loss_box_reg / normalizers[1],
        }

    def centerness_loss(
        self, anchors: list[Boxes], pred_centerness: Tensor, targets: Targets
    ) -> Tensor:
        """Cross entropy of centre-ness over the positive anchors, divided by their number.

        Args:
            anchors: the anchors of each level.
            pred_centerness: (N, R, 1) logits.
            targets: see :meth:`label_anchors`.
        """
        loss = F.binary_cross_entropy_with_logits(
            pred_centerness.squeeze(2),
            target_centerness(Boxes.cat(anchors), targets),
            weight=targets.positive.to(pred_centerness.dtype),
            reduction="sum",
        )
        return loss / _mean_over_processes(targets.positive.sum().to(loss.dtype))

    def forward_inference(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: tuple[list[Tensor], ...],
    ) -> list[Instances]:
        """Detections of each image, see :func:`select_detections`."""
        pred_logits, pred_boxes, *pred_centerness = self._transpose_predictions(predictions)
        pred_scores = [logits.sigmoid() for logits in pred_logits]
        for centerness in pred_centerness:
            pred_scores = [x * y.sigmoid() for x, y in zip(pred_scores, centerness, strict=True)]
        return [
            select_detections(
                [scores[i] for scores in pred_scores],
                [boxes[i] for boxes in pred_boxes],
                image_size,
                score_thresh=self.test_score_thresh,
                topk_candidates=self.test_topk_candidates,
                nms_thresh=self.test_nms_thresh,
                max_detections=self.max_detections_per_image,
                nms_type=self.test_nms_type,
                soft_nms_sigma=self.test_soft_nms_sigma,
            )
            for i, image_size in enumerate(images.image_sizes)
        ]


def _mean_over_processes(normalizer: Tensor) -> Tensor:
    """The mean of a loss's divisor over the processes, 1 where it is zero."""
    mean = differentiable_all_reduce(normalizer) / comm.get_world_size()
    return torch.where(mean < 1e-12, 1.0, mean)
