"""Functional losses and score functions. R anchors, K classes; everything in float32."""

import torch
import torch.nn.functional as F
from torch import Tensor


def aligned_logits(cls_logits: Tensor, alignment_logits: Tensor) -> Tensor:
    """The logit of the aligned class score p = sqrt(sigmoid(a) * sigmoid(b)) (Eq. 5 and 7).

    With A = softplus(-a) and B = softplus(-b), -log p = (A + B) / 2, and
    z = logit(p) = (A + B) / 2 - log((1 + e^-a)(1 + e^-b) - 1) + log(1 + p).
    Value and gradient stay finite where the square root's gradient does not, and every
    loss on logits applies to z. Always computed in float32.

    Args:
        cls_logits: a, any shape.
        alignment_logits: b, broadcastable against a.

    Returns:
        z with sigmoid(z) = p.
    """
    a, b = cls_logits.float(), alignment_logits.float()
    softplus_b = F.softplus(-b)
    neg_log_p = (F.softplus(-a) + softplus_b) / 2
    x = softplus_b - a
    # logaddexp(x, -b), for which PyTorch's own needs many times as long on a CPU.
    log_sum = torch.maximum(x, -b) + F.softplus(-(x + b).abs())
    return neg_log_p - log_sum + F.softplus(-neg_log_p)


def task_aligned_focal_loss(logits: Tensor, targets: Tensor, gamma: float = 2.0) -> Tensor:
    """``sum |y - p|^gamma * BCE(p, y)`` over all elements (Eq. 11), p = sigmoid(logits).

    Args:
        logits: any shape.
        targets: y, of the same shape, in [0, 1]; the normalised alignment metric for the
            class of a positive anchor, else 0.
        gamma: focusing exponent, 0 or at least 1: between, the gradient is infinite at y = p.
    """
    logits = logits.float()
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (loss * (targets - logits.sigmoid()).abs().pow(gamma)).sum()


def giou_loss(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """1 - GIoU of pairs of boxes (arXiv 1902.09630).

    The same as torchvision's ``generalized_box_iou_loss``, which waits for the device.

    Args:
        boxes1, boxes2: (..., 4).
    """
    (start1, end1), (start2, end2) = (x.split(2, dim=-1) for x in (boxes1, boxes2))

    def area(start: Tensor, end: Tensor) -> Tensor:
        width, height = (end - start).clamp(min=0).unbind(dim=-1)
        return width * height

    intersection = area(torch.maximum(start1, start2), torch.minimum(end1, end2))
    union = area(start1, end1) + area(start2, end2) - intersection
    hull = area(torch.minimum(start1, start2), torch.maximum(end1, end2))
    return 1 - intersection / (union + 1e-7) + (hull - union) / (hull + 1e-7)


def centerness(points: Tensor, boxes: Tensor) -> Tensor:
    """Centre-ness of points strictly inside their boxes (Eq. 3 of FCOS, arXiv 1904.01355).

    Args:
        points: (R, 2), x and y.
        boxes: (..., R, 4), XYXY.

    Returns:
        (..., R) in (0, 1]: 1 at the centre of the box.
    """
    sides = torch.stack((points - boxes[..., :2], boxes[..., 2:] - points), dim=-1)
    return (sides.amin(dim=-1) / sides.amax(dim=-1)).prod(dim=-1).sqrt()
